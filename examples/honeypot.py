"""
Answers every address of a network, and says who asked what of which.

    python examples/honeypot.py [NETWORK]

as root: it makes tap0, with 10.0.0.1 at the kernel's end and a host at 10.0.0.2, to whom 10.77.0.0/16 (or NETWORK)
belongs. In another terminal, send the network there, and ask of it what you like:

    $ ip route add 10.77.0.0/16 via 10.0.0.2
    $ ping -c1 10.77.1.2
    $ echo hello | socat -t1 - UDP:10.77.200.201:7
    $ nmap -sU -n -p 53,123,161 10.77.3.4

    10.0.0.1 > 10.77.1.2        ICMP type 8
    10.0.0.1 > 10.77.200.201    UDP port 7: b'hello\\n'
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from zope.interface import implementer

from txtuntap import Host, Packet, TuntapPort
from txtuntap.device.configure import configureInterface
from txtuntap.interfaces import IPacketReceiver
from txtuntap.service import Echo

ICMP, TCP, UDP = 1, 6, 17

#: Whoever can send could fill the disk: no more lines a second than these.
MAX_LINES = 20

#: Ports that answer: with what they were sent, so that nobody is hit by more than was paid for.
OPEN = (7, 53, 123, 161, 1900)


@implementer(IPacketReceiver)
class Watcher:
    """
    Goes beside the host's own protocols, under the same numbers: each gets every packet.
    """

    def __init__(self) -> None:
        self._second = 0
        self._lines = 0
        self._left = 0

    def packetReceived(self, packet: Packet) -> None:
        if int(packet.time) != self._second:
            if self._left:
                print(f"... and {self._left} more", flush=True)
            self._second, self._lines, self._left = int(packet.time), 0, 0
        if self._lines == MAX_LINES:
            self._left += 1
            return
        self._lines += 1
        print(f"{packet.source} > {packet.dest:15}  {self.what(packet)}", flush=True)

    def what(self, packet: Packet) -> str:
        protocol, data = packet.data[packet.network + 9], bytes(packet)
        if protocol == ICMP:
            return f"ICMP type {data[0] if data else '?'}"
        port = int.from_bytes(data[2:4], "big")
        return f"TCP port {port}" if protocol == TCP else f"UDP port {port}: {data[8:40]!r}"


def main(reactor: Any, network: str = "10.77.0.0/16") -> Deferred[None]:
    """
    A host with a network, and somebody who watches.
    """
    host = Host(["10.0.0.2/24"], reactor, anyAddresses=[network])
    watcher = Watcher()
    for protocol in (ICMP, TCP, UDP):
        host.ip.addProto(protocol, watcher)
    for port in OPEN:
        host.listenUDP(port, Echo(frozenset(OPEN)))
    TuntapPort("tap0", host.ethernet, reactor=reactor).startListening()
    configureInterface("tap0", ["10.0.0.1/24"])
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
