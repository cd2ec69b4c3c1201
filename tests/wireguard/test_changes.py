"""
Two ends of WireGuard whose peers, keys and clocks change, and floods of handshakes.
"""

from __future__ import annotations

from ipaddress import ip_network
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tests.wireguard.pair import INSIDE, OUTSIDE, Pair
from txtuntap.wire.wireguard import COOKIE_REPLY, INITIATION
from txtuntap.wireguard.endpoint import Endpoint
from txtuntap.wireguard.keys import PrivateKey

STRANGER = Endpoint("198.51.100.7", 7)


class ChangeTests(SynchronousTestCase):
    """
    Peers and keys that change while packets are under way.
    """

    def test_aPeerIsRemoved(self) -> None:
        pair = Pair()
        pair.send()
        pair.cores[0].removePeer(pair.peers[0])
        pair.run(1)
        self.assertEqual(pair.count(0, "inUnknownIndexes"), 1)
        self.assertEqual(pair.cores[0]._indexes, {})
        pair = Pair()
        pair.open()
        pair.send(0)
        pair.cores[1].removePeer(pair.peers[1])
        pair.run(1)
        self.assertEqual(pair.delivered[1], [])
        self.assertEqual(pair.cores[1]._indexes, {})
        pair.run(3600)
        self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_anotherPrivateKey(self) -> None:
        pair = Pair()
        pair.open()
        other = PrivateKey.generate(Random(60))
        pair.cores[0].setPrivate(other)
        peer = pair.cores[1].addPeer(other.public)
        pair.cores[1].allow(peer, ip_network(INSIDE[0]))
        pair.send()
        pair.run(1)
        self.assertEqual(len(pair.delivered[1]), 1)
        session = peer.sessions.current
        assert session is not None
        self.assertEqual(pair.cores[0]._indexes.keys(), {session.remoteIndex})

    def test_aPeerWithOurOwnKeyIsRemoved(self) -> None:
        pair = Pair()
        pair.cores[0].setPrivate(pair.keys[1])
        self.assertEqual(pair.cores[0].peers, {})

    def test_withoutAKeyNothingIsSent(self) -> None:
        pair = Pair()
        pair.cores[0].setPrivate(None)
        pair.send()
        pair.run(300)
        self.assertEqual(pair.sent, [])
        pair.cores[0].setPrivate(pair.keys[0])
        pair.send()
        pair.run(1)
        self.assertGreater(len(pair.delivered[1]), 0)

    def test_aStopEndsAll(self) -> None:
        pair = Pair()
        pair.open()
        pair.send()
        for core in pair.cores:
            core.stop()
            self.assertEqual(core._indexes, {})
        pair.run(10)
        self.assertEqual(pair.delivered, [[], []])
        self.assertEqual(pair.clock.getDelayedCalls(), [])
        for core in pair.cores:
            core.start()
        pair.send()
        pair.run(1)
        self.assertEqual(len(pair.delivered[1]), 1)


class ClockTests(SynchronousTestCase):
    """
    Clocks that are set, and machines that are suspended.
    """

    def test_theWallClockIsSetBack(self) -> None:
        pair = Pair()
        pair.open()
        for offset in (-3600.0, 1_000_000_000.0, 0.0):
            pair.clock.offset = offset
            pair.run(200)
            before = len(pair.delivered[1])
            pair.send()
            pair.run(1)
            self.assertEqual(len(pair.delivered[1]), before + 1)
        self.assertEqual(pair.count(1, "inOldTimestamps"), 0)

    def test_anotherMachineWithAnEarlierClockIsRefused(self) -> None:
        # A peer that has forgotten which timestamps it has sent, and whose clock is early, is locked out.
        pair = Pair()
        pair.open()
        pair.peers[0].timestampSent = b""
        pair.clock.offset -= 3600
        pair.cores[0].stop()
        pair.cores[0].start()
        pair.send()
        pair.run(1)
        self.assertEqual(pair.count(1, "inOldTimestamps"), 1)

    def test_eightHoursOfSleep(self) -> None:
        pair = Pair()
        pair.open()
        # Time passes, and no call is made meanwhile.
        pair.clock.rightNow += 8 * 3600.0
        pair.sent.clear()
        pair.send()
        self.assertEqual(pair.kinds(0), [INITIATION])
        pair.run(1)
        self.assertEqual(len(pair.delivered[1]), 1)


class FloodTests(SynchronousTestCase):
    """
    Handshakes by the thousand.
    """

    def initiation(self, pair: Pair, seed: int) -> bytes:
        """
        An initiation with a right MAC, by one who knows the public key.
        """
        body = bytes([INITIATION, 0, 0, 0]) + Random(seed).randbytes(112)
        return pair.peers[0].cookies.sign(body, pair.now)

    def test_aCookieIsAllThatStrangersGet(self) -> None:
        pair = Pair()
        pair.open()
        for number in range(2000):
            pair.cores[1].messagesReceived([self.initiation(pair, number)], STRANGER)
        self.assertEqual(set(pair.kinds(1)), {COOKIE_REPLY})
        # As many as are worth an exchange of keys.
        self.assertLess(pair.count(1, "inHandshakeErrors"), 200)
        self.assertTrue(all(len(each.message) == 64 for each in pair.sent))

    def test_strangersGetNothingOtherwise(self) -> None:
        pair = Pair()
        pair.open()
        random = Random(5)
        messages = [random.randbytes(random.choice((0, 1, 4, 31, 32, 64, 92, 148, 500))) for _ in range(500)]
        for kind, length in ((1, 148), (2, 92), (3, 64), (4, 32), (4, 100)):
            messages += [bytes([kind, 0, 0, 0]) + random.randbytes(length - 4) for _ in range(200)]
        for message in messages:
            pair.cores[1].messagesReceived([message], STRANGER)
        pair.run(1)
        self.assertEqual(pair.kinds(1), [])
        self.assertEqual(pair.peers[1].endpoint, OUTSIDE[0])
        pair.send()
        pair.run(1)
        self.assertEqual(len(pair.delivered[1]), 1)

    def test_aPeerComesUpWithACookie(self) -> None:
        pair = Pair()
        number = 0
        begun = None
        while not pair.delivered[1]:
            for _ in range(200):
                pair.cores[1].messagesReceived([self.other(number)], STRANGER)
                number += 1
            if begun is None:
                pair.send()
                begun = pair.now
            pair.run(0.1)
            self.assertLess(pair.now - begun, 20)
        assert begun is not None
        self.assertGreater(pair.count(0, "inCookieReplies"), 0)
        self.assertLess(pair.now - begun, 12)

    def other(self, number: int) -> bytes:
        """
        A right MAC by another sender.
        """
        if not hasattr(self, "_spare"):
            self._spare = Pair()
        return self.initiation(self._spare, number)

    def test_aSessionIsLeftAlone(self) -> None:
        pair = Pair()
        pair.open()
        for number in range(1000):
            pair.cores[1].messagesReceived([self.initiation(pair, number)], STRANGER)
            if not number % 10:
                pair.send()
        pair.run(1)
        self.assertEqual(len(pair.delivered[1]), 100)

    def test_cookiesOfStrangersAreRefused(self) -> None:
        pair = Pair()
        pair.drop = lambda sent: True
        pair.send()
        index = pair.sent[0].message[4:8]
        pair.cores[0].messagesReceived([bytes([COOKIE_REPLY, 0, 0, 0]) + index + bytes(56)], STRANGER)
        pair.cores[0].messagesReceived([bytes([COOKIE_REPLY, 0, 0, 0]) + bytes(60)], STRANGER)
        self.assertEqual((pair.count(0, "inCookieErrors"), pair.count(0, "inUnknownIndexes")), (1, 1))
