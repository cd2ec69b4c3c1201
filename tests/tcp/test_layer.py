"""
Tests for the module L{txtuntap.tcp.layer}: segments without a connection, half-open connections, SYN cookies, TIME-WAIT
and ICMP errors.
"""

from __future__ import annotations

import errno
from typing import Any

from hypothesis import given
from hypothesis.strategies import binary, integers, sampled_from
from twisted.internet.error import ConnectBindError, ConnectError, ConnectionRefusedError, NoRouteError

from tests.ports import DeviceTestCase
from tests.tcp.bench import PEERS
from tests.tcp.served import HERE, MASK, PORT, THERE, LayerTestCase, ServedFactory
from txtuntap.ip import IPProtocol
from txtuntap.tcp import Limits, TCPProtocol
from txtuntap.tcp.timewait import TIME_WAIT
from txtuntap.testing import ipPacket
from txtuntap.wire import tcp
from txtuntap.wire.address import packAddress
from txtuntap.wire.checksum import onesSum
from txtuntap.wire.offload import CSUM, NEEDS_CHECKSUM, TCP4, TCP6, TSO4, TSO6, Offload
from txtuntap.wire.tcp import Options, packSynOptions, packTimestamps


class NoConnectionTests(LayerTestCase):
    def test_aClosedPortResets(self) -> None:
        for version in 4, 6:
            for letters, data, answer in (
                ("S", b"", ("RA", 0, 1, b"")),
                ("S", b"hello", ("RA", 0, 6, b"")),
                ("SF", b"", ("RA", 0, 2, b"")),
                ("", b"hello", ("RA", 0, 5, b"")),
                ("FPU", b"", ("RA", 0, 1, b"")),
                ("A", b"hello", ("R", 77, 0, b"")),
                ("SA", b"", ("R", 77, 0, b"")),
            ):
                found = self.receive(letters, 0, 77, data, port=9, version=version)
                self.assertEqual((found, self.window), ([answer], 0), letters)

    def test_aResetHasNoAnswer(self) -> None:
        for letters in "R", "RA", "SR":
            for port in 9, PORT:
                self.assertEqual(self.receive(letters, port=port), [])

    def test_aListenerResetsOnlySegmentsWithACK(self) -> None:
        for letters in "A", "SA", "FA", "PA":
            self.assertEqual(self.receive(letters, 5, 77), [("R", 77, 0, b"")], letters)
        for letters in "", "F", "FPU", "SF":
            self.assertEqual(self.receive(letters), [], letters)

    def test_multicastAndBroadcastAddressesAreNotAnswered(self) -> None:
        for source, dest in (
            (THERE[4], "10.0.0.255"),
            (THERE[4], "255.255.255.255"),
            (THERE[4], "224.0.0.1"),
            ("10.0.0.255", HERE[4]),
            ("224.0.0.1", HERE[4]),
            ("0.0.0.0", HERE[4]),
            (HERE[4], HERE[4]),
            ("127.0.0.1", HERE[4]),
            (THERE[6], "ff02::1"),
            ("ff02::1", HERE[6]),
            ("::", HERE[6]),
            (HERE[6], HERE[6]),
            ("::1", HERE[6]),
        ):
            ends = packAddress(source), packAddress(dest)
            for port in 9, PORT:
                for flags in tcp.SYN, tcp.ACK:
                    header = tcp.packHeader(tcp.pseudoSum(*ends), 4000, port, 1, 2, flags, 3, b"", b"")
                    self.deliver(ipPacket(source, dest, tcp.PROTOCOL, header))
            self.assertEqual(self.answers(), [], (source, dest))

    def test_aSignedSYNIsDropped(self) -> None:
        self.assertEqual(self.receive("S", options=b"\x13\x12" + bytes(16) + b"\1\1"), [])
        self.assertEqual(self.tcp.counters["inSigned"], 1)

    @given(binary(max_size=80), sampled_from([4, 6]), integers(0, 15))
    def test_noSegmentRaises(self, octets: bytes, version: int, offset: int) -> None:
        body = bytearray(octets)
        if len(body) > 13:
            body[2:4] = PORT.to_bytes(2, "big")
            body[12] = offset << 4
        if len(body) > 17:
            body[16:18] = b"\0\0"
            ends = packAddress(THERE[version]), packAddress(HERE[version])
            total = tcp.pseudoSum(*ends) + len(body) + onesSum(bytes(body))
            body[16:18] = (-total % 0xFFFF).to_bytes(2, "big")
        self.deliver(ipPacket(THERE[version], HERE[version], tcp.PROTOCOL, bytes(body)))
        self.assertEqual(self.flushLoggedErrors(), [])


class ResetLimitTests(LayerTestCase):
    limits = Limits(resets=100)

    def test_resetsAreLimited(self) -> None:
        found = [self.receive("A", port=9) for _ in range(200)]
        self.assertLess(sum(map(len, found)), 200)
        self.assertEqual(self.tcp.counters["outLimited"] + sum(map(len, found)), 200)
        self.clock.advance(1)
        self.assertEqual(len(self.receive("A", port=9)), 1)


class HalfOpenTests(LayerTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.assertEqual(self.receive("S", options=packSynOptions(1460)), [("SA", 0, 1, b"")])

    def assertWorks(self) -> None:
        """
        Assert that the third segment of the handshake establishes the connection.
        """
        self.receive("A", 1, 1)
        self.assertEqual(len(self.factory.made), 1)

    def assertForgotten(self) -> None:
        """
        Assert that the third segment of the handshake is reset.
        """
        self.assertEqual(self.receive("A", 1, 1), [("R", 1, 0, b"")])
        self.assertEqual(self.factory.made, [])

    def test_aRetransmittedSYNIsAnsweredAgain(self) -> None:
        self.assertEqual(self.receive("S"), [("SA", 0, 1, b"")])
        self.assertWorks()

    def test_anotherSYNInTheWindowIsReset(self) -> None:
        self.assertEqual(self.receive("S", 100), [("RA", 0, 101, b"")])
        self.assertForgotten()

    def test_aSYNACKInTheWindowIsReset(self) -> None:
        self.assertEqual(self.receive("SA", 1, 1), [("R", 1, 0, b"")])
        self.assertForgotten()

    def test_aSegmentOutsideTheWindowIsChallenged(self) -> None:
        self.assertEqual(self.receive("S", 100_000), [("A", 1, 1, b"")])
        self.assertEqual(self.receive("A", 100_000, 1), [])
        self.assertWorks()

    def test_aWrongAcknowledgmentIsReset(self) -> None:
        for number in 0, 2, 1000:
            self.assertEqual(self.receive("PA", 1, number, b"wrong"), [("R", number, 0, b"")])
        self.assertWorks()

    def test_aSegmentWithoutACKIsDropped(self) -> None:
        for letters in "", "F", "P":
            self.assertEqual(self.receive(letters, 1, 0, b"wrong"), [])
        self.assertWorks()

    def test_onlyAnExactResetForgetsTheConnection(self) -> None:
        self.assertEqual(self.receive("R", 0), [])
        self.assertEqual(self.receive("R", 100_000), [])
        self.assertEqual(self.receive("R", 2), [("A", 1, 1, b"")])
        self.assertEqual(self.receive("R", 1), [])
        self.assertForgotten()

    def test_theThirdSegmentMayHaveDataAndFIN(self) -> None:
        self.assertEqual(self.receive("FPA", 1, 1, b"hello"), [("FA", 1, 7, b"")])
        self.assertEqual(self.factory.made[0].data, b"hello")
        self.assertEqual(self.receive("A", 7, 2), [])

    def test_theSYNACKIsRetransmittedAndForgotten(self) -> None:
        at = []
        for second in range(70):
            self.clock.advance(1)
            at += [second] * len(self.answers())
        self.assertEqual(len(at), 5)
        self.assertForgotten()
        self.assertEqual({each.name: each.size for each in self.tcp.tables()}["half open"], 0)

    def test_anICMPErrorKeepsTheConnection(self) -> None:
        for code in 0, 1, 3:
            self.receiveError(3, code, 0)
        self.assertWorks()


class OptionTests(LayerTestCase):
    def test_aSYNACKHasOnlyOptionsOfTheSYN(self) -> None:
        for port, (octets, expected) in enumerate(
            (
                (b"", Options(1460)),
                (packSynOptions(1460), Options(1460)),
                (packSynOptions(1460, sackPermitted=True), Options(1460, sackPermitted=True)),
                (packSynOptions(1460, 7), Options(1460, 6)),
            )
        ):
            self.receive("S", options=octets, peerPort=5000 + port)
            self.assertEqual(self.options, expected)
            self.assertEqual(self.window, 65535)

    def test_timestampsOfAnotherConnectionAreChallenged(self) -> None:
        self.receive("S", options=packSynOptions(1460, timestamps=(1000, 0)))
        ours = self.options.timestamp
        assert ours is not None
        for stamp, echo in (500, ours), (1001, ours - 1), (1001, ours + 50_000):
            self.clock.advance(1)
            # Discard the SYN+ACK that is retransmitted meanwhile.
            self.answers()
            self.assertEqual(self.receive("A", 1, 1, options=packTimestamps(stamp, echo)), [("A", 1, 1, b"")])
        self.receive("A", 1, 1, options=packTimestamps(1001, ours))
        self.assertEqual(len(self.factory.made), 1)

    def test_aConnectionOverIPv6(self) -> None:
        self.open(packSynOptions(1440), version=6)
        self.assertEqual(self.receive("PA", 1, 1, b"hello", version=6), [("A", 1, 6, b"")])
        self.assertEqual(self.factory.made[0].data, b"hello")


class CookieTests(LayerTestCase):
    backlog = 0

    def test_aCookieOpensAConnection(self) -> None:
        self.open(packSynOptions(1300))
        self.assertEqual(len(self.factory.made), 1)
        self.assertEqual(self.tcp.counters["cookiesReceived"], 1)
        transport: Any = self.factory.made[0].transport
        self.assertEqual(transport.connection.agreement.mss, 1300)

    def test_optionsAreEncodedInTheTimestamp(self) -> None:
        self.open(packSynOptions(1460, 9, True, (1, 0)))
        transport: Any = self.factory.made[0].transport
        found = transport.connection.agreement
        self.assertEqual((found.scale, found.sack, found.timestamps), (9, True, True))

    def test_aWrongCookieIsReset(self) -> None:
        self.receive("S")
        self.assertEqual(self.receive("A", 1, 2), [("R", 2, 0, b"")])
        self.assertEqual(self.receive("A", 2, 1), [("R", 1, 0, b"")])
        self.assertEqual(self.factory.made, [])

    def test_anOldCookieIsReset(self) -> None:
        self.receive("S")
        self.clock.advance(200)
        self.assertEqual(self.receive("A", 1, 1), [("R", 1, 0, b"")])

    def test_aCookieStoresNoState(self) -> None:
        for port in range(100):
            self.receive("S", peerPort=5000 + port)
        self.assertEqual({each.name: each.size for each in self.tcp.tables()}["half open"], 0)


class NoCookieTests(LayerTestCase):
    backlog = 1
    limits = Limits(cookies=0)

    def test_aSYNBeyondTheBacklogGetsNoAnswer(self) -> None:
        self.assertEqual(len(self.receive("S")), 1)
        self.assertEqual(self.receive("S", peerPort=4001), [])
        self.assertEqual(self.tcp.counters["backlogOverflows"], 1)
        self.receive("R", 1)
        self.assertEqual(len(self.receive("S", peerPort=4001)), 1)


class TimeWaitTests(LayerTestCase):
    syn = b""

    def setUp(self) -> None:
        super().setUp()
        self.open(self.syn)
        transport: Any = self.factory.made[0].transport
        transport.loseConnection()
        self.clock.advance(0)
        self.answers()
        self.receive("A", 1, 2, options=self.stamp(2))
        self.assertEqual(self.receive("FA", 1, 2, options=self.stamp(3)), [("A", 2, 2, b"")])

    def stamp(self, number: int) -> bytes:
        """
        Pack the options of a segment of the peer.
        """
        return packTimestamps(number, self.options.timestamp or 0) if self.syn else b""

    def test_anAcknowledgmentInOrderGetsNoAnswer(self) -> None:
        self.assertEqual(self.receive("A", 2, 2), [])

    def test_otherSegmentsAreAcknowledged(self) -> None:
        for letters, sequence, data in ("A", 9, b""), ("A", 2, b"x"), ("FA", 1, b""), ("S", 0, b""), ("S", 2, b""):
            self.clock.advance(1)
            self.assertEqual(self.receive(letters, sequence, 2, data), [("A", 2, 2, b"")], (letters, sequence))

    def test_aResetDoesNotEndTimeWait(self) -> None:
        self.assertEqual(self.receive("R", 2), [])
        self.assertEqual(self.receive("FA", 1, 2), [("A", 2, 2, b"")])

    def test_aNewerSYNOpensAConnection(self) -> None:
        self.assertEqual(self.receive("S", 3), [("SA", 0, 4, b"")])
        self.receive("A", 4, 1)
        self.assertEqual(len(self.factory.made), 2)

    def test_timeWaitEnds(self) -> None:
        self.clock.pump([1] * int(TIME_WAIT + 1))
        self.assertEqual(self.receive("FA", 1, 2), [("R", 2, 0, b"")])


class TimestampedTimeWaitTests(TimeWaitTests):
    syn = packSynOptions(1460, timestamps=(1, 0))

    def test_aNewerTimestampOpensAConnection(self) -> None:
        found = self.receive("S", -1000, options=packSynOptions(1460, timestamps=(9, 0)))
        self.assertEqual(found, [("SA", 0, -999, b"")])

    def test_anOlderTimestampIsAcknowledged(self) -> None:
        found = self.receive("S", 1000, options=packSynOptions(1460, timestamps=(1, 0)))
        self.assertEqual(found, [("A", 2, 2, b"")])


class ErrorTests(LayerTestCase):
    def connect(self) -> None:
        """
        Start a client, which sends its SYN.
        """
        self.clients = ServedFactory()
        self.tcp.connect(THERE[4], 4000, self.clients)
        self.clock.advance(0)
        self.assertEqual(self.answers(), [("S", 0, 0, b"")])

    def test_anICMPErrorEndsAnAttempt(self) -> None:
        for kind, code, expected, number in (
            (3, 0, NoRouteError, errno.ENETUNREACH),
            (3, 1, ConnectError, errno.EHOSTUNREACH),
            (3, 2, ConnectError, errno.ENOPROTOOPT),
            (3, 3, ConnectionRefusedError, errno.ECONNREFUSED),
            (3, 5, ConnectError, errno.EOPNOTSUPP),
            (3, 6, NoRouteError, errno.ENETUNREACH),
            (3, 7, ConnectError, errno.EHOSTDOWN),
            (3, 8, ConnectError, getattr(errno, "ENONET", errno.EHOSTUNREACH)),
            (3, 9, NoRouteError, errno.ENETUNREACH),
            (3, 10, ConnectError, errno.EHOSTUNREACH),
            (3, 11, NoRouteError, errno.ENETUNREACH),
            (3, 12, ConnectError, errno.EHOSTUNREACH),
            (3, 13, ConnectError, errno.EHOSTUNREACH),
            (11, 0, ConnectError, errno.EHOSTUNREACH),
            (12, 0, ConnectError, errno.EPROTO),
        ):
            self.connect()
            self.receiveError(kind, code, 0, port=self.ourPort)
            self.clock.advance(0)
            (error,) = (each.value for each in self.clients.failed)
            assert isinstance(error, ConnectError)
            self.assertEqual((type(error), error.osError), (expected, number), (kind, code))
            self.assertEqual(self.answers(), [])

    def test_errorsAboutOtherSegmentsAreIgnored(self) -> None:
        self.connect()
        for sequence in -1, 1, 1000:
            self.receiveError(3, 3, sequence, port=self.ourPort)
        for kind, code in (3, 16), (4, 0), (11, 1):
            self.receiveError(kind, code, 0, port=self.ourPort)
        self.clock.advance(0)
        self.assertEqual(self.clients.failed, [])

    def test_noICMPErrorEndsAConnection(self) -> None:
        self.open()
        transport: Any = self.factory.made[0].transport
        transport.write(b"hello")
        self.clock.advance(0)
        for kind, code in (3, 0), (3, 1), (3, 2), (3, 3), (3, 13), (11, 0):
            self.receiveError(kind, code, 1)
        self.receive("A", 1, 6)
        self.assertEqual(self.factory.made[0].lost, [])

    def test_packetTooBigCutsSegments(self) -> None:
        self.open(packSynOptions(1460))
        transport: Any = self.factory.made[0].transport
        transport.write(b"x" * 1460)
        self.clock.advance(0)
        self.answers()
        for rest, sequence in (600, 1461), (600, 0), (9000, 1):
            self.receiveError(3, 4, sequence, rest)
            self.clock.advance(0)
            self.assertEqual(self.answers(), [])
        self.receiveError(3, 4, 1, 600)
        self.clock.advance(0)
        self.assertEqual([(each[1], len(each[3])) for each in self.answers()], [(1, 560), (561, 560), (1121, 340)])

    def receivePacketTooBig(self, mtu: int, sequence: int) -> list[tuple[int, int]]:
        """
        Receive an ICMP error that says that a segment is too large.

        @return: the sequence number and the length of each segment that the host sends then.
        """
        self.receiveError(3, 4, sequence, mtu)
        self.clock.advance(0)
        return [(each[1], len(each[3])) for each in self.answers()]

    def writeOne(self) -> None:
        """
        Establish a connection, and send one full segment.
        """
        self.open(packSynOptions(1460))
        transport: Any = self.factory.made[0].transport
        transport.write(b"x" * 1460)
        self.clock.advance(0)
        self.answers()

    def test_twoLinksOfSmallerMTUAreFoundAtOnce(self) -> None:
        """
        If a path has two links of smaller MTU, one after the other, two retransmissions follow at once.
        """
        self.writeOne()
        self.assertEqual(self.receivePacketTooBig(1400, 1), [(1, 1360), (1361, 100)])
        self.assertEqual(self.receivePacketTooBig(800, 1), [(1, 760), (761, 600)])
        self.receive("A", 1, 1461)
        self.assertEqual(self.tcp.counters["resendsLimited"], 0)

    def test_retransmissionsForSmallerMTUsAreLimited(self) -> None:
        """
        After many errors, each with an MTU one octet smaller, two flights are retransmitted. No other flight is
        retransmitted until one is acknowledged or the timer fires.
        """
        self.writeOne()
        sent = [self.receivePacketTooBig(mtu, 1) for mtu in range(1400, 1300, -1)]
        self.assertEqual([len(each) for each in sent], [2, 2] + [0] * 98)
        self.assertEqual(self.tcp.counters["resendsLimited"], 98)
        self.assertEqual(self.tcp.counters.retransSegs, 4)
        # The timer retransmits a segment of the latest size.
        self.clock.advance(3)
        self.assertEqual([(each[1], len(each[3])) for each in self.answers()], [(1, 1261)])
        self.assertEqual([len(self.receivePacketTooBig(mtu, 1)) for mtu in (1250, 1240, 1230)], [1, 1, 0])

    def test_progressAllowsAnotherRetransmission(self) -> None:
        """
        Once a whole flight is acknowledged, the next one may be retransmitted again.
        """
        self.writeOne()
        transport: Any = self.factory.made[0].transport
        self.assertEqual([bool(self.receivePacketTooBig(mtu, 1)) for mtu in (1400, 1300, 1290)], [True, True, False])
        self.receive("A", 1, 1001)
        self.assertEqual(self.receivePacketTooBig(1000, 1001), [])
        self.receive("A", 1, 1461)
        transport.write(b"x" * 960)
        self.clock.advance(0)
        self.answers()
        self.assertEqual(self.receivePacketTooBig(900, 1461), [(1461, 860), (2321, 100)])

    def test_smallSegmentsAreNotRetransmitted(self) -> None:
        """
        A segment that fits the smaller MTU is not retransmitted.
        """
        self.writeOne()
        transport: Any = self.factory.made[0].transport
        transport.setTcpNoDelay(True)
        transport.write(b"y" * 500)
        self.clock.advance(0)
        self.assertEqual([len(each[3]) for each in self.answers()], [500])
        self.assertEqual(self.receivePacketTooBig(1000, 1), [(1, 960), (961, 500)])


class LayerAloneTests(DeviceTestCase):
    def test_theSourceIsAnAddressOfTheIPLayer(self) -> None:
        """
        A layer without a host connects only from addresses of its IP layer.
        """
        layer = TCPProtocol()
        ip = IPProtocol([f"{HERE[4]}/24"])
        ip.addProto(tcp.PROTOCOL, layer)
        self.on(ip)
        clients = ServedFactory()
        for address in "10.0.0.9", "fd00::9":
            layer.connect(THERE[4], 80, clients, bindAddress=(address, 0))
        self.clock.advance(0)
        errors: list[Any] = [each.value for each in clients.failed]
        self.assertEqual(
            [(type(each), each.osError) for each in errors],
            [(ConnectBindError, errno.EADDRNOTAVAIL), (ConnectBindError, errno.EAFNOSUPPORT)],
        )
        self.assertEqual(self.device.sent, [])
        layer.connect(THERE[4], 80, clients, bindAddress=(HERE[4], 0))
        self.clock.advance(0)
        self.assertEqual(len(self.device.sent), 1)


class SuperpacketTests(LayerTestCase):
    features = CSUM | TSO4 | TSO6

    def test_aReceivedSuperpacketHasOneAcknowledgment(self) -> None:
        for version, kind in (4, TCP4), (6, TCP6):
            self.open(packSynOptions(1400), version=version)
            data = bytes(range(256)) * 200
            ends = packAddress(THERE[version]), packAddress(HERE[version])
            flags = tcp.PSH | tcp.ACK
            numbers = (PEERS + 1) & MASK, (self.initial + 1) & MASK
            header = tcp.packOpenHeader(tcp.pseudoSum(*ends), 4000, PORT, *numbers, flags, 999, b"", len(data))
            packet = ipPacket(THERE[version], HERE[version], tcp.PROTOCOL, header + data)
            start = len(packet) - len(header + data)
            self.deliver((packet, Offload(NEEDS_CHECKSUM, kind, start + 20, 1400, start, tcp.CHECKSUM_OFFSET)))
            self.assertEqual(self.answers(), [("A", 1, 1 + len(data), b"")])
            self.assertEqual(self.factory.made[-1].data, data)

    def test_manySegmentsAreSentAsASuperpacket(self) -> None:
        self.open(packSynOptions(1400))
        transport: Any = self.factory.made[0].transport
        transport.write(b"x" * 12_345)
        self.clock.advance(0)
        ((packet, offload),) = self.device.superpackets
        self.assertEqual((offload.type, offload.size), (TCP4, 1400))
        self.assertEqual(len(packet), 40 + 12_345)
        found = self.answers()
        self.assertEqual([len(each[3]) for each in found], [1400] * 8 + [1145])
        self.assertEqual([each[0] for each in found], ["A"] * 8 + ["PA"])
