"""
Join two IP networks by a tun device that is carried over TCP.

Run one end:

    # python examples/tun_over_tcp.py tun0 10.9.0.1/24 listen tcp:4000

and the other, on another machine:

    # python examples/tun_over_tcp.py tun0 10.9.0.2/24 connect tcp:192.0.2.1:4000

The stream keeps the bounds of each IP packet. A superpacket, which stands for many packets of one flow, travels whole.
A connection that is lost is made again. The packets are neither encrypted nor authenticated on the network: see vpn.py.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.task import react

from txtuntap import TuntapPort
from txtuntap.device import TUN
from txtuntap.device.configure import configureInterface
from txtuntap.tunnel import Frames, StreamFactory, Tunnel, connecting


async def main(reactor: Any, interface: str, address: str, role: str, endpoint: str) -> None:
    """
    Carry the interface until interrupted.
    """
    tunnel = Tunnel(TUN)
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
        sys.exit("usage: python examples/tun_over_tcp.py INTERFACE ADDRESS listen|connect ENDPOINT")
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, *sys.argv[1:])))
