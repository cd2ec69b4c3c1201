"""
Attacks on the protocol by its limits, its leftovers, and timers at their edges.
"""

from __future__ import annotations

from ipaddress import ip_network
from random import Random
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from tests.wireguard.pair import OUTSIDE, Pair
from txtuntap.wire.wireguard import COOKIE_REPLY, DATA, INITIATION, RESPONSE
from txtuntap.wireguard import handshake, xchacha
from txtuntap.wireguard.cookies import CookieChecker, CookieHolder
from txtuntap.wireguard.endpoint import Endpoint
from txtuntap.wireguard.keys import PrivateKey
from txtuntap.wireguard.load import (
    COOKIE_BURST,
    COOKIE_RATE,
    COOKIE_TRY_BURST,
    COOKIE_TRY_RATE,
    HANDSHAKE_BURST,
    HANDSHAKE_RATE,
    SOURCE_BURST,
    SOURCE_RATE,
)
from txtuntap.wireguard.outgoing import MAX_STAGED_OCTETS
from txtuntap.wireguard.peertable import MAX_STAGING

STRANGER = Endpoint("198.51.100.7", 7)


class TimerTests(SynchronousTestCase):
    """
    Timers that are missing, and timers that are too many.
    """

    def test_packetsThatWaitAreNeverStuck(self) -> None:
        # This end has answered an initiation, and its answer was lost with the other end.
        pair = Pair()
        pair.send()
        pair.run(0.015)
        self.assertEqual(pair.kinds(1), [RESPONSE])
        pair.cores[0].stop()
        pair.drop = lambda sent: sent.sender == 0
        pair.run(1)
        pair.sent.clear()
        pair.send(1)
        pair.run(6)
        self.assertEqual(pair.kinds(1), [INITIATION])

    def test_aBatchIsNotStuckBehindPacketsThatWait(self) -> None:
        pair = Pair()
        pair.send()
        pair.run(0.015)
        pair.cores[0].stop()
        pair.run(1)
        pair.send(1)
        pair.run(20)
        pair.cores[0].start()
        pair.cores[1].beginBatch()
        pair.send(1)
        pair.cores[1].endBatch()
        pair.run(6)
        self.assertEqual(len(pair.delivered[0]), 2)

    def test_lateDataOfTheSessionBeforeTakesNotTheLastMinuteOfThis(self) -> None:
        pair = Pair()
        pair.open()
        session = pair.peers[1].sessions.current
        assert session is not None
        (late,) = session.seal([pair.packet(1)], 1420)
        pair.run(166)
        pair.send(1)
        pair.run(1)
        self.assertEqual(pair.kinds(0).count(INITIATION), 1)
        pair.cores[0].messagesReceived([bytes(late)], OUTSIDE[1])
        pair.run(166)
        pair.sent.clear()
        pair.send(1)
        pair.run(1)
        self.assertEqual(pair.kinds(0).count(INITIATION), 1)

    def test_aKeyThatIsSetLateWakesPeersThatAreKeptAlive(self) -> None:
        pair = Pair()
        pair.cores[0].setPrivate(None)
        pair.cores[0].setKeepalive(pair.peers[0], 25)
        pair.run(1000)
        self.assertEqual((pair.sent, pair.clock.getDelayedCalls()), ([], []))
        pair.cores[0].setPrivate(pair.keys[0])
        pair.run(1)
        self.assertEqual(pair.kinds(0), [INITIATION, DATA])

    def test_anEndpointThatIsSetLateWakesAPeerThatIsKeptAlive(self) -> None:
        pair = Pair()
        pair.cores[0].setEndpoint(pair.peers[0], None)
        pair.cores[0].setKeepalive(pair.peers[0], 25)
        pair.run(1000)
        self.assertEqual((pair.sent, pair.clock.getDelayedCalls()), ([], []))
        pair.cores[0].setEndpoint(pair.peers[0], OUTSIDE[1])
        pair.run(1)
        self.assertEqual(pair.kinds(0), [INITIATION, DATA])

    def test_keepalivesAreNotAnsweredByKeepalives(self) -> None:
        pair = Pair()
        for end in range(2):
            pair.cores[end].setKeepalive(pair.peers[end], 25)
        pair.run(3600)
        data = [each for each in pair.sent if each.kind == DATA]
        self.assertEqual({len(each.message) for each in data}, {32})
        # Each end has one in 25 s at most, and a few for each of 30 sessions.
        self.assertLess(len(pair.sent), 2 * 3600 / 25 + 30 * 4)

    def test_aPeerThatIsGoneCostsOneInitiationInFiveSeconds(self) -> None:
        pair = Pair()
        pair.drop = lambda sent: True
        for _ in range(3600):
            pair.send()
            pair.run(1)
        self.assertLessEqual(len(pair.sent), 3600 / 5 + 1)
        self.assertEqual(len(pair.clock.getDelayedCalls()), 1)


class BoundTests(SynchronousTestCase):
    """
    The most that others can make this end spend.
    """

    def exchanges(self, pair: Pair, seconds: int, rate: int, sources: int = 1, hasCookies: bool = False) -> int:
        """
        Have strangers who know the public key of the second end send initiations.

        @return: how many of them have cost an exchange of keys.
        """
        random = Random(1)
        core = pair.cores[1]
        holders = [CookieHolder(pair.keys[1].public) for _ in range(sources)]
        endpoints = [Endpoint(f"198.51.100.{number}", 7) for number in range(sources)]
        with patch.object(handshake, "readIntroduction", wraps=handshake.readIntroduction) as read:
            for _ in range(10 * seconds):
                for number in range(rate // 10):
                    at = number % sources
                    body = bytes([INITIATION, 0, 0, 0]) + random.randbytes(112)
                    replied = len(pair.sent)
                    core.messagesReceived([holders[at].sign(body, pair.now)], endpoints[at])
                    if hasCookies and pair.sent[replied:]:
                        self.assertTrue(holders[at].replied(pair.sent[-1].message, pair.now))
                pair.run(0.1)
        return read.call_count

    def test_aFloodOfGoodMACsCostsABurst(self) -> None:
        pair = Pair()
        pair.open()
        self.assertLessEqual(self.exchanges(pair, 3, 2000), HANDSHAKE_BURST + 0.1 * HANDSHAKE_RATE)
        replies = [each for each in pair.sent if each.kind == COOKIE_REPLY]
        self.assertLessEqual(len(replies), COOKIE_BURST + 3 * COOKIE_RATE)
        pair.send()
        pair.run(1)
        self.assertEqual(len(pair.delivered[1]), 1)

    def test_aSlowFloodCostsItsRate(self) -> None:
        pair = Pair()
        self.assertLessEqual(self.exchanges(pair, 5, 390), HANDSHAKE_BURST + 5 * HANDSHAKE_RATE)

    def test_addressesThatAreProvedAreLimitedEach(self) -> None:
        pair = Pair()
        most = HANDSHAKE_BURST + 0.1 * HANDSHAKE_RATE + 4 * (SOURCE_BURST + 3 * SOURCE_RATE)
        found = self.exchanges(pair, 3, 2000, 4, hasCookies=True)
        self.assertLessEqual(found, most)
        # They do get what they have proved to be entitled to.
        self.assertGreater(found, HANDSHAKE_BURST + 4 * 2 * SOURCE_RATE)

    def test_aFloodOfBadMACsCostsNoExchange(self) -> None:
        pair = Pair()
        pair.open()
        random = Random(1)
        with (
            patch.object(handshake, "readIntroduction", wraps=handshake.readIntroduction) as one,
            patch.object(handshake, "readResponse", wraps=handshake.readResponse) as other,
        ):
            for kind, length in ((INITIATION, 148), (RESPONSE, 92)) * 2000:
                message = bytes([kind, 0, 0, 0]) + random.randbytes(length - 4)
                pair.cores[1].messagesReceived([message], STRANGER)
        self.assertEqual((one.call_count, other.call_count, pair.sent), (0, 0, []))
        # It is no load, either: a handshake needs no cookie.
        pair.run(130)
        pair.send()
        pair.run(1)
        self.assertNotIn(COOKIE_REPLY, pair.kinds(1))
        self.assertEqual(len(pair.delivered[1]), 1)

    def test_aRestartTakesNoOldInitiation(self) -> None:
        pair = Pair()
        pair.send()
        pair.run(1)
        initiation = pair.sent[0].message
        pair.cores[1].stop()
        pair.cores[1].start()
        pair.sent.clear()
        pair.cores[1].messagesReceived([initiation], STRANGER)
        self.assertEqual(pair.count(1, "inOldTimestamps"), 1)
        self.assertEqual((pair.sent, str(pair.peers[1].endpoint)), ([], str(OUTSIDE[0])))

    def test_aResponseBeginsOneSession(self) -> None:
        pair = Pair()
        for _ in range(2):
            pair.send()
            pair.run(130)
        responses = [each.message for each in pair.sent if each.kind == RESPONSE]
        self.assertEqual(len(responses), 2)
        pair.sent.clear()
        sessions, index = pair.peers[0].sessions.all(), dict(pair.cores[0]._indexes)
        for response in responses:
            pair.cores[0].messagesReceived([response], STRANGER)
        self.assertEqual(pair.count(0, "inUnknownIndexes"), 2)
        self.assertEqual((pair.peers[0].sessions.all(), pair.cores[0]._indexes), (sessions, index))
        self.assertEqual((pair.sent, pair.peers[0].endpoint), ([], OUTSIDE[1]))
        pair.send()
        pair.run(1)
        self.assertEqual(len(pair.delivered[1]), 3)

    def test_aResponseAnswersTheLatestInitiationAlone(self) -> None:
        pair = Pair()
        pair.drop = lambda sent: sent.kind == RESPONSE
        pair.send()
        # Two initiations were answered.
        pair.run(6)
        first, second = (each.message for each in pair.sent if each.kind == RESPONSE)
        pair.cores[0].messagesReceived([first], OUTSIDE[1])
        self.assertEqual((pair.count(0, "inUnknownIndexes"), pair.count(0, "inResponses")), (1, 0))
        for _ in range(2):
            pair.cores[0].messagesReceived([second], OUTSIDE[1])
        self.assertEqual((pair.count(0, "inUnknownIndexes"), pair.count(0, "inResponses")), (2, 1))

    def test_aPresharedKeyThatChangesDuringAHandshakeCostsOneRetry(self) -> None:
        pair = Pair()
        pair.send()
        pair.run(0.015)
        pair.peers[0].presharedKey = bytes(range(32))
        pair.run(1)
        self.assertEqual(pair.count(0, "inHandshakeErrors"), 1)
        pair.peers[1].presharedKey = bytes(range(32))
        pair.run(5)
        self.assertEqual(len(pair.delivered[1]), 1)

    def test_anIndexIsNeverInUseTwice(self) -> None:
        pair = Pair()
        pair.open()
        (used,) = pair.cores[1]._indexes
        drawn = iter([used, used, 77])
        pair.cores[1]._secrets = type("Secrets", (), {"getrandbits": lambda self, bits: next(drawn)})()
        self.assertEqual(pair.cores[1]._index(), 77)

    def test_forgedCookiesCostAnExchangeOfKeysAtALimitedRate(self) -> None:
        pair = Pair()
        pair.drop = lambda sent: True
        pair.send()
        index = pair.sent[0].message[4:8]
        random = Random(1)
        with patch.object(xchacha, "subkey", wraps=xchacha.subkey.__wrapped__) as derived:
            for _ in range(3000):
                forged = bytes([COOKIE_REPLY, 0, 0, 0]) + index + random.randbytes(56)
                pair.cores[0].messagesReceived([forged], STRANGER)
            self.assertLessEqual(derived.call_count, COOKIE_TRY_BURST)
            pair.run(1)
            for _ in range(3000):
                forged = bytes([COOKIE_REPLY, 0, 0, 0]) + index + random.randbytes(56)
                pair.cores[0].messagesReceived([forged], STRANGER)
        self.assertLessEqual(derived.call_count, COOKIE_TRY_BURST + COOKIE_TRY_RATE)
        self.assertGreater(pair.count(0, "inLimited"), 5000)

    def test_packetsThatWaitHaveABoundInOctets(self) -> None:
        pair = Pair()
        core = pair.cores[0]
        for number in range(20):
            pair.send(0, bytes([number]) * 60_000)
        self.assertLessEqual(sum(map(len, pair.peers[0].staged)), MAX_STAGED_OCTETS)
        self.assertEqual(pair.peers[0].staged[-1], pair.packet(0, bytes([19]) * 60_000))
        self.assertEqual(pair.count(0, "outDiscards"), 20 - len(pair.peers[0].staged))
        (state,) = (each for each in core.tables() if each.name == "staged of a peer")
        self.assertEqual(state.size, len(pair.peers[0].staged))

    def test_peersThatPacketsWaitForHaveABound(self) -> None:
        pair = Pair()
        core: Any = pair.cores[0]
        pair.drop = lambda sent: True
        peers = []
        for number in range(MAX_STAGING + 5):
            peer = core.addPeer(PrivateKey.generate(Random(number + 90)).public)
            dest = f"10.9.{number >> 8}.{number & 255}"
            core.allow(peer, ip_network(dest))
            core.setEndpoint(peer, STRANGER)
            core.sendPacket(pair.packet(0, dest=dest))
            peers.append(peer)
        self.assertEqual([len(each.staged) for each in peers], [0] * 5 + [1] * MAX_STAGING)
        states = {each.name: each for each in core.tables()}
        self.assertEqual((states["staging"].size, states["staging"].bound), (MAX_STAGING, MAX_STAGING))
        for each in peers:
            core.removePeer(each)
        states = {each.name: each for each in core.tables()}
        self.assertEqual((states["staging"].size, states["staged of a peer"].size), (0, 0))


class SourceTests(SynchronousTestCase):
    """
    Sources that are not proved, outside and inside.
    """

    def test_forgedAnswersMoveNoPeer(self) -> None:
        pair = Pair()
        pair.drop = lambda sent: True
        pair.send()
        index = pair.sent[0].message[4:8]
        response = pair.peers[1].cookies.sign(bytes([RESPONSE, 0, 0, 0, 1, 0, 0, 0]) + index + bytes(range(48)), 0.0)
        pair.cores[0].messagesReceived([response], STRANGER)
        self.assertEqual(pair.count(0, "inHandshakeErrors"), 1)
        checker = CookieChecker(pair.keys[1].public, Random(1))
        cookie = checker.reply(pair.sent[0].message, int.from_bytes(index, "little"), STRANGER.octets, 0.0)
        pair.cores[0].messagesReceived([cookie], STRANGER)
        self.assertEqual(pair.count(0, "inCookieReplies"), 1)
        self.assertIs(pair.peers[0].endpoint, OUTSIDE[1])

    def test_aPeerCannotSendFromAnotherPeersNetwork(self) -> None:
        pair = Pair()
        pair.open()
        other = pair.cores[1].addPeer(PrivateKey.generate(Random(80)).public)
        pair.cores[1].allow(other, ip_network("10.0.9.0/24"))
        pair.cores[0].sendPacket(pair.packet(0, source="10.0.9.1"))
        pair.run(1)
        self.assertEqual((pair.delivered[1], pair.count(1, "inForbidden")), ([], 1))

    def test_theLatestInitiationIsNotTakenAgain(self) -> None:
        pair = Pair()
        pair.open()
        pair.run(121)
        pair.send()
        pair.run(1)
        initiation = next(each.message for each in pair.sent if each.kind == INITIATION)
        pair.cores[1].messagesReceived([initiation], STRANGER)
        self.assertEqual((pair.count(1, "inOldTimestamps"), pair.peers[1].endpoint), (1, OUTSIDE[0]))

    def test_aKeyOfLowOrderIsNoPeer(self) -> None:
        pair = Pair()
        peer = pair.cores[0].addPeer(bytes(32))
        pair.cores[0].allow(peer, ip_network("10.0.9.0/24"))
        pair.cores[0].setEndpoint(peer, STRANGER)
        self.assertIsNone(pair.cores[0].sendPacket(pair.packet(0, dest="10.0.9.1")))
        pair.run(300)
        self.assertEqual(pair.sent, [])
