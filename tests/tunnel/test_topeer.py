"""
Tests for L{txtuntap.tunnel.tunnel}: packets from the interface to the peer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given
from twisted.internet.task import Clock

from tests.ports import RecordingPort
from tests.superpackets import SUPERPACKETS, superpacket
from tests.tunnel.case import LINK_HEADER, Carrier, ReadDevice, TunnelTestCase, packet, segments
from txtuntap import TuntapPort
from txtuntap.device import TAP, TUN
from txtuntap.interfaces import IEthernetProtocol, IRawPacketProtocol
from txtuntap.network.clock import SimulationClock
from txtuntap.network.link import Link
from txtuntap.packet import Packet
from txtuntap.tunnel import Tunnel
from txtuntap.tunnel.tunnel import MOST_TOGETHER
from txtuntap.wire.offload import CSUM, NONE, TCP4, TSO4, UDP, Offload, finish, shifted


class ToPeerTests(TunnelTestCase):
    """
    Tests for the packets that a L{Tunnel} sends, and for its carriers.
    """

    def test_theModeDecidesWhichPortTheTunnelFits(self) -> None:
        self.assertTrue(IRawPacketProtocol.providedBy(Tunnel(TUN)))
        self.assertTrue(IEthernetProtocol.providedBy(Tunnel(TAP)))
        self.assertEqual(1, TuntapPort("tap0", Tunnel(TAP), reactor=SimulationClock()).ethernet)
        self.assertRaisesRegex(ValueError, "TUN or TAP", Tunnel, 3)

    def test_aSecondPortIsRefused(self) -> None:
        tunnel, wire = self.made()
        self.assertRaisesRegex(RuntimeError, "already on a port", tunnel.makeConnection, wire)
        self.assertRaisesRegex(TypeError, "does not accept packets", Tunnel(TUN).makeConnection, object())

    def test_packetsAreSentAndWritten(self) -> None:
        tunnel, wire = self.made()
        carrier = Carrier()
        tunnel.carrierUp(carrier)
        tunnel.packetReceived(Packet(b"head" + packet(), 4))
        self.assertEqual([(packet(), None)], carrier.sent)
        self.assertTrue(tunnel.carried(memoryview(packet())))
        self.assertEqual([packet()], wire.sent)
        counted = {"carriers": 1, "outPackets": 1, "outOctets": 100, "inPackets": 1, "inOctets": 100}
        self.assertEqual(counted, dict(tunnel.counters))

    def test_packetsThatCannotBeSentAreCounted(self) -> None:
        tunnel, _ = self.made()
        tunnel.packetReceived(Packet(packet()))
        carrier = Carrier(room=False)
        tunnel.carrierUp(carrier)
        tunnel.packetReceived(Packet(packet()))
        tunnel.packetReceived(Packet(packet(), partial=True))
        tunnel.carrierDown(carrier)
        tunnel.packetReceived(Packet(packet()))
        self.assertEqual(
            {"carriers": 1, "outNotConnected": 2, "outDiscards": 1, "outTruncated": 1}, dict(tunnel.counters)
        )
        alone = Tunnel(TUN)
        self.assertFalse(alone.carriedTogether([(packet(), None)] * 3))
        self.assertEqual({"inDiscards": 3}, dict(alone.counters))

    def test_thePacketsOfOneReadAreSentTogether(self) -> None:
        for mode, link in (TUN, b""), (TAP, LINK_HEADER):
            tunnel, wire, carrier, known, ends = self.reading(mode)
            data, offload, _ = superpacket(4, TCP4, bytes(3000), 1400, link=link)
            self.assertTrue(known(bytes(10) + data, 10, shifted(offload, 10), wire, 0.0))
            self.assertTrue(known(bytes(10) + link + packet(), 10, None, wire, 0.0))
            self.assertEqual(([], True), (carrier.sent, tunnel.flushes))
            wire.readEnd = None
            self.assertEqual(1, len(ends))
            ends[0]()
            self.assertEqual([(data, offload), (link + packet(), None)], carrier.sent)
            self.assertEqual((1, False), (carrier.flushed, tunnel.flushes))
            self.assertEqual(4, tunnel.counters["outPackets"])

    @given(SUPERPACKETS)
    def test_aSuperpacketCountsAsItsSegments(self, made: tuple[bytes, Offload, int]) -> None:
        data, offload, network = made
        counters = []
        for room in True, False:
            tunnel, wire, carrier, known, ends = self.reading(TAP if network else TUN)
            carrier.room = room
            self.assertTrue(known(bytes(10) + data, 10, shifted(offload, 10), wire, 0.0))
            ends[0]()
            self.assertEqual(1, len(carrier.sent))
            counters.append(dict(tunnel.counters))
        packets = finish(data, offload, network)
        count, octets = len(packets), sum(map(len, packets))
        sent = {"carriers": 1, "outPackets": count, "outOctets": octets}
        self.assertEqual([sent, {"carriers": 1, "outDiscards": count}], counters)

    def test_theSuperpacketsOfAReadAreSegmentedIfThePeerDoesNotAcceptThem(self) -> None:
        tunnel, wire, carrier, known, ends = self.reading()
        carrier.offloads = CSUM
        data, offload = segments(3000, 1400)
        self.assertTrue(known(packet(), 0, None, wire, 0.0))
        self.assertTrue(known(data, 0, offload, wire, 0.0))
        ends[0]()
        self.assertEqual([100, 1440, 1440, 240], [len(each) for each, _ in carrier.sent])
        self.assertEqual({None}, {offload for _, offload in carrier.sent})
        self.assertEqual((4, 3220), (tunnel.counters["outPackets"], tunnel.counters["outOctets"]))

    def test_manyOctetsOfAReadAreSentBeforeItsEnd(self) -> None:
        _, wire, carrier, known, ends = self.reading()
        data, offload = segments(60_000, 1400)
        count = MOST_TOGETHER // len(data) + 1
        for number in range(1, 2 * count + 2):
            self.assertTrue(known(data, 0, offload, wire, 0.0))
            self.assertEqual((number // count * count, number // count), (len(carrier.sent), carrier.flushed))
        ends[0]()
        self.assertEqual([(data, offload)] * (2 * count + 1), carrier.sent)
        self.assertEqual((3, 1), (carrier.flushed, len(ends)))

    def test_packetsThatAreNotOrdinaryDoNotOvertakeOthers(self) -> None:
        tunnel, wire = self.made()
        known = tunnel.knownReceiver
        assert known is not None
        data, offload = segments(3000, 1400)
        ends: list[Callable[[], object]] = []
        wire.readEnd = ends
        # These packets are left to packetReceived: there is no carrier, or the record is forged.
        self.assertFalse(known(data, 0, offload, wire, 0.0))
        carrier = Carrier()
        tunnel.carrierUp(carrier)
        self.assertFalse(known(data, 0, replace(offload, size=0), wire, 0.0))
        self.assertTrue(known(data, 0, offload, wire, 0.0))
        datagram, first, _ = superpacket(4, UDP, bytes(100), 100)
        first = replace(first, type=NONE, size=0)
        self.assertTrue(known(datagram, 0, first, wire, 0.0))
        tunnel.unknownReceived(Packet(packet()))
        sent = [(data, offload), (datagram, first), (packet(), None)]
        self.assertEqual(sent, carrier.sent)
        self.assertTrue(known(datagram, 0, first, wire, 0.0))
        self.assertTrue(known(data, 0, offload, wire, 0.0))
        wire.readEnd = None
        for end in ends:
            end()
        self.assertEqual([*sent, (datagram, first), (data, offload)], carrier.sent)
        # No read is under way.
        self.assertFalse(known(data, 0, offload, wire, 0.0))

    def test_thePortCountsWrongPackets(self) -> None:
        data, offload = segments(3000, 1400)
        datagram, first, _ = superpacket(4, UDP, bytes(100), 100)
        first = replace(first, type=NONE, size=0)
        for wrong, counter in (
            (b"short", "inTruncated"),
            (replace(offload, size=0).packed + data, "inOffloadErrors"),
            (replace(offload, type=7).packed + data, "inUnknownOffloads"),
            # The checksum would be behind the end of the packet.
            (first.packed + datagram[: first.least - 1], "inOffloadErrors"),
        ):
            tunnel, carrier = Tunnel(TUN), Carrier()
            port = TuntapPort("", tunnel, reactor=Clock(), device=ReadDevice(wrong, first.packed + datagram))
            port.startListening()
            tunnel.carrierUp(carrier)
            port.doRead()
            self.assertEqual(1, port.counters[counter])
            port.doRead()
            self.assertEqual([(datagram, first)], carrier.sent)

    @given(SUPERPACKETS.filter(lambda made: not made[2]))
    def test_thePortCountsTheSegmentsOfASuperpacket(self, made: tuple[bytes, Offload, int]) -> None:
        data, offload, network = made
        tunnel, carrier = Tunnel(TUN), Carrier()
        port = TuntapPort("", tunnel, reactor=Clock(), device=ReadDevice(offload.packed + data))
        port.startListening()
        tunnel.carrierUp(carrier)
        port.doRead()
        self.assertEqual([(data, offload)], carrier.sent)
        packets = finish(data, offload, network)
        expected = {"inPackets": len(packets), "inOctets": sum(map(len, packets)), "inSuperpackets": 1}
        self.assertEqual(expected, dict(port.counters))

    def test_aReplacedReceiverGetsAllPackets(self) -> None:
        class Other(Tunnel):
            def packetReceived(self, packet: Packet) -> None:
                pass

        self.assertIsNone(Other(TUN).knownReceiver)

    def test_aNewerCarrierReplacesTheOlder(self) -> None:
        tunnel, _ = self.made()
        older, newer = Carrier(), Carrier()
        tunnel.carrierUp(older)
        tunnel.carrierUp(newer)
        self.assertIn("connected again", older.why)
        tunnel.carrierDown(older)
        self.assertIs(newer, tunnel.carrier)

    def test_superpacketsAreSegmentedIfThePeerDoesNotAcceptThem(self) -> None:
        tunnel, _ = self.made()
        carrier = Carrier(0)
        tunnel.carrierUp(carrier)
        data, offload = segments(3000, 1400)
        received = Packet(data)
        received.offload = offload
        tunnel.packetReceived(received)
        self.assertEqual([1440, 1440, 240], [len(each) for each, _ in carrier.sent])
        self.assertEqual({None}, {offload for _, offload in carrier.sent})
        self.assertEqual(3, tunnel.counters["outPackets"])
        carrier.offloads = CSUM | TSO4
        tunnel.packetReceived(received)
        self.assertEqual((data, offload), carrier.sent[-1])
        self.assertEqual(6, tunnel.counters["outPackets"])

    def test_aTunnelCanBeAtAnEndOfALink(self) -> None:
        clock = SimulationClock()
        here, there = Tunnel(TUN), Tunnel(TUN)
        link = Link(here, there, clock)
        link.start()
        carrier = Carrier()
        there.carrierUp(carrier)
        # An end of a link cannot be paused.
        there.carrierFull(carrier)
        self.assertTrue(here.carried(packet()))
        clock.advance(0)
        self.assertEqual([(packet(), None)], carrier.sent)
        link.stop()

    def test_thePortIsPausedWhileTheCarrierIsFull(self) -> None:
        class Port(RecordingPort):
            isReading = True

            def pauseProducing(self) -> None:
                self.isReading = False

            def resumeProducing(self) -> None:
                self.isReading = True

        port = Port()
        tunnel, _ = self.made(wire=port)
        older, newer = Carrier(), Carrier()
        tunnel.carrierUp(older)
        tunnel.carrierFull(older)
        self.assertFalse(port.isReading)
        tunnel.carrierFree(older)
        self.assertTrue(port.isReading)
        tunnel.carrierFull(older)
        tunnel.carrierUp(newer)
        self.assertTrue(port.isReading)
        tunnel.carrierFull(older)
        self.assertTrue(port.isReading)
        tunnel.carrierFull(newer)
        tunnel.carrierDown(newer)
        self.assertTrue(port.isReading)
