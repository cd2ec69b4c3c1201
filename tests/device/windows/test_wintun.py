"""
Tests for the tun of Windows by Wintun: over a fake of its library, and under Wine over a fake library in C.
"""

from __future__ import annotations

import errno
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.task import Clock

from tests.device.contract import sample
from tests.device.windows.case import PATIENCE, WindowsCase, WindowsContract, refuse
from tests.device.windows.fakes import FakeLinks, FakeWindows
from tests.recorders import PacketRecorder
from txtuntap import TuntapPort
from txtuntap.device import EBADFD, TAP, TUN
from txtuntap.device.choice import makeDevice
from txtuntap.device.windows import choice
from txtuntap.device.windows.library import (
    ERROR_ACCESS_DENIED,
    ERROR_ALREADY_EXISTS,
    ERROR_BUFFER_OVERFLOW,
    ERROR_GEN_FAILURE,
    ERROR_INVALID_DATA,
)
from txtuntap.device.windows.wintun import MIN_CAPACITY, WintunDevice, adapterGUID
from txtuntap.service.options.host import HostOptions


def refuseThread(thread: threading.Thread) -> None:
    """
    Refuse to start a thread, as a system does that has no more.
    """
    raise RuntimeError("can't start new thread")


class WintunCase(WindowsCase):
    """
    A test case with a fake of Wintun's library.
    """

    def makeFake(self) -> None:
        """
        Make the fake of the library.
        """
        self.system = FakeWindows()
        self.network = self.system.library

    def device(self, name: str = "tt%d", **options: Any) -> WintunDevice:
        """
        Make a device, which is not open yet.
        """
        keywords = {"capacity": MIN_CAPACITY, **options}
        device: WintunDevice = self.made(WintunDevice(name, system=self.system, **keywords))
        return device

    def openedDevice(self, name: str = "tt%d", **options: Any) -> WintunDevice:
        """
        Make a device, and open it.
        """
        device = self.device(name, **options)
        device.open()
        return device


class WintunContractTests(WintunCase, WindowsContract):
    """
    The tests of the L{IDevice} contract.
    """

    mode = TUN
    longest = 65535
    # The ring has 128 KiB, and each packet takes a multiple of four octets with a header of four.
    padding = bytes(446)
    queueLength = MIN_CAPACITY // 504


class WintunTests(WintunCase):
    """
    Tests for what only a L{WintunDevice} does.
    """

    def test_aNameAlwaysHasTheSameIdentity(self) -> None:
        self.openedDevice("office")
        self.assertEqual(adapterGUID("office"), self.network.guid("office"))
        self.assertEqual("fe0e0cf5-d4c3-5a87-9a17-077f294a3d7c", str(uuid.UUID(bytes_le=adapterGUID("office"))))
        self.assertNotEqual(adapterGUID("office"), adapterGUID("home"))

    def test_aNameHasBlanksAndIsLong(self) -> None:
        name = f"Local Area Connection {'ä' * 100}"
        self.assertEqual(name, self.openedDevice(name).name)

    def test_namesThatWindowsRefusesAreRefused(self) -> None:
        for name in "a/b", "a\\b", "a?", 'a"', " a", "a\n", "x" * 128:
            self.assertRaises(ValueError, self.device, name)

    def test_aCapacityIsAPowerOfTwo(self) -> None:
        for capacity in 0, -1, 0x10000, 0x20001, 0x8000000, "big", None:
            self.assertRaises(ValueError, self.device, capacity=capacity)

    def test_theDeviceIsElevated(self) -> None:
        self.network.fail("CreateAdapter", ERROR_ACCESS_DENIED)
        error = self.refused(self.device("office").open)
        self.assertEqual(errno.EACCES, error.errno)
        self.assertRegex(str(error), "office: .* run it as administrator.*; Wintun says: .*error 5")

    def test_anAdapterThatExistsIsOpened(self) -> None:
        first = self.openedDevice("office")
        self.network.fail("CreateAdapter", ERROR_ALREADY_EXISTS)
        second = self.openedDevice("office")
        self.assertEqual(first.name, second.name)

    def test_theErrorOfTheCreationIsRaisedIfThereIsNoAdapterEither(self) -> None:
        self.network.fail("CreateAdapter", ERROR_GEN_FAILURE)
        self.assertRegex(str(self.refused(self.device("office").open)), "office: Wintun cannot make .*error 31")

    def test_anAdapterIsClosedIfTheSessionFails(self) -> None:
        for call in "StartSession", "GetReadWaitEvent":
            self.network.fail(call, ERROR_GEN_FAILURE)
            device = self.device("office")
            self.assertRegex(str(self.refused(device.open)), "office: .* another program has the adapter")
            self.assertEqual(0, self.network.opened())
            self.network.fail(call, 0)
            device.open()
            device.close()

    def test_offloadIsRefused(self) -> None:
        self.assertEqual(errno.ENOTSUP, self.refused(lambda: self.device().open(True)).errno)

    def test_theDriversVersionIsKnown(self) -> None:
        self.assertEqual((0, 14), self.openedDevice().driverVersion)

    def test_theDeviceHasNoDescriptor(self) -> None:
        device = self.openedDevice()
        self.assertEqual((-1, None, []), (device.fileno(), device.reader(1500), device.tables()))
        self.assertTrue(device.callsFromThread)

    def test_aFullRingRefusesPackets(self) -> None:
        device = self.openedDevice()
        self.network.fail("AllocateSendPacket", ERROR_BUFFER_OVERFLOW)
        self.assertEqual(errno.ENOBUFS, self.refused(lambda: device.send([sample(TUN)])).errno)
        self.network.fail("AllocateSendPacket", 0)

    def test_aTooLongPacketIsNotSent(self) -> None:
        device = self.openedDevice()
        packet = sample(TUN).ljust(65536, b"\0")
        self.assertEqual(errno.EMSGSIZE, self.refused(lambda: device.send([packet])).errno)
        self.assertEqual([], self.network.taken(device.name))

    # A library that cannot be trusted

    def test_aCorruptRingLosesTheInterface(self) -> None:
        device = self.openedDevice()
        self.network.fail("ReceivePacket", ERROR_INVALID_DATA)
        for _ in range(2):
            error = self.refused(device.receive)
            self.assertEqual(EBADFD, error.errno)
            self.assertIn("its ring is corrupt", str(error))
        self.assertEqual(EBADFD, self.refused(lambda: device.send([sample(TUN)])).errno)

    def test_noPacketWithoutAnErrorLosesTheInterface(self) -> None:
        device = self.openedDevice()
        self.network.fail("ReceivePacket", -1)
        self.assertEqual(EBADFD, self.refused(device.receive).errno)

    def test_noPlaceWithoutAnErrorLosesTheInterface(self) -> None:
        device = self.openedDevice()
        self.network.fail("AllocateSendPacket", -1)
        self.assertEqual(EBADFD, self.refused(lambda: device.send([sample(TUN)])).errno)

    def test_aPacketWithoutOctetsIsCounted(self) -> None:
        device = self.openedDevice()
        self.network.deliver(device.name, sample(TUN, b"first"))
        self.network.deliver(device.name, sample(TUN, b"second"))
        self.network.wrongSize(0)
        self.assertEqual(sample(TUN, b"second"), bytes(device.receive() or b""))
        self.assertEqual(1, device.counters["inTruncated"])

    def test_manyPacketsWithoutOctetsLeaveTheReactorItsTurns(self) -> None:
        device = self.openedDevice()
        for _ in range(100):
            self.network.deliver(device.name, b"")
        calls: list[None] = []
        self.assertIsNone(device.receive())
        device.readable(lambda: calls.append(None))
        self.assertEqual([None], calls)
        self.assertIsNone(device.receive())
        self.assertEqual(100, device.counters["inTruncated"])

    def test_anImpossibleLengthLosesTheInterface(self) -> None:
        for size in 65536, 0xFFFFFFFF:
            device = self.openedDevice()
            self.network.deliver(device.name, sample(TUN))
            self.network.wrongSize(size)
            error = self.refused(device.receive)
            self.assertEqual(EBADFD, error.errno)
            self.assertIn(str(size), str(error))
            device.close()

    # The device's thread

    def woken(self, device: WintunDevice, callback: Callable[[], object] | None = None) -> threading.Event:
        """
        Receive all packets that wait, and have the device's thread call a function when others arrive.

        @return: an event that is set when the function was called.
        """
        while device.receive() is not None:
            pass
        event = threading.Event()

        def called() -> None:
            try:
                if callback is not None:
                    callback()
            finally:
                event.set()

        device.readable(called)
        self.assertFalse(event.is_set())
        return event

    def flushed(self, kind: type[Exception]) -> list[Any]:
        """
        Wait until another thread has logged a failure, and return it.
        """
        end = time.monotonic() + PATIENCE
        while not (failures := self.flushLoggedErrors(kind)):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)
        found: list[Any] = failures
        return found

    def test_aPacketWakesTheProgram(self) -> None:
        device = self.openedDevice()
        for number in range(20):
            event = self.woken(device)
            self.network.deliver(device.name, sample(TUN, b"%d" % number))
            self.assertTrue(event.wait(PATIENCE))
            self.assertEqual(sample(TUN, b"%d" % number), bytes(device.receive() or b""))

    def test_unreadPacketsWakeTheProgramAtOnce(self) -> None:
        device = self.openedDevice()
        event = self.woken(device)
        for _ in range(2):
            self.network.deliver(device.name, sample(TUN))
        self.assertTrue(event.wait(PATIENCE))
        device.receive()
        again = threading.Event()
        device.readable(again.set)
        self.assertTrue(again.is_set())

    def test_aRemovedAdapterWakesTheProgram(self) -> None:
        device = self.openedDevice()
        event = self.woken(device)
        self.network.remove(device.name)
        self.assertTrue(event.wait(PATIENCE))
        self.assertEqual(EBADFD, self.refused(device.receive).errno)

    def test_aSignalWithoutAPacketIsHarmless(self) -> None:
        device = self.openedDevice()
        event = self.woken(device)
        self.network.signal(device.name)
        self.assertTrue(event.wait(PATIENCE))
        for _ in range(2):
            self.assertIsNone(device.receive())
            self.assertEqual({"inFalseSignals": 1}, device.counters)

    def test_aSignalForAPacketIsNotCounted(self) -> None:
        device = self.openedDevice()
        for data in sample(TUN), b"":
            event = self.woken(device)
            self.network.deliver(device.name, data)
            self.assertTrue(event.wait(PATIENCE))
            self.assertEqual(data, bytes(device.receive() or b""))
            self.assertIsNone(device.receive())
        self.assertEqual({"inTruncated": 1}, device.counters)

    def test_noneEndsTheCalls(self) -> None:
        device = self.openedDevice()
        event = self.woken(device)
        device.readable(None)
        self.network.deliver(device.name, sample(TUN))
        again = threading.Event()
        device.readable(again.set)
        self.assertTrue(again.wait(PATIENCE))
        self.assertFalse(event.is_set())

    def test_aClosedDeviceIsNotAwaited(self) -> None:
        device = self.device()
        device.readable(None)
        self.assertEqual(errno.EBADF, self.refused(lambda: device.readable(print)).errno)

    def test_aDeviceClosesWhileItsThreadWaits(self) -> None:
        for _ in range(20):
            device = self.openedDevice()
            self.woken(device)
            device.close()
            self.assertNothingIsLeft()

    def test_theThreadCannotCloseTheDevice(self) -> None:
        device = self.openedDevice()
        event = self.woken(device, device.close)
        self.network.deliver(device.name, sample(TUN))
        self.assertTrue(event.wait(PATIENCE))
        (failure,) = self.flushed(RuntimeError)
        self.assertIn("close it on another thread", str(failure.value))
        self.assertEqual(sample(TUN), bytes(device.receive() or b""))

    def test_aFailureOfTheFunctionIsLogged(self) -> None:
        device = self.openedDevice()
        self.woken(device, lambda: 1 / 0)
        self.network.deliver(device.name, sample(TUN))
        self.flushed(ZeroDivisionError)
        # The signal was taken, but the packet was not.
        again = threading.Event()
        device.readable(again.set)
        self.assertTrue(again.is_set())
        event = self.woken(device)
        self.network.deliver(device.name, sample(TUN))
        self.assertTrue(event.wait(PATIENCE))


class FakeOnlyTests(WintunCase):
    """
    Tests that need the fake in Python.
    """

    def test_theLibraryIsLookedForByItsPath(self) -> None:
        self.openedDevice(library="C:\\here\\wintun.dll")
        self.openedDevice("other")
        self.assertEqual(["C:\\here\\wintun.dll", None], self.system.paths)

    def test_theLibraryIsTakenFromItsPath(self) -> None:
        device = makeDevice("office", TUN, system=self.system, library="C:\\wintun.dll")
        self.addCleanup(device.close)
        device.open()
        self.assertEqual(self.system.paths, ["C:\\wintun.dll"])

    def test_anOptionHasThePathOfTheLibrary(self) -> None:
        self.patch(choice, "WindowsSystem", lambda: self.system)
        options = HostOptions()
        options.parseOptions(["--tun", "office", "--address", "10.0.0.2/24", "--wintun", "C:\\wintun.dll"])
        self.addCleanup(options.interface.device.close)
        options.interface.device.open()
        self.assertEqual(self.system.paths, ["C:\\wintun.dll"])

    def test_noLibraryIsAnErrorOfTheOpening(self) -> None:
        self.system.hasLibrary = False
        self.assertRaises(FileNotFoundError, self.device().open)

    def test_namesOfOtherInterfacesAreSkipped(self) -> None:
        self.system.links.others += ["tt0", "tt1"]
        self.assertEqual("tt2", self.openedDevice().name)
        self.system.links.others += [f"tt{number}" for number in range(300)]
        self.assertEqual(errno.EBUSY, self.refused(self.device().open).errno)

    def test_theStateOfTheInterfaceIsRead(self) -> None:
        device = self.openedDevice()
        self.assertEqual(device.luid % 1000, device.index)
        self.assertIsNone(device.linkAddress)

    def test_nothingIsLeftIfTheInterfaceCannotBeRead(self) -> None:
        device = self.device()
        for call in "name", "index", "mtu":
            self.patch(self.system.links, call, refuse)
            self.assertEqual(errno.ENOTSUP, self.refused(device.open).errno)
            self.assertNothingIsLeft()
            self.assertEqual(errno.EBADF, self.refused(device.receive).errno)
            self.patch(self.system.links, call, partial(getattr(FakeLinks, call), self.system.links))
        device.open()

    def test_aBrokenEventLosesTheInterface(self) -> None:
        device = self.openedDevice()
        while device.receive() is not None:
            pass
        event = threading.Event()
        device.readable(event.set)
        self.system.kernel.breakEvent(self.network.named(device.name).event)
        self.assertTrue(event.wait(PATIENCE))
        error = self.refused(device.receive)
        self.assertEqual(EBADFD, error.errno)
        self.assertIn("its event is broken", str(error))
        device.readable(event.clear)
        self.assertFalse(event.is_set())

    def test_aSystemWithoutEventsIsAnError(self) -> None:
        device = self.openedDevice()
        self.system.kernel.noEvents = True
        self.assertIn("or no event", str(self.refused(lambda: device.readable(print))))

    def test_aSystemWithoutThreadsIsAnError(self) -> None:
        device = self.openedDevice()
        self.patch(threading.Thread, "start", refuseThread)
        error = self.refused(lambda: device.readable(print))
        self.assertEqual(errno.ENOMEM, error.errno)
        self.assertIn("no thread for the device", str(error))

    def test_aPortWithoutAThreadIsClosed(self) -> None:
        device = self.device()
        port = TuntapPort("", PacketRecorder(), reactor=Clock(), device=device)
        self.patch(threading.Thread, "start", refuseThread)
        self.assertIn("no thread for the device", str(self.refused(port.startListening)))
        self.assertEqual(errno.EBADF, self.refused(device.receive).errno)

    def test_theDeviceOfATunIsWintun(self) -> None:
        self.assertIsInstance(makeDevice("tun%d", TUN, system=self.system), WintunDevice)
        self.assertEqual(errno.ENOTSUP, self.refused(lambda: makeDevice("tun0", TUN, descriptor=5)).errno)
        self.assertRaises(ValueError, makeDevice, "tun0", TUN | TAP)
