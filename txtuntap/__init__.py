"""
A network interface for a Twisted application.

L{TuntapPort} attaches a protocol to a TUN or TAP device through the reactor. Packets climb from the device through the
layers to ordinary C{DatagramProtocol}s, and what those write goes back down:

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

L{Host} is all of that in one object, with what a host answers by itself. L{txtuntap.middleware} goes between a port and
what is on it; L{txtuntap.tunnel} and L{txtuntap.switch} are on ports in place of a host, and carry packets elsewhere;
L{txtuntap.network} simulates all of it.

The modules have the names of those in C{twisted.pair}: replace that by C{txtuntap} in a program's imports.
"""

from txtuntap.ethernet import EthernetProtocol
from txtuntap.ip.input import IPProtocol
from txtuntap.packet import Packet
from txtuntap.stack.host import Host
from txtuntap.tcp.layer import TCPProtocol
from txtuntap.tuntap import InterfaceLost, TunnelAddress, TunnelFlags, TuntapPort
from txtuntap.udp.layer import RawUDPProtocol

__all__ = [
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
