"""
How often ICMP errors may be sent.
"""

from __future__ import annotations

from random import Random

from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.layer.tokenbucket import TokenBucket


class ErrorLimit:
    """
    How many ICMP errors may be sent: one a second to each destination, six at once; a thousand a second to all, fifty
    at once. As Linux does, and for the same reasons: an error goes to whoever the sender claims to be.

    The limit for all is a side channel: who can exhaust it with forged packets and count what is left learns which
    ports are open (CVE-2020-25705). So it is blurred by a few tokens.
    """

    RATE, BURST = 1000.0, 50.0
    RATE_EACH, BURST_EACH = 1.0, 6.0

    #: Destinations remembered; the oldest goes.
    MAX_DESTINATIONS = 1024

    def __init__(self, random: Random) -> None:
        self._random = random
        self._all = TokenBucket(self.RATE, self.BURST)
        self._each: Table[bytes, TokenBucket] = Table("error limits", self.MAX_DESTINATIONS, Policy.OLDEST)

    def tables(self) -> list[TableState]:
        """
        See L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [self._each.state]

    def permits(self, dest: bytes, now: float) -> bool:
        """
        @param dest: a packed IP address.
        @param now: seconds.

        @return: whether an error may be sent there now; if so, it counts.
        """
        bucket = self._each.get(dest)
        if bucket is None:
            bucket = TokenBucket(self.RATE_EACH, self.BURST_EACH)
            self._each.put(dest, bucket)
        return bucket.take(now) and self._all.take(now, self._random.randrange(3))
