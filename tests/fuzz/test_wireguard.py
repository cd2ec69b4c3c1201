"""
Tests that run the initial inputs of the fuzzer for WireGuard, and tests that its harness finds broken invariants.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz.ingress import Broken, join
from tests.fuzz.mutation import change, cross, mutate
from tests.fuzz.wireguard import FILE, INNER, MESSAGE, REPLAY, Attacked, feed, seeds
from txtuntap.testing import ipPacket
from txtuntap.wireguard.configuration import Configuration, ConfigurationError
from txtuntap.wireguard.core import Core
from txtuntap.wireguard.replay import ReplayWindow

#: The folder of inputs that have caused errors before, one in each file.
SEEDS = Path(__file__).parent / "seeds-wireguard"


class SeedTests(SynchronousTestCase):
    """
    The initial inputs, and some mutations of them.
    """

    def test_theInitialInputsPassAndReachTheCounters(self) -> None:
        total: Counter[str] = Counter()
        for data in seeds():
            total.update(feed(data).core.counters)
        for names in (
            "inErrors inMacErrors inHandshakeErrors inOldTimestamps inUnknownIndexes inUnauthentic",
            "inReplays inExpired inForbidden inDataErrors inKeepalives outCookieReplies",
        ):
            for name in names.split():
                self.assertGreater(total[name], 0, name)

    def test_everySeedPasses(self) -> None:
        for path in SEEDS.glob("*"):
            feed(path.read_bytes())

    def test_someMutationsPass(self) -> None:
        random = Random(1)
        every = list(seeds())
        for _ in range(150):
            data = cross(random.choice(every), random.choice(every), 4096, random)
            feed(mutate(data, 4096, random, lambda packet, _: change(packet, random)))


class HarnessTests(SynchronousTestCase):
    """
    Invariants that do not hold.
    """

    def test_aReplayThatIsTakenIsFound(self) -> None:
        with patch.object(ReplayWindow, "accept", lambda self, counter: True):
            self.assertRaises(Broken, feed, join(False, [bytes([REPLAY, 1])]))

    def test_anAnswerToAStrangerIsFound(self) -> None:
        def answered(self: Any, message: bytes, source: Any, now: float) -> None:
            self._send([message + b"!"], source, 0)

        with patch.object(Core, "_handshakeReceived", answered):
            self.assertRaises(Broken, feed, join(False, [bytes([MESSAGE])]))

    def test_aForbiddenSourceIsFound(self) -> None:
        attacked = Attacked()
        packet = ipPacket("10.0.0.9", "10.0.0.2", 17, b"12345")
        attacked.receive(bytes([INNER]) + packet)
        self.assertEqual(attacked.pair.delivered[1], [])
        attacked.core._allowed = type("Any", (), {"match": lambda self, address: (0, attacked.peer)})()
        self.assertRaises(Broken, attacked.receive, bytes([INNER]) + packet)

    def test_aKeyInAnErrorIsFound(self) -> None:
        def refused(text: str) -> Configuration:
            raise ConfigurationError(text)

        with patch.object(Configuration, "of", refused):
            self.assertRaises(Broken, feed, join(False, [bytes([FILE]) + b"%k"]))

    def test_anEndThatStopsWorkingIsFound(self) -> None:
        attacked = Attacked()
        attacked.core.removePeer(attacked.peer)
        self.assertRaises(Broken, attacked.check)
