"""
Answer ping: with a Host, which takes one line, and with layers put together by hand.

    python examples/ping_responder.py

Run it as root, on Linux. The program makes tap0 and tap1, with 10.0.0.1 and 10.0.1.1 at the kernel's ends. With the
name of a tun, it makes only that, with 10.0.0.1 at the kernel's end. This form is for FreeBSD, OpenBSD and NetBSD, too,
and with utun%d for macOS (not run there yet):

    python examples/ping_responder.py tun%d

In another terminal:

    $ ping -c1 10.0.0.2
    $ ping -c1 10.0.1.2
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import AbstractDatagramProtocol
from twisted.internet.task import react
from zope.interface import implementer

from txtuntap import EthernetProtocol, Host, IPProtocol, TuntapPort
from txtuntap.device.configure import configureInterface
from txtuntap.raw import IRawDatagramProtocol
from txtuntap.wire.checksum import checksum

ECHO_REQUEST, ECHO_REPLY = 8, 0


@implementer(IRawDatagramProtocol)
class PingResponder(AbstractDatagramProtocol):
    """
    An ICMP protocol that answers echo requests. It is added to an IPProtocol under protocol number 1, and the
    IPProtocol is its transport.
    """

    def addProto(self, num: int, proto: object) -> None:
        raise TypeError("there is nothing above ICMP")

    def datagramReceived(self, data: bytes, source: str, **header: Any) -> None:  # type: ignore[override]
        # The other keyword arguments are the rest of the IP header: dest, protocol, version, ttl and so on.
        if len(data) < 8 or data[0] != ECHO_REQUEST or checksum(data):
            return
        # The reply has another type than the request, so the checksum changes. The field is 0 during the computation.
        reply = bytes((ECHO_REPLY, 0, 0, 0)) + data[4:]
        reply = reply[:2] + checksum(reply).to_bytes(2, "big") + reply[4:]
        transport: Any = self.transport
        transport.write(reply, source, 1)


def answerOnTun(reactor: Any, name: str) -> None:
    """
    Make a tun with a stack of layers.
    """
    ip = IPProtocol(["10.0.0.2/24"])
    ip.addProto(1, PingResponder())
    port = TuntapPort(name, ip, reactor=reactor)
    port.startListening()
    # The kernel has chosen the number in the name. With this address, it routes 10.0.0.0/24 to the interface.
    configureInterface(port.device.name, ["10.0.0.1/24"], device=port.device)


def answerOnTaps(reactor: Any) -> None:
    """
    Make one tap with a Host, and one with a stack of layers.
    """
    TuntapPort("tap0", Host(["10.0.0.2/24"], reactor).ethernet, reactor=reactor).startListening()
    configureInterface("tap0", ["10.0.0.1/24"])

    ip = IPProtocol(["10.0.1.2/24"])
    ip.addProto(1, PingResponder())
    ethernet = EthernetProtocol("02:00:00:00:01:02")
    ethernet.addProto(0x0800, ip)
    TuntapPort("tap1", ethernet, reactor=reactor).startListening()
    # This stack has no ARP layer, so the kernel gets a permanent neighbour entry.
    configureInterface("tap1", ["10.0.1.1/24"], {"10.0.1.2": "02:00:00:00:01:02"})


def main(reactor: Any, *names: str) -> Deferred[None]:
    """
    Answer on the tun that the command line names, or on two taps.
    """
    if names:
        answerOnTun(reactor, names[0])
        print("ready: ping 10.0.0.2", flush=True)
    else:
        answerOnTaps(reactor)
        print("ready: ping 10.0.0.2, or 10.0.1.2", flush=True)
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
