"""
The send buffer of a connection: it keeps the application's own C{bytes} objects, and finds their octets by position.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Final

#: The acknowledged chunks that may stay in the list before they are deleted together.
_SLACK = 64

#: The most buffers of one write. A larger number of buffers is joined, because a system call takes only some hundred.
_MOST_BUFFERS = 64

#: A shared empty sequence, which replaces two empty lists of each idle connection. Nothing can be added to a tuple.
_EMPTY: Final[Any] = ()


class SendBuffer:
    """
    The octets from the position C{start} to C{end}, in the chunks in which they were written.

    @ivar start: the first unacknowledged position.
    @ivar end: the position behind the last octet written.
    """

    __slots__ = ("_chunks", "_ends", "_head", "end", "start")

    def __init__(self, start: int) -> None:
        self.start = self.end = start
        self._chunks: list[bytes] = _EMPTY
        #: The position behind each chunk.
        self._ends: list[int] = _EMPTY
        # The index of the first chunk that is not fully acknowledged.
        self._head = 0

    def append(self, data: bytes) -> None:
        """
        Append written data, which has at least one octet.
        """
        self.end += len(data)
        if self._ends:
            self._chunks.append(data)
            self._ends.append(self.end)
        else:
            self._chunks, self._ends = [data], [self.end]

    def release(self, position: int) -> None:
        """
        Release the octets before an acknowledged position.
        """
        if position >= self.end:
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
        Delete the octets from a position on. They were not sent yet.
        """
        while self.end > position:
            chunk = self._chunks.pop()
            self._ends.pop()
            self.end -= len(chunk)
            if self.end < position:
                self.append(chunk[: position - self.end])

    def slices(self, start: int, end: int) -> Sequence[bytes | memoryview]:
        """
        Return the octets from one position to another, as buffers. Both positions are in this send buffer.
        """
        if start >= end:
            return ()
        chunks, ends = self._chunks, self._ends
        if end == ends[-1] and end - start == len(chunks[-1]):
            # The fast path returns the whole last chunk.
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
