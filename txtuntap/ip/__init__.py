"""
The Internet Protocol, versions 4 and 6: packets in and out, addresses, routes, fragments.
"""

from txtuntap.ip.input import IPProtocol
from txtuntap.ip.routes import StaticNeighbours, StaticRoutes
from txtuntap.wire.ipv4 import IPHeader

__all__ = ["IPHeader", "IPProtocol", "StaticNeighbours", "StaticRoutes"]
