"""
Tests for L{txtuntap.tcp.layer}: what belongs to no connection, what is half open, TIME-WAIT, cookies, ICMP errors.
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
                found = self.hears(letters, 0, 77, data, port=9, version=version)
                self.assertEqual((found, self.window), ([answer], 0), letters)

    def test_aResetHasNoAnswer(self) -> None:
        for letters in "R", "RA", "SR":
            for port in 9, PORT:
                self.assertEqual(self.hears(letters, port=port), [])

    def test_aListenerResetsOnlyWhatAcknowledges(self) -> None:
        for letters in "A", "SA", "FA", "PA":
            self.assertEqual(self.hears(letters, 5, 77), [("R", 77, 0, b"")], letters)
        for letters in "", "F", "FPU", "SF":
            self.assertEqual(self.hears(letters), [], letters)

    def test_manyAreNotAnswered(self) -> None:
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

    def test_aSignatureHasNoAnswer(self) -> None:
        self.assertEqual(self.hears("S", options=b"\x13\x12" + bytes(16) + b"\1\1"), [])
        self.assertEqual(self.tcp.counters["inSigned"], 1)

    @given(binary(max_size=80), sampled_from([4, 6]), integers(0, 15))
    def test_nothingRaises(self, octets: bytes, version: int, offset: int) -> None:
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
        found = [self.hears("A", port=9) for _ in range(200)]
        self.assertLess(sum(map(len, found)), 200)
        self.assertEqual(self.tcp.counters["outLimited"] + sum(map(len, found)), 200)
        self.clock.advance(1)
        self.assertEqual(len(self.hears("A", port=9)), 1)


class HalfOpenTests(LayerTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.assertEqual(self.hears("S", options=packSynOptions(1460)), [("SA", 0, 1, b"")])

    def works(self) -> None:
        """
        Assert that the third segment opens the connection.
        """
        self.hears("A", 1, 1)
        self.assertEqual(len(self.factory.made), 1)

    def isForgotten(self) -> None:
        """
        Assert that there is none to be opened.
        """
        self.assertEqual(self.hears("A", 1, 1), [("R", 1, 0, b"")])
        self.assertEqual(self.factory.made, [])

    def test_theSameSYNAgain(self) -> None:
        self.assertEqual(self.hears("S"), [("SA", 0, 1, b"")])
        self.works()

    def test_anotherSYNInTheWindow(self) -> None:
        self.assertEqual(self.hears("S", 100), [("RA", 0, 101, b"")])
        self.isForgotten()

    def test_aSYNACKInTheWindow(self) -> None:
        self.assertEqual(self.hears("SA", 1, 1), [("R", 1, 0, b"")])
        self.isForgotten()

    def test_whatIsOutOfTheWindowIsChallenged(self) -> None:
        self.assertEqual(self.hears("S", 100_000), [("A", 1, 1, b"")])
        self.assertEqual(self.hears("A", 100_000, 1), [])
        self.works()

    def test_aWrongAcknowledgmentIsReset(self) -> None:
        for number in 0, 2, 1000:
            self.assertEqual(self.hears("PA", 1, number, b"wrong"), [("R", number, 0, b"")])
        self.works()

    def test_withoutACKNothingIsTaken(self) -> None:
        for letters in "", "F", "P":
            self.assertEqual(self.hears(letters, 1, 0, b"wrong"), [])
        self.works()

    def test_resets(self) -> None:
        self.assertEqual(self.hears("R", 0), [])
        self.assertEqual(self.hears("R", 100_000), [])
        self.assertEqual(self.hears("R", 2), [("A", 1, 1, b"")])
        self.assertEqual(self.hears("R", 1), [])
        self.isForgotten()

    def test_dataAndFINInTheThirdSegment(self) -> None:
        self.assertEqual(self.hears("FPA", 1, 1, b"hello"), [("FA", 1, 7, b"")])
        self.assertEqual(self.factory.made[0].data, b"hello")
        self.assertEqual(self.hears("A", 7, 2), [])

    def test_itIsSentAgainAndForgotten(self) -> None:
        at = []
        for second in range(70):
            self.clock.advance(1)
            at += [second] * len(self.answers())
        self.assertEqual(len(at), 5)
        self.isForgotten()
        self.assertEqual({each.name: each.size for each in self.tcp.tables()}["half open"], 0)

    def test_anICMPErrorKeepsIt(self) -> None:
        for code in 0, 1, 3:
            self.fails(3, code, 0)
        self.works()


class OptionTests(LayerTestCase):
    def test_onlyWhatTheSYNHasIsAnswered(self) -> None:
        for port, (octets, expected) in enumerate(
            (
                (b"", Options(1460)),
                (packSynOptions(1460), Options(1460)),
                (packSynOptions(1460, sackPermitted=True), Options(1460, sackPermitted=True)),
                (packSynOptions(1460, 7), Options(1460, 6)),
            )
        ):
            self.hears("S", options=octets, peerPort=5000 + port)
            self.assertEqual(self.options, expected)
            self.assertEqual(self.window, 65535)

    def test_timestampsOfAnotherConnection(self) -> None:
        self.hears("S", options=packSynOptions(1460, timestamps=(1000, 0)))
        ours = self.options.timestamp
        assert ours is not None
        for stamp, echo in (500, ours), (1001, ours - 1), (1001, ours + 50_000):
            self.clock.advance(1)
            # The SYN+ACK is sent again meanwhile.
            self.answers()
            self.assertEqual(self.hears("A", 1, 1, options=packTimestamps(stamp, echo)), [("A", 1, 1, b"")])
        self.hears("A", 1, 1, options=packTimestamps(1001, ours))
        self.assertEqual(len(self.factory.made), 1)

    def test_overIPv6(self) -> None:
        self.open(packSynOptions(1440), version=6)
        self.assertEqual(self.hears("PA", 1, 1, b"hello", version=6), [("A", 1, 6, b"")])
        self.assertEqual(self.factory.made[0].data, b"hello")


class CookieTests(LayerTestCase):
    backlog = 0

    def test_aCookieOpens(self) -> None:
        self.open(packSynOptions(1300))
        self.assertEqual(len(self.factory.made), 1)
        self.assertEqual(self.tcp.counters["cookiesReceived"], 1)
        transport: Any = self.factory.made[0].transport
        self.assertEqual(transport.connection.agreement.mss, 1300)

    def test_optionsAreInTheTimestamp(self) -> None:
        self.open(packSynOptions(1460, 9, True, (1, 0)))
        transport: Any = self.factory.made[0].transport
        found = transport.connection.agreement
        self.assertEqual((found.scale, found.sack, found.timestamps), (9, True, True))

    def test_anotherNumberIsReset(self) -> None:
        self.hears("S")
        self.assertEqual(self.hears("A", 1, 2), [("R", 2, 0, b"")])
        self.assertEqual(self.hears("A", 2, 1), [("R", 1, 0, b"")])
        self.assertEqual(self.factory.made, [])

    def test_anOldOneIsReset(self) -> None:
        self.hears("S")
        self.clock.advance(200)
        self.assertEqual(self.hears("A", 1, 1), [("R", 1, 0, b"")])

    def test_nothingIsRemembered(self) -> None:
        for port in range(100):
            self.hears("S", peerPort=5000 + port)
        self.assertEqual({each.name: each.size for each in self.tcp.tables()}["half open"], 0)


class NoCookieTests(LayerTestCase):
    backlog = 1
    limits = Limits(cookies=0)

    def test_beyondTheBacklogIsSilence(self) -> None:
        self.assertEqual(len(self.hears("S")), 1)
        self.assertEqual(self.hears("S", peerPort=4001), [])
        self.assertEqual(self.tcp.counters["backlogOverflows"], 1)
        self.hears("R", 1)
        self.assertEqual(len(self.hears("S", peerPort=4001)), 1)


class TimeWaitTests(LayerTestCase):
    syn = b""

    def setUp(self) -> None:
        super().setUp()
        self.open(self.syn)
        transport: Any = self.factory.made[0].transport
        transport.loseConnection()
        self.clock.advance(0)
        self.answers()
        self.hears("A", 1, 2, options=self.stamp(2))
        self.assertEqual(self.hears("FA", 1, 2, options=self.stamp(3)), [("A", 2, 2, b"")])

    def stamp(self, number: int) -> bytes:
        """
        The options of a segment of the peer's.
        """
        return packTimestamps(number, self.options.timestamp or 0) if self.syn else b""

    def test_anAcknowledgmentInOrderIsSilence(self) -> None:
        self.assertEqual(self.hears("A", 2, 2), [])

    def test_allElseIsAcknowledged(self) -> None:
        for letters, sequence, data in ("A", 9, b""), ("A", 2, b"x"), ("FA", 1, b""), ("S", 0, b""), ("S", 2, b""):
            self.clock.advance(1)
            self.assertEqual(self.hears(letters, sequence, 2, data), [("A", 2, 2, b"")], (letters, sequence))

    def test_aResetEndsNothing(self) -> None:
        self.assertEqual(self.hears("R", 2), [])
        self.assertEqual(self.hears("FA", 1, 2), [("A", 2, 2, b"")])

    def test_aNewerSYNOpens(self) -> None:
        self.assertEqual(self.hears("S", 3), [("SA", 0, 4, b"")])
        self.hears("A", 4, 1)
        self.assertEqual(len(self.factory.made), 2)

    def test_itEnds(self) -> None:
        self.clock.pump([1] * int(TIME_WAIT + 1))
        self.assertEqual(self.hears("FA", 1, 2), [("R", 2, 0, b"")])


class TimestampedTimeWaitTests(TimeWaitTests):
    syn = packSynOptions(1460, timestamps=(1, 0))

    def test_aNewerTimestampOpens(self) -> None:
        found = self.hears("S", -1000, options=packSynOptions(1460, timestamps=(9, 0)))
        self.assertEqual(found, [("SA", 0, -999, b"")])

    def test_anOlderTimestampDoesNot(self) -> None:
        found = self.hears("S", 1000, options=packSynOptions(1460, timestamps=(1, 0)))
        self.assertEqual(found, [("A", 2, 2, b"")])


class ErrorTests(LayerTestCase):
    def connect(self) -> None:
        """
        Have a client whose SYN has left.
        """
        self.clients = ServedFactory()
        self.tcp.connect(THERE[4], 4000, self.clients)
        self.clock.advance(0)
        self.assertEqual(self.answers(), [("S", 0, 0, b"")])

    def test_anErrorEndsAnAttempt(self) -> None:
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
            self.fails(kind, code, 0, port=self.ourPort)
            self.clock.advance(0)
            (error,) = (each.value for each in self.clients.failed)
            assert isinstance(error, ConnectError)
            self.assertEqual((type(error), error.osError), (expected, number), (kind, code))
            self.assertEqual(self.answers(), [])

    def test_onlyAboutTheSYN(self) -> None:
        self.connect()
        for sequence in -1, 1, 1000:
            self.fails(3, 3, sequence, port=self.ourPort)
        for kind, code in (3, 16), (4, 0), (11, 1):
            self.fails(kind, code, 0, port=self.ourPort)
        self.clock.advance(0)
        self.assertEqual(self.clients.failed, [])

    def test_noErrorEndsAConnection(self) -> None:
        self.open()
        transport: Any = self.factory.made[0].transport
        transport.write(b"hello")
        self.clock.advance(0)
        for kind, code in (3, 0), (3, 1), (3, 2), (3, 3), (3, 13), (11, 0):
            self.fails(kind, code, 1)
        self.hears("A", 1, 6)
        self.assertEqual(self.factory.made[0].lost, [])

    def test_aNarrowPath(self) -> None:
        self.open(packSynOptions(1460))
        transport: Any = self.factory.made[0].transport
        transport.write(b"x" * 1460)
        self.clock.advance(0)
        self.answers()
        for rest, sequence in (600, 1461), (600, 0), (9000, 1):
            self.fails(3, 4, sequence, rest)
            self.clock.advance(0)
            self.assertEqual(self.answers(), [])
        self.fails(3, 4, 1, 600)
        self.clock.advance(0)
        self.assertEqual([(each[1], len(each[3])) for each in self.answers()], [(1, 560), (561, 560), (1121, 340)])

    def narrows(self, mtu: int, sequence: int) -> list[tuple[int, int]]:
        """
        Have a router say that a segment is too large.

        @return: the number and the octets of each segment that is sent then.
        """
        self.fails(3, 4, sequence, mtu)
        self.clock.advance(0)
        return [(each[1], len(each[3])) for each in self.answers()]

    def writeOne(self) -> None:
        """
        Have a connection, and a segment under way.
        """
        self.open(packSynOptions(1460))
        transport: Any = self.factory.made[0].transport
        transport.write(b"x" * 1460)
        self.clock.advance(0)
        self.answers()

    def test_twoNarrowLinks(self) -> None:
        """
        A path with two narrow links, one after another, is found to be so at once.
        """
        self.writeOne()
        self.assertEqual(self.narrows(1400, 1), [(1, 1360), (1361, 100)])
        self.assertEqual(self.narrows(800, 1), [(1, 760), (761, 600)])
        self.hears("A", 1, 1461)
        self.assertEqual(self.tcp.counters["resendsLimited"], 0)

    def test_anOctetLessEachTime(self) -> None:
        """
        Errors that name a size smaller by an octet each have two flights sent again, and no more until one is
        acknowledged, or the timer has run out.
        """
        self.writeOne()
        sent = [self.narrows(mtu, 1) for mtu in range(1400, 1300, -1)]
        self.assertEqual([len(each) for each in sent], [2, 2] + [0] * 98)
        self.assertEqual(self.tcp.counters["resendsLimited"], 98)
        self.assertEqual(self.tcp.counters.retransSegs, 4)
        # The timer sends the segment that the latest size allows.
        self.clock.advance(3)
        self.assertEqual([(each[1], len(each[3])) for each in self.answers()], [(1, 1261)])
        self.assertEqual([len(self.narrows(mtu, 1)) for mtu in (1250, 1240, 1230)], [1, 1, 0])

    def test_progressAllowsMore(self) -> None:
        """
        Once all of the flight is acknowledged, the next one may be cut again; a part of it is not enough.
        """
        self.writeOne()
        transport: Any = self.factory.made[0].transport
        self.assertEqual([bool(self.narrows(mtu, 1)) for mtu in (1400, 1300, 1290)], [True, True, False])
        self.hears("A", 1, 1001)
        self.assertEqual(self.narrows(1000, 1001), [])
        self.hears("A", 1, 1461)
        transport.write(b"x" * 960)
        self.clock.advance(0)
        self.answers()
        self.assertEqual(self.narrows(900, 1461), [(1461, 860), (2321, 100)])

    def test_smallSegmentsAreNotSentAgain(self) -> None:
        """
        A segment that fits the narrower path is still under way.
        """
        self.writeOne()
        transport: Any = self.factory.made[0].transport
        transport.setTcpNoDelay(True)
        transport.write(b"y" * 500)
        self.clock.advance(0)
        self.assertEqual([len(each[3]) for each in self.answers()], [500])
        self.assertEqual(self.narrows(1000, 1), [(1, 960), (961, 500)])


class LayerAloneTests(DeviceTestCase):
    def test_addressToConnectFrom(self) -> None:
        """
        A layer without a host connects from no address but those of its IP layer.
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

    def test_manySegmentsThatComeAreOneAcknowledgment(self) -> None:
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

    def test_manySegmentsLeaveInOne(self) -> None:
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
