"""
Print the link address of each IPv4 address on a link, and print a line when an address moves to another station.

    python examples/arp_watcher.py [INTERFACE]

Run it as root. The program makes tap0 (or INTERFACE), gives the kernel's end the address 10.0.0.1, and reads each ARP
message that arrives. (If tap0 is a port of a bridge, it receives the broadcast ARP messages of the whole segment.) In
another terminal, let the kernel send an ARP request, change the kernel's link address, and let it send a second one:

    $ ping -c1 10.0.0.2
    $ ip link set tap0 address 02:00:00:00:00:77; ping -c1 10.0.0.3

The program prints:

    ready: watching tap0
    10.0.0.1         is at   2a:9e:b5:f1:3c:02
    10.0.0.1         has moved to 02:00:00:00:00:77 from 2a:9e:b5:f1:3c:02
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from zope.interface import implementer

from txtuntap import EthernetProtocol, Packet, TuntapPort
from txtuntap.device.configure import configureInterface
from txtuntap.interfaces import IPacketReceiver
from txtuntap.wire.address import addressText, linkAddressText
from txtuntap.wire.arp import parse
from txtuntap.wire.ethernet import ARP

#: The greatest number of IPv4 addresses in the table. A full table evicts the address that was silent for longest.
#: Without a bound, forged messages could fill the memory.
MAX_STATIONS = 1024


@implementer(IPacketReceiver)
class ARPWatcher:
    """
    A protocol above Ethernet that receives the frames with the EtherType of ARP.
    """

    def __init__(self) -> None:
        self._stations: OrderedDict[bytes, bytes] = OrderedDict()

    def packetReceived(self, packet: Packet) -> None:
        message = parse(bytes(packet))
        # A sender address of zeros belongs to a probe: the station only asks whether an address is free (RFC 5227).
        if message is None or not any(message.sender):
            return
        before = self._stations.pop(message.sender, None)
        self._stations[message.sender] = message.senderLink
        if len(self._stations) > MAX_STATIONS:
            self._stations.popitem(last=False)
        address, station = addressText(message.sender), linkAddressText(message.senderLink)
        if before is None:
            print(f"{address:15}  is at   {station}", flush=True)
        elif before != message.senderLink:
            print(f"{address:15}  has moved to {station} from {linkAddressText(before)}", flush=True)


def main(reactor: Any, interface: str = "tap0") -> Deferred[None]:
    """
    Make the interface, with an Ethernet layer that carries ARP alone.
    """
    ethernet = EthernetProtocol()
    ethernet.addProto(ARP, ARPWatcher())
    TuntapPort(interface, ethernet, reactor=reactor).startListening()
    configureInterface(interface, ["10.0.0.1/24"])
    print(f"ready: watching {interface}", flush=True)
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
