"""
The echo and discard services, as protocols for a UDP port.

Read RFC 862 (echo) and RFC 863 (discard) first.
"""

from __future__ import annotations

import time

from twisted.internet.protocol import DatagramProtocol

from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.layer.counters import Counters
from txtuntap.layer.tokenbucket import TokenBucket

#: The lowest port that is no system port. Some services on lower ports answer any datagram: echo, chargen, DNS, NTP.
FIRST_USER_PORT = 1024

#: The most datagrams of one peer (an address and a port) that are answered per second, and the most at once.
RATE, BURST = 5000.0, 10_000.0

#: The most peers whose rate is limited separately. Beyond that, the peer that has not sent for longest is evicted.
MAX_PEERS = 1024


class Echo(DatagramProtocol):
    """
    Sends every datagram back to its sender (RFC 862), except to a source port below 1024 or one of C{echoPorts}.
    Another service that answers any datagram may listen on such a port. One forged datagram would make both services
    answer each other endlessly. These services may also listen on other ports, so the rate of answers to each peer is
    limited.

    Counters: C{inServices} (datagrams from a port below 1024 or one of C{echoPorts}), C{outLimited} (datagrams that are
    not answered because of the limit).

    @ivar counters: the counters, by name.
    """

    noisy = False

    def __init__(
        self, echoPorts: frozenset[int] = frozenset(), rate: float | None = RATE, burst: float = BURST
    ) -> None:
        """
        @param echoPorts: the ports on which echo services of this program listen.
        @param rate: the most datagrams of one peer that are answered per second; C{None} for no limit.
        @param burst: the most datagrams of one peer that are answered at once.

        @raise ValueError: C{rate} is not above 0 or is infinite, or C{burst} is less than 1.
        """
        if rate is not None and not 0 < rate < float("inf"):
            raise ValueError(
                f"the rate is a number of answers per second above 0, or None for no limit: it is not {rate!r}"
            )
        if not burst >= 1:
            raise ValueError(f"the burst is a number of answers at once, 1 or more: it is not {burst!r}")
        self.counters = Counters()
        self._echoPorts = echoPorts
        self._rate = rate
        self._burst = burst
        self._peers: Table[tuple[str, int], TokenBucket] = Table("echo peers", MAX_PEERS, Policy.LEAST_RECENT)
        # The peer of the last datagram and its bucket, which save a look-up when the next one has the same peer.
        self._latest: tuple[str, int] | None = None
        self._bucket: TokenBucket | None = None

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """
        Send the datagram back to its sender.
        """
        transport = self.transport
        if transport is None:
            return
        if addr[1] < FIRST_USER_PORT or addr[1] in self._echoPorts:
            self.counters["inServices"] += 1
            return
        if self._rate is not None:
            if addr is not self._latest:
                self._latest, self._bucket = addr, self._bucketOf(addr[:2], self._rate)
            # Only transports of this package have a method seconds. Twisted's transports are always in real time.
            seconds = getattr(transport, "seconds", time.monotonic)
            if self._bucket is not None and not self._bucket.take(seconds()):
                self.counters["outLimited"] += 1
                return
        transport.write(datagram, addr)

    def tables(self) -> list[TableState]:
        """
        Return the state of the table of peers: see
        L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [self._peers.state]

    def stopProtocol(self) -> None:
        """
        Forget all peers, so that their limits begin anew.
        """
        self._peers.clear()
        self._latest = self._bucket = None

    def _bucketOf(self, peer: tuple[str, int], rate: float) -> TokenBucket:
        bucket = self._peers.use(peer)
        if bucket is None:
            bucket = TokenBucket(rate, self._burst)
            self._peers.put(peer, bucket)
        return bucket


class Discard(DatagramProtocol):
    """
    Receives every datagram and does nothing (RFC 863).
    """

    noisy = False
