"""
Tests for the tap of Windows by tap-windows6: over a fake of its driver, and under Wine over a fake driver in C.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import threading
from functools import partial
from typing import Any

from tests.device.contract import sample
from tests.device.windows.case import PATIENCE, WindowsCase, WindowsContract, refuse
from tests.device.windows.fakes import QUEUE_LENGTH, FakeLinks, FakeTap, FakeWindows
from txtuntap.device import EBADFD, TAP, TUN
from txtuntap.device.choice import makeDevice
from txtuntap.device.windows import tap, transfer
from txtuntap.device.windows.library import (
    ERROR_ACCESS_DENIED,
    ERROR_DEVICE_NOT_CONNECTED,
    ERROR_FILE_NOT_FOUND,
    ERROR_GEN_FAILURE,
    ERROR_INVALID_USER_BUFFER,
    ERROR_OPERATION_ABORTED,
)
from txtuntap.device.windows.tap import MAX_TRIES, TRANSFERS, TapDevice
from txtuntap.device.windows.wintun import WintunDevice
from txtuntap.interfaces import IDevice

#: The names of the adapters.
NAMES = ["tt0", "tt1", "Ethernet 3"]

ADDRESS = "10.0.0.1/24"


class TapCase(WindowsCase):
    """
    A test case with a fake of the driver.
    """

    def makeFake(self) -> None:
        """
        Make the fake of the driver.
        """
        self.system = FakeWindows()
        self.network = self.system.kernel
        self.network.taps += [FakeTap(name, number) for number, name in enumerate(NAMES)]

    def device(self, name: str = "tt%d", mode: int = TAP, address: str | None = None) -> TapDevice:
        """
        Make a device, which is not open yet.
        """
        device: TapDevice = self.made(TapDevice(name, mode, address, self.system))
        return device

    def openedDevice(self, name: str = "tt%d", mode: int = TAP, address: str | None = None) -> TapDevice:
        """
        Make a device, and open it.
        """
        device = self.device(name, mode, address)
        device.open()
        return device

    def woken(self, device: TapDevice) -> threading.Event:
        """
        Receive all packets that wait, and have the device's thread set an event when others arrive.
        """
        while device.receive() is not None:
            pass
        event = threading.Event()
        device.readable(event.set)
        return event


class TapContractTests(TapCase, WindowsContract):
    """
    The tests of the L{IDevice} contract on a tap.
    """

    mode = TAP
    # Some packets wait in the driver, and some have been read already.
    queueLength = QUEUE_LENGTH + TRANSFERS

    def nameless(self) -> str:
        return NAMES[0]

    def test_aDeviceRaisesAfterItsInterfaceWasDeleted(self) -> None:
        # The device has read the packet before the deletion.
        device = self.opened()
        self.deliver(device, sample(self.mode))
        self.deleteInterface(device)
        self.assertEqual(sample(self.mode), bytes(device.receive() or b""))
        self.assertRefused(EBADFD, device.receive)
        self.assertRefused(EBADFD, lambda: device.send([sample(self.mode)]))


class TapTUNContractTests(TapContractTests):
    """
    The tests of the L{IDevice} contract on a tun of the driver.
    """

    mode = TUN
    longest = 65535
    shortest = sample(TUN)[:20]

    def makeDevice(self, name: str = "tt%d") -> IDevice:
        return self.device(name, TUN, ADDRESS)


class TapTests(TapCase):
    """
    Tests for what only a L{TapDevice} does.
    """

    def test_theCarrierIsOnWhileTheDeviceIsOpen(self) -> None:
        device = self.openedDevice("Ethernet 3")
        self.assertEqual((True, None), self.network.settings("Ethernet 3"))
        device.close()
        self.assertFalse(self.network.settings("Ethernet 3")[0])

    def test_theStateOfTheAdapterIsRead(self) -> None:
        device = self.openedDevice("ETHERNET 3")
        self.assertEqual(("Ethernet 3", 1500, (9, 27)), (device.name, device.mtu, device.driverVersion))
        self.assertEqual(b"\x00\xff\x12\x34\x56\x02", device.linkAddress)

    def test_aTunHasTheAddressesOfTheDriver(self) -> None:
        for address, packed in (
            ("10.0.0.1/24", b"\x0a\0\0\x01\x0a\0\0\0\xff\xff\xff\0"),
            ("10.0.0.1 peer 10.9.0.2/32", b"\x0a\0\0\x01\x0a\x09\0\x02\xff\xff\xff\xff"),
        ):
            device = self.openedDevice("tt1", TUN, address)
            self.assertEqual((True, packed), self.network.settings("tt1"))
            self.assertIsNone(device.linkAddress)
            device.close()

    def test_aTunNeedsAnAddress(self) -> None:
        error = self.assertRaises(ValueError, self.device, "tt0", TUN)
        self.assertIn("give an address such as '10.0.0.1/24', or use a WintunDevice", str(error))
        for address in "fe80::1/64", "10.0.0.1", "me":
            self.assertRaises(ValueError, self.device, "tt0", TUN, address)
        self.assertRaises(ValueError, self.device, "tt0", TAP, ADDRESS)

    def test_theNextFreeAdapterIsOpened(self) -> None:
        self.assertEqual(NAMES, [self.openedDevice("").name for _ in NAMES])
        error = self.refused(self.device("").open)
        self.assertEqual(errno.EBUSY, error.errno)
        self.assertRegex(str(error), "Ethernet 3: another program has it open: .*error 31")

    def test_anAdapterThatIsOpenIsRefused(self) -> None:
        self.openedDevice("tt0")
        self.assertEqual(errno.EBUSY, self.refused(self.device("tt0").open).errno)
        self.assertEqual("tt1", self.openedDevice("tt%d").name)

    def test_anUnknownNameIsRefused(self) -> None:
        error = self.refused(self.device("home").open)
        self.assertEqual(errno.ENODEV, error.errno)
        self.assertIn("is called home: use one of tt0, tt1, Ethernet 3, rename it, or install", str(error))

    def test_refusalsSayWhatToDo(self) -> None:
        for code, words in (
            (ERROR_ACCESS_DENIED, "tt0: only an administrator may open it: "),
            (ERROR_FILE_NOT_FOUND, "tt0: its driver does not run, or the adapter is disabled"),
            (1450, "tt0: tap-windows6 refuses .*error 1450"),
        ):
            self.network.fail("CreateFile", code)
            self.assertRegex(str(self.refused(self.device("tt0").open)), words)
        self.network.fail("CreateFile", 0)

    def test_nothingIsLeftIfAReadCannotBegin(self) -> None:
        self.network.fail("ReadFile", ERROR_INVALID_USER_BUFFER)
        self.assertIn("error 1784", str(self.refused(self.device("tt0").open)))
        self.assertNothingIsLeft()
        self.network.fail("ReadFile", 0)

    def test_offloadIsRefused(self) -> None:
        self.assertEqual(errno.ENOTSUP, self.refused(lambda: self.device().open(True)).errno)

    def test_packetsKeepTheirOrder(self) -> None:
        device = self.openedDevice()
        got = []
        for number in range(200):
            self.network.deliver(device.name, sample(TAP, b"%d" % number))
            if number % 30 == 29:
                while (packet := device.receive()) is not None:
                    got.append(bytes(packet))
        while (packet := device.receive()) is not None:
            got.append(bytes(packet))
        self.assertEqual([sample(TAP, b"%d" % number) for number in range(200)], got)

    def test_aSlowDriverRefusesPackets(self) -> None:
        device = self.openedDevice()
        self.network.setSlow(True)
        for _ in range(TRANSFERS):
            device.send([sample(TAP)])
        self.assertEqual(errno.ENOBUFS, self.refused(lambda: device.send([sample(TAP)])).errno)
        self.network.setSlow(False)
        device.send([sample(TAP)])
        self.assertEqual(TRANSFERS + 1, len(self.network.taken(device.name)))

    def test_aDeviceClosesWhileTheDriverSends(self) -> None:
        device = self.openedDevice()
        self.network.setSlow(True)
        device.send([sample(TAP)])
        device.close()
        self.assertNothingIsLeft()

    # A driver that cannot be trusted

    def test_packetsThatCannotBeAreCounted(self) -> None:
        device = self.openedDevice()
        for data in b"", b"x" * 13, bytes(3000), sample(TAP):
            self.network.deliver(device.name, data)
        self.assertEqual(sample(TAP), bytes(device.receive() or b""))
        self.assertEqual((2, 1), (device.counters["inTruncated"], device.counters["inErrors"]))

    def test_manyWrongPacketsLeaveTheReactorItsTurns(self) -> None:
        device = self.openedDevice()
        for _ in range(70):
            self.network.deliver(device.name, b"")
        calls: list[None] = []
        self.assertIsNone(device.receive())
        device.readable(lambda: calls.append(None))
        self.assertEqual([None], calls)
        self.assertIsNone(device.receive())
        self.assertEqual(70, device.counters["inTruncated"])

    # The device's thread

    def test_aPacketWakesTheProgram(self) -> None:
        device = self.openedDevice()
        for number in range(50):
            event = self.woken(device)
            self.assertFalse(event.is_set())
            self.network.deliver(device.name, sample(TAP, b"%d" % number))
            self.assertTrue(event.wait(PATIENCE))
            self.assertEqual(sample(TAP, b"%d" % number), bytes(device.receive() or b""))

    def test_aRemovedAdapterWakesTheProgram(self) -> None:
        device = self.openedDevice()
        event = self.woken(device)
        self.network.remove(device.name)
        self.assertTrue(event.wait(PATIENCE))
        self.assertEqual(EBADFD, self.refused(device.receive).errno)
        self.assertEqual(EBADFD, self.refused(lambda: device.send([sample(TAP)])).errno)

    def test_aDeviceClosesWhileItsThreadWaits(self) -> None:
        for _ in range(10):
            device = self.openedDevice()
            self.woken(device)
            device.close()
            self.assertNothingIsLeft()

    # Sleep

    def test_theAdapterIsOpenedAgainAfterSleep(self) -> None:
        self.patch(tap, "RETRY", 20)
        for code in ERROR_OPERATION_ABORTED, ERROR_GEN_FAILURE, ERROR_INVALID_USER_BUFFER:
            device = self.openedDevice()
            event = self.woken(device)
            self.network.sleep(device.name, code)
            self.assertTrue(event.wait(PATIENCE))
            self.assertIsNone(device.receive())
            self.assertEqual(errno.EIO, self.refused(partial(device.send, [sample(TAP)])).errno)
            while device.counters["inInterruptions"] and not self.network.settings(device.name)[0]:
                event = threading.Event()
                device.readable(event.set)
                self.assertTrue(event.wait(PATIENCE))
                self.awake()
                device.receive()
            self.network.deliver(device.name, sample(TAP))
            self.assertEqual(sample(TAP), bytes(device.receive() or b""))
            device.send([sample(TAP)])
            self.assertEqual([sample(TAP)], self.network.taken(device.name))
            self.assertEqual(1, device.counters["inInterruptions"])
            device.close()

    def awake(self) -> None:
        """
        Let the time pass until the device tries to open its adapter again.
        """
        self.system.now += 1.0


class FakeOnlyTests(TapCase):
    """
    Tests that need the fake in Python.
    """

    def test_aTunIsConfiguredAgainAfterSleep(self) -> None:
        device = self.openedDevice("tt0", TUN, ADDRESS)
        before = self.network.settings("tt0")
        self.network.sleep("tt0")
        device.receive()
        self.system.now += 1.0
        device.receive()
        self.assertEqual(before, self.network.settings("tt0"))
        self.assertEqual((True, 12), (before[0], len(before[1])))

    def test_anAdapterThatDoesNotWakeIsLost(self) -> None:
        for call in "CreateFile", "ReadFile":
            device = self.openedDevice("tt0")
            self.network.fail(call, ERROR_GEN_FAILURE)
            self.network.sleep("tt0")
            for _ in range(MAX_TRIES):
                self.assertIsNone(device.receive())
                self.system.now += 1.0
            error = self.refused(device.receive)
            self.assertEqual(EBADFD, error.errno)
            self.assertIn("it cannot be opened again (error 31", str(error))
            device.close()
            self.network.fail(call, 0)

    def test_anAdapterThatFallsAsleepAgainAndAgainIsLost(self) -> None:
        device = self.openedDevice("tt0")
        for _ in range(MAX_TRIES):
            self.network.sleep("tt0")
            self.assertIsNone(device.receive())
            self.system.now += 1.0
            self.assertIsNone(device.receive())
        self.network.sleep("tt0")
        self.assertEqual(EBADFD, self.refused(device.receive).errno)

    def test_manySleepsInALongTimeAreHarmless(self) -> None:
        device = self.openedDevice("tt0")
        for _ in range(2 * MAX_TRIES):
            self.network.sleep("tt0")
            self.assertIsNone(device.receive())
            self.system.now += 1000.0
            self.assertIsNone(device.receive())
            self.assertTrue(self.network.settings("tt0")[0])
            self.system.now += 1000.0

    def test_anAdapterThatDisappearsWhileAsleepIsLost(self) -> None:
        device = self.openedDevice("tt0")
        self.network.sleep("tt0")
        self.assertIsNone(device.receive())
        self.network.remove("tt0")
        self.system.now += 1.0
        self.assertIn("its adapter was removed", str(self.refused(device.receive)))

    def test_aDeviceThatIsNotThereAnyMoreIsLost(self) -> None:
        device = self.openedDevice("tt0")
        self.network.sleep("tt0", ERROR_DEVICE_NOT_CONNECTED)
        self.assertEqual(EBADFD, self.refused(device.receive).errno)
        device.close()
        device.open()
        self.network.fail("WriteFile", ERROR_DEVICE_NOT_CONNECTED)
        self.assertEqual(EBADFD, self.refused(lambda: device.send([sample(TAP)])).errno)
        self.network.fail("WriteFile", 0)

    def test_theDriverReplacedWhileAsleepIsNotTrusted(self) -> None:
        device = self.openedDevice("tt0")
        self.network.sleep("tt0")
        self.assertIsNone(device.receive())
        self.network.named("tt0").version = b"x"
        self.system.now += 1.0
        self.assertEqual(EBADFD, self.refused(device.receive).errno)

    def test_aDriverWithoutAStateIsRefused(self) -> None:
        for attribute, value in (
            ("linkAddress", b"\x00\xff"),
            ("linkAddress", b"\x01\xff\x00\x00\x00\x00"),
            ("version", b""),
        ):
            fake = self.network.named("tt0")
            before = getattr(fake, attribute)
            setattr(fake, attribute, value)
            self.assertEqual(errno.EIO, self.refused(self.device("tt0").open).errno)
            setattr(fake, attribute, before)
            self.assertNothingIsLeft()

    def test_anImpossibleMTUIsIgnored(self) -> None:
        for mtu, expected in (0, 1500), (0xFFFFFFFF, 1500), (1400, 1400), (9000, 9000):
            self.network.named("tt0").mtu = mtu
            device = self.openedDevice("tt0")
            self.assertEqual(expected, device.mtu)
            packet = sample(TAP).ljust(expected + 14, b"\0")
            self.network.deliver("tt0", packet)
            self.assertEqual(packet, bytes(device.receive() or b""))
            device.close()

    def test_anOldDriverHasNoTun(self) -> None:
        self.network.named("tt0").version = b"\x08\0\0\0\x01\0\0\0\0\0\0\0"
        error = self.refused(self.device("tt0", TUN, ADDRESS).open)
        self.assertEqual((errno.ENOTSUP, True), (error.errno, "8.1" in str(error)))
        self.openedDevice("tt0")

    def test_anImpossibleLengthIsCounted(self) -> None:
        device = self.openedDevice("tt0")
        for size in 2049, 70000, 0xFFFFFFFF:
            self.network.wrongSize(size)
            self.network.deliver("tt0", sample(TAP))
        self.assertIsNone(device.receive())
        self.assertEqual(3, device.counters["inErrors"])

    def test_aSignalWithoutAPacketDoesNotWakeTheProgramForEver(self) -> None:
        device = self.openedDevice("tt0")
        self.assertIsNone(device.receive())
        for _ in range(3):
            event = threading.Event()
            device.readable(event.set)
            self.network.signal("tt0")
            self.assertTrue(event.wait(PATIENCE))
            self.assertIsNone(device.receive())
        self.assertEqual({"inFalseSignals": 3}, device.counters)
        event = threading.Event()
        device.readable(event.set)
        self.assertFalse(event.wait(0.05))

    def test_aLateErrorOfAWriteIsCounted(self) -> None:
        device = self.openedDevice("tt0")
        self.network.isSlow = True
        for _ in range(TRANSFERS):
            device.send([sample(TAP)])
        self.network.endWrites("tt0", ERROR_GEN_FAILURE)
        for _ in range(TRANSFERS):
            device.send([sample(TAP)])
        self.assertEqual(TRANSFERS, device.counters["outErrors"])
        self.network.endWrites("tt0")

    def test_theMemoryOfATransferThatDoesNotEndIsKept(self) -> None:
        self.patch(transfer, "_MOST_WAIT", 20)
        self.patch(transfer, "_abandoned", [])
        device = self.openedDevice("tt0")
        fake = self.network.named("tt0")
        self.network.isStubborn = True
        device.close()
        self.assertEqual(TRANSFERS, len(transfer._abandoned))
        self.network.isStubborn = False
        for each in list(fake.reads):
            # The driver writes late.
            fake.arriving.append(bytes(2048))
            self.network._serve(fake)
            self.assertIn(each[1], [ctypesAddress(kept) for kept in transfer._abandoned])
        for kept in transfer._abandoned:
            self.system.kernel.close(kept.event)

    def test_noThreadWaitsForAnEventThatIsClosed(self) -> None:
        device = self.openedDevice("tt0")
        for _ in range(20):
            event = self.woken(device)
            # The reads end without a signal.
            self.network.failReads("tt0", ERROR_OPERATION_ABORTED)
            self.assertIsNone(device.receive())
            self.assertTrue(event.wait(PATIENCE))
            self.system.now += 1000.0
            self.assertIsNone(device.receive())
            self.assertTrue(self.network.settings("tt0")[0])

    def test_aForgottenDeviceEndsItsReads(self) -> None:
        TapDevice("tt0", system=self.system).open()
        gc.collect()
        self.assertEqual((0, 0), (self.network.opened(), len(self.network.named("tt0").reads)))

    def test_aForgottenDeviceExistsUntilItsThreadHasCalled(self) -> None:
        device = TapDevice("tt0", system=self.system)
        device.open()
        event = self.woken(device)
        waiter = device._waiter
        assert waiter is not None
        del device
        gc.collect()
        self.assertEqual(1, self.network.opened())
        self.network.deliver("tt0", sample(TAP))
        self.assertTrue(event.wait(PATIENCE))
        waiter.stop()
        gc.collect()
        self.assertEqual(0, self.network.opened())

    def test_aSignalByMistakeFreesNoMemory(self) -> None:
        self.patch(transfer, "_MOST_WAIT", 20)
        self.patch(transfer, "_abandoned", [])
        device = self.openedDevice("tt0")
        self.network.isStubborn = True
        for overlapped, *_ in self.network.named("tt0").reads:
            self.network.setEvent(overlapped.event)
        device.close()
        self.assertEqual(TRANSFERS, len(transfer._abandoned))
        for kept in transfer._abandoned:
            self.system.kernel.close(kept.event)

    def test_nothingIsLeftIfTheInterfaceCannotBeRead(self) -> None:
        for call in "byGUID", "index", "mtu":
            self.patch(self.system.links, "byGUID", lambda guid: 1)
            self.patch(self.system.links, call, refuse)
            self.assertEqual(errno.ENOTSUP, self.refused(self.device("tt0").open).errno)
            self.assertNothingIsLeft()
            self.patch(self.system.links, call, partial(getattr(FakeLinks, call), self.system.links))

    def test_noEventsAreAnError(self) -> None:
        self.network.noEvents = True
        # A file of the fake has an event, too.
        self.assertRaises(OSError, self.device("tt0").open)
        self.network.noEvents = False

    def test_theDeviceIsChosenByItsName(self) -> None:
        self.assertIsInstance(makeDevice("tt0", TAP, system=self.system), TapDevice)
        self.assertIsInstance(makeDevice("tun%d", TUN, system=self.system), WintunDevice)
        self.assertIsInstance(makeDevice("", TUN, system=self.system), WintunDevice)
        self.assertRaises(ValueError, makeDevice, "ethernet 3", TUN, system=self.system)
        device = makeDevice("ethernet 3", TUN, system=self.system, address=ADDRESS)
        self.assertEqual((TapDevice, TUN), (type(device), device.mode))

    def test_thereIsNoAdapter(self) -> None:
        self.network.taps.clear()
        error = self.refused(self.device().open)
        self.assertEqual(errno.ENODEV, error.errno)
        self.assertIn("install tap-windows6 (www.openvpn.net)", str(error))


def ctypesAddress(kept: Any) -> int:
    """
    Return the address of the memory of a transfer.
    """
    return ctypes.addressof(kept._buffer)
