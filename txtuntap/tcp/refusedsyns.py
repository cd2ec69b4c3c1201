"""
A filter that remembers SYNs without an answer for a few seconds, with three bits for each.
"""

from __future__ import annotations

from array import array
from itertools import combinations
from math import comb
from zlib import crc32

#: The number of words of 32 bits for each interval. All bits of a SYN are in one word, and those of the interval before
#: are beside it. So a SYN of a flood, whose words are in no cache of the processor, waits for memory only once.
WORDS = 1 << 20
#: The shift of a hash of 32 bits after which it is the number of a word.
_SHIFT = 12
#: The number of choices of three bits in a word.
_CHOICES = comb(32, 3)
#: Words without SYNs, with which those of an interval are cleared in many steps, because that takes no memory.
_NONE = array("I", [0]) * 4096
#: The seconds of an interval. A SYN is remembered for one to two intervals.
INTERVAL = 4.0


class RefusedSyns:
    """
    A filter that recognizes a retransmitted SYN that had no answer a few seconds ago.

    Its memory does not depend on the number of SYNs. So it may mistake a new SYN for a retransmitted one. The more SYNs
    are remembered, the more often this happens: at 200,000 a second, for at most one SYN in 400. Each mistake costs a
    cookie, which takes as long as the refusal of several SYNs.
    """

    __slots__ = ("_choices", "_half", "_since", "_words")

    def __init__(self) -> None:
        # The words of both intervals in turn, and 0 or 1 for those of this interval. They are allocated at the first
        # SYN, because most hosts never need them. So are the choices of three bits that a SYN may have in its word.
        self._words = array("I")
        self._choices: list[int] = []
        self._half = 0
        self._since = float("-inf")

    def begin(self, now: float) -> None:
        """
        Set the time of the next SYNs.

        @param now: the time in seconds, which may step backwards.
        """
        age = now - self._since
        if 0 <= age < INTERVAL:
            return
        if 0 <= age < 2 * INTERVAL:
            self._half ^= 1
            self._since += INTERVAL
            for start in range(self._half, 2 * WORDS, 2 * len(_NONE)):
                self._words[start : start + 2 * len(_NONE) : 2] = _NONE
        else:
            self._since = now
            self._words = array("I", [0]) * (2 * WORDS)
            self._choices = [sum(1 << each for each in three) for three in combinations(range(32), 3)]

    def isRetransmitted(self, flow: bytes, sequence: int) -> bool:
        """
        Remember a SYN, and return whether it was remembered already.

        @param flow: both addresses and both ports, packed.
        @param sequence: the sequence number, which is the same in each retransmission.
        """
        number = crc32(flow, sequence)
        bits, index = self._choices[number % _CHOICES], number >> _SHIFT << 1 | self._half
        words = self._words
        word = words[index]
        if word & bits == bits:
            return True
        words[index] = word | bits
        return words[index ^ 1] & bits == bits
