"""
Correction of timers when the wall clock is set, where the platform notifies of that.
"""

from __future__ import annotations

from typing import Any

from txtuntap.device.interfaces import IClockSteps
from txtuntap.device.platform import platformModule


def followClock(reactor: Any) -> IClockSteps | None:
    """
    Correct the timers in a reactor whenever the wall clock is set, from now on.

    @param reactor: the reactor.

    @return: an object whose C{leave} the caller calls when it has no timers any more; C{None}: timers are not
        corrected, because the platform or the reactor has no means for that.
    """
    try:
        platform = platformModule("clockstep")
    except OSError:
        return None
    followed: IClockSteps | None = platform.followClock(reactor)
    return followed
