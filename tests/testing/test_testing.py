"""
Tests for L{txtuntap.testing}: the functions that make packets, the clock, and the calls of the operating system in
memory. The device in memory is tested together with the real one.
"""

from __future__ import annotations

import errno
import struct

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.device.linux.ioctl import IFF_NO_PI, IFF_TAP, IFF_TUN, TUNGETIFF, TUNSETIFF
from txtuntap.layer.timer import Timer
from txtuntap.testing import MemoryIOSystem, SettableClock, Tunnel, ethernetFrame, ipPacket, udpDatagram, udpPacket
from txtuntap.wire.checksum import onesSum

NODE = b"/dev/net/tun"
OWN, PEER = "02:00:00:00:00:01", "02:00:00:00:00:02"
FOUR, SIX = ("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")


class BuilderTests(SynchronousTestCase):
    def test_ethernetFrameMakesAFrame(self) -> None:
        self.assertEqual(ethernetFrame(PEER, OWN, 0x0800, b"x"), bytes.fromhex("020000000001 020000000002 0800") + b"x")

    def test_ethernetFrameMakesATaggedFrame(self) -> None:
        frame = ethernetFrame(PEER, OWN, 0x0800, b"x", vlan=5)
        self.assertEqual(frame[12:], bytes.fromhex("8100 0005 0800") + b"x")

    def test_packetHasTheVersionOfItsAddresses(self) -> None:
        for pair, version, header in ((FOUR, 4, 20), (SIX, 6, 40)):
            packet = ipPacket(*pair, 17, b"x", 9)
            self.assertEqual((packet[0] >> 4, packet[header:]), (version, b"x"))

    def test_packetBetweenVersionsIsAValueError(self) -> None:
        with self.assertRaises(ValueError) as raised:
            ipPacket("10.0.0.1", "fd00::1", 17, b"")
        self.assertIn("fd00::1", str(raised.exception))

    def test_addressesMayBePacked(self) -> None:
        self.assertEqual(ipPacket(bytes((10, 0, 0, 1)), "10.0.0.2", 17, b""), ipPacket(*FOUR, 17, b""))

    def test_udpDatagramHasAChecksum(self) -> None:
        datagram = udpDatagram(*FOUR, 1, 2, b"payload")
        pseudo = bytes((10, 0, 0, 1, 10, 0, 0, 2, 0, 17, 0, len(datagram)))
        self.assertEqual(onesSum(pseudo + datagram), 0)

    def test_udpPacketContainsADatagram(self) -> None:
        expected = ipPacket(*FOUR, 17, udpDatagram(*FOUR, 1, 2, b"payload"), hopLimit=9)
        self.assertEqual(udpPacket(*FOUR, 1, 2, b"payload", hopLimit=9), expected)


class ClockTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = SettableClock()

    def times(self) -> tuple[float, float]:
        return self.clock.seconds(), self.clock.steadySeconds()

    def test_advanceMovesBothTimes(self) -> None:
        self.clock.advance(2)
        self.clock.pump([1, 1.5])
        self.assertEqual(self.times(), (4.5, 4.5))

    def test_setByMovesTheWallClockOnly(self) -> None:
        self.clock.advance(10)
        self.clock.setBy(-3600)
        self.assertEqual(self.times(), (-3590, 10))
        self.clock.setBy(7200)
        self.assertEqual(self.times(), (3610, 10))

    def test_delayedCallsAreDueByTheWallClock(self) -> None:
        called: list[tuple[float, float]] = []
        self.clock.callLater(10, lambda: called.append(self.times()))
        self.clock.callLater(100, lambda: called.append(self.times()))
        self.clock.setBy(50)
        self.assertEqual(called, [])
        self.clock.advance(0)
        self.assertEqual(called, [(50, 0)])
        self.clock.setBy(-1000)
        self.clock.advance(1049)
        self.assertEqual(len(called), 1)
        self.clock.advance(1)
        self.assertEqual(called[1:], [(100, 1050)])

    def test_timersAreReArmedOnlyIfTheStepIsNoticed(self) -> None:
        for noticed in True, False:
            timer = Timer(self.clock, int)
            timer.arm(10)
            self.clock.setBy(-3600, noticed)
            self.clock.advance(10)
            self.assertEqual(timer.armed, not noticed)


class SystemTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.system = MemoryIOSystem()
        self.system.registerSpecialDevice(NODE, Tunnel)

    def attached(self, mode: int) -> int:
        fd = self.system.open(NODE, self.system.O_RDWR | self.system.O_NONBLOCK)
        self.system.ioctl(fd, TUNSETIFF, b"x0".ljust(16, b"\0") + struct.pack("H", mode))
        return fd

    def number(self, call: object, *arguments: object) -> int | None:
        with self.assertRaises(OSError) as raised:
            call(*arguments)  # type: ignore[operator]
        number: int | None = raised.exception.errno
        return number

    def test_openingAnUnregisteredDeviceIsENOSYS(self) -> None:
        self.assertEqual(self.number(self.system.open, b"/dev/other", 0), errno.ENOSYS)

    def test_callsWithoutPermissionAreEPERM(self) -> None:
        fd = self.attached(IFF_TUN)
        self.system.permissions.clear()
        self.assertEqual(self.number(self.system.open, NODE, 0), errno.EPERM)
        self.assertEqual(self.number(self.system.ioctl, fd, TUNSETIFF, bytes(18)), errno.EPERM)

    def test_callsOnAClosedDescriptorAreEBADF(self) -> None:
        fd = self.attached(IFF_TUN)
        self.system.close(fd)
        for call, *arguments in (
            (self.system.read, fd, 1),
            (self.system.write, fd, b""),
            (self.system.close, fd),
            (self.system.ioctl, fd, TUNSETIFF, bytes(18)),
        ):
            self.assertEqual(self.number(call, *arguments), errno.EBADF)

    def test_anUnknownRequestIsEINVAL(self) -> None:
        self.assertEqual(self.number(self.system.ioctl, self.attached(IFF_TUN), TUNGETIFF, bytes(40)), errno.EINVAL)

    def test_sendUDPAddsAPacketOfTheDevicesKind(self) -> None:
        for mode, before in ((IFF_TUN | IFF_NO_PI, 0), (IFF_TUN, 4), (IFF_TAP | IFF_NO_PI, 14), (IFF_TAP, 18)):
            fd = self.attached(mode)
            source = self.system.sendUDP(b"payload", ("10.0.0.2", 7))
            packet = udpPacket(source[0], "10.0.0.2", source[1], 7, b"payload")
            self.assertEqual(self.system.read(fd, 2000)[before:], packet)
            self.system.close(fd)

    def test_receiveUDPReturnsAWrittenDatagram(self) -> None:
        packet = udpPacket(*FOUR, 1, 2, b"payload")
        frame = ethernetFrame(PEER, OWN, 0x0800, packet)
        for mode, data in ((IFF_TUN | IFF_NO_PI, packet), (IFF_TUN, bytes(4) + packet), (IFF_TAP, bytes(4) + frame)):
            fd = self.attached(mode)
            self.system.write(fd, data)
            self.assertEqual(self.system.receiveUDP(fd, "10.0.0.2", 2).recv(100), b"payload")

    def test_aReadIsCutToItsLimit(self) -> None:
        fd = self.attached(IFF_TUN | IFF_NO_PI)
        self.system.sendUDP(b"payload", ("10.0.0.2", 7))
        self.assertEqual(len(self.system.read(fd, 10)), 10)

    def test_aReadOfNothingIsEAGAIN(self) -> None:
        self.assertEqual(self.number(self.system.read, self.attached(IFF_TUN), 10), errno.EAGAIN)

    def test_aBlockingReadOfNothingIsNotImplemented(self) -> None:
        fd = self.system.open(NODE, self.system.O_RDWR)
        self.assertRaises(NotImplementedError, self.system.read, fd, 10)

    def test_aWriteThatIsTooLongIsENOBUFS(self) -> None:
        fd = self.attached(IFF_TUN | IFF_NO_PI)
        self.system.write(fd, bytes(Tunnel.SEND_BUFFER_SIZE))
        self.assertEqual(self.number(self.system.write, fd, bytes(Tunnel.SEND_BUFFER_SIZE + 1)), errno.ENOBUFS)
