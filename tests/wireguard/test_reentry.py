"""
Applications that change everything while WireGuard calls them.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.wireguard.pair import OUTSIDE, Pair
from txtuntap.wireguard.endpoint import Endpoint
from txtuntap.wireguard.keys import PrivateKey

ELSEWHERE = Endpoint("203.0.113.9", 9)
OTHER = PrivateKey.generate(Random(60))

#: Changes that an application makes in a call.
CHANGES: dict[str, Callable[[Pair, int], object]] = {
    "remove": lambda pair, end: pair.cores[end].removePeer(pair.peers[end]),
    "key": lambda pair, end: pair.cores[end].setPrivate(OTHER),
    "stop": lambda pair, end: pair.cores[end].stop(),
}


class ReentryTests(SynchronousTestCase):
    """
    Each change within each call, at either end.
    """

    def changed(self, call: str, end: int, change: str) -> Pair:
        """
        Have an end make a change within a call, and let an hour pass.
        """
        pair = Pair()
        core: Any = pair.cores[end]
        calls: list[float] = []

        def called(*ignored: object) -> None:
            calls.append(pair.now)
            if len(calls) == 1:
                CHANGES[change](pair, end)
                pair.sent.clear()

        setattr(core, call, called)
        # This end alone has a reason to begin something later.
        pair.cores[end].setKeepalive(pair.peers[end], 25)
        pair.send()
        if call == "endpointChanged" and not end:
            # The answer to the initiation comes from elsewhere.
            pair.run(0.005)
            pair.source[1] = ELSEWHERE
            pair.clock.callLater(0.0051, pair.source.__setitem__, 1, OUTSIDE[1])
            pair.latency = lambda sent: 0.003
        pair.run(0.2)
        if call == "_deliver" and not end:
            pair.send(1)
        pair.run(3600)
        self.assertGreater(len(calls), 0, (call, end, change))
        return pair

    def test_nothingIsLeftOfAPeerThatIsRemoved(self) -> None:
        for call in "sessionBegun", "endpointChanged", "_deliver":
            for end in range(2):
                pair = self.changed(call, end, "remove")
                self.assertEqual(pair.kinds(end), [], (call, end))
                self.assertEqual(pair.cores[end]._indexes, {})
                pair.cores[1 - end].stop()
                self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_nothingIsLeftAfterAStop(self) -> None:
        for call in "sessionBegun", "endpointChanged", "_deliver":
            for end in range(2):
                pair = self.changed(call, end, "stop")
                self.assertEqual(pair.kinds(end), [], (call, end))
                self.assertEqual(pair.cores[end]._indexes, {})
                pair.cores[1 - end].stop()
                self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_noSessionOfAnotherKeyIsLeft(self) -> None:
        for call in "sessionBegun", "endpointChanged", "_deliver":
            for end in range(2):
                pair = self.changed(call, end, "key")
                # The other end does not know the new key.
                self.assertEqual(pair.peers[end].sessions.all(), [], (call, end))
                self.assertNotIn(4, pair.kinds(end))

    def test_messagesOfOneReadAfterAStopAreDropped(self) -> None:
        pair = Pair()
        pair.open()
        pair.drop = lambda sent: True
        pair.send()
        data = pair.sent[-1].message
        pair.run(20)
        initiation = next(each.message for each in pair.sent if each.kind == 1)
        core: Any = pair.cores[1]
        core.endpointChanged = lambda peer: core.stop()
        delivered: list[object] = []
        core._deliver = delivered.append
        pair.sent.clear()
        core.messagesReceived([data, initiation], Endpoint("203.0.113.9", 9))
        self.assertEqual((pair.sent, core._indexes, delivered), ([], {}, []))

    def test_peersMayBeChangedWhenASessionEnds(self) -> None:
        for change in CHANGES.values():
            pair = Pair()
            pair.open()
            core: Any = pair.cores[0]

            def ended(peer: object, core: Any = core) -> None:
                for each in list(core.peers.values()):
                    core.removePeer(each)
                core.addPeer(OTHER.public)

            core.sessionEnded = ended
            change(pair, 0)
            self.assertEqual(len(core.peers), 1)
            self.assertEqual(core._indexes, {})

    def test_aPacketForAPeerWhoseSessionEndsHasTheNewKey(self) -> None:
        pair = Pair()
        pair.open()
        peer = pair.cores[1].addPeer(OTHER.public)
        pair.cores[0].sessionEnded = lambda peer: pair.send()
        pair.cores[0].setPrivate(OTHER)
        pair.run(1)
        self.assertEqual(pair.count(1, "inHandshakeErrors"), 0)
        self.assertEqual(str(peer.endpoint), str(OUTSIDE[0]))
