"""
The small rooms of WireGuard: keys, timestamps, the replay window, sessions, endpoints, packets inside.
"""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.testing import ipPacket
from txtuntap.wire.checksum import onesSum
from txtuntap.wire.wireguard import COOKIE_REPLY, DATA, INITIATION, RESPONSE, messageType, padded
from txtuntap.wireguard.endpoint import Endpoint, endpointParts
from txtuntap.wireguard.handshake import SessionKeys
from txtuntap.wireguard.inner import congested, ecnOf
from txtuntap.wireguard.inner import ipPacket as readPacket
from txtuntap.wireguard.keys import PrivateKey, keyOctets, keyText
from txtuntap.wireguard.load import HANDSHAKE_BURST, MAX_SOURCES, SOURCE_BURST, Load
from txtuntap.wireguard.replay import WINDOW, ReplayWindow
from txtuntap.wireguard.session import REJECT_AFTER_MESSAGES, Session, Sessions
from txtuntap.wireguard.tai64n import after, timestamp

KEY = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="


class KeyTests(SynchronousTestCase):
    """
    Keys and their text.
    """

    def test_text(self) -> None:
        self.assertEqual(keyText(keyOctets(KEY, "a key")), KEY)
        self.assertEqual(keyOctets(f" {KEY}\n", "a key"), keyOctets(keyOctets(KEY, "a key"), "a key"))

    def test_otherTextIsRefusedAndNotRepeated(self) -> None:
        # The last one has unused bits that are not zero.
        for wrong in ("", "secret", KEY[:-1], KEY + "A", KEY[:-2] + "l=", 5, None, bytes(31)):
            with self.assertRaises(ValueError) as caught:
                keyOctets(wrong, "a private key")
            self.assertIn("a private key is 32 octets", str(caught.exception))
            if wrong not in ("", 5, None):
                self.assertNotIn(str(wrong), str(caught.exception))

    def test_aPrivateKeyIsShownNowhere(self) -> None:
        private = PrivateKey.generate(Random(1))
        for text in (repr(private), str(private), f"{private}"):
            self.assertNotIn(keyText(private.secret()), text)
            self.assertNotIn(private.secret().hex(), text)
            self.assertIn(keyText(private.public), text)

    def test_keysAreClamped(self) -> None:
        secret = PrivateKey(b"\xff" * 32).secret()
        self.assertEqual((secret[0], secret[31]), (0xF8, 0x7F))

    def test_bothEndsAgree(self) -> None:
        one, other = PrivateKey.generate(), PrivateKey.generate()
        self.assertEqual(one.exchange(other.public), other.exchange(one.public))
        self.assertNotEqual(one, other)
        self.assertEqual(one, PrivateKey(one))
        self.assertEqual(len({one, PrivateKey(one.secret()), other}), 2)


class TimestampTests(SynchronousTestCase):
    """
    Timestamps in the format TAI64N.
    """

    def test_theBeginning(self) -> None:
        self.assertEqual(timestamp(0).hex(), "400000000000000a00000000")

    def test_theClockIsNotTold(self) -> None:
        self.assertEqual(timestamp(1.0001), timestamp(1.0161))
        self.assertLess(timestamp(1.0001), timestamp(1.0201))

    @given(st.floats(0, 4e9))
    def test_after(self, seconds: float) -> None:
        later = after(timestamp(seconds))
        self.assertGreater(later, timestamp(seconds))
        self.assertLessEqual(later, timestamp(seconds + 0.04))


class ReplayTests(SynchronousTestCase):
    """
    The window of counters.
    """

    def test_theEdges(self) -> None:
        window = ReplayWindow()
        for counter in range(1, WINDOW + 1):
            self.assertTrue(window.accept(counter))
        self.assertTrue(window.accept(0))
        self.assertFalse(window.accept(0))
        self.assertTrue(window.accept(WINDOW + 1))
        self.assertFalse(window.accept(0))
        window = ReplayWindow()
        self.assertTrue(window.accept(WINDOW + 1))
        self.assertFalse(window.accept(0))
        self.assertTrue(window.accept(1))

    def test_farJumps(self) -> None:
        window = ReplayWindow()
        for counter in (0, 5, 1 << 40, (1 << 40) - WINDOW, REJECT_AFTER_MESSAGES - 1):
            self.assertTrue(window.accept(counter))
            self.assertFalse(window.accept(counter))
        self.assertFalse(window.accept(1 << 40))

    @given(st.lists(st.one_of(st.integers(0, 300), st.integers(WINDOW - 70, WINDOW + 70), st.integers(0, 40_000))))
    def test_asASetWouldDo(self, counters: list[int]) -> None:
        window, taken = ReplayWindow(), set[int]()
        for counter in counters:
            isNew = counter not in taken and (not taken or max(taken) - counter <= WINDOW)
            self.assertEqual(window.accept(counter), isNew, counter)
            if isNew:
                taken.add(counter)


class SessionTests(SynchronousTestCase):
    """
    The three sessions of a peer.
    """

    def session(self, isInitiator: bool, now: float = 0.0) -> Session:
        """
        A session of no keys in particular.
        """
        return Session(SessionKeys(bytes(32), bytes(32)), 1, 2, isInitiator, now)

    def test_anInitiatorSendsAtOnce(self) -> None:
        sessions = Sessions()
        one, other, third = (self.session(True) for _ in range(3))
        self.assertEqual(sessions.begin(one), [])
        self.assertEqual(sessions.begin(other), [])
        self.assertIs(sessions.previous, one)
        self.assertIs(sessions.current, other)
        self.assertEqual(sessions.begin(third), [one])

    def test_aResponderWaitsForTheFirstMessage(self) -> None:
        sessions = Sessions()
        one, other, third = (self.session(False) for _ in range(3))
        sessions.begin(one)
        self.assertIsNone(sessions.current)
        self.assertEqual(sessions.confirm(), [])
        self.assertIs(sessions.current, one)
        self.assertEqual(sessions.begin(other), [])
        self.assertIs(sessions.current, one)
        self.assertEqual(sessions.begin(third), [other])
        self.assertEqual(sessions.confirm(), [])
        self.assertEqual((sessions.current, sessions.previous, sessions.next), (third, one, None))
        self.assertEqual(sessions.clear(), [third, one])

    def test_bothBegin(self) -> None:
        sessions = Sessions()
        current, unconfirmed, new = self.session(True), self.session(False), self.session(True)
        sessions.begin(current)
        sessions.begin(unconfirmed)
        self.assertEqual(sessions.begin(new), [current])
        self.assertEqual((sessions.current, sessions.previous, sessions.next), (new, unconfirmed, None))

    def test_limits(self) -> None:
        session = self.session(True, 100.0)
        self.assertTrue(session.maySend(279.0))
        self.assertFalse(session.maySend(280.0))
        session.counter = REJECT_AFTER_MESSAGES
        self.assertFalse(session.maySend(100.0))

    def test_noCounterIsUsedTwice(self) -> None:
        session = self.session(True)
        self.assertEqual(
            len({bytes(message[8:16]) for _ in range(10) for message in session.seal([b""] * 10, 1420)}), 100
        )


class EndpointTests(SynchronousTestCase):
    """
    The outer addresses of peers.
    """

    def test_parts(self) -> None:
        for text, parts in (
            ("192.0.2.1:51820", ("192.0.2.1", 51820)),
            ("[2001:db8::1]:1", ("2001:db8::1", 1)),
            ("[fe80::1%eth0]:1", ("fe80::1%eth0", 1)),
            ("vpn.example:65535", ("vpn.example", 65535)),
        ):
            self.assertEqual(endpointParts(text), parts)

    def test_others(self) -> None:
        for text in ("", "192.0.2.1", "2001:db8::1:1", ":1", "a:0", "a:65536", "a:x", "a:", "a:²", 5, None):
            self.assertRaises(ValueError, endpointParts, text)

    def test_texts(self) -> None:
        self.assertEqual(str(Endpoint("2001:db8::1", 5)), "[2001:db8::1]:5")
        self.assertEqual(Endpoint("192.0.2.1", 5, "one way"), Endpoint("192.0.2.1", 5, "another"))
        self.assertEqual(Endpoint("192.0.2.1", 0x1234).octets, b"\xc0\0\2\1\x12\x34")
        self.assertEqual(len(Endpoint("fe80::1%eth0", 1).octets), 18)


class InnerTests(SynchronousTestCase):
    """
    Packets within data messages.
    """

    def test_paddingIsCutOff(self) -> None:
        for source, dest in (("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")):
            packet = ipPacket(source, dest, 17, b"12345")
            found = readPacket(packet + bytes(11))
            assert found is not None
            self.assertEqual(found[0], len(packet))
            self.assertEqual(len(found[1]), 4 if "." in source else 16)

    def test_whatIsNoPacketIsFound(self) -> None:
        four, six = ipPacket("10.0.0.1", "10.0.0.2", 17, b"12345"), ipPacket("fd00::1", "fd00::2", 17, b"12345")
        for wrong in (
            b"\0",
            bytes(64),
            four[:19],
            four[:-1],
            six[:39],
            six[:-1],
            b"\x45\0\0\x13" + four[4:],
            b"\x55" * 60,
        ):
            self.assertIsNone(readPacket(wrong), wrong)

    def test_padding(self) -> None:
        lengths = [padded(length, 1420) for length in (0, 1, 16, 17, 28, 1418, 1420, 1421, 2840)]
        self.assertEqual(lengths, [0, 16, 16, 32, 32, 1420, 1420, 1436, 2840])

    def test_congestionIsMarked(self) -> None:
        for source, dest in (("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")):
            packet = bytearray(ipPacket(source, dest, 17, b"12345"))
            self.assertIsNone(congested(bytes(packet)))
            packet[1] |= 2 if "." in source else 2 << 4
            if "." in source:
                # The checksum of the header follows.
                packet[10:12] = ((int.from_bytes(packet[10:12], "big") - 2) % 0xFFFF).to_bytes(2, "big")
            marked = congested(bytes(packet))
            assert marked is not None
            self.assertEqual(ecnOf(marked), 3)
            self.assertEqual(congested(marked), marked)
            if "." in source:
                self.assertEqual(onesSum(marked[:20]) % 0xFFFF, 0)


class MessageTests(SynchronousTestCase):
    """
    Types and lengths of messages.
    """

    def test_lengths(self) -> None:
        for kind, length in ((INITIATION, 148), (RESPONSE, 92), (COOKIE_REPLY, 64), (DATA, 32)):
            message = bytes([kind]) + bytes(length - 1)
            self.assertEqual(messageType(message), kind)
            self.assertIsNone(messageType(message[:-1]))
            self.assertEqual(messageType(message + b"\0"), DATA if kind == DATA else None)
            self.assertIsNone(messageType(bytes([kind, 0, 1]) + bytes(length - 3)))
        for other in (b"", b"\1", bytes(148), b"\5" + bytes(147)):
            self.assertIsNone(messageType(other))


class LoadTests(SynchronousTestCase):
    """
    The limits on handshakes.
    """

    def test_load(self) -> None:
        load = Load()
        answers = [load.isHeavy(0.0) for _ in range(int(HANDSHAKE_BURST) + 1)]
        self.assertEqual((answers[:-1], answers[-1]), ([False] * int(HANDSHAKE_BURST), True))
        self.assertTrue(load.isHeavy(0.9))
        self.assertFalse(load.isHeavy(1.1))

    def test_sources(self) -> None:
        load = Load()
        self.assertEqual([load.mayServe(b"one", 0.0) for _ in range(6)], [True] * int(SOURCE_BURST) + [False])
        self.assertTrue(load.mayServe(b"other", 0.0))
        for number in range(MAX_SOURCES + 5):
            load.mayServe(number.to_bytes(4, "big"), 0.0)
        (state,) = load.tables()
        self.assertEqual((state.size, state.bound), (MAX_SOURCES, MAX_SOURCES))
