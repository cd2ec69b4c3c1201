"""
IGMP for IPv4 groups: queries and reports of version 3 (RFC 3376 section 4), and of versions 1 and 2 (RFC 1112 appendix
I, RFC 2236 section 2).

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

#: The version that is spoken unless somebody asks in an older one.
VERSION = 3

QUERY = 0x11
REPORT1 = 0x12
REPORT2 = 0x16
LEAVE2 = 0x17
REPORT = 0x22

#: The types of message that members of groups send.
REPORTS = frozenset((REPORT1, REPORT2, LEAVE2, REPORT))

#: Types of group record (section 4.2.12), which MLDv2 has too (RFC 3810 section 5.2.12). Without sources, "exclude" is
#: to listen to all of them, and "include" to none: to have left.
IS_EXCLUDE = 2
TO_INCLUDE = 3
TO_EXCLUDE = 4

#: Where reports go (section 4.2.14), and where leaving was told before (RFC 2236 section 6).
ROUTERS = packAddress("224.0.0.22")
ALL_ROUTERS = packAddress("224.0.0.2")

#: Every message goes by it, so that routers look at what is not for them (RFC 2113); and by this type of service
#: (section 4).
ROUTER_ALERT = b"\x94\x04\x00\x00"
TOS = 0xC0

_RECORD = struct.Struct("!BBH4s")

#: Version 1 does not say how long an answer may take (section 7.2.1).
_VERSION_1_DELAY = 10.0

Record = tuple[int, bytes]


@attrs.frozen
class Query:
    """
    A question for members of groups, of IGMP or MLD.

    @ivar version: of the protocol.
    @ivar group: the packed group that is asked about; zeros for all. Whom it is to be heard from, version 3 of IGMP and
        2 of MLD may ask too: that says nothing to who listens to everybody.
    @ivar delay: within how many seconds to answer.
    """

    version: int
    group: bytes
    delay: float

    @property
    def general(self) -> bool:
        """
        Whether it is about all groups.
        """
        return not any(self.group)


def parseQuery(message: bytes, verifyChecksum: bool = True) -> Query | None:
    """
    @param verifyChecksum: whether a message has to sum up.

    @return: L{None} if the message is no query (section 7.1), or does not sum up.
    """
    if len(message) < 8 or message[0] != QUERY or (verifyChecksum and not icmp.valid(message)):
        return None
    code, group = message[1], message[4:8]
    if len(message) == 8:
        # The group field means nothing in version 1.
        return Query(2, group, code / 10) if code else Query(1, bytes(4), _VERSION_1_DELAY)
    if len(message) < 12 or len(message) < 12 + 4 * int.from_bytes(message[10:12], "big"):
        return None
    return Query(3, group, floating(code, 4) / 10)


def floating(code: int, bits: int) -> int:
    """
    The number that a response code means: itself, or, with its highest bit set, three bits of an exponent and C{bits}
    of a mantissa (RFC 3376 section 4.1.1, RFC 3810 section 5.1.3).
    """
    if not code >> (bits + 3):
        return code
    mantissa = code & ((1 << bits) - 1) | 1 << bits
    return mantissa << ((code >> bits & 7) + 3)


def fits(version: int, room: int) -> int:
    """
    How many records one message has, if it has C{room} octets.
    """
    return max(1, (room - icmp.HEADER_LENGTH) // _RECORD.size) if version == VERSION else 1


def reportBodies(layout: struct.Struct, records: Sequence[Record], most: int) -> Iterator[tuple[int, bytes]]:
    """
    Split records into the bodies of reports, each with the number of its records. MLDv2 has such reports, too.

    @param layout: that of a record without sources: type, 0, 0, group.
    @param most: how many records a report holds at most.
    """
    for at in range(0, len(records), most):
        part = records[at : at + most]
        yield len(part), b"".join(layout.pack(kind, 0, 0, group) for kind, group in part)


def messages(version: int, records: Sequence[Record], room: int) -> Iterator[tuple[bytes, bytes]]:
    """
    Make the messages of a version that report these records.

    @param records: type and group of each.
    @param room: the most octets of a message.

    @return: the packed group that each message goes to, and the message.
    """
    if version == VERSION:
        for count, body in reportBodies(_RECORD, records, fits(version, room)):
            yield ROUTERS, icmp.pack(REPORT, 0, count, body)
        return
    for kind, group in records:
        word = int.from_bytes(group, "big")
        if kind != TO_INCLUDE:
            yield group, icmp.pack(REPORT1 if version == 1 else REPORT2, 0, word, b"")
        elif version == 2:
            yield ALL_ROUTERS, icmp.pack(LEAVE2, 0, word, b"")
