"""
Run a web server within a WireGuard network, without root and without a network interface.

    $ python examples/wireguard_host.py wg0.conf

The file is what wg-quick reads: the server is at the addresses of its [Interface], and its peers are those of its
[Peer] sections. Only these peers reach the server, each from its own allowed networks. Its page tells a peer by which
key it is known. No other program of this machine can use the network, and the kernel's routes stay as they are.

The program prints a line with the URLs for the peers when it is ready, and one when a session with a peer begins.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from txtuntap import Host
from txtuntap.network import Link
from txtuntap.wireguard import Peer, WireGuard
from txtuntap.wireguard.configuration import Configuration


class Greeting(Resource):
    """
    Greets a peer by its key.
    """

    isLeaf = True

    def __init__(self, wireguard: WireGuard) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.wireguard = wireguard

    def render_GET(self, request: Request) -> bytes:
        address = request.getClientAddress().host
        # No other peer may send from this address.
        peer = self.wireguard.peerOf(address)
        assert peer is not None
        request.setHeader("Content-Type", "text/plain")
        return f"Hello, {peer.name} at {address}.\n".encode()


def behind(reactor: Any, configuration: Configuration) -> tuple[WireGuard, Host]:
    """
    Put a host behind WireGuard, as a configuration file says.

    @return: the WireGuard and the host.
    """
    wireguard = WireGuard(configuration.privateKey, configuration.listenPort, reactor, fwmark=configuration.fwmark)
    host = Host([str(each) for each in configuration.addresses], reactor)
    networks = {each.network for each in configuration.addresses}
    for peer in configuration.peers:
        wireguard.addPeer(peer.publicKey, peer.allowed, peer.endpoint, peer.keepalive, peer.presharedKey)
        # The host has routes to the networks of its addresses already.
        for network in set(peer.allowed) - networks:
            host.addRoute(str(network))
            networks.add(network)
    Link(wireguard, host.ip, reactor, configuration.mtu or 1420).start()
    return wireguard, host


def main(reactor: Any, path: str) -> Deferred[None]:
    """
    Serve the page to the peers of a file.
    """

    def begun(peer: Peer) -> None:
        print(f"a session with {peer.name} has begun, at {peer.endpoint}", flush=True)

    configuration = Configuration.of(Path(path).read_text())
    wireguard, host = behind(reactor, configuration)
    wireguard.sessionBegun = begun
    host.listenTCP(80, Site(Greeting(wireguard)))
    urls = (f"http://{each.ip}/" if each.version == 4 else f"http://[{each.ip}]/" for each in configuration.addresses)
    print(f"ready: UDP port {wireguard.listenPort}", *urls, flush=True)
    return Deferred()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/wireguard_host.py FILE")
    react(main, sys.argv[1:])
