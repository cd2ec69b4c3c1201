"""
The budget of SYN cookies: which SYNs beyond the backlog get a cookie during a flood, and which are refused.
"""

from __future__ import annotations

from txtuntap.layer.tokenbucket import TokenBucket
from txtuntap.tcp.refusedsyns import RefusedSyns

#: The time of refusing a SYN, as a fraction of the time of sending a cookie.
_REFUSAL = 1 / 6


class CookieBudget:
    """
    Two rate limits for cookies: one for all SYNs, and another one for retransmitted SYNs. A flood seldom sends a SYN
    twice, so it does not exhaust the second limit.

    The first limit is a budget of time, from which refused SYNs take their share. A host that cannot read a whole flood
    in time would otherwise send cookies to forged addresses, and lose the SYNs of honest peers unread.
    """

    def __init__(self, cookies: int) -> None:
        """
        @param cookies: the most cookies a second for either limit. 0: no SYN gets a cookie.
        """
        self._sendsAny = cookies > 0
        self._first = TokenBucket(max(cookies, 1), max(cookies, 1))
        self._second = TokenBucket(max(cookies, 1), max(cookies, 1))
        self._refused = RefusedSyns()

    def take(self, key: bytes, sequence: int, now: float) -> bool:
        """
        Take a cookie for a SYN from the budget.

        @param key: the flow of the SYN: both addresses and both ports, packed.
        @param sequence: the sequence number of the SYN.
        @param now: the time in seconds.

        @return: whether the SYN gets a cookie. Otherwise it is refused.
        """
        if not self._sendsAny:
            return False
        if self._first.take(now):
            return True
        self._first.charge(_REFUSAL)
        return self._refused.isRetransmitted(key, sequence, now) and self._second.take(now)

    def refuses(self, key: bytes, sequence: int, now: float) -> bool:
        """
        Refuse a SYN in less time than L{take}, if that can be decided at once.

        @return: whether the SYN is refused. Otherwise L{take} has to decide. The parameters are those of L{take}.
        """
        if not self._sendsAny or self._first.has(now) or self._refused.isRetransmitted(key, sequence, now):
            return False
        self._first.charge(_REFUSAL)
        return True
