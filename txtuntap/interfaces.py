"""
The interfaces between device, layer and transport.

A received packet climbs as a L{Packet<txtuntap.packet.Packet>}: each layer passes it to C{packetReceived} of the next
one. A packet to send descends as a list of buffers: each layer passes it to C{write} of the layer below. The lowest
layer passes it to C{writePacket} of the port. C{IEthernetProtocol}, C{IRawPacketProtocol} and C{IRawDatagramProtocol}
are the interfaces of C{twisted.pair} themselves, so that a protocol written for either package works in both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs
from twisted.pair.ethernet import IEthernetProtocol
from twisted.pair.raw import IRawDatagramProtocol, IRawPacketProtocol
from zope.interface import Attribute, Interface

from txtuntap.transports import IBatches, IEthernetTransport, IPacketTransport, ITrain, Route

if TYPE_CHECKING:
    from txtuntap.packet import Packet
    from txtuntap.wire.icmp import Quote
    from txtuntap.wire.offload import Offload

__all__ = [
    "DEFAULT_HOP_LIMIT",
    "IBatches",
    "IDevice",
    "IErrorReceiver",
    "IEthernetProtocol",
    "IEthernetTransport",
    "IIPTransport",
    "INeighbours",
    "IPacketReceiver",
    "IPacketTransport",
    "IRawDatagramProtocol",
    "IRawPacketProtocol",
    "IRoutes",
    "ITrain",
    "Route",
    "RouteLost",
]


#: The hop limit of a datagram whose sender sets none (RFC 1700).
DEFAULT_HOP_LIMIT = 64


@attrs.frozen
class Reader:
    """
    The means to read the packets of an open device. A call of the device for each packet would take a tenth of the time
    that a small packet takes in all.

    @ivar maxPacketSize: the most octets of a packet. A longer one is cut by C{packet}.
    @ivar read: the system call, such as C{os.read}. Its arguments are C{fileno} and C{most}.
    @ivar fileno: the device's descriptor.
    @ivar most: the most octets to read at once.
    @ivar headersLength: the number of octets in the device's own headers, which precede each packet.
    @ivar offloadOf: the unfinished work of a packet, by the device's headers of the packet.
    @ivar packet: makes a packet of the octets that were read; C{None}: they are no packet.
    """

    maxPacketSize: int
    read: Callable[[int, int], bytes]
    fileno: int
    most: int
    headersLength: int
    offloadOf: Mapping[bytes, Offload | None]
    packet: Callable[[bytes], Packet | None]


class IDevice(Interface):
    """
    A TUN or TAP device, which a port reads and writes. It may be open or closed, and is usable without a reactor.
    """

    name: str = Attribute("The interface's name. Once open, it is the name that the kernel chose: 'tap0' for 'tap%d'.")
    mode: int = Attribute("The kind of the device: C{TUN} or C{TAP}.")
    mtu: int = Attribute("The most octets that IP may put into one packet.")
    linkAddress: bytes | None = Attribute("The interface's own link address, six octets; C{None} for a tun.")
    offloads: int = Attribute(
        "The offload features of the open device, as bits of wire.offload (CSUM, TSO4 and so on). Packets with these"
        " features unfinished may be sent, and may be received. 0: only complete packets may be sent."
    )

    def open(offload: bool | None = False) -> None:
        """
        Attach to the interface. Create the interface if it does not exist.

        @param offload: whether unfinished packets (superpackets, open checksums) may be received and sent. C{None}: as
            far as the device supports it. C{True}: the device must support it.

        @raise OSError: the interface cannot be attached, or lacks offload that is required. The error has the C{errno}
            of the failed call, and a text that says what to do.
        """

    def receiveFinished() -> None:
        """
        Have the other side finish all packets before they are received. Unfinished packets may still be sent. A device
        without C{offloads} need not have this method.
        """

    def fileno() -> int:
        """
        Return the descriptor to wait on, or -1 if there is none. A device without a descriptor has C{readable}.
        """

    def readable(callback: Callable[[], None] | None) -> None:
        """
        Call C{callback} whenever a packet has arrived, or the interface has been deleted. A device with a descriptor
        need not have this method. After a call, a device need not call again until this method is called again.

        A device whose attribute C{callsFromThread} is true calls on a thread of its own. C{callback} must then return
        soon, and leave the device alone.

        @param callback: called without arguments; C{None} ends the calls.
        """

    def receive(maxPacketSize: int = 65557) -> Packet | None:
        """
        Receive the next packet that is waiting.

        @param maxPacketSize: the most octets of the packet to return. A longer packet is cut, and its C{partial} is
            true. An unfinished packet, which has C{offload}, is never cut.

        @return: the packet, or C{None} if none is waiting. A header that the device itself adds stands before C{start}.

        @raise OSError: the device is closed, or its interface has been deleted (C{EBADFD}).
        """

    def reader(maxPacketSize: int) -> Reader | None:
        """
        Return what a port needs to read packets itself, which is faster than C{receive}.

        @param maxPacketSize: as for C{receive}.

        @return: C{None}: packets can only be received by C{receive}.
        """

    def send(buffers: Sequence[bytes], offload: Offload | None = None) -> int:
        """
        Send one packet, in one system call.

        @param buffers: the pieces of the packet. Joined, they are an Ethernet frame (tap) or an IP packet (tun).
        @param offload: the work that is left to the device. Its features must be among C{offloads}.

        @return: the number of octets of the packet that were written.

        @raise OSError: C{EIO} if the link is down, C{EINVAL} if the buffers are not a packet, and others.
        """

    def close() -> None:
        """
        Detach from the interface. An interface that is not persistent is deleted. Closing twice is harmless.
        """


class IPacketReceiver(Interface):
    """
    A protocol that receives packets as they climb.

    A class with C{takesOffload = True} receives unfinished packets unchanged, with their C{offload}: superpackets, and
    packets with open checksums. Any other class receives the complete packets that
    L{Packet.finished<txtuntap.packet.Packet.finished>} makes of them. A subclass that overrides C{packetReceived} has
    to set the attribute again.

    A protocol with C{sendsOffload = True} sends unfinished packets, and receives none from a device. The device then
    accepts these, and the kernel finishes the packets that it delivers, which takes less time than finishing them here.

    A class whose own body has C{handlesFailures = True} promises that C{packetReceived} raises no exception, so that
    layers below call it directly. The exceptions of any other class are caught, logged and counted.
    """

    def packetReceived(packet: Packet) -> None:
        """
        Receive a packet from the layer below. The receiver owns the packet: it may change C{start} and C{end}, and may
        keep the packet.
        """


class IErrorReceiver(Interface):
    """
    A protocol on an IP layer that can tell whether it has sent a given packet.
    """

    def errorReceived(quote: Quote, refused: bool) -> bool:
        """
        Receive an ICMP error about a packet with this protocol's number. A router or the destination has sent the
        error. If no station answers for the next hop of a packet, this host makes the error itself, as a router would.

        @param quote: the packet as the error quotes it (L{Quote<txtuntap.wire.icmp.Quote>}). Anyone can forge it.
        @param refused: whether the error says that no program listens on the packet's destination port.

        @return: whether this protocol has sent that packet recently. Only then is the error believed.
        """


class RouteLost(OSError):
    """
    There is no route for a datagram, and packets from other hosts are the cause. Another host uses an address of this
    host, or no router advertises a route any more. The caller made no mistake, so the datagram is dropped as if it were
    lost on the link.
    """


class IIPTransport(Interface):
    """
    An IP layer as the transport of the protocols above it.
    """

    bottom: IPacketTransport | None = Attribute("The transport below all layers; C{None} if there is none.")

    def write(
        payload: bytes,
        dest: str | bytes,
        protocol: int,
        source: str | bytes | None = None,
        hopLimit: int | None = None,
    ) -> None:
        """
        Send one datagram to an address. While a packet is being delivered, a datagram to the packet's sender is an
        answer. An answer takes the route back to that sender, and its source is the address that the packet was sent
        to.

        @param dest: an IPv4 or IPv6 address, as text or packed.
        @param protocol: the IP protocol number, 0 to 255.
        @param source: the source address, as text or packed. C{None}: the layer chooses one.
        @param hopLimit: 0 to 255; C{None}: 64.

        @raise ValueError: an argument has a wrong value.
        @raise twisted.internet.error.MessageLengthError: C{payload} is longer than a datagram can be.
        @raise OSError: there is no source address (C{EADDRNOTAVAIL}), route (C{ENETUNREACH}) or neighbour
            (C{EHOSTUNREACH}) for C{dest}; the text says what to give. If packets from other hosts are the cause, the
            datagram is dropped and counted (C{outNoRoutes}), and nothing is raised.
        @raise RuntimeError: the layer is on no port.
        """

    def route(dest: bytes, source: bytes | None = None) -> Route:
        """
        Find the route of a datagram that this host sends.

        @param dest: the packed destination address.
        @param source: the packed source address; C{None}: the layer chooses one.

        @raise OSError: there is no source address, route or neighbour: see C{write}.
        @raise RouteLost: there is no route, and packets from other hosts are the cause. The loss has been counted.
        @raise RuntimeError: the layer is on no port.
        """

    def routeBack(packet: Packet) -> Route | None:
        """
        Find the route of an answer to C{packet}. The answer's next hop is the station that the packet came from. Its
        source is the address that the packet was sent to, if that is a unicast address.

        @return: C{None} if the packet must not be answered, because its source is not a unicast address. C{None} also
            if the packet was sent to a group and this host has no address that can be the source.
        """

    def knownStation(route: Route) -> Route:
        """
        Return the same route with the station that the neighbour table knows for its destination. Return C{route}
        itself if the table knows none. An answer that is sent later uses this method, because the neighbour table is
        more trustworthy than the frame of one packet.
        """

    def output(
        route: Route,
        protocol: int,
        buffers: Sequence[bytes],
        hopLimit: int = 64,
        offload: Offload | None = None,
        trafficClass: int = 0,
        fragmentable: bool = False,
    ) -> None:
        """
        Send one datagram, for a layer above that has checked its arguments. Never raises.

        @param buffers: the pieces of the payload.
        @param trafficClass: the Traffic Class octet; over IPv4, the Type of Service octet.
        @param fragmentable: whether routers may fragment an IPv4 datagram that exceeds the path MTU.
        @param offload: the work that is left to the device; its positions count from the start of the payload. An open
            checksum is always allowed. Segmentation must be among the C{offloads} of L{port}, and each segment at most
            L{room} octets long.
        """

    def port(route: Route) -> IPacketTransport | None:
        """
        Return the port that sends a datagram with this route at once. Return C{None} if the datagram has to wait for a
        neighbour, or is for this host itself.
        """

    def room(route: Route) -> int:
        """
        Return the most octets of payload that one packet with this route can carry, by the path MTU.
        """

    def linkRoom(length: int) -> int:
        """
        Return the most octets of payload that one packet can carry on the attached link, by the MTU of that link.

        @param length: the length of an IP address in octets, 4 or 16, which tells the IP version.
        """

    def loop(
        route: Route,
        protocol: int,
        buffers: Sequence[bytes],
        hopLimit: int = 64,
        trafficClass: int = 0,
        offload: Offload | None = None,
    ) -> None:
        """
        Deliver one datagram of this host to this host itself, at the next turn of the reactor. Never raises.

        C{output} calls this for a datagram to an address of this host. A layer that sends to a group of which this host
        is a member calls it in addition to C{output}.
        """

    def join(group: bytes) -> None:
        """
        Join a group, so that datagrams to it are delivered. Each join needs one C{leave}.

        @param group: a packed multicast address.

        @raise ValueError: C{group} is not a multicast address.
        @raise OSError: this host is a member of too many groups (C{ENOBUFS}).
        """

    def leave(group: bytes) -> None:
        """
        Undo one C{join} of a group.

        @raise ValueError: this host is not a member of C{group}.
        """

    def isMember(group: bytes) -> bool:
        """
        Whether this host is a member of a group: it has joined it, or every host is a member.
        """


class IRoutes(Interface):
    """
    A routing table, which gives the next hop of each destination.
    """

    def lookup(dest: bytes) -> bytes | None:
        """
        Find the next hop of a destination.

        @param dest: a packed IP address.

        @return: the packed address of the next hop: C{dest} itself where it is on the link; C{None} if there is no
            route.
        """


class INeighbours(Interface):
    """
    The neighbour table: the link addresses of the stations on the link, by IP address.
    """

    resolves: bool = Attribute("Whether C{hold} works: unknown link addresses can be resolved, by ARP or NDP.")

    def lookup(address: bytes) -> bytes | None:
        """
        Look up the link address of a station.

        @param address: a packed IP address.

        @return: the link address, or C{None} if it is not known.
        """

    def hold(address: bytes, send: Callable[[bytes | None], None], octets: int) -> None:
        """
        Hold a packet while the link address of its next hop is resolved. If too many packets wait, this one is dropped,
        and C{send} is never called.

        @param address: the packed IP address of the next hop.
        @param send: called once with the link address; with C{None} if no station answers.
        @param octets: the length of the packet in octets.
        """
