"""
Timestamps of initiations: TAI64N, 12 octets that are compared as octets.
"""

from __future__ import annotations

import struct

#: The label of TAI64: seconds since the beginning of 1970 (10 of them leap seconds before 1972) are added to it.
_EPOCH = 0x400000000000000A

#: The bits of the nanoseconds that stay 0, so that a peer does not learn the exact clock: steps of 16.8 ms.
_HIDDEN = 0xFFFFFF

_pack = struct.Struct(">QI").pack


def timestamp(seconds: float) -> bytes:
    """
    Write a time of the wall clock as TAI64N. Two times that are less than 16.8 ms apart may be the same.

    @param seconds: since 1970.
    """
    nanoseconds = max(0, int(seconds * 1_000_000_000))
    return _pack(_EPOCH + nanoseconds // 1_000_000_000, nanoseconds % 1_000_000_000 & ~_HIDDEN)


def after(earlier: bytes) -> bytes:
    """
    The first timestamp that is later than another one.
    """
    seconds, nanoseconds = struct.unpack(">QI", earlier)
    nanoseconds += _HIDDEN + 1
    if nanoseconds >= 1_000_000_000:
        seconds, nanoseconds = seconds + 1, 0
    return _pack(seconds, nanoseconds)
