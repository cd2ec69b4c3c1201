"""
Tunnels: an interface carried between two places.

      interface  ◂▸  Tunnel  ◂▸  carrier  ◂▸  framing  ◂▸  the network
      (a port)                (a stream, or   (octets, or
                               datagrams)      datagrams)

L{Tunnel} is a protocol on a TUN or TAP device. What comes from there it hands to its carrier, and what the carrier
brings it checks before it goes there. A carrier has the sockets and the clocks; a framing knows what packets look like
in transit, and nothing else.
"""

from txtuntap.tunnel.allowed import Allowed
from txtuntap.tunnel.client import connecting
from txtuntap.tunnel.frames import Frames
from txtuntap.tunnel.stream import StreamCarrier, StreamFactory
from txtuntap.tunnel.tunnel import Tunnel

__all__ = ["Allowed", "Frames", "StreamCarrier", "StreamFactory", "Tunnel", "connecting"]
