"""
Tests for the correction of timers in L{txtuntap.device.linux.clockstep}. A pipe takes the place of the timerfd, because
no test may set the machine's clock.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.recorders import PacketRecorder
from txtuntap import TuntapPort
from txtuntap.device.linux import clockstep
from txtuntap.device.linux.clockstep import ClockSteps, followClock
from txtuntap.layer.timer import Timer
from txtuntap.testing import TUN, MemoryDevice, SettableClock


@implementer(IReactorFDSet)
class Reactor(SettableClock):
    """
    A clock with a wall time and a steady time, and the methods of a reactor that reads descriptors.
    """

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        if reader in self.readers:
            self.readers.remove(reader)

    def addWriter(self, writer: Any) -> None:
        raise NotImplementedError

    def removeWriter(self, writer: Any) -> None:
        raise NotImplementedError

    def getReaders(self) -> list[Any]:
        return self.readers

    def getWriters(self) -> list[Any]:
        return []

    def removeAll(self) -> list[Any]:
        readers, self.readers = self.readers, []
        return readers


class FollowTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()
        self.opened: list[int] = []
        self.ends: list[int] = []
        self.patch(clockstep, "openTimer", self.openTimer)
        self.addCleanup(lambda: list(map(os.close, self.ends)))

    def openTimer(self) -> int:
        descriptor, end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.opened.append(descriptor)
        self.ends.append(end)
        return descriptor

    def follow(self) -> ClockSteps:
        steps = followClock(self.reactor)
        assert steps is not None
        return steps

    def isOpen(self, descriptor: int) -> bool:
        try:
            os.fstat(descriptor)
        except OSError:
            return False
        return True

    def test_timersAreCorrectedWhenTheClockIsSet(self) -> None:
        steps = self.follow()
        (reader,) = self.reactor.readers
        self.assertIs(reader, steps)
        self.assertTrue(IReadDescriptor.providedBy(reader))
        self.assertEqual((reader.fileno(), reader.logPrefix()), (self.opened[0], "clock"))
        rung: list[float] = []
        timer = Timer(self.reactor, lambda: rung.append(self.reactor.steadySeconds()))
        for number in 1, 2:
            timer.arm(10)
            self.reactor.setBy(-3600, noticed=False)
            os.write(self.ends[0], bytes(8))
            reader.doRead()
            self.reactor.advance(10)
            self.assertEqual(rung[-1], 10 * number)
            self.assertRaises(BlockingIOError, os.read, self.opened[0], 1)
        reader.leave()

    def test_followersShareOneDescriptor(self) -> None:
        one, other = self.follow(), self.follow()
        self.assertIs(one, other)
        self.assertEqual((len(self.opened), len(self.reactor.readers)), (1, 1))
        one.leave()
        self.assertEqual(len(self.reactor.readers), 1)
        self.assertTrue(self.isOpen(self.opened[0]))
        one.leave()
        self.assertEqual(self.reactor.readers, [])
        self.assertFalse(self.isOpen(self.opened[0]))

    def test_aNewDescriptorIsOpenedAfterTheLastFollowerHasLeft(self) -> None:
        for number in 1, 2:
            steps = self.follow()
            self.assertEqual((len(self.opened), len(self.reactor.readers)), (number, 1))
            steps.leave()

    def test_theDescriptorIsClosedWhenTheReactorEnds(self) -> None:
        steps = self.follow()
        for each in self.reactor.removeAll():
            each.connectionLost(Failure(Exception()))
        self.assertEqual(steps.fileno(), -1)
        self.assertFalse(self.isOpen(self.opened[0]))
        # Leaving must not close the descriptor's number, which another file may have by now.
        again = self.openTimer()
        steps.leave()
        self.assertTrue(self.isOpen(again))
        os.close(again)

    def test_aClosedReaderIsNotUsedAgain(self) -> None:
        first = self.follow()
        first.connectionLost(Failure(Exception()))
        second = self.follow()
        self.assertIsNot(first, second)
        first.leave()
        self.assertEqual(len(self.opened), 2)
        self.assertTrue(self.isOpen(self.opened[1]))
        second.leave()
        self.assertFalse(self.isOpen(self.opened[1]))

    def test_clocksThatReadNoDescriptorsAreNotFollowed(self) -> None:
        self.assertIsNone(followClock(Clock()))
        self.assertIsNone(followClock(SettableClock()))
        self.assertEqual(self.opened, [])

    def test_portsWorkWithoutTimerfd(self) -> None:
        def openTimer() -> int:
            raise OSError("this system has no timerfd")

        self.patch(clockstep, "openTimer", openTimer)
        self.assertIsNone(followClock(self.reactor))
        port = TuntapPort("", PacketRecorder(), reactor=self.reactor, device=MemoryDevice(TUN))
        port.startListening()
        port.stopListening()
        self.reactor.advance(0)
        self.assertEqual(self.reactor.readers, [])

    def test_portsFollowTheClockWhileTheyListen(self) -> None:
        ports = [TuntapPort("", PacketRecorder(), reactor=self.reactor, device=MemoryDevice(TUN)) for _ in range(2)]
        for port in ports:
            self.assertEqual(len(self.reactor.readers), int(port is ports[1]))
            port.startListening()
            self.assertEqual(len(self.reactor.readers), 1)
        for port in ports:
            self.assertEqual(len(self.reactor.readers), 1)
            port.stopListening()
            self.reactor.advance(0)
        self.assertEqual((self.reactor.readers, len(self.opened)), ([], 1))
        self.assertFalse(self.isOpen(self.opened[0]))

    def test_aPortThatFailsToStartLeavesNoReader(self) -> None:
        class Broken(PacketRecorder):
            def startProtocol(self) -> None:
                raise ZeroDivisionError

        port = TuntapPort("", Broken(), reactor=self.reactor, device=MemoryDevice(TUN))
        self.assertRaises(ZeroDivisionError, port.startListening)
        self.assertEqual(self.reactor.readers, [])
        self.assertFalse(self.isOpen(self.opened[0]))


class NoTimerTests(SynchronousTestCase):
    def test_openTimerRaisesWithoutTimerfd(self) -> None:
        class Library:
            def __init__(self, *arguments: object, **keywords: object) -> None:
                pass

        self.patch(ctypes, "CDLL", Library)
        self.assertIn("no timerfd", str(self.assertRaises(OSError, clockstep.openTimer)))
