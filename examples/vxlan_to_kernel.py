"""
A host on a VXLAN of the kernel's (RFC 7348), without an interface of its own.

Of two machines (or network namespaces) that reach each other as 192.0.2.1 and 192.0.2.2, one has the kernel's device:

    $ ip link add vxlan42 mtu 1450 type vxlan id 42 local 192.0.2.2 remote 192.0.2.1 dstport 4789
    $ ip address add 10.0.0.2/24 dev vxlan42
    $ ip link set vxlan42 up

and this runs on the other, without privilege:

    $ python examples/vxlan_to_kernel.py udp:192.0.2.2:4789 42 10.0.0.1/24 10.0.0.2
    a host at 10.0.0.1/24
    10.0.0.2 answers: 56 octets

It answers pings, too, and on UDP port 7 it echoes.
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

#: What is left of 1,500 octets beside the headers of IPv4, UDP, VXLAN and the frame.
MTU = 1500 - 20 - 8 - 8 - 14


def main(reactor: Any, peer: str, vni: str, address: str, other: str) -> Deferred[None]:
    """
    @param peer: where the kernel's device is, such as C{udp:192.0.2.2:4789}.
    @param vni: the network's identifier.
    @param address: the host's.
    @param other: whom to ping, once a second.
    """
    host = Host([address], reactor)
    host.listenUDP(7, Echo())
    tunnel = Tunnel(TAP)
    # In place of a device: what the host sends, the tunnel has, and the other way round.
    Link(host.ethernet, tunnel, reactor, mtu=MTU).start()

    framing = VXLAN(TAP, int(vni))
    # The kernel sends from any port, to the one that it listens at.
    where = DatagramAddresses.connecting(peer, samePort=framing.anyPort)
    carrier = DatagramCarrier(tunnel, framing, where.peer, reactor)
    reactor.listenUDP(where.port, carrier, where.interface, MAX_DATAGRAM)
    print(f"a host at {address}", flush=True)

    def ping() -> None:
        try:
            answer = host.ping(other)
        except OSError:
            # It finds out first whether somebody has its address.
            return
        answer.addCallback(lambda pong: print(f"{pong.source} answers: {pong.size} octets", flush=True))
        answer.addErrback(lambda failure: failure.trap(TimeoutError))

    LoopingCall(ping).start(1)
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
