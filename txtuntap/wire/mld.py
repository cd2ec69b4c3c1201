"""
MLD messages for IPv6 groups: queries and reports of versions 2 and 1, which are ICMPv6 messages. Read RFC 3810 section
5 first, then RFC 2710 section 3::

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
from txtuntap.wire.igmp import TO_INCLUDE, Query, Record, decodeFloat, reportBodies

#: The version that a host uses, unless a router sends queries of an older version.
VERSION = 2

QUERY = 130
REPORT1 = 131
DONE1 = 132
REPORT = 143

#: The types of the messages that members of groups send.
REPORTS = frozenset((REPORT1, DONE1, REPORT))

#: The group to which reports of version 2 are sent (section 5.2.14), and the group to which Done messages of version 1
#: are sent (RFC 2710 section 5).
ROUTERS = packAddress("ff02::16")
ALL_ROUTERS = packAddress("ff02::2")

#: The Router Alert option of every message, by which routers read a packet that is not addressed to them (RFC 2711). It
#: stands in a hop-by-hop header, with two octets of padding.
ROUTER_ALERT = b"\x05\x02\x00\x00"
HOP_BY_HOP = bytes((icmp.PROTOCOL[6], 0)) + ROUTER_ALERT + b"\x01\x00"

_RECORD = struct.Struct("!BBH16s")


def parseQuery(message: bytes) -> Query | None:
    """
    Parse an MLD query.

    @param message: the ICMPv6 message, whose checksum has been verified.

    @return: the query; C{None} if the message is not a query (section 8.1).
    """
    if len(message) < 24 or message[0] != QUERY:
        return None
    code, group = int.from_bytes(message[4:6], "big"), message[8:24]
    if len(message) == 24:
        return Query(1, group, code / 1000)
    if len(message) < 28 or len(message) < 28 + 16 * int.from_bytes(message[26:28], "big"):
        return None
    return Query(2, group, decodeFloat(code, 12) / 1000)


def recordsPerMessage(version: int, room: int) -> int:
    """
    Return the most group records that one message of C{room} octets can hold; 1 for versions without records.
    """
    return max(1, (room - icmp.HEADER_LENGTH) // _RECORD.size) if version == VERSION else 1


def messages(version: int, records: Sequence[Record], room: int, source: bytes) -> Iterator[tuple[bytes, bytes]]:
    """
    Make the messages of a protocol version that report these group records.

    @param records: the type (as in L{txtuntap.wire.igmp}) and the packed group of each record.
    @param room: the most octets of a message.
    @param source: the packed source address of the messages.

    @return: for each message, the packed destination address and the octets.
    """
    if version == VERSION:
        for count, body in reportBodies(_RECORD, records, recordsPerMessage(version, room)):
            yield ROUTERS, icmp.pack(REPORT, 0, count, body, source, ROUTERS)
        return
    for kind, group in records:
        left = kind == TO_INCLUDE
        dest = ALL_ROUTERS if left else group
        yield dest, icmp.pack(DONE1 if left else REPORT1, 0, 0, group, source, dest)
