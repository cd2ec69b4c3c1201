"""
Tests for the records of connections and ports, and for the counters of TCP.
"""

from __future__ import annotations

import json
from math import inf
from typing import Any

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.tcp.rawpeer import OURS, THEIRS, RawPeer, Readers
from txtuntap import Host
from txtuntap.network import Network
from txtuntap.tcp import ConnectionRecord, NewReno, Parameters, PortRecord
from txtuntap.tcp.record import plain
from txtuntap.testing import ipPacket
from txtuntap.wire.tcp import ACK, FIN, RST, SYN, packSynOptions


class Client(ClientFactory):
    noisy = False
    protocol = Protocol


@implementer(IHalfCloseableProtocol)
class HalfCloser(Protocol):
    """
    A protocol that keeps its half of the connection open.
    """

    def readConnectionLost(self) -> None:
        pass

    def writeConnectionLost(self) -> None:
        pass


class HalfClosers(ClientFactory):
    noisy = False
    protocol = HalfCloser


class Paced(NewReno):
    """
    A congestion control that sets a rate.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate


class RecordTests(SynchronousTestCase):
    """
    Tests for records of connections and ports.
    """

    def setUp(self) -> None:
        self.peer = RawPeer()
        self.factory = Readers()
        self.peer.host.listenTCP(80, self.factory)

    def record(self) -> Any:
        (record,) = self.peer.host.connections
        return record

    def transport(self) -> Any:
        return self.factory.made[0].transport

    def test_aHalfOpenConnectionIsRecorded(self) -> None:
        self.peer.syn(80, options=packSynOptions(1400, 3, True, (5, 0)))
        record = self.record()
        self.assertEqual(record.state, "SYN-RECEIVED")
        self.assertEqual(record.host, IPv4Address("TCP", OURS, 80))
        self.assertEqual(record.peer, IPv4Address("TCP", THEIRS, 4000))
        self.assertEqual((record.options.mss, record.options.scale), (1400, 3))
        self.assertEqual(record.retransmissions, 0)
        self.peer.syn(80)
        self.peer.clock.advance(1)
        self.assertEqual(self.record().retransmissions, 1)

    def test_anEstablishedConnectionIsRecorded(self) -> None:
        self.peer.open(80, options=packSynOptions(1400), window=3000)
        self.transport().write(bytes(5000))
        self.peer.sent()
        record = self.record()
        self.assertEqual(record.state, "ESTABLISHED")
        self.assertEqual((record.control, record.phase), ("Cubic", "open"))
        self.assertEqual(record.congestionWindow, 14000)
        self.assertEqual(record.threshold, float("inf"))
        self.assertEqual((record.sendWindow, record.underWay, record.toSend), (3000, 2800, 2200))
        self.assertEqual((record.toRead, record.outOfOrder), (0, 0))
        self.assertEqual(record.options.mss, 1400)
        self.assertEqual(record.receiveWindow, 65535)
        self.assertEqual(record.retransmissions, 0)
        self.assertEqual((record.segmentsIn, record.segmentsOut), (1, 2))
        self.peer.clock.advance(2)
        self.assertGreater(self.record().retransmissions, 0)

    def test_unreadAndQueuedDataAreRecorded(self) -> None:
        connection = self.peer.open(80)
        self.transport().pauseProducing()
        connection.send(b"four")
        connection.send(b"three", ahead=10)
        record = self.record()
        self.assertEqual((record.toRead, record.outOfOrder), (4, 5))
        self.assertIn("ESTABLISHED Recv-Q 4 Send-Q 0 10.0.0.2:80 10.0.0.1:4000 ", str(record))
        self.assertIn(" out_of_order:5 ", str(record))

    def test_aConnectionInTimeWaitIsRecorded(self) -> None:
        connection = self.peer.open(80)
        self.transport().loseConnection()
        self.assertEqual([each.flags & FIN for each in self.peer.sent()], [FIN])
        self.assertEqual(self.record().state, "FIN-WAIT-1")
        connection.expected += 1
        connection.send(b"", flags=FIN | ACK)
        record = self.record()
        self.assertEqual((record.state, record.peer.port), ("TIME-WAIT", 4000))
        self.assertIsNone(record.control)
        self.peer.clock.advance(61)
        self.assertEqual(self.peer.host.connections, [])

    def test_aClientIsRecorded(self) -> None:
        self.peer.host.connectTCP("fd00::1", 80, Client())
        self.peer.sent()
        record = self.record()
        self.assertEqual((record.state, record.peer.host, record.options), ("SYN-SENT", "fd00::1", None))
        self.assertIn("[fd00::1]:80", str(record))
        self.assertEqual((record.agreement, record.segmentSize, record.retransmissionTimeout), (None, None, None))
        self.assertEqual(record.retransmissions, 0)
        self.peer.clock.advance(1.1)
        self.assertEqual(self.record().retransmissions, 1)

    def test_octetsAreCounted(self) -> None:
        connection = self.peer.open(80, options=packSynOptions(1000))
        connection.send(b"four")
        self.transport().write(bytes(2500))
        self.peer.sent()
        connection.expected += 1000
        connection.send(b"")
        record = self.record()
        self.assertEqual((record.octetsIn, record.octetsOut, record.octetsAcknowledged), (4, 2500, 1000))
        self.transport().loseConnection()
        self.peer.sent()
        # The FIN is unacknowledged, too, but is not an octet of data.
        record = self.record()
        self.assertEqual((record.state, record.octetsOut, record.octetsAcknowledged), ("FIN-WAIT-1", 2500, 1000))
        self.assertEqual((record.octetsAgain, record.underWay), (0, 1501))
        connection.expected += 1501
        connection.send(b"")
        record = self.record()
        self.assertEqual((record.state, record.octetsOut, record.octetsAcknowledged), ("FIN-WAIT-2", 2500, 2500))

    def test_aFINIsNoData(self) -> None:
        self.peer.host.listenTCP(81, HalfClosers())
        connection = self.peer.open(81)
        connection.send(b"four", flags=FIN | ACK)
        self.assertEqual((self.record().state, self.record().octetsIn), ("CLOSE-WAIT", 4))

    def test_lossesAreCounted(self) -> None:
        connection = self.peer.open(80, options=packSynOptions(1000))
        self.transport().write(bytes(4500))
        self.transport().loseConnection()
        self.peer.sent()
        record = self.record()
        self.assertEqual((record.timeouts, record.retransmitting, record.octetsAgain), (0, 0, 0))
        timeout = record.retransmissionTimeout
        while not self.record().lost:
            self.peer.clock.advance(0.1)
        self.peer.sent()
        record = self.record()
        self.assertEqual((record.phase, record.control), ("loss", "Cubic"))
        self.assertEqual(record.retransmissionTimeout, timeout * 2**record.timeouts)
        self.assertGreater(record.retransmitting, 0)
        # All data is lost except the data retransmitted since.
        self.assertEqual(record.lost + 1000 * record.retransmitting, record.underWay)
        self.assertEqual(record.octetsOut, 4500 + record.octetsAgain)
        text = str(record)
        self.assertIn(f" backoff:{record.timeouts} ", text)
        self.assertIn(f" retrans:{record.retransmitting}/{record.retransmissions} lost:4 phase:loss ", text)
        self.assertIn(f" bytes_retrans:{record.octetsAgain} ", text)
        self.assertIn(f" ssthresh:{record.threshold // 1000:.0f} ", text)
        # All data is acknowledged in the end. Neither the FIN nor retransmissions count.
        connection.expected += 4501
        connection.send(b"")
        record = self.record()
        self.assertEqual((record.lost, record.retransmitting, record.octetsAcknowledged), (0, 0, 4500))

    def test_theAgreementIsRecorded(self) -> None:
        self.peer.open(80, options=packSynOptions(1400, 3, True, (5, 0)))
        record = self.record()
        self.assertEqual((record.agreement.scale, record.agreement.ownScale, record.segmentSize), (3, 6, 1388))
        self.assertIn(" ts sack cubic wscale:3,6 rto:", str(record))
        self.assertIn(" mss:1388 cwnd:10 ", str(record))

    def test_recordsConvertToJSON(self) -> None:
        self.peer.open(80, options=packSynOptions(1400, 3, True, (5, 0)))
        self.peer.syn(80, sourcePort=4001)
        records: list[ConnectionRecord | PortRecord] = [*self.peer.host.connections, *self.peer.host.listening]
        for record in records:
            # JSON has no infinite numbers.
            fields = json.loads(json.dumps(plain(record), allow_nan=False))
            self.assertEqual(list(fields), [each.name for each in attrs.fields(type(record))])
        up = plain(self.peer.host.connections[0])
        self.assertEqual((up["state"], up["threshold"]), ("ESTABLISHED", None))
        self.assertEqual((up["host"], up["peer"]), ({"host": OURS, "port": 80}, {"host": THEIRS, "port": 4000}))
        self.assertEqual((up["options"]["mss"], up["agreement"]["scale"]), (1400, 3))

    def test_theRateOfAControlIsRecorded(self) -> None:
        self.peer.host.tcp.listen(81, Readers(), parameters=Parameters(congestion=lambda: Paced(1000.0)))
        self.peer.host.tcp.listen(82, Readers(), parameters=Parameters(congestion=lambda: Paced(inf)))
        self.peer.open(81)
        self.peer.open(82)
        slow, fast = self.peer.host.connections
        self.assertEqual((slow.rate, plain(slow)["rate"], plain(fast)["rate"]), (1000.0, 1000.0, None))
        self.assertIn(" pacing_rate 8000bps ", str(slow))
        self.assertNotIn("pacing_rate", str(fast))

    def test_eachRecordIsMadeWhenAskedFor(self) -> None:
        """
        Each record shows the state at the time at which it is made.
        """
        first = self.peer.open(80)
        self.peer.open(80, sourcePort=4001)
        self.peer.syn(80, sourcePort=4002)
        records = self.peer.host.eachConnection()
        self.assertEqual(records.left, 3)
        self.assertEqual((next(records).peer.port, records.left), (4000, 2))
        # Meanwhile, one connection ends, another is established, and a third is new.
        self.factory.made[1].transport.abortConnection()  # type: ignore[union-attr]
        self.peer.sent()
        self.peer.open(80, sourcePort=4002)
        self.peer.open(80, sourcePort=4003)
        first.send(b"", flags=RST)
        self.assertEqual([(each.peer.port, each.state) for each in records], [(4002, "ESTABLISHED")])
        self.assertEqual(records.left, 0)

    def test_listeningPortsAreRecorded(self) -> None:
        host = self.peer.host
        host.listenTCP(81, Readers(), backlog=7, interface="fd00::2")
        host.listenTCP(82, Readers(), interface="0.0.0.0")
        self.peer.open(80)
        self.peer.syn(80, sourcePort=4001)
        every, six, four = host.listening
        self.assertEqual((every.state, every.host, every.connections), ("LISTEN", IPv4Address("TCP", "", 80), 1))
        self.assertEqual((every.halfOpen, every.backlog, every.maxConnections), (1, 50, 131072))
        self.assertEqual((six.host.host, six.backlog, four.host.host), ("fd00::2", 7, "0.0.0.0"))
        self.assertEqual(str(every), "LISTEN Recv-Q 1 Send-Q 50 *:80 connections:1 max_connections:131072")
        self.assertEqual(str(six).split()[5], "[fd00::2]:81")

    def test_aHostWithoutTCPHasNoRecords(self) -> None:
        host = Host(["10.0.0.2/24"], Clock())
        self.assertEqual((host.connections, host.listening, list(host.eachConnection())), ([], [], []))
        self.assertFalse(host.usesTCP)

    def test_theRoundTripIsRecorded(self) -> None:
        with Network(seed=1) as net:
            here = net.host("10.0.0.1/24")
            there = net.host("10.0.0.2/24", here, "delay 20ms")
            there.listenTCP(80, Readers())
            net.result(here.ping("10.0.0.2"))
            here.connectTCP("10.0.0.2", 80, Client())
            net.run(1)
            (record,) = here.connections
        self.assertAlmostEqual(record.roundTrip, 0.04, places=3)
        self.assertIn(" rtt:40/20 ", str(record))
        self.assertIn(" minrtt:40 ", str(record))


class CounterTests(SynchronousTestCase):
    """
    Tests for the counters of RFC 4022.
    """

    def setUp(self) -> None:
        self.peer = RawPeer()
        self.factory = Readers()
        self.peer.host.listenTCP(80, self.factory)

    def changes(self, call: Any, *arguments: Any, **options: Any) -> dict[str, int]:
        """
        Return the differences of all counters after a call.
        """
        before = self.peer.host.counters["tcp"]
        call(*arguments, **options)
        self.peer.sent()
        after = self.peer.host.counters["tcp"]
        names = sorted({*before, *after} - {"inSegs", "outSegs"})
        return {
            name: after.get(name, 0) - before.get(name, 0)
            for name in names
            if after.get(name, 0) != before.get(name, 0)
        }

    def test_passiveOpens(self) -> None:
        self.assertEqual(self.changes(self.peer.syn, 80), {"passiveOpens": 1})
        answer = self.changes(self.peer.send, THEIRS, OURS, 4000, 80, 1001, 0, RST)
        self.assertEqual(answer, {"attemptFails": 1})
        self.assertEqual(self.changes(self.peer.open, 80), {"passiveOpens": 1, "currEstab": 1})

    def test_closedPortsRefuse(self) -> None:
        listening = self.peer.host.listenTCP(81, Readers())
        self.peer.syn(81)
        self.assertEqual(self.changes(listening.stopListening), {"attemptFails": 1})
        self.assertEqual(self.changes(self.peer.syn, 81), {"noPorts": 1, "outRsts": 1})

    def test_activeOpens(self) -> None:
        connector = self.peer.host.connectTCP(THEIRS, 9, Client())
        self.assertEqual(self.changes(self.peer.clock.advance, 0), {"activeOpens": 1})
        self.assertEqual(self.changes(self.peer.clock.advance, 1.1), {"retransSegs": 1})
        self.assertEqual(self.changes(connector.stopConnecting), {"attemptFails": 1})

    def test_anUnknownNameCountsNothing(self) -> None:
        self.peer.host.connectTCP("nobody.example", 9, Client())
        self.assertEqual(self.changes(self.peer.clock.advance, 1), {})

    def test_resetsAreCounted(self) -> None:
        connection = self.peer.open(80)
        self.assertEqual(self.changes(connection.send, b"", flags=RST), {"estabResets": 1, "currEstab": -1})
        self.peer.open(80, sourcePort=4001)
        transport: Any = self.factory.made[-1].transport
        aborted = {"estabResets": 1, "currEstab": -1, "outRsts": 1}
        self.assertEqual(self.changes(transport.abortConnection), aborted)

    def test_aClosedConnectionIsNotEstablished(self) -> None:
        connection = self.peer.open(80)
        transport: Any = self.factory.made[-1].transport
        self.assertEqual(self.changes(transport.loseConnection), {"currEstab": -1})
        connection.expected += 1
        self.assertEqual(self.changes(connection.send, b"", flags=FIN | ACK), {})
        connection = self.peer.open(80, sourcePort=4001)
        # The peer closes first. CLOSE-WAIT counts as established, but a protocol without half-close leaves it at once.
        self.assertEqual(self.changes(connection.send, b"", flags=FIN | ACK), {"currEstab": -1})

    def test_aResetAfterCloseIsNotCounted(self) -> None:
        connection = self.peer.open(80)
        transport: Any = self.factory.made[-1].transport
        transport.loseConnection()
        self.peer.sent()
        self.assertEqual(self.changes(connection.send, b"", flags=RST), {})

    def test_dataWithoutAReaderIsReset(self) -> None:
        connection = self.peer.open(80)
        transport: Any = self.factory.made[-1].transport
        transport.loseConnection()
        self.peer.sent()
        self.assertEqual(self.changes(connection.send, b"late"), {"outRsts": 1})

    def test_retransmissionsAreCounted(self) -> None:
        connection = self.peer.open(80)
        transport: Any = self.factory.made[-1].transport
        transport.write(bytes(100))
        self.peer.sent()
        self.peer.clock.advance(0)
        changes = self.changes(self.peer.clock.advance, 5)
        self.assertEqual(set(changes), {"retransSegs"})
        self.assertGreater(changes["retransSegs"], 0)
        connection.send(b"", flags=RST)

    def test_shortAndDamagedSegmentsAreErrors(self) -> None:
        self.assertEqual(self.changes(self.peer.send, THEIRS, OURS, 4000, 80, 0, 0, SYN | 64 << 4), {"passiveOpens": 1})
        self.assertEqual(self.changes(self.peer.device.deliver, ipPacket(THEIRS, OURS, 6, bytes(19))), {"inErrs": 1})
        self.assertEqual(self.changes(self.peer.device.deliver, ipPacket(THEIRS, OURS, 6, bytes(20))), {"inErrs": 1})

    def test_allSegmentsAreCounted(self) -> None:
        connection = self.peer.open(80)
        connection.send(b"x")
        counters = self.peer.host.counters["tcp"]
        self.assertEqual((counters["inSegs"], counters["outSegs"]), (3, 2))

    def test_stoppingEndsEstablishedConnections(self) -> None:
        self.peer.open(80)
        self.peer.port.stopListening()
        self.peer.clock.advance(1)
        self.assertEqual(self.peer.counters.currEstab, 0)
        self.assertEqual(self.peer.host.connections, [])
