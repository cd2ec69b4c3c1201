"""
Join two Ethernet networks by a tap device that is carried over TCP.

Run one end:

    # python examples/tap_over_tcp.py tap0 10.9.0.1/24 listen tcp:4000

and the other, on another machine:

    # python examples/tap_over_tcp.py tap0 10.9.0.2/24 connect tcp:192.0.2.1:4000

The stream keeps the bounds of each frame. A connection that is lost is made again. A peer that carries a tun device is
refused. If the tap is a port of a bridge, the other ports of the bridge are joined, too. The frames are neither
encrypted nor authenticated on the network: see vpn.py.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.task import react

from txtuntap import TuntapPort
from txtuntap.device import TAP
from txtuntap.device.configure import configureInterface
from txtuntap.tunnel import Frames, StreamFactory, Tunnel, connecting


async def main(reactor: Any, interface: str, address: str, role: str, endpoint: str) -> None:
    """
    Carry the interface until interrupted.
    """
    tunnel = Tunnel(TAP)
    port = TuntapPort(interface, tunnel, reactor=reactor)
    port.startListening()
    configureInterface(interface, addresses=[address])
    factory = StreamFactory(tunnel, Frames, reactor)
    if role == "listen":
        await serverFromString(reactor, endpoint).listen(factory)
    else:
        service = connecting(clientFromString(reactor, endpoint), factory)
        service.startService()
        reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.addSystemEventTrigger("before", "shutdown", lambda: print(dict(tunnel.counters)))
    print(f"{interface} is carried", flush=True)
    await Deferred()


if __name__ == "__main__":
    if len(sys.argv) != 5 or sys.argv[3] not in ("listen", "connect"):
        sys.exit("usage: python examples/tap_over_tcp.py INTERFACE ADDRESS listen|connect ENDPOINT")
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, *sys.argv[1:])))
