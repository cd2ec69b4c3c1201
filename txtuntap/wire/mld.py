"""
MLDv2 for IPv6 groups (RFC 3810 section 5): reports, and queries of both versions. They are ICMPv6 messages.

    report   +----------+---+--------------+--------------+------------+----------------------------
             | 143 (1)  | 0 | checksum (2) | reserved (2) | count (2)  | records: type (1), 0 (1),
             +----------+---+--------------+--------------+------------+   sources (2), group (16)

    query    +----------+---+--------------+--------------+--------------+------------+--------------------
             | 130 (1)  | 0 | checksum (2) | max resp (2) | reserved (2) | group (16) | version 2: 4 or more
             +----------+---+--------------+--------------+--------------+------------+--------------------
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from txtuntap.wire import icmp

QUERY = 130
REPORT = 143

#: The options of a hop-by-hop header with which every message goes, so that routers look at it (RFC 2711), and two
#: octets of padding.
ROUTER_ALERT = b"\x05\x02\x00\x00"
HOP_BY_HOP = bytes((icmp.PROTOCOL[16], 0)) + ROUTER_ALERT + b"\x01\x00"

_RECORD = struct.Struct("!BBH16s")
RECORD_LENGTH = _RECORD.size


def packReport(records: Sequence[tuple[int, bytes]], source: bytes, dest: bytes) -> bytes:
    """
    A report.

    @param records: type (as in L{txtuntap.wire.igmp}) and group of each.
    @param source: the packed address it leaves from; C{dest} the one it goes to.
    """
    body = b"".join(_RECORD.pack(kind, 0, 0, group) for kind, group in records)
    return icmp.pack(REPORT, 0, len(records), body, source, dest)


def parseQuery(message: bytes) -> tuple[float, bytes | None] | None:
    """
    @param message: the ICMPv6 message, which sums up.

    @return: within how many seconds to answer, and the group that is asked about, L{None} for all; or L{None} if the
        message is no query.
    """
    if message[0] != QUERY or message[1] or len(message) < 24 or 24 < len(message) < 28:
        return None
    code = int.from_bytes(message[4:6], "big")
    if code >= 32768 and len(message) > 24:
        code = (code & 0x0FFF | 0x1000) << ((code >> 12 & 7) + 3)
    group = message[8:24]
    return code / 1000, group if any(group) else None
