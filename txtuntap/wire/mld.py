"""
MLD for IPv6 groups: queries and reports of version 2 (RFC 3810 section 5) and of version 1 (RFC 2710 section 3). They
are ICMPv6 messages.

    query    +----------+---+--------------+--------------+-------+------------+------------------------------------
             | 130 (1)  | 0 | checksum (2) | max resp (2) | 0 (2) | group (16) | version 2: flags (1), interval (1),
             +----------+---+--------------+--------------+-------+------------+   sources (2), each (16)

    report   +----------+---+--------------+--------------+-----------+----------------------------
             | 143 (1)  | 0 | checksum (2) | reserved (2) | count (2) | records: type (1), 0 (1),
             +----------+---+--------------+--------------+-----------+   sources (2), group (16)

    older    +----------+---+--------------+--------------+------------+
    report   | type (1) | 0 | checksum (2) | 0 (4)        | group (16) |
             +----------+---+--------------+--------------+------------+
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from txtuntap.wire import icmp
from txtuntap.wire.address import packAddress
from txtuntap.wire.igmp import TO_INCLUDE, Query, Record, floating, reportBodies

#: The version that is spoken unless somebody asks in an older one.
VERSION = 2

QUERY = 130
REPORT1 = 131
DONE1 = 132
REPORT = 143

#: The types of message that members of groups send.
REPORTS = frozenset((REPORT1, DONE1, REPORT))

#: Where reports go (section 5.2.14), and where leaving was told before (RFC 2710 section 5).
ROUTERS = packAddress("ff02::16")
ALL_ROUTERS = packAddress("ff02::2")

#: The options of a hop-by-hop header with which every message goes, so that routers look at it (RFC 2711), and two
#: octets of padding.
ROUTER_ALERT = b"\x05\x02\x00\x00"
HOP_BY_HOP = bytes((icmp.PROTOCOL[6], 0)) + ROUTER_ALERT + b"\x01\x00"

_RECORD = struct.Struct("!BBH16s")


def parseQuery(message: bytes) -> Query | None:
    """
    @param message: the ICMPv6 message, which sums up.

    @return: L{None} if the message is no query (section 8.1).
    """
    if len(message) < 24 or message[0] != QUERY:
        return None
    code, group = int.from_bytes(message[4:6], "big"), message[8:24]
    if len(message) == 24:
        return Query(1, group, code / 1000)
    if len(message) < 28 or len(message) < 28 + 16 * int.from_bytes(message[26:28], "big"):
        return None
    return Query(2, group, floating(code, 12) / 1000)


def fits(version: int, room: int) -> int:
    """
    How many records one message has, if it has C{room} octets.
    """
    return max(1, (room - icmp.HEADER_LENGTH) // _RECORD.size) if version == VERSION else 1


def messages(version: int, records: Sequence[Record], room: int, source: bytes) -> Iterator[tuple[bytes, bytes]]:
    """
    Make the messages of a version that report these records.

    @param records: type (as in L{txtuntap.wire.igmp}) and group of each.
    @param room: the most octets of a message.
    @param source: the packed address it leaves from.

    @return: the packed group that each message goes to, and the message.
    """
    if version == VERSION:
        for count, body in reportBodies(_RECORD, records, fits(version, room)):
            yield ROUTERS, icmp.pack(REPORT, 0, count, body, source, ROUTERS)
        return
    for kind, group in records:
        left = kind == TO_INCLUDE
        dest = ALL_ROUTERS if left else group
        yield dest, icmp.pack(DONE1 if left else REPORT1, 0, 0, group, source, dest)
