"""
Tests for L{txtuntap.network.link}: links in memory.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.recorders import Oops, PacketRecorder, PairRecorder
from txtuntap import EthernetProtocol, IPProtocol, Packet
from txtuntap.interfaces import IEthernetProtocol, IPacketTransport
from txtuntap.layer.relay import EVERYTHING
from txtuntap.network.clock import SimulationClock
from txtuntap.network.link import QUEUE_LENGTH, Link
from txtuntap.stack.host import Host
from txtuntap.testing import ethernetFrame
from txtuntap.wire.offload import DATA_VALID, NEEDS_CHECKSUM, UDP, Offload

HERE, THERE = b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02"
FRAME = ethernetFrame(HERE, THERE, 0x88B5, b"payload")


@implementer(IEthernetProtocol)
class End(PacketRecorder):
    """
    A protocol that records the packets it receives, and can send packets itself.

    @ivar greeting: the packet that is sent at the start; empty: none.
    @ivar answers: the number of received packets that are still to be sent back.
    @ivar isBusy: whether a packet is being received. No second one may arrive meanwhile.
    """

    takesOffload = True

    def __init__(self, greeting: bytes = b"") -> None:
        super().__init__()
        self.greeting = greeting
        self.answers = 0
        self.isBusy = False

    def startProtocol(self) -> None:
        super().startProtocol()
        if self.greeting:
            self.transport.writePacket([self.greeting])

    def packetReceived(self, packet: Packet) -> None:
        assert not self.isBusy
        self.isBusy = True
        try:
            super().packetReceived(packet)
            if self.answers:
                self.answers -= 1
                self.transport.writePacket([bytes(packet)])
        finally:
            self.isBusy = False


class WirePackets(End):
    """
    A protocol that takes no superpackets and no open checksums.
    """

    takesOffload = False


class LinkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = SimulationClock()
        self.one, self.other = End(), End()

    def linked(self, mtu: int = 1500) -> Link:
        """
        Start a link between C{one} and C{other}.
        """
        link = Link(self.one, self.other, self.clock, mtu)
        link.start()
        self.addCleanup(link.stop)
        return link

    def test_endsProvideIPacketTransport(self) -> None:
        for end in self.linked().ends:
            verifyObject(IPacketTransport, end)
            self.assertIsNone(end.batches)

    def test_aPacketIsDeliveredInTheNextTurn(self) -> None:
        link = self.linked()
        self.clock.advance(3)
        self.one.transport.writePacket([FRAME[:9], FRAME[9:]])
        self.assertEqual(self.other.packets, [])
        self.clock.advance(0)
        (packet,) = self.other.packets
        self.assertEqual((bytes(packet), packet.time, packet.port), (FRAME, 3, link.ends[1]))
        self.assertEqual(self.one.packets, [])

    def test_answersAreDeliveredInFurtherTurns(self) -> None:
        self.one.answers = self.other.answers = 1000
        self.linked()
        self.one.transport.writePacket([FRAME])
        self.clock.advance(0)
        self.assertEqual((len(self.one.packets), len(self.other.packets)), (1000, 1001))

    def test_packetsSentAtTheStartAreDelivered(self) -> None:
        self.one, self.other = End(b"first" * 5), End(b"second" * 5)
        self.linked()
        self.clock.advance(0)
        self.assertEqual(self.other.data, [b"first" * 5])
        self.assertEqual(self.one.data, [b"second" * 5])

    def test_sentPacketsAndOctetsAreCounted(self) -> None:
        link = self.linked()
        self.one.transport.writePacket([FRAME])
        self.assertEqual(link.ends[0].counters, {"outPackets": 1, "outOctets": len(FRAME)})

    def test_aSuperpacketCountsAsItsPackets(self) -> None:
        link = self.linked()
        offload = Offload(NEEDS_CHECKSUM, UDP, 42, 100, 34, 6)
        self.one.transport.writePacket([bytes(42 + 250)], offload)
        self.assertEqual(link.ends[0].counters, {"outPackets": 3, "outOctets": 3 * 42 + 250, "outSuperpackets": 1})

    def test_theQueueIsBounded(self) -> None:
        link = self.linked()
        for _ in range(QUEUE_LENGTH + 5):
            self.one.transport.writePacket([FRAME])
        self.assertEqual(link.ends[0].counters["outDiscards"], 5)
        self.assertEqual([(state.size, state.bound) for state in link.tables()], [(0, 1000), (QUEUE_LENGTH, 1000)])
        self.clock.advance(0)
        self.assertEqual(len(self.other.packets), QUEUE_LENGTH)
        self.one.transport.writePacket([FRAME])
        self.clock.advance(0)
        self.assertEqual(len(self.other.packets), QUEUE_LENGTH + 1)

    def test_packetsInTransitAreLostAtTheStop(self) -> None:
        link = self.linked()
        self.one.transport.writePacket([FRAME])
        link.stop()
        link.ends[0].writePacket([FRAME])
        self.clock.advance(1)
        self.assertEqual(self.other.packets, [])
        self.assertEqual(link.ends[0].counters["outDiscards"], 1)
        link.stop()

    def test_aStoppedLinkCanBeStartedAgain(self) -> None:
        link = self.linked()
        self.assertRaises(RuntimeError, link.start)
        link.stop()
        link.start()
        self.one.transport.writePacket([FRAME])
        self.clock.advance(0)
        self.assertEqual(len(self.other.packets), 1)

    def test_anExceptionIsLoggedAndLaterPacketsAreDelivered(self) -> None:
        self.other.failing.add("receive")
        link = self.linked()
        for _ in range(3):
            self.one.transport.writePacket([FRAME])
        self.clock.advance(0)
        self.assertEqual(len(self.other.packets), 3)
        self.assertEqual(link.ends[1].counters["protocolFailures"], 3)
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)

    def test_aProtocolThatFailsToStartStopsTheOther(self) -> None:
        other = IPProtocol()
        other.addProto(17, PairRecorder("start"))
        one = IPProtocol()
        self.assertRaises(Oops, Link(one, other, self.clock).start)
        self.assertEqual((one.numPorts, other.numPorts), (0, 0))

    def test_anOffloadIsPassedOnIfThePeerTakesIt(self) -> None:
        link = self.linked()
        self.assertEqual(link.ends[0].offloads, EVERYTHING)
        offload = Offload(NEEDS_CHECKSUM, 0, 0, 0, 34, 6)
        self.one.transport.writePacket([FRAME + bytes(40)], offload)
        self.clock.advance(0)
        (packet,) = self.other.packets
        self.assertEqual((packet.offload, packet.network), (offload, 14))

    def test_aPacketIsFinishedForAPeerWithoutOffload(self) -> None:
        self.other = WirePackets()
        link = self.linked()
        self.assertEqual(link.ends[0].offloads, 0)
        self.assertEqual(link.ends[1].offloads, EVERYTHING)
        self.one.transport.writePacket([FRAME], Offload(DATA_VALID))
        self.clock.advance(0)
        self.assertEqual([(bytes(each), each.offload) for each in self.other.packets], [(FRAME, None)])

    def test_theMTUOfTheLinkIsThatOfItsEnds(self) -> None:
        self.linked(9000)
        self.assertEqual(self.one.transport.mtu, 9000)

    def test_endsOfDifferentKindsAreRefused(self) -> None:
        with self.assertRaises(TypeError) as raised:
            Link(EthernetProtocol(), IPProtocol(), self.clock)
        self.assertIn("two IEthernetProtocols or two IRawPacketProtocols", str(raised.exception))

    def test_twoHostsCanBeLinkedByIP(self) -> None:
        hosts = [Host([f"10.0.0.{number}/24"], self.clock) for number in (1, 2)]
        link = Link(hosts[0].ip, hosts[1].ip, self.clock)
        link.start()
        self.addCleanup(link.stop)
        pinged = hosts[0].ping("10.0.0.2")
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(pinged).source, "10.0.0.2")
