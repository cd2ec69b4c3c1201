"""
The TCP of a host and that of Linux react in the same way to segments that arrive while the receive window is closed.

The tests are not among those of L{tests.real.test_tcp_differences}, because the windows differ in size.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.real.lab.answers import LINUX, OURS, Habits
from tests.real.lab.link import PacketSocket
from tests.real.lab.linux import Linux
from tests.real.lab.machine import INTERFACE, STATION, Machine
from tests.real.lab.namespace import Namespace, need, until
from tests.real.lab.segments import ACTOR
from tests.real.lab.segments.actors import COMMANDS, Actors
from tests.real.lab.segments.text import Numbers, packed, told
from tests.real.test_input import HERE, STATIONS, framed
from txtuntap.device import TAP
from txtuntap.testing import udpPacket
from txtuntap.wire import tcp, udp
from txtuntap.wire.tcp import ACK, SYN

#: The seconds to wait for an answer.
_PATIENCE = 10.0

#: The flags, acknowledgment number and window of a segment.
Heard = tuple[int, int, int]


class Sender:
    """
    A peer that sends to an application that does not read.

    @ivar next: the sequence number of the next octet, relative to the SYN.
    @ivar window: the number of further octets that may be sent.
    @ivar told: the events that the application has reported.
    """

    def __init__(self, network: PacketSocket, version: int, habits: Habits) -> None:
        self._network = network
        self._habits = habits
        self._numbers = Numbers(version, "10.9.0.77" if version == 4 else "fd09::1:4d", 40077, ACTOR)
        self.next = 1
        self.window = 0
        self.told = ""
        #: The initial sequence number of this peer, to which all others are relative.
        self._first = 0

    def send(self, text: str) -> None:
        self._network.send(framed(packed(text, self._numbers), STATION))

    def command(self, text: str) -> None:
        numbers = self._numbers
        datagram = udpPacket(numbers.address, HERE[numbers.version], numbers.peerPort, COMMANDS, text.encode())
        self._network.send(framed(datagram, STATION))

    def heard(self, isIt: Callable[[Heard], bool]) -> Heard:
        """
        Wait for a segment. Its acknowledgment number is relative to the SYN of this peer.
        """
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            for found in self._received():
                if isIt(found):
                    return found
            time.sleep(0.001)
        raise AssertionError(f"no such segment has come; the application has told {self.told!r}")

    def _received(self) -> Iterator[Heard]:
        numbers = self._numbers
        for frame in self._network.received():
            packet = frame[14:]
            if frame[12:14] != (b"\x08\x00" if numbers.version == 4 else b"\x86\xdd"):
                continue
            header, kind = (20, packet[9]) if numbers.version == 4 else (40, packet[6])
            if int.from_bytes(packet[header + 2 : header + 4], "big") != numbers.peerPort:
                continue
            if kind == udp.PROTOCOL:
                end = header + int.from_bytes(packet[header + 4 : header + 6], "big")
                self.told += packet[header + 8 : end].decode() + "\n"
            elif kind == tcp.PROTOCOL:
                # This call also notes the initial sequence number of the other end.
                told(packet, numbers, self._habits)
                _, _, _, acknowledgment, word, window, _, _ = tcp.HEADER.unpack_from(packet, header)
                yield word & 0xFF, (acknowledgment - self._first) & 0xFFFFFFFF, window

    def fill(self) -> None:
        """
        Open a connection, and send until the receive window is closed.
        """
        self.send("S 0 <mss>")
        _, first, self.window = self.heard(lambda each: each[0] & SYN != 0)
        self._first = first - 1
        self.send("A 1 1")
        self.command("pause")
        until(lambda: not list(self._received()) and "made" in self.told, "the connection to be made")
        while self.window:
            size = min(self.window, 1400)
            self.send(f"PA {self.next} 1 : x*{size}")
            self.next += size
            _, _, self.window = self.heard(lambda each: each[1] == self.next)

    def answer(self, text: str) -> Heard:
        """
        Send a segment at C{next}.

        @return: the answer, with its acknowledgment number relative to C{next}.
        """
        self.send(text)
        flags, acknowledgment, window = self.heard(lambda each: True)
        return flags, acknowledgment - self.next, window


def answers(version: int, network: PacketSocket, habits: Habits) -> list[Heard]:
    """
    Return the answers to an octet and to a FIN in a closed window.
    """
    sender = Sender(network, version, habits)
    sender.fill()
    found = [sender.answer(f"PA {sender.next} 1 : y"), sender.answer(f"FA {sender.next} 1")]
    sender.command("resume")
    until(lambda: not list(sender._received()) and "lost" in sender.told, "the application to read all")
    assert "lost ConnectionDone" in sender.told
    assert "y" not in "".join(line for line in sender.told.splitlines() if line.startswith("data "))
    return found


#: The octet is not acknowledged, and the FIN is.
EXPECTED = [(ACK, 0, 0), (ACK, 1, 0)]


@pytest.mark.parametrize("version", [4, 6])
def test_theHostAnswersAsExpected(version: int, tmp_path: Path) -> None:
    need()
    with Namespace(), Machine(tmp_path, "tap", actors=True, neighbours=STATIONS) as machine:
        until(lambda: len(machine.state()["claimed"]) == 3, "the addresses to be claimed")
        with PacketSocket(INTERFACE, TAP) as network:
            assert answers(version, network, OURS) == EXPECTED


@pytest.mark.parametrize("version", [4, 6])
def test_LinuxAnswersAsExpected(version: int, tmp_path: Path) -> None:
    need()
    with (
        Namespace(),
        Linux(STATIONS, serving=lambda: Actors(tmp_path)),
        PacketSocket(INTERFACE, TAP) as network,
    ):
        assert answers(version, network, LINUX) == EXPECTED
