"""
A program that runs many conversations with one host at the same time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from tests.real.lab.answers import Habits
from tests.real.lab.link import PacketSocket
from tests.real.lab.machine import STATION
from tests.real.lab.segments import TO_ALL, Conversation
from tests.real.lab.segments.actors import COMMANDS, folded, unfolded
from tests.real.lab.segments.text import Numbers, error, packed, told
from tests.real.test_input import ALL, HERE, framed
from txtuntap.testing import udpPacket
from txtuntap.wire import tcp, udp
from txtuntap.wire.address import packLinkAddress

#: The number of seconds to wait for an expected answer, and the number of seconds to check that no other answer
#: arrives.
_PATIENCE, _QUIET = 5.0, 0.3

#: The number of seconds between the starts of two conversations.
_PAUSE = 0.01

#: The first port of the peer, and the number of its ports for each attempt.
_FIRST_PORT, _PORTS = 40000, 4000

#: The last part of the peer's addresses. The first conversations decrease the path MTU, so each has its own address.
#: The others share addresses.
_ALONE, _SHARED = range(21, 61), range(61, 251)


def joined(events: list[str]) -> list[str]:
    """
    Join adjacent data events to one event, because the application may receive data in any pieces.
    """
    found: list[str] = []
    for event in events:
        kind, _, data = event.partition(" ")
        if kind == "data" and found and found[-1].startswith("data "):
            event = f"data {folded(unfolded(found.pop()[5:]) + unfolded(data))}"
        found.append(event)
    return found


def closed(segments: list[str]) -> list[str]:
    """
    Leave out each acknowledgment that the FIN after it repeats. Whether the host sends it depends on how fast the
    application closes the connection.
    """
    return [
        each
        for each, after in zip(segments, [*segments[1:], ""], strict=False)
        if not (each.startswith("A ") and after == f"F{each}")
    ]


class Talk:
    """
    One running conversation with the host.

    @ivar isOver: whether the conversation has ended.
    """

    def __init__(
        self, conversation: Conversation, side: str, numbers: Numbers, network: PacketSocket, habits: Habits
    ) -> None:
        self._lines = conversation.of(side)
        self._numbers = numbers
        self._network = network
        self._habits = habits
        self._heard: list[str] = []
        self._events: list[str] = []
        self.isOver = False
        self._at = 0
        self._until = 0.0
        self._awaited = {"<": 0, "=": 0}

    @property
    def expected(self) -> tuple[list[str], list[str]]:
        """
        The expected segments of the host, and the expected events of its application.
        """
        return (
            closed([line[2:] for line in self._lines if line[0] == "<"]),
            joined([line[2:] for line in self._lines if line[0] == "="]),
        )

    def segmentReceived(self, packet: bytes) -> None:
        """
        Record a segment that the host has sent.
        """
        self._heard.append(told(packet, self._numbers, self._habits))

    @property
    def heard(self) -> list[str]:
        """
        The segments that the host has sent, as text.
        """
        return closed(self._heard)

    @property
    def isAsExpected(self) -> bool:
        """
        Whether the segments and events are exactly the expected ones.
        """
        return (self.heard, self.events) == self.expected

    def told(self, event: str) -> None:
        """
        Record an event of the application.
        """
        self._events.append(event)

    @property
    def events(self) -> list[str]:
        """
        The events of the application, with adjacent data joined.
        """
        return joined(self._events)

    def go(self, now: float) -> None:
        """
        Execute lines until one has to wait.

        @param now: the time in seconds.
        """
        while not self.isOver:
            if now < self._until and not self._hasCome():
                return
            if self._at == len(self._lines):
                self.isOver = True
                return
            line = self._lines[self._at]
            self._at += 1
            self._until = 0.0
            self._do(line, now)
            if self._at == len(self._lines):
                self._until = now + _QUIET
                self._waitsFor = ""

    _waitsFor = ""

    def _hasCome(self) -> bool:
        if not self._waitsFor:
            return False
        come = self._heard if self._waitsFor == "<" else self._events
        return len(come) >= self._awaited[self._waitsFor]

    def _do(self, line: str, now: float) -> None:
        numbers = self._numbers
        kind, _, rest = line.partition(" ")
        if kind in self._awaited:
            self._awaited[kind] += 1
            self._waitsFor = kind
            self._until = now + _PATIENCE
        elif kind == ">":
            self._send(packed(rest.removesuffix(TO_ALL), numbers), ALL if rest.endswith(TO_ALL) else STATION)
        elif kind == "*":
            self._send(error(rest, numbers))
        elif kind == "!":
            dest = HERE[numbers.version]
            self._send(udpPacket(numbers.address, dest, numbers.peerPort, COMMANDS, rest.encode()))
        elif kind == "~":
            self._waitsFor = ""
            self._until = now + float(rest)
        elif kind == "reopen":
            numbers.host = None
        else:
            raise ValueError(f"a line of a conversation begins with >, <, =, !, ~, *, open or reopen, not {line!r}")

    def _send(self, packet: bytes, dest: str | bytes = STATION) -> None:
        self._network.send(framed(packet, dest))


def talks(
    conversations: Sequence[tuple[Conversation, int]], side: str, network: PacketSocket, habits: Habits
) -> list[Talk]:
    """
    Run conversations until all have ended. One with an unexpected result is run a second time, because the host's
    timers may have expired while this process did not run.

    @param conversations: each conversation, and its IP version.
    @param side: C{"L"} for Linux, C{"H"} for a host of this package.
    """
    found = _attempt(conversations, side, network, habits, 0)
    others = [number for number, talk in enumerate(found) if not talk.isAsExpected]
    again = _attempt([conversations[number] for number in others], side, network, habits, 1)
    for number, talk in zip(others, again, strict=True):
        found[number] = talk
    return found


def _attempt(
    conversations: Sequence[tuple[Conversation, int]], side: str, network: PacketSocket, habits: Habits, attempt: int
) -> list[Talk]:
    found: list[Talk] = []
    byPeer: dict[tuple[int, int], Talk] = {}
    port = _FIRST_PORT + attempt * _PORTS
    counts = dict.fromkeys((4, 6), attempt * len(_ALONE) // 2 - 1)
    for number, (conversation, version) in enumerate(conversations):
        counts[version] += 1
        count = counts[version]
        last = _ALONE[count] if count < len(_ALONE) else _SHARED[count % len(_SHARED)]
        address = f"10.9.0.{last}" if version == 4 else f"fd09::1:{last:x}"
        numbers = Numbers(version, address, port + number, conversation.port)
        talk = Talk(conversation, side, numbers, network, habits)
        found.append(talk)
        byPeer[version, numbers.peerPort] = talk
    begin = time.monotonic()
    while not all(talk.isOver for talk in found):
        now = time.monotonic()
        for frame in network.received():
            _heard(frame, byPeer)
        for number, talk in enumerate(found):
            if now >= begin + number * _PAUSE:
                talk.go(now)
        time.sleep(0.001)
    return found


def _heard(frame: bytes, byPeer: dict[tuple[int, int], Talk]) -> None:
    if frame[6:12] != packLinkAddress(STATION) or frame[12:14] not in (b"\x08\x00", b"\x86\xdd"):
        return
    packet = frame[14:]
    version = packet[0] >> 4
    header, kind = ((packet[0] & 15) << 2, packet[9]) if version == 4 else (40, packet[6])
    talk = byPeer.get((version, int.from_bytes(packet[header + 2 : header + 4], "big")))
    if talk is None:
        return
    if kind == tcp.PROTOCOL:
        talk.segmentReceived(packet)
    elif kind == udp.PROTOCOL:
        end = header + int.from_bytes(packet[header + 4 : header + 6], "big")
        talk.told(packet[header + 8 : end].decode("latin-1"))
