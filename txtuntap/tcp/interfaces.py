"""
The interfaces inside TCP. A connection sends through an L{IWire}. Transports, ports and connectors use the layer as an
L{ITCPLayer}.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from txtuntap.layer.counters import SegmentCounters
    from txtuntap.tcp.bufferpool import BufferPool


class IWire(Interface):
    """
    The path of one connection, as that connection uses it: it sends segments, and it knows which sizes fit.
    """

    room: int = Attribute("The most octets that fit in one IP packet to the peer, TCP header included.")
    link: int = Attribute("The most octets that fit in one IP packet on our own link. It bounds our MSS.")
    cuts: bool = Attribute("Whether the layers below segment a superpacket (TSO).")
    counters: SegmentCounters = Attribute("The counters of the layer. The wire counts C{outSegs} itself.")

    def transmit(
        sequence: int,
        acknowledgment: int,
        flags: int,
        window: int,
        options: bytes,
        buffers: Sequence[bytes | memoryview],
        length: int,
        size: int,
        isMarkable: bool,
    ) -> None:
        """
        Send one segment, or one superpacket of several segments. This method never raises an exception.

        @param window: the window field of the header, already scaled.
        @param options: the packed TCP options, padded to a multiple of 4 octets.
        @param buffers: the data, in pieces that follow one another.
        @param length: the number of octets of data.
        @param size: the number of octets of data in each segment of a superpacket; the last may have fewer. 0: this is
            one segment.
        @param isMarkable: whether a router may mark the packet instead of dropping it (ECT(0), RFC 3168).
        """


class ITCPLayer(Interface):
    """
    A TCP layer, as its transports, ports and connectors use it.
    """

    clock: IReactorTime | None = Attribute("The clock of the layer. C{None} while the layer is on no port.")
    counters: SegmentCounters = Attribute("The counters of the layer, by name.")
    buffers: BufferPool = Attribute("The count of octets that wait in the receive buffers of all connections.")
    sendBuffers: BufferPool = Attribute("The count of octets that all connections have taken to send.")

    def now() -> float:
        """
        Return the time in seconds by a clock that never steps backwards.
        """

    def callLater(delay: float, callable: Callable[..., object], *args: object) -> IDelayedCall:
        """
        Schedule a call on the clock of this layer. See C{IReactorTime.callLater}.
        """

    def scheduleTurn(transport: Any) -> None:
        """
        Schedule a turn of a transport for the next iteration of the reactor.
        """

    def orphaned(transport: Any) -> None:
        """
        Enter a connection in the table of orphans. Its application has closed it, and its peer has not acknowledged all
        data and the FIN.
        """

    def finished(transport: Any, connection: Any) -> None:
        """
        Remove a finished connection from the table of connections.
        """

    def bindPort(port: Any) -> None:
        """
        Begin to accept connections for a port. A port with the number 0 is given a free one.

        @raise CannotListenError: the number is in use, or no number is free.
        """

    def unbindPort(port: Any) -> None:
        """
        Stop accepting connections for a port, and forget its half-open connections.
        """

    def bindClient(address: bytes, port: int) -> tuple[bytes, int]:
        """
        Reserve a local address and port for a client.

        @param address: the packed address. Empty: any address.
        @param port: the port number. 0: any free port.

        @return: the reserved address and port.

        @raise OSError: the port is in use, or no port is free.
        """

    def unbindClient(bound: tuple[bytes, int]) -> None:
        """
        Free an address and port that C{bindClient} has reserved.
        """

    def connectClient(transport: Any, dest: bytes, port: int, given: tuple[bytes, int] | None, parameters: Any) -> None:
        """
        Enter a client's connection in the table of connections, and send its SYN.

        @param dest: the packed address of the peer.
        @param given: the packed local address and the local port to use. C{None}: any.

        @raise OSError: there is no route to the peer, C{dest} is a multicast or broadcast address, the table of
            connections is full, no port is free, the given port is in use for this peer, or the layer is on no port.
        @raise ConnectBindError: the given local address cannot be used for this peer.
        """
