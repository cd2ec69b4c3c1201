"""
The Internet checksum of IP, TCP, UDP and ICMP. Read RFC 1071 sections 1 and 2 first.

The octets are read as one big integer. The ones' complement sum of its 16-bit words equals the integer modulo 0xffff,
because 2**16 modulo 0xffff is 1. One big integer and one division are several times faster than a loop over the words.

A division takes several times as long as an addition of the same length. So long data is read as two halves, which are
added, and their sum is folded: its upper half is shifted down by a multiple of 16 bits and added to the lower half. The
remainder modulo 0xffff stays the same.
"""

from __future__ import annotations

#: The number of octets from which on folding before the division is faster than the division alone.
FOLD_FROM = 600

#: The greatest integers of so many bits.
_BITS_1024, _BITS_2048, _BITS_4096 = ((1 << bits) - 1 for bits in (1024, 2048, 4096))

#: The numbers of bits to fold longer integers at, in this order, each with the mask of the bits below. The first is
#: enough for 64 KiB.
_FOLDS = [(1 << power, (1 << (1 << power)) - 1) for power in range(18, 12, -1)]

_number = int.from_bytes


def foldedSum(data: bytes, start: int, end: int) -> int:
    """
    Add up the big-endian 16-bit words of long data. A zero octet pads an odd length.

    @param start: the position of the first octet.
    @param end: the position behind the last octet.

    @return: an integer of about a thousand bits, whose remainder modulo 0xffff is the ones' complement sum.
    """
    middle = start + (end - start >> 2 << 1)
    second = _number(data[middle:end], "big")
    if end - start & 1:
        second <<= 8
    total = _number(data[start:middle], "big") + second
    # The steps for the length of most packets are written out, because a loop over all of them takes longer.
    if total > _BITS_4096:
        if end - start > 2048:
            for bits, below in _FOLDS:
                if total > below:
                    total = (total >> bits) + (total & below)
        total = (total >> 4096) + (total & _BITS_4096)
    if total > _BITS_2048:
        total = (total >> 2048) + (total & _BITS_2048)
    return (total >> 1024) + (total & _BITS_1024)


def onesSum(data: bytes) -> int:
    """
    Compute the ones' complement sum of the big-endian 16-bit words of C{data}. A zero octet pads an odd length.

    @return: 0 to 0xfffe. Ones' complement has two zeros, 0 and 0xffff; the result 0 stands for both.
    """
    if len(data) >= FOLD_FROM:
        return foldedSum(data, 0, len(data)) % 0xFFFF
    total = _number(data, "big")
    return (total << 8 if len(data) & 1 else total) % 0xFFFF


def checksum(data: bytes) -> int:
    """
    Compute the value of a checksum field. In C{data}, the field itself has to be zero.

    @return: 0 to 0xfffe. UDP sends 0xffff in place of 0 (RFC 768).
    """
    return -onesSum(data) % 0xFFFF
