"""
Limits of the helper's log lines that its users cause.
"""

from __future__ import annotations

from collections import Counter

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from txtuntap.layer.bounded import TableState
from txtuntap.layer.timer import Timer

#: The largest number of lines of one kind and about one user that are logged in a second.
MAX_LOGGED = 3

#: The largest number of octets in the reason for a refusal.
MAX_REASON = 200


class LogLimit:
    """
    A limit of the log lines that users cause: L{MAX_LOGGED} a second for each kind and user. The lines beyond that are
    only counted. Without a limit, any user that can connect could fill the disk.
    """

    _log = Logger("helper")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        # The number of lines in this second by user and kind, including those that were not logged.
        self._counts: Counter[tuple[int | None, str]] = Counter()

    def allows(self, user: int | None, kind: str) -> bool:
        """
        Count a line, and decide whether to log it.

        @param user: the user number; C{None}: all users without any rule.
        @param kind: the kind of line, as a plural noun such as C{"refusals"}.

        @return: whether to log the line.
        """
        key = user, kind
        self._counts[key] += 1
        if self._counts[key] == 1:
            Timer(self._clock, self._ended, key).arm(1)
        return self._counts[key] <= MAX_LOGGED

    def tables(self) -> list[TableState]:
        """
        The fill level of the limit: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        most = min(max(self._counts.values(), default=0), MAX_LOGGED)
        return [TableState("helper log lines", most, MAX_LOGGED, "the rest is counted")]

    def _ended(self, key: tuple[int | None, str]) -> None:
        more = self._counts.pop(key) - MAX_LOGGED
        user, kind = key
        if more > 0:
            whose = "users without any rule" if user is None else f"user {user}"
            self._log.info("{more} more {kind} of {whose}", more=more, kind=kind, whose=whose)


def excerpt(text: str) -> str:
    """
    Escape the control characters of a text and those that are not ASCII, and cut the result to L{MAX_REASON} octets.
    This makes text from another program safe for the log and for terminals.
    """
    return text.encode("unicode_escape").decode()[:MAX_REASON]
