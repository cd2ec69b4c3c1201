"""
Run a UDP echo server on a tun and on a tap, over IPv4 and IPv6.

    python examples/udp_echo.py

Run it as root. The program makes tun0 and tap0, and gives the kernel's end of each its addresses. In another terminal,
send a datagram to any of the four addresses, and the server sends it back:

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
    Sends every datagram back to its source. The class also works with C{reactor.listenUDP}, since it uses no device.
    """

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        # A port below 1024 may be another echo server's. Between two of them, one forged datagram would loop forever.
        if addr[1] >= 1024 and self.transport is not None:
            self.transport.write(datagram, addr)


def echoHost(addresses: list[str]) -> IPProtocol:
    """
    Make an IP layer with these addresses, and above it UDP and the echo server.
    """
    udp = RawUDPProtocol()
    udp.addProto(7, Echo())
    ip = IPProtocol(addresses)
    ip.addProto(17, udp)
    return ip


def main(reactor: Any) -> Deferred[None]:
    """
    Put an echo server on a tun and one on a tap.
    """
    tun = TuntapPort("tun0", echoHost(["10.0.0.2/24", "fd00::2/64"]), reactor=reactor)
    tun.startListening()
    configureInterface("tun0", ["10.0.0.1/24", "fd00::1/64"])

    # On a tap, IP is above Ethernet, and each version has its own EtherType.
    ip = echoHost(["10.0.1.2/24", "fd01::2/64"])
    ethernet = EthernetProtocol("02:00:00:00:00:02")
    ethernet.addProto(0x0800, ip)
    ethernet.addProto(0x86DD, ip)
    tap = TuntapPort("tap0", ethernet, reactor=reactor)
    tap.startListening()
    # This stack has no ARP or neighbour discovery, so the kernel gets permanent neighbour entries.
    stations = {"10.0.1.2": ethernet.linkAddress, "fd01::2": ethernet.linkAddress}
    configureInterface("tap0", ["10.0.1.1/24", "fd01::1/64"], stations)

    print("listening on tun0 and tap0, port 7", flush=True)
    return Deferred()


if __name__ == "__main__":
    react(main)
