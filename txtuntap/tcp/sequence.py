"""
Sequence numbers, and the positions that a connection uses instead. Read RFC 9293 section 3.4 first.

A sequence number on the wire has 32 bits and wraps. A connection counts in I{positions}, which never wrap: the SYN has
position 0, the first octet of data has position 1, and so on. Sequence numbers are converted to positions when a
segment is received, and positions to sequence numbers when one is sent. So all code between compares plain integers.
"""

from __future__ import annotations

_MASK = 0xFFFFFFFF
_HALF = 0x80000000


def wrapped(position: int, initial: int) -> int:
    """
    Convert a position to a sequence number.

    @param initial: the sequence number of position 0.
    """
    return (initial + position) & _MASK


def unwrapped(sequence: int, initial: int, near: int) -> int:
    """
    Convert a sequence number to a position. Many positions have this number, and the one nearest to C{near} is
    returned.

    @param initial: the sequence number of position 0.
    """
    return near + ((sequence - initial - near + _HALF) & _MASK) - _HALF


def difference(one: int, other: int) -> int:
    """
    Return how far one sequence number or timestamp of 32 bits is ahead of another. The result is negative if it is
    behind.
    """
    return ((one - other + _HALF) & _MASK) - _HALF
