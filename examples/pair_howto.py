"""
The two ports of the Twisted Pair how-to: a tap that carries Ethernet, and a tun that carries IP.

It is the program one would write for twisted.pair; only the imports say txtuntap. What differs is what happens: the
datagrams arrive on the tun too, and an answer gets back. Run it as root:

    python examples/pair_howto.py

and give the kernel's end of each interface an address, in another terminal. Nobody on the tap answers ARP here, so the
kernel is told where that host is:

    ip address add 10.0.0.1/24 dev tun0
    ip link set tun0 up
    ip address add 10.0.1.1/24 dev tap0
    ip link set tap0 up
    ip neighbour add 10.0.1.2 lladdr 02:00:00:00:00:02 dev tap0

Then every address of both networks but the kernel's own is this program's:

    $ echo hello | socat -t1 - UDP:10.0.0.2:42
    tun has heard you
    $ echo hello | socat -t1 - UDP:10.0.1.2:42
    tap has heard you
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import react

from txtuntap.ethernet import EthernetProtocol
from txtuntap.ip import IPProtocol
from txtuntap.rawudp import RawUDPProtocol
from txtuntap.tuntap import TuntapPort


class Listener(DatagramProtocol):
    """
    Prints what it hears, and says so to whoever spoke.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        print(f"{self.name}: {addr[0]} port {addr[1]} says {datagram!r}", flush=True)
        # twisted.pair leaves a protocol without a transport: there is nothing to answer with.
        assert self.transport is not None
        self.transport.write(f"{self.name} has heard you\n".encode(), addr)


def main(reactor: Any) -> Deferred[None]:
    """
    Put a stack of protocols on each port.
    """
    tapUDP = RawUDPProtocol()
    tapUDP.addProto(42, Listener("tap"))
    tapIP = IPProtocol()
    tapIP.addProto(17, tapUDP)
    ethernet = EthernetProtocol()
    ethernet.addProto(0x0800, tapIP)
    tap = TuntapPort(b"tap0", ethernet, reactor=reactor)
    tap.startListening()

    # On a tun there is no Ethernet, and a RawUDPProtocol may do without an IPProtocol of its own.
    tunUDP = RawUDPProtocol()
    tunUDP.addProto(42, Listener("tun"))
    tun = TuntapPort(b"tun0", tunUDP, reactor=reactor)
    tun.startListening()

    # Until Ctrl-C.
    return Deferred()


if __name__ == "__main__":
    react(main)
