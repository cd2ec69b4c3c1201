"""
The rate limit of the ICMP errors that a host sends (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4f).
"""

from __future__ import annotations

from random import Random

from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.layer.tokenbucket import TokenBucket


class ErrorLimit:
    """
    Limits the rate of ICMP errors. To each destination, one error a second is permitted, with a burst of six. To all
    destinations together, a thousand a second are permitted, with a burst of fifty. Linux has the same limits. Without
    them, an attacker could flood a victim with errors by sending packets with the victim's address as their source.

    The limit for all destinations is a side channel. An attacker can exhaust it with forged packets, count the errors
    that it still receives, and so learn which ports are open (CVE-2020-25705). A random number of spare tokens, up to
    two, makes that count unreliable.
    """

    #: The limit for all destinations together: errors a second, and the largest burst.
    RATE, BURST = 1000.0, 50.0

    #: The limit for each destination.
    RATE_EACH, BURST_EACH = 1.0, 6.0

    #: The most destinations that are remembered. The oldest is evicted.
    MAX_DESTINATIONS = 1024

    __slots__ = ("_all", "_each", "_random")

    def __init__(self, random: Random) -> None:
        """
        @param random: the source of the random number of spare tokens.
        """
        self._random = random
        self._all = TokenBucket(self.RATE, self.BURST)
        self._each: Table[bytes, TokenBucket] = Table("error limits", self.MAX_DESTINATIONS, Policy.OLDEST)

    def tables(self) -> list[TableState]:
        """
        List the bounded tables: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [self._each.state]

    def permits(self, dest: bytes, now: float) -> bool:
        """
        Decide whether an error may be sent, and count it if so.

        @param dest: the destination, a packed IP address.
        @param now: the steady time in seconds.

        @return: whether the error may be sent.
        """
        bucket = self._each.get(dest)
        if bucket is None:
            bucket = TokenBucket(self.RATE_EACH, self.BURST_EACH)
            self._each.put(dest, bucket)
        return bucket.take(now) and self._all.take(now, self._random.randrange(3))
