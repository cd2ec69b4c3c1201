"""
IGMPv3 for IPv4 groups (RFC 3376 section 4): reports, and queries of all three versions.

    report   +-----------+---+--------------+--------------+------------+----------------------------
             | 0x22 (1)  | 0 | checksum (2) | reserved (2) | count (2)  | records: type (1), 0 (1),
             +-----------+---+--------------+--------------+------------+   sources (2), group (4)

    query    +-----------+--------------+--------------+-----------+---------------------
             | 0x11 (1)  | max resp (1) | checksum (2) | group (4) | version 3: 4 or more
             +-----------+--------------+--------------+-----------+---------------------
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from txtuntap.wire.checksum import checksum, onesSum

PROTOCOL = 2

QUERY = 0x11
REPORT = 0x22

#: Types of group record (section 4.2.12), which MLDv2 has too (RFC 3810 section 5.2.12). Without sources, "exclude" is
#: to listen to all of them, and "include" to none: to have left.
IS_EXCLUDE = 2
TO_INCLUDE = 3
TO_EXCLUDE = 4

#: Every message goes by it, so that routers look at what is not for them (RFC 2113).
ROUTER_ALERT = b"\x94\x04\x00\x00"

_HEADER = struct.Struct("!BBHHH")
_RECORD = struct.Struct("!BBH4s")
RECORD_LENGTH = _RECORD.size
HEADER_LENGTH = _HEADER.size

#: Version 1 does not say how long an answer may take (section 7.2.1).
_VERSION_1_DELAY = 10.0


def packReport(records: Sequence[tuple[int, bytes]]) -> bytes:
    """
    A report.

    @param records: type and group of each.
    """
    body = b"".join(_RECORD.pack(kind, 0, 0, group) for kind, group in records)
    total = checksum(_HEADER.pack(REPORT, 0, 0, 0, len(records)) + body)
    return _HEADER.pack(REPORT, 0, total, 0, len(records)) + body


def parseQuery(message: bytes, verifyChecksum: bool = True) -> tuple[float, bytes | None] | None:
    """
    @param verifyChecksum: whether a message has to sum up.

    @return: within how many seconds to answer, and the group that is asked about, L{None} for all; or L{None} if the
        message is no query, or does not sum up.
    """
    if len(message) < 8 or message[0] != QUERY or 8 < len(message) < 12:
        return None
    if verifyChecksum and onesSum(message):
        return None
    code = message[1]
    if not code and len(message) == 8:
        delay = _VERSION_1_DELAY
    elif code < 128 or len(message) == 8:
        delay = code / 10
    else:
        delay = ((code & 0x0F | 0x10) << ((code >> 4 & 7) + 3)) / 10
    group = message[4:8]
    return delay, group if any(group) else None
