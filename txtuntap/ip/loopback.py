"""
Datagrams of a host to itself: they never get to a link.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from txtuntap.layer.bounded import Policy, TableState
from txtuntap.layer.counters import Counters
from txtuntap.layer.timer import Timer
from txtuntap.packet import Packet

#: Datagrams that wait for the next turn of the reactor, and their octets: a new one that finds no room is dropped.
MAX_WAITING = 256
MAX_WAITING_OCTETS = 1024 * 1024


class Loopback:
    """
    Delivers datagrams at the next turn of the reactor: two protocols that answer each other for ever must not keep it
    from other work.
    """

    def __init__(self, deliver: Callable[[Packet, int], None], counters: Counters) -> None:
        """
        @param deliver: called with each packet, C{start} after its IP header, and the protocol number.
        @param counters: C{outDiscards} is counted here.
        """
        self._deliver = deliver
        self._counters = counters
        self._waiting: list[tuple[Packet, int]] = []
        self._octets = 0
        self._turn: Timer | None = None

    def send(self, clock: IReactorTime, packet: Packet, protocol: int) -> None:
        """
        Have a packet delivered.
        """
        if len(self._waiting) >= MAX_WAITING or self._octets + len(packet.data) > MAX_WAITING_OCTETS:
            self._counters["outDiscards"] += 1
            return
        if self._turn is None:
            self._turn = Timer(clock, self._deliverAll)
        if not self._turn.armed:
            self._turn.arm(0)
        self._waiting.append((packet, protocol))
        self._octets += len(packet.data)

    def tables(self) -> list[TableState]:
        """
        See L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [
            TableState("loopback", len(self._waiting), MAX_WAITING, Policy.REFUSE.value),
            TableState("loopback octets", self._octets, MAX_WAITING_OCTETS, Policy.REFUSE.value, "octets"),
        ]

    def clear(self) -> None:
        """
        Lose what waits.
        """
        self._waiting, self._octets = [], 0
        if self._turn is not None:
            self._turn.stop()
            # The next clock may be another one.
            self._turn = None

    def _deliverAll(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._octets = 0
        for packet, protocol in waiting:
            self._deliver(packet, protocol)
