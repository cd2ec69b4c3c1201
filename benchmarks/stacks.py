"""
Build the same stack of layers with C{twisted.pair} and with txtuntap, and the frames to measure them with.
"""

from __future__ import annotations

import struct
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
from txtuntap.wire.ethernet import HEADER_LENGTH, IPV4, IPV6
from txtuntap.wire.udp import HEADER_LENGTH as UDP_HEADER_LENGTH
from txtuntap.wire.udp import PROTOCOL

#: The UDP destination port of the frames.
PORT = 7000

#: The words for L{floorStack}.
FLOOR = "a loop that only does one unpack, one look-up in a dictionary, one slice and the application's call"

_ADDRESSES = {4: ("10.0.0.1", "10.0.0.2"), 6: ("fd00::1", "fd00::2")}


class Application(DatagramProtocol):
    """
    A protocol that counts its datagrams.

    @ivar received: the number of datagrams.
    """

    noisy = False
    received = 0

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        """
        Count a received datagram.
        """
        self.received += 1


class Echo(DatagramProtocol):
    """
    An echo server that answers each datagram by itself.
    """

    noisy = False
    transport: Any

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """
        Send the datagram back.
        """
        self.transport.write(datagram, addr)


@attrs.frozen
class Stack:
    """
    A stack of layers with protocols at the top.

    @ivar deliver: delivers frames to the lowest layer.
    @ivar applications: the protocols at the top.
    """

    deliver: Callable[[Iterable[bytes]], None]
    applications: Sequence[Application]

    def task(self, frames: Sequence[bytes]) -> Task:
        """
        Make a task that delivers C{frames}, and deliver them once, so that caches are filled.

        @raise RuntimeError: the stack drops some of the frames.
        """
        before = sum(application.received for application in self.applications)
        self.deliver(frames)
        if sum(application.received for application in self.applications) - before != len(frames):
            raise RuntimeError("a stack drops some of the frames that measure it")
        return Task(partial(self.deliver, frames), len(frames))


def frame(payload: int, version: int = 4, port: int = PORT, dest: str = "") -> bytes:
    """
    Make an Ethernet frame with a UDP datagram.

    @param payload: the octets of UDP payload.
    @param version: the IP version.
    @param port: the destination port.
    @param dest: the destination address. By default, it is the address of all stacks of this module.
    """
    source, own = _ADDRESSES[version]
    packet = udpPacket(source, dest or own, 40000, port, bytes(i & 0xFF for i in range(payload)))
    return ethernetFrame("02:00:00:00:00:01", "02:00:00:00:00:02", IPV4 if version == 4 else IPV6, packet)


def pairLayers(ports: Iterable[int] = (PORT,)) -> tuple[pairIP.IPProtocol, list[Application]]:
    """
    Make the IP and UDP layers of C{twisted.pair}, with an application under each port.
    """
    udp = pairUDP.RawUDPProtocol()
    applications = _addApplications(udp, ports)
    ip = pairIP.IPProtocol()
    ip.addProto(PROTOCOL, udp)
    return ip, applications


def ourLayers(
    verifyChecksum: bool = True, ports: Iterable[int] = (PORT,), numbers: Iterable[int] = (PROTOCOL,)
) -> tuple[IPProtocol, list[Application]]:
    """
    Make the IP and UDP layers of txtuntap, with an application under each port.

    @param numbers: the IP protocol numbers to add: UDP under its own number, idle protocols under the others.
    """
    udp = RawUDPProtocol(verifyChecksum)
    applications = _addApplications(udp, ports)
    ip = IPProtocol(verifyChecksum=verifyChecksum)
    for number in numbers:
        ip.addProto(number, udp if number == PROTOCOL else RawUDPProtocol())
    return ip, applications


def pairStack(ports: Iterable[int] = (PORT,)) -> Stack:
    """
    Make a stack of L{pairLayers} above Ethernet.
    """
    ip, applications = pairLayers(ports)
    ethernet = pairEthernet.EthernetProtocol()
    ethernet.addProto(IPV4, ip)
    receive: Callable[..., None] = ethernet.datagramReceived

    def deliver(frames: Iterable[bytes]) -> None:
        for data in frames:
            receive(data, partial=0)

    return Stack(deliver, applications)


def layerStack(
    verifyChecksum: bool = True,
    ports: Iterable[int] = (PORT,),
    numbers: Iterable[int] = (PROTOCOL,),
    etherTypes: Iterable[int] = (IPV4, IPV6),
) -> Stack:
    """
    Make a stack of L{ourLayers} above Ethernet.

    @param etherTypes: the EtherTypes to add: IP under its own, idle protocols under the others.
    """
    ip, applications = ourLayers(verifyChecksum, ports, numbers)
    ethernet = EthernetProtocol()
    for etherType in etherTypes:
        ethernet.addProto(etherType, ip if etherType in (IPV4, IPV6) else IPProtocol())
    ethernet.doStart()
    receive = ethernet.packetReceived

    def deliver(frames: Iterable[bytes]) -> None:
        for data in frames:
            receive(Packet(data))

    return Stack(deliver, applications)


def hostStack(
    tap: bool = True,
    ports: Iterable[int] = (PORT,),
    addresses: Sequence[str] = ("10.0.0.2/24", "fd00::2/64"),
    anyAddresses: Sequence[str] = (),
    around: Callable[[Any], Any] | None = None,
) -> Stack:
    """
    Make a stack with a L{Host<txtuntap.Host>} that has an application on each port.

    @param tap: whether the host is on a tap. Otherwise it is on a tun, and receives IP packets in place of frames.
    @param around: a function that wraps the host's protocol in middleware.
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

    def deliver(frames: Iterable[bytes]) -> None:
        for data in frames:
            receive(Packet(data))

    return Stack(deliver, applications)


def floorStack(headers: int = HEADER_LENGTH, version: int = 4) -> Stack:
    """
    Make a loop that does the least that Python must do for each datagram, and verifies nothing.

    @param headers: the octets before the IP header.
    @param version: the IP version.
    """
    application = Application()
    # The addresses and ports of a packet without options stand side by side.
    unpack = struct.Struct(f"{headers + 12}x12s" if version == 4 else f"{headers + 8}x36s").unpack_from
    payload = headers + (20 if version == 4 else 40) + UDP_HEADER_LENGTH
    flows: dict[bytes, tuple[Application, tuple[str, int]]] = {}

    def deliver(frames: Iterable[bytes]) -> None:
        for data in frames:
            (key,) = unpack(data)
            try:
                receiver, address = flows[key]
            except KeyError:
                receiver, address = flows[key] = application, ("10.0.0.1", 40000)
            receiver.datagramReceived(data[payload:], address)

    return Stack(deliver, [application])


def layerStackOnTun() -> Stack:
    """
    Make a stack of L{ourLayers} that receives IP packets in place of frames.
    """
    ip, applications = ourLayers()
    ip.doStart()
    receive = ip.packetReceived

    def deliver(packets: Iterable[bytes]) -> None:
        for data in packets:
            receive(Packet(data))

    return Stack(deliver, applications)


def _addApplications(udp: pairUDP.RawUDPProtocol | RawUDPProtocol, ports: Iterable[int]) -> list[Application]:
    applications = []
    for port in ports:
        application = Application()
        udp.addProto(port, application)
        applications.append(application)
    return applications
