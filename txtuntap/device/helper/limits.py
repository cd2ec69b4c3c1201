"""
Limits of the lines that the helper's users cause in its log.
"""

from __future__ import annotations

from collections import Counter

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from txtuntap.layer.bounded import TableState
from txtuntap.layer.timer import Timer

#: Lines of one kind and about one user, in a second, that are logged one by one; and the most octets of a reason.
MAX_LOGGED = 3
MAX_REASON = 200


class LogLimit:
    """
    Lines of the log that users cause: a few a second of each kind and for each user, and the rest is counted. Without
    a limit, any user that may connect could fill the disk.
    """

    _log = Logger("helper")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        # How many lines there would have been in this second.
        self._counts: Counter[tuple[int | None, str]] = Counter()

    def allows(self, user: int | None, kind: str) -> bool:
        """
        Count a line.

        @param user: the user number; L{None}: all users that no rule is about.
        @param kind: what such lines are about, as a plural.

        @return: whether to log it.
        """
        key = user, kind
        self._counts[key] += 1
        if self._counts[key] == 1:
            Timer(self._clock, self._ended, key).arm(1)
        return self._counts[key] <= MAX_LOGGED

    def tables(self) -> list[TableState]:
        """
        See L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        most = min(max(self._counts.values(), default=0), MAX_LOGGED)
        return [TableState("helper log lines", most, MAX_LOGGED, "the rest is counted")]

    def _ended(self, key: tuple[int | None, str]) -> None:
        more = self._counts.pop(key) - MAX_LOGGED
        user, kind = key
        if more > 0:
            whose = "users in no rule" if user is None else f"user {user}"
            self._log.info("{more} more {kind} of {whose}", more=more, kind=kind, whose=whose)


def excerpt(text: str) -> str:
    """
    The beginning of a text that another program has a hand in, for the log and for a terminal: in ASCII, without
    control characters.
    """
    return text.encode("unicode_escape").decode()[:MAX_REASON]
