"""
The names of C{twisted.pair.rawudp}: UDP datagrams by port. The layer itself is L{txtuntap.udp.layer}.
"""

from txtuntap.udp.layer import RawUDPProtocol
from txtuntap.wire.udp import UDPHeader

__all__ = ["RawUDPProtocol", "UDPHeader"]
