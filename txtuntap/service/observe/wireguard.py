"""
The list of a WireGuard's peers for a client of the control socket: see L{txtuntap.service.observe.control}.

No record has a secret: the private key is left out, and of a preshared key there is only whether it is set.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from txtuntap.service.observe.connections import Listing, ListingClient

if TYPE_CHECKING:
    from txtuntap.wireguard.peer import Peer
    from txtuntap.wireguard.protocol import WireGuard

#: The most peers that SIGUSR2 logs, each in one line.
_MAX_LOGGED = 1000


class WireGuardListing(Listing):
    """
    A producer of the record of a WireGuard, and then of one for each of its peers: see L{Listing}.
    """

    def __init__(self, client: ListingClient, wireguard: WireGuard) -> None:
        super().__init__(client, _records(wireguard))


def _records(wireguard: WireGuard) -> Iterator[dict[str, Any]]:
    yield {
        "publicKey": b64encode(wireguard.publicKey).decode() or None,
        "listenPort": wireguard.listenPort,
        "fwmark": wireguard.fwmark,
    }
    yield from peerRecords(wireguard)


def peerRecords(wireguard: WireGuard) -> Iterator[dict[str, Any]]:
    """
    Iterate over the records of the peers, as JSON has them.
    """
    for peer in wireguard.peers:
        yield {
            "publicKey": peer.name,
            "hasPresharedKey": peer.hasPresharedKey,
            "endpoint": None if peer.endpoint is None else str(peer.endpoint),
            "allowed": [str(network) for network in peer.allowed],
            "latestHandshake": peer.lastHandshake,
            "received": peer.received,
            "sent": peer.sent,
            "keepalive": peer.keepalive,
        }


def peerCounters(wireguard: WireGuard) -> Mapping[str, Mapping[str, float]]:
    """
    Return the counters of each peer by its public key: the octets of its messages in both directions, and the time of
    the latest handshake in seconds since 1970 (0: there was none).
    """
    return {peer.name: _countersOf(peer) for peer in wireguard.peers}


def _countersOf(peer: Peer) -> dict[str, float]:
    return {"inOctets": peer.received, "outOctets": peer.sent, "latestHandshake": int(peer.lastHandshake)}


def dumpPeers(log: Logger, wireguard: WireGuard) -> None:
    """
    Log a line for each peer.
    """
    peers = wireguard.peers
    for peer in islice(peers, _MAX_LOGGED):
        counts = ", ".join(f"{name} {count}" for name, count in _countersOf(peer).items())
        log.info(
            "wireguard peer: {peer} at {endpoint}: {counts}", peer=peer.name, endpoint=peer.endpoint, counts=counts
        )
    if len(peers) > _MAX_LOGGED:
        log.info("wireguard peers: {count} more", count=len(peers) - _MAX_LOGGED)
