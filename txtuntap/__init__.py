"""
A network interface for a Twisted application.

L{TuntapPort} attaches a protocol to a TUN or TAP device through the reactor. Received packets climb from the device
through the layers to ordinary C{DatagramProtocol}s. The datagrams of these travel down through the same layers::

                 DatagramProtocol            application code, unchanged
          datagramReceived ^ | transport.write(data, (host, port))
                           | v
                   RawUDPProtocol            by UDP port; TCPProtocol beside it: by connection, for stream protocols
                         ^ |
                       IPProtocol            by IP protocol number; IPv4 and IPv6
                         ^ |
      tap only >   EthernetProtocol          by EtherType
                         ^ |
                    middleware               capture, impairment, counters: none, one or several
                         ^ |
                     TuntapPort              IListeningPort, on the reactor
                         ^ |
                       device                Linux TUN/TAP, or in memory

L{Host} contains all layers above the port in one object, and adds the answers that a host gives by itself, such as ARP
and ICMP. L{txtuntap.middleware} stands between a port and its protocol. L{txtuntap.tunnel} and L{txtuntap.switch} take
the place of a host on a port, and carry packets to other machines or other ports. L{txtuntap.network} simulates whole
networks.

Each module of C{twisted.pair} has a module of the same name here. To move a program to this package, replace
C{twisted.pair} in its imports by C{txtuntap}.
"""

from typing import TYPE_CHECKING

from txtuntap.device import TAP, TUN
from txtuntap.ethernet import EthernetProtocol
from txtuntap.ip.input import IPProtocol
from txtuntap.packet import Packet
from txtuntap.stack.host import Host
from txtuntap.tcp.layer import TCPProtocol
from txtuntap.tuntap import InterfaceLost, TunnelAddress, TunnelFlags, TuntapPort
from txtuntap.udp.layer import RawUDPProtocol
from txtuntap.version import version

__all__ = [
    "TAP",
    "TUN",
    "EthernetProtocol",
    "Host",
    "IPProtocol",
    "InterfaceLost",
    "Packet",
    "RawUDPProtocol",
    "TCPProtocol",
    "TunnelAddress",
    "TunnelFlags",
    "TuntapPort",
]

if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name: str) -> str:
        """
        Return C{__version__}, which is read from the metadata of the package only when it is asked for.
        """
        if name == "__version__":
            return version()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
