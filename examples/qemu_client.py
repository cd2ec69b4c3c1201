"""
Put a host on the network of a QEMU guest, by a TCP connection in QEMU's framing. Start the guest with

    $ qemu-system-x86_64 ... -netdev stream,id=net0,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port=5000 \\
        -device virtio-net,netdev=net0

or with C{-netdev socket,id=net0,listen=127.0.0.1:5000}. The program needs neither an interface nor privilege:

    $ python examples/qemu_client.py tcp:127.0.0.1:5000 10.0.0.1/24 10.0.0.2
    a host at 10.0.0.1/24
    10.0.0.2 answers: 56 octets

The last argument is the address of the guest. The guest can ping this host, too, and UDP port 7 of this host echoes.
When the guest ends, the program tries to connect again until another guest listens.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.error import TimeoutError
from twisted.internet.task import LoopingCall, react

from txtuntap import Host
from txtuntap.device import TAP
from txtuntap.network import Link
from txtuntap.tunnel.client import connecting
from txtuntap.tunnel.qemu import QEMUStream
from txtuntap.tunnel.stream import StreamFactory
from txtuntap.tunnel.tunnel import Tunnel
from txtuntap.udp import Echo


def main(reactor: Any, endpoint: str, address: str, guest: str) -> Deferred[None]:
    """
    Connect a host to the guest's network, and ping the guest once a second.

    @param endpoint: the string of a Twisted client endpoint for the port that QEMU listens on.
    @param address: the address of the host, in CIDR notation.
    @param guest: the IP address of the guest.
    """
    host = Host([address], reactor)
    host.listenUDP(7, Echo())
    tunnel = Tunnel(TAP)
    # The link takes the place of a device: it carries frames between the host and the tunnel.
    Link(host.ethernet, tunnel, reactor).start()

    connecting(clientFromString(reactor, endpoint), StreamFactory(tunnel, QEMUStream, reactor)).startService()
    print(f"a host at {address}", flush=True)

    def ping() -> None:
        try:
            answer = host.ping(guest)
        except OSError:
            # The host sends nothing before it has made sure that its address is free.
            return
        answer.addCallback(lambda pong: print(f"{pong.source} answers: {pong.size} octets", flush=True))
        answer.addErrback(lambda failure: failure.trap(TimeoutError))

    LoopingCall(ping).start(1)
    return Deferred()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python examples/qemu_client.py ENDPOINT ADDRESS GUEST")
    react(main, sys.argv[1:])
