"""
Tests for IGMP messages, L{txtuntap.wire.igmp}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.wire import icmp, igmp
from txtuntap.wire.address import packAddress
from txtuntap.wire.igmp import Query

GROUP, OTHER = packAddress("239.1.2.3"), packAddress("224.0.0.251")
ALL = bytes(4)


def query(code: int, group: bytes = ALL, tail: bytes = b"", kind: int = igmp.QUERY) -> bytes:
    return icmp.pack(kind, code, int.from_bytes(group, "big"), tail)


class QueryTests(SynchronousTestCase):
    def test_aQueryOfVersion1IsParsed(self) -> None:
        self.assertEqual(igmp.parseQuery(query(0)), Query(1, ALL, 10.0))

    def test_theGroupOfAVersion1QueryIsIgnored(self) -> None:
        self.assertEqual(igmp.parseQuery(query(0, GROUP)), Query(1, ALL, 10.0))

    def test_aQueryOfVersion2IsParsed(self) -> None:
        self.assertEqual(igmp.parseQuery(query(100)), Query(2, ALL, 10.0))
        self.assertEqual(igmp.parseQuery(query(10, GROUP)), Query(2, GROUP, 1.0))

    def test_theTimeOfAVersion2QueryIsNotAFloat(self) -> None:
        self.assertEqual(igmp.parseQuery(query(255)), Query(2, ALL, 25.5))

    def test_aQueryOfVersion3IsParsed(self) -> None:
        self.assertEqual(igmp.parseQuery(query(100, tail=b"\x02\x7d\0\0")), Query(3, ALL, 10.0))
        self.assertEqual(igmp.parseQuery(query(0, GROUP, b"\x02\x7d\0\0")), Query(3, GROUP, 0.0))

    def test_theTimeOfAVersion3QueryIsAFloat(self) -> None:
        for code, tenths in ((127, 127), (0x80, 128), (0x8F, 248), (0x90, 256), (0xFF, 31744)):
            self.assertEqual(igmp.parseQuery(query(code, tail=b"\x02\x7d\0\0")), Query(3, ALL, tenths / 10))

    def test_sourcesOfAQueryAreIgnored(self) -> None:
        for tail in (b"\x02\x7d\0\1" + GROUP, b"\x02\x7d\0\1" + GROUP + b"more"):
            self.assertEqual(igmp.parseQuery(query(10, GROUP, tail)), Query(3, GROUP, 1.0))

    def test_aQueryWithoutItsSourcesIsNotParsed(self) -> None:
        for tail in (b"\x02\x7d\0\1", b"\x02\x7d\0\2" + GROUP, b"\x02\x7d\xff\xff" + GROUP):
            self.assertIsNone(igmp.parseQuery(query(10, GROUP, tail)))

    def test_aQueryOfAnInvalidLengthIsNotParsed(self) -> None:
        whole = query(100, tail=b"\x02\x7d\0\0")
        for length in (0, 1, 4, 7, 9, 10, 11):
            self.assertIsNone(igmp.parseQuery(whole[:length], verifyChecksum=False), length)

    def test_aQueryWithAWrongChecksumIsNotParsed(self) -> None:
        wrong = query(100)[:-1] + b"\1"
        self.assertIsNone(igmp.parseQuery(wrong))
        self.assertIsNotNone(igmp.parseQuery(wrong, verifyChecksum=False))

    def test_otherMessagesAreNotQueries(self) -> None:
        for kind in (*igmp.REPORTS, 0, 0x13):
            self.assertIsNone(igmp.parseQuery(query(100, GROUP, kind=kind)))

    def test_generalQueriesHaveNoGroup(self) -> None:
        self.assertTrue(Query(3, ALL, 1.0).general)
        self.assertFalse(Query(3, GROUP, 1.0).general)

    @given(st.binary(max_size=40))
    def test_arbitraryOctetsRaiseNothing(self, message: bytes) -> None:
        for data in (message, b"\x11" + message):
            parsed = igmp.parseQuery(data, verifyChecksum=False)
            if parsed is not None:
                self.assertTrue(0 <= parsed.delay <= 3174.4 and len(parsed.group) == 4)


class FloatingTests(SynchronousTestCase):
    def test_decodedCodesIncrease(self) -> None:
        for bits in (4, 12):
            numbers = [igmp.decodeFloat(code, bits) for code in range(1 << (bits + 4))]
            self.assertEqual(numbers, sorted(set(numbers)))


class MessageTests(SynchronousTestCase):
    RECORDS = ((igmp.TO_EXCLUDE, GROUP), (igmp.TO_INCLUDE, OTHER))

    def test_aReportOfVersion3IsPacked(self) -> None:
        report = bytes.fromhex("2200 e8f9 0000 0001 04000000 ef010203")
        self.assertEqual(list(igmp.messages(3, self.RECORDS[:1], 1476)), [(packAddress("224.0.0.22"), report)])

    def test_aVersion3ReportHasAllRecords(self) -> None:
        ((_, report),) = igmp.messages(3, self.RECORDS, 1476)
        self.assertTrue(icmp.valid(report))
        self.assertEqual(report[6:], bytes.fromhex("0002 04000000 ef010203 03000000 e00000fb"))

    def test_version3RecordsAreSplitIntoReports(self) -> None:
        records = [(igmp.IS_EXCLUDE, bytes((239, 0, 0, number))) for number in range(7)]
        found = [message for _, message in igmp.messages(3, records, 8 + 3 * 8 + 7)]
        self.assertEqual([(len(message), message[7]) for message in found], [(32, 3), (32, 3), (16, 1)])
        self.assertEqual(b"".join(message[12::8] for message in found), b"\xef" * 7)
        self.assertEqual(
            (
                igmp.recordsPerMessage(3, 39),
                igmp.recordsPerMessage(3, 32),
                igmp.recordsPerMessage(3, 31),
                igmp.recordsPerMessage(3, 0),
            ),
            (3, 3, 2, 1),
        )

    def test_aReportAndALeaveMessageOfVersion2ArePacked(self) -> None:
        joined, left = bytes.fromhex("1600 f8fa ef010203"), bytes.fromhex("1700 0804 e00000fb")
        expected = [(GROUP, joined), (packAddress("224.0.0.2"), left)]
        self.assertEqual(list(igmp.messages(2, self.RECORDS, 1476)), expected)
        self.assertEqual(list(igmp.messages(2, [(igmp.IS_EXCLUDE, GROUP)], 1476)), expected[:1])

    def test_version1HasNoLeaveMessage(self) -> None:
        self.assertEqual(list(igmp.messages(1, self.RECORDS, 1476)), [(GROUP, bytes.fromhex("1200 fcfa ef010203"))])

    def test_olderVersionsHaveOneRecordPerMessage(self) -> None:
        self.assertEqual((igmp.recordsPerMessage(2, 1476), igmp.recordsPerMessage(1, 1476)), (1, 1))

    def test_noRecordsMakeNoMessages(self) -> None:
        for version in (1, 2, 3):
            self.assertEqual(list(igmp.messages(version, [], 1476)), [])
