"""
Tests for the offload header of OpenBSD, over a replacement for its kernel.
"""

from __future__ import annotations

import errno
import struct
import sys
from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from tests.device.contract import sample
from tests.device.unix.constants import CONSTANTS
from tests.device.unix.kernels import OpenBSDSystem
from tests.superpackets import superpacket
from txtuntap.device import TAP, TUN
from txtuntap.device.bsd.choice import makeDevice
from txtuntap.device.unix.device import UnixDevice
from txtuntap.packet import Packet
from txtuntap.testing import ipPacket, udpPacket
from txtuntap.wire.checksum import checksum
from txtuntap.wire.offload import CSUM, TCP4, TCP6, TSO4, TSO6, UDP, Offload, finish

NUMBERS = CONSTANTS["openbsd"]
LINK = bytes.fromhex("020000000002020000000001")
ETHER_TYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}


class TunHeaderTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(sys, "platform", "openbsd7")
        self.system = OpenBSDSystem()
        self.system.nodes = 64

    def opened(self, mode: int = TUN, offload: bool | None = None) -> UnixDevice:
        device = makeDevice("", mode, self.system)
        device.open(offload)
        self.addCleanup(device.close)
        self.system.interfaces[device.name].up = True
        return device

    def headers(self, mode: int, version: int, flags: str, size: int) -> bytes:
        """
        Make the headers of a packet.

        @param flags: the names of the flags, with blanks between them; or a number.
        """
        number = sum(int(each) if each.isdigit() else NUMBERS[f"TUN_H_{each}"] for each in flags.split())
        header = struct.pack("=HHHH", number, 0, 0, size)
        family = struct.pack("!I", NUMBERS["AF_INET6" if version == 6 else "AF_INET"])
        return header if mode == TAP else header + family

    def receive(self, device: UnixDevice, packet: bytes, flags: str = "", size: int = 0) -> Packet | None:
        """
        Receive a packet that the kernel hands over with its headers.

        @param packet: the IP packet; on a tap, an Ethernet header is put before it.
        """
        version = packet[0] >> 4 if packet else 4
        link = LINK + ETHER_TYPES.get(version, b"\x08\x00") if device.mode == TAP else b""
        self.system.deliver(device.name, link + packet, self.headers(device.mode, version, flags, size))
        received = device.receive()
        if received is not None:
            received.network = received.start + len(link)
        return received

    def finished(self, device: UnixDevice, packet: bytes, flags: str, size: int = 0) -> list[bytes]:
        """
        Return the packets that a received packet becomes, without the link header.
        """
        received = self.receive(device, packet, flags, size)
        assert received is not None
        return [bytes(each.data[each.network : each.end]) for each in received.finished()]


class ReceiveTests(TunHeaderTestCase):
    def test_openChecksumsAreCompletedWhateverTheFieldHolds(self) -> None:
        for mode in TUN, TAP:
            device = self.opened(mode)
            for source, dest in ("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2"):
                whole = udpPacket(source, dest, 4000, 7, b"hello")
                field = len(whole) - 7
                for value in b"\0\0", b"\xab\xcd":
                    self.assertEqual(
                        self.finished(device, whole[:field] + value + whole[field + 2 :], "UDP_CSUM"), [whole]
                    )

    def test_anOpenChecksumOfICMPHasNoPseudoHeader(self) -> None:
        message = b"\x08\0\0\0\0\1\0\2hello"
        whole = ipPacket("10.0.0.1", "10.0.0.2", 1, message[:2] + struct.pack("!H", checksum(message)) + message[4:])
        self.assertEqual(self.finished(self.opened(), whole[:22] + b"\x11\x11" + whole[24:], "ICMP_CSUM"), [whole])

    def test_theChecksumOfAnIPv4HeaderIsComputed(self) -> None:
        whole = udpPacket("10.0.0.1", "10.0.0.2", 4000, 7, b"hello")
        packet = self.receive(self.opened(), whole[:10] + b"\x12\x34" + whole[12:], "IPV4_CSUM")
        assert packet is not None
        self.assertEqual((bytes(packet), packet.offload), (whole, None))

    def test_superpacketsAreCut(self) -> None:
        for mode in TUN, TAP:
            device = self.opened(mode)
            for version, kind in (4, TCP4), (6, TCP6):
                whole, offload, network = superpacket(version, kind, bytes(range(200)) * 20, 1400)
                field = offload.checksumStart + 16
                data = whole[:field] + b"\x77\x77" + whole[field + 2 :]
                self.assertEqual(self.finished(device, data, "TCP_CSUM TCP_MSS", 1400), finish(whole, offload, network))

    def test_aSuperpacketIsReadWhole(self) -> None:
        whole, _, _ = superpacket(4, TCP4, bytes(30000), 1400)
        device = self.opened()
        self.system.deliver("tun0", whole, self.headers(TUN, 4, "TCP_CSUM TCP_MSS", 1400))
        packet = device.receive(1500)
        assert packet is not None
        self.assertEqual((len(packet), packet.partial), (len(whole), False))

    def test_aPacketWithoutFlagsIsComplete(self) -> None:
        for flags in "", "7":
            packet = self.receive(self.opened(), sample(TUN), flags)
            assert packet is not None
            self.assertEqual((bytes(packet), packet.offload), (sample(TUN), None))

    def test_headersThatContradictThePacketAreCounted(self) -> None:
        device = self.opened()
        four, six = sample(TUN), udpPacket("fd00::1", "fd00::2", 1, 2, b"hello")
        wrong: list[tuple[bytes, str, int]] = [
            (four, "TCP_CSUM", 0),
            (four, "ICMP_CSUM", 0),
            (four, "UDP_CSUM TCP_CSUM", 0),
            (four, "UDP_CSUM TCP_MSS", 100),
            (four, "TCP_MSS", 100),
            (superpacket(4, TCP4, bytes(3000), 1400)[0], "TCP_CSUM TCP_MSS", 0),
            (six, "IPV4_CSUM", 0),
            (four[:19], "UDP_CSUM", 0),
            (four[:27], "UDP_CSUM", 0),
            (six[:39], "UDP_CSUM", 0),
            (b"\x4f" + four[1:25], "IPV4_CSUM", 0),
            (b"\x41" + four[1:], "IPV4_CSUM", 0),
        ]
        for packet, flags, size in wrong:
            self.assertIsNone(self.receive(device, packet, flags, size), (packet, flags))
        self.assertEqual(device.counters, {"inOffloadErrors": len(wrong)})

    def test_unknownFlagsAndFamiliesAreCounted(self) -> None:
        device = self.opened()
        for flags in "VTAG", "8", "32768":
            self.assertIsNone(self.receive(device, sample(TUN), flags))
        self.system.deliver("tun0", sample(TUN), bytes(12))
        self.system.deliver("tun0", b"", bytes(11))
        self.assertEqual([device.receive(), device.receive()], [None, None])
        self.assertEqual(device.counters, {"inUnknownOffloads": 3, "inFamilyErrors": 1, "inTruncated": 1})

    def test_aFrameShorterThanItsHeaderIsCounted(self) -> None:
        device = self.opened(TAP)
        for length in range(14):
            self.system.deliver("tap0", bytes(length), self.headers(TAP, 4, "UDP_CSUM", 0))
            self.assertIsNone(device.receive())
        self.assertEqual(device.counters, {"inOffloadErrors": 14})


class SendTests(TunHeaderTestCase):
    def sent(self, mode: int, packet: bytes, offload: Offload | None) -> bytes:
        """
        Send a packet, and return what the kernel gets.
        """
        device = self.opened(mode)
        self.assertEqual(device.send([packet[:30], packet[30:]], offload), len(packet))
        return self.system.interfaces[device.name].received.pop()

    def test_theHeaderTellsOfTheOffload(self) -> None:
        for mode, link in (TUN, b""), (TAP, LINK + b"\x08\x00"):
            for version, kind, flags in (4, TCP4, "TCP_CSUM"), (6, TCP6, "TCP_CSUM"), (4, UDP, "UDP_CSUM"):
                packet, offload, _ = superpacket(version, kind, bytes(3000), 1400, link=link)
                if kind != UDP:
                    expected = self.headers(mode, version, f"{flags} TCP_MSS", 1400)
                    self.assertEqual(self.sent(mode, packet, offload), expected + packet)
                single = replace(offload, type=0, size=0)
                self.assertEqual(self.sent(mode, packet, single), self.headers(mode, version, flags, 0) + packet)
            whole = link + sample(TUN)
            self.assertEqual(self.sent(mode, whole, None), self.headers(mode, 4, "", 0) + whole)

    def test_offloadWithoutAHeaderIsRefused(self) -> None:
        device = self.opened()
        packet, offload, _ = superpacket(4, UDP, bytes(3000), 1400)
        for each in offload, replace(offload, type=0, size=0, checksumOffset=10):
            self.assertEqual(self.assertRaises(OSError, device.send, [packet], each).errno, errno.EINVAL)


class NegotiationTests(TunHeaderTestCase):
    def test_theKernelLeavesAllWorkThatTheHeaderCanTell(self) -> None:
        names = "CSUM_TCPv4", "CSUM_UDPv4", "CSUM_TCPv6", "CSUM_UDPv6", "TSOv4", "TSOv6"
        for offload in None, True:
            device = self.opened(TUN, offload)
            self.assertEqual(device.offloads, CSUM | TSO4 | TSO6)
            capabilities = self.system.interfaces["tun0"].capabilities
            self.assertEqual(capabilities, sum(NUMBERS[f"IFCAP_{name}"] for name in names))
            device.receiveFinished()
            self.assertEqual(self.system.interfaces["tun0"].capabilities, 0)
            self.assertIsNotNone(self.receive(device, sample(TUN)))
            device.close()

    def test_anOlderKernelHasNoOffload(self) -> None:
        self.system.hasOffload = False
        device = self.opened()
        self.assertEqual(device.offloads, 0)
        device.send([sample(TUN)])
        self.assertEqual(self.system.interfaces["tun0"].received, [b"\0\0\0\2" + sample(TUN)])
        device.close()
        error = self.assertRaises(OSError, device.open, True)
        self.assertIn("no offload on OpenBSD", str(error))

    def test_theHeaderOfADescriptorFromElsewhereIsRemoved(self) -> None:
        for mode, name in (TUN, "tun1"), (TAP, "tap1"):
            flags = 2 | self.system.O_NONBLOCK | self.system.O_CLOEXEC
            descriptor = self.system.open(f"/dev/{name}", flags)
            self.system.ioctl(descriptor, NUMBERS["TUNSCAP"], struct.pack("=I", 0))
            device = makeDevice(name, mode, self.system, descriptor)
            device.open()
            self.addCleanup(device.close)
            self.assertEqual(self.system.interfaces[name].offloadLength, 0)
