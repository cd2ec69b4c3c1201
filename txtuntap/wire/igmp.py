"""
IGMP messages for IPv4 groups: queries and reports of version 3, and of versions 1 and 2. Read RFC 3376 section 4 first,
then RFC 2236 section 2 and RFC 1112 appendix I::

    query    +-----------+--------------+--------------+-----------+------------------------------------
             | 0x11 (1)  | max resp (1) | checksum (2) | group (4) | version 3: flags (1), interval (1),
             +-----------+--------------+--------------+-----------+   sources (2), each (4)

    report   +-----------+---+--------------+--------------+-----------+----------------------------
             | 0x22 (1)  | 0 | checksum (2) | reserved (2) | count (2) | records: type (1), 0 (1),
             +-----------+---+--------------+--------------+-----------+   sources (2), group (4)

    older    +-----------+---+--------------+-----------+
    report   | type (1)  | 0 | checksum (2) | group (4) |
             +-----------+---+--------------+-----------+
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import attrs

from txtuntap.wire import icmp
from txtuntap.wire.address import packAddress

PROTOCOL = 2

#: The version that a host uses, unless a router sends queries of an older version.
VERSION = 3

QUERY = 0x11
REPORT1 = 0x12
REPORT2 = 0x16
LEAVE2 = 0x17
REPORT = 0x22

#: The types of the messages that members of groups send.
REPORTS = frozenset((REPORT1, REPORT2, LEAVE2, REPORT))

#: The types of group records (section 4.2.12), which MLDv2 has, too (RFC 3810 section 5.2.12). The records of this
#: package list no sources. A record that excludes none of them asks for packets of all sources. A record that includes
#: none of them asks for no packets: the host has left the group.
IS_EXCLUDE = 2
TO_INCLUDE = 3
TO_EXCLUDE = 4

#: The group to which reports of version 3 are sent (section 4.2.14), and the group to which Leave messages of version 2
#: are sent (RFC 2236 section 6).
ROUTERS = packAddress("224.0.0.22")
ALL_ROUTERS = packAddress("224.0.0.2")

#: The IP option of every message, by which routers read a packet that is not addressed to them (RFC 2113), and the type
#: of service octet of every message (section 4).
ROUTER_ALERT = b"\x94\x04\x00\x00"
TOS = 0xC0

_RECORD = struct.Struct("!BBH4s")

#: The time within which a query of version 1 is to be answered, in seconds (section 7.2.1).
_VERSION_1_DELAY = 10.0

Record = tuple[int, bytes]


@attrs.frozen
class Query:
    """
    A query of IGMP or MLD, which asks hosts for the groups they are members of. The sources in a query are ignored,
    because this package always asks for packets of all sources.

    @ivar version: the protocol version of the query.
    @ivar group: the packed address of the group in question; zeros: all groups.
    @ivar delay: the number of seconds within which to answer.
    """

    version: int
    group: bytes
    delay: float

    @property
    def general(self) -> bool:
        """
        Whether the query asks for all groups.
        """
        return not any(self.group)


def parseQuery(message: bytes, verifyChecksum: bool = True) -> Query | None:
    """
    Parse an IGMP query.

    @param verifyChecksum: whether the checksum of the message is verified.

    @return: the query; C{None} if the message is not a query (section 7.1), or its checksum is wrong.
    """
    if len(message) < 8 or message[0] != QUERY or (verifyChecksum and not icmp.valid(message)):
        return None
    code, group = message[1], message[4:8]
    if len(message) == 8:
        # A query of version 1 has no response time. Its group field is ignored.
        return Query(2, group, code / 10) if code else Query(1, bytes(4), _VERSION_1_DELAY)
    if len(message) < 12 or len(message) < 12 + 4 * int.from_bytes(message[10:12], "big"):
        return None
    return Query(3, group, decodeFloat(code, 4) / 10)


def decodeFloat(code: int, bits: int) -> int:
    """
    Decode the response code of a query to a number (RFC 3376 section 4.1.1, RFC 3810 section 5.1.3). A code without its
    highest bit is the number itself. Otherwise, it has three bits of an exponent and then a mantissa.

    @param bits: the length of the mantissa in bits.
    """
    if not code >> (bits + 3):
        return code
    mantissa = code & ((1 << bits) - 1) | 1 << bits
    return mantissa << ((code >> bits & 7) + 3)


def recordsPerMessage(version: int, room: int) -> int:
    """
    Return the most group records that one message of C{room} octets can hold; 1 for versions without records.
    """
    return max(1, (room - icmp.HEADER_LENGTH) // _RECORD.size) if version == VERSION else 1


def reportBodies(layout: struct.Struct, records: Sequence[Record], most: int) -> Iterator[tuple[int, bytes]]:
    """
    Split group records into the bodies of reports of IGMPv3 or MLDv2.

    @param layout: the format of a record without sources: type, 0, 0, group.
    @param most: the most records in one report.

    @return: the number of records and the body of each report.
    """
    for at in range(0, len(records), most):
        part = records[at : at + most]
        yield len(part), b"".join(layout.pack(kind, 0, 0, group) for kind, group in part)


def messages(version: int, records: Sequence[Record], room: int) -> Iterator[tuple[bytes, bytes]]:
    """
    Make the messages of a protocol version that report these group records.

    @param records: the type and the packed group of each record.
    @param room: the most octets of a message.

    @return: for each message, the packed destination address and the octets.
    """
    if version == VERSION:
        for count, body in reportBodies(_RECORD, records, recordsPerMessage(version, room)):
            yield ROUTERS, icmp.pack(REPORT, 0, count, body)
        return
    for kind, group in records:
        word = int.from_bytes(group, "big")
        if kind != TO_INCLUDE:
            yield group, icmp.pack(REPORT1 if version == 1 else REPORT2, 0, word, b"")
        elif version == 2:
            yield ALL_ROUTERS, icmp.pack(LEAVE2, 0, word, b"")
