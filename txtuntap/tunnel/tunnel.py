"""
The interface's side of a tunnel.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.protocol import AbstractDatagramProtocol
from zope.interface import alsoProvides, implementer

from txtuntap.device import TAP, TUN
from txtuntap.interfaces import IEthernetProtocol, IPacketReceiver, IPacketTransport, IRawPacketProtocol
from txtuntap.layer.bounded import TableState
from txtuntap.layer.counters import PacketCounters
from txtuntap.layer.drops import FAULT_DROPS, Drop
from txtuntap.layer.relay import bufferOf, forward
from txtuntap.layer.timer import steadySeconds
from txtuntap.layer.tokenbucket import TokenBucket
from txtuntap.mistakes import checkKind
from txtuntap.packet import Packet
from txtuntap.tunnel.allowed import Allowed
from txtuntap.tunnel.framing import MAX_PACKET, ICarrier
from txtuntap.tunnel.toolong import fitting, ipLength
from txtuntap.wire import ethernet, udp
from txtuntap.wire.offload import UDP, Offload, fault, finish, networkStart, segments, spares

#: Errors about packets that are too long: how many a second, and at once (RFC 4443 section 2.4f).
ERROR_RATE, ERROR_BURST = 1000.0, 50.0


@implementer(IPacketReceiver)
class Tunnel(AbstractDatagramProtocol):
    """
    A protocol on a port (or at an end of a L{Link<txtuntap.network.link.Link>}), whose packets go to a peer far away,
    and whose peer's packets come out there.

    It has one carrier at a time. A newer one replaces an older: after an outage, the peer is back before this end knows
    that it was away.

    What comes from the peer is looked at before it goes to the interface: whether it is of the interface's kind, no
    longer than the MTU allows, and from an address that the peer is allowed; and whether what it says to be open in it
    can be, since the peer may forge that. A peer whose addresses are given is no router, unless that is said, too.

    A packet that is too long is taken apart or its sender is told, as by a router: the peer's interface may have a
    larger MTU.

    Counters: C{outPackets}, C{outOctets}, C{inPackets}, C{inOctets}, of what went to the peer and came from it
    (superpackets count as the many, as at a port); C{outNotConnected} (there is no carrier), C{outDiscards} (it has no
    room), C{outTruncated} (longer than the port reads), C{outOffloadErrors}; C{outTooBigs} (errors that told a sender
    of the MTU), C{outLimited} (such errors that were too many); C{inErrors} (not of the interface's kind),
    C{inTooLong}, C{inFragmented} (too long, and taken apart), C{inForbidden} (from an address that the peer is not
    allowed), C{inForbiddenRoles} (a router's or DHCP server's, which it is not), C{inOffloadErrors} and
    C{inUnknownOffloads} (what is said to be open cannot be), C{inDiscards} (this is on no port); those of carriers; and
    C{carriers}, how many there were.

    @ivar mode: L{TUN} or L{TAP}.
    @ivar carrier: what brings packets to the peer; L{None} if there is none.
    @ivar counters: how often each thing happened, by name.
    """

    handlesFailures = True
    takesOffload = True
    noisy = False
    transport: Any

    def __init__(self, mode: int, allowed: Allowed | None = None) -> None:
        """
        @param mode: L{TUN}, for IP packets, or L{TAP}, for Ethernet frames.
        @param allowed: the addresses that the peer is allowed; L{None}: any.

        @raise ValueError: C{mode} is neither.
        """
        if mode not in (TUN, TAP):
            raise ValueError(f"a tunnel's mode is TUN or TAP (of txtuntap.device), not {mode!r}")
        if allowed is not None:
            checkKind(allowed, Allowed, "allowed", "Allowed(['10.0.0.2/32'])")
        self.mode = mode
        self._ethernet = mode == TAP
        self._allowed = allowed
        alsoProvides(self, IEthernetProtocol if self._ethernet else IRawPacketProtocol)
        self.carrier: ICarrier | None = None
        # Whether the port is not read, since the carrier is full.
        self._isHeld = False
        self.counters = PacketCounters()
        self._errors = TokenBucket(ERROR_RATE, ERROR_BURST)

    def makeConnection(self, transport: Any) -> None:
        """
        Be on a port.

        @raise TypeError: C{transport} takes no packets.
        @raise RuntimeError: this is on a port already.
        """
        self._isHeld = False
        if not hasattr(transport, "writePacket"):
            raise TypeError(f"{transport!r} takes no packets: a Tunnel goes on a TuntapPort, or at an end of a Link")
        if self.numPorts:
            raise RuntimeError("a Tunnel is on one port: make another for the other one")
        super().makeConnection(transport)

    @property
    def offloads(self) -> int:
        """
        The offloads that the interface takes: they may be left open in packets that the peer sends.
        """
        return getattr(self.transport, "offloads", 0)

    @property
    def mtu(self) -> int:
        """
        The interface's.
        """
        transport = cast("IPacketTransport | None", self.transport)
        return 1500 if transport is None else transport.mtu

    def tables(self) -> list[TableState]:
        """
        See L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [] if self._allowed is None else self._allowed.tables()

    # To the peer

    def packetReceived(self, packet: Packet) -> None:
        """
        A packet has come from the interface.
        """
        data, offload = bufferOf(packet)
        count, octets = 1, len(data)
        if offload is not None and offload.isSuperpacket:
            count, octets = segments(octets, offload)
        carrier = self.carrier
        if carrier is None:
            self.discard(Drop.NO_CARRIER, count)
        elif packet.partial:
            self.discard(Drop.LEAVING_TRUNCATED, count)
        elif offload is not None and offload.features & ~carrier.offloads:
            self._sendFinished(carrier, bytes(data), offload)
        elif carrier.send(data, offload):
            self.counters.outPackets += count
            self.counters.outOctets += octets
        else:
            self.discard(Drop.LEAVING_DISCARDED, count)

    def _sendFinished(self, carrier: ICarrier, data: bytes, offload: Offload) -> None:
        """
        Send a packet that the peer does not take as it is.
        """
        network = networkStart(data) if self._ethernet else 0
        if fault(data, offload, network) is not None:
            return self.discard(Drop.LEAVING_OFFLOAD)
        for each in finish(data, offload, network):
            if carrier.send(each):
                self.counters.outPackets += 1
                self.counters.outOctets += len(each)
            else:
                self.discard(Drop.LEAVING_DISCARDED)

    def discard(self, drop: Drop, count: int = 1) -> None:
        """
        Count what goes no further, to the peer or from it.

        @param count: how many packets it is.
        """
        self.counters[drop.counter] += count

    # From the peer

    def carrierUp(self, carrier: ICarrier) -> None:
        """
        Packets go through C{carrier} from now on. The one before is told to end.
        """
        before, self.carrier = self.carrier, carrier
        self._release()
        self.counters["carriers"] += 1
        if before is not None and before is not carrier:
            before.disconnect("the peer has connected anew")

    def carrierDown(self, carrier: ICarrier) -> None:
        """
        C{carrier} has ended. If it was this tunnel's, there is none now.
        """
        if self.carrier is carrier:
            self.carrier = None
            self._release()

    def carrierFull(self, carrier: ICarrier) -> None:
        """
        C{carrier} takes no more: a port is not read, where this is on one.
        """
        if carrier is self.carrier and not self._isHeld and hasattr(self.transport, "pauseProducing"):
            self._isHeld = True
            self.transport.pauseProducing()

    def carrierFree(self, carrier: ICarrier) -> None:
        """
        C{carrier} takes more again.
        """
        if carrier is self.carrier:
            self._release()

    def _release(self) -> None:
        if self._isHeld:
            self._isHeld = False
            if self.transport is not None:
                self.transport.resumeProducing()

    def carried(self, packet: bytes | memoryview, offload: Offload | None = None) -> bool:
        """
        A packet has come from the peer. It goes to the interface if it may.

        @param offload: what the peer says to be open in it.

        @return: whether it may.
        """
        transport = cast("IPacketTransport | None", self.transport)
        if transport is None:
            self.discard(Drop.DISCARDED)
            return False
        wrong = self._fault(packet, offload, transport.mtu)
        if wrong is None:
            wrong = forward(transport, packet, offload, self._ethernet)
        elif wrong is Drop.TOO_LONG and self._fits(transport, packet, offload):
            return True
        if wrong is not None:
            self.discard(wrong)
            return False
        count, octets = 1, len(packet)
        if offload is not None and offload.isSuperpacket:
            count, octets = segments(octets, offload)
        self.counters.inPackets += count
        self.counters.inOctets += octets
        return True

    def _fault(self, packet: bytes | memoryview, offload: Offload | None, mtu: int) -> Drop | None:
        """
        Why a packet must not reach the interface: L{None} if it may.
        """
        network = 0
        length = len(packet)
        if length > MAX_PACKET:
            return Drop.TOO_LONG
        if self._ethernet:
            if length < ethernet.HEADER_LENGTH:
                return Drop.MALFORMED
            network = networkStart(packet)
        elif not length or ipLength(packet) != length:
            return Drop.MALFORMED
        if offload is not None:
            # It may be a view of more, which it reads like the octets themselves.
            wrong = fault(cast(bytes, packet), offload, network)
            if wrong is not None:
                return FAULT_DROPS[wrong]
        allowed = self._allowed
        if allowed is not None:
            permits = allowed.permitsFrame(packet, network) if self._ethernet else allowed.permitsPacket(packet)
            if permits and offload is not None and not offload.isSuperpacket:
                permits = spares(packet, offload, network)
            if not permits:
                return Drop.FORBIDDEN_ADDRESS
            if not allowed.permitsRole(packet, network, self._ethernet):
                return Drop.FORBIDDEN_ROLE
        if offload is not None and offload.isSuperpacket:
            start = offload.checksumStart
            headers = udp.HEADER_LENGTH if offload.type == UDP else packet[start + 12] >> 4 << 2
            length = start + headers + offload.size
        return Drop.TOO_LONG if length - network > mtu else None

    def _fits(self, transport: IPacketTransport, packet: bytes | memoryview, offload: Offload | None) -> bool:
        """
        Do with a packet that is too long what a router does: write its fragments, or tell its sender.

        @return: whether there were any.
        """
        if len(packet) > MAX_PACKET:
            return False
        network = networkStart(packet) if self._ethernet else 0
        fragments, answer = fitting(bytes(packet), offload, network, transport.mtu)
        for each in fragments:
            transport.writePacket([each])
        if fragments:
            self.counters["inFragmented"] += 1
            self.counters.inPackets += len(fragments)
            self.counters.inOctets += sum(map(len, fragments))
        elif answer is not None and self.carrier is not None:
            if not self._errors.take(steadySeconds(transport.clock)()):
                self.counters["outLimited"] += 1
            elif self.carrier.send(answer):
                self.counters["outTooBigs"] += 1
        return bool(fragments)
