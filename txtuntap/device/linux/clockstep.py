"""
Correction of timers when the wall clock is set. A reactor's C{callLater} uses the wall clock, so its calls come too
late after the clock was set back.

The kernel notifies when the clock is set (C{timerfd_create(2)}, C{TFD_TIMER_CANCEL_ON_SET}). Then every
L{Timer<txtuntap.layer.timer.Timer>} in the reactor is armed again with the time that it has left. On a system without
this call, timers are not corrected.
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from txtuntap.device.interfaces import IClockSteps
from txtuntap.layer.timer import clockStepped, steadySeconds

if sys.platform == "win32":
    raise ImportError("this module is for Linux")

#: The constants for C{timerfd_create} and C{timerfd_settime}, as in C{linux/time.h} and C{linux/timerfd.h}.
_CLOCK_REALTIME = 0
_TFD_TIMER_ABSTIME = 1
_TFD_TIMER_CANCEL_ON_SET = 2

#: The time at which the timerfd expires, in seconds since 1970. It is the latest time of a 32-bit C{time_t}, so that
#: only a change of the clock makes the descriptor readable before that.
_NEVER = 0x7FFFFFFF


class _TimerSettings(ctypes.Structure):
    """
    The C{struct itimerspec}: seconds and nanoseconds of the interval, and seconds and nanoseconds of the expiration.
    """

    _fields_ = tuple((name, ctypes.c_long) for name in ("every", "everyNano", "at", "atNano"))


def openTimer() -> int:
    """
    Open a descriptor that becomes readable when the wall clock is set. This uses ctypes, because C{os.timerfd_create}
    needs Python 3.13.

    @return: a non-blocking descriptor, which the caller has to close.

    @raise OSError: the kernel refuses, or the system has no such call.
    """
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        create, settime = libc.timerfd_create, libc.timerfd_settime
    except (AttributeError, TypeError) as e:
        raise OSError("this system has no timerfd") from e
    descriptor: int = create(_CLOCK_REALTIME, os.O_CLOEXEC | os.O_NONBLOCK)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create")
    settings = _TimerSettings(at=_NEVER)
    if settime(descriptor, _TFD_TIMER_ABSTIME | _TFD_TIMER_CANCEL_ON_SET, ctypes.byref(settings), None):
        error = ctypes.get_errno()
        os.close(descriptor)
        raise OSError(error, "timerfd_settime")
    return descriptor


@implementer(IReadDescriptor, IClockSteps)
class ClockSteps:
    """
    The reader through which a reactor learns that the wall clock was set. L{followClock} makes one for each reactor.
    """

    def __init__(self, reactor: Any, descriptor: int) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._followers = 0

    def join(self) -> None:
        """
        Add a follower to the count. With the first follower, the reactor begins to read the descriptor.
        """
        self._followers += 1
        if self._followers == 1:
            self._reactor.addReader(self)

    def leave(self) -> None:
        """
        Remove a follower from the count. When the last follower leaves, the descriptor is closed.
        """
        self._followers -= 1
        if not self._followers and self._descriptor >= 0:
            self._reactor.removeReader(self)
            self._close()

    def fileno(self) -> int:
        """
        The descriptor's number; -1 once it is closed.
        """
        return self._descriptor

    def logPrefix(self) -> str:
        """
        The name of this reader in the log.
        """
        return "clock"

    def doRead(self) -> None:
        """
        Correct all timers in the reactor, because the wall clock was set.
        """
        # The read fails with ECANCELED. It acknowledges this change, so that the kernel notifies of the next one.
        with suppress(OSError):
            os.read(self._descriptor, 8)
        clockStepped(self._reactor)

    def connectionLost(self, reason: Failure) -> None:
        """
        Close the descriptor, because the reactor has ended.
        """
        self._close()

    def _close(self) -> None:
        if _followed.get(self._reactor) is self:
            del _followed[self._reactor]
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


#: The reader of each reactor. Usually a process has one reactor.
_followed: dict[Any, ClockSteps] = {}


def followClock(reactor: Any) -> ClockSteps | None:
    """
    Correct the timers in a reactor whenever the wall clock is set, from now on.

    @param reactor: the reactor. Nothing is done for a clock that has no wall time, such as C{task.Clock}, and for a
        reactor that cannot read descriptors.

    @return: an object whose L{ClockSteps.leave} the caller calls when it has no timers any more; C{None}: timers are
        not corrected.
    """
    steps = _followed.get(reactor)
    if steps is None:
        if steadySeconds(reactor) == reactor.seconds or not IReactorFDSet.providedBy(reactor):
            return None
        try:
            steps = _followed[reactor] = ClockSteps(reactor, openTimer())
        except OSError:
            return None
    try:
        steps.join()
    except BaseException:
        steps.leave()
        raise
    return steps
