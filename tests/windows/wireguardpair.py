"""
A process with two hosts behind WireGuard on this machine, on one of Twisted's reactors. One pings the other through the
sockets of the machine::

    python -m tests.windows.wireguardpair selectreactor
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.task import react

from txtuntap import Host
from txtuntap.network import Link
from txtuntap.wireguard import PrivateKey, WireGuard

_ADDRESSES = "10.9.0.1", "10.9.0.2"


async def pinged(reactor: Any) -> None:
    """
    Print the address and the number of octets of the reply that the second host has received.
    """
    # A reactor that waits for no descriptors has UDP sockets of its own.
    outside = None if IReactorFDSet.providedBy(reactor) else reactor
    keys = PrivateKey.generate(), PrivateKey.generate()
    made = [WireGuard(key, reactor=reactor, outside=outside) for key in keys]
    hosts = [Host([f"{address}/24"], reactor) for address in _ADDRESSES]
    for wireguard, host in zip(made, hosts, strict=True):
        Link(wireguard, host.ip, reactor, 1420).start()
    made[0].addPeer(keys[1].public, [_ADDRESSES[1]])
    made[1].addPeer(keys[0].public, [_ADDRESSES[0]], f"127.0.0.1:{made[0].listenPort}")
    pong = await hosts[1].ping(_ADDRESSES[0], 1000, timeout=30)
    print(pong.source, pong.size)


if __name__ == "__main__":
    import_module(f"twisted.internet.{sys.argv[1]}").install()
    react(lambda reactor: Deferred.fromCoroutine(pinged(reactor)))
