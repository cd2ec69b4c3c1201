"""
Run the DNS server of twisted.names, unmodified, at an address of its own on a tun.

    python examples/dns_server.py

Run it as root. The program serves the zone below at 10.0.0.2 and fd00::2. Another DNS server on this machine does not
disturb it. In another terminal:

    $ dig +short @10.0.0.2 www.example.test
    10.0.0.80
    $ dig +short @fd00::2 www.example.test AAAA
    fd00::80
    $ dig @10.0.0.2 nobody.example.test
    ... status: NXDOMAIN ...
    $ dig +short +tcp @10.0.0.2 example.test TXT
    "served from user space"
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.names import dns
from twisted.names.authority import FileAuthority
from twisted.names.server import DNSServerFactory

from txtuntap import IPProtocol, RawUDPProtocol, TCPProtocol, TuntapPort
from txtuntap.device.configure import configureInterface

HOUR = 3600


class Zone(FileAuthority):
    """
    The zone C{example.test}, with its records written in the code instead of in a zone file.
    """

    def __init__(self) -> None:
        FileAuthority.__init__(self, None)
        name = b"example.test"
        soa = dns.Record_SOA(b"ns." + name, b"root." + name, 1, HOUR, HOUR, HOUR, HOUR, HOUR)
        self.soa: Any = (name, soa)
        self.records: Any = {
            name: [soa, dns.Record_NS(b"ns." + name, HOUR), dns.Record_TXT(b"served from user space", ttl=HOUR)],
            b"ns." + name: [dns.Record_A("10.0.0.2", HOUR), dns.Record_AAAA("fd00::2", HOUR)],
            b"www." + name: [dns.Record_A("10.0.0.80", HOUR), dns.Record_AAAA("fd00::80", HOUR)],
        }


def main(reactor: Any) -> Deferred[None]:
    """
    Put the DNS server above UDP and TCP, IP and a tun.
    """
    server = DNSServerFactory(authorities=[Zone()])
    udp = RawUDPProtocol()
    udp.addProto(dns.PORT, dns.DNSDatagramProtocol(server, reactor))
    tcp = TCPProtocol()
    tcp.listen(dns.PORT, server)
    ip = IPProtocol(["10.0.0.2/24", "fd00::2/64"])
    ip.addProto(17, udp)
    ip.addProto(6, tcp)
    TuntapPort("tun0", ip, reactor=reactor).startListening()
    configureInterface("tun0", ["10.0.0.1/24", "fd00::1/64"])
    print("serving example.test at 10.0.0.2 and fd00::2", flush=True)
    return Deferred()


if __name__ == "__main__":
    react(main)
