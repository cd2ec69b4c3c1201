"""
Log lines that who sends packets or connects can cause.
"""

from __future__ import annotations

from constantly import NamedConstant
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel

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
        # When each was said last, and how often it was not said since.
        self._said: dict[str, tuple[float, int]] = {}

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
        if reason not in self._said and len(self._said) >= MAX_REASONS:
            oldest = min(self._said, key=lambda each: self._said[each][0])
            if 0 <= now - self._said[oldest][0] < INTERVAL:
                return
            del self._said[oldest]
        self._said[reason] = now, 0
        more = f" ({unsaid} more since the last of these lines)" if unsaid else ""
        self._log.emit(level, format + "{more}", reason=reason, more=more, **fields)
