"""
Datagrams of a host to itself: they never get to a link.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from txtuntap.layer.tables import Policy, TableState
from txtuntap.packet import Packet

#: Datagrams that wait for the next turn of the reactor, and their octets: a new one that finds no room is dropped.
MAX_WAITING = 256
MAX_WAITING_OCTETS = 1024 * 1024


class Loopback:
    """
    Delivers datagrams at the next turn of the reactor: two protocols that answer each other for ever must not keep it
    from other work.
    """

    def __init__(self, deliver: Callable[[Packet, int], None], counters: Counter[str]) -> None:
        """
        @param deliver: called with each packet, C{start} after its IP header, and the protocol number.
        @param counters: C{outDiscards} is counted here.
        """
        self._deliver = deliver
        self._counters = counters
        self._waiting: list[tuple[Packet, int]] = []
        self._octets = 0
        self._call: IDelayedCall | None = None

    def send(self, clock: IReactorTime, packet: Packet, protocol: int) -> None:
        """
        Have a packet delivered.
        """
        if len(self._waiting) >= MAX_WAITING or self._octets + len(packet.data) > MAX_WAITING_OCTETS:
            self._counters["outDiscards"] += 1
            return
        if self._call is None:
            self._call = clock.callLater(0, self._deliverAll)
        self._waiting.append((packet, protocol))
        self._octets += len(packet.data)

    def tables(self) -> list[TableState]:
        """
        See L{Layer.tables<txtuntap.layer.layer.Layer.tables>}.
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
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _deliverAll(self) -> None:
        self._call = None
        waiting, self._waiting = self._waiting, []
        self._octets = 0
        for packet, protocol in waiting:
            self._deliver(packet, protocol)
