"""
The Internet checksum of IP, TCP, UDP and ICMP. Read RFC 1071 sections 1 and 2 first.

The octets are read as one big integer. The ones' complement sum of its 16-bit words equals the integer modulo 0xffff,
because 2**16 modulo 0xffff is 1. One big integer and one division are several times faster than a loop over the words.

A division takes several times as long as an addition of the same length. So a long integer is folded first: its upper
half is shifted down by a multiple of 16 bits and added to the lower half. The remainder modulo 0xffff stays the same.
"""

from __future__ import annotations

#: The number of octets from which on folding before the division is faster than the division alone.
FOLD_FROM = 600

#: The numbers of bits to fold at, in this order, each with the mask of the bits below. The first is enough for 64 KiB.
_FOLDS = [(1 << power, (1 << (1 << power)) - 1) for power in range(18, 9, -1)]


def fold(number: int) -> int:
    """
    Fold an integer to about a thousand bits. The remainder modulo 0xffff stays the same.

    @param number: the octets as one integer.
    """
    for bits, below in _FOLDS:
        if number > below:
            number = (number >> bits) + (number & below)
    return number


def onesSum(data: bytes) -> int:
    """
    Compute the ones' complement sum of the big-endian 16-bit words of C{data}. A zero octet pads an odd length.

    @return: 0 to 0xfffe. Ones' complement has two zeros, 0 and 0xffff; the result 0 stands for both.
    """
    total = int.from_bytes(data, "big")
    if len(data) & 1:
        total <<= 8
    return (total if len(data) < FOLD_FROM else fold(total)) % 0xFFFF


def checksum(data: bytes) -> int:
    """
    Compute the value of a checksum field. In C{data}, the field itself has to be zero.

    @return: 0 to 0xfffe. UDP sends 0xffff in place of 0 (RFC 768).
    """
    return -onesSum(data) % 0xFFFF
