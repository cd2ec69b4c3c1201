"""
The services that every host used to have: echo (RFC 862) and discard (RFC 863).
"""

from __future__ import annotations

import time

from twisted.internet.protocol import DatagramProtocol

from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.layer.counters import Counters
from txtuntap.layer.tokenbucket import TokenBucket

#: Ports below serve what is always there: echo, chargen, DNS, NTP.
FIRST_USER_PORT = 1024

#: How many datagrams of one peer, an address and a port, are answered a second; and at once.
RATE, BURST = 5000.0, 10_000.0

#: Peers whose datagrams are counted. The one that has not written for longest is forgotten.
MAX_PEERS = 1024


class Echo(DatagramProtocol):
    """
    Sends every datagram back (RFC 862), except to where another echo is likely to be: between two of them, one forged
    datagram would never come to rest. Not every such port is known beforehand, so each peer is answered at a bounded
    rate only.

    Counters: C{inServices} (from a port where another echo is likely to be), C{outLimited} (from a peer that is
    answered as often as it may be).

    @ivar counters: how often each thing happened, by name.
    """

    noisy = False

    def __init__(
        self, echoPorts: frozenset[int] = frozenset(), rate: float | None = RATE, burst: float = BURST
    ) -> None:
        """
        @param echoPorts: the ports that serve echo here.
        @param rate: how many datagrams of one peer are answered a second; L{None}: all.
        @param burst: how many of them are answered at once.

        @raise ValueError: C{rate} is not more than 0, or C{burst} is less than 1.
        """
        if rate is not None and not 0 < rate < float("inf"):
            raise ValueError(
                f"datagrams of a peer are answered more than 0 times a second, or all (None), not {rate!r}"
            )
        if not burst >= 1:
            raise ValueError(f"1 or more datagrams of a peer are answered at once, not {burst!r}")
        self.counters = Counters()
        self._echoPorts = echoPorts
        self._rate = rate
        self._burst = burst
        self._peers: Table[tuple[str, int], TokenBucket] = Table("echo peers", MAX_PEERS, Policy.LEAST_RECENT)
        # The peer that wrote last, since most datagrams come from the same one as the one before.
        self._latest: tuple[str, int] | None = None
        self._bucket: TokenBucket | None = None

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """
        Send it back.
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
            # A transport of Twisted's own has no clock: it is on a reactor.
            seconds = getattr(transport, "seconds", time.monotonic)
            if self._bucket is not None and not self._bucket.take(seconds()):
                self.counters["outLimited"] += 1
                return
        transport.write(datagram, addr)

    def tables(self) -> list[TableState]:
        """
        How full the table of peers is: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [self._peers.state]

    def stopProtocol(self) -> None:
        """
        Forget who wrote.
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
    Takes every datagram, and does nothing (RFC 863).
    """

    noisy = False
