"""
What is seen of TCP from outside: counters, and records of connections.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from tests.tcp.rawpeer import OURS, THEIRS, RawPeer, Readers
from txtuntap.network import Network
from txtuntap.testing import ipPacket
from txtuntap.wire.tcp import ACK, FIN, RST, SYN, packSynOptions


class Client(ClientFactory):
    noisy = False
    protocol = Protocol


class RecordTests(SynchronousTestCase):
    """
    Records of connections.
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

    def test_halfOpen(self) -> None:
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

    def test_established(self) -> None:
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

    def test_whatWaitsToBeRead(self) -> None:
        connection = self.peer.open(80)
        self.transport().pauseProducing()
        connection.send(b"four")
        connection.send(b"three", ahead=10)
        record = self.record()
        self.assertEqual((record.toRead, record.outOfOrder), (4, 5))
        self.assertIn("to read 4, out of order 5", str(record))

    def test_timeWait(self) -> None:
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

    def test_client(self) -> None:
        self.peer.host.connectTCP("fd00::1", 80, Client())
        self.peer.sent()
        record = self.record()
        self.assertEqual((record.state, record.peer.host, record.options), ("SYN-SENT", "fd00::1", None))
        self.assertIn("[fd00::1]:80", str(record))

    def test_roundTrip(self) -> None:
        with Network(seed=1) as net:
            here = net.host("10.0.0.1/24")
            there = net.host("10.0.0.2/24", here, "delay 20ms")
            there.listenTCP(80, Readers())
            net.result(here.ping("10.0.0.2"))
            here.connectTCP("10.0.0.2", 80, Client())
            net.run(1)
            (record,) = here.connections
        self.assertAlmostEqual(record.roundTrip, 0.04, places=3)
        self.assertIn("round trip 40.", str(record))


class CounterTests(SynchronousTestCase):
    """
    Counters by the names of RFC 4022.
    """

    def setUp(self) -> None:
        self.peer = RawPeer()
        self.factory = Readers()
        self.peer.host.listenTCP(80, self.factory)

    def changes(self, call: Any, *arguments: Any, **options: Any) -> dict[str, int]:
        """
        What is counted more after a call than before.
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

    def test_portsThatAreClosed(self) -> None:
        listening = self.peer.host.listenTCP(81, Readers())
        self.peer.syn(81)
        self.assertEqual(self.changes(listening.stopListening), {"attemptFails": 1})
        self.assertEqual(self.changes(self.peer.syn, 81), {"noPorts": 1, "outRsts": 1})

    def test_activeOpens(self) -> None:
        connector = self.peer.host.connectTCP(THEIRS, 9, Client())
        self.assertEqual(self.changes(self.peer.clock.advance, 0), {"activeOpens": 1})
        self.assertEqual(self.changes(self.peer.clock.advance, 1.1), {"retransSegs": 1})
        self.assertEqual(self.changes(connector.stopConnecting), {"attemptFails": 1})

    def test_namesThatAreUnknown(self) -> None:
        self.peer.host.connectTCP("nobody.example", 9, Client())
        self.assertEqual(self.changes(self.peer.clock.advance, 1), {})

    def test_resets(self) -> None:
        connection = self.peer.open(80)
        self.assertEqual(self.changes(connection.send, b"", flags=RST), {"estabResets": 1, "currEstab": -1})
        self.peer.open(80, sourcePort=4001)
        transport: Any = self.factory.made[-1].transport
        aborted = {"estabResets": 1, "currEstab": -1, "outRsts": 1}
        self.assertEqual(self.changes(transport.abortConnection), aborted)

    def test_closing(self) -> None:
        connection = self.peer.open(80)
        transport: Any = self.factory.made[-1].transport
        self.assertEqual(self.changes(transport.loseConnection), {"currEstab": -1})
        connection.expected += 1
        self.assertEqual(self.changes(connection.send, b"", flags=FIN | ACK), {})
        connection = self.peer.open(80, sourcePort=4001)
        # Their FIN comes first. CLOSE-WAIT counts; who has no half-close leaves it at once.
        self.assertEqual(self.changes(connection.send, b"", flags=FIN | ACK), {"currEstab": -1})

    def test_resetsInOtherStates(self) -> None:
        connection = self.peer.open(80)
        transport: Any = self.factory.made[-1].transport
        transport.loseConnection()
        self.peer.sent()
        self.assertEqual(self.changes(connection.send, b"", flags=RST), {})

    def test_resetsOfWhatNobodyReads(self) -> None:
        connection = self.peer.open(80)
        transport: Any = self.factory.made[-1].transport
        transport.loseConnection()
        self.peer.sent()
        self.assertEqual(self.changes(connection.send, b"late"), {"outRsts": 1})

    def test_retransmissionsWhileItLives(self) -> None:
        connection = self.peer.open(80)
        transport: Any = self.factory.made[-1].transport
        transport.write(bytes(100))
        self.peer.sent()
        self.peer.clock.advance(0)
        changes = self.changes(self.peer.clock.advance, 5)
        self.assertEqual(set(changes), {"retransSegs"})
        self.assertGreater(changes["retransSegs"], 0)
        connection.send(b"", flags=RST)

    def test_errors(self) -> None:
        self.assertEqual(self.changes(self.peer.send, THEIRS, OURS, 4000, 80, 0, 0, SYN | 64 << 4), {"passiveOpens": 1})
        self.assertEqual(self.changes(self.peer.device.deliver, ipPacket(THEIRS, OURS, 6, bytes(19))), {"inErrs": 1})
        self.assertEqual(self.changes(self.peer.device.deliver, ipPacket(THEIRS, OURS, 6, bytes(20))), {"inErrs": 1})

    def test_allSegments(self) -> None:
        connection = self.peer.open(80)
        connection.send(b"x")
        counters = self.peer.host.counters["tcp"]
        self.assertEqual((counters["inSegs"], counters["outSegs"]), (3, 2))

    def test_stopping(self) -> None:
        self.peer.open(80)
        self.peer.port.stopListening()
        self.peer.clock.advance(1)
        self.assertEqual(self.peer.counters.currEstab, 0)
        self.assertEqual(self.peer.host.connections, [])
