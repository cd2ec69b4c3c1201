"""
Says which station on a link has which address, and when one has it no longer.

    python examples/arp_watcher.py [INTERFACE]

as root: it makes tap0 (or INTERFACE), with 10.0.0.1 at the kernel's end, and listens to all ARP that comes. (As a port
of a bridge, it hears that of a whole segment.) In another terminal, have the kernel ask for somebody, and then again
from another link address:

    $ ping -c1 10.0.0.2
    $ ip link set tap0 address 02:00:00:00:00:77; ping -c1 10.0.0.3

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

#: Addresses remembered; the one not heard of for longest is forgotten. The network must not decide how many.
MAX_STATIONS = 1024


@implementer(IPacketReceiver)
class ARPWatcher:
    """
    Goes above Ethernet, under the EtherType of ARP.
    """

    def __init__(self) -> None:
        self._stations: OrderedDict[bytes, bytes] = OrderedDict()

    def packetReceived(self, packet: Packet) -> None:
        message = parse(bytes(packet))
        # One without an address of its own asks whether it may have one: that says nothing yet.
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
    ARP, and nothing else.
    """
    ethernet = EthernetProtocol()
    ethernet.addProto(ARP, ARPWatcher())
    TuntapPort(interface, ethernet, reactor=reactor).startListening()
    configureInterface(interface, ["10.0.0.1/24"])
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
