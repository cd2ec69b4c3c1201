"""
Join any number of machines to one IP network, through a hub. Packets travel over UDP. The hub sends each packet on to
the client that has the packet's destination address.

Run the hub on a machine that all others can reach, here 192.0.2.1:

    # python examples/hub.py 10.9.0.1/24

and a client on each other machine, which may be behind NAT, with an address of its own:

    # python examples/hub.py 10.9.0.2/24 192.0.2.1
    # python examples/hub.py 10.9.0.3/24 192.0.2.1

Each now reaches all others: ping 10.9.0.3 from the first client. The packets are neither encrypted nor authenticated,
and anyone can take the address of a client. Use it in a network that you trust, or use WireGuard (docs/wireguard.md).
"""

from __future__ import annotations

import sys
from contextlib import suppress
from ipaddress import IPv4Interface, ip_address
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import LoopingCall, react

from txtuntap import TUN, Packet, TuntapPort
from txtuntap.device.configure import configureInterface
from txtuntap.wire.ipv4 import packHeader

#: The UDP port of the hub. The headers of IP and UDP take 28 of the 1,500 octets of an Ethernet frame.
PORT, MTU = 4242, 1500 - 28

#: The most clients of a hub, and the seconds between two announcements of a client, which keep it known to the hub.
MAX_CLIENTS, PAUSE = 1000, 20.0


class Router(DatagramProtocol):
    """
    The UDP end of the hub, or of a client. A client sends every packet to the hub.
    """

    def __init__(self, reactor: Any, own: IPv4Interface, hub: str | None) -> None:
        self.own = own
        self.hub = None if hub is None else (str(ip_address(hub)), PORT)
        self.clients: dict[str, tuple[str, int]] = {}
        # Any object with packetReceived is a protocol for a port. A DatagramProtocol belongs on a UDP port.
        fromKernel = SimpleNamespace(packetReceived=self.send)
        self.port = TuntapPort("tun%d", fromKernel, reactor=reactor, mode=TUN)

    def send(self, packet: Packet) -> None:
        address = self.clients.get(packet.dest, self.hub)
        if address is not None and self.transport is not None:
            # A packet is lost while there is no network, as on every link.
            with suppress(OSError):
                self.transport.write(bytes(packet), address)

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        packet = Packet(datagram)
        if self.hub is None and packet.version == 4 and ip_address(packet.source) in self.own.network:
            # The last entry is the client that was heard last, and the first one makes room.
            self.clients.pop(packet.source, None)
            self.clients[packet.source] = addr
            if len(self.clients) > MAX_CLIENTS:
                del self.clients[next(iter(self.clients))]
        elif addr != self.hub:
            return
        if packet.dest == str(self.own.ip):
            self.port.writePacket([datagram])
        elif self.hub is None:
            self.send(packet)

    def announce(self) -> None:
        # The hub learns the address of this client from a packet to no host, without a payload (protocol 59).
        self.send(Packet(packHeader(self.own.ip.packed, bytes(4), 59, 0)))


def main(reactor: Any, own: str, hub: str | None = None) -> Deferred[None]:
    router = Router(reactor, IPv4Interface(own), hub)
    router.port.startListening()
    configureInterface(router.port.device.name, [own], device=router.port.device, mtu=MTU)
    reactor.listenUDP(0 if hub else PORT, router)
    if hub:
        LoopingCall(router.announce).start(PAUSE)
    print(f"{own} is joined by the hub at {hub}" if hub else f"{own} is the hub", flush=True)
    return Deferred()


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python examples/hub.py ADDRESS [HUB]")
    react(main, sys.argv[1:])
