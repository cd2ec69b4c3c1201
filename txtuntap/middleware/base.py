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
    IRawDatagramProtocol,
    IRawPacketProtocol,
)
from txtuntap.layer.ability import hasPacketReceived, sendsOffload, takesOffload
from txtuntap.layer.layer import Layer
from txtuntap.layer.pair import deviceReceiver
from txtuntap.mistakes import instead
from txtuntap.packet import Packet
from txtuntap.wire.offload import Offload, networkStart


@implementer(IPacketReceiver, IPacketTransport, ILoggingContext)
class Middleware(Layer):
    """
    The base class wraps a protocol and passes every packet unchanged, in both directions. A subclass that does more
    overrides L{packetReceived} for packets from the port, and L{writePacket} for packets from the protocol.

    A packet is unfinished if it is a superpacket, or if its checksum is still to be computed. A subclass with
    C{takesOffload = True} sees unfinished packets as they are. Any other subclass sees each packet as it is on the
    wire, because it offers no offloads to either side: superpackets are cut and checksums are filled in before it sees
    them. A subclass that overrides L{packetReceived} and takes unfinished packets has to repeat C{takesOffload = True},
    because an inherited value is then ignored.

    @ivar protocol: the protocol that this middleware wraps.
    @ivar ethernet: whether packets are Ethernet frames (C{True}) or IP packets (C{False}).
    """

    handlesFailures = True
    takesOffload = True

    # The methods for packets read this attribute, because the property L{below} would cost a call for each packet.
    transport: Any

    def __init__(self, proto: Any) -> None:
        """
        @param proto: an C{IEthernetProtocol} or an C{IRawPacketProtocol}, which may be middleware itself.

        @raise TypeError: C{proto} is neither of them.
        """
        super().__init__()
        self.ethernet = IEthernetProtocol.providedBy(proto)
        if not self.ethernet and not IRawPacketProtocol.providedBy(proto):
            advice = instead(proto) or ": add it to an IPProtocol (addProto)"
            if hasPacketReceived(proto) and not IRawDatagramProtocol.providedBy(proto):
                advice = ": say which by @implementer(IRawPacketProtocol) of zope.interface"
            wrap = f"wrap that in {type(self).__name__}"
            raise TypeError(f"{proto!r} is neither an IEthernetProtocol nor an IRawPacketProtocol{advice}, and {wrap}")
        alsoProvides(self, IEthernetProtocol if self.ethernet else IRawPacketProtocol)
        self.protocol = proto
        self._takesOffload = takesOffload(self)
        self._toProtocol = self._receiverFor(proto, deviceReceiver)
        self._attach(proto, self)

    def doStart(self) -> None:
        """
        Start the wrapped protocol.

        @raise RuntimeError: this middleware is on a port already.
        """
        if self.numPorts:
            raise RuntimeError(f"this {type(self).__name__} is on a port already: make another one for a second port")
        super().doStart()

    def makeConnection(self, transport: Any) -> None:
        """
        Connect this middleware to the port, or to the middleware, below it.

        @raise TypeError: C{transport} is neither a port nor middleware.
        """
        if not hasattr(transport, "writePacket"):
            raise TypeError(
                f"{transport!r} accepts no packets: put {type(self).__name__} between a port and the protocol on it"
            )
        super().makeConnection(transport)

    def logPrefix(self) -> str:
        """
        Return the log prefix of the wrapped protocol, with which the port begins its log lines.
        """
        proto = self.protocol
        return str(proto.logPrefix()) if ILoggingContext.providedBy(proto) else type(proto).__name__

    # Packets to the protocol

    def packetReceived(self, packet: Packet) -> None:
        """
        Receive a packet from the port below.
        """
        self.deliver(packet)

    def deliver(self, packet: Packet) -> None:
        """
        Deliver a packet to the wrapped protocol. This middleware becomes C{packet.port}, so that answers pass through
        here.
        """
        packet.port = self
        if packet.offload is not None and not packet.network:
            packet.network = networkStart(packet.data, packet.start) if self.ethernet else packet.start
        self._toProtocol(packet)

    # Packets to the port, and the attributes of the port

    @property
    def below(self) -> IPacketTransport | None:
        """
        The port, or the middleware, right below this one; C{None} before it is connected.
        """
        below: IPacketTransport | None = self.transport
        return below

    def writePacket(self, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        """
        Send a packet of the wrapped protocol: see L{IPacketTransport.writePacket}.
        """
        self.send(buffers, offload)

    def send(self, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        """
        Pass a packet on to the port below. A packet is dropped and counted in C{outDiscards} if there is no port.
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
        The name of the port's interface, which an application reads from C{packet.port}; C{b""} if there is none.
        """
        return getattr(self.transport, "interface", b"")

    @property
    def mtu(self) -> int:
        """
        The MTU of the port below, in octets; 1500 before there is a port.
        """
        below = self.transport
        return 1500 if below is None else below.mtu

    @property
    def linkAddress(self) -> bytes | None:
        """
        The link address of the port below, 6 octets; C{None} on a tun, or before there is a port.
        """
        below = self.below
        return None if below is None else below.linkAddress

    @property
    def offloads(self) -> int:
        """
        The offloads of the port below, as a bit set; 0 before there is a port, or if this middleware takes no
        unfinished packets.
        """
        return getattr(self.transport, "offloads", 0) if self._takesOffload else 0

    @property
    def sendsOffload(self) -> bool:
        """
        Whether the wrapped protocol sends unfinished packets but takes none.
        """
        return self._takesOffload and sendsOffload(self.protocol)

    @property
    def batches(self) -> IBatches | None:
        """
        The batches of the port below, which hold datagrams until they leave as one superpacket. Held datagrams pass
        through here when they leave. C{None} if the port has none, or if this middleware takes no unfinished packets.
        """
        return getattr(self.transport, "batches", None) if self._takesOffload else None

    @property
    def readEnd(self) -> list[Callable[[], object]] | None:
        """
        The functions that the port below calls at the end of the current read; C{None} if no read is under way.
        """
        return getattr(self.transport, "readEnd", None)

    def pauseProducing(self) -> None:
        """
        Pause reading at the port below, as C{IPushProducer} describes. A port that cannot pause reads on.
        """
        pause = getattr(self.transport, "pauseProducing", None)
        if pause is not None:
            pause()

    def resumeProducing(self) -> None:
        """
        Resume reading at the port below.
        """
        resume = getattr(self.transport, "resumeProducing", None)
        if resume is not None:
            resume()
