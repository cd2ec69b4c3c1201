"""
The contracts within TCP: between a connection and its path, and between the layer and its transports.
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
    The path of one connection, as the connection sees it.
    """

    room: int = Attribute("The most octets that one IP packet to the peer carries, TCP's header included.")
    link: int = Attribute("The same of our own link: the segments that we take have to fit it.")
    cuts: bool = Attribute("Whether a superpacket is cut into segments on its way.")
    counters: SegmentCounters = Attribute("The counters of the layer. The wire itself counts C{outSegs}.")

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
        Send a segment, or a superpacket of several. Never raises.

        @param buffers: joined, the data.
        @param length: octets of data.
        @param size: octets of data in each segment but the last, where there are several; 0: it is one segment.
        @param isMarkable: whether routers may mark it in place of dropping it (ECT(0), RFC 3168).
        """


class ITCPLayer(Interface):
    """
    A TCP layer as the transports, the ports and the connectors on it see it.
    """

    clock: IReactorTime | None = Attribute("The clock of the layer; L{None} while it is on no port.")
    counters: SegmentCounters = Attribute("How often each thing happened, by name.")
    buffers: BufferPool = Attribute("What all connections have received and keep.")
    sendBuffers: BufferPool = Attribute("What all connections have taken, and is not acknowledged.")

    def now() -> float:
        """
        The steady time by the clock, in seconds.
        """

    def callLater(delay: float, callable: Callable[..., object], *args: object) -> IDelayedCall:
        """
        See C{IReactorTime.callLater}.
        """

    def turnSoon(transport: Any) -> None:
        """
        Have a transport have a turn at the next turn of the reactor.
        """

    def orphaned(transport: Any) -> None:
        """
        Take note of a connection that its application has closed, and that is not done yet.
        """

    def finished(transport: Any, connection: Any) -> None:
        """
        Forget a connection that is done.
        """

    def bindPort(port: Any) -> None:
        """
        Have a port listen.

        @raise CannotListenError: its number is taken.
        """

    def unbindPort(port: Any) -> None:
        """
        Have a port listen no more, and forget what is half open on it.
        """

    def bindClient(address: bytes, port: int) -> tuple[bytes, int]:
        """
        Reserve an address and port to connect from.

        @param address: packed; empty for any.
        @param port: 0 for any that is free.

        @raise OSError: it is taken.
        """

    def unbindClient(bound: tuple[bytes, int]) -> None:
        """
        Undo a C{bindClient}: the port is free again.
        """

    def connectClient(transport: Any, dest: bytes, port: int, given: tuple[bytes, int] | None, parameters: Any) -> None:
        """
        Enter a connection of a client in the table, and send its SYN.

        @param dest: the packed address of the peer.
        @param given: the address and port to leave from; L{None}: any.

        @raise OSError: there is no route, or no port is free.
        """
