"""
Tests for the Linux device over a replacement for the operating system, for behaviour that the kernel shows only rarely.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from typing import Any

from twisted.pair.testing import MemoryIOSystem as PairSystem
from twisted.pair.testing import Tunnel as PairTunnel
from twisted.trial.unittest import SynchronousTestCase

from tests.device.contract import sample
from txtuntap.device import TAP, TUN
from txtuntap.device.linux import LinuxDevice
from txtuntap.device.linux.ioctl import (
    IFF_NO_PI,
    IFF_TAP,
    IFF_TUN,
    IFF_VNET_HDR,
    TUNGETIFF,
    TUNSETIFF,
    TUNSETOFFLOAD,
    TUNSETVNETHDRSZ,
)
from txtuntap.device.packets import MAX_HEADERS
from txtuntap.interfaces import IDevice
from txtuntap.testing import MemoryIOSystem, Tunnel, udpPacket


class System:
    """
    A replacement for the system calls of a device, with results that a test sets.
    """

    O_RDWR = os.O_RDWR
    O_NONBLOCK = os.O_NONBLOCK
    O_CLOEXEC = os.O_CLOEXEC

    def __init__(self) -> None:
        self.opened: list[tuple[bytes, int]] = []
        self.closed: list[int] = []
        self.asked: list[tuple[int, bytes | int]] = []
        self.reads: list[bytes | OSError] = []
        self.limits: list[int] = []
        self.writes: list[OSError | None] = []
        self.written: list[bytes] = []
        self.openError: OSError | None = None
        #: The answers to ioctls by their numbers. Other ioctls fail with ENOTTY.
        self.ioctls: dict[int, Callable[[Any], Any]] = {TUNSETIFF: lambda request: request}

    def open(self, name: bytes, flags: int) -> int:
        if self.openError is not None:
            raise self.openError
        self.opened.append((name, flags))
        return 1000

    def ioctl(self, fd: int, request: int, argument: Any) -> Any:
        self.asked.append((request, argument))
        if request not in self.ioctls:
            raise OSError(errno.ENOTTY, "no such call")
        return self.ioctls[request](argument)

    def read(self, fd: int, limit: int) -> bytes:
        self.limits.append(limit)
        result = self.reads.pop(0)
        if isinstance(result, OSError):
            raise result
        return result[:limit]

    def write(self, fd: int, data: bytes) -> int:
        error = self.writes.pop(0) if self.writes else None
        if error is not None:
            raise error
        self.written.append(data)
        return len(data)

    def close(self, fd: int) -> None:
        self.closed.append(fd)


def refuse(number: int) -> Callable[[Any], Any]:
    """
    Make an ioctl that fails with an error number.
    """

    def call(argument: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return call


class LinuxDeviceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.system = System()

    def opened(self, mode: int = TUN, information: bool = False) -> LinuxDevice:
        """
        Make a device and open it.
        """
        device = LinuxDevice("tt%d", mode, information, self.system)
        device.open()
        return device

    def test_aDescriptorThatIsNeverUsedIsClosed(self) -> None:
        LinuxDevice("tt0", TUN, system=self.system, descriptor=55).close()
        self.assertEqual(self.system.closed, [55])

    def test_aLinuxDeviceProvidesIDevice(self) -> None:
        self.assertTrue(IDevice.providedBy(LinuxDevice("tt0", TUN)))

    def test_anotherModeIsRefused(self) -> None:
        for mode in 0, TUN | TAP, 4:
            self.assertRaises(ValueError, LinuxDevice, "tt0", mode)

    def test_theDescriptorIsNonBlockingAndCloseOnExec(self) -> None:
        self.assertEqual(self.opened().fileno(), 1000)
        self.assertEqual(self.system.opened, [(b"/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)])

    def test_theRequestHasTheNameAndTheFlags(self) -> None:
        for mode in TUN, TAP:
            for information in False, True:
                self.system.asked.clear()
                self.opened(mode, information)
                call, argument = self.system.asked[0]
                assert isinstance(argument, bytes)
                self.assertEqual(call, TUNSETIFF)
                name, flags = struct.unpack_from("16sH", argument)
                self.assertEqual(name, b"tt%d".ljust(16, b"\0"))
                self.assertEqual(flags, mode | (0 if information else IFF_NO_PI))

    def test_theKernelsNameIsUsed(self) -> None:
        self.system.ioctls[TUNSETIFF] = lambda request: b"other7".ljust(16, b"\0") + request[16:]
        self.assertEqual(self.opened().name, "other7")

    def test_openingAgainRequestsTheOriginalName(self) -> None:
        self.system.ioctls[TUNSETIFF] = lambda request: b"tt0".ljust(16, b"\0") + request[16:]
        device = self.opened()
        device.close()
        self.system.asked.clear()
        device.open()
        argument = self.system.asked[0][1]
        assert isinstance(argument, bytes)
        self.assertEqual(argument[:4], b"tt%d")

    def test_offloadHeadersThatWereNotRequestedAreHandled(self) -> None:
        self.system.ioctls[TUNGETIFF] = lambda _: struct.pack("16sH22x", b"tt0", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR)
        self.system.ioctls[TUNSETOFFLOAD] = lambda _: 0
        self.system.ioctls[TUNSETVNETHDRSZ] = lambda _: 0
        device = self.opened()
        self.assertIn((TUNSETVNETHDRSZ, struct.pack("i", 10)), self.system.asked)
        packet = sample(TUN)
        self.system.reads = [bytes(10) + packet]
        received = device.receive()
        assert received is not None
        self.assertEqual((bytes(received), received.partial), (packet, False))
        self.assertEqual(device.send([packet]), len(packet))
        self.assertEqual(self.system.written, [bytes(10) + packet])

    def test_theCacheOfOffloadHeadersIsBounded(self) -> None:
        self.system.ioctls[TUNGETIFF] = lambda _: struct.pack("16sH22x", b"tt0", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR)
        self.system.ioctls[TUNSETOFFLOAD] = lambda _: 0
        self.system.ioctls[TUNSETVNETHDRSZ] = lambda _: 0
        device = self.opened()
        for number in range(MAX_HEADERS + 1):
            self.system.reads = [number.to_bytes(2, "big") + bytes(8) + sample(TUN)] * 2
            device.receive()
            device.receive()
            (state,) = device.tables()
            self.assertEqual(state.size, number + 1 if number < MAX_HEADERS else 1)
        device.close()
        self.assertEqual(self.opened().tables()[0].size, 0)

    def test_aDeviceOfTheOtherKindIsRefused(self) -> None:
        self.system.ioctls[TUNGETIFF] = lambda _: struct.pack("16sH22x", b"tt0", IFF_TAP | IFF_NO_PI)
        error = self.assertRaises(OSError, self.opened)
        self.assertEqual(error.errno, errno.EINVAL)
        self.assertIn("tt0 is a tap, not a tun", str(error))
        self.assertEqual(self.system.closed, [1000])

    def test_theDescriptorIsClosedIfAttachingFails(self) -> None:
        for number in errno.EBUSY, errno.EINVAL, errno.EPERM, errno.ENOMEM:
            self.system.closed.clear()
            self.system.ioctls[TUNSETIFF] = refuse(number)
            device = LinuxDevice("tt0", TUN, system=self.system)
            error = self.assertRaises(OSError, device.open)
            self.assertEqual((error.errno, self.system.closed, device.fileno()), (number, [1000], -1))
            self.assertIn("TUNSETIFF: ", str(error))

    def test_errorsOfTheNodeSayWhatToDo(self) -> None:
        words = {
            errno.ENOENT: "modprobe tun",
            errno.ENODEV: "no driver",
            errno.ENXIO: "no driver",
            errno.EACCES: "root",
        }
        for number, advice in words.items():
            self.system.openError = OSError(number, os.strerror(number))
            error = self.assertRaises(OSError, self.opened)
            self.assertEqual(error.errno, number)
            self.assertIn("/dev/net/tun: ", str(error))
            self.assertIn(advice, str(error))

    def test_otherErrorsHaveTheSystemsText(self) -> None:
        self.system.openError = OSError(errno.EMFILE, "")
        self.assertIn("Too many open files", str(self.assertRaises(OSError, self.opened)))

    def test_receiveReturnsNoneIfNoPacketWaits(self) -> None:
        device = self.opened()
        for number in errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR:
            self.system.reads = [OSError(number, "not now")]
            self.assertIsNone(device.receive())

    def test_oneOctetMoreIsReadToDetectACut(self) -> None:
        device = self.opened()
        self.system.reads = [bytes(100), bytes(101)]
        whole, cut = device.receive(100), device.receive(100)
        assert whole is not None and cut is not None
        self.assertEqual((len(whole), whole.partial, len(cut), cut.partial), (100, False, 100, True))
        self.assertEqual(self.system.limits, [101, 101])

    def test_otherErrorsOfReadAndWriteAreRaised(self) -> None:
        device = self.opened()
        self.system.reads = [OSError(errno.EBADFD, "gone")]
        self.assertEqual(self.assertRaises(OSError, device.receive).errno, errno.EBADFD)
        self.system.writes = [OSError(errno.ENOBUFS, "full")]
        self.assertEqual(self.assertRaises(OSError, device.send, [b"\x45"]).errno, errno.ENOBUFS)

    def test_aSignalDoesNotLoseAPacket(self) -> None:
        device = self.opened()
        self.system.writes = [OSError(errno.EINTR, "a signal"), OSError(errno.EINTR, "another")]
        self.assertEqual(device.send([b"\x45", b"abc"]), 4)
        self.assertEqual(self.system.written, [b"\x45abc"])

    def test_protocolInformationIsReadAndWritten(self) -> None:
        for mode, etherType in (TUN, 0x0800), (TAP, 0):
            device = self.opened(mode, information=True)
            packet = sample(mode)
            self.system.written.clear()
            self.assertEqual(device.send([packet]), len(packet))
            self.assertEqual(self.system.written, [b"\0\0\x08\0" + packet])
            self.system.reads = [b"\0\0\x08\0" + packet]
            received = device.receive()
            assert received is not None
            self.assertEqual((bytes(received), received.partial), (packet, False))
            # A tap's frame has its own EtherType, which no layer has read yet.
            self.assertEqual((received.readEtherType, received.etherType), (etherType, 0x0800))

    def test_protocolInformationMarksACutPacket(self) -> None:
        device = self.opened(information=True)
        # struct tun_pi: TUN_PKT_STRIP in native byte order, then the EtherType in network byte order.
        self.system.reads = [struct.pack("=H", 0x0001) + b"\x08\0" + sample(TUN)]
        received = device.receive()
        assert received is not None
        self.assertTrue(received.partial)

    def test_incompleteProtocolInformationIsIgnored(self) -> None:
        device = self.opened(information=True)
        self.system.reads = [b"\0\0\x08"]
        self.assertIsNone(device.receive())

    def test_closingTwiceClosesTheDescriptorOnce(self) -> None:
        device = self.opened()
        device.close()
        device.close()
        self.assertEqual(self.system.closed, [1000])

    def test_theContextManagerOpensOnlyAClosedDevice(self) -> None:
        device = self.opened()
        with device:
            self.assertEqual(len(self.system.opened), 1)
        self.assertEqual((device.fileno(), self.system.closed), (-1, [1000]))

    def test_settersOfAClosedDeviceRaise(self) -> None:
        device = LinuxDevice("tt0", TUN, system=System())
        for call in (
            lambda: device.setPersistent(True),
            lambda: device.setOwner(0),
            lambda: device.setGroup(0),
            lambda: device.setCarrier(True),
            lambda: device.setSendBuffer(1000),
        ):
            error = self.assertRaises(OSError, call)
            self.assertEqual(error.errno, errno.EBADF)
            self.assertIn("tt0 is not open", str(error))


class MemorySystemTests(SynchronousTestCase):
    """
    Tests that a device works with the memory systems of txtuntap and of twisted.pair.
    """

    def assertWorks(self, system: Any, tunnel: Any) -> None:
        """
        Assert that a device sends and receives a packet, without and with protocol information, through a memory
        system.
        """
        system.registerSpecialDevice(tunnel._DEVICE_NAME, tunnel)
        for information in False, True:
            device = LinuxDevice("tt0", TUN, information, system)
            device.open()
            self.assertTrue(device.name.startswith("tt0"))
            self.assertIsNone(device.receive())
            source = system.sendUDP(b"hello", ("10.9.0.2", 1234))
            received = device.receive()
            assert received is not None
            self.assertTrue(bytes(received).endswith(b"hello"))
            # The memory system of twisted.pair delivers only to this port.
            device.send([udpPacket("10.9.0.2", source[0], 1234, 12345, b"back")])
            self.assertEqual(system.receiveUDP(device.fileno(), source[0], 12345).recv(100), b"back")
            device.close()

    def test_theMemorySystemOfTxtuntapWorks(self) -> None:
        self.assertWorks(MemoryIOSystem(), Tunnel)

    def test_theMemorySystemOfTwistedPairWorks(self) -> None:
        self.assertWorks(PairSystem(), PairTunnel)

    def test_callsWithoutPermissionRaise(self) -> None:
        system = MemoryIOSystem()
        system.registerSpecialDevice(Tunnel._DEVICE_NAME, Tunnel)
        for call in "open", "ioctl":
            system.permissions.remove(call)
            error = self.assertRaises(OSError, LinuxDevice("tt0", TUN, system=system).open)
            self.assertEqual(error.errno, errno.EPERM)
            system.permissions.add(call)
