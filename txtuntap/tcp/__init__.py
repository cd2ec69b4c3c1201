"""
The Transmission Control Protocol: the layer, connections without I/O, congestion controls, transports.

Read RFC 9293 first; L{txtuntap.tcp.connection} says what comes next.
"""

from txtuntap.tcp.congestion import ICongestionControl, NewReno
from txtuntap.tcp.cubic import Cubic
from txtuntap.tcp.handshake import Parameters
from txtuntap.tcp.layer import TCPProtocol
from txtuntap.tcp.limits import Limits
from txtuntap.tcp.record import ConnectionRecord, ConnectionRecords, PortRecord
from txtuntap.tcp.unclaimed import Answer, UnclaimedSYN

__all__ = [
    "Answer",
    "ConnectionRecord",
    "ConnectionRecords",
    "Cubic",
    "ICongestionControl",
    "Limits",
    "NewReno",
    "Parameters",
    "PortRecord",
    "TCPProtocol",
    "UnclaimedSYN",
]
