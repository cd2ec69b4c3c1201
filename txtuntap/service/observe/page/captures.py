"""
The captures that are started from the page. They are kept in memory, so that a service without privileges needs no
file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.middleware import Capture, CaptureSink
from txtuntap.service.observe.page.subject import Subject

#: The most captures of a page, running or kept; the most octets of each.
MAX_CAPTURES, MAX_OCTETS = 4, 16 << 20

#: The octets that are kept free for the statistics at the end.
_RESERVE = 1 << 15


class MemorySink(CaptureSink):
    """
    A sink that keeps a capture in memory. Once it is full, it counts each further packet as dropped. If the port starts
    again, a new section follows.

    @ivar octets: the capture as pcapng.
    """

    def __init__(self) -> None:
        super().__init__()
        self.octets = bytearray()
        # The most octets now: none outside of a section, or where there was no room for its header.
        self._room = 0

    def __str__(self) -> str:
        return "the page"

    def begin(self, linkType: int, name: str, time: int, comments: Sequence[str] = ()) -> None:
        """
        Begin a section of the capture.
        """
        before = len(self.octets)
        self._room = MAX_OCTETS - _RESERVE
        super().begin(linkType, name, time, comments)
        if len(self.octets) == before:
            self._room = 0

    def end(self, time: int) -> None:
        """
        End the section with the statistics, for which there is always room.
        """
        if self._room:
            self._room = MAX_OCTETS
            super().end(time)
            self._room = 0

    def write(self, octets: bytes) -> bool:
        """
        Keep the blocks if there is room.
        """
        if len(self.octets) + len(octets) > self._room:
            return False
        self.octets += octets
        return True


class Captures:
    """
    The captures of a page.
    """

    def __init__(self) -> None:
        # The interface, whose name may change, what is captured from while the capture runs, and the capture itself.
        self._captures: Table[int, tuple[Subject, list[Capture], MemorySink]] = Table(
            "captures of a page", MAX_CAPTURES, Policy.REFUSE
        )
        self._number = 0

    def start(self, subject: Subject) -> int:
        """
        Begin to capture the packets of an interface.

        @return: the number of the capture.

        @raise ValueError: the interface has no L{Capture}, or there are too many captures.
        """
        capture = subject.capture
        if capture is None:
            raise ValueError("this interface cannot be captured: put a Capture on its port")
        if len(self._captures) >= MAX_CAPTURES:
            raise ValueError(f"there are {MAX_CAPTURES} captures: delete one of them first")
        self._number += 1
        sink = MemorySink()
        self._captures.put(self._number, (subject, [capture], sink))
        capture.addSink(sink)
        return self._number

    def stop(self, number: int) -> None:
        """
        End a capture, which stays and can be read. Ending it twice is harmless.

        @raise KeyError: there is no such capture.
        """
        _, running, sink = self._captures[number]
        while running:
            running.pop().removeSink(sink)

    def delete(self, number: int) -> None:
        """
        End a capture and forget it.

        @raise KeyError: there is no such capture.
        """
        self.stop(number)
        del self._captures[number]

    def read(self, number: int) -> bytearray:
        """
        Return what a capture has recorded until now, as pcapng. Later packets are appended to it.

        @raise KeyError: there is no such capture.
        """
        return self._captures[number][2].octets

    def clear(self) -> None:
        """
        End all captures and forget them.
        """
        for number in tuple(self._captures):
            self.delete(number)

    def of(self, subject: Subject) -> list[dict[str, Any]]:
        """
        List the captures of one interface.
        """
        return [
            {
                "number": number,
                # A sink that has failed is no longer one of its capture.
                "isRunning": any(sink in capture.sinks for capture in running),
                "octets": len(sink.octets),
                "packets": sink.received - sink.dropped,
                "dropped": sink.dropped,
                "mostOctets": MAX_OCTETS,
            }
            for number, (captured, running, sink) in self._captures.items()
            if captured is subject
        ]

    def tables(self) -> list[TableState]:
        """
        Return how many captures there are: see
        L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [self._captures.state]
