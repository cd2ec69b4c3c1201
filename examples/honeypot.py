"""
Answer for every address of a network, and print each request with its source and destination.

    python examples/honeypot.py [NETWORK]

Run it as root. The program makes tap0, with a host at 10.0.0.2 and fd00::2. The host also has every address of
10.77.0.0/16 (or of NETWORK). Run these commands in another terminal, and the program prints the lines below them:

    $ ip route add 10.77.0.0/16 via 10.0.0.2
    $ ping -c1 10.77.1.2
    $ echo hello | socat -t1 - UDP:10.77.200.201:7

    10.0.0.1 > 10.77.1.2        ICMP type 8
    10.0.0.1 > 10.77.200.201    UDP port 7: b'hello\\n'
"""

from __future__ import annotations

import sys
from ipaddress import ip_address, ip_network
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from zope.interface import implementer

from txtuntap import Host, Packet, TuntapPort
from txtuntap.device.configure import configureInterface
from txtuntap.interfaces import IPacketReceiver
from txtuntap.udp import Echo

PROTOCOLS = {1: "ICMP type", 6: "TCP port", 17: "UDP port", 58: "ICMPv6 type"}

#: The greatest number of requests that are printed in a second. Further ones are counted, so no flood fills the disk.
MAX_LINES = 20

#: The UDP ports that answer. An answer is as long as its request, so that a forged source gets no amplified traffic.
OPEN = (7, 53, 123, 161, 1900)


class Log:
    """
    Prints the requests whose destination is in the network.
    """

    def __init__(self, network: str, reactor: Any) -> None:
        self._network = ip_network(network)
        self._reactor = reactor
        self._asked = 0

    def asked(self, packet: Packet, what: str) -> None:
        if ip_address(packet.destAddress) not in self._network:
            return
        if self._asked == 0:
            self._reactor.callLater(1, self._secondIsOver)
        self._asked += 1
        if self._asked <= MAX_LINES:
            print(f"{packet.source} > {packet.dest:15}  {what}", flush=True)

    def _secondIsOver(self) -> None:
        if self._asked > MAX_LINES:
            print(f"... and {self._asked - MAX_LINES} more", flush=True)
        self._asked = 0


@implementer(IPacketReceiver)
class Watcher:
    """
    Logs the packets of a protocol number. The host's own protocol has the same number, and both receive every packet.
    """

    def __init__(self, name: str, log: Log) -> None:
        self._name = name
        self._log = log

    def packetReceived(self, packet: Packet) -> None:
        data, name = bytes(packet), self._name
        number = int.from_bytes(data[2:4] if "port" in name else data[:1], "big")
        self._log.asked(packet, f"{name} {number}" + (f": {data[8:40]!r}" if name == "UDP port" else ""))


def main(reactor: Any, network: str = "10.77.0.0/16") -> Deferred[None]:
    """
    Make a host that has all addresses of a network, and log the packets to it.
    """
    host = Host(["10.0.0.2/24", "fd00::2/64"], reactor, anyAddresses=[network])
    log = Log(network, reactor)
    for number, name in PROTOCOLS.items():
        host.ip.addProto(number, Watcher(name, log))
    for port in OPEN:
        host.listenUDP(port, Echo(frozenset(OPEN)))
    TuntapPort("tap0", host.ethernet, reactor=reactor).startListening()
    configureInterface("tap0", ["10.0.0.1/24", "fd00::1/64"])
    print(f"ready: all of {network} on tap0", flush=True)
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
