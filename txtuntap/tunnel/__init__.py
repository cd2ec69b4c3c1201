"""
Tunnels carry the packets of a TUN or TAP interface to a remote peer, and the peer's packets back::

      interface  ◂▸  Tunnel  ◂▸  carrier  ◂▸  framing  ◂▸  the network
      (a port)                (a stream, or   (octets, or
                               datagrams)      datagrams)

L{Tunnel} is a protocol on a TUN or TAP device. It sends the interface's packets to the peer through its carrier. It
checks each packet that the carrier receives from the peer before it writes the packet to the interface. A carrier owns
the sockets and the timers. A framing only converts between packets and the octets on the wire.
"""

from txtuntap.tunnel.allowed import Allowed
from txtuntap.tunnel.client import connecting
from txtuntap.tunnel.frames import Frames
from txtuntap.tunnel.stream import StreamCarrier, StreamFactory
from txtuntap.tunnel.tunnel import Tunnel

__all__ = ["Allowed", "Frames", "StreamCarrier", "StreamFactory", "Tunnel", "connecting"]
