"""
The two MACs of handshake messages, and the cookies that prove an address while a peer is under load.

Read the whitepaper, sections 5.3, 5.4.4 and 5.4.7, first.
"""

from __future__ import annotations

import struct
from hmac import compare_digest
from random import Random
from typing import Final

from txtuntap.wire.wireguard import COOKIE_REPLY, COOKIE_REPLY_BODY, MAC_LENGTH
from txtuntap.wireguard import xchacha
from txtuntap.wireguard.noise import digest, mac

#: Seconds for which a cookie is good, and after which a secret that makes cookies is replaced.
COOKIE_LIFE: Final = 120.0

#: Seconds before its end at which a cookie is used no more, since the message is under way for a time.
COOKIE_LATENCY: Final = 5.0

#: Replies whose nonces begin alike: the key for that beginning takes 60 us to derive, 30 times as long as all else.
_REPLIES_OF_START: Final = 4096

_BOTH_MACS: Final = 2 * MAC_LENGTH

_counter = struct.Struct("<Q").pack


class CookieChecker:
    """
    The MACs of handshake messages that come, and the cookies that answer them.
    """

    def __init__(self, public: bytes, secrets: Random) -> None:
        """
        @param public: our public key.
        @param secrets: the source of secrets and nonces.
        """
        self._macKey = digest(b"mac1----" + public)
        self._cookieKey = digest(b"cookie--" + public)
        self._secrets = secrets
        self._secret = b""
        self._secretAt = float("-inf")
        self._start = b""
        self._replies = _REPLIES_OF_START

    def isForUs(self, message: bytes) -> bool:
        """
        Whether the first MAC of a handshake message is right: its sender knows our public key.
        """
        return compare_digest(mac(self._macKey, message[:-_BOTH_MACS]), message[-_BOTH_MACS:-MAC_LENGTH])

    def provesAddress(self, message: bytes, source: bytes, now: float) -> bool:
        """
        Whether the second MAC of a handshake message is right: its sender has had a cookie at the address.

        @param source: octets that tell the sender's address and port.
        """
        if now - self._secretAt >= COOKIE_LIFE:
            return False
        cookie = mac(self._secret, source)
        return compare_digest(mac(cookie, message[:-MAC_LENGTH]), message[-MAC_LENGTH:])

    def reply(self, message: bytes, sender: int, source: bytes, now: float) -> bytes:
        """
        Answer a handshake message by a cookie.

        @param sender: the index of its sender.
        @param source: octets that tell the sender's address and port.
        """
        if now - self._secretAt >= COOKIE_LIFE:
            self._secret = self._octets(32)
            self._secretAt = now
        if self._replies == _REPLIES_OF_START:
            self._start = self._octets(16)
            self._replies = 0
        # A nonce that is never the same: its first part is random, its second a number.
        nonce = self._start + _counter(self._replies)
        self._replies += 1
        sealed = xchacha.seal(self._cookieKey, nonce, mac(self._secret, source), message[-_BOTH_MACS:-MAC_LENGTH])
        return COOKIE_REPLY_BODY.pack(COOKIE_REPLY, sender, nonce, sealed)

    def _octets(self, number: int) -> bytes:
        return self._secrets.getrandbits(8 * number).to_bytes(number, "little")


class CookieHolder:
    """
    The MACs of handshake messages that are sent to one peer, and the latest cookie that it has sent.
    """

    __slots__ = ("_cookie", "_cookieAt", "_cookieKey", "_mac", "_macKey")

    def __init__(self, public: bytes) -> None:
        """
        @param public: the public key of the peer.
        """
        self._macKey = digest(b"mac1----" + public)
        self._cookieKey = digest(b"cookie--" + public)
        # The first MAC of the latest message, as long as no cookie has answered it.
        self._mac: bytes | None = None
        self._cookie = b""
        self._cookieAt = float("-inf")

    def sign(self, body: bytes, now: float) -> bytes:
        """
        Add both MACs to a handshake message. The second one is of zeros where there is no cookie.
        """
        self._mac = mac(self._macKey, body)
        message = body + self._mac
        if now - self._cookieAt >= COOKIE_LIFE - COOKIE_LATENCY:
            return message + bytes(MAC_LENGTH)
        return message + mac(self._cookie, message)

    def replied(self, message: bytes, now: float) -> bool:
        """
        Take the peer's cookie, for the messages that follow. One reply is taken for each message that was sent.

        @return: whether the reply is authentic.
        """
        if self._mac is None:
            return False
        *_, nonce, sealed = COOKIE_REPLY_BODY.unpack(message)
        cookie = xchacha.unseal(self._cookieKey, nonce, sealed, self._mac)
        if cookie is None:
            return False
        self._cookie, self._cookieAt = cookie, now
        self._mac = None
        return True
