"""
The SYNs that had no answer lately, in a bit each.
"""

from __future__ import annotations

from zlib import crc32

#: Bits that are kept of an interval, and its seconds. A SYN is remembered for one to two of them.
BITS = 1 << 23
INTERVAL = 4.0


class RefusedSyns:
    """
    Knows again a SYN that had no answer a few seconds ago. Memory is the same for any number of them: one SYN of
    another peer may be taken for it, the more often, the more there are (of 50,000 a second, one in 20 at most).
    """

    __slots__ = ("_before", "_bits", "_since")

    def __init__(self) -> None:
        # Made at the first SYN: most hosts never need them.
        self._bits = self._before = bytearray()
        self._since = float("-inf")

    def isAgain(self, flow: bytes, sequence: int, now: float) -> bool:
        """
        Remember a SYN.

        @param flow: both addresses and both ports.
        @param sequence: its sequence number, which is the same each time that it is sent.
        @param now: seconds; may step backwards.

        @return: whether it has come before.
        """
        age = now - self._since
        if not self._bits or not 0 <= age < INTERVAL:
            follows = 0 <= age < 2 * INTERVAL
            self._before = self._bits if follows else bytearray()
            self._bits = bytearray(BITS >> 3)
            self._since = self._since + INTERVAL if follows else now
        number = crc32(flow, sequence) % BITS
        at, bit = number >> 3, 1 << (number & 7)
        isAgain = self._bits[at] & bit or (self._before and self._before[at] & bit)
        self._bits[at] |= bit
        return bool(isAgain)
