"""
Open the two ports of the Twisted Pair how-to: a tap that carries Ethernet, and a tun that carries IP.

The program is written for twisted.pair, and only its imports name txtuntap. With twisted.pair, no datagram arrives on
the tun, and no protocol can answer. With txtuntap, both work. Run it as root:

    python examples/pair_howto.py

In another terminal, give the kernel's end of each interface an address. No layer of this program answers ARP on the
tap, so the kernel needs a neighbour entry for the program's address:

    ip address add 10.0.0.1/24 dev tun0
    ip link set tun0 up
    ip address add 10.0.1.1/24 dev tap0
    ip link set tap0 up
    ip neighbour add 10.0.1.2 lladdr 02:00:00:00:00:02 dev tap0

The program then answers at 10.0.1.2 on the tap, and on the tun at every address of the network except the kernel's own:

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
    Prints each datagram and answers its sender.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        print(f"{self.name}: {addr[0]} port {addr[1]} says {datagram!r}", flush=True)
        # In twisted.pair, the transport of this protocol is None, so the protocol cannot answer.
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

    # A tun carries no Ethernet, and the port puts an IPProtocol below a RawUDPProtocol by itself.
    tunUDP = RawUDPProtocol()
    tunUDP.addProto(42, Listener("tun"))
    tun = TuntapPort(b"tun0", tunUDP, reactor=reactor)
    tun.startListening()
    print("ready: port 42 on tap0 and tun0", flush=True)

    # This Deferred never fires, so that the program runs until Ctrl-C.
    return Deferred()


if __name__ == "__main__":
    react(main)
