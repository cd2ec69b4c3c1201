"""
A filter that remembers SYNs without an answer for a few seconds, with two bits for each.
"""

from __future__ import annotations

from zlib import crc32

#: The number of bits for each interval.
BITS = 1 << 24
#: The shift of a hash of 32 bits after which it is the number of the second bit.
_SHIFT = 8
#: The seconds of an interval. A SYN is remembered for one to two intervals.
INTERVAL = 4.0


class RefusedSyns:
    """
    A filter that recognizes a retransmitted SYN that had no answer a few seconds ago.

    Its memory does not depend on the number of SYNs. So it may mistake a new SYN for a retransmitted one. The more SYNs
    are remembered, the more often this happens: at 100,000 a second, for at most one SYN in 200. Each mistake costs a
    cookie, which takes as long as the refusal of several SYNs.
    """

    __slots__ = ("_before", "_bits", "_since")

    def __init__(self) -> None:
        # The bits are allocated at the first SYN, because most hosts never need them.
        self._bits = self._before = bytearray()
        self._since = float("-inf")

    def isRetransmitted(self, flow: bytes, sequence: int, now: float) -> bool:
        """
        Remember a SYN, and return whether it was remembered already.

        @param flow: both addresses and both ports, packed.
        @param sequence: the sequence number, which is the same in each retransmission.
        @param now: the time in seconds, which may step backwards.
        """
        age = now - self._since
        if not self._bits or not 0 <= age < INTERVAL:
            follows = 0 <= age < 2 * INTERVAL
            self._before = self._bits if follows else bytearray()
            self._bits = bytearray(BITS >> 3)
            self._since = self._since + INTERVAL if follows else now
        number = crc32(flow, sequence)
        first, firstBit = number % BITS >> 3, 1 << (number & 7)
        number >>= _SHIFT
        second, secondBit = number >> 3, 1 << (number & 7)
        bits, before = self._bits, self._before
        isRemembered = (bits[first] & firstBit and bits[second] & secondBit) or (
            before and before[first] & firstBit and before[second] & secondBit
        )
        bits[first] |= firstBit
        bits[second] |= secondBit
        return bool(isRemembered)
