"""
Tests for the send buffer of a connection.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.tcp.sendbuffer import SendBuffer


def joined(buffer: SendBuffer, start: int, end: int) -> bytes:
    return b"".join(buffer.slices(start, end))


class SendBufferTests(SynchronousTestCase):
    """
    Tests for reading, releasing and deleting octets.
    """

    @given(st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=200), st.data())
    def test_anyRangeCanBeRead(self, chunks: list[bytes], data: st.DataObject) -> None:
        """
        Any range of unacknowledged octets can be read, after any acknowledgments.
        """
        buffer = SendBuffer(1)
        text = b"".join(chunks)
        for chunk in chunks:
            buffer.append(chunk)
        released = 0
        for _ in range(5):
            released = data.draw(st.integers(released, len(text)))
            buffer.release(1 + released)
            start = data.draw(st.integers(released, len(text)))
            end = data.draw(st.integers(start, len(text)))
            self.assertEqual(joined(buffer, 1 + start, 1 + end), text[start:end])

    def test_chunksAreNotCopied(self) -> None:
        """
        A whole chunk is the application's own object. A part of one is a view of it.
        """
        buffer = SendBuffer(1)
        chunk = b"abcdef"
        buffer.append(chunk)
        self.assertIs(buffer.slices(1, 7)[0], chunk)
        part = buffer.slices(2, 4)[0]
        assert isinstance(part, memoryview)
        self.assertIs(part.obj, chunk)

    def test_manyChunksAreJoined(self) -> None:
        """
        Very many chunks are joined, because a system call takes only some hundred buffers.
        """
        buffer = SendBuffer(1)
        for _ in range(1000):
            buffer.append(b"a")
        self.assertEqual(list(buffer.slices(1, 1001)), [b"a" * 1000])

    def test_anAcknowledgedFINReleasesAll(self) -> None:
        """
        An acknowledgment of the FIN releases all octets.
        """
        buffer = SendBuffer(1)
        buffer.append(b"abc")
        buffer.release(5)
        self.assertEqual((buffer.start, buffer.end), (4, 4))
        buffer.append(b"d")
        self.assertEqual(joined(buffer, 4, 5), b"d")

    def test_unsentDataCanBeDeleted(self) -> None:
        """
        Unsent octets can be deleted, from the middle of a chunk on.
        """
        buffer = SendBuffer(1)
        for chunk in (b"abc", b"def", b"ghi"):
            buffer.append(chunk)
        buffer.truncate(6)
        self.assertEqual((buffer.end, joined(buffer, 1, 6)), (6, b"abcde"))
        buffer.append(b"x")
        self.assertEqual(joined(buffer, 1, 7), b"abcdex")
