"""
Put a host on a VXLAN (RFC 7348) whose other end is the kernel's vxlan device. The host needs no interface of its own.

Take two machines (or network namespaces), 192.0.2.1 and 192.0.2.2. The second one gets the kernel's device:

    $ ip link add vxlan42 mtu 1450 type vxlan id 42 local 192.0.2.2 remote 192.0.2.1 dstport 4789
    $ ip address add 10.0.0.2/24 dev vxlan42
    $ ip link set vxlan42 up

This program runs on the first one, without privilege:

    $ python examples/vxlan_to_kernel.py udp:192.0.2.2:4789 42 10.0.0.1/24 10.0.0.2
    a host at 10.0.0.1/24
    10.0.0.2 answers: 56 octets

The host answers pings, too, and its UDP port 7 echoes.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import TimeoutError
from twisted.internet.task import LoopingCall, react

from txtuntap import Host
from txtuntap.device import TAP
from txtuntap.network import Link
from txtuntap.tunnel.datagram import MAX_DATAGRAM, DatagramAddresses, DatagramCarrier
from txtuntap.tunnel.tunnel import Tunnel
from txtuntap.tunnel.vxlan import VXLAN
from txtuntap.udp import Echo

#: The MTU of the VXLAN, in octets: 1,500 without the outer IPv4, UDP and VXLAN headers and the inner Ethernet header.
MTU = 1500 - 20 - 8 - 8 - 14


def main(reactor: Any, peer: str, vni: str, address: str, other: str) -> Deferred[None]:
    """
    Connect a host to a VXLAN, and ping another host on it once a second.

    @param peer: the address and port of the kernel's device, such as C{udp:192.0.2.2:4789}.
    @param vni: the VXLAN network identifier, a decimal number of 24 bits.
    @param address: the address of the host, in CIDR notation.
    @param other: the IP address of the host to ping.
    """
    host = Host([address], reactor)
    host.listenUDP(7, Echo())
    tunnel = Tunnel(TAP)
    # The link takes the place of a device: it carries frames between the host and the tunnel.
    Link(host.ethernet, tunnel, reactor, mtu=MTU).start()

    framing = VXLAN(TAP, int(vni))
    # The kernel sends from any port, and to the port number that it listens on itself.
    where = DatagramAddresses.connecting(peer, samePort=framing.anyPort)
    carrier = DatagramCarrier(tunnel, framing, where.peer, reactor)
    reactor.listenUDP(where.port, carrier, where.interface, MAX_DATAGRAM)
    print(f"a host at {address}", flush=True)

    def ping() -> None:
        try:
            answer = host.ping(other)
        except OSError:
            # The host sends nothing before it has made sure that its address is free.
            return
        answer.addCallback(lambda pong: print(f"{pong.source} answers: {pong.size} octets", flush=True))
        answer.addErrback(lambda failure: failure.trap(TimeoutError))

    LoopingCall(ping).start(1)
    return Deferred()


if __name__ == "__main__":
    if len(sys.argv) != 5 or not sys.argv[2].isdecimal():
        sys.exit("usage: python examples/vxlan_to_kernel.py udp:PEER:PORT VNI ADDRESS OTHER")
    react(main, sys.argv[1:])
