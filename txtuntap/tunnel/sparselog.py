"""
A log that a remote peer cannot flood, although the peer causes its lines.
"""

from __future__ import annotations

from constantly import NamedConstant
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel

from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.layer.timer import steadySeconds

#: The seconds within which a line with the same reason is written at most once.
INTERVAL = 60.0

#: The greatest number of remembered reasons, and so of lines within L{INTERVAL} seconds.
MAX_REASONS = 32


class SparseLog:
    """
    A log that writes each kind of line at most once a minute, and at most L{MAX_REASONS} kinds. Without such a bound, a
    peer that connects again and again could fill the disk.
    """

    def __init__(self, log: Logger, clock: IReactorTime) -> None:
        self._log = log
        self._now = steadySeconds(clock)
        # The time of the last line of each reason, and how many lines were suppressed since. The reason with the oldest
        # line is the first.
        self._lastLines: Table[str, tuple[float, int]] = Table(
            "log reasons", MAX_REASONS, Policy.OVERDUE, choose=self._overdue
        )

    def _overdue(self, reason: str) -> str:
        """
        Choose the reason to evict when a new one needs room. The reason with the oldest line is evicted if its interval
        has passed. Otherwise the new reason itself is evicted, which suppresses its line.
        """
        oldest = next(iter(self._lastLines))
        return reason if 0 <= self._lastLines[reason][0] - self._lastLines[oldest][0] < INTERVAL else oldest

    def tables(self) -> list[TableState]:
        """
        Return how full the table of reasons is: see
        L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [self._lastLines.state]

    def say(self, reason: str, format: str, level: NamedConstant = LogLevel.warn, **fields: object) -> None:
        """
        Write a line, unless a line with the same reason was written within the last minute. A line with a new reason is
        not written if L{MAX_REASONS} other reasons were written within the last minute.

        @param reason: the key that all lines of one kind share. It must contain nothing that the peer can choose.
        @param format: the format of the line, with C{{reason}} as one of its fields.
        @param level: the log level.
        @param fields: the values of the other fields.
        """
        now = self._now()
        when, suppressed = self._lastLines.get(reason, (now - INTERVAL, 0))
        if 0 <= now - when < INTERVAL:
            self._lastLines[reason] = when, suppressed + 1
            return
        self._lastLines.pop(reason, None)
        if not self._lastLines.put(reason, (now, 0)):
            return
        more = f" ({suppressed} more such lines were suppressed)" if suppressed else ""
        self._log.emit(level, format + "{more}", reason=reason, more=more, **fields)
