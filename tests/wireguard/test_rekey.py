"""
New sessions under traffic and in silence, over hours of virtual time.
"""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.wireguard.pair import OUTSIDE, Pair
from txtuntap.wire.wireguard import INITIATION

#: Pauses at the edges of each time that has a meaning, in seconds.
PAUSES = [0.5, 4.9, 5.1, 9.9, 10.1, 14.9, 15.5, 119.5, 120.5, 164.5, 165.5, 178.0, 180.5, 539.5, 540.5, 3600.0]


class RekeyTests(SynchronousTestCase):
    """
    Each packet is delivered, and no more handshakes than needed are made.
    """

    def hour(self, ends: tuple[int, ...], keepalive: int = 0) -> tuple[Pair, list[float]]:
        """
        Have ends send a packet each second for an hour.

        @return: the pair, and when initiations were sent.
        """
        pair = Pair()
        pair.cores[1].setEndpoint(pair.peers[1], OUTSIDE[0])
        pair.open()
        pair.cores[0].setKeepalive(pair.peers[0], keepalive)
        pair.sent.clear()
        for _ in range(3600):
            for end in ends:
                pair.send(end)
            pair.run(1)
        pair.run(1)
        for end in range(2):
            self.assertEqual(len(pair.delivered[1 - end]), 3600 if end in ends else 0)
        return pair, [each.at for each in pair.sent if each.kind == INITIATION]

    def test_anHourOfTrafficFromTheEndThatBegan(self) -> None:
        pair, times = self.hour((0,))
        self.assertEqual([round(time / 120.5) for time in times], list(range(1, 30)))
        self.assertNotIn(INITIATION, pair.kinds(1))

    def test_anHourOfTrafficToTheEndThatBegan(self) -> None:
        # It sends keepalives alone, and the first one after 120 s begins a session.
        pair, times = self.hour((1,))
        self.assertNotIn(INITIATION, pair.kinds(1))
        self.assertTrue(3600 / 135 <= len(times) <= 3600 / 120, len(times))

    def test_anHourOfTrafficBothWays(self) -> None:
        pair, times = self.hour((0, 1))
        self.assertEqual(len(times), 29)
        self.assertNotIn(INITIATION, pair.kinds(1))

    def test_anHourOfKeepalives(self) -> None:
        _, times = self.hour((), keepalive=25)
        # The first keepalive after 120 s is at 125 s.
        self.assertTrue(3600 / 130 - 1 <= len(times) <= 3600 / 120, len(times))

    def test_anIdleHour(self) -> None:
        pair, times = self.hour(())
        self.assertEqual((times, pair.clock.getDelayedCalls()), ([], []))
        self.assertEqual([peer.sessions.all() for peer in pair.peers], [[], []])
        self.assertEqual([core._indexes for core in pair.cores], [{}, {}])

    @settings(max_examples=60, deadline=None)
    @example(0, [(0, 15.5), (0, 164.5), (0, 0.5)])
    @given(st.integers(0, 1000), st.lists(st.tuples(st.integers(0, 1), st.sampled_from(PAUSES)), max_size=12))
    def test_afterAnyPauseAPacketIsDelivered(self, seed: int, events: list[tuple[int, float]]) -> None:
        pair = Pair(seed)
        pair.cores[1].setEndpoint(pair.peers[1], OUTSIDE[0])
        sent = [0, 0]
        for end, pause in events:
            pair.send(end)
            sent[end] += 1
            pair.run(pause)
        # Both ends may have begun at once, so one of them tries again.
        pair.run(12)
        # The keys of the end that answered are older by a latency, so they may expire while a message is under way.
        taken = [len(pair.delivered[1 - end]) + pair.count(1 - end, "inExpired") for end in range(2)]
        self.assertEqual(taken, sent)
        pair.run(2000)
        self.assertEqual(pair.clock.getDelayedCalls(), [])

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 1000), st.lists(st.tuples(st.integers(0, 1), st.sampled_from(PAUSES)), max_size=12))
    def test_noCounterIsUsedTwiceUnderAnyLoss(self, seed: int, events: list[tuple[int, float]]) -> None:
        pair = Pair(seed)
        pair.drop = lambda sent: sent.message[-1] % 3 == 0
        for end, pause in events:
            for _ in range(3):
                pair.cores[end].sendPacket(pair.packet(end))
            pair.run(pause)
        data = [(each.sender, each.message[4:16]) for each in pair.sent if each.kind == 4]
        self.assertEqual(len(data), len(set(data)))
