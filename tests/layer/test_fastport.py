"""
Tests for the fast path, L{txtuntap.layer.fastpath}, at its edges: floods, ports with a reader, and changes while a
packet is being delivered.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random
from typing import Any, ClassVar
from unittest import mock

import pytest
from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import SynchronousTestCase

from tests.device.linux.test_device import System
from tests.layer.fastpaths import THEM, US, FastPathTestCase, Keeper, countReceived, datagram
from tests.ports import DescriptorClock
from tests.recorders import Echo, Oops
from tests.stack.link import OTHER, OWN, PEER, echo, frame
from tests.superpackets import superpacket
from txtuntap import Host, IPProtocol, Packet, RawUDPProtocol, TuntapPort
from txtuntap.device import TUN
from txtuntap.device.linux.ioctl import (
    IFF_NO_PI,
    IFF_TAP,
    IFF_TUN,
    IFF_VNET_HDR,
    TUNGETFEATURES,
    TUNGETIFF,
    TUNSETOFFLOAD,
    TUNSETVNETHDRSZ,
)
from txtuntap.layer import fastpath
from txtuntap.layer.fastpath import FastPath
from txtuntap.stack.echo import EchoFlow
from txtuntap.testing import TAP, MemoryDevice
from txtuntap.udp.transport import UDPTransport
from txtuntap.wire.checksum import checksum, onesSum
from txtuntap.wire.offload import DATA_VALID, HEADER_LENGTH, NEEDS_CHECKSUM, UDP, Offload, shifted


class Waiting(System):
    """
    The system calls of a device whose packets have offload headers. A read without a packet would block.
    """

    def __init__(self, mode: int = TUN) -> None:
        super().__init__()
        flags = IFF_TUN if mode == TUN else IFF_TAP
        self.ioctls[TUNGETFEATURES] = lambda _: struct.pack("I", IFF_VNET_HDR)
        self.ioctls[TUNGETIFF] = lambda _: struct.pack("16sH22x", b"tt0", flags | IFF_NO_PI | IFF_VNET_HDR)
        self.ioctls[TUNSETOFFLOAD] = self.ioctls[TUNSETVNETHDRSZ] = lambda _: 0

    def read(self, fd: int, limit: int) -> bytes:
        if not self.reads:
            raise BlockingIOError
        return super().read(fd, limit)


class EdgeTests(FastPathTestCase):
    def test_aDatagramWithoutAChecksumIsReceivedOverIPv4Only(self) -> None:
        for version, fast in (4, 2), (6, 0):
            keeper = self.hosted()
            at = 26 if version == 4 else 46
            self.take(datagram(version=version))
            packet = datagram(version=version)
            packet = packet[:at] + bytes(2) + packet[at + 2 :]
            self.assertEqual(self.take(packet, packet), fast)
            self.assertEqual(len(keeper.received), 1 + fast)

    def test_aReplyHasTheTrafficClassOfItsRequest(self) -> None:
        for version in 4, 6:
            self.hosted()
            for service in 0, 0xB8, 3:
                before = self.fast
                del self.device.sent[:]
                self.take(*[echo(THEM[version], US[version], tos=service)] * 2)
                self.assertGreater(self.fast, before)
                first, second = self.device.sent
                for reply in first, second:
                    self.assertEqual(int.from_bytes(reply[:2], "big") >> (0 if version == 4 else 4) & 0xFF, service)
                    self.assertTrue(version == 6 or not onesSum(reply[:20]))
                self.assertEqual([second[:4], second[20:]], [first[:4], first[20:]])

    def test_aFlowIsNotLearnedAgainWithEachPacketThatIsNotOrdinary(self) -> None:
        self.hosted()
        with mock.patch.object(EchoFlow, "__init__", autospec=True, side_effect=EchoFlow.__init__) as made:
            self.take(*[echo(THEM[4], US[4], bytes(1480))] * 5)
        self.assertEqual((made.call_count, self.host.icmp.counters["outEchoReps"]), (1, 5))

    def test_theFlowOfTwoStationsInTurnIsNotLearned(self) -> None:
        self.patch(FastPath, "atOnce", False)
        keeper = self.hosted(TAP)
        for packet in echo(THEM[4], US[4]), datagram():
            self.deliver(*[frame(packet, source=source) for source in (PEER, OTHER) * 4])
        self.assertEqual((self.fast, self.host.ip.fastPath.tables()[0].size), (0, 0))
        self.assertEqual((len(keeper.received), self.host.icmp.counters["inEchos"]), (8, 8))

    def test_theRateOfLearningIsLimited(self) -> None:
        self.patch(fastpath, "LEARN_RATE", 2.0)
        self.hosted()
        for source in range(4000, 4004):
            self.take(datagram(source=source))
        self.assertEqual(self.take(*[datagram(source=source) for source in range(4000, 4004)]), 2)
        self.clock.advance(1)
        self.take(datagram(source=4002))
        self.assertEqual(self.take(datagram(source=4002)), 1)

    def test_aPathWithoutAnIPLayerIsNoKnownOne(self) -> None:
        udp = RawUDPProtocol()
        self.layered(udp)
        self.deliver(datagram(), datagram())
        udp.datagramReceived(datagram()[20:], 0, THEM[4], US[4])
        before = self.fast
        self.ip.datagramReceived(datagram())
        self.assertEqual(self.fast, before)

    def test_thePacketHasTheStationThatSentIt(self) -> None:
        self.hosted(TAP)
        seen: list[tuple[int, bytes | None]] = []

        class Nesting(DatagramProtocol):
            def datagramReceived(nested, data: bytes, addr: Any) -> None:
                depth = len(seen)
                seen.append((depth, None))
                if depth == 1:
                    self.device.deliver(frame(datagram(dest=8), source=OTHER))
                    self.port.doRead()
                transport: Any = nested.transport
                seen[depth] = depth, transport.packet.linkSource

        self.host.listenUDP(8, Nesting())
        self.take(datagram(dest=8), datagram(dest=8))
        self.assertEqual(seen, [(0, PEER), (1, PEER), (2, OTHER)])

    def test_aPartialPacketIsReportedAsPartial(self) -> None:
        keeper = self.hosted()
        self.take(datagram())
        self.host.ip.packetReceived(Packet(datagram(), 0, self.port, 0.0, True))
        partial = 15
        self.assertEqual([facts[partial] for facts in keeper.packets], [False, True])

    def test_thePacketHasTheIPLayerThatReceivedIt(self) -> None:
        udp = RawUDPProtocol()
        keeper = self.layered(udp)
        udp.datagramReceived(datagram()[20:], 0, THEM[4], US[4])
        for _ in range(2):
            self.ip.datagramReceived(datagram())
        ip = 19
        self.assertEqual([facts[ip] for facts in keeper.packets], [None, self.ip, self.ip])

    def test_aNarrowerMTUOfRouterAdvertisementsFragmentsReplies(self) -> None:
        self.hosted()
        request = echo(THEM[6], US[6], bytes(1400))
        self.take(request, request)
        self.host.ip.mtu6 = 1280
        del self.device.sent[:]
        self.take(request)
        self.assertEqual([len(each) <= 1280 for each in self.device.sent], [True, True])

    def test_aLinkAddressThatIsSetLaterIsTheOnlyOneThatIsHeard(self) -> None:
        keeper = self.hosted(TAP)
        self.assertEqual(self.take(datagram(), datagram()), 1)
        self.host.ethernet.address = OTHER
        self.assertEqual(self.take(datagram(), datagram()), 0)
        self.assertEqual((len(keeper.received), self.host.ethernet.counters["inOtherHosts"]), (2, 2))

    def test_aSubclassThatOverridesDatagramReceivedSeesEachDatagram(self) -> None:
        seen: list[bytes] = []

        class Override(RawUDPProtocol):
            def datagramReceived(self, data: bytes, *args: Any, **fields: Any) -> None:  # type: ignore[override]
                seen.append(data)
                super().datagramReceived(data, *args, **fields)

        keeper = self.layered(Override())
        self.deliver(*[datagram()] * 4)
        self.assertEqual((len(seen), len(keeper.received)), (4, 4))

    def test_theIPLayerHoldsThePacketThatASubclassReceives(self) -> None:
        class Plain(RawUDPProtocol):
            pass

        udp = Plain()
        self.layered(udp)
        held: list[Packet | None] = []
        with mock.patch.object(udp.udpProtos[7][0], "datagramReceived", lambda *_: held.append(self.ip.packet)):
            self.deliver(*[datagram()] * 3)
        self.assertEqual(len([packet for packet in held if packet is not None]), 3)

    def layered(self, udp: RawUDPProtocol) -> Keeper:
        """
        Put an IP layer with a UDP layer on a port, and a L{Keeper} on UDP port 7.
        """
        self.ip = IPProtocol([f"{US[4]}/24"])
        self.ip.addProto(17, udp)
        keeper = Keeper()
        udp.addProto(7, keeper)
        self.on(self.ip)
        return keeper

    def test_aProtocolThatIsRemovedGetsNoMoreOfASuperpacket(self) -> None:
        data, offload, _ = superpacket(4, UDP, bytes(500), 100)
        self.device = MemoryDevice(TUN, features=0xFF)
        host = Host([f"{US[4]}/24"], self.clock)
        self.on(host.ip)

        class Leaving(Keeper):
            def datagramReceived(self, datagram: bytes, addr: Any) -> None:
                super().datagramReceived(datagram, addr)
                if len(self.received) == 7:
                    host.udp.removeProto(7, self)

        keeper = Leaving()
        host.udp.addProto(7, keeper)
        self.deliver((data, offload), (data, offload))
        self.assertEqual((self.fast, len(keeper.received), host.udp.counters["noPorts"]), (1, 7, 3))


@pytest.mark.linux
class ReaderTests(FastPathTestCase):
    """
    Tests for a port that reads the packets of its device itself.
    """

    def setUp(self) -> None:
        super().setUp()
        self.system = Waiting()
        clock = DescriptorClock()
        self.host = Host([f"{US[4]}/24"], clock, linkAddress=OWN)
        self.port = TuntapPort("tt0", self.host.ip, reactor=clock, system=self.system)
        self.port.startListening()
        self.addCleanup(self.port.connectionLost)

    def read(self, *packets: bytes, header: bytes = bytes(HEADER_LENGTH)) -> None:
        """
        Let the port read packets in one turn.
        """
        self.system.reads += [header + packet for packet in packets]
        self.assertIsNone(self.port.doRead())

    def test_anExceptionOfTheDeviceIsLoggedAndCounted(self) -> None:
        self.read(*[echo(THEM[4], US[4])] * 2)
        self.system.writes = [ValueError("broken")] * 2  # type: ignore[list-item]
        before = self.fast
        self.read(*[echo(THEM[4], US[4])] * 3)
        self.assertEqual((self.port.counters["protocolFailures"], self.fast), (2, before + 1))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_anExceptionOfASuperpacketIsLoggedAndCounted(self) -> None:
        data, offload, _ = superpacket(4, UDP, bytes(300), 100)
        header = shifted(offload, 0).packed
        self.host.listenUDP(7, Keeper())
        self.read(data, data, header=header)
        with mock.patch.object(UDPTransport, "deliverMany", side_effect=Oops):
            self.read(data, header=header)
        counters = self.port.counters
        self.assertEqual((counters["protocolFailures"], counters["inSuperpackets"]), (1, 3))
        self.assertFalse(self.port._batches.answering)
        self.flushLoggedErrors(Oops)

    def test_aPortThatIsLostDuringADeliveryReadsNoMore(self) -> None:
        lost = self.port.connectionLost

        class Losing(DatagramProtocol):
            def datagramReceived(self, data: bytes, addr: Any) -> None:
                lost()

        self.host.listenUDP(7, Losing())
        self.read(*[datagram()] * 3)
        # The port has read one packet to learn why it was lost.
        self.assertEqual(len(self.system.reads), 1)

    def test_aChangeOfTheGreatestPacketSizeCountsFromTheNextReadOn(self) -> None:
        keeper = Keeper()
        self.host.listenUDP(7, keeper)
        packet = datagram(bytes(100))
        for size, received in (len(packet), 1), (len(packet) - 1, 0), (len(packet) + 1, 1):
            del keeper.received[:]
            self.port.maxPacketSize = size
            self.read(packet)
            self.assertEqual(len(keeper.received), received)


@pytest.mark.linux
class PortDifferenceTests(SynchronousTestCase):
    """
    Tests that compare the port of a host whose fast path learns each flow at once with that of a host whose fast path
    learns none. Packets have offload headers, which may be wrong, and the host changes between reads.
    """

    def packet(self, random: Random) -> tuple[bytes, Offload | None]:
        """
        Make a packet for the host, with its offload record.
        """
        version = random.choice((4, 4, 6))
        kind = random.randrange(6)
        payload = random.randbytes(random.choice((0, 1, 30, 700, 1400)))
        header = 20 if version == 4 else 40
        offload: Offload | None = None
        if kind < 3:
            packet = datagram(payload, version, random.choice((4000, 4001)), random.choice((7, 7, 8)))
        elif kind < 4:
            packet = echo(THEM[version], US[version], payload, tos=random.choice((0, 0, 0x10)))
        else:
            payload = random.randbytes(random.choice((20, 1000, 9000)))
            packet, offload, _ = superpacket(version, UDP, payload, random.choice((10, 100, 1000)))
        if offload is None:
            offload = random.choice((None, None, Offload(DATA_VALID), Offload(NEEDS_CHECKSUM, 0, 0, 0, header, 6)))
        if not random.randrange(4):
            octets = bytearray(packet)
            octets[random.randrange(min(len(octets), header + 8))] ^= 1 << random.randrange(8)
            if version == 4:
                octets[10:12] = bytes(2)
                octets[10:12] = checksum(bytes(octets[:20])).to_bytes(2, "big")
            packet = bytes(octets)
        return packet, offload

    def reads(self, random: Random) -> list[list[Any]]:
        """
        Make turns of the reactor. Each is a list of packets with their offload records, or names a change of the host.
        """
        packets = [self.packet(random) for _ in range(4)]
        turns: list[list[Any]] = []
        for _ in range(25):
            packets[random.randrange(4)] = self.packet(random)
            turns.append([random.choice(packets) for _ in range(random.choice((1, 2, 5)))])
            if not random.randrange(5):
                turns.append([random.choice(sorted(self.changes))])
        return turns

    changes: ClassVar[dict[str, Callable[[Host, TuntapPort], object]]] = {
        "address": lambda host, port: host.ip.suspendAddress(bytes((10, 9, 0, 2)), bool(port.counters.inPackets & 1)),
        "connect": lambda host, port: host.udp.bound(8)[0].connect(THEM[4], 4000),
        "link": lambda host, port: setattr(host.ethernet, "address", OWN if host.ethernet.address != OWN else None),
        "mtu": lambda host, port: setattr(host.ip, "mtu6", None if host.ip.mtu6 else 1280),
        "path": lambda host, port: host.ip.pathNarrowed(bytes((10, 9, 0, 1)), 1300, 1500, 0.0),
        "size": lambda host, port: setattr(port, "maxPacketSize", 5000 if port.maxPacketSize > 5000 else 70000),
        "stop": lambda host, port: host.udp.bound(8)[0].stopListening(),
    }

    def outcome(self, mode: int, turns: list[list[Any]], learns: bool) -> list[Any]:
        """
        Let a host receive packets.

        @return: the packets that it has sent and received, and its counters.
        """
        self.patch(FastPath, "atOnce", learns)
        self.patch(FastPath, "never", not learns)
        system, clock = Waiting(mode), DescriptorClock()
        host = Host([f"{US[4]}/24", f"{US[6]}/64"], clock, linkAddress=OWN, random=Random(1), secrets=Random(1))
        host.ip.random = Random(1)
        port = TuntapPort("tt0", host.ethernet if mode == TAP else host.ip, reactor=clock, system=system)
        port.startListening()
        keeper = Keeper()
        host.listenUDP(7, Echo())
        host.listenUDP(8, keeper)
        before = 14 if mode == TAP else 0
        for turn in turns:
            if isinstance(turn[0], str):
                try:
                    self.changes[turn[0]](host, port)
                except (IndexError, RuntimeError):
                    # The protocol has left its port, or is connected already.
                    continue
            for packet, offload in turn if not isinstance(turn[0], str) else ():
                header = bytes(HEADER_LENGTH) if offload is None else shifted(offload, before).packed
                system.reads.append(header + (frame(packet) if mode == TAP else packet))
            port.doRead()
            clock.advance(0)
        facts = [each[:17] for each in keeper.packets]
        counters = {part: dict(counters) for part, counters in host.counters.items()}
        counted = dict(port.counters)
        port.connectionLost()
        return [system.written, keeper.received, facts, counters, counted]

    def test_bothPortsDoTheSame(self) -> None:
        received = countReceived(self)
        for seed in range(30):
            for mode in TUN, TAP:
                turns = self.reads(Random(seed))
                self.assertEqual(self.outcome(mode, turns, True), self.outcome(mode, turns, False), seed)
        self.assertGreater(received(), 250)
