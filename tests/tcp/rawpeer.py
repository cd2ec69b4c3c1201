"""
A host in memory, and a peer that builds its TCP segments from single fields.
"""

from __future__ import annotations

from random import Random
from typing import Any

import attrs
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock

from txtuntap import Host, TuntapPort
from txtuntap.testing import TUN, MemoryDevice, ipPacket
from txtuntap.wire import tcp as wire
from txtuntap.wire.address import addressText, packAddress
from txtuntap.wire.tcp import ACK, FIN, HEADER, HEADER_LENGTH, PROTOCOL, RST, SYN, Options

OURS, THEIRS = "10.0.0.2", "10.0.0.1"
_MASK = 0xFFFFFFFF


def segment(
    source: str,
    dest: str,
    sourcePort: int,
    destPort: int,
    sequence: int,
    acknowledgment: int,
    flags: int,
    payload: bytes = b"",
    options: bytes = b"",
    window: int = 65535,
) -> bytes:
    """
    Build an IP packet with a segment.

    @param options: the TCP options, a multiple of four octets.
    """
    pseudo = wire.pseudoSum(packAddress(source), packAddress(dest))
    header = wire.packHeader(pseudo, sourcePort, destPort, sequence, acknowledgment, flags, window, options, payload)
    return ipPacket(source, dest, PROTOCOL, header + payload)


@attrs.frozen
class Sent:
    """
    The fields of a segment that the host has sent.
    """

    source: str
    dest: str
    sourcePort: int
    destPort: int
    sequence: int
    acknowledgment: int
    flags: int
    window: int
    options: Options
    payload: bytes
    length: int
    optionsLength: int


def parse(packet: bytes) -> Sent:
    """
    Parse an IP packet with a segment.
    """
    six = packet[0] >> 4 == 6
    start = 40 if six else (packet[0] & 15) * 4
    source, dest = (packet[8:24], packet[24:40]) if six else (packet[12:16], packet[16:20])
    sourcePort, destPort, sequence, acknowledgment, word, window, _, _ = HEADER.unpack_from(packet, start)
    payload = start + (word >> 12 << 2)
    options = wire.parseOptions(packet, start + HEADER_LENGTH, payload)
    return Sent(
        *(addressText(source), addressText(dest), sourcePort, destPort, sequence, acknowledgment),
        *(word & 0xFF, window, options, packet[payload:], len(packet), payload - start - HEADER_LENGTH),
    )


class Reader(Protocol):
    """
    A protocol that keeps the data it receives.
    """

    def __init__(self) -> None:
        self.data = b""
        self.lost: Any = None

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = reason


class Readers(Factory):
    """
    A factory that builds L{Reader}s, and remembers them.
    """

    noisy = False

    def __init__(self) -> None:
        self.made: list[Reader] = []

    def buildProtocol(self, addr: Any) -> Any:
        reader = Reader()
        self.made.append(reader)
        return reader


class RawPeer:
    """
    A host on a tun device in memory, and the peer that sends packets to it.

    @ivar host: the host.
    @ivar device: the device of the host.
    @ivar clock: the clock of the host.
    """

    def __init__(
        self,
        tcp: Any = None,
        addresses: tuple[str, ...] = (f"{OURS}/8", "fd00::2/64"),
        clock: Any = None,
        **options: Any,
    ) -> None:
        """
        @param tcp: the TCP layer of the host. L{None}: the default one.
        @param clock: the clock of the host. L{None}: a C{task.Clock}, which is slow with many connections.
        @param options: other arguments of the host.
        """
        self.clock = clock or Clock()
        self.device = MemoryDevice(TUN)
        self.host = Host(list(addresses), self.clock, random=Random(1), secrets=Random(1), tcp=tcp, **options)
        self.port = TuntapPort("", self.host.ip, reactor=self.clock, device=self.device)
        self.port.startListening()
        self.clock.advance(1)
        self.device.sent.clear()

    @property
    def counters(self) -> Any:
        """
        The counters of the host's TCP.
        """
        return self.host.tcp.counters

    def table(self, name: str) -> Any:
        """
        Return how full a table of the host is.
        """
        return next(state for state in self.host.tables() if state.name == name)

    def sent(self) -> list[Sent]:
        """
        Return the segments that the host has sent since the last call.
        """
        self.clock.advance(0)
        packets = [parse(each) for each in self.device.sent if each[9 if each[0] >> 4 == 4 else 6] == PROTOCOL]
        self.device.sent.clear()
        return packets

    def send(self, *arguments: Any, **options: Any) -> list[Sent]:
        """
        Send a L{segment} to the host. Return its answers.
        """
        self.device.deliver(segment(*arguments, **options))
        return self.sent()

    def syn(self, port: int, source: str = THEIRS, sourcePort: int = 4000, **options: Any) -> list[Sent]:
        """
        Send a SYN with the sequence number 1000 to the host. Return its answers.
        """
        return self.send(source, OURS, sourcePort, port, 1000, 0, SYN, **options)

    def open(self, port: int, source: str = THEIRS, sourcePort: int = 4000, **options: Any) -> RawConnection:
        """
        Establish a connection to a port of the host.
        """
        (answer,) = self.syn(port, source, sourcePort, **options)
        connection = RawConnection(self, source, sourcePort, port, answer.sequence)
        connection.send(b"", window=options.get("window", 65535))
        return connection


class RawConnection:
    """
    The peer's side of an established connection.

    @ivar next: the sequence number of the peer's next octet.
    @ivar expected: the sequence number of the host's next octet.
    """

    def __init__(self, peer: RawPeer, source: str, sourcePort: int, port: int, initial: int) -> None:
        self._peer = peer
        self._ends = source, OURS, sourcePort, port
        self.next = 1001
        self.expected = (initial + 1) & _MASK

    def send(self, payload: bytes, ahead: int = 0, flags: int = ACK, **options: Any) -> list[Sent]:
        """
        Send a segment of this connection to the host. Return the answers of the host.

        @param ahead: the octets that are skipped before the segment. If there are any, C{next} does not advance.
        """
        sequence = (self.next + ahead) & _MASK
        answers = self._peer.send(*self._ends, sequence, self.expected, flags, payload, **options)
        if not ahead and not flags & RST:
            self.next = (self.next + len(payload) + bool(flags & FIN)) & _MASK
        for answer in answers:
            self.expected = (answer.sequence + len(answer.payload) + bool(answer.flags & FIN)) & _MASK
        return answers
