"""
Steps of the wall clock: the kernel tells when it is set (C{timerfd_create(2)}, C{TFD_TIMER_CANCEL_ON_SET}), and every
L{Timer<txtuntap.layer.timer.Timer>} that waits in a reactor then waits for the time that is left. Where no system call
tells, as on other platforms, nothing happens here.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from txtuntap.layer.timer import clockStepped, steadySeconds

#: C{linux/time.h}, C{linux/timerfd.h}
_CLOCK_REALTIME = 0
_TFD_TIMER_ABSTIME = 1
_TFD_TIMER_CANCEL_ON_SET = 2

#: The second at which the timer would end, if no step of the clock did before: as late as any C{time_t} can tell.
_NEVER = 0x7FFFFFFF


class _TimerSettings(ctypes.Structure):
    """
    C{struct itimerspec}: seconds and nanoseconds, of the interval and of the end.
    """

    _fields_ = tuple((name, ctypes.c_long) for name in ("every", "everyNano", "at", "atNano"))


def openTimer() -> int:
    """
    Open a descriptor that can be read when the wall clock has been set. (C{os.timerfd_create} is there from Python 3.13
    on.)

    @return: a descriptor that does not block, for the caller to close.

    @raise OSError: the kernel refuses, or has no such call.
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


@implementer(IReadDescriptor)
class ClockSteps:
    """
    The one descriptor by which a reactor learns that the wall clock was set. L{followClock} makes it.
    """

    def __init__(self, reactor: Any, descriptor: int) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._followers = 0

    def join(self) -> None:
        """
        Have one follower more; the first one makes the reactor read the descriptor.
        """
        self._followers += 1
        if self._followers == 1:
            self._reactor.addReader(self)

    def leave(self) -> None:
        """
        Have one follower less; with the last one, the descriptor is closed.
        """
        self._followers -= 1
        if not self._followers and self._descriptor >= 0:
            self._reactor.removeReader(self)
            self._close()

    def fileno(self) -> int:
        """
        The descriptor; -1 once it is closed.
        """
        return self._descriptor

    def logPrefix(self) -> str:
        """
        The name of this reader in the log.
        """
        return "clock"

    def doRead(self) -> None:
        """
        The wall clock was set: set right what waits.
        """
        # Reading fails with ECANCELED, and so takes note of the step. The kernel tells of the next one, too.
        with suppress(OSError):
            os.read(self._descriptor, 8)
        clockStepped(self._reactor)

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor ends, and reads nothing more.
        """
        self._close()

    def _close(self) -> None:
        if _followed.get(self._reactor) is self:
            del _followed[self._reactor]
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


#: The descriptors that are read, by reactor. A process has one of each.
_followed: dict[Any, ClockSteps] = {}


def followClock(reactor: Any) -> ClockSteps | None:
    """
    Have the timers that wait in a reactor be set right whenever the wall clock is set.

    @param reactor: the reactor. A clock with one time only, or one that reads no descriptors, needs nothing.

    @return: what the caller leaves (L{ClockSteps.leave}) when it waits no more; L{None} where nothing tells of steps.
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
