"""
Two ends of WireGuard over hours of virtual time: handshakes, timers, replays, roaming.
"""

from __future__ import annotations

from ipaddress import ip_network
from itertools import pairwise
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tests.wireguard.pair import INSIDE, OUTSIDE, Pair
from txtuntap.layer.drops import Drop
from txtuntap.wire.wireguard import DATA, INITIATION, RESPONSE
from txtuntap.wireguard.endpoint import Endpoint
from txtuntap.wireguard.keys import PrivateKey
from txtuntap.wireguard.peer import MAX_STAGED
from txtuntap.wireguard.session import REJECT_AFTER_MESSAGES, REKEY_AFTER_MESSAGES

STRANGER = Endpoint("198.51.100.7", 7)


class HandshakeTests(SynchronousTestCase):
    """
    How a session comes about.
    """

    def test_threeMessages(self) -> None:
        pair = Pair()
        packet = pair.send()
        pair.run(1)
        self.assertEqual(pair.delivered, [[], [packet]])
        self.assertEqual([each.kind for each in pair.sent], [INITIATION, RESPONSE, DATA])
        self.assertEqual([each.trafficClass for each in pair.sent], [0x88, 0x88, 0])
        self.assertEqual([peer.lastHandshake > 1_699_999_999 for peer in pair.peers], [True, True])

    def test_aResponderSendsOnceTheKeysAreConfirmed(self) -> None:
        pair = Pair()
        pair.send()
        # The response has come, the first data message has not.
        pair.drop = lambda sent: sent.kind == DATA
        pair.run(1)
        pair.send(1)
        pair.run(1)
        self.assertNotIn(DATA, pair.kinds(1))
        pair.drop = lambda sent: False
        pair.send(0)
        pair.run(1)
        self.assertEqual(len(pair.delivered[0]), 1)

    def test_aLostInitiationIsSentAgain(self) -> None:
        pair = Pair()
        pair.drop = lambda sent: sent.at < 4
        pair.send()
        pair.run(6)
        first, again = (each for each in pair.sent if each.kind == INITIATION)
        self.assertTrue(5 <= again.at - first.at <= 5.333)
        # A retry has a new index and a new key.
        self.assertNotEqual(first.message[4:40], again.message[4:40])
        self.assertEqual(len(pair.delivered[1]), 1)

    def test_aLateAnswerToAnEarlierInitiationIsRefused(self) -> None:
        pair = Pair()
        pair.latency = lambda sent: 6.0 if sent.kind == RESPONSE and sent.at < 1 else 0.01
        pair.send()
        pair.run(5.5)
        self.assertEqual(pair.count(0, "inResponses"), 1)
        pair.run(1)
        self.assertEqual(pair.count(0, "inUnknownIndexes"), 1)

    def test_itIsGivenUp(self) -> None:
        pair = Pair()
        pair.drop = lambda sent: True
        pair.send()
        pair.run(600)
        times = [each.at for each in pair.sent]
        self.assertEqual(len(times), 20)
        self.assertTrue(95 <= times[-1] - times[0] <= 102)
        self.assertEqual(len(pair.peers[0].staged), 0)
        self.assertEqual(pair.count(0, "outDiscards"), 1)
        pair.run(1000)
        self.assertEqual(pair.clock.getDelayedCalls(), [])
        pair.drop = lambda sent: False
        pair.send()
        pair.run(1)
        self.assertEqual(len(pair.delivered[1]), 1)

    def test_packetsWaitForASession(self) -> None:
        pair = Pair()
        for number in range(MAX_STAGED + 10):
            pair.send(0, b"%d" % number)
        (staged,) = (state for state in pair.cores[0].tables() if state.name == "staged of a peer")
        self.assertEqual((staged.size, staged.bound), (MAX_STAGED, MAX_STAGED))
        pair.run(1)
        # The oldest are dropped; the order is kept.
        self.assertEqual(pair.delivered[1], [pair.packet(0, b"%d" % number) for number in range(10, MAX_STAGED + 10)])
        self.assertEqual(pair.count(0, "outDiscards"), 10)

    def test_bothBegin(self) -> None:
        for seed in range(20):
            pair = Pair(seed)
            pair.cores[1].setEndpoint(pair.peers[1], OUTSIDE[0])
            pair.send(0)
            pair.send(1)
            pair.run(12)
            self.assertEqual([len(each) for each in pair.delivered], [1, 1])

    def test_presharedKeys(self) -> None:
        pair = Pair(presharedKey=bytes(range(32)))
        pair.open()
        pair = Pair(presharedKey=bytes(range(32)))
        pair.peers[1].presharedKey = bytes(32)
        pair.send()
        pair.run(30)
        self.assertEqual(pair.delivered, [[], []])
        self.assertGreater(pair.count(0, "inHandshakeErrors"), 3)

    def test_strangersAreRefused(self) -> None:
        pair = Pair()
        pair.cores[0].setPrivate(PrivateKey.generate(Random(99)))
        pair.send()
        pair.run(10)
        self.assertEqual(pair.kinds(1), [])
        self.assertEqual(pair.count(1, "inUnknownPeers"), 2)

    def test_anInitiationIsTakenOnce(self) -> None:
        pair = Pair()
        pair.open()
        pair.run(30)
        pair.sent.clear()
        pair.send()
        pair.run(150)
        initiations = [each for each in pair.sent if each.kind == INITIATION]
        for each in initiations:
            pair.cores[1].messagesReceived([each.message], STRANGER)
        self.assertEqual(pair.count(1, "inOldTimestamps"), len(initiations))
        self.assertEqual(pair.peers[1].endpoint, OUTSIDE[0])

    def test_initiationsHaveAPause(self) -> None:
        pair = Pair()
        pair.open()
        peer = pair.peers[0]
        for _ in range(10):
            peer.handshakeSentAt = float("-inf")
            pair.cores[0]._initiate(peer, pair.now)
        pair.run(0.5)
        self.assertEqual(pair.count(1, "inLimited"), 9)


class LifeTests(SynchronousTestCase):
    """
    The five timers, over minutes and hours.
    """

    def test_rekeyUnderTraffic(self) -> None:
        # Only the end that began the session begins another one, and no packet is lost meanwhile.
        pair = Pair()
        for second in range(1000):
            pair.send(0, b"%d" % second)
            pair.run(0.5)
            pair.send(1, b"%d" % second)
            pair.run(0.5)
        pair.run(1)
        self.assertEqual([len(each) for each in pair.delivered], [1000, 1000])
        initiations = [each.at for each in pair.sent if each.kind == INITIATION]
        self.assertEqual([round(time / 120) for time in initiations], list(range(9)))
        self.assertEqual({each.sender for each in pair.sent if each.kind == INITIATION}, {0})

    def test_aSilentSessionIsNotRenewed(self) -> None:
        pair = Pair()
        pair.open()
        pair.run(3600)
        self.assertNotIn(INITIATION, pair.kinds(0) + pair.kinds(1))
        self.assertEqual(pair.clock.getDelayedCalls(), [])
        self.assertEqual([peer.hasSession for peer in pair.peers], [False, False])
        pair.send()
        pair.run(1)
        self.assertEqual(len(pair.delivered[1]), 1)

    def test_keysAreErasedAfter540Seconds(self) -> None:
        pair = Pair()
        ended: list[float] = []
        pair.cores[0].sessionEnded = lambda peer: ended.append(pair.now)
        pair.open()
        pair.run(539)
        self.assertTrue(pair.peers[0].hasSession)
        pair.run(2)
        self.assertFalse(pair.peers[0].hasSession)
        self.assertEqual([round(time) for time in ended], [540])

    def test_aResponderBeginsNone(self) -> None:
        # It sends under the old keys until they are 180 s old, and then begins a handshake.
        pair = Pair()
        pair.open()
        while pair.now < 179:
            pair.send(1)
            pair.run(1)
        # The other end answers within the last minute, since data comes.
        self.assertEqual(pair.kinds(1).count(INITIATION), 0)
        self.assertEqual(pair.kinds(0).count(INITIATION), 1)

    def test_theLastMinute(self) -> None:
        pair = Pair()
        pair.open()
        # Passive keepalives renew nothing before 120 s; data that comes after 165 s does, once.
        pair.run(164)
        pair.sent.clear()
        pair.send(1)
        pair.run(0.02)
        self.assertNotIn(INITIATION, pair.kinds(0))
        pair.run(1.5)
        pair.drop = lambda sent: sent.kind == INITIATION
        for _ in range(3):
            pair.send(1)
            pair.run(0.02)
        self.assertEqual(pair.kinds(0).count(INITIATION), 1)

    def test_nothingIsSentOrTakenAfter180Seconds(self) -> None:
        pair = Pair()
        pair.open()
        pair.drop = lambda sent: sent.kind != DATA
        pair.run(179)
        pair.send(0)
        pair.run(0.5)
        self.assertEqual(len(pair.delivered[1]), 1)
        pair.run(1)
        pair.sent.clear()
        pair.send(0)
        pair.send(1)
        pair.run(0.1)
        self.assertNotIn(DATA, pair.kinds(0) + pair.kinds(1))
        session = pair.peers[0].sessions.current
        assert session is not None
        pair.cores[1].messagesReceived(map(bytes, session.seal([bytes(32)], 1420)), OUTSIDE[0])
        self.assertEqual(pair.count(1, "inExpired"), 1)

    def test_aPassiveKeepaliveAnswersData(self) -> None:
        pair = Pair()
        pair.open()
        pair.run(20)
        pair.sent.clear()
        begun = pair.now
        pair.send(0)
        pair.run(30)
        ((when, size),) = [(each.at - begun, len(each.message)) for each in pair.sent if each.sender == 1]
        self.assertEqual((round(when, 1), size), (10.0, 32))
        # A keepalive is not answered.
        self.assertEqual(pair.kinds(0), [DATA])

    def test_anAnswerTakesTheKeepalivesPlace(self) -> None:
        pair = Pair()
        pair.open()
        pair.run(20)
        pair.sent.clear()
        pair.send(0)
        pair.run(5)
        pair.send(1)
        pair.run(4)
        self.assertEqual(pair.count(1, "outKeepalives"), 1)

    def test_dataWithoutAnAnswerBeginsAHandshake(self) -> None:
        pair = Pair()
        pair.open()
        pair.run(20)
        pair.sent.clear()
        pair.drop = lambda sent: sent.sender == 1
        begun = pair.now
        pair.send(0)
        pair.run(16)
        (when,) = [each.at - begun for each in pair.sent if each.kind == INITIATION]
        self.assertTrue(15 <= when <= 15.4, when)

    def test_persistentKeepalives(self) -> None:
        pair = Pair()
        pair.cores[0].setKeepalive(pair.peers[0], 25)
        pair.run(1000)
        # The first one begins a session, which is renewed for hours. Only silence has one.
        self.assertEqual(pair.kinds(0)[:2], [INITIATION, DATA])
        self.assertTrue(pair.peers[0].hasSession)
        times = [each.at for each in pair.sent if each.sender == 0]
        self.assertLessEqual(max(b - a for a, b in pairwise(times)), 25.1)
        self.assertLess(len(times), 1000 / 25 * 1.6)
        pair.cores[0].setKeepalive(pair.peers[0], 0)
        pair.run(2000)
        self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_trafficPutsAPersistentKeepaliveOff(self) -> None:
        pair = Pair()
        pair.cores[0].setKeepalive(pair.peers[0], 25)
        pair.run(1)
        before = pair.count(0, "outKeepalives")
        for _ in range(50):
            pair.send(0)
            pair.run(1)
            pair.send(1)
            pair.run(1)
        self.assertEqual(pair.count(0, "outKeepalives"), before)

    def test_countersHaveAnEnd(self) -> None:
        pair = Pair()
        pair.open()
        session = pair.peers[0].sessions.current
        assert session is not None
        pair.run(6)
        session.counter = REKEY_AFTER_MESSAGES - 1
        pair.send()
        self.assertEqual(pair.kinds(0).count(INITIATION), 1)
        pair = Pair()
        pair.open()
        session = pair.peers[0].sessions.current
        assert session is not None
        pair.run(6)
        pair.sent.clear()
        session.counter = REJECT_AFTER_MESSAGES
        pair.send()
        self.assertEqual(pair.kinds(0), [INITIATION])

    def test_idlePeersHaveNoCall(self) -> None:
        pair = Pair()
        for number in range(1000):
            pair.cores[0].addPeer(PrivateKey.generate(Random(number + 50)).public)
        self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_anHourOfLoss(self) -> None:
        pair = Pair()
        pair.open()
        random = Random(3)
        pair.drop = lambda sent: random.random() < 0.3
        pair.latency = lambda sent: random.uniform(0.01, 0.3)
        for number in range(3600):
            pair.send(number % 2)
            pair.run(1)
        delivered = sum(map(len, pair.delivered))
        # All but what is lost on the path, and in the seconds of a handshake that is repeated.
        self.assertGreater(delivered, 3600 * 0.7 * 0.97)


class ReceivingTests(SynchronousTestCase):
    """
    Messages that are accepted and refused.
    """

    def data(self, pair: Pair, end: int = 0) -> bytes:
        """
        A data message that was sent and lost.
        """
        pair.drop = lambda sent: True
        pair.send(end)
        pair.drop = lambda sent: False
        return pair.sent[-1].message

    def test_aReplayIsRefused(self) -> None:
        pair = Pair()
        pair.open()
        message = self.data(pair)
        pair.cores[1].messagesReceived([message], OUTSIDE[0])
        pair.cores[1].messagesReceived([message], STRANGER)
        self.assertEqual(len(pair.delivered[1]), 1)
        self.assertEqual(pair.count(1, "inReplays"), 1)
        self.assertEqual(pair.peers[1].endpoint, OUTSIDE[0])

    def test_aForgeryMovesNoWindow(self) -> None:
        pair = Pair()
        pair.open()
        message = bytearray(self.data(pair))
        message[8:16] = (1 << 40).to_bytes(8, "little")
        pair.cores[1].messagesReceived([bytes(message)], STRANGER)
        self.assertEqual(pair.count(1, "inUnauthentic"), 1)
        self.assertEqual(pair.peers[1].endpoint, OUTSIDE[0])
        pair.send()
        pair.run(1)
        self.assertEqual(len(pair.delivered[1]), 1)

    def test_thePreviousKeyIsTaken(self) -> None:
        pair = Pair()
        pair.open()
        late = self.data(pair)
        pair.run(121)
        pair.send()
        pair.run(1)
        self.assertEqual(pair.count(1, "inInitiations"), 2)
        pair.send()
        pair.run(1)
        before = len(pair.delivered[1])
        pair.cores[1].messagesReceived([late], OUTSIDE[0])
        self.assertEqual(len(pair.delivered[1]), before + 1)

    def test_theEndThatBeganTakesThePreviousKeyToo(self) -> None:
        pair = Pair()
        pair.open()
        session = pair.peers[1].sessions.current
        assert session is not None
        (late,) = session.seal([pair.packet(1)], 1420)
        pair.run(121)
        pair.send()
        pair.run(1)
        self.assertEqual(pair.count(0, "inResponses"), 2)
        before = len(pair.delivered[0])
        pair.cores[0].messagesReceived([bytes(late)], OUTSIDE[1])
        self.assertEqual(len(pair.delivered[0]), before + 1)

    def test_roaming(self) -> None:
        pair = Pair()
        moved: list[str] = []
        pair.cores[1].endpointChanged = lambda peer: moved.append(str(peer.endpoint))
        pair.open()
        for source in (Endpoint("203.0.113.9", 51820), Endpoint("203.0.113.9", 9), Endpoint("2001:db8::9", 9)):
            pair.source[0] = source
            pair.send(0)
            pair.run(0.1)
            pair.send(1)
            pair.run(0.1)
            self.assertEqual(pair.peers[1].endpoint, source)
        self.assertEqual(len(pair.delivered[0]), 3)
        self.assertEqual(moved, ["192.0.2.1:51820", "203.0.113.9:51820", "203.0.113.9:9", "[2001:db8::9]:9"])

    def test_aFixedEndpointStays(self) -> None:
        pair = Pair()
        pair.peers[1].roams = False
        pair.open()
        pair.source[0] = STRANGER
        pair.send(0)
        pair.run(0.1)
        self.assertEqual(len(pair.delivered[1]), 1)
        self.assertEqual(pair.peers[1].endpoint, OUTSIDE[0])

    def test_aSourceThatIsNotThePeersIsRefused(self) -> None:
        pair = Pair()
        pair.open()
        pair.cores[0].sendPacket(pair.packet(0, source="10.0.0.9"))
        pair.cores[0].sendPacket(pair.packet(0, source=INSIDE[1]))
        pair.run(1)
        self.assertEqual(pair.delivered[1], [])
        self.assertEqual(pair.count(1, "inForbidden"), 2)

    def test_destinations(self) -> None:
        pair = Pair()
        core = pair.cores[0]
        self.assertIs(core.sendPacket(pair.packet(0, dest="10.0.0.3")), Drop.NO_PEER)
        self.assertIs(core.sendPacket(b""), Drop.MALFORMED)
        self.assertIs(core.sendPacket(b"\x45" + bytes(18)), Drop.MALFORMED)
        self.assertIs(pair.cores[1].sendPacket(pair.packet(1)), Drop.NO_ENDPOINT)

    def test_aPrefixHasOneOwner(self) -> None:
        pair = Pair()
        core = pair.cores[0]
        network = ip_network("10.1.0.0/16")
        other = core.addPeer(PrivateKey.generate(Random(70)).public)
        core.allow(pair.peers[0], network)
        core.allow(other, network)
        self.assertNotIn(network, pair.peers[0].allowed)
        self.assertIs(core.peerOf("10.1.2.3"), other)
        core.allow(pair.peers[0], ip_network("10.1.2.0/24"))
        self.assertIs(core.peerOf("10.1.2.3"), pair.peers[0])
        core.removePeer(pair.peers[0])
        self.assertIs(core.peerOf("10.1.2.3"), other)
        self.assertIsNone(core.peerOf(INSIDE[1]))
        core.disallow(other, network)
        self.assertIsNone(core.peerOf("10.1.2.3"))

    def test_packetsInsideThatAreNone(self) -> None:
        pair = Pair()
        pair.open()
        session = pair.peers[0].sessions.current
        assert session is not None
        for packet in (bytes(16), b"\x45" + bytes(31), b"\x60" + bytes(47), b"\x45\0\0\x40" + bytes(28)):
            pair.cores[1].messagesReceived(map(bytes, session.seal([packet], 1420)), OUTSIDE[0])
        self.assertEqual(pair.delivered[1], [])
        self.assertEqual(pair.count(1, "inDataErrors") + pair.count(1, "inForbidden"), 4)

    def test_congestionOutsideIsTold(self) -> None:
        pair = Pair()
        pair.open()
        packet = bytearray(pair.packet(0))
        packet[1] |= 2
        packet[10:12] = ((int.from_bytes(packet[10:12], "big") - 2) % 0xFFFF).to_bytes(2, "big")
        pair.cores[0].sendPacket(bytes(packet))
        sent = pair.sent[-1]
        self.assertEqual(sent.trafficClass, 2)
        pair.cores[1].messagesReceived([sent.message], OUTSIDE[0], 3)
        self.assertEqual(pair.delivered[1][0][1] & 3, 3)
        # A packet without ECN that was marked is lost, as it would be in a queue.
        message = self.data(pair)
        pair.cores[1].messagesReceived([message], OUTSIDE[0], 3)
        self.assertEqual(pair.count(1, "inDiscards"), 1)

    def test_octetsAreCounted(self) -> None:
        pair = Pair()
        pair.send()
        pair.run(1)
        self.assertEqual(pair.peers[0].sent, sum(len(each.message) for each in pair.sent if each.sender == 0))
        self.assertEqual(pair.peers[1].received, pair.peers[0].sent)
        self.assertEqual(pair.peers[0].received, pair.peers[1].sent)
