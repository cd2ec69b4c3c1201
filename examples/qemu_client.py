"""
A host on the network of a QEMU guest: it speaks QEMU's framing, to

    $ qemu-system-x86_64 ... -netdev stream,id=net0,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port=5000 \\
        -device virtio-net,netdev=net0

(or C{-netdev socket,id=net0,listen=127.0.0.1:5000}), and needs neither an interface nor privilege:

    $ python examples/qemu_client.py tcp:127.0.0.1:5000 10.0.0.1/24 10.0.0.2
    a host at 10.0.0.1/24
    10.0.0.2 answers: 56 octets

Say the address of the guest. The guest can ping this host, too, and on UDP port 7 it echoes. When the guest goes, it
waits for another.
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
    @param endpoint: where QEMU listens: any Twisted client endpoint.
    @param address: the host's.
    @param guest: whom to ping, once a second.
    """
    host = Host([address], reactor)
    host.listenUDP(7, Echo())
    tunnel = Tunnel(TAP)
    # In place of a device: what the host sends, the tunnel has, and the other way round.
    Link(host.ethernet, tunnel, reactor).start()

    connecting(clientFromString(reactor, endpoint), StreamFactory(tunnel, QEMUStream, reactor)).startService()
    print(f"a host at {address}", flush=True)

    def ping() -> None:
        try:
            answer = host.ping(guest)
        except OSError:
            # It finds out first whether somebody has its address.
            return
        answer.addCallback(lambda pong: print(f"{pong.source} answers: {pong.size} octets", flush=True))
        answer.addErrback(lambda failure: failure.trap(TimeoutError))

    LoopingCall(ping).start(1)
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
