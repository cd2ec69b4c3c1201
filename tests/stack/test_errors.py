"""
Tests for the ICMP errors that a host receives: which of them it believes, and what it does with them.
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
    A protocol that counts the calls of C{connectionRefused}.
    """

    refused = 0

    def connectionRefused(self) -> None:
        self.refused += 1


def error(kind: int, code: int, quoted: bytes, rest: int = 0, source: str = "", dest: str = "") -> bytes:
    """
    Make a packet with an ICMP error about a packet of the host, by default to its source.
    """
    six = quoted[0] >> 4 == 6
    return icmpPacket(
        source or (ROUTER6 if six else ROUTER), dest or (OURS6 if six else OURS), kind, code, rest, quoted[:1232]
    )


class ErrorTestCase(LinkTestCase):
    """
    The base class of tests with a host on a TUN device.

    @ivar protocol: listens on the port L{PORT} of the host.
    """

    def setUp(self) -> None:
        self.make(mode=TUN)
        self.listen()

    def listen(self) -> None:
        self.protocol = Connected()
        self.transport = self.host.listenUDP(PORT, self.protocol)

    def write(self, dest: str, payload: bytes = b"question") -> list[bytes]:
        """
        Send a datagram to a peer.

        @return: the packets that the host sent.
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
        Send a datagram, and deliver an error that reports a closed port.
        """
        (sent,) = self.write(dest)
        self.receive(error(*REFUSED[sent[0] >> 4], sent, source=dest))

    def test_aConnectedTransportIsRefused(self) -> None:
        for theirs, ours in PAIRS:
            self.setUp()
            self.transport.connect(theirs, 53)
            self.refuse(theirs)
            self.assertEqual((self.protocol.refused, self.count("inDestUnreachs")), (1, 1), ours)

    def test_eightQuotedOctetsOfTheDatagramAreEnough(self) -> None:
        for theirs, _ in PAIRS:
            self.setUp()
            self.transport.connect(theirs, 53)
            (sent,) = self.write(theirs)
            header = 40 if ":" in theirs else 20
            self.receive(error(*REFUSED[sent[0] >> 4], sent[: header + 8]))
            self.assertEqual(self.protocol.refused, 1)

    def test_anUnconnectedTransportIsNotRefused(self) -> None:
        for theirs, _ in PAIRS:
            self.setUp()
            self.refuse(theirs)
            self.assertEqual((self.protocol.refused, self.count("inDestUnreachs")), (0, 1))

    def test_aTransportConnectedElsewhereIsNotRefused(self) -> None:
        (sent,) = self.write(THEIRS)
        self.transport.connect("10.0.0.9", 53)
        self.receive(error(*REFUSED[4], sent))
        self.assertEqual((self.protocol.refused, self.count("inDestUnreachs")), (0, 1))

    def test_anotherErrorIsNoRefusal(self) -> None:
        self.transport.connect(THEIRS, 53)
        (sent,) = self.write(THEIRS)
        for code in (0, 1, 2, 9, 10, 13):
            self.receive(error(icmp.UNREACHABLE, code, sent))
        self.receive(error(icmp.TIME_EXCEEDED, 0, sent), error(icmp.PARAMETER_PROBLEM, 0, sent))
        counted = [self.count(name) for name in ("inDestUnreachs", "inTimeExcds", "inParmProblems")]
        self.assertEqual((self.protocol.refused, counted), (0, [6, 1, 1]))

    def test_anotherErrorIsNoRefusal6(self) -> None:
        self.transport.connect(THEIRS6, 53)
        (sent,) = self.write(THEIRS6)
        for code in (0, 1, 2, 3, 5, 6):
            self.receive(error(icmp.UNREACHABLE6, code, sent))
        self.receive(error(icmp.TIME_EXCEEDED6, 0, sent), error(icmp.PARAMETER_PROBLEM6, 0, sent))
        counted = [self.count(name) for name in ("inDestUnreachs", "inTimeExcds", "inParmProblems")]
        self.assertEqual((self.protocol.refused, counted), (0, [6, 1, 1]))

    def test_anExceptionOfTheProtocolIsLogged(self) -> None:
        def fail() -> None:
            raise RuntimeError("refused")

        self.protocol.connectionRefused = fail  # type: ignore[method-assign]
        self.transport.connect(THEIRS, 53)
        self.refuse(THEIRS)
        self.refuse(THEIRS)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.host.udp.counters["protocolFailures"], 2)

    def test_aClosedPortOfTheHostItselfRefuses(self) -> None:
        self.transport.connect(OURS, 9)
        self.transport.write(b"")
        self.clock.advance(0)
        self.assertEqual(self.protocol.refused, 1)


class DisbeliefTests(ErrorTestCase):
    """
    Errors that an attacker can forge without having seen a packet of the host.
    """

    def setUp(self) -> None:
        super().setUp()
        self.transport.connect(THEIRS, 53)
        (self.sent,) = self.write(THEIRS)

    def test_anErrorAboutAPacketNeverSentIsDisbelieved(self) -> None:
        for sourcePort, destPort in ((PORT, 54), (PORT + 1, 53), (53, PORT)):
            self.assertDisbelieved(error(*REFUSED[4], udpPacket(OURS, THEIRS, sourcePort, destPort, b"question")))
        self.assertDisbelieved(
            error(*REFUSED[4], udpPacket(OURS, "10.0.0.9", PORT, 53, b"question")),
            error(*REFUSED[4], udpPacket("10.0.0.9", THEIRS, PORT, 53, b"question")),
            error(*REFUSED[6], udpPacket(OURS6, THEIRS6, PORT, 53, b"question")),
            error(*REFUSED[4], ipPacket(OURS, THEIRS, 6, self.sent[20:])),
            error(*REFUSED[4], ipPacket(OURS, THEIRS, 253, self.sent[20:])),
        )

    def test_anErrorAboutAnOldPacketIsDisbelieved(self) -> None:
        self.clock.advance(LATELY)
        self.assertDisbelieved(error(*REFUSED[4], self.sent))

    def test_anErrorAboutARecentPacketIsBelieved(self) -> None:
        self.clock.advance(LATELY - 1)
        self.receive(error(*REFUSED[4], self.sent))
        self.assertEqual(self.protocol.refused, 1)

    def test_anErrorForAClosedPortIsDisbelieved(self) -> None:
        self.transport.stopListening()
        self.assertDisbelieved(error(*REFUSED[4], self.sent))

    def test_anErrorToAnotherAddressThanTheSourceIsDisbelieved(self) -> None:
        self.host.addAddress("10.0.0.7/24")
        self.assertDisbelieved(error(*REFUSED[4], self.sent, dest="10.0.0.7"))

    def test_anErrorAboutAPacketOfTheOtherVersionIsDisbelieved(self) -> None:
        quoted6 = udpPacket(OURS6, THEIRS6, PORT, 53, b"question")
        self.assertDisbelieved(error(*REFUSED[4], quoted6, source=ROUTER, dest=OURS))

    def test_anErrorAboutALaterFragmentIsDisbelieved(self) -> None:
        fragment = ipPacket(OURS, THEIRS, 17, self.sent[20:], fragment=1)
        self.assertDisbelieved(error(*REFUSED[4], fragment))

    def test_anErrorWithATruncatedQuoteIsDisbelieved(self) -> None:
        for length in (1, 19, 20, 27):
            self.assertDisbelieved(error(*REFUSED[4], self.sent[:length]))

    def test_anErrorOfAnUnknownTypeIsIgnored(self) -> None:
        before = self.count("inUnknown")
        self.receive(error(4, 0, self.sent), error(5, 1, self.sent))
        self.assertEqual((self.count("inUnknown") - before, self.protocol.refused), (2, 0))

    def test_anErrorIsNeverAnswered(self) -> None:
        for quoted in (self.sent, udpPacket(OURS, THEIRS, 9, 9, b"")):
            self.assertEqual(self.receive(error(*REFUSED[4], quoted)), [])

    def test_anErrorAboutAForgottenPacketIsDisbelieved(self) -> None:
        many = self.host.listenUDP(0, DatagramRecorder())
        for number in range(MAX_WRITTEN):
            many.write(b"", (f"10.1.{number >> 8}.{number & 0xFF}", 53))
        self.assertDisbelieved(error(*REFUSED[4], self.sent))

    def test_answersEvictNoWrittenDatagram(self) -> None:
        self.host.listenUDP(7, Echo())
        for number in range(2 * MAX_ANSWERED):
            self.receive(udpPacket(f"10.1.{number >> 8}.{number & 0xFF}", OURS, 5000, 7, b""))
        sizes = {table.name: table.size for table in self.host.tables()}
        self.assertEqual(sizes["answered"], MAX_ANSWERED)
        self.receive(error(*REFUSED[4], self.sent))
        self.assertEqual(self.protocol.refused, 1)

    def test_anErrorAboutAnAnswerIsBelieved(self) -> None:
        self.host.listenUDP(7, Echo())
        (answer,) = self.receive(udpPacket(THEIRS, OURS, 5000, 7, bytes(1400)))
        self.receive(error(icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, answer, 600))
        self.assertEqual((len(self.host.ip.paths), self.count("inDisbelieved")), (1, 0))

    def test_tenThousandForgedErrorsHaveNoEffect(self) -> None:
        for number in range(10000):
            quoted = udpPacket(OURS, f"10.1.{number >> 8}.{number & 0xFF}", PORT, 53, bytes(1400))
            self.receive(error(icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, quoted, 600))
        self.assertEqual((len(self.host.ip.paths), self.count("inDisbelieved")), (0, 10000))
        self.receive(error(*REFUSED[4], self.sent))
        self.assertEqual(self.protocol.refused, 1)


class PathMTUTests(ErrorTestCase):
    """
    Path MTU discovery: datagrams are sent in fragments that fit the path.
    """

    LARGE = bytes(range(256)) * 5 + bytes(100)

    def tooBig(self, sent: bytes, mtu: int) -> None:
        if sent[0] >> 4 == 4:
            self.receive(error(icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, sent, mtu))
        else:
            self.receive(error(icmp.PACKET_TOO_BIG6, 0, sent, mtu))

    def test_aDatagramIsSentInFragmentsThatFit(self) -> None:
        for theirs, _ in PAIRS:
            self.setUp()
            (sent,) = self.write(theirs, self.LARGE)
            self.tooBig(sent, 1300)
            pieces = self.write(theirs, self.LARGE)
            self.assertEqual([len(piece) <= 1300 for piece in pieces], [True, True])
            self.assertEqual(self.count("inPktTooBigs"), 1)
            self.assertEqual(len(self.write(theirs, b"small")), 1)

    def test_thePathMTUIsOfOneDestination(self) -> None:
        (sent,) = self.write(THEIRS, self.LARGE)
        self.tooBig(sent, 1300)
        self.assertEqual(len(self.write("10.0.0.9", self.LARGE)), 1)

    def test_thePathMTUIsForgottenAfterTenMinutes(self) -> None:
        (sent,) = self.write(THEIRS, self.LARGE)
        self.tooBig(sent, 1300)
        self.clock.advance(TIMEOUT)
        self.assertEqual(len(self.write(THEIRS, self.LARGE)), 1)

    def test_thePathMTUIsNotBelowTheMinimum(self) -> None:
        (sent,) = self.write(THEIRS, self.LARGE)
        self.tooBig(sent, 68)
        pieces = self.write(THEIRS, self.LARGE)
        self.assertTrue(all(FLOOR[4] - 8 < len(piece) <= FLOOR[4] for piece in pieces[:-1]))

    def test_routersMayFragmentAtTheMinimum(self) -> None:
        (sent,) = self.write(THEIRS, self.LARGE)
        self.assertTrue(sent[6] & 0x40)
        self.tooBig(sent, 68)
        small = [self.write(THEIRS, b"small")[0] for _ in range(3)]
        self.assertEqual([packet[6] for packet in small], [0, 0, 0])
        self.assertGreater(len({packet[4:6] for packet in small}), 1)

    def test_anMTUBelowTheMinimumIsDisbelievedOverIPv6(self) -> None:
        (sent,) = self.write(THEIRS6, self.LARGE)
        for mtu in (0, 68, 1279):
            before = self.count("inDisbelieved")
            self.tooBig(sent, mtu)
            self.assertEqual(self.count("inDisbelieved"), before + 1)
        self.assertEqual(len(self.write(THEIRS6, self.LARGE)), 1)

    def test_anErrorAboutAFragmentIsBelieved(self) -> None:
        for theirs, _ in PAIRS:
            self.setUp()
            first, *_ = self.write(theirs, bytes(3000))
            self.tooBig(first, 1300)
            self.assertTrue(all(len(piece) <= 1300 for piece in self.write(theirs, bytes(3000))))

    def test_anErrorAboutAPingIsBelieved(self) -> None:
        for theirs, _ in PAIRS:
            self.setUp()
            self.host.ping(theirs, 1400).addErrback(lambda _: None)
            self.tooBig(self.device.sent[-1], 1300)
            before = len(self.device.sent)
            self.host.ping(theirs, 1400).addErrback(lambda _: None)
            self.assertEqual(len(self.device.sent) - before, 2)

    def test_anErrorAboutAPingNeverSentIsDisbelieved(self) -> None:
        quoted = echo(OURS, THEIRS, bytes(1400))
        self.assertDisbelieved(error(icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, quoted, 1300))

    def test_aForgedErrorIsDisbelieved(self) -> None:
        quoted = udpPacket(OURS, THEIRS, PORT, 53, bytes(1400))
        self.assertDisbelieved(error(icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, quoted, 1300))

    def test_anMTUAboveThePacketLengthIsDisbelieved(self) -> None:
        (sent,) = self.write(THEIRS, b"small")
        self.assertDisbelieved(error(icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, sent, 1300))

    def test_answersAreSentInFragmentsThatFit(self) -> None:
        self.protocol.then = self.protocol.write
        (sent,) = self.receive(udpPacket(THEIRS, OURS, 53, PORT, self.LARGE))
        self.tooBig(sent, 1300)
        self.assertEqual(len(self.receive(udpPacket(THEIRS, OURS, 53, PORT, self.LARGE))), 2)

    def test_anMTUAboveThatOfTheLinkHasNoEffect(self) -> None:
        first, *_ = self.write(THEIRS, bytes(3000))
        forged: Any = bytearray(first)
        forged[2:4] = (9000).to_bytes(2, "big")
        self.tooBig(bytes(forged), 4000)
        self.assertTrue(all(len(piece) <= 1500 for piece in self.write(THEIRS, bytes(3000))))
