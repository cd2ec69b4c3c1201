"""
Sequence numbers (RFC 9293 section 3.4).

A sequence number on the wire has 32 bits and wraps. A connection counts in I{positions}: the SYN has position 0, the
first octet of data 1, and so on without an end. Numbers become positions where a segment comes in, and positions become
numbers where one goes out, so everything between compares plain integers.
"""

from __future__ import annotations

_MASK = 0xFFFFFFFF
_HALF = 0x80000000


def wrapped(position: int, initial: int) -> int:
    """
    The sequence number of a position.

    @param initial: the sequence number of position 0.
    """
    return (initial + position) & _MASK


def unwrapped(sequence: int, initial: int, near: int) -> int:
    """
    The position of a sequence number: of all that have this number, the one nearest to C{near}.
    """
    return near + ((sequence - initial - near + _HALF) & _MASK) - _HALF


def difference(one: int, other: int) -> int:
    """
    How far one 32-bit number is ahead of another, such as a timestamp; negative if it is behind.
    """
    return ((one - other + _HALF) & _MASK) - _HALF
