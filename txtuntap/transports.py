"""
The transport interfaces at the bottom of the stack, and the route of a datagram: the records that contracts are made
of.
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
    The bottom of the stack as those above see it: a port, or middleware around a protocol.

    A protocol right above that has a method C{mtuChanged} or C{linkUp} has it called, without arguments, when C{mtu} is
    another one, or the link was set up.
    """

    mtu: int = Attribute("The most octets that IP may put into one packet, now.")
    linkAddress: bytes | None = Attribute("The interface's own link address; L{None} for a tun.")
    clock: IReactorTime = Attribute("The clock by whose steady seconds its packets are timed.")
    offloads: int = Attribute(
        "What may be left open in a packet that is written: CSUM, TSO4 and so on of wire.offload; 0, nothing."
    )
    batches: IBatches | None = Attribute(
        "The object that lets datagrams wait to leave as one; L{None} where nothing waits: without USO in C{offloads}."
    )

    readEnd: list[Callable[[], object]] | None = Attribute(
        "Functions to call, once each, when all packets of the read that is under way are delivered; L{None} where no"
        " others are known to follow."
    )

    def writePacket(buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        """
        Send one packet. What the network or the link does with it is counted and never raised.

        @param buffers: joined, an Ethernet frame (tap) or an IP packet (tun).
        @param offload: what was left open in it, of what is in C{offloads}; L{None}, nothing, is all that a transport
            without C{offloads} takes.
        """


class ITrain(Interface):
    """
    Datagrams that wait on a port for more of their kind.
    """

    def leave() -> int:
        """
        Send them. Only the port that holds them calls this.

        @return: how many there were.
        """


class IBatches(Interface):
    """
    The datagrams that wait on a port for more of their flow, to leave as one superpacket: see L{ITrain}.

    Middleware, whose C{batches} are those of the port below, sees the datagrams when they leave.
    """

    epoch: int = Attribute(
        "An epoch: it changes at each read, batch and route change, by when every held datagram has left."
    )

    def batch() -> AbstractContextManager[None]:
        """
        Within it, datagrams written to one destination one after another may leave as one. They do at its end, or else
        at that of this turn of the reactor.
        """

    def collects(flow: bytes) -> bool:
        """
        Whether a datagram may wait.

        @param flow: the packed addresses it leaves from and goes to, and both ports.
        """

    def hold(train: ITrain) -> None:
        """
        Have datagrams wait, after what waited before has left.
        """

    def release() -> None:
        """
        Have what waits leave.
        """

    def routesChanged() -> None:
        """
        Begin another epoch: routes that were found in this one may not hold any more. The datagrams that wait were
        written before, and leave.
        """


class IEthernetTransport(Interface):
    """
    An Ethernet layer as the protocols added to it see it.
    """

    mtu: int = Attribute("The most octets of payload in one frame.")
    linkAddress: bytes = Attribute("The address that frames leave from, six octets.")
    port: IPacketTransport | None = Attribute("The transport below; L{None} if there is none.")

    def write(payload: bytes, dest: bytes | str, protocol: int) -> None:
        """
        Send one frame.

        @param payload: what comes after the header.
        @param dest: the station it goes to.
        @param protocol: the EtherType.

        @raise ValueError: C{dest} is no link address, or C{protocol} no EtherType.
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

        @param buffers: joined, the payload.
        @param dest: six octets.
        @param source: the address to leave from, if not C{linkAddress}.
        @param port: where to send it, if not to the port that this layer is on.
        @param offload: what is left open in the payload, of what is in the port's C{offloads}; positions are those in
            the payload.
        """


@attrs.frozen
class Route:
    """
    How a datagram gets to where it goes.

    @ivar source: the packed address it leaves from.
    @ivar dest: the packed address it goes to.
    @ivar ethernet: the Ethernet transport to send it by; L{None} where there is none (a tun).
    @ivar station: the link address of the next hop, if there is C{ethernet}; empty while it is not known.
    @ivar hop: the packed address of the next hop, where C{station} is yet to be found.
    @ivar linkSource: the link address to leave from, if not the one that C{ethernet} has.
    @ivar port: the port to leave by, if not the one that the layers are on.
    """

    source: bytes
    dest: bytes
    ethernet: IEthernetTransport | None = None
    station: bytes = b""
    linkSource: bytes | None = None
    port: IPacketTransport | None = None
    hop: bytes = b""
