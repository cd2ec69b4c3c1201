"""
The settings of a peer, as an application gives them.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network
from typing import Any

from txtuntap.layer.prefixes import Network
from txtuntap.mistakes import checkFlag, checkRange, listed
from txtuntap.wireguard.endpoint import endpointParts
from txtuntap.wireguard.keys import keyOctets


class PeerSettings:
    """
    The checked arguments of L{WireGuard.addPeer<txtuntap.wireguard.protocol.WireGuard.addPeer>} and C{changePeer}. An
    argument that was not given is C{None}.
    """

    def __init__(
        self,
        allowed: Iterable[str | Network] | None,
        endpoint: str | None,
        keepalive: int | None,
        presharedKey: Any,
        roams: bool | None,
    ) -> None:
        self.allowed: tuple[Network, ...] | None = None
        if allowed is not None:
            # Bits of a host are cleared, as `wg` does.
            self.allowed = tuple(ip_network(each, strict=False) for each in listed(allowed, "allowed", "10.0.0.2/32"))
        self.endpoint = None if endpoint is None else endpointParts(endpoint)
        if keepalive is not None:
            checkRange(keepalive, "keepalive", 0, 0xFFFF)
        self.keepalive = keepalive
        self.presharedKey = None if presharedKey is None else keyOctets(presharedKey, "a preshared key")
        if roams is not None:
            checkFlag(roams, "roams")
        self.roams = roams
