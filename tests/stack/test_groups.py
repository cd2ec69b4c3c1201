"""
Tests for L{txtuntap.stack.groups}: the reports of a host about its groups, and the queries that it answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

import attrs
from twisted.internet.task import Clock

from tests.recorders import DatagramRecorder
from txtuntap import Host, TuntapPort
from txtuntap.stack.groups import isReported
from txtuntap.stack.reports import PAUSE
from txtuntap.testing import TAP, TUN, MemoryDevice, ipPacket, udpPacket
from txtuntap.wire import icmp, igmp, ipv4, ipv6, mld, ndp
from txtuntap.wire.address import addressText, packAddress
from txtuntap.wire.checksum import onesSum

from .link import OTHER, OWN, LinkTestCase, discovery, frame

GROUP, GROUP6 = "239.1.2.3", "ff05::1:3"
LINK_LOCAL = "fe80::ff:fe00:1"
#: The groups of C{fd00::2} and of the link-local address.
SOLICITED = {"ff02::1:ff00:1", "ff02::1:ff00:2"}
ROUTERS, ROUTERS6 = "224.0.0.22", "ff02::16"
VERSION_3 = b"\x02\x7d\0\0"
IS, LEFT, JOINED = igmp.IS_EXCLUDE, igmp.TO_INCLUDE, igmp.TO_EXCLUDE


@attrs.frozen
class Report:
    """
    A report that the host sent.

    @ivar station: the link address that it was sent to.
    @ivar kind: the type of the message.
    @ivar records: for each group, the type of its record and its address as text.
    """

    station: bytes
    source: str
    dest: str
    kind: int
    records: tuple[tuple[int, str], ...]

    @property
    def groups(self) -> set[str]:
        return {group for _, group in self.records}


def reports(packets: Iterable[bytes], tap: bool = True) -> list[Report]:
    """
    Find the reports among packets, and check that their headers are as the RFCs require.

    @param tap: whether the packets are frames.
    """
    found = []
    for data in packets:
        station, packet = (data[:6], data[14:]) if tap else (b"", data)
        if packet[0] >> 4 == 4 and packet[9] == igmp.PROTOCOL and data[12:14] != b"\x08\x06":
            assert packet[:2] == b"\x46\xc0", "header length, type of service"
            assert packet[8] == 1, "time to live"
            assert packet[20:24] == b"\x94\4\0\0", "router alert"
            assert onesSum(packet[:24]) == 0
            assert int.from_bytes(packet[2:4], "big") == len(packet)
            source, dest, message, size = packet[12:16], packet[16:20], packet[24:], 4
            assert icmp.valid(message)
        elif packet[0] >> 4 == 6 and packet[6] == ipv6.HOP_BY_HOP:
            assert packet[7] == 1, "hop limit"
            assert packet[40:48] == bytes.fromhex("3a00 05020000 0100"), "router alert"
            assert int.from_bytes(packet[4:6], "big") == len(packet) - 40
            source, dest, message, size = packet[8:24], packet[24:40], packet[48:], 16
            assert icmp.valid(message, source, dest)
        else:
            continue
        records: list[tuple[int, str]] = []
        if message[0] in (igmp.REPORT, mld.REPORT):
            body = message[8:]
            assert len(body) == int.from_bytes(message[6:8], "big") * (4 + size)
            for at in range(0, len(body), 4 + size):
                assert body[at + 1 : at + 4] == bytes(3), "auxiliary data, sources"
                records.append((body[at], addressText(body[at + 4 : at + 4 + size])))
        else:
            records.append((0, addressText(message[-size:])))
        found.append(Report(station, addressText(source), addressText(dest), message[0], tuple(records)))
    return found


def igmpQuery(
    group: str = "0.0.0.0",
    dest: str = "224.0.0.1",
    code: int = 10,
    tail: bytes = VERSION_3,
    source: str = "10.0.0.1",
    options: bytes = igmp.ROUTER_ALERT,
) -> bytes:
    """
    Make an IP packet with an IGMP query.
    """
    message = icmp.pack(igmp.QUERY, code, int.from_bytes(packAddress(group), "big"), tail)
    return ipPacket(source, dest, igmp.PROTOCOL, message, hopLimit=1, options=options)


def mldQuery(
    group: str = "::",
    dest: str = "ff02::1",
    code: int = 1000,
    tail: bytes = VERSION_3,
    source: str = "fe80::1",
    options: bytes = mld.HOP_BY_HOP,
    hopLimit: int = 1,
    kind: int = mld.QUERY,
) -> bytes:
    """
    Make an IP packet with an MLD query.
    """
    body = packAddress(group) + tail
    message = icmp.pack(kind, 0, code << 16, body, packAddress(source), packAddress(dest))
    protocol = ipv6.HOP_BY_HOP if options else icmp.PROTOCOL[6]
    return ipPacket(source, dest, protocol, options + message, hopLimit=hopLimit)


class GroupsTestCase(LinkTestCase):
    tap = True

    def make(self, *addresses: str, mode: int = TAP, **options: Any) -> None:
        self.tap = mode == TAP
        super().make(*addresses, mode=mode, **options)

    def member(self, *groups: str, mode: int = TAP) -> None:
        """
        Make a host that is in these groups, and wait until it has reported them.
        """
        self.make(mode=mode, settle=False)
        self.transport = self.host.listenUDP(5000, DatagramRecorder())
        for group in groups:
            self.join(group)
        self.wait(10)

    def join(self, group: str) -> None:
        self.successResultOf(self.transport.joinGroup(group))

    def leave(self, group: str) -> None:
        self.successResultOf(self.transport.leaveGroup(group))

    def reported(self, seconds: float = 10) -> list[Report]:
        return reports(self.wait(seconds), self.tap)

    def answers(self, *queries: bytes) -> list[Report]:
        self.receive(*(frame(query) if self.tap else query for query in queries))
        return self.reported(1)

    def count(self, name: str) -> int:
        return self.host.groups.counters[name]


class ReportedTests(GroupsTestCase):
    def test_groupsWithoutOutsideTrafficAreNotReported(self) -> None:
        for group in ("224.0.0.1", "ff02::1", "ff01::1", "ff01::fb", "ff11::1:2", "ff00::1", "ff10::7"):
            self.assertFalse(isReported(packAddress(group)), group)

    def test_otherGroupsAreReported(self) -> None:
        for group in ("224.0.0.2", "224.0.0.251", "239.1.2.3", "ff02::2", "ff02::fb", "ff05::1", "ff1e::1", "ff0f::1"):
            self.assertTrue(isReported(packAddress(group)), group)

    def test_aMemberOfAnUnreportedGroupSendsNoReport(self) -> None:
        self.member()
        for group in ("224.0.0.1", "ff02::1", "ff01::fb"):
            self.join(group)
            self.leave(group)
            self.join(group)
        self.assertEqual(self.reported(), [])


class StartTests(GroupsTestCase):
    def test_solicitedNodeGroupsAreReported(self) -> None:
        self.make(settle=False)
        first = self.reported(0.25)[0]
        self.assertEqual((first.station, first.dest, first.kind), (b"\x33\x33\0\0\0\x16", ROUTERS6, mld.REPORT))
        self.assertEqual(set(first.records), {(JOINED, group) for group in SOLICITED})

    def test_aReportIsSentBeforeDuplicateAddressDetection(self) -> None:
        self.make(settle=False)
        kinds = [data[54] == ndp.SOLICITATION and data[20] == 58 for data in self.wait(5) if data[12:14] == b"\x86\xdd"]
        self.assertFalse(kinds[0])
        self.assertIn(True, kinds)

    def test_reportsFromTheUnspecifiedAddressAreRepeated(self) -> None:
        self.make(settle=False)
        reported = self.reported()
        sources = [report.source for report in reported]
        self.assertEqual(sources, sorted(sources, key=lambda source: source != "::"))
        self.assertEqual({report.source for report in reported}, {"::", LINK_LOCAL})
        known = [report for report in reported if report.source == LINK_LOCAL]
        self.assertEqual([report.groups for report in known], [SOLICITED] * 2)

    def test_reportsAreFromTheUnspecifiedAddressWhileTheAddressIsLost(self) -> None:
        self.make(settle=False)
        claim = discovery(ndp.ADVERTISEMENT, LINK_LOCAL, "ff02::1", LINK_LOCAL, ndp.TARGET_LINK, OTHER, ndp.OVERRIDE)
        self.receive(frame(claim, source=OTHER))
        self.assertNotIn(f"{LINK_LOCAL}/64", self.host.addresses)
        reported = self.reported(1)
        self.assertEqual({report.source for report in reported}, {"::"})
        # The host stays in the solicited-node group, to receive solicitations of other stations for the address.
        self.assertEqual(set.union(*(report.groups for report in reported)), SOLICITED)
        self.assertEqual({report.source for report in self.reported(30)}, {LINK_LOCAL})
        (answer,) = self.answers(mldQuery())
        self.assertEqual((answer.source, answer.groups), (LINK_LOCAL, SOLICITED))

    def test_aTunHasNoSolicitedNodeGroups(self) -> None:
        self.make(mode=TUN, settle=False)
        self.assertEqual(self.wait(10), [])

    def test_groupsJoinedBeforeTheStartAreReported(self) -> None:
        for mode in (TAP, TUN):
            clock, device = Clock(), MemoryDevice(mode)
            host = Host(["10.0.0.2/24", "fd00::2/64"], clock, OWN)
            transport = host.listenUDP(5000, DatagramRecorder())
            for group in (GROUP, GROUP6):
                self.successResultOf(transport.joinGroup(group))
            TuntapPort("", host.ethernet if mode == TAP else host.ip, reactor=clock, device=device).startListening()
            clock.advance(0)
            reported = {report.dest: report for report in reports(device.sent, mode == TAP)}
            self.assertEqual(reported[ROUTERS].records, ((JOINED, GROUP),))
            self.assertIn((JOINED, GROUP6), reported[ROUTERS6].records)

    def test_allGroupsAreReportedAgainOnTheNextLink(self) -> None:
        self.member(GROUP)
        self.port.stopListening()
        self.clock.advance(0)
        self.assertEqual(self.reported(), [])
        self.port.startListening()
        self.assertEqual({group for report in self.reported() for group in report.groups}, {GROUP, *SOLICITED})

    def test_noTimerIsLeftAfterTheStop(self) -> None:
        self.member(GROUP)
        self.leave(GROUP)
        self.receive(frame(mldQuery()))
        self.port.stopListening()
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_aProtocolWhoseStartFailsLeavesItsGroups(self) -> None:
        self.make(settle=False)
        self.port.stopListening()
        self.clock.advance(0)

        class Failing(DatagramRecorder):
            def startProtocol(self) -> None:
                self.transport.joinGroup(GROUP)
                raise RuntimeError("no")

        with self.assertRaises(RuntimeError):
            self.host.listenUDP(5001, Failing())
            self.port.startListening()
        self.assertFalse(self.host.ip.isMember(packAddress(GROUP)))


class ChangeTests(GroupsTestCase):
    def test_changesOfIPv4GroupsAreReported(self) -> None:
        for mode in (TAP, TUN):
            self.member(mode=mode)
            self.join(GROUP)
            station = b"\x01\0\x5e\0\0\x16" if mode == TAP else b""
            joined = Report(station, "10.0.0.2", ROUTERS, igmp.REPORT, ((JOINED, GROUP),))
            self.assertEqual(self.reported(), [joined] * 2)
            self.leave(GROUP)
            self.assertEqual(self.reported(), [attrs.evolve(joined, records=((LEFT, GROUP),))] * 2)

    def test_changesOfIPv6GroupsAreReported(self) -> None:
        self.member()
        self.join(GROUP6)
        joined = Report(b"\x33\x33\0\0\0\x16", LINK_LOCAL, ROUTERS6, mld.REPORT, ((JOINED, GROUP6),))
        self.assertEqual(self.reported(), [joined] * 2)
        self.leave(GROUP6)
        self.assertEqual(self.reported(), [attrs.evolve(joined, records=((LEFT, GROUP6),))] * 2)

    def test_anIPv6ReportOnATunIsFromTheUnspecifiedAddress(self) -> None:
        self.member(mode=TUN)
        self.join(GROUP6)
        self.assertEqual(self.reported(), [Report(b"", "::", ROUTERS6, mld.REPORT, ((JOINED, GROUP6),))] * 2)

    def test_anIPv6ReportOnATunIsFromTheLinkLocalAddress(self) -> None:
        self.make("fe80::2/64", mode=TUN)
        self.host.listenUDP(5000, DatagramRecorder()).joinGroup(GROUP6)
        self.assertEqual(self.reported()[0].source, "fe80::2")

    def test_anIPv4ReportWithoutAnAddressIsFromTheUnspecifiedAddress(self) -> None:
        self.make("fd00::2/64")
        self.host.listenUDP(5000, DatagramRecorder()).joinGroup(GROUP)
        self.assertEqual([report.source for report in self.reported()], ["0.0.0.0"] * 2)

    def test_onlyTheFirstJoinAndTheLastLeaveAreReported(self) -> None:
        self.member(GROUP)
        other = self.host.listenUDP(5001, DatagramRecorder())
        other.joinGroup(GROUP)
        self.leave(GROUP)
        self.assertEqual(self.reported(), [])
        other.stopListening()
        self.assertEqual([report.records for report in self.reported()], [((LEFT, GROUP),)] * 2)

    def test_solicitedNodeGroupsOfChangedAddressesAreReported(self) -> None:
        self.make()
        self.host.addAddress("fd00::77/64")
        self.assertEqual([report.records for report in self.reported()], [((JOINED, "ff02::1:ff00:77"),)] * 2)
        self.host.addAddress("fd01::77/64")
        self.assertEqual(self.reported(), [])
        self.host.removeAddress("fd00::77")
        self.assertEqual(self.reported(), [])
        self.host.removeAddress("fd01::77")
        self.assertEqual([report.records for report in self.reported()], [((LEFT, "ff02::1:ff00:77"),)] * 2)
        self.host.addAddress("10.0.0.77/24")
        self.assertEqual(self.reported(), [])

    def test_aSolicitedNodeGroupStaysWhenTheProgramLeavesIt(self) -> None:
        self.member("ff02::1:ff00:2")
        self.leave("ff02::1:ff00:2")
        self.assertEqual(self.reported(), [])
        self.assertTrue(self.host.ip.isMember(packAddress("ff02::1:ff00:2")))

    def test_reportsFitTheMTU(self) -> None:
        for mode in (TAP, TUN):
            self.member(mode=mode)
            before = self.count("outReports")
            self.device.mtu = 1290
            for number in range(400):
                self.join(f"239.9.{number // 250}.{number % 250}")
                self.join(f"ff05::9:{number:x}")
            sent = self.wait(10)
            most = 1290 + (14 if self.tap else 0)
            self.assertLessEqual(max(map(len, sent)), most)
            reported = reports(sent, self.tap)
            for dest, fits in ((ROUTERS, 157), (ROUTERS6, 61)):
                sizes = [len(report.records) for report in reported if report.dest == dest]
                self.assertEqual((sum(sizes), max(sizes)), (2 * 400, fits))
            self.assertEqual(self.count("outReports") - before, len(reported))


class QueryTests(GroupsTestCase):
    def setUp(self) -> None:
        self.member(GROUP, GROUP6)

    def test_aGeneralIGMPQueryIsAnswered(self) -> None:
        (report,) = self.answers(igmpQuery())
        expected = Report(b"\x01\0\x5e\0\0\x16", "10.0.0.2", ROUTERS, igmp.REPORT, ((IS, GROUP),))
        self.assertEqual(report, expected)
        self.assertEqual(self.count("inQueries"), 1)

    def test_aGeneralMLDQueryIsAnswered(self) -> None:
        (report,) = self.answers(mldQuery())
        self.assertEqual((report.source, report.dest, report.kind), (LINK_LOCAL, ROUTERS6, mld.REPORT))
        self.assertEqual(set(report.records), {(IS, group) for group in (GROUP6, *SOLICITED)})
        self.assertEqual(self.count("inQueries"), 1)

    def test_queriesOnATunAreAnswered(self) -> None:
        self.member(GROUP, GROUP6, mode=TUN)
        (report,) = self.answers(igmpQuery())
        self.assertEqual(report.records, ((IS, GROUP),))
        (report,) = self.answers(mldQuery())
        self.assertEqual(report.records, ((IS, GROUP6),))

    def test_aQueryForOneGroupIsAnswered(self) -> None:
        for dest in (GROUP, "224.0.0.1", "10.0.0.2"):
            self.assertEqual([report.records for report in self.answers(igmpQuery(GROUP, dest))], [((IS, GROUP),)])
        for dest in (GROUP6, "ff02::1", LINK_LOCAL):
            self.assertEqual([report.records for report in self.answers(mldQuery(GROUP6, dest))], [((IS, GROUP6),)])

    def test_aQueryForSourcesOfAGroupIsAnswered(self) -> None:
        query = igmpQuery(GROUP, GROUP, tail=b"\x02\x7d\0\1\x0a\0\0\1")
        self.assertEqual([report.records for report in self.answers(query)], [((IS, GROUP),)])

    def test_aQueryForAnotherGroupIsNotAnswered(self) -> None:
        self.assertEqual(
            self.answers(igmpQuery("239.1.2.4"), mldQuery("ff05::1:4"), igmpQuery("10.0.0.2"), mldQuery("fd00::2")), []
        )

    def test_aQueryFromTheUnspecifiedAddressIsAnswered(self) -> None:
        self.assertEqual(len(self.answers(igmpQuery(source="0.0.0.0"))), 1)
        self.assertEqual(len(self.answers(igmpQuery(GROUP, GROUP, source="0.0.0.0"))), 1)

    def test_aQueryToAnAddressOfTheHostIsAnswered(self) -> None:
        self.assertEqual(len(self.answers(igmpQuery(dest="10.0.0.2"))), 1)
        self.assertEqual(len(self.answers(mldQuery(dest="fd00::2"))), 1)

    def test_reportsHaveTheVersionOfTheQuery(self) -> None:
        (report,) = self.answers(igmpQuery(tail=b""))
        self.assertEqual((report.kind, report.dest, report.groups), (igmp.REPORT2, GROUP, {GROUP}))
        self.leave(GROUP)
        left = Report(b"\x01\0\x5e\0\0\2", "10.0.0.2", "224.0.0.2", igmp.LEAVE2, ((0, GROUP),))
        self.assertEqual(self.reported(), [left] * 2)
        reported = self.answers(mldQuery(tail=b""))
        self.assertEqual({(report.kind, report.source) for report in reported}, {(mld.REPORT1, LINK_LOCAL)})
        self.assertEqual({report.dest for report in reported}, {GROUP6, *SOLICITED})
        self.leave(GROUP6)
        left = Report(b"\x33\x33\0\0\0\2", LINK_LOCAL, "ff02::2", mld.DONE1, ((0, GROUP6),))
        self.assertEqual(self.reported(), [left] * 2)

    def test_aVersion1QueryNeedsNoRouterAlert(self) -> None:
        self.receive(frame(igmpQuery(code=0, tail=b"", options=b"")))
        (report,) = self.reported()
        self.assertEqual((report.kind, report.dest), (igmp.REPORT1, GROUP))

    def test_theRouterAlertIsFoundAmongOtherOptions(self) -> None:
        self.assertEqual(len(self.answers(igmpQuery(options=b"\x01\x01\x01\x01" + igmp.ROUTER_ALERT))), 1)

    def test_aQueryThatMayBeFromOutsideIsDropped(self) -> None:
        before = self.count("inErrors")
        for query in (
            igmpQuery(options=b""),
            igmpQuery(tail=b"", options=b""),
            igmpQuery(code=0, options=b""),
            igmpQuery(options=b"\x94\4\0\1"),
            igmpQuery(dest=GROUP),
            mldQuery(options=b""),
            mldQuery(options=bytes((58, 0)) + b"\1\4\0\0\0\0"),
            mldQuery(hopLimit=2),
            mldQuery(hopLimit=255),
            mldQuery(source="fd00::1"),
            mldQuery(source="::"),
            mldQuery(source="fec0::1"),
        ):
            self.assertEqual(self.answers(query), [], query.hex())
        self.assertEqual((self.count("inErrors") - before, self.count("inQueries")), (12, 0))

    def test_aMalformedQueryIsDropped(self) -> None:
        broken = [igmpQuery(tail=tail) for tail in (b"\0", b"\0\0\0", b"\2\x7d\0\1", b"\2\x7d\xff\xff\1\2\3\4")]
        broken += [mldQuery(tail=tail) for tail in (b"\0", b"\0\0\0", b"\2\x7d\0\1")]
        broken.append(ipPacket("10.0.0.1", "224.0.0.1", igmp.PROTOCOL, b"", options=igmp.ROUTER_ALERT))
        broken.append(ipPacket("10.0.0.1", "224.0.0.1", igmp.PROTOCOL, b"\x11\x64", options=igmp.ROUTER_ALERT))
        broken.append(igmpQuery()[:-1] + b"\1")
        self.assertEqual(self.answers(*broken), [])
        self.assertEqual((self.count("inErrors"), self.count("inQueries")), (len(broken), 0))

    def test_reportsOfOtherHostsAreIgnored(self) -> None:
        reported = [message for _, message in igmp.messages(2, [(IS, packAddress(GROUP))], 100)]
        reported += [message for _, message in igmp.messages(1, [(IS, packAddress(GROUP))], 100)]
        packets = [
            ipPacket("10.0.0.9", GROUP, igmp.PROTOCOL, message, 1, options=igmp.ROUTER_ALERT) for message in reported
        ]
        packets.append(mldQuery(GROUP6, GROUP6, 0, b"", kind=mld.REPORT1))
        self.assertEqual(self.answers(*packets), [])
        self.assertEqual((self.count("inReports"), self.count("inErrors")), (3, 0))

    def test_theProtocolTakesNoLayerAboveIt(self) -> None:
        self.assertFalse(hasattr(self.host.groups, "addProto"))
        self.assertRaises(TypeError, self.host.groups.datagramReceived, b"")


class FloodTests(GroupsTestCase):
    def setUp(self) -> None:
        self.member(GROUP, GROUP6)
        self.receive(frame(igmpQuery()), frame(mldQuery()))
        self.wait(5)
        del self.device.sent[:]

    def sizes(self) -> list[int]:
        reporters = self.host.groups._reporters
        tables = [
            len(reporter._changes) + len(reporter._queriedGroups) + len(reporter._olderQueriers)
            for reporter in reporters
        ]
        own: Any = self.host.ip.ownAddresses
        return [
            *tables,
            len(own.local),
            len(own.admitted),
            *[table.size for table in self.host.udp.tables()],
            len(self.clock.getDelayedCalls()),
        ]

    def test_aFloodOfQueriesIsAnsweredAtABoundedRate(self) -> None:
        random = Random(1)
        for number in range(10_000):
            group = random.choice(("0.0.0.0", GROUP, f"239.{number % 200}.0.1"))
            tail = random.choice((VERSION_3, VERSION_3, b"\x02\x7d\0\1\x0a\0\0\1"))
            self.device.deliver(frame(igmpQuery(group, code=random.randrange(256), tail=tail)))
            self.device.deliver(frame(mldQuery(random.choice(("::", GROUP6, f"ff05::{number:x}")), code=0)))
            if number % 10 == 0:
                self.clock.advance(0.01)
        self.assertGreater(self.count("inQueries"), 19_000)
        reported = reports(self.device.sent)
        self.assertEqual(len(reported), len(self.device.sent))
        self.assertTrue(10 < len(reported) <= 2 * (10 / PAUSE + 2), len(reported))
        self.wait(10)
        self.assertEqual(self.sizes()[:2], [0, 0])
        self.assertLess(self.sizes()[-1], 3)

    def test_datagramsToOtherGroupsFillNoTable(self) -> None:
        before = self.sizes()
        for number in range(10_000):
            dest = f"239.7.{number // 250}.{number % 250}"
            self.device.deliver(frame(udpPacket("10.0.0.1", dest, 1234, 5000, b"?"), b"\x01\0\x5e\7\0\0"))
            self.device.deliver(
                frame(udpPacket("fd00::1", f"ff05::7:{number:x}", 1234, 5000, b"?"), b"\x33\x33\0\0\0\0")
            )
            self.clock.advance(0)
        self.assertEqual(self.sizes(), before)
        self.assertEqual(self.device.sent, [])
        self.assertEqual(self.host.ip.counters["inAddrErrors"], 20_000)

    def test_noMessageRaisesAnException(self) -> None:
        random = Random(7)
        for _ in range(5000):
            message = bytearray(
                random.choice((igmpQuery(), mldQuery(), igmpQuery(GROUP, GROUP), mldQuery(GROUP6, GROUP6, tail=b"")))
            )
            first = ipv4.HEADER_LENGTH if message[0] >> 4 == 4 else ipv6.HEADER_LENGTH
            for _ in range(random.randrange(1, 4)):
                message[random.randrange(first, len(message))] = random.randrange(256)
            self.device.deliver(frame(bytes(message)))
            self.clock.advance(0.01)
        counters = self.host.counters
        self.assertEqual(
            {part: counts.get("protocolFailures", 0) for part, counts in counters.items() if counts},
            {part: 0 for part, counts in counters.items() if counts},
        )
        self.assertEqual(self.flushLoggedErrors(), [])
