"""
The loopback: datagrams that a host sends to itself, which never reach a link.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from txtuntap.layer.bounded import Policy, TableState
from txtuntap.layer.counters import Counters
from txtuntap.layer.timer import Timer
from txtuntap.packet import Packet

#: The most datagrams that wait for the next turn of the reactor, and the most octets in them. Beyond these bounds, new
#: datagrams are dropped.
MAX_WAITING = 256
MAX_WAITING_OCTETS = 1024 * 1024


class Loopback:
    """
    The queue of the datagrams that a host sends to itself. They are delivered in the next turn of the reactor. If they
    were delivered at once, two protocols that answer each other endlessly would keep the reactor from all other work.
    """

    __slots__ = ("_counters", "_deliver", "_octets", "_turn", "_waiting")

    def __init__(self, deliver: Callable[[Packet, int], None], counters: Counters) -> None:
        """
        @param deliver: a function that is called with each packet and its protocol number. C{start} of the packet is
            behind the IP header.
        @param counters: the counters, of which C{outDiscards} counts the datagrams for which there is no room.
        """
        self._deliver = deliver
        self._counters = counters
        self._waiting: list[tuple[Packet, int]] = []
        self._octets = 0
        self._turn: Timer | None = None

    def send(self, clock: IReactorTime, packet: Packet, protocol: int) -> None:
        """
        Queue a packet for the next turn of the reactor.

        @param clock: the reactor, or a clock in its place.
        @param packet: the datagram, with C{start} behind its IP header.
        @param protocol: the protocol number of its payload.
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
        Return the states of the tables: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [
            TableState("loopback", len(self._waiting), MAX_WAITING, Policy.REFUSE.value),
            TableState("loopback octets", self._octets, MAX_WAITING_OCTETS, Policy.REFUSE.value, "octets"),
        ]

    def clear(self) -> None:
        """
        Discard the datagrams that wait.
        """
        self._waiting, self._octets = [], 0
        if self._turn is not None:
            self._turn.stop()
            # The clock of the next packet may be another one, which needs a timer of its own.
            self._turn = None

    def _deliverAll(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._octets = 0
        for packet, protocol in waiting:
            self._deliver(packet, protocol)
