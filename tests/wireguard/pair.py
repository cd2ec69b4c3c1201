"""
Two ends of WireGuard in virtual time, with a path between them that tests can spoil.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_network
from math import inf
from random import Random
from typing import Any

import attrs
from twisted.internet.task import Clock

from txtuntap.testing import ipPacket
from txtuntap.wireguard.core import Core
from txtuntap.wireguard.endpoint import Endpoint
from txtuntap.wireguard.keys import PrivateKey
from txtuntap.wireguard.peer import Peer

#: The addresses inside and outside, by end.
INSIDE = "10.0.0.1", "10.0.0.2"
OUTSIDE = Endpoint("192.0.2.1", 51820), Endpoint("192.0.2.2", 51820)


class SteppedClock(Clock):
    """
    A clock whose wall time can be set, and whose steady time only passes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.offset = 1_700_000_000.0

    def steadySeconds(self) -> float:
        """
        The seconds that have passed.
        """
        return super().seconds()

    def seconds(self) -> float:
        """
        The wall time in seconds.
        """
        return super().seconds() + self.offset


@attrs.frozen
class Sent:
    """
    A message that an end has sent.
    """

    sender: int
    at: float
    message: bytes
    endpoint: Endpoint
    trafficClass: int

    @property
    def kind(self) -> int:
        """
        The type of the message.
        """
        return self.message[0]


class Pair:
    """
    Two ends, each a peer of the other's. The first one knows where the second is.

    @ivar cores: both ends; C{keys}: their private keys; C{peers}: at each end, the peer that the other one is.
    @ivar sent: all messages, in the order in which they were sent.
    @ivar delivered: the packets that each end has delivered.
    @ivar drop: called with each message; a true value loses it. C{latency}: the seconds that messages take.
    @ivar source: where each end's messages seem to come from.
    """

    def __init__(self, seed: int = 1, presharedKey: bytes = bytes(32)) -> None:
        self.clock = SteppedClock()
        self.keys = [PrivateKey.generate(Random(seed + end)) for end in range(2)]
        self.cores = [self._core(end, seed) for end in range(2)]
        self.sent: list[Sent] = []
        self.delivered: list[list[bytes]] = [[], []]
        self.drop: Callable[[Sent], object] = lambda sent: False
        self.latency: Callable[[Sent], float] = lambda sent: 0.01
        self.source = list(OUTSIDE)
        self.peers: list[Peer] = []
        for end, core in enumerate(self.cores):
            core.setPrivate(self.keys[end])
            peer = core.addPeer(self.keys[1 - end].public)
            peer.presharedKey = presharedKey
            core.allow(peer, ip_network(INSIDE[1 - end]))
            self.peers.append(peer)
            core.start()
        self.cores[0].setEndpoint(self.peers[0], OUTSIDE[1])

    def _core(self, end: int, seed: int) -> Core:
        def send(messages: Sequence[bytes | memoryview], endpoint: Endpoint, trafficClass: int) -> None:
            for message in messages:
                self._sent(Sent(end, self.now, bytes(message), endpoint, trafficClass))

        return Core(
            self.clock,
            Random(2 * seed + end),
            Random(seed + 10 * (end + 1)),
            send,
            lambda packets: self.delivered[end].extend(packets),
        )

    def _sent(self, sent: Sent) -> None:
        self.sent.append(sent)
        other = 1 - sent.sender
        if not self.drop(sent) and sent.endpoint == self.source[other]:
            source = self.source[sent.sender]
            self.clock.callLater(self.latency(sent), lambda: self.cores[other].messagesReceived([sent.message], source))

    @property
    def now(self) -> float:
        """
        The time in steady seconds.
        """
        return self.clock.steadySeconds()

    def run(self, seconds: float) -> None:
        """
        Let time pass, and stop at each call's own time.
        """
        end = self.now + seconds
        while True:
            # The calls of a task.Clock are kept by its own time.
            due = min((call.getTime() - self.clock.offset for call in self._calls()), default=inf)
            if due > end:
                break
            # The wall time has so many digits that a step may be rounded to nothing.
            self.clock.advance(max(1e-6, due - self.now))
        self.clock.advance(end - self.now)

    def _calls(self) -> list[Any]:
        return list(self.clock.getDelayedCalls())

    def packet(self, end: int, payload: bytes = b"data", source: str | None = None, dest: str | None = None) -> bytes:
        """
        A packet from one end's network to the other's.
        """
        return ipPacket(source or INSIDE[end], dest or INSIDE[1 - end], 17, payload)

    def send(self, end: int = 0, payload: bytes = b"data") -> bytes:
        """
        Have an end send a packet.
        """
        packet = self.packet(end, payload)
        assert self.cores[end].sendPacket(packet) is None
        return packet

    def open(self) -> None:
        """
        Have a session, by a packet of the first end.
        """
        self.send()
        self.run(0.1)
        assert self.delivered[1] == [self.packet(0)]
        self.delivered[1].clear()
        self.sent.clear()

    def count(self, end: int, name: str) -> int:
        """
        A counter of one end.
        """
        return self.cores[end].counters[name]

    def kinds(self, end: int) -> list[int]:
        """
        The types of messages that an end has sent.
        """
        return [each.kind for each in self.sent if each.sender == end]
