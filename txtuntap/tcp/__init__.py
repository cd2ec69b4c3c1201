"""
The Transmission Control Protocol: the layer, connections without I/O, congestion controls, transports.

Read RFC 9293 first. The docstring of L{txtuntap.tcp.connection} names the RFCs to read next.

The modules, from the application down:

  - L{transport<txtuntap.tcp.transport>}, C{turns}, C{calls} and C{stream} are the transport of a Twisted protocol. The
    modules C{ports} and C{client} create it.
  - L{layer<txtuntap.tcp.layer>}, C{unconnected} and C{endpoints} have the tables of connections and ports.
  - L{connection<txtuntap.tcp.connection>}, C{closing}, C{timers} and C{output} are the state machine of one connection.
  - L{sender<txtuntap.tcp.sender>}, C{sizing}, C{recovery} and C{scoreboard} are its sending half, and
    L{receiver<txtuntap.tcp.receiver>} is its receiving half.
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
