"""
The kernel's timer that reports that the wall clock was set, on each reactor. No test sets the machine's clock. A pipe
takes the place of the timer, and a call that is delayed by an hour simulates the effect of a clock that was set back.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from unittest import mock

from tests.real.lab.link import setUp
from tests.real.lab.reactors import Run, onEachReactor
from tests.recorders import PacketRecorder
from txtuntap import TuntapPort
from txtuntap.device.linux import clockstep
from txtuntap.layer.timer import Timer


def timers() -> dict[int, str]:
    """
    Return what the kernel reports of each C{timerfd} of this process, by descriptor (C{proc_pid_fdinfo(5)}).
    """
    found = {}
    for each in Path("/proc/self/fd").iterdir():
        try:
            if os.readlink(each) == "anon_inode:[timerfd]":
                found[int(each.name)] = Path("/proc/self/fdinfo", each.name).read_text()
        except OSError:
            # This is the descriptor by which the directory was read. It is closed by now.
            pass
    return found


def port(run: Run, name: str) -> TuntapPort:
    return TuntapPort(name, PacketRecorder(), reactor=run.reactor)


@onEachReactor
async def test_theTimerIsOpenWhilePortsListen(run: Run) -> None:
    before = timers()
    ports = port(run, "tt0"), port(run, "tt1")
    for each in ports:
        each.startListening()
    opened = {descriptor: text for descriptor, text in timers().items() if descriptor not in before}
    ((descriptor, text),) = opened.items()
    fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    # The clock is CLOCK_REALTIME, the flags are TFD_TIMER_ABSTIME and TFD_TIMER_CANCEL_ON_SET.
    assert (fields["clockid"], fields["settime flags"]) == ("0", "03")
    assert descriptor in {reader.fileno() for reader in run.reactor.getReaders()}
    assert not os.get_inheritable(descriptor)
    assert not os.get_blocking(descriptor)
    await run.turns()
    await ports[0].stopListening()
    assert descriptor in timers()
    await ports[1].stopListening()
    assert timers() == before
    assert descriptor not in {reader.fileno() for reader in run.reactor.getReaders()}
    ports[0].startListening()
    assert len(timers()) == len(before) + 1
    await ports[0].stopListening()
    assert timers() == before


@onEachReactor
async def test_aStepOfTheClockSchedulesTimersAgain(run: Run) -> None:
    here, there = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    with mock.patch.object(clockstep, "openTimer", lambda: here):
        one = port(run, "tt0")
        one.startListening()
    rung: list[float] = []
    timer = Timer(run.reactor, lambda: rung.append(time.monotonic()))
    timer.arm(0.1)
    (call,) = (each for each in run.reactor.getDelayedCalls() if getattr(each.func, "__self__", None) is timer)
    call.delay(3600)
    os.write(there, b"a step")
    await run.until(lambda: rung, "the timer")
    os.close(there)
    await one.stopListening()


@onEachReactor
async def test_packetsAreTimedByTheSteadyClock(run: Run) -> None:
    recorder = PacketRecorder()
    one = TuntapPort("tt0", recorder, reactor=run.reactor)
    one.startListening()
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    setUp("tt0")
    await run.until(lambda: recorder.packets, "a packet of the kernel")
    after = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert all(before <= packet.time <= after for packet in recorder.packets)
    await one.stopListening()
