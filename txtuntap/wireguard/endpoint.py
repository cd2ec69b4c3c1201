"""
Endpoints: the outer addresses of peers.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import attrs

from txtuntap.mistakes import checkRange


@attrs.define(hash=True)
class Endpoint:
    """
    The outer address of a peer, where its messages come from.

    @ivar host: an IP address as text, with a zone where it is link-local.
    @ivar port: the UDP port.
    @ivar route: what the socket remembers of how messages have come, such as the address of ours that they were sent
        to; C{None}: nothing, so the system chooses.
    """

    host: str
    port: int
    route: Any = attrs.field(default=None, eq=False, repr=False)

    @property
    def octets(self) -> bytes:
        """
        The packed address and the port, which a cookie is bound to.
        """
        return ip_address(self.host.partition("%")[0]).packed + self.port.to_bytes(2, "big")

    @property
    def network(self) -> bytes:
        """
        The octets of the address that handshakes are limited by: 4 of IPv4, the first 8 of IPv6, since a host has a
        whole network of these.
        """
        return ip_address(self.host.partition("%")[0]).packed[:8]

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def endpointParts(text: Any) -> tuple[str, int]:
    """
    Split the text of an endpoint: C{192.0.2.1:51820}, C{[2001:db8::1]:51820}, C{vpn.example:51820}.

    @return: the host, an IP address or a name, and the port.

    @raise ValueError: the text is no endpoint.
    """
    host, colon, port = text.rpartition(":") if isinstance(text, str) else ("", "", "")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not host or not colon or not port.isascii() or not port.isdigit():
        raise ValueError(f"an endpoint is HOST:PORT, such as vpn.example:51820 or [2001:db8::1]:51820, not {text!r}")
    checkRange(int(port), "the port of an endpoint", 1, 0xFFFF)
    return host, int(port)
