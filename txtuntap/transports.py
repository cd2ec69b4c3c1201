"""
The transport interfaces at the bottom of the stack, and the record of a datagram's route.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import attrs
from twisted.internet.interfaces import IReactorTime
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from txtuntap.wire.offload import Offload


class IPacketTransport(Interface):
    """
    The transport at the bottom of the stack: a port, or middleware between a port and its protocol.

    The transport calls methods of the protocol right above it, if the protocol has them: C{mtuChanged} when C{mtu} has
    changed, and C{linkUp} when the link has been set up. Both have no arguments.
    """

    mtu: int = Attribute("The most octets that IP may put into one packet at present.")
    linkAddress: bytes | None = Attribute("The interface's own link address, six octets; C{None} for a tun.")
    ethernet: int = Attribute("1 if the packets are Ethernet frames (tap), 0 if they are IP packets (tun).")
    clock: IReactorTime = Attribute("The clock whose steady seconds are the C{time} of received packets.")
    offloads: int = Attribute(
        "The work that may be unfinished in a packet to send, as bits of wire.offload (CSUM, TSO4 and so on). 0: none."
    )
    batches: IBatches | None = Attribute(
        "The object that collects datagrams into superpackets; C{None} if USO is not in C{offloads}, so that every"
        " datagram leaves at once."
    )

    readEnd: list[Callable[[], object]] | None = Attribute(
        "Functions that the port calls once each, when all packets of the present read are delivered. C{None} outside"
        " of a read."
    )

    def writePacket(buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        """
        Send one packet to the link. Errors of the network or the link are counted and never raised.

        @param buffers: the pieces of the packet. Joined, they are an Ethernet frame (tap) or an IP packet (tun).
        @param offload: the unfinished work in the packet. Its features must be among C{offloads}. C{None}: the packet
            is complete.
        """


class ITrain(Interface):
    """
    A train: datagrams of one flow that wait on a port for more datagrams of that flow.
    """

    def leave() -> int:
        """
        Send the datagrams of the train. Only the port that holds the train calls this.

        @return: the number of datagrams in the train.
        """


class IBatches(Interface):
    """
    The batches of a port. A batch collects datagrams of one flow (an L{ITrain}) into one superpacket.

    The C{batches} of middleware are those of the port below it. Middleware sees the datagrams when they leave.
    """

    epoch: int = Attribute(
        "An epoch: it changes at each read, batch and route change, by when every held datagram has left."
    )

    def batch() -> AbstractContextManager[None]:
        """
        Return a context manager. Datagrams that are written to one destination within the context may leave as one
        superpacket, at the end of the context. If the context is still open at the end of the reactor's turn, they
        leave then.
        """

    def collects(flow: bytes) -> bool:
        """
        Whether a datagram of a flow may wait for more datagrams of that flow.

        @param flow: the packed source and destination addresses, and both ports.
        """

    def hold(train: ITrain) -> None:
        """
        Hold a train until it is released. The train that was held before is sent first.
        """

    def release() -> None:
        """
        Send the train that is held, if there is one.
        """

    def routesChanged() -> None:
        """
        Begin another epoch, because routes that were found in the present one may be invalid. The datagrams that wait
        were written before the change, and are sent by their old route.
        """


class IEthernetTransport(Interface):
    """
    An Ethernet layer as the transport of the protocols above it.
    """

    mtu: int = Attribute("The most octets of payload in one frame.")
    linkAddress: bytes = Attribute("The address that frames leave from, six octets.")
    port: IPacketTransport | None = Attribute("The transport below; C{None} if there is none.")

    def write(payload: bytes, dest: bytes | str, protocol: int) -> None:
        """
        Send one frame to a station.

        @param payload: the octets behind the Ethernet header.
        @param dest: the link address of the station, as text or six octets.
        @param protocol: the EtherType.

        @raise ValueError: C{dest} is not a link address, or C{protocol} is not an EtherType.
        @raise RuntimeError: the layer is on no port.
        """

    def writeFrame(
        buffers: Sequence[bytes],
        dest: bytes,
        protocol: int,
        source: bytes | None = None,
        port: IPacketTransport | None = None,
        offload: Offload | None = None,
    ) -> None:
        """
        Send one frame, for a layer above that has checked its arguments. Never raises.

        @param buffers: the pieces of the payload.
        @param dest: the link address of the receiving station, six octets.
        @param protocol: the EtherType.
        @param source: the source address, six octets; C{None}: C{linkAddress}.
        @param port: the port that sends the frame; C{None}: the port that this layer is on.
        @param offload: the unfinished work in the payload, with positions that count from the start of the payload. Its
            features must be among the C{offloads} of the port.
        """


@attrs.frozen
class Route:
    """
    The route of a datagram: its addresses, its next hop, and the port that sends it.

    @ivar source: the packed source address.
    @ivar dest: the packed destination address.
    @ivar ethernet: the Ethernet transport that sends the datagram; C{None} on a tun, which has none.
    @ivar station: the link address of the next hop, if there is C{ethernet}; empty while it is not known.
    @ivar hop: the packed IP address of the next hop, while C{station} is not known.
    @ivar linkSource: the source link address; C{None}: that of C{ethernet}.
    @ivar port: the port that sends the datagram; C{None}: the port that the layers are on.
    """

    source: bytes
    dest: bytes
    ethernet: IEthernetTransport | None = None
    station: bytes = b""
    linkSource: bytes | None = None
    port: IPacketTransport | None = None
    hop: bytes = b""
