"""
The base class of middleware: a protocol to the port below it, and a port to the protocol above it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import ILoggingContext
from zope.interface import alsoProvides, implementer

from txtuntap.interfaces import (
    IBatches,
    IEthernetProtocol,
    IPacketReceiver,
    IPacketTransport,
    IRawPacketProtocol,
)
from txtuntap.layer.ability import takesOffload
from txtuntap.layer.layer import Layer
from txtuntap.layer.pair import deviceReceiver
from txtuntap.mistakes import instead
from txtuntap.packet import Packet
from txtuntap.wire.offload import Offload, networkStart


@implementer(IPacketReceiver, IPacketTransport, ILoggingContext)
class Middleware(Layer):
    """
    Goes around a protocol, and lets everything through in both directions. A class that does more overrides
    L{packetReceived} and L{writePacket}.

    A class with C{takesOffload = True} sees packets that are not finished as they are; any other sees them as they are
    on the wire, since neither the port nor the protocol is then told of anything that could be left open. (One that
    overrides L{packetReceived} says it anew.)

    @ivar protocol: the protocol that it goes around.
    @ivar ethernet: whether packets are Ethernet frames, and not IP packets.
    """

    handlesFailures = True
    takesOffload = True

    # Read for each packet, and so not through the property L{below}, which would be a call.
    transport: Any

    def __init__(self, proto: Any) -> None:
        """
        @param proto: an C{IEthernetProtocol} or an C{IRawPacketProtocol}: middleware too, for instance.

        @raise TypeError: it is neither.
        """
        super().__init__()
        self.ethernet = IEthernetProtocol.providedBy(proto)
        if not self.ethernet and not IRawPacketProtocol.providedBy(proto):
            advice = instead(proto) or ": add it to an IPProtocol (addProto)"
            around = f"have {type(self).__name__} go around that"
            raise TypeError(f"{proto!r} is no IEthernetProtocol and no IRawPacketProtocol{advice}, and {around}")
        alsoProvides(self, IEthernetProtocol if self.ethernet else IRawPacketProtocol)
        self.protocol = proto
        self._takesOffload = takesOffload(self)
        self._toProtocol = self._receiverFor(proto, deviceReceiver)
        self._attach(proto, self)

    def doStart(self) -> None:
        """
        Start what is above.

        @raise RuntimeError: this is on a port already.
        """
        if self.numPorts:
            raise RuntimeError(f"a {type(self).__name__} is on one port: make another for the other one")
        super().doStart()

    def makeConnection(self, transport: Any) -> None:
        """
        Be on a port.

        @raise TypeError: C{transport} is none, nor middleware.
        """
        if not hasattr(transport, "writePacket"):
            raise TypeError(
                f"{transport!r} takes no packets: {type(self).__name__} goes between a port and the protocol on it"
            )
        super().makeConnection(transport)

    def logPrefix(self) -> str:
        """
        The prefix of a port's log lines, which are about the protocol.
        """
        proto = self.protocol
        return str(proto.logPrefix()) if ILoggingContext.providedBy(proto) else type(proto).__name__

    # Up

    def packetReceived(self, packet: Packet) -> None:
        """
        A packet has come from below.
        """
        self.deliver(packet)

    def deliver(self, packet: Packet) -> None:
        """
        Hand a packet to the protocol, whose answers come through here.
        """
        packet.port = self
        if packet.offload is not None and not packet.network:
            packet.network = networkStart(packet.data, packet.start) if self.ethernet else packet.start
        self._toProtocol(packet)

    # Down

    @property
    def below(self) -> IPacketTransport | None:
        """
        The port, or the middleware around this; L{None} if there is none.
        """
        below: IPacketTransport | None = self.transport
        return below

    def writePacket(self, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        """
        A packet has come from above: see L{IPacketTransport.writePacket}.
        """
        self.send(buffers, offload)

    def send(self, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        """
        Hand a packet to the port.
        """
        below = self.transport
        if below is None:
            self.counters["outDiscards"] += 1
        elif offload is None:
            below.writePacket(buffers)
        else:
            below.writePacket(buffers, offload)

    @property
    def interface(self) -> bytes:
        """
        The name of the port's interface, for whoever asks C{packet.port} for it; C{b""} where it has none.
        """
        return getattr(self.transport, "interface", b"")

    @property
    def mtu(self) -> int:
        """
        The MTU of the port below.
        """
        below = self.transport
        return 1500 if below is None else below.mtu

    @property
    def linkAddress(self) -> bytes | None:
        """
        The link address of the port below.
        """
        below = self.below
        return None if below is None else below.linkAddress

    @property
    def offloads(self) -> int:
        """
        The offloads of the port below; 0 if this takes no packets that are not finished.
        """
        return getattr(self.transport, "offloads", 0) if self._takesOffload else 0

    @property
    def batches(self) -> IBatches | None:
        """
        The batches of the port, where datagrams wait to leave as one: they come through here when they leave. L{None}
        if this takes no packets that are not finished.
        """
        return getattr(self.transport, "batches", None) if self._takesOffload else None

    @property
    def readEnd(self) -> list[Callable[[], object]] | None:
        """
        The functions that the port below calls at the end of the read.
        """
        return getattr(self.transport, "readEnd", None)

    def pauseProducing(self) -> None:
        """
        Have what is below read no packets for a while, if it can do that: as C{IPushProducer} has it.
        """
        pause = getattr(self.transport, "pauseProducing", None)
        if pause is not None:
            pause()

    def resumeProducing(self) -> None:
        """
        Have it read again.
        """
        resume = getattr(self.transport, "resumeProducing", None)
        if resume is not None:
            resume()
