"""
Tests for MLD messages, L{txtuntap.wire.mld}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.wire import icmp, mld
from txtuntap.wire.address import packAddress
from txtuntap.wire.igmp import IS_EXCLUDE, TO_EXCLUDE, TO_INCLUDE, Query

GROUP, OTHER = packAddress("ff05::1:3"), packAddress("ff02::fb")
ALL = bytes(16)
SOURCE, QUERIER = packAddress("fe80::2"), packAddress("fe80::1")
VERSION_2 = b"\x02\x7d\0\0"


def query(code: int, group: bytes = ALL, tail: bytes = b"", kind: int = mld.QUERY) -> bytes:
    return icmp.pack(kind, 0, code << 16, group + tail, QUERIER, packAddress("ff02::1"))


class QueryTests(SynchronousTestCase):
    def test_aQueryOfVersion1IsParsed(self) -> None:
        self.assertEqual(mld.parseQuery(query(10000)), Query(1, ALL, 10.0))
        self.assertEqual(mld.parseQuery(query(1000, GROUP)), Query(1, GROUP, 1.0))

    def test_theTimeOfAVersion1QueryIsNotAFloat(self) -> None:
        self.assertEqual(mld.parseQuery(query(0xFFFF)), Query(1, ALL, 65.535))

    def test_aQueryOfVersion2IsParsed(self) -> None:
        self.assertEqual(mld.parseQuery(query(10000, tail=VERSION_2)), Query(2, ALL, 10.0))
        self.assertEqual(mld.parseQuery(query(0, GROUP, VERSION_2)), Query(2, GROUP, 0.0))

    def test_theTimeOfAVersion2QueryIsAFloat(self) -> None:
        for code, milliseconds in ((0x7FFF, 32767), (0x8000, 32768), (0x9001, 65552), (0xFFFF, 8387584)):
            self.assertEqual(mld.parseQuery(query(code, tail=VERSION_2)), Query(2, ALL, milliseconds / 1000))

    def test_sourcesOfAQueryAreIgnored(self) -> None:
        for tail in (b"\x02\x7d\0\1" + SOURCE, b"\x02\x7d\0\1" + SOURCE + b"more"):
            self.assertEqual(mld.parseQuery(query(1000, GROUP, tail)), Query(2, GROUP, 1.0))

    def test_aQueryWithoutItsSourcesIsNotParsed(self) -> None:
        for tail in (b"\x02\x7d\0\1", b"\x02\x7d\0\2" + SOURCE, b"\x02\x7d\xff\xff" + SOURCE):
            self.assertIsNone(mld.parseQuery(query(1000, GROUP, tail)))

    def test_aQueryOfAnInvalidLengthIsNotParsed(self) -> None:
        whole = query(1000, tail=VERSION_2)
        for length in (8, 23, 25, 26, 27):
            self.assertIsNone(mld.parseQuery(whole[:length]), length)

    def test_theCodeIsIgnored(self) -> None:
        self.assertIsNotNone(mld.parseQuery(query(1000)[:1] + b"\7" + query(1000)[2:]))

    def test_otherMessagesAreNotQueries(self) -> None:
        for kind in (*mld.REPORTS, 128, 135):
            self.assertIsNone(mld.parseQuery(query(1000, GROUP, kind=kind)))

    @given(st.binary(max_size=60))
    def test_arbitraryOctetsRaiseNothing(self, message: bytes) -> None:
        for data in (message, b"\x82" + message):
            parsed = mld.parseQuery(data)
            if parsed is not None:
                self.assertTrue(0 <= parsed.delay <= 8387.584 and len(parsed.group) == 16)


class MessageTests(SynchronousTestCase):
    RECORDS = ((TO_EXCLUDE, GROUP), (TO_INCLUDE, OTHER))

    def test_aReportOfVersion2IsPacked(self) -> None:
        ((dest, report),) = mld.messages(2, self.RECORDS, 1452, SOURCE)
        self.assertEqual(dest, packAddress("ff02::16"))
        self.assertTrue(icmp.valid(report, SOURCE, dest))
        self.assertEqual(report[:2] + report[4:8], bytes.fromhex("8f00 00000002"))
        self.assertEqual(report[8:], b"\4\0\0\0" + GROUP + b"\3\0\0\0" + OTHER)

    def test_version2RecordsAreSplitIntoReports(self) -> None:
        records = [(IS_EXCLUDE, GROUP[:-1] + bytes((number,))) for number in range(7)]
        found = [message for _, message in mld.messages(2, records, 8 + 3 * 20 + 19, SOURCE)]
        self.assertEqual([(len(message), message[7]) for message in found], [(68, 3), (68, 3), (28, 1)])
        self.assertEqual(b"".join(message[27::20] for message in found), bytes(range(7)))
        self.assertEqual(
            (mld.recordsPerMessage(2, 68), mld.recordsPerMessage(2, 67), mld.recordsPerMessage(2, 0)), (3, 2, 1)
        )

    def test_aReportAndADoneMessageOfVersion1ArePacked(self) -> None:
        (joinedTo, joined), (leftTo, left) = mld.messages(1, self.RECORDS, 1452, SOURCE)
        self.assertEqual((joinedTo, leftTo), (GROUP, packAddress("ff02::2")))
        self.assertEqual((joined[:2], joined[4:]), (b"\x83\0", bytes(4) + GROUP))
        self.assertEqual((left[:2], left[4:]), (b"\x84\0", bytes(4) + OTHER))
        self.assertTrue(icmp.valid(joined, SOURCE, joinedTo) and icmp.valid(left, SOURCE, leftTo))
        self.assertEqual(mld.recordsPerMessage(1, 1452), 1)

    def test_noRecordsMakeNoMessages(self) -> None:
        for version in (1, 2):
            self.assertEqual(list(mld.messages(version, [], 1452, SOURCE)), [])
