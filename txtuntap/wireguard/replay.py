"""
The window of counters that protects a session from replayed messages.

Read RFC 6479 first.
"""

from __future__ import annotations

from typing import Final

#: The bits of one word, and the words of the ring.
_WORD_BITS: Final = 64
_WORDS: Final = 128

#: Counters that are farther behind the highest one are refused. One word of the ring is being filled.
WINDOW: Final = (_WORDS - 1) * _WORD_BITS


class ReplayWindow:
    """
    The counters that have come lately: a ring of bits.

    Only counters of messages that are authentic are given to it, because a forged one would move the window.

    @ivar next: one more than the highest counter that has come.
    """

    __slots__ = ("_words", "next")

    def __init__(self) -> None:
        self.next = 0
        self._words = [0] * _WORDS

    def accept(self, counter: int) -> bool:
        """
        Take the counter of an authentic message.

        @return: whether it is new: neither behind the window, nor taken before.
        """
        words = self._words
        index = counter >> 6
        bit = 1 << (counter & 63)
        ahead = counter - self.next
        if not ahead and counter & 63:
            # Most counters follow the one before, in the same word.
            words[index % _WORDS] |= bit
            self.next = counter + 1
            return True
        if ahead >= 0:
            current = (self.next - 1) >> 6
            if index != current:
                # Words between the highest counter and this one are of an earlier turn of the ring.
                for each in range(max(current + 1, index - _WORDS + 1), index + 1):
                    words[each % _WORDS] = 0
            words[index % _WORDS] |= bit
            self.next = counter + 1
            return True
        if ahead < -1 - WINDOW:
            return False
        index %= _WORDS
        if words[index] & bit:
            return False
        words[index] |= bit
        return True
