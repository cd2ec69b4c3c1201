"""
The names of C{twisted.pair.rawudp}. The UDP layer itself is in L{txtuntap.udp.layer}.
"""

from txtuntap.udp.layer import RawUDPProtocol
from txtuntap.wire.udp import UDPHeader

__all__ = ["RawUDPProtocol", "UDPHeader"]
