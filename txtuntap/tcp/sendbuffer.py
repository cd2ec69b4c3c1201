"""
The data that the application has written: its own C{bytes}, never copied, by position.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Final

#: Chunks that are acknowledged and still in the list, before it is made shorter.
_SLACK = 64

#: The most buffers of one segment: more are joined, since a system call takes no more than some hundred.
_MOST_BUFFERS = 64

#: In place of lists that nothing is in, of which each connection that is idle would have two. It is a tuple, so
#: nothing can be added to it.
_EMPTY: Final[Any] = ()


class SendBuffer:
    """
    Octets from C{start} to C{end}, in the chunks in which they were written.

    @ivar start: the first position that is not acknowledged; C{end}: the position behind the last octet written.
    """

    __slots__ = ("_chunks", "_ends", "_head", "end", "start")

    def __init__(self, start: int) -> None:
        self.start = self.end = start
        self._chunks: list[bytes] = _EMPTY
        #: The position behind each chunk.
        self._ends: list[int] = _EMPTY
        # Where the first chunk is that is not yet acknowledged.
        self._head = 0

    def append(self, data: bytes) -> None:
        """
        Add what was written, at least one octet.
        """
        self.end += len(data)
        if self._ends:
            self._chunks.append(data)
            self._ends.append(self.end)
        else:
            self._chunks, self._ends = [data], [self.end]

    def release(self, position: int) -> None:
        """
        Forget the octets before a position.
        """
        if position >= self.end:
            # Nothing is left.
            self.start = self.end
            self._chunks = self._ends = _EMPTY
            self._head = 0
            return
        self.start = position
        ends, head = self._ends, self._head
        count = len(ends)
        while ends[head] <= position:
            self._chunks[head] = b""
            head += 1
        if head > _SLACK and head * 2 > count:
            del self._chunks[:head], ends[:head]
            head = 0
        self._head = head

    def truncate(self, position: int) -> None:
        """
        Forget the octets from a position on, which were not sent yet.
        """
        while self.end > position:
            chunk = self._chunks.pop()
            self._ends.pop()
            self.end -= len(chunk)
            if self.end < position:
                self.append(chunk[: position - self.end])

    def slices(self, start: int, end: int) -> Sequence[bytes | memoryview]:
        """
        The octets from one position to another, which are in the buffer.
        """
        if start >= end:
            return ()
        chunks, ends = self._chunks, self._ends
        if end == ends[-1] and end - start == len(chunks[-1]):
            # The latest write, whole.
            return chunks[-1:]
        index = bisect_right(ends, start, self._head)
        found: list[bytes | memoryview] = []
        while start < end:
            chunk, behind = chunks[index], ends[index]
            begin = behind - len(chunk)
            stop = min(end, behind)
            if start == begin and stop == behind:
                found.append(chunk)
            else:
                found.append(memoryview(chunk)[start - begin : stop - begin])
            start = stop
            index += 1
        return [b"".join(found)] if len(found) > _MOST_BUFFERS else found
