"""
The Internet Protocol, versions 4 and 6: input, output, addresses, routes, fragments and path MTUs.

Read RFC 791 and RFC 8200 first, and RFC 1122 section 3 for what a host has to do.
"""

from txtuntap.ip.input import IPProtocol
from txtuntap.ip.routes import StaticNeighbours, StaticRoutes
from txtuntap.wire.ipv4 import IPHeader

__all__ = ["IPHeader", "IPProtocol", "StaticNeighbours", "StaticRoutes"]
