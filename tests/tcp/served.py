"""
A listening host on a device in memory, whose peer is the test.
"""

from __future__ import annotations

import struct
from typing import Any

from twisted.internet.protocol import ClientFactory, Protocol
from twisted.python.failure import Failure

from tests.ports import DeviceTestCase
from tests.tcp.bench import LETTERS, OURS, PEERS, Segment
from txtuntap.stack.host import Host
from txtuntap.tcp import Limits, TCPProtocol
from txtuntap.testing import ipPacket
from txtuntap.wire import icmp, tcp
from txtuntap.wire.address import packAddress
from txtuntap.wire.tcp import Options, packTimestamps, parseOptions

HERE, THERE = {4: "10.0.0.2", 6: "fd00::2"}, {4: "10.0.0.1", 6: "fd00::1"}
PORT = 80
MASK = 0xFFFFFFFF

#: The initial sequence number of the host before it has sent a SYN.
_NONE = OURS


class Served(Protocol):
    """
    A protocol that keeps the data it receives.
    """

    def connectionMade(self) -> None:
        factory: Any = self.factory
        factory.made.append(self)
        self.data = b""
        self.lost: list[Failure] = []

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure | None = None) -> None:
        assert reason is not None
        self.lost.append(reason)


class ServedFactory(ClientFactory):
    """
    A factory that builds L{Served}, and remembers them.
    """

    noisy = False
    protocol: Any = Served

    def __init__(self) -> None:
        self.made: list[Served] = []
        self.failed: list[Failure] = []

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self.failed.append(reason)


class LayerTestCase(DeviceTestCase):
    """
    Tests with a listening host on a tun device in memory. The test is the peer.

    @cvar limits: the bounds of the TCP layer.
    @cvar backlog: the backlog of the port.
    """

    limits = Limits()
    backlog = 50

    def setUp(self) -> None:
        super().setUp()
        self.tcp = TCPProtocol(limits=self.limits)
        self.host = Host([f"{HERE[4]}/24", f"{HERE[6]}/64"], reactor=self.clock, tcp=self.tcp)
        self.factory = ServedFactory()
        self.on(self.host.ip)
        self.clock.advance(10)
        self.tcp.listen(PORT, self.factory, self.backlog)
        self.initial = _NONE
        self.options = Options()
        self.answers()

    def answers(self) -> list[Segment]:
        """
        Return the segments that the host has sent since the last call, in the form of L{tests.tcp.bench}.
        """
        sent, self.device.sent[:] = list(self.device.sent), []
        found = []
        for packet in sent:
            at = 20 if packet[0] >> 4 == 4 else 40
            kind = packet[9] if at == 20 else packet[6]
            if kind != tcp.PROTOCOL:
                continue
            _, self.lastPort, sequence, acknowledgment, word, self.window, _, _ = tcp.HEADER.unpack_from(packet, at)
            self.ourPort = int.from_bytes(packet[at : at + 2], "big")
            letters = "".join(letter for bit, letter in enumerate(LETTERS) if word >> bit & 1)
            end = at + (word >> 12 << 2)
            self.options = parseOptions(packet, at + 20, end)
            if "S" in letters:
                self.initial = sequence
            # A reset in answer to a segment without ACK has the sequence number 0.
            isZero = "R" in letters and "A" in letters and not sequence
            first = 0 if isZero else _signed(sequence - self.initial)
            acknowledged = _signed(acknowledgment - PEERS) if "A" in letters else 0
            found.append((letters, first, acknowledged, packet[end:]))
        return found

    def receive(
        self,
        letters: str,
        sequence: int = 0,
        acknowledgment: int = 0,
        data: bytes = b"",
        options: bytes = b"",
        version: int = 4,
        port: int = PORT,
        peerPort: int = 4000,
        window: int = 65535,
    ) -> list[Segment]:
        """
        Receive a segment from the peer. Return the segments that the host sends then.
        """
        flags = sum(1 << LETTERS.index(letter) for letter in letters)
        ends = packAddress(THERE[version]), packAddress(HERE[version])
        acknowledged = (self.initial + acknowledgment) & MASK if "A" in letters else 0
        header = tcp.packHeader(
            tcp.pseudoSum(*ends), peerPort, port, (PEERS + sequence) & MASK, acknowledged, flags, window, options, data
        )
        self.deliver(ipPacket(THERE[version], HERE[version], tcp.PROTOCOL, header + data))
        return self.answers()

    def open(self, options: bytes = b"", version: int = 4, peerPort: int = 4000) -> None:
        """
        Establish a connection from the peer.
        """
        self.receive("S", options=options, version=version, peerPort=peerPort)
        stamp = packTimestamps(1, self.options.timestamp or 0) if self.options.timestamp is not None else b""
        self.assertEqual(self.receive("A", 1, 1, options=stamp, version=version, peerPort=peerPort), [])

    def receiveError(
        self, kind: int, code: int, sequence: int, rest: int = 0, port: int = PORT, peerPort: int = 4000
    ) -> None:
        """
        Receive an ICMP error about a segment of the host.
        """
        quoted = struct.pack("!HHI", port, peerPort, (self.initial + sequence) & MASK) + bytes(12)
        message = icmp.pack(kind, code, rest, ipPacket(HERE[4], THERE[4], tcp.PROTOCOL, quoted + bytes(1400))[:48])
        self.deliver(ipPacket(THERE[4], HERE[4], icmp.PROTOCOL[4], message))


def _signed(number: int) -> int:
    return ((number + 0x80000000) & MASK) - 0x80000000
