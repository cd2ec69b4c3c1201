"""
The same stack twice, of C{twisted.pair}'s layers and of ours, and frames to send up through either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import attrs
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock
from twisted.pair import ethernet as pairEthernet
from twisted.pair import ip as pairIP
from twisted.pair import rawudp as pairUDP

from benchmarks.measure import Task
from txtuntap import EthernetProtocol, Host, IPProtocol, Packet, RawUDPProtocol, TuntapPort
from txtuntap.testing import TAP, TUN, MemoryDevice, ethernetFrame, udpPacket
from txtuntap.wire.ethernet import IPV4, IPV6
from txtuntap.wire.udp import PROTOCOL

#: The port that datagrams go to.
PORT = 7000

_ADDRESSES = {4: ("10.0.0.1", "10.0.0.2"), 6: ("fd00::1", "fd00::2")}


class Application(DatagramProtocol):
    """
    Counts what it gets.
    """

    noisy = False
    received = 0

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        """
        A datagram has come.
        """
        self.received += 1


@attrs.frozen
class Stack:
    """
    @ivar deliver: hand it all of some frames.
    @ivar applications: those at the top.
    """

    deliver: Callable[[Sequence[bytes]], None]
    applications: Sequence[Application]

    def task(self, frames: Sequence[bytes]) -> Task:
        """
        The work of taking C{frames}, warmed up.

        @raise RuntimeError: not all of them get to the top: there is nothing to compare.
        """
        before = sum(application.received for application in self.applications)
        self.deliver(frames)
        if sum(application.received for application in self.applications) - before != len(frames):
            raise RuntimeError("a stack drops what it is measured with")
        return Task(partial(self.deliver, frames), len(frames))


def frame(payload: int, version: int = 4, port: int = PORT, dest: str = "") -> bytes:
    """
    An Ethernet frame with a UDP datagram of so many octets.

    @param dest: where it goes, if not to the address of all stacks here.
    """
    source, own = _ADDRESSES[version]
    packet = udpPacket(source, dest or own, 40000, port, bytes(i & 0xFF for i in range(payload)))
    return ethernetFrame("02:00:00:00:00:01", "02:00:00:00:00:02", IPV4 if version == 4 else IPV6, packet)


def pairLayers(ports: Iterable[int] = (PORT,)) -> tuple[pairIP.IPProtocol, list[Application]]:
    """
    C{twisted.pair}'s IP and UDP, with an application under each port.
    """
    udp = pairUDP.RawUDPProtocol()
    applications = _under(udp, ports)
    ip = pairIP.IPProtocol()
    ip.addProto(PROTOCOL, udp)
    return ip, applications


def ourLayers(
    verifyChecksum: bool = True, ports: Iterable[int] = (PORT,), numbers: Iterable[int] = (PROTOCOL,)
) -> tuple[IPProtocol, list[Application]]:
    """
    Our IP and UDP likewise.

    @param numbers: IP protocol numbers that something is added under: UDP under its own, idle protocols under others.
    """
    udp = RawUDPProtocol(verifyChecksum)
    applications = _under(udp, ports)
    ip = IPProtocol(verifyChecksum=verifyChecksum)
    for number in numbers:
        ip.addProto(number, udp if number == PROTOCOL else RawUDPProtocol())
    return ip, applications


def ofPair(ports: Iterable[int] = (PORT,)) -> Stack:
    """
    L{pairLayers} on Ethernet.
    """
    ip, applications = pairLayers(ports)
    ethernet = pairEthernet.EthernetProtocol()
    ethernet.addProto(IPV4, ip)
    receive: Callable[..., None] = ethernet.datagramReceived

    def deliver(frames: Sequence[bytes]) -> None:
        for data in frames:
            receive(data, partial=0)

    return Stack(deliver, applications)


def ours(
    verifyChecksum: bool = True,
    ports: Iterable[int] = (PORT,),
    numbers: Iterable[int] = (PROTOCOL,),
    etherTypes: Iterable[int] = (IPV4, IPV6),
) -> Stack:
    """
    L{ourLayers} on Ethernet.

    @param etherTypes: those that something is added under: IP under its own, idle protocols under others.
    """
    ip, applications = ourLayers(verifyChecksum, ports, numbers)
    ethernet = EthernetProtocol()
    for etherType in etherTypes:
        ethernet.addProto(etherType, ip if etherType in (IPV4, IPV6) else IPProtocol())
    ethernet.doStart()
    receive = ethernet.packetReceived

    def deliver(frames: Sequence[bytes]) -> None:
        for data in frames:
            receive(Packet(data))

    return Stack(deliver, applications)


def ofHost(
    tap: bool = True,
    ports: Iterable[int] = (PORT,),
    addresses: Sequence[str] = ("10.0.0.2/24", "fd00::2/64"),
    anyAddresses: Sequence[str] = (),
    around: Callable[[Any], Any] | None = None,
) -> Stack:
    """
    A L{Host<txtuntap.Host>} with an application on each port; without C{tap}, on a tun: then frames are packets.

    @param around: makes middleware to go around it.
    """
    clock = Clock()
    host = Host(addresses, clock, linkAddress="02:00:00:00:00:02", anyAddresses=anyAddresses)
    device = MemoryDevice(TAP if tap else TUN)
    top: Any = host.ethernet if tap else host.ip
    if around is not None:
        top = around(top)
    TuntapPort("", top, reactor=clock, device=device).startListening()
    applications = [Application() for _ in ports]
    for port, application in zip(ports, applications, strict=True):
        host.listenUDP(port, application)
    receive = top.packetReceived

    def deliver(frames: Sequence[bytes]) -> None:
        for data in frames:
            receive(Packet(data))

    return Stack(deliver, applications)


def oursOnTun() -> Stack:
    """
    L{ourLayers}, given packets.
    """
    ip, applications = ourLayers()
    ip.doStart()
    receive = ip.packetReceived

    def deliver(packets: Sequence[bytes]) -> None:
        for data in packets:
            receive(Packet(data))

    return Stack(deliver, applications)


def _under(udp: pairUDP.RawUDPProtocol | RawUDPProtocol, ports: Iterable[int]) -> list[Application]:
    applications = []
    for port in ports:
        application = Application()
        udp.addProto(port, application)
        applications.append(application)
    return applications
