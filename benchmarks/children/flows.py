"""
The process of L{benchmarks.memory} with the UDP flows of a host.

    python -m benchmarks.children.flows FLOWS

Each flow has a source address of its own, and each of its datagrams is answered. The process prints the octets of
memory for each flow.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock

from benchmarks.children.resident import resident
from txtuntap import Host, TuntapPort
from txtuntap.testing import TUN, MemoryDevice, udpPacket

HOST = "10.0.0.1"
PORT = 7000

#: The number of flows that exist before the memory is measured.
FEW = 100

#: The seconds between two datagrams. The fast path learns each flow, because it may learn a thousand in a second.
INTERVAL = 0.001


class Answers(DatagramProtocol):
    """
    A protocol that answers each datagram.
    """

    noisy = False
    transport: Any

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """
        Send the datagram back.
        """
        self.transport.write(datagram, addr)


def main() -> None:
    """
    Receive two datagrams from each flow, and print the memory for each.

    @raise RuntimeError: a datagram was not answered, or a flow was not remembered.
    """
    flows = int(sys.argv[1])
    clock = Clock()
    device = MemoryDevice(TUN)
    host = Host([f"{HOST}/8"], clock)
    TuntapPort("", host.ip, reactor=clock, device=device).startListening()
    host.listenUDP(PORT, Answers())

    def use(number: int) -> None:
        source = f"10.1.{number >> 8}.{number & 0xFF}"
        for _ in range(2):
            device.deliver(udpPacket(source, HOST, 40000, PORT, b"question"))
            clock.advance(INTERVAL)
        if len(device.sent) != 2:
            raise RuntimeError(f"{2 - len(device.sent)} of the datagrams from {source} were not answered")
        device.sent.clear()

    for number in range(FEW):
        use(number)
    before = resident()
    for number in range(FEW, flows):
        use(number)
    print((resident() - before) / (flows - FEW))
    sizes = {state.name: state.size for state in host.tables()}
    if not sizes["flows"] == sizes["known flows"] == flows:
        raise RuntimeError(f"not all of {flows} flows were remembered: {sizes}")


if __name__ == "__main__":
    main()
