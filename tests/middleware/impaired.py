"""
What the tests of impairments have in common: a port and a protocol that keep what they get, and when.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.ports import RecordingPort
from tests.recorders import PacketRecorder
from txtuntap import Packet
from txtuntap.middleware import Impairment, Netem
from txtuntap.testing import SimulationClock
from txtuntap.wire.offload import Offload


class TimedPort(RecordingPort):
    """
    Keeps when each packet is written, too.

    @ivar timed: the times, in seconds, and the packets.
    """

    def __init__(self, clock: Any) -> None:
        super().__init__(clock=clock)
        self.timed: list[tuple[float, bytes]] = []

    def writePacket(self, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        super().writePacket(buffers, offload)
        self.timed.append((self.clock.seconds(), self.sent[-1]))


class TimedRecorder(PacketRecorder):
    """
    Keeps when each packet came, too.

    @ivar times: the times, in seconds.
    """

    def __init__(self, clock: Any) -> None:
        super().__init__()
        self.clock = clock
        self.times: list[float] = []

    def packetReceived(self, packet: Packet) -> None:
        self.times.append(self.clock.seconds())
        super().packetReceived(packet)


class ImpairmentTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock: Any = SimulationClock()

    def impaired(self, both: Netem | None = None, seed: int = 1, **ways: Netem) -> Impairment:
        """
        An L{Impairment} between a L{TimedRecorder}, C{self.proto}, and a L{TimedPort}, C{self.port}.
        """
        self.proto = TimedRecorder(self.clock)
        self.port = TimedPort(self.clock)
        impairment = Impairment(self.proto, both, random=Random(seed), **ways)
        impairment.makeConnection(self.port)
        return impairment

    def numbered(self, impairment: Impairment, count: int, size: int = 4, every: float = 0) -> None:
        """
        Have packets set out in both directions: their numbers, in C{size} octets.
        """
        for number in range(count):
            data = number.to_bytes(size, "big")
            impairment.packetReceived(Packet(data))
            impairment.writePacket([data[:2], data[2:]])
            if every:
                self.clock.advance(every)

    @property
    def received(self) -> list[int]:
        """
        The numbers of those that came.
        """
        return [int.from_bytes(bytes(packet), "big") for packet in self.proto.packets]

    @property
    def sent(self) -> list[int]:
        """
        The numbers of those that were written.
        """
        return [int.from_bytes(data, "big") for data in self.port.sent]

    def assertShare(self, count: int, of: int, probability: float) -> None:
        """
        C{count} is what a binomial distribution gives.
        """
        deviation = (of * probability * (1 - probability)) ** 0.5
        self.assertLess(abs(count - of * probability), 4 * deviation)
