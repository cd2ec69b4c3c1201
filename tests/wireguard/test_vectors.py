"""
A whole handshake that wireguard-go accepts, octet by octet.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.layer.counters import Counters
from txtuntap.wire.wireguard import COOKIE_REPLY, COOKIE_REPLY_BODY
from txtuntap.wireguard import xchacha
from txtuntap.wireguard.cookies import CookieChecker, CookieHolder
from txtuntap.wireguard.handshake import (
    Initiated,
    SessionKeys,
    createInitiation,
    createResponse,
    readInitiation,
    readIntroduction,
    readResponse,
)
from txtuntap.wireguard.keys import PrivateKey
from txtuntap.wireguard.noise import FIRST_CHAIN_KEY, FIRST_HASH, derive, mac
from txtuntap.wireguard.session import REJECT_AFTER_MESSAGES, Session

_VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "handshake.json").read_text())


def vector(name: str) -> bytes:
    """
    The octets of a vector.
    """
    return bytes.fromhex(_VECTORS[name])


INITIATOR, RESPONDER, EPHEMERAL_I, EPHEMERAL_R = (
    PrivateKey(vector(name)) for name in ("static_i", "static_r", "eph_i", "eph_r")
)
INDEX_I, INDEX_R = (int(_VECTORS[name], 16) for name in ("index_i", "index_r"))


class HandshakeTests(SynchronousTestCase):
    """
    The initiation, the response, and the keys that follow.
    """

    def initiation(self) -> tuple[bytes, Initiated]:
        """
        The first message, and the state of the end that has sent it.
        """
        shared = INITIATOR.exchange(RESPONDER.public)
        return createInitiation(INITIATOR, RESPONDER.public, shared, EPHEMERAL_I, INDEX_I, vector("timestamp"))

    def response(self) -> tuple[bytes, SessionKeys]:
        """
        The answer, and the keys of the end that has sent it.
        """
        introduction = readIntroduction(RESPONDER, vector("initiation"))
        assert introduction is not None
        self.assertEqual(introduction.static, INITIATOR.public)
        read = readInitiation(introduction, RESPONDER.exchange(INITIATOR.public))
        assert read is not None
        timestamp, state = read
        self.assertEqual(timestamp, vector("timestamp"))
        return createResponse(state, INITIATOR.public, vector("psk"), EPHEMERAL_R, INDEX_R)

    def test_theFirstHashes(self) -> None:
        self.assertEqual(FIRST_CHAIN_KEY, vector("initial_chain_key"))
        self.assertEqual(FIRST_HASH, vector("initial_hash"))

    def test_publicKeys(self) -> None:
        self.assertEqual(INITIATOR.public, vector("static_i_pub"))
        self.assertEqual(EPHEMERAL_R.public, vector("eph_r_pub"))

    def test_anInitiationIsMade(self) -> None:
        body, state = self.initiation()
        self.assertEqual(CookieHolder(RESPONDER.public).sign(body, 0.0), vector("initiation"))
        self.assertEqual(state.hash, vector("after_initiation_hash"))
        self.assertEqual(state.chainKey, vector("after_initiation_chain_key"))

    def test_aResponseIsMade(self) -> None:
        body, keys = self.response()
        self.assertEqual(CookieHolder(INITIATOR.public).sign(body, 0.0), vector("response"))
        self.assertEqual((keys.receiving, keys.sending), (vector("key_i_to_r"), vector("key_r_to_i")))

    def test_aResponseIsRead(self) -> None:
        _, state = self.initiation()
        read = readResponse(state, INITIATOR, vector("psk"), vector("response"))
        assert read is not None
        index, keys = read
        self.assertEqual(index, INDEX_R)
        self.assertEqual((keys.sending, keys.receiving), (vector("key_i_to_r"), vector("key_r_to_i")))

    def test_anotherPresharedKeyIsRefused(self) -> None:
        _, state = self.initiation()
        self.assertIsNone(readResponse(state, INITIATOR, bytes(32), vector("response")))

    def test_eachOctetOfAHandshakeIsAuthenticated(self) -> None:
        # But for the type, the sender's own index and the MACs, which other functions look at.
        message = vector("initiation")
        for position in range(8, 116):
            introduction = readIntroduction(RESPONDER, _spoiled(message, position))
            if introduction is not None:
                self.assertGreaterEqual(position, 88)
                self.assertIsNone(readInitiation(introduction, RESPONDER.exchange(INITIATOR.public)), position)
        _, state = self.initiation()
        for position in range(12, 60):
            self.assertIsNone(readResponse(state, INITIATOR, vector("psk"), _spoiled(vector("response"), position)))

    def test_keysOfLowOrderAreRefused(self) -> None:
        lowOrder = bytes(32)
        message = bytearray(vector("initiation"))
        message[8:40] = lowOrder
        self.assertIsNone(readIntroduction(RESPONDER, bytes(message)))
        _, state = self.initiation()
        answer = bytearray(vector("response"))
        answer[12:44] = lowOrder
        self.assertIsNone(readResponse(state, INITIATOR, vector("psk"), bytes(answer)))
        self.assertRaises(ValueError, INITIATOR.exchange, lowOrder)

    def test_derivation(self) -> None:
        # The value is that of wireguard-go's own test.
        first, *_ = derive(b"test-key", b"test-input", 1)
        self.assertEqual(first.hex()[:8], "6f0e5ad3")


class DataTests(SynchronousTestCase):
    """
    Data messages under the keys of the handshake.
    """

    def session(self, isInitiator: bool) -> Session:
        """
        The session of one end.
        """
        keys = vector("key_i_to_r"), vector("key_r_to_i")
        sending, receiving = keys if isInitiator else keys[::-1]
        local, remote = (INDEX_I, INDEX_R) if isInitiator else (INDEX_R, INDEX_I)
        return Session(SessionKeys(sending, receiving), local, remote, isInitiator, 0.0)

    def test_messagesAreMade(self) -> None:
        session = self.session(True)
        inner = vector("inner")
        self.assertEqual(session.seal([b"", inner], 1420), [vector("keepalive_i_0"), vector("data_i_1")])

    def test_messagesAreRead(self) -> None:
        counters = Counters()
        self.assertEqual(self.session(False).unseal([(0, vector("keepalive_i_0"))], counters), [b""])
        (data,) = self.session(True).unseal([(0, vector("data_r_0"))], counters)
        self.assertEqual(len(data) % 16, 0)
        self.assertEqual(counters, {})

    def test_onlyMessagesThatAreRefusedAreLeftOut(self) -> None:
        counters = Counters()
        messages = list(map(bytes, self.session(True).seal([b"a" * 16, b"b" * 16, b"c" * 16], 1420)))
        forged = _spoiled(messages[1], 20)
        run = [(0, messages[0]), (1, forged), (0, messages[0]), (REJECT_AFTER_MESSAGES, messages[2]), (2, messages[2])]
        self.assertEqual(self.session(False).unseal(run, counters), [b"a" * 16, b"c" * 16])
        self.assertEqual(counters, {"inUnauthentic": 1, "inReplays": 1, "inExpired": 1})

    def test_eachOctetIsAuthenticated(self) -> None:
        message = vector("data_i_1")
        for position in range(16, len(message)):
            self.assertEqual(self.session(False).unseal([(1, _spoiled(message, position))], Counters()), [])
        self.assertEqual(self.session(False).unseal([(2, message)], Counters()), [])


class CookieTests(SynchronousTestCase):
    """
    Cookies, and the cipher that seals them.
    """

    def test_aReplyIsTaken(self) -> None:
        holder = CookieHolder(RESPONDER.public)
        body = vector("initiation")[:-32]
        holder.sign(body, 0.0)
        self.assertTrue(holder.replied(vector("cookie_reply_to_initiation"), 0.0))
        self.assertEqual(holder.sign(body, 1.0)[-16:], vector("mac2_of_initiation"))

    def test_aReplyIsSealed(self) -> None:
        cookie = mac(vector("cookie_secret"), vector("cookie_source"))
        self.assertEqual(cookie, vector("cookie"))
        key, nonce = vector("cookie_key_for_r"), vector("cookie_nonce")
        sealed = xchacha.seal(key, nonce, cookie, vector("initiation")[-32:-16])
        self.assertEqual(
            COOKIE_REPLY_BODY.pack(COOKIE_REPLY, INDEX_I, nonce, sealed), vector("cookie_reply_to_initiation")
        )

    def test_aSpoiledReplyIsRefused(self) -> None:
        reply = vector("cookie_reply_to_initiation")
        for position in range(8, 64):
            holder = CookieHolder(RESPONDER.public)
            holder.sign(vector("initiation")[:-32], 0.0)
            self.assertFalse(holder.replied(_spoiled(reply, position), 0.0))

    def test_oneReplyIsTakenForAMessage(self) -> None:
        holder = CookieHolder(RESPONDER.public)
        reply = vector("cookie_reply_to_initiation")
        self.assertFalse(holder.replied(reply, 0.0))
        holder.sign(vector("initiation")[:-32], 0.0)
        self.assertTrue(holder.replied(reply, 0.0))
        self.assertFalse(holder.replied(reply, 0.0))

    def test_theSubkey(self) -> None:
        # draft-irtf-cfrg-xchacha-03 section 2.2.1
        start = bytes.fromhex("000000090000004a0000000031415927")
        self.assertEqual(
            xchacha.subkey(bytes(range(32)), start).hex(),
            "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc",
        )

    def test_addressesAreProved(self) -> None:
        checker, holder = CookieChecker(RESPONDER.public, Random(1)), CookieHolder(RESPONDER.public)
        body = vector("initiation")[:-32]
        here, elsewhere = b"\xc0\0\2\1\xca\x6c", b"\xc0\0\2\2\xca\x6c"
        message = holder.sign(body, 0.0)
        self.assertTrue(checker.isForUs(message))
        self.assertFalse(checker.provesAddress(message, here, 0.0))
        self.assertTrue(holder.replied(checker.reply(message, INDEX_I, here, 0.0), 0.0))
        proved = holder.sign(body, 5.0)
        self.assertTrue(checker.provesAddress(proved, here, 5.0))
        self.assertFalse(checker.provesAddress(proved, elsewhere, 5.0))
        # The secret is replaced, and the end that holds the cookie uses it no more in time.
        self.assertFalse(checker.provesAddress(proved, here, 120.0))
        self.assertEqual(holder.sign(body, 115.0)[-16:], bytes(16))

    def test_noncesAreNeverTheSame(self) -> None:
        checker, message = CookieChecker(RESPONDER.public, Random(1)), vector("initiation")
        nonces = {checker.reply(message, 1, b"", 0.0)[8:32] for _ in range(5000)}
        self.assertEqual(len(nonces), 5000)

    def test_messagesAreForOneKey(self) -> None:
        self.assertFalse(CookieChecker(INITIATOR.public, Random(1)).isForUs(vector("initiation")))
        self.assertTrue(CookieChecker(RESPONDER.public, Random(1)).isForUs(vector("initiation")))
        self.assertEqual(struct.unpack_from("<I", vector("initiation"), 4), (INDEX_I,))


def _spoiled(message: bytes, position: int) -> bytes:
    spoiled = bytearray(message)
    spoiled[position] ^= 1
    return bytes(spoiled)
