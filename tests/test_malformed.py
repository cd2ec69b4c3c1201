"""
Tests with malformed packets. No packet may raise an exception or be logged. Each packet is either delivered, or counted
once by the name of a drop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import given
from hypothesis.strategies import binary, booleans, integers, ip_addresses, lists, one_of, sampled_from, text, tuples
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.ports import RecordingPort
from tests.recorders import DatagramRecorder, PairRecorder
from txtuntap import EthernetProtocol, IPProtocol, Packet, RawUDPProtocol
from txtuntap.testing import ethernetFrame, ipPacket, udpDatagram
from txtuntap.wire import udp
from txtuntap.wire.checksum import checksum

OWN, PEER = b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02"
FOUR, SIX = ("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")
ADDRESSES = ["10.0.0.2/24", "fd00::2/64"]
VLAN = 5

ETHERNET_DROPS = {"inErrors", "inOtherHosts", "inUnknownProtos", "inLengthFrames", "inVlans"}
IP_DROPS = {"inHdrErrors", "inTruncatedPkts", "inAddrErrors", "inUnknownProtos", "inCsumErrors", "inSourceRoutes"}
IP_DROPS |= {"inOptErrors", "reasmReqds", "reasmDuplicates", "reasmFails", "reasmOverlaps"}
IP_DROPS |= {"inFragErrors", "inFragHdrErrors"}
UDP_DROPS = {"noPorts", "inErrors", "inCsumErrors"}


class Stack:
    """
    A stack of all layers, with recorders on UDP port 7 and under the protocol numbers of ICMP.
    """

    def __init__(self, tap: bool, verify: bool, addresses: bool) -> None:
        self.ethernet = EthernetProtocol(OWN if addresses else None)
        self.ip = IPProtocol(ADDRESSES if addresses else None, verifyChecksum=verify)
        self.udp = RawUDPProtocol(verifyChecksum=verify)
        for etherType in (0x0800, 0x86DD):
            for vlan in (None, VLAN):
                self.ethernet.addProto(etherType, self.ip, vlan=vlan)
        self.echo, self.ping = DatagramRecorder(), PairRecorder()
        self.echo.then = self.echo.write
        self.ip.addProto(udp.PROTOCOL, self.udp)
        self.ip.addProto(1, self.ping)
        self.ip.addProto(58, self.ping)
        self.udp.addProto(7, self.echo)
        port: Any = RecordingPort()
        bottom = self.ethernet if tap else self.ip
        bottom.makeConnection(port)

    def outcome(self) -> list[str]:
        """
        List the deliveries and the names of the drops since the last call.
        """
        outcome = ["delivered"] * (len(self.echo.received) + len(self.ping.calls))
        del self.echo.received[:], self.ping.calls[:]
        for layer, names in ((self.ethernet, ETHERNET_DROPS), (self.ip, IP_DROPS), (self.udp, UDP_DROPS)):
            # Answers that must not be sent are not drops of the received packet.
            outcome += [name if name in names else f"not {name}" for name in Counter(layer.counters).elements()]
            layer.counters.clear()
        outcome = [name for name in outcome if name not in ("not outDiscards", "not reasmOKs")]
        # The fragment that completes a datagram also counts reasmReqds, in addition to the outcome of the datagram.
        return [name for name in outcome if name != "reasmReqds"] or outcome[:1]


#: Stacks with and without verification of checksums, and with and without addresses.
OPTIONS = [(verify, addresses) for verify in (True, False) for addresses in (True, False)]


def packets() -> Iterator[bytes]:
    """
    Make valid IP packets of all kinds.
    """
    for pair in (FOUR, SIX):
        for payload in (b"", b"payload", b"evenly"):
            yield ipPacket(*pair, udp.PROTOCOL, udpDatagram(*pair, 1234, 7, payload))
        yield ipPacket(*pair, 58 if pair is SIX else 1, b"\x80\0\0\0\0\0\0\0")
        yield ipPacket(*pair, udp.PROTOCOL, udpDatagram(*pair, 1234, 7, b"payload") + b"more than UDP says")
    datagram = udpDatagram(*FOUR, 1234, 7, b"payload")
    yield ipPacket(*FOUR, udp.PROTOCOL, datagram, options=b"\x94\x04\0\0\x01\x01\x07\x07\x04\0\0\0\0\0\0\0")
    yield ipPacket(*FOUR, udp.PROTOCOL, datagram, options=b"\x01" * 20)
    yield ipPacket(*FOUR, udp.PROTOCOL, datagram[:6] + b"\0\0" + datagram[8:])
    yield ipPacket(*FOUR, udp.PROTOCOL, datagram + b"!", fragment=0x2000)
    datagram = udpDatagram(*SIX, 1234, 7, b"payload")
    options, fragment = b"\0\x01\x04\0\0\0\0", b"\0\0\0\0\0\0\x01"
    yield ipPacket(*SIX, 0, b"\x3c" + options + b"\x2c" + options + b"\x11" + fragment + datagram)
    yield ipPacket(*SIX, 43, b"\x11\0\x04\0\0\0\0\0" + datagram)


def frames() -> Iterator[bytes]:
    """
    Make valid Ethernet frames of all kinds.
    """
    for packet in packets():
        etherType = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
        yield ethernetFrame(PEER, OWN, etherType, packet)
        yield ethernetFrame(PEER, OWN, etherType, packet, vlan=VLAN)
        yield ethernetFrame(PEER, OWN, 0x8100, b"\0\0" + etherType.to_bytes(2, "big") + packet, vlan=0)
        yield ethernetFrame(PEER, OWN, etherType, packet + bytes(8))


def shortened(packet: bytes, length: int) -> bytes:
    """
    Cut an IP packet to C{length} octets, and set its length field to that. The first header stays complete.
    """
    packet = packet[:length]
    if packet[0] >> 4 == 6:
        return packet[:4] + (length - 40).to_bytes(2, "big") + packet[6:]
    packet = packet[:2] + length.to_bytes(2, "big") + packet[4:10] + b"\0\0" + packet[12:]
    header = (packet[0] & 0x0F) * 4
    return packet[:10] + checksum(packet[:header]).to_bytes(2, "big") + packet[12:]


class StackTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.stacks = {(tap, *options): Stack(tap, *options) for tap in (True, False) for options in OPTIONS}

    def check(self, stack: Stack, receive: Callable[..., None], *arguments: Any) -> str:
        """
        Let one of the layers of a stack receive one packet.

        @return: C{"delivered"}, or the name of the drop.
        """
        with capturedLogs() as events:
            receive(*arguments)
        self.assertEqual(list(events), [])
        (outcome,) = stack.outcome()
        self.assertIn(outcome, {"delivered"} | ETHERNET_DROPS | IP_DROPS | UDP_DROPS)
        return outcome

    def checkFrame(self, options: tuple[bool, bool], data: bytes, partial: bool = False) -> str:
        stack = self.stacks[(True, *options)]
        return self.check(stack, stack.ethernet.packetReceived, Packet(data, partial=partial))

    def checkPacket(self, options: tuple[bool, bool], data: bytes, etherType: int = 0) -> str:
        stack = self.stacks[(False, *options)]
        return self.check(stack, stack.ip.packetReceived, Packet(data, etherType=etherType))

    def checkDatagram(self, options: tuple[bool, bool], data: bytes, source: Any, dest: Any) -> str:
        stack = self.stacks[(False, *options)]
        return self.check(stack, stack.udp.datagramReceived, data, 0, source, dest)


class TruncationTests(StackTestCase):
    def test_uncutFramesAreDelivered(self) -> None:
        for frame in frames():
            self.assertIn(self.checkFrame((True, True), frame), ("delivered", "reasmReqds", "reasmDuplicates"))

    def test_framesCutByTheBufferAreDeliveredOrCountedOnce(self) -> None:
        for options in OPTIONS:
            for frame in frames():
                for length in range(len(frame)):
                    self.checkFrame(options, frame[:length])

    def test_partialFramesAreDeliveredOrCountedOnce(self) -> None:
        for options in OPTIONS:
            for frame in frames():
                for length in range(len(frame)):
                    self.checkFrame(options, frame[:length], partial=True)

    def test_packetsCutByTheBufferAreCountedOnce(self) -> None:
        for options in OPTIONS:
            for packet in packets():
                for length in range(len(packet)):
                    outcome = self.checkPacket(options, packet[:length])
                    self.assertIn(outcome, {"inTruncatedPkts", "inHdrErrors", "inCsumErrors"})

    def test_packetsWithALengthFieldThatFitsTheCutAreDeliveredOrCountedOnce(self) -> None:
        for options in OPTIONS:
            for packet in packets():
                header = 40 if packet[0] >> 4 == 6 else (packet[0] & 0x0F) * 4
                for length in range(header, len(packet)):
                    for padding in (b"", packet[length:]):
                        self.checkPacket(options, shortened(packet, length) + padding)

    def test_packetsWithAnyLengthFieldAreDeliveredOrCountedOnce(self) -> None:
        for options in OPTIONS:
            for packet in packets():
                for length in range(40, len(packet) + 8):
                    cut = shortened(packet + bytes(8), length)
                    self.checkPacket(options, cut[:40] + packet[40:])

    def test_datagramsWithAnyLengthFieldAreDeliveredOrCountedOnce(self) -> None:
        for options in OPTIONS:
            for pair in (FOUR, SIX):
                datagram = udpDatagram(*pair, 1234, 7, b"payload")
                for length in (*range(len(datagram) + 8), 0xFFFF):
                    changed = datagram[:4] + length.to_bytes(2, "big") + datagram[6:]
                    self.checkPacket(options, ipPacket(*pair, udp.PROTOCOL, changed))

    def test_datagramsCutByTheBufferAreCountedOnce(self) -> None:
        for options in OPTIONS:
            for pair in (FOUR, SIX, ("some host", "another")):
                datagram = udpDatagram(*SIX, 1234, 7, b"payload")
                for length in range(len(datagram)):
                    self.assertEqual(self.checkDatagram(options, datagram[:length], *pair), "inErrors")

    def test_aValidFrameAfterCutOnesIsDelivered(self) -> None:
        stack = Stack(True, True, True)
        good = next(frames())
        for length in range(len(good)):
            stack.ethernet.packetReceived(Packet(good[:length]))
        self.assertEqual(stack.echo.data, [])
        stack.ethernet.packetReceived(Packet(good))
        self.assertEqual(len(stack.echo.data), 1)


choices = sampled_from(OPTIONS)
addresses = one_of(ip_addresses().map(str), text(max_size=20), binary(max_size=20))


class ArbitraryTests(StackTestCase):
    @given(choices, binary(max_size=120), booleans())
    def test_arbitraryFramesAreDeliveredOrCountedOnce(
        self, options: tuple[bool, bool], octets: bytes, partial: bool
    ) -> None:
        self.checkFrame(options, octets, partial)

    @given(choices, sampled_from([0x0800, 0x86DD, 0x8100, 0x88A8]), binary(max_size=120))
    def test_arbitraryPayloadsOfFramesAreDeliveredOrCountedOnce(
        self, options: tuple[bool, bool], etherType: int, octets: bytes
    ) -> None:
        self.checkFrame(options, ethernetFrame(PEER, OWN, etherType, octets))

    @given(choices, binary(max_size=120), sampled_from([0, 0x0800, 0x86DD]))
    def test_arbitraryPacketsAreDeliveredOrCountedOnce(
        self, options: tuple[bool, bool], octets: bytes, etherType: int
    ) -> None:
        self.checkPacket(options, octets, etherType)

    @given(choices, sampled_from([0x4F, 0x45, 0x46, 0x60, 0x6F]), binary(max_size=120))
    def test_arbitraryPacketsOfAVersionAreDeliveredOrCountedOnce(
        self, options: tuple[bool, bool], first: int, octets: bytes
    ) -> None:
        self.checkPacket(options, bytes((first,)) + octets)

    @given(choices, sampled_from([1, 17, 58]), binary(max_size=60), binary(max_size=40), integers(0, 0xFFFF))
    def test_arbitraryPayloadsOfIPv4AreDeliveredOrCountedOnce(
        self, options: tuple[bool, bool], protocol: int, payload: bytes, extra: bytes, fragment: int
    ) -> None:
        extra = extra[: len(extra) // 4 * 4]
        self.checkPacket(options, ipPacket(*FOUR, protocol, payload, options=extra, fragment=fragment & 0xE000))

    @given(choices, sampled_from([0, 17, 43, 44, 58, 60]), binary(max_size=120))
    def test_arbitraryPayloadsOfIPv6AreDeliveredOrCountedOnce(
        self, options: tuple[bool, bool], kind: int, payload: bytes
    ) -> None:
        self.checkPacket(options, ipPacket(*SIX, kind, payload))

    @given(choices, ip_addresses(v=4), ip_addresses(v=4), integers(0, 0xFFFF))
    def test_arbitraryIPv4AddressesAreDeliveredOrCountedOnce(
        self, options: tuple[bool, bool], source: Any, dest: Any, port: int
    ) -> None:
        datagram = udpDatagram(source.packed, dest.packed, port, 7, b"payload")
        packet = ipPacket(source.packed, dest.packed, udp.PROTOCOL, datagram)
        self.checkFrame(options, ethernetFrame(PEER, OWN, 0x0800, packet))

    @given(choices, ip_addresses(v=6), ip_addresses(v=6), integers(0, 0xFFFF))
    def test_arbitraryIPv6AddressesAreDeliveredOrCountedOnce(
        self, options: tuple[bool, bool], source: Any, dest: Any, port: int
    ) -> None:
        datagram = udpDatagram(source.packed, dest.packed, port, 7, b"payload")
        packet = ipPacket(source.packed, dest.packed, udp.PROTOCOL, datagram)
        self.checkFrame(options, ethernetFrame(PEER, OWN, 0x86DD, packet))

    @given(choices, binary(max_size=60), addresses, addresses)
    def test_arbitraryDatagramsAreDeliveredOrCountedOnce(
        self, options: tuple[bool, bool], octets: bytes, source: Any, dest: Any
    ) -> None:
        self.checkDatagram(options, octets, source, dest)

    @given(choices, sampled_from(list(frames())), lists(tuples(integers(0, 200), integers(0, 255)), max_size=6))
    def test_damagedFramesAreDeliveredOrCountedOnce(
        self, options: tuple[bool, bool], frame: bytes, damages: list[tuple[int, int]]
    ) -> None:
        damaged = bytearray(frame)
        for at, octet in damages:
            damaged[at % len(damaged)] = octet
        self.checkFrame(options, bytes(damaged))
