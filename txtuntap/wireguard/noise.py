"""
The cryptography that all messages of WireGuard share: hashes, key derivation, authenticated encryption.

Read the whitepaper, section 5.4, and "The Noise Protocol Framework", sections 4 and 5, first.
"""

from __future__ import annotations

import hashlib
from typing import Final

from txtuntap.wireguard.needs import ChaCha20Poly1305, InvalidTag

#: The octets of a block of BLAKE2s, which HMAC pads its key to.
_BLOCK: Final = 64
_INNER: Final = bytes(each ^ 0x36 for each in range(256))
_OUTER: Final = bytes(each ^ 0x5C for each in range(256))

_blake2s = hashlib.blake2s


def digest(data: bytes) -> bytes:
    """
    Hash octets by BLAKE2s, to 32 octets.
    """
    return _blake2s(data).digest()


def mac(key: bytes, data: bytes) -> bytes:
    """
    Authenticate octets by keyed BLAKE2s (not HMAC), by 16 octets.

    @param key: 32 octets, or the 16 of a cookie.
    """
    return _blake2s(data, key=key, digest_size=16).digest()


def hmac(key: bytes, data: bytes) -> bytes:
    """
    Authenticate octets by HMAC-BLAKE2s, by 32 octets. Only the key derivation has it.

    @param key: no more than 64 octets.
    """
    # Python's own hmac takes half as long again.
    block = key.ljust(_BLOCK, b"\0")
    return _blake2s(block.translate(_OUTER) + _blake2s(block.translate(_INNER) + data).digest()).digest()


def derive(chainKey: bytes, data: bytes, number: int) -> tuple[bytes, ...]:
    """
    Derive keys of 32 octets from a chaining key and new key material (HKDF, RFC 5869).

    @param number: how many keys: 1, 2 or 3.
    """
    secret = hmac(chainKey, data)
    keys: list[bytes] = []
    before = b""
    for each in range(1, number + 1):
        before = hmac(secret, before + bytes([each]))
        keys.append(before)
    return tuple(keys)


def seal(key: bytes, data: bytes, associated: bytes) -> bytes:
    """
    Encrypt and authenticate octets by ChaCha20-Poly1305, under a key that seals nothing else.

    @param associated: octets that are authenticated, too.

    @return: 16 octets more than C{data} has.
    """
    return ChaCha20Poly1305(key).encrypt(_NONCE, data, associated)


def unseal(key: bytes, data: bytes, associated: bytes) -> bytes | None:
    """
    Decrypt what L{seal} has made.

    @return: C{None} if it is not authentic.
    """
    try:
        return ChaCha20Poly1305(key).decrypt(_NONCE, data, associated)
    except InvalidTag:
        return None


#: The nonce of a key that is used once: four octets of zeros, and a counter of 0.
_NONCE: Final = bytes(12)

#: The first chaining key and hash of every handshake (section 5.4.1).
CONSTRUCTION: Final = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
IDENTIFIER: Final = b"WireGuard v1 zx2c4 Jason@zx2c4.com"
FIRST_CHAIN_KEY: Final = digest(CONSTRUCTION)
FIRST_HASH: Final = digest(FIRST_CHAIN_KEY + IDENTIFIER)
