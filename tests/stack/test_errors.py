"""
ICMP errors that come to a host: which of them it believes, and what it does about those.
"""

from __future__ import annotations

from typing import Any

from tests.recorders import DatagramRecorder, Echo
from txtuntap.ip.pathmtu import FLOOR, TIMEOUT
from txtuntap.testing import TUN, ipPacket, udpPacket
from txtuntap.udp.layer import LATELY, MAX_ANSWERED, MAX_WRITTEN
from txtuntap.wire import icmp

from .link import LinkTestCase, echo, icmpPacket

THEIRS, OURS = "10.0.0.1", "10.0.0.2"
THEIRS6, OURS6 = "fd00::1", "fd00::2"
PAIRS = ((THEIRS, OURS), (THEIRS6, OURS6))
ROUTER, ROUTER6 = "192.0.2.1", "2001:db8::1"
PORT = 1234

REFUSED = {4: (icmp.UNREACHABLE, icmp.PORT_UNREACHABLE), 6: (icmp.UNREACHABLE6, icmp.PORT_UNREACHABLE6)}


class Connected(DatagramRecorder):
    """
    Counts how often it was refused.
    """

    refused = 0

    def connectionRefused(self) -> None:
        self.refused += 1


def error(kind: int, code: int, quoted: bytes, rest: int = 0, source: str = "", dest: str = "") -> bytes:
    """
    A datagram with an error about a packet, to its sender.
    """
    six = quoted[0] >> 4 == 6
    return icmpPacket(
        source or (ROUTER6 if six else ROUTER), dest or (OURS6 if six else OURS), kind, code, rest, quoted[:1232]
    )


class ErrorTestCase(LinkTestCase):
    """
    @ivar protocol: on our port L{PORT}.
    """

    def setUp(self) -> None:
        self.make(mode=TUN)
        self.listen()

    def listen(self) -> None:
        self.protocol = Connected()
        self.transport = self.host.listenUDP(PORT, self.protocol)

    def write(self, dest: str, payload: bytes = b"question") -> list[bytes]:
        """
        @return: what was sent.
        """
        before = len(self.device.sent)
        self.transport.write(payload, (dest, 53))
        return self.device.sent[before:]

    def count(self, name: str) -> int:
        return self.host.icmp.counters[name]

    def assertDisbelieved(self, *packets: bytes) -> None:
        before = self.count("inDisbelieved")
        self.assertEqual(self.receive(*packets), [])
        self.assertEqual(self.count("inDisbelieved"), before + len(packets))
        self.assertEqual((self.protocol.refused, len(self.host.ip.paths)), (0, 0))


class RefusedTests(ErrorTestCase):
    def refuse(self, dest: str) -> None:
        """
        Write there, and be told that the port is closed.
        """
        (sent,) = self.write(dest)
        self.receive(error(*REFUSED[sent[0] >> 4], sent, source=dest))

    def test_connectedTransportIsTold(self) -> None:
        for theirs, ours in PAIRS:
            self.setUp()
            self.transport.connect(theirs, 53)
            self.refuse(theirs)
            self.assertEqual((self.protocol.refused, self.count("inDestUnreachs")), (1, 1), ours)

    def test_theyMayQuoteEightOctetsOnly(self) -> None:
        for theirs, _ in PAIRS:
            self.setUp()
            self.transport.connect(theirs, 53)
            (sent,) = self.write(theirs)
            header = 40 if ":" in theirs else 20
            self.receive(error(*REFUSED[sent[0] >> 4], sent[: header + 8]))
            self.assertEqual(self.protocol.refused, 1)

    def test_transportThatIsNotConnectedIsLeftAlone(self) -> None:
        for theirs, _ in PAIRS:
            self.setUp()
            self.refuse(theirs)
            self.assertEqual((self.protocol.refused, self.count("inDestUnreachs")), (0, 1))

    def test_transportThatIsConnectedElsewhereIsLeftAlone(self) -> None:
        (sent,) = self.write(THEIRS)
        self.transport.connect("10.0.0.9", 53)
        self.receive(error(*REFUSED[4], sent))
        self.assertEqual((self.protocol.refused, self.count("inDestUnreachs")), (0, 1))

    def test_otherErrorsAreNoRefusal(self) -> None:
        self.transport.connect(THEIRS, 53)
        (sent,) = self.write(THEIRS)
        for code in (0, 1, 2, 9, 10, 13):
            self.receive(error(icmp.UNREACHABLE, code, sent))
        self.receive(error(icmp.TIME_EXCEEDED, 0, sent), error(icmp.PARAMETER_PROBLEM, 0, sent))
        counted = [self.count(name) for name in ("inDestUnreachs", "inTimeExcds", "inParmProblems")]
        self.assertEqual((self.protocol.refused, counted), (0, [6, 1, 1]))

    def test_otherErrorsAreNoRefusal6(self) -> None:
        self.transport.connect(THEIRS6, 53)
        (sent,) = self.write(THEIRS6)
        for code in (0, 1, 2, 3, 5, 6):
            self.receive(error(icmp.UNREACHABLE6, code, sent))
        self.receive(error(icmp.TIME_EXCEEDED6, 0, sent), error(icmp.PARAMETER_PROBLEM6, 0, sent))
        counted = [self.count(name) for name in ("inDestUnreachs", "inTimeExcds", "inParmProblems")]
        self.assertEqual((self.protocol.refused, counted), (0, [6, 1, 1]))

    def test_whatItRaisesIsLogged(self) -> None:
        def fail() -> None:
            raise RuntimeError("refused")

        self.protocol.connectionRefused = fail  # type: ignore[method-assign]
        self.transport.connect(THEIRS, 53)
        self.refuse(THEIRS)
        self.refuse(THEIRS)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.host.udp.counters["protocolFailures"], 2)

    def test_byOurselves(self) -> None:
        self.transport.connect(OURS, 9)
        self.transport.write(b"")
        self.clock.advance(0)
        self.assertEqual(self.protocol.refused, 1)


class DisbeliefTests(ErrorTestCase):
    """
    What anybody could have made up without having seen our packets.
    """

    def setUp(self) -> None:
        super().setUp()
        self.transport.connect(THEIRS, 53)
        (self.sent,) = self.write(THEIRS)

    def test_neverSent(self) -> None:
        for sourcePort, destPort in ((PORT, 54), (PORT + 1, 53), (53, PORT)):
            self.assertDisbelieved(error(*REFUSED[4], udpPacket(OURS, THEIRS, sourcePort, destPort, b"question")))
        self.assertDisbelieved(
            error(*REFUSED[4], udpPacket(OURS, "10.0.0.9", PORT, 53, b"question")),
            error(*REFUSED[4], udpPacket("10.0.0.9", THEIRS, PORT, 53, b"question")),
            error(*REFUSED[6], udpPacket(OURS6, THEIRS6, PORT, 53, b"question")),
            error(*REFUSED[4], ipPacket(OURS, THEIRS, 6, self.sent[20:])),
            error(*REFUSED[4], ipPacket(OURS, THEIRS, 253, self.sent[20:])),
        )

    def test_longAgo(self) -> None:
        self.clock.advance(LATELY)
        self.assertDisbelieved(error(*REFUSED[4], self.sent))

    def test_notQuiteSoLongAgo(self) -> None:
        self.clock.advance(LATELY - 1)
        self.receive(error(*REFUSED[4], self.sent))
        self.assertEqual(self.protocol.refused, 1)

    def test_portThatIsClosedByNow(self) -> None:
        self.transport.stopListening()
        self.assertDisbelieved(error(*REFUSED[4], self.sent))

    def test_toAnotherAddressOfOurs(self) -> None:
        self.host.addAddress("10.0.0.7/24")
        self.assertDisbelieved(error(*REFUSED[4], self.sent, dest="10.0.0.7"))

    def test_versionsMixed(self) -> None:
        quoted6 = udpPacket(OURS6, THEIRS6, PORT, 53, b"question")
        self.assertDisbelieved(error(*REFUSED[4], quoted6, source=ROUTER, dest=OURS))

    def test_laterFragment(self) -> None:
        fragment = ipPacket(OURS, THEIRS, 17, self.sent[20:], fragment=1)
        self.assertDisbelieved(error(*REFUSED[4], fragment))

    def test_quoteCutShort(self) -> None:
        for length in (1, 19, 20, 27):
            self.assertDisbelieved(error(*REFUSED[4], self.sent[:length]))

    def test_typesThatMeanNothing(self) -> None:
        before = self.count("inUnknown")
        self.receive(error(4, 0, self.sent), error(5, 1, self.sent))
        self.assertEqual((self.count("inUnknown") - before, self.protocol.refused), (2, 0))

    def test_errorsAreNeverAnswered(self) -> None:
        for quoted in (self.sent, udpPacket(OURS, THEIRS, 9, 9, b"")):
            self.assertEqual(self.receive(error(*REFUSED[4], quoted)), [])

    def test_bound(self) -> None:
        many = self.host.listenUDP(0, DatagramRecorder())
        for number in range(MAX_WRITTEN):
            many.write(b"", (f"10.1.{number >> 8}.{number & 0xFF}", 53))
        self.assertDisbelieved(error(*REFUSED[4], self.sent))

    def test_answersEvictNothingThatWeWrote(self) -> None:
        self.host.listenUDP(7, Echo())
        for number in range(2 * MAX_ANSWERED):
            self.receive(udpPacket(f"10.1.{number >> 8}.{number & 0xFF}", OURS, 5000, 7, b""))
        sizes = {table.name: table.size for table in self.host.tables()}
        self.assertEqual(sizes["answered"], MAX_ANSWERED)
        self.receive(error(*REFUSED[4], self.sent))
        self.assertEqual(self.protocol.refused, 1)

    def test_errorsAboutAnswersAreBelieved(self) -> None:
        self.host.listenUDP(7, Echo())
        (answer,) = self.receive(udpPacket(THEIRS, OURS, 5000, 7, bytes(1400)))
        self.receive(error(icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, answer, 600))
        self.assertEqual((len(self.host.ip.paths), self.count("inDisbelieved")), (1, 0))

    def test_tenThousandMadeUpChangeNothing(self) -> None:
        for number in range(10000):
            quoted = udpPacket(OURS, f"10.1.{number >> 8}.{number & 0xFF}", PORT, 53, bytes(1400))
            self.receive(error(icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, quoted, 600))
        self.assertEqual((len(self.host.ip.paths), self.count("inDisbelieved")), (0, 10000))
        self.receive(error(*REFUSED[4], self.sent))
        self.assertEqual(self.protocol.refused, 1)


class PathMTUTests(ErrorTestCase):
    """
    Datagrams are sent in pieces that fit the path.
    """

    LARGE = bytes(range(256)) * 5 + bytes(100)

    def tooBig(self, sent: bytes, mtu: int) -> None:
        if sent[0] >> 4 == 4:
            self.receive(error(icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, sent, mtu))
        else:
            self.receive(error(icmp.PACKET_TOO_BIG6, 0, sent, mtu))

    def test_sendsInFragments(self) -> None:
        for theirs, _ in PAIRS:
            self.setUp()
            (sent,) = self.write(theirs, self.LARGE)
            self.tooBig(sent, 1300)
            pieces = self.write(theirs, self.LARGE)
            self.assertEqual([len(piece) <= 1300 for piece in pieces], [True, True])
            self.assertEqual(self.count("inPktTooBigs"), 1)
            self.assertEqual(len(self.write(theirs, b"small")), 1)

    def test_onlyThere(self) -> None:
        (sent,) = self.write(THEIRS, self.LARGE)
        self.tooBig(sent, 1300)
        self.assertEqual(len(self.write("10.0.0.9", self.LARGE)), 1)

    def test_forTenMinutes(self) -> None:
        (sent,) = self.write(THEIRS, self.LARGE)
        self.tooBig(sent, 1300)
        self.clock.advance(TIMEOUT)
        self.assertEqual(len(self.write(THEIRS, self.LARGE)), 1)

    def test_floor(self) -> None:
        (sent,) = self.write(THEIRS, self.LARGE)
        self.tooBig(sent, 68)
        pieces = self.write(THEIRS, self.LARGE)
        self.assertTrue(all(FLOOR[4] - 8 < len(piece) <= FLOOR[4] for piece in pieces[:-1]))

    def test_atTheFloorRoutersMayFragment(self) -> None:
        (sent,) = self.write(THEIRS, self.LARGE)
        self.assertTrue(sent[6] & 0x40)
        self.tooBig(sent, 68)
        small = [self.write(THEIRS, b"small")[0] for _ in range(3)]
        self.assertEqual([packet[6] for packet in small], [0, 0, 0])
        self.assertGreater(len({packet[4:6] for packet in small}), 1)

    def test_overIPv6NothingUnderTheFloorIsBelieved(self) -> None:
        (sent,) = self.write(THEIRS6, self.LARGE)
        for mtu in (0, 68, 1279):
            before = self.count("inDisbelieved")
            self.tooBig(sent, mtu)
            self.assertEqual(self.count("inDisbelieved"), before + 1)
        self.assertEqual(len(self.write(THEIRS6, self.LARGE)), 1)

    def test_aboutAFragment(self) -> None:
        for theirs, _ in PAIRS:
            self.setUp()
            first, *_ = self.write(theirs, bytes(3000))
            self.tooBig(first, 1300)
            self.assertTrue(all(len(piece) <= 1300 for piece in self.write(theirs, bytes(3000))))

    def test_aboutAPing(self) -> None:
        for theirs, _ in PAIRS:
            self.setUp()
            self.host.ping(theirs, 1400).addErrback(lambda _: None)
            self.tooBig(self.device.sent[-1], 1300)
            before = len(self.device.sent)
            self.host.ping(theirs, 1400).addErrback(lambda _: None)
            self.assertEqual(len(self.device.sent) - before, 2)

    def test_aboutAPingNobodySent(self) -> None:
        quoted = echo(OURS, THEIRS, bytes(1400))
        self.assertDisbelieved(error(icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, quoted, 1300))

    def test_madeUp(self) -> None:
        quoted = udpPacket(OURS, THEIRS, PORT, 53, bytes(1400))
        self.assertDisbelieved(error(icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, quoted, 1300))

    def test_largerThanWhatWasSent(self) -> None:
        (sent,) = self.write(THEIRS, b"small")
        self.assertDisbelieved(error(icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, sent, 1300))

    def test_answersToo(self) -> None:
        self.protocol.then = self.protocol.write
        (sent,) = self.receive(udpPacket(THEIRS, OURS, 53, PORT, self.LARGE))
        self.tooBig(sent, 1300)
        self.assertEqual(len(self.receive(udpPacket(THEIRS, OURS, 53, PORT, self.LARGE))), 2)

    def test_largerThanTheLinks(self) -> None:
        first, *_ = self.write(THEIRS, bytes(3000))
        forged: Any = bytearray(first)
        forged[2:4] = (9000).to_bytes(2, "big")
        self.tooBig(bytes(forged), 4000)
        self.assertTrue(all(len(piece) <= 1500 for piece in self.write(THEIRS, bytes(3000))))
