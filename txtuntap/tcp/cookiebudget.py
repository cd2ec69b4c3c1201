"""
The budget of SYN cookies: which SYNs beyond the backlog get a cookie during a flood, and which are refused.
"""

from __future__ import annotations

from txtuntap.layer.tokenbucket import TokenBucket
from txtuntap.tcp.refusedsyns import RefusedSyns

#: The time of refusing a SYN, as a fraction of the time of sending a cookie.
_REFUSAL = 1 / 14

#: The SYNs in one turn of reading from which on the host may be overloaded: it reads more slowly than SYNs arrive. The
#: queue of a tun has room for 500 packets by default, so further SYNs have arrived while these were read.
OVERLOAD = 512

#: The SYNs in such turns, one directly after the other, after which there is a test for an overload. A burst has fewer:
#: many honest peers may connect at the same time, for instance after an outage.
SUSTAINED = 4096

#: The most seconds from the beginning of a turn to that of the next one, if the host reads all the time. A turn has at
#: most 1024 packets, and takes about 50 ms of one processor.
PAUSE = 0.5

#: The seconds for which the host is careful after an overload, and the seconds between two tests for one. In a test,
#: the host is careful for one turn of reading, so that each SYN takes little time. If as many SYNs arrive in that turn,
#: the host is overloaded.
CAREFUL = 1.0

#: The most cookies of a careful host for SYNs that are not retransmitted: in a turn of reading, and in a second. The
#: first SYNs of a turn get them. When the flood pauses, these are the SYNs of honest peers.
FEW = 4
CAREFUL_RATE = 400


class CookieBudget:
    """
    Two rate limits for cookies: one for all SYNs, and another one for retransmitted SYNs. A flood seldom sends a SYN
    twice, so it does not exhaust the second limit.

    The first limit is a budget of time, from which refused SYNs take their share. A host that cannot read a whole flood
    in time would otherwise send cookies to forged addresses, and lose the SYNs of honest peers unread. The budget
    assumes that the host has a processor of its own. With less, the host is overloaded at a lower rate of SYNs, so an
    overload limits the cookies as well.
    """

    __slots__ = (
        *("_behind", "_carefulUntil", "_cookies", "_few", "_first", "_isCareful", "_isRefusing"),
        *("_now", "_refusals", "_refused", "_second", "_syns", "_testedAt"),
    )

    def __init__(self, cookies: int) -> None:
        """
        @param cookies: the most cookies a second for either limit. 0: no SYN gets a cookie.
        """
        self._cookies = cookies
        self._first = TokenBucket(max(cookies, 1), max(cookies, 1))
        self._second = TokenBucket(max(cookies, 1), max(cookies, 1))
        self._few = TokenBucket(CAREFUL_RATE, FEW)
        self._refused = RefusedSyns()
        # The time of this turn of reading, and the number of SYNs in it.
        self._now = float("-inf")
        self._syns = 0
        # The number of SYNs in the turns before that may have overloaded the host, one directly after the other.
        self._behind = 0
        # The SYNs that were refused in this turn, and whether all further ones are refused unless retransmitted.
        self._refusals = 0
        self._isRefusing = False
        # Whether the host is careful in this turn, until when, and the time of the last test.
        self._isCareful = False
        self._carefulUntil = self._testedAt = float("-inf")

    def take(self, key: bytes, sequence: int, now: float) -> bool:
        """
        Take a cookie for a SYN from the budget.

        @param key: the flow of the SYN: both addresses and both ports, packed.
        @param sequence: the sequence number of the SYN.
        @param now: the time in seconds, which is the same for all packets of one turn of reading.

        @return: whether the SYN gets a cookie. Otherwise it is refused.
        """
        if not self._cookies:
            return False
        if now != self._now:
            self._begin(now)
        self._syns += 1
        if not self._isRefusing:
            isAllowed = not self._isCareful or (self._syns <= FEW and self._few.take(now))
            if isAllowed and self._first.take(now):
                return True
            self._isRefusing = True
        self._refusals += 1
        self._refused.begin(now)
        return self._refused.isRetransmitted(key, sequence) and self._second.take(now)

    def refuses(self, key: bytes, sequence: int, now: float) -> bool:
        """
        Refuse a SYN in less time than L{take}, if that can be decided at once.

        @return: whether the SYN is refused. Otherwise L{take} has to decide. The parameters are those of L{take}.
        """
        if not self._cookies:
            return True
        if now != self._now:
            self._begin(now)
        if not self._isRefusing or (self._refused.isRetransmitted(key, sequence) and self._second.has(now)):
            return False
        self._syns += 1
        self._refusals += 1
        return True

    def _begin(self, now: float) -> None:
        """
        Begin a turn of reading, after the SYNs of the last turn have taken their share.
        """
        if self._syns >= OVERLOAD and 0 <= now - self._now <= PAUSE:
            self._behind += self._syns
            if self._isCareful:
                self._carefulUntil = now + CAREFUL
            elif self._behind >= SUSTAINED and not 0 <= now - self._testedAt < CAREFUL:
                self._testedAt = now
                self._isCareful = True
        else:
            self._behind = 0
            self._isCareful = self._isCareful and 0 < self._carefulUntil - now <= CAREFUL
        self._first.charge(self._refusals * _REFUSAL)
        self._now = now
        self._syns = self._refusals = 0
        self._isRefusing = not self._first.has(now) or (self._isCareful and not self._few.has(now))
        if self._isRefusing:
            self._refused.begin(now)
