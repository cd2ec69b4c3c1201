"""
Print a line for each packet that arrives on a tap.

    python examples/packet_printer.py [INTERFACE]

Run it as root. The program makes tap0 (or INTERFACE), with 10.0.0.1 at the kernel's end, and gives the kernel a
permanent neighbour entry for 10.0.0.3. The kernel's own packets are printed first. In another terminal, ping an address
without a neighbour entry, and send a datagram to the address with the entry:

    $ ping -c1 10.0.0.2
    $ echo hello | socat -u - UDP:10.0.0.3:7

The program then prints:

    17:33:08.124  2a:9e:b5:f1:3c:02 > ff:ff:ff:ff:ff:ff  ARP   who has 10.0.0.2? tell 10.0.0.1
    17:33:11.730  2a:9e:b5:f1:3c:02 > 02:00:00:00:00:03  IPv4  10.0.0.1 > 10.0.0.3, hops 64, UDP 50422 > 7: b'hello\\n'
"""

from __future__ import annotations

import struct
import sys
from datetime import datetime
from ipaddress import IPv4Address
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from zope.interface import implementer

from txtuntap import EthernetProtocol, IPProtocol, Packet, TuntapPort
from txtuntap.device.configure import configureInterface
from txtuntap.ethernet import EthernetHeader
from txtuntap.interfaces import IPacketReceiver
from txtuntap.rawudp import UDPHeader

ARP, IPV4, IPV6 = 0x0806, 0x0800, 0x86DD
UDP = 17


@implementer(IPacketReceiver)
class Printer:
    """
    A protocol above Ethernet and above IP. Above Ethernet, C{packet.start} is the offset behind the Ethernet header.
    Above IP, it is the offset behind the IP header. The headers stay in the buffer, at the offsets C{packet.link} and
    C{packet.network}.
    """

    def packetReceived(self, packet: Packet) -> None:
        frame = EthernetHeader(packet.data[packet.link :])
        text = self.arp(packet) if packet.etherType == ARP else self.datagram(packet)
        time = f"{datetime.now():%H:%M:%S.%f}"[:-3]
        print(f"{time}  {frame.source.hex(':')} > {frame.dest.hex(':')}  {text}", flush=True)

    def arp(self, packet: Packet) -> str:
        if len(packet) < 28:
            return f"ARP   {len(packet)} octets are too few"
        operation, station, sender, wanted = struct.unpack_from("!6xH6s4s6x4s", packet.data, packet.start)
        if operation == 1:
            return f"ARP   who has {IPv4Address(wanted)}? tell {IPv4Address(sender)}"
        return f"ARP   {IPv4Address(sender)} is at {station.hex(':')}"

    def datagram(self, packet: Packet) -> str:
        network = packet.data[packet.network :]
        protocol = network[9] if packet.version == 4 else network[6]
        text = f"IPv{packet.version}  {packet.source} > {packet.dest}, hops {packet.hopLimit}, "
        if protocol != UDP or len(packet) < 8:
            return text + f"protocol {protocol}: {len(packet)} octets"
        header = UDPHeader(bytes(packet))
        return text + f"UDP {header.source} > {header.dest}: {bytes(packet)[8 : header.len]!r}"


def main(reactor: Any, interface: str = "tap0") -> Deferred[None]:
    """
    Add one printer above Ethernet for ARP, and above IP for each of the 256 protocol numbers.
    """
    printer = Printer()
    ip = IPProtocol()
    for number in range(256):
        ip.addProto(number, printer)
    ethernet = EthernetProtocol()
    ethernet.addProto(ARP, printer)
    ethernet.addProto(IPV4, ip)
    ethernet.addProto(IPV6, ip)
    TuntapPort(interface, ethernet, reactor=reactor).startListening()
    configureInterface(interface, ["10.0.0.1/24"], {"10.0.0.3": "02:00:00:00:00:03"})
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
