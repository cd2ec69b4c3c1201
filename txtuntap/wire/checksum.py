"""
The Internet checksum (RFC 1071).

The ones' complement sum of 16-bit words is the number they spell, modulo 0xffff: 2**16 leaves 1, so every word counts
once wherever it stands. One big integer and one division do what a loop over the words would, several times faster.

A division takes several times as long as an addition of the same length. So a long number is first folded: its upper
half, moved down by a multiple of 16 bits, is the same number of words in other places, and is added to the lower.
"""

from __future__ import annotations

#: From this many octets on, folding is faster than dividing at once.
FOLD_FROM = 600

#: Bits to fold at, the most that 64 KiB and an addition's carry need first; and the mask for what is below.
_FOLDS = [(1 << power, (1 << (1 << power)) - 1) for power in range(18, 9, -1)]


def fold(number: int) -> int:
    """
    A number of about a thousand bits with the same remainder modulo 0xffff.

    @param number: octets as a number.
    """
    for bits, below in _FOLDS:
        if number > below:
            number = (number >> bits) + (number & below)
    return number


def onesSum(data: bytes) -> int:
    """
    Sum C{data} as big-endian 16-bit words in ones' complement, an odd last octet padded with a zero.

    @return: 0 to 0xfffe, where 0 stands for both zeros of ones' complement.
    """
    total = int.from_bytes(data, "big")
    if len(data) & 1:
        total <<= 8
    return (total if len(data) < FOLD_FROM else fold(total)) % 0xFFFF


def checksum(data: bytes) -> int:
    """
    The value for a checksum field, computed over C{data} in which that field is zero.

    @return: 0 to 0xfffe. (UDP sends 0xffff in place of 0: RFC 768.)
    """
    return -onesSum(data) % 0xFFFF
