"""
Log lines that who sends packets or connects can cause.
"""

from __future__ import annotations

from constantly import NamedConstant
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel

from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.layer.timer import steadySeconds

#: Seconds in which a reason is said once.
INTERVAL = 60.0

#: The most reasons, and so lines, in that time.
MAX_REASONS = 32


class SparseLog:
    """
    Says what becomes of connections, each thing once a minute, and no more than L{MAX_REASONS} things: whoever can
    connect must not be able to fill the disk.
    """

    def __init__(self, log: Logger, clock: IReactorTime) -> None:
        self._log = log
        self._now = steadySeconds(clock)
        # When each was said last, and how often it was not said since; the one said longest ago is the first.
        self._said: Table[str, tuple[float, int]] = Table(
            "log reasons", MAX_REASONS, Policy.OVERDUE, choose=self._overdue
        )

    def _overdue(self, reason: str) -> str:
        """
        The reason to evict for a new one: the one said longest ago, if it could be said again now; else the new one.
        """
        oldest = next(iter(self._said))
        return reason if 0 <= self._said[reason][0] - self._said[oldest][0] < INTERVAL else oldest

    def tables(self) -> list[TableState]:
        """
        See L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [self._said.state]

    def say(self, reason: str, format: str, level: NamedConstant = LogLevel.warn, **fields: object) -> None:
        """
        Write a line, unless one with C{reason} was written lately.

        @param reason: what the lines of one kind have in common: nothing in it is of the peer's choice.
        @param format: of the line, C{{reason}} among its fields.
        """
        now = self._now()
        when, unsaid = self._said.get(reason, (now - INTERVAL, 0))
        if 0 <= now - when < INTERVAL:
            self._said[reason] = when, unsaid + 1
            return
        self._said.pop(reason, None)
        if not self._said.put(reason, (now, 0)):
            return
        more = f" ({unsaid} more since the last of these lines)" if unsaid else ""
        self._log.emit(level, format + "{more}", reason=reason, more=more, **fields)
