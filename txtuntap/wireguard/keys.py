"""
Keys of WireGuard: private, public, and shared in advance; and their text.
"""

from __future__ import annotations

import base64
import binascii
from functools import cached_property
from random import Random, SystemRandom
from typing import Any

from txtuntap.wire.wireguard import KEY_LENGTH
from txtuntap.wireguard.needs import X25519PrivateKey, X25519PublicKey

_SYSTEM = SystemRandom()

#: The preshared key of peers that have none.
NO_PRESHARED_KEY = bytes(KEY_LENGTH)


def keyOctets(value: Any, what: str) -> bytes:
    """
    Read a key: 32 octets, or their text in base64, as C{wg genkey} writes it.

    @param what: the name of the key, for the message.

    @raise ValueError: C{value} is no key. The message does not repeat it, because it may be a secret.
    """
    if isinstance(value, (bytes, bytearray, memoryview)) and len(value) == KEY_LENGTH:
        return bytes(value)
    if isinstance(value, str):
        try:
            key = base64.b64decode(value.strip(), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        # Unused bits of the last character must be zero, so a key has one text only.
        if len(key) == KEY_LENGTH and keyText(key) == value.strip():
            return key
    raise ValueError(f"{what} is 32 octets, or 44 characters of base64 as `wg genkey` writes them")


def keyText(key: bytes) -> str:
    """
    Write a key in base64: 44 characters.
    """
    return base64.b64encode(key).decode("ascii")


class PrivateKey:
    """
    A private key of X25519. Its text appears in no C{repr} and in no error.

    @ivar public: the public key that belongs to it, 32 octets.
    """

    def __init__(self, key: Any) -> None:
        """
        @param key: 32 octets, their text in base64, or another C{PrivateKey}.

        @raise ValueError: C{key} is no key.
        """
        self._octets: bytes = clamped(key.secret() if isinstance(key, PrivateKey) else keyOctets(key, "a private key"))
        self._key = X25519PrivateKey.from_private_bytes(self._octets)

    def __repr__(self) -> str:
        return f"<PrivateKey of {keyText(self.public)}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PrivateKey) and self.public == other.public

    def __hash__(self) -> int:
        return hash(self.public)

    @classmethod
    def generate(cls, secrets: Random = _SYSTEM) -> PrivateKey:
        """
        Make a new private key.

        @param secrets: the source of its octets: by default, that of the system.
        """
        return cls(secrets.getrandbits(8 * KEY_LENGTH).to_bytes(KEY_LENGTH, "little"))

    @cached_property
    def public(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def secret(self) -> bytes:
        """
        Return the 32 octets of the key itself, which must reach no log.
        """
        return self._octets

    def exchange(self, public: bytes) -> bytes:
        """
        Agree on a shared secret by X25519 (RFC 7748).

        @param public: the public key of the other end.

        @return: 32 octets.

        @raise ValueError: C{public} has a low order: the secret would be zero whatever the private key is.
        """
        return self._key.exchange(X25519PublicKey.from_public_bytes(public))


def clamped(key: bytes) -> bytes:
    """
    Set the bits of a private key that X25519 gives a fixed value (RFC 7748 section 5).
    """
    return bytes([key[0] & 248, *key[1:31], key[31] & 127 | 64])
