"""
A UDP echo on a tun and on a tap, over IPv4 and IPv6.

    python examples/udp_echo.py

as root: it makes tun0 and tap0 and gives the kernel's end of each its addresses. Then, in another terminal, ask any of
the four addresses and get back what you say:

    $ echo hello | socat -t1 - UDP:10.0.0.2:7
    $ echo hello | socat -t1 - UDP:[fd00::2]:7
    $ echo hello | socat -t1 - UDP:10.0.1.2:7
    $ echo hello | socat -t1 - UDP:[fd01::2]:7
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import react

from txtuntap import EthernetProtocol, IPProtocol, RawUDPProtocol, TuntapPort
from txtuntap.device.configure import configureInterface


class Echo(DatagramProtocol):
    """
    Sends every datagram back. It knows nothing of devices: with C{reactor.listenUDP} it would do the same.
    """

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        # Low ports may be another echo's, and between two of them one forged datagram would never come to rest.
        if addr[1] >= 1024 and self.transport is not None:
            self.transport.write(datagram, addr)


def echoHost(addresses: list[str]) -> IPProtocol:
    """
    IP with these addresses, and UDP with the echo above it.
    """
    udp = RawUDPProtocol()
    udp.addProto(7, Echo())
    ip = IPProtocol(addresses)
    ip.addProto(17, udp)
    return ip


def main(reactor: Any) -> Deferred[None]:
    """
    One host on each device.
    """
    tun = TuntapPort("tun0", echoHost(["10.0.0.2/24", "fd00::2/64"]), reactor=reactor)
    tun.startListening()
    configureInterface("tun0", ["10.0.0.1/24", "fd00::1/64"])

    # On a tap, IP is one of the things that Ethernet carries: each version under its EtherType.
    ip = echoHost(["10.0.1.2/24", "fd01::2/64"])
    ethernet = EthernetProtocol("02:00:00:00:00:02")
    ethernet.addProto(0x0800, ip)
    ethernet.addProto(0x86DD, ip)
    tap = TuntapPort("tap0", ethernet, reactor=reactor)
    tap.startListening()
    # Nobody answers the kernel's questions where these addresses are, so it is told.
    stations = {"10.0.1.2": ethernet.linkAddress, "fd01::2": ethernet.linkAddress}
    configureInterface("tap0", ["10.0.1.1/24", "fd01::1/64"], stations)

    print("listening on tun0 and tap0, port 7", flush=True)
    return Deferred()


if __name__ == "__main__":
    react(main)
