"""
A host of L{benchmarks.tcp} with many idle connections.

    python -m benchmarks.children.idler CONNECTIONS

Each connection is opened, used once, and left. Their peer is this program, which writes segments, so nothing but the
host has memory for them. The octets that each takes, the application's protocol included, go to standard output.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock

from txtuntap import Host, TCPProtocol
from txtuntap.packet import Packet
from txtuntap.tcp.limits import Limits
from txtuntap.testing import TUN, MemoryDevice, ipPacket
from txtuntap.tuntap import TuntapPort
from txtuntap.wire import tcp as wire
from txtuntap.wire.address import packAddress

HOST = "10.0.0.1"
PORT = 80
_MASK = 0xFFFFFFFF


class Answer:
    """
    The least of a protocol: it answers.
    """

    __slots__ = ("transport",)

    def makeConnection(self, transport: Any) -> None:
        """
        The connection is up.
        """
        self.transport = transport

    def dataReceived(self, data: bytes) -> None:
        """
        Octets have come.
        """
        self.transport.write(data)

    def connectionLost(self, reason: object = None) -> None:
        """
        The connection is closed.
        """


class Answers(Factory):
    """
    Makes one L{Answer} for each connection.
    """

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """
        See C{IProtocolFactory.buildProtocol}.
        """
        return Answer()


class Peer:
    """
    Opens connections to the host.
    """

    def __init__(self, connections: int) -> None:
        limits = Limits(connections=connections, peerConnections=connections, portConnections=connections)
        self.clock = Clock()
        self.device = MemoryDevice(TUN)
        self.host = Host([f"{HOST}/8"], self.clock, tcp=TCPProtocol(limits=limits))
        TuntapPort("", self.host.ip, reactor=self.clock, device=self.device).startListening()
        self.host.listenTCP(PORT, Answers())

    def use(self, number: int) -> None:
        """
        Open a connection, and have one answer by it.
        """
        source, port = f"10.{1 + (number >> 12)}.0.1", 1024 + (number & 0xFFF)
        pseudo = wire.pseudoSum(packAddress(source), packAddress(HOST))
        said = wire.packSynOptions(1460, 7, True, (1, 0))
        steps = (
            (0, wire.SYN, said, b""),
            (1, wire.ACK, b"", b"question"),
            (9, wire.ACK, b"", b""),
        )
        initial = echo = 0
        for step, (sequence, flags, options, payload) in enumerate(steps):
            options = options or wire.packTimestamps(2, echo)
            acknowledgment = (initial + 1 + 8 * (step == 2)) & _MASK if step else 0
            fields = pseudo, port, PORT, sequence, acknowledgment, flags, 65535, options
            self.device.deliver(ipPacket(source, HOST, wire.PROTOCOL, wire.packHeader(*fields, payload) + payload))
            self.clock.advance(0)
            if not step:
                answer = Packet(self.device.sent[-1])
                initial = wire.HEADER.unpack_from(answer.data, 20)[2]
                echo = wire.parseOptions(answer.data, 40, len(answer.data)).timestamp or 0
            self.device.sent.clear()
        # Timers run out as they go, since this clock sorts all that wait each time.
        self.clock.advance(0.01)


def resident() -> int:
    """
    The octets of memory that this process has.
    """
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def main(connections: str) -> None:
    """
    Open them all.
    """
    count = int(connections)
    peer = Peer(count)
    for number in range(100):
        peer.use(number)
    gc.collect()
    before = resident()
    for number in range(100, count):
        peer.use(number)
    peer.clock.advance(5)
    gc.collect()
    made = peer.host.tcp.counters["currEstab"]
    if made != count:
        raise RuntimeError(f"{made} connections are up, not {count}")
    print((resident() - before) / (count - 100))


if __name__ == "__main__":
    main(*sys.argv[1:])
