"""
The process of L{benchmarks.tcp} that measures the memory of idle connections.

    python -m benchmarks.children.idler CONNECTIONS

Each connection is opened, used once, and then idle. The program itself makes the segments of the peer, so that only the
host keeps state for the connections. The program prints the octets of memory for each connection, including the
protocol of the application.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock

from benchmarks.children.resident import resident
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
    A minimal protocol that sends received data back.
    """

    __slots__ = ("transport",)

    def makeConnection(self, transport: Any) -> None:
        """
        Store the transport of the connection.
        """
        self.transport = transport

    def dataReceived(self, data: bytes) -> None:
        """
        Send the data back.
        """
        self.transport.write(data)

    def connectionLost(self, reason: object = None) -> None:
        """
        Do nothing when the connection is closed.
        """


class Answers(Factory):
    """
    A factory that makes an L{Answer} for each connection.
    """

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """
        Make the protocol of a connection.
        """
        return Answer()


class Peer:
    """
    A host, and the clients that open connections to it.
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
        Open a connection, send data over it, and receive the answer.

        @param number: the number of the connection, which decides its source address and port.
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
        # Let timers expire now, because the clock sorts all pending calls whenever a call is added.
        self.clock.advance(0.01)


def main(connections: str) -> None:
    """
    Open all connections, and print the memory for each.

    @raise RuntimeError: some connections are not established.
    """
    count = int(connections)
    peer = Peer(count)
    for number in range(100):
        peer.use(number)
    before = resident()
    for number in range(100, count):
        peer.use(number)
    peer.clock.advance(5)
    made = peer.host.tcp.counters["currEstab"]
    if made != count:
        raise RuntimeError(f"only {made} of {count} connections are established")
    print((resident() - before) / (count - 100))


if __name__ == "__main__":
    main(*sys.argv[1:])
