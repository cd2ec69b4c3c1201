"""
The base class of the tests of impairments, with a port and a protocol that record packets and their times.
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
    A port that also records the time of each packet that is written.

    @ivar timed: the packets, each with its time in seconds.
    """

    def __init__(self, clock: Any) -> None:
        super().__init__(clock=clock)
        self.timed: list[tuple[float, bytes]] = []

    def writePacket(self, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        super().writePacket(buffers, offload)
        self.timed.append((self.clock.seconds(), self.sent[-1]))


class TimedRecorder(PacketRecorder):
    """
    A protocol that also records the time of each packet that it receives.

    @ivar times: the times of the received packets, in seconds.
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

    def impaired(self, netem: Netem | None = None, seed: int = 1, **directions: Netem) -> Impairment:
        """
        Put an L{Impairment} between a new L{TimedRecorder}, C{self.proto}, and a new L{TimedPort}, C{self.port}.

        @param directions: C{up} and C{down}, as for L{Impairment}.
        """
        self.proto = TimedRecorder(self.clock)
        self.port = TimedPort(self.clock)
        impairment = Impairment(self.proto, netem, random=Random(seed), **directions)
        impairment.makeConnection(self.port)
        return impairment

    def sendNumbered(self, impairment: Impairment, count: int, size: int = 4, every: float = 0) -> None:
        """
        Send packets in both directions. Each one holds its own number, from 0 on.

        @param size: the length of each packet, in octets.
        @param every: the seconds that pass after each packet.
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
        The numbers of the packets that reached the protocol.
        """
        return [int.from_bytes(bytes(packet), "big") for packet in self.proto.packets]

    @property
    def sent(self) -> list[int]:
        """
        The numbers of the packets that reached the port.
        """
        return [int.from_bytes(data, "big") for data in self.port.sent]

    def assertShare(self, count: int, of: int, probability: float) -> None:
        """
        Check that C{count} is within four standard deviations of a binomial distribution's mean.

        @param count: the number of packets that an event happened to.
        @param of: the number of all packets.
        @param probability: the probability of the event for one packet.
        """
        deviation = (of * probability * (1 - probability)) ** 0.5
        self.assertLess(abs(count - of * probability), 4 * deviation)
