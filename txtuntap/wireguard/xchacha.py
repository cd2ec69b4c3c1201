"""
XChaCha20-Poly1305, which seals cookies: C{cryptography} has it not, so its nonce of 24 octets is split here.

Read draft-irtf-cfrg-xchacha-03 section 2 first.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final

from txtuntap.wireguard.needs import ChaCha20Poly1305, InvalidTag

#: The octets of a nonce, and those of it that choose the key of ChaCha20.
NONCE_LENGTH: Final = 24
_KEY_PART: Final = 16

_CONSTANTS: Final = struct.unpack("<4I", b"expand 32-byte k")
_MASK: Final = 0xFFFFFFFF

#: The positions of the four words of each quarter round: columns first, then diagonals.
_QUARTERS: Final = (
    *((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)),
    *((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)),
)

_words8 = struct.Struct("<8I")
_words4 = struct.Struct("<4I")


@lru_cache(4)
def subkey(key: bytes, start: bytes) -> bytes:
    """
    Derive the key of ChaCha20 for nonces that begin alike (HChaCha20). Some 60 us; the latest ones are kept.

    @param key: 32 octets.
    @param start: the first 16 octets of the nonce.
    """
    state = [*_CONSTANTS, *_words8.unpack(key), *_words4.unpack(start)]
    for _ in range(10):
        for a, b, c, d in _QUARTERS:
            one, two, three, four = state[a], state[b], state[c], state[d]
            one = (one + two) & _MASK
            four ^= one
            four = (four << 16 | four >> 16) & _MASK
            three = (three + four) & _MASK
            two ^= three
            two = (two << 12 | two >> 20) & _MASK
            one = (one + two) & _MASK
            four ^= one
            four = (four << 8 | four >> 24) & _MASK
            three = (three + four) & _MASK
            two ^= three
            two = (two << 7 | two >> 25) & _MASK
            state[a], state[b], state[c], state[d] = one, two, three, four
    return _words8.pack(*state[:4], *state[12:])


def seal(key: bytes, nonce: bytes, data: bytes, associated: bytes) -> bytes:
    """
    Encrypt and authenticate octets.

    @param key: 32 octets.
    @param nonce: 24 octets, never used with this key before.
    @param associated: octets that are authenticated, too.

    @return: 16 octets more than C{data} has.
    """
    cipher = ChaCha20Poly1305(subkey(key, nonce[:_KEY_PART]))
    return cipher.encrypt(bytes(4) + nonce[_KEY_PART:], data, associated)


def unseal(key: bytes, nonce: bytes, data: bytes, associated: bytes) -> bytes | None:
    """
    Decrypt what L{seal} has made.

    @return: C{None} if it is not authentic.
    """
    cipher = ChaCha20Poly1305(subkey(key, nonce[:_KEY_PART]))
    try:
        return cipher.decrypt(bytes(4) + nonce[_KEY_PART:], data, associated)
    except InvalidTag:
        return None
