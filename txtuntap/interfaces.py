"""
Every contract between device, layer and transport.

Up goes a L{Packet<txtuntap.packet.Packet>}, by C{packetReceived}; down goes a list of buffers, by C{writePacket} at the
bottom and by the C{write} of each layer above it. C{IEthernetProtocol}, C{IRawPacketProtocol} and
C{IRawDatagramProtocol} are C{twisted.pair}'s own objects: what was written for either package works in both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

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


class IDevice(Interface):
    """
    A TUN or TAP device, open or not: what a port reads and writes. Usable without a reactor.
    """

    name: str = Attribute("The interface's name; once open, what the kernel made of it ('tap%d' is 'tap0').")
    mode: int = Attribute("L{TUN<txtuntap.device.TUN>} or L{TAP<txtuntap.device.TAP>}.")
    mtu: int = Attribute("The most octets that IP may put into one packet.")
    linkAddress: bytes | None = Attribute("The interface's own link address, six octets; L{None} for a tun.")
    offloads: int = Attribute(
        "Once open, what the device finishes for us and leaves to us: CSUM, TSO4 and so on of wire.offload; 0, nothing."
    )

    def open(offload: bool | None = False) -> None:
        """
        Attach to the interface, making it if it is not there.

        @param offload: whether packets may come that are not finished, and be sent: L{None}, as far as the device can
            do that; L{True}, it has to.

        @raise OSError: with the C{errno} of what failed, and a text that says what to do.
        """

    def fileno() -> int:
        """
        The descriptor to wait on, or -1 if there is none: then C{readable} tells.
        """

    def readable(callback: Callable[[], None] | None) -> None:
        """
        For a device without a descriptor: have C{callback} called whenever a packet has come, or the interface has
        gone; L{None} ends that. A device with a descriptor need not have this method.
        """

    def receive(maxPacketSize: int = 65557) -> Packet | None:
        """
        Take the next packet.

        @param maxPacketSize: how many octets of it to take at most. If it has more, C{partial} is true. One that is not
            finished, and so has C{offload}, is taken whole.

        @return: the packet, any header of the device's own before C{start}; or L{None} if none is waiting.

        @raise OSError: the device is closed, or (C{EBADFD}) its interface is gone.
        """

    def send(buffers: Sequence[bytes], offload: Offload | None = None) -> int:
        """
        Send one packet, in one system call.

        @param buffers: joined, an Ethernet frame (tap) or an IP packet (tun).
        @param offload: what is left open in it, of what is in C{offloads}.

        @return: how many octets of the packet were written.

        @raise OSError: C{EIO} where the link is down, C{EINVAL} for what is no packet, and others.
        """

    def close() -> None:
        """
        Let go of the interface. One that is not persistent disappears. Closing twice is harmless.
        """


class IPacketReceiver(Interface):
    """
    A protocol that takes packets as they climb.

    A class that also has C{takesOffload = True} gets packets that are not finished as they are, with C{offload}: many
    in one, checksums left open. Others get what L{Packet.finished<txtuntap.packet.Packet.finished>} makes of them.
    (One that overrides C{packetReceived} says so anew.)

    A class whose own body has C{handlesFailures = True} lets no exception out of C{packetReceived}: layers below call
    it directly. The exceptions of any other are caught, logged and counted.
    """

    def packetReceived(packet: Packet) -> None:
        """
        A packet has come. It is the receiver's own: it may be moved along and kept.
        """


class IErrorReceiver(Interface):
    """
    A protocol on an IP layer that knows what it has sent.
    """

    def errorReceived(quote: Quote, refused: bool) -> bool:
        """
        An ICMP error has come about a packet with this protocol's number, or no station has answered for its next hop:
        then the error is the one that a router would send.

        @param quote: what it says of the packet (L{Quote<txtuntap.wire.icmp.Quote>}). Anybody may have made it up.
        @param refused: whether it says that nobody is there who would take it.

        @return: whether this protocol has sent that packet lately: then the error is believed.
        """


class RouteLost(OSError):
    """
    There is no route for a datagram because of what others have sent: they have one of our addresses, or routers
    advertise no route any more. The caller made no mistake: the datagram is dropped, as if it were lost on the link.
    """


class IIPTransport(Interface):
    """
    An IP layer as the protocols added to it see it.
    """

    bottom: IPacketTransport | None = Attribute("The transport below all layers; L{None} if there is none.")

    def write(
        payload: bytes,
        dest: str | bytes,
        protocol: int,
        source: str | bytes | None = None,
        hopLimit: int | None = None,
    ) -> None:
        """
        Send one datagram. Written to the sender of the packet that is just being delivered, it goes back by the
        path of that one, from the address it was sent to.

        @param dest: an IPv4 or IPv6 address, as text or packed.
        @param protocol: its number, 0 to 255.
        @param source: the address to leave from; chosen if L{None}.
        @param hopLimit: 0 to 255; 64 if L{None}.

        @raise ValueError: an argument is not what it should be.
        @raise twisted.internet.error.MessageLengthError: C{payload} is longer than a datagram can be.
        @raise OSError: there is no source address (C{EADDRNOTAVAIL}), route (C{ENETUNREACH}) or neighbour
            (C{EHOSTUNREACH}) for C{dest}; the text says what to give. Where that is others' doing, the datagram is
            dropped, and counted (C{outNoRoutes}).
        @raise RuntimeError: the layer is on no port.
        """

    def route(dest: bytes, source: bytes | None = None) -> Route:
        """
        Find the route of a datagram of our own.

        @param dest: a packed address; so is C{source}.

        @raise OSError: as C{write}, and L{RuntimeError}.
        @raise RouteLost: there is no route, because of what others have sent. It has been counted.
        """

    def routeBack(packet: Packet) -> Route | None:
        """
        Find the route of an answer to C{packet}: from the address it was sent to, if that is one host's, to the station
        it came from.

        @return: L{None} if it must not be answered (its sender is no single host) or cannot be (it was sent to a group,
            and no address of ours is fit for a source).
        """

    def knownStation(route: Route) -> Route:
        """
        The same route, but to the station that is known to have its destination, if one is: for an answer that does not
        come at once, what C{neighbours} know goes before what one packet said.
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

        @param buffers: joined, the payload.
        @param trafficClass: the octet of that name; over IPv4, the type of service.
        @param fragmentable: whether routers may take apart a datagram of IPv4 that is too large for a path.
        @param offload: what is left open in it; positions are those in the payload. A checksum may be, always; what is
            to be cut has to be among the C{offloads} of L{port}, and each piece within L{room}.
        """

    def port(route: Route) -> IPacketTransport | None:
        """
        The port by which a datagram with this route leaves at once; L{None} if it waits, or is for ourselves.
        """

    def room(route: Route) -> int:
        """
        The most octets of payload in one piece.
        """

    def linkRoom(length: int) -> int:
        """
        The most octets of payload in one packet on the link that is next.

        @param length: that of an address, in octets.
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
        Deliver one datagram of ours to ourselves, at the next turn of the reactor: what C{output} does with one to an
        address of ours, and what is to be done beside it with one to a group that we are in. Never raises.
        """

    def join(group: bytes) -> None:
        """
        Be in a group once more, so that datagrams to it are delivered.

        @param group: a packed address.

        @raise ValueError: it is not a group's.
        @raise OSError: we are in too many (C{ENOBUFS}).
        """

    def leave(group: bytes) -> None:
        """
        Undo one C{join}.

        @raise ValueError: we are not in it.
        """

    def isMember(group: bytes) -> bool:
        """
        Whether we are in a group: by C{join}, or as every host is.
        """


class IRoutes(Interface):
    """
    Where packets to an address leave for.
    """

    def lookup(dest: bytes) -> bytes | None:
        """
        @param dest: a packed IP address.

        @return: the packed address of the next hop: C{dest} itself where it is on the link; L{None} if there is no
            route.
        """


class INeighbours(Interface):
    """
    The stations on the link, by IP address.
    """

    resolves: bool = Attribute("Whether it can find a station that it does not know: then C{hold} works.")

    def lookup(address: bytes) -> bytes | None:
        """
        @param address: a packed IP address.

        @return: the link address of its station, or L{None} if that is not known.
        """

    def hold(address: bytes, send: Callable[[bytes | None], None], octets: int) -> None:
        """
        Find the station of an address that is not known, and call C{send} with it; with L{None}, if nobody answers. Or
        forget about it, if too much waits.

        @param octets: what is being held for it.
        """
