"""
The Internet checksum (RFC 1071).

The ones' complement sum of 16-bit words is the number they spell, modulo 0xffff: 2**16 leaves 1, so every word counts
once wherever it stands. One big integer and one division do what a loop over the words would, several times faster.
"""

from __future__ import annotations


def onesSum(data: bytes) -> int:
    """
    Sum C{data} as big-endian 16-bit words in ones' complement, an odd last octet padded with a zero.

    @return: 0 to 0xfffe, where 0 stands for both zeros of ones' complement.
    """
    total = int.from_bytes(data, "big")
    if len(data) & 1:
        total <<= 8
    return total % 0xFFFF


def checksum(data: bytes) -> int:
    """
    The value for a checksum field, computed over C{data} in which that field is zero.

    @return: 0 to 0xfffe. (UDP sends 0xffff in place of 0: RFC 768.)
    """
    return -onesSum(data) % 0xFFFF
