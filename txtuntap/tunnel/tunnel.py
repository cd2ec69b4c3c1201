"""
The protocol that connects an interface to a tunnel's carrier.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from twisted.internet.protocol import AbstractDatagramProtocol
from zope.interface import alsoProvides, implementer

from txtuntap.device import TAP, TUN
from txtuntap.interfaces import IEthernetProtocol, IPacketReceiver, IPacketTransport, IRawPacketProtocol
from txtuntap.layer.bounded import TableState
from txtuntap.layer.counters import PacketCounters
from txtuntap.layer.drops import Drop
from txtuntap.layer.fastpath import KnownReceiver, receivesBy
from txtuntap.layer.relay import bufferOf, forward, forwardTogether, joinsSegments, recordBehind
from txtuntap.layer.timer import steadySeconds
from txtuntap.layer.tokenbucket import TokenBucket
from txtuntap.mistakes import checkKind
from txtuntap.packet import Packet
from txtuntap.tunnel.allowed import Allowed
from txtuntap.tunnel.datagramrun import NEEDED, DatagramRun, mayBegin
from txtuntap.tunnel.framing import MAX_PACKET, ICarrier
from txtuntap.tunnel.toolong import fragmentsOrError
from txtuntap.tunnel.validation import faultOf
from txtuntap.wire import ethernet
from txtuntap.wire.offload import Offload, countPackets, fault, finish, networkStart, segments

#: The octets after which the packets of a read are sent before the read ends. More of them take more time, because they
#: do not stay in the processor's caches.
MOST_TOGETHER = 512 * 1024

#: The most ICMP errors about too long packets: a rate in errors a second, and a burst (RFC 4443 section 2.4f).
ERROR_RATE, ERROR_BURST = 1000.0, 50.0


@implementer(IPacketReceiver)
class Tunnel(AbstractDatagramProtocol):
    """
    A protocol on a port (or at an end of a L{Link<txtuntap.network.link.Link>}). It sends the port's packets to a
    remote peer and writes the peer's packets to the port.

    A tunnel has at most one carrier. A newer carrier replaces the older one, because after an outage the peer may
    reconnect before this end notices that the old connection is dead.

    Each packet from the peer is validated before it is written to the port. The packet must be of the tunnel's mode,
    fit the MTU, and come from an address that the peer is allowed. The peer may leave the packet's checksum and
    segmentation to this end. Their description must be consistent with the packet, because the peer can forge it. If
    the peer's addresses are restricted, packets by which a router configures hosts are dropped, too, unless the
    restriction permits them.

    Datagrams of one flow that the port delivers one after another in one read are joined into a superpacket if the peer
    accepts it: see L{DatagramRun}. Each of them counts as a packet.

    A packet longer than the MTU of the port is fragmented, or an ICMP error is sent back to its sender, as a router
    would do. The peer's interface may have a larger MTU.

    Counters of traffic, in which a superpacket counts as the packets that it is segmented into:

      - C{outPackets} and C{outOctets}: sent to the peer;
      - C{inPackets} and C{inOctets}: written to the port;
      - C{carriers}: the carriers that this tunnel has had.

    Counters of packets from the port that were dropped:

      - C{outNotConnected}: there is no carrier;
      - C{outDiscards}: the carrier did not accept the packet, for instance because its buffer is full;
      - C{outTruncated}: the port read only a part of the packet;
      - C{outOffloadErrors}: the description of the checksum or the segmentation is invalid.

    Counters of packets from the peer that were dropped, to which carriers add counters of their own:

      - C{inErrors}: malformed, or not of the tunnel's mode;
      - C{inTooLong}: longer than the MTU, and not fragmented;
      - C{inForbidden}: from an address that the peer is not allowed;
      - C{inForbiddenRoles}: of a kind that only a router or a DHCP server sends;
      - C{inOffloadErrors}, C{inUnknownOffloads}: the description of the checksum or the segmentation contradicts the
        packet, or is of an unknown kind;
      - C{inDiscards}: this tunnel is on no port.

    Counters of packets from the peer that were too long:

      - C{inFragmented}: fragmented;
      - C{outTooBigs}: answered by an ICMP error;
      - C{outLimited}: not answered by an ICMP error, because of the rate limit.

    @ivar mode: C{TUN} or C{TAP}.
    @ivar sendsOffload: whether the kernel segments superpackets before the interface delivers them: see
        L{IPacketReceiver}. Set it before this tunnel is on a port, if the carrier cannot carry superpackets.
    @ivar flushes: whether this tunnel calls C{carrier.flush} at the end of the port's present read.
    @ivar carrier: the carrier through which packets are sent to the peer; C{None} if there is none.
    @ivar counters: these counters and those of the carriers, by name.
    """

    handlesFailures = True
    takesOffload = True
    noisy = False
    transport: Any

    def __init__(self, mode: int, allowed: Allowed | None = None) -> None:
        """
        @param mode: C{TUN} for IP packets, or C{TAP} for Ethernet frames.
        @param allowed: the addresses that the peer may send from; C{None}: any.

        @raise ValueError: C{mode} is neither.
        """
        if mode not in (TUN, TAP):
            raise ValueError(f"a tunnel's mode is TUN or TAP (of txtuntap.device), not {mode!r}")
        if allowed is not None:
            checkKind(allowed, Allowed, "allowed", "Allowed(['10.0.0.2/32'])")
        self.mode = mode
        self.sendsOffload = False
        self._ethernet = mode == TAP
        self._allowed = allowed
        alsoProvides(self, IEthernetProtocol if self._ethernet else IRawPacketProtocol)
        self.carrier: ICarrier | None = None
        # Whether reading from the port is paused, because the carrier's buffer is full.
        self._isPortPaused = False
        self.counters = PacketCounters()
        self._errors = TokenBucket(ERROR_RATE, ERROR_BURST)
        # The packets that wait for the end of the port's read, and their octets; the datagrams that wait for it.
        self._read: list[tuple[bytes, int, Offload | None]] = []
        self._readOctets = 0
        self._run: DatagramRun | None = None
        self.flushes = False

    def makeConnection(self, transport: Any) -> None:
        """
        Attach this tunnel to a port or to an end of a link.

        @raise TypeError: C{transport} does not accept packets.
        @raise RuntimeError: this tunnel is already on a port.
        """
        self._isPortPaused = False
        if not hasattr(transport, "writePacket"):
            raise TypeError(
                f"{transport!r} does not accept packets: put a Tunnel on a TuntapPort, or at an end of a Link"
            )
        if self.numPorts:
            raise RuntimeError("this Tunnel is already on a port: make another Tunnel for the other port")
        super().makeConnection(transport)

    @property
    def offloads(self) -> int:
        """
        The checksums and segmentation that the interface can do, as flags C{CSUM}, C{TSO4} and so on. The peer may
        leave them to this end.
        """
        return getattr(self.transport, "offloads", 0)

    @property
    def mtu(self) -> int:
        """
        The MTU of the interface, in octets. It is 1500 while this tunnel is on no port.
        """
        transport = cast("IPacketTransport | None", self.transport)
        return 1500 if transport is None else transport.mtu

    def tables(self) -> list[TableState]:
        """
        Return how full the tables of the address filter are: see
        L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [] if self._allowed is None else self._allowed.tables()

    # From the interface to the peer

    @property
    def knownReceiver(self) -> KnownReceiver | None:
        """
        The method that receives ordinary packets from the port: see L{txtuntap.layer.fastpath}.
        """
        return self._knownReceived if receivesBy(self, Tunnel.packetReceived) else None

    def _knownReceived(
        self, data: bytes, start: int, offload: Offload | None, port: IPacketTransport, now: float
    ) -> bool:
        """
        Have a packet wait until the end of the port's read, or until many octets wait, so that the packets of the read
        are sent together. Little code runs between two reads then, so that the processor's caches keep that code.

        @return: whether the packet waits. Otherwise L{packetReceived} has to send it.
        """
        end = len(data)
        if self.carrier is None or end <= start:
            return False
        # The port counts a packet that is empty or contradicts its record. It does so before packetReceived.
        if offload is not None and offload.isSuperpacket:
            network = networkStart(data, start) if self._ethernet else start
            if fault(data, offload, network) is not None:
                return False
        elif offload is not None and end < offload.least:
            return False
        if not self.flushes and not self._awaitEnd(port):
            return False
        self._read.append((data, start, offload))
        self._readOctets += len(data)
        if self._readOctets >= MOST_TOGETHER:
            self._sendRead()
            self._flush()
        return True

    def unknownReceived(self, packet: Packet) -> None:
        """
        Send a packet that is not ordinary to the peer.
        """
        self.packetReceived(packet)

    def _awaitEnd(self, port: object) -> bool:
        """
        Have a port call L{_readEnded} at the end of its read.

        @return: whether it reads.
        """
        ends = getattr(port, "readEnd", None)
        if ends is None:
            return False
        self.flushes = True
        ends.append(self._readEnded)
        return True

    def packetReceived(self, packet: Packet) -> None:
        """
        Send a packet from the interface to the peer. A datagram may wait until the end of the port's read, to be joined
        with others of its flow.
        """
        if self._read:
            # The order of all packets stays.
            self._sendRead()
        self._joinOrSend(packet)

    def _joinOrSend(self, packet: Packet) -> None:
        """
        Send a packet, or have it wait if it is a datagram.
        """
        run = self._run
        if run is not None:
            if run.add(packet):
                return
            self._endRun()
        offload = packet.offload
        if offload is None or not mayBegin(offload) or not self._beginRun(packet, offload):
            self._sendPacket(packet)

    def _beginRun(self, packet: Packet, offload: Offload) -> bool:
        """
        Have a datagram wait for others of its flow, if the port is reading, and the peer takes superpackets of them.

        @return: whether the datagram waits.
        """
        carrier = self.carrier
        if carrier is None or NEEDED & ~carrier.offloads or packet.partial:
            return False
        if not self.flushes and not self._awaitEnd(packet.port):
            return False
        self._run = DatagramRun(packet, offload, ethernet.HEADER_LENGTH if self._ethernet else 0)
        return True

    def _endRun(self) -> None:
        """
        Send the datagrams that wait.
        """
        run, self._run = self._run, None
        if run is not None:
            self._sendPacket(run.joined())

    def _readEnded(self) -> None:
        """
        Send all that waits, because the port has delivered all packets of this read.
        """
        self._sendRead()
        self._endRun()
        self.flushes = False
        self._flush()

    def _flush(self) -> None:
        """
        Have the carrier send what is queued, if it has not gone meanwhile.
        """
        if self.carrier is not None:
            self.carrier.flush()

    def _sendRead(self) -> None:
        """
        Send the packets that wait.
        """
        read, self._read, self._readOctets = self._read, [], 0
        last = moved = None
        begins = False
        features = 0
        counters = self.counters
        for data, start, offload in read:
            # Most packets have the same record as the one before.
            if offload is not last:
                last, moved = offload, recordBehind(start, offload)
                features = 0 if moved is None else moved.features
                begins = offload is not None and mayBegin(offload)
            if begins or self._run is not None:
                packet = Packet(data, start)
                packet.offload = offload
                self._joinOrSend(packet)
                continue
            buffer = memoryview(data)[start:] if start else data
            carrier = self.carrier
            if carrier is None or features & ~carrier.offloads:
                self._send(buffer, moved)
                continue
            # The usual case of _send is written out, because a call for each packet takes time.
            count, octets = 1, len(buffer)
            if moved is not None and moved.isSuperpacket:
                count, octets = segments(buffer, moved, octets)
            if carrier.send(buffer, moved):
                counters.outPackets += count
                counters.outOctets += octets
            else:
                self.discard(Drop.LEAVING_DISCARDED, count)

    def _sendPacket(self, packet: Packet) -> None:
        """
        Send a packet or a superpacket to the peer.
        """
        self._send(*bufferOf(packet), packet.partial)

    def _send(self, data: bytes | memoryview, offload: Offload | None, partial: bool = False) -> None:
        count, octets = countPackets([data], offload)
        carrier = self.carrier
        if carrier is None:
            self.discard(Drop.NO_CARRIER, count)
        elif partial:
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
        Compute the checksum and do the segmentation that the peer does not accept, and send the resulting packets.
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
        Count packets that are dropped in either direction.

        @param drop: the reason, whose counter is incremented.
        @param count: the number of packets.
        """
        self.counters[drop.counter] += count

    # From the peer to the interface

    def carrierUp(self, carrier: ICarrier) -> None:
        """
        Send packets through C{carrier} from now on, and disconnect the previous carrier.
        """
        before, self.carrier = self.carrier, carrier
        self._resumePort()
        self.counters["carriers"] += 1
        if before is not None and before is not carrier:
            before.disconnect("the peer has connected again")

    def carrierDown(self, carrier: ICarrier) -> None:
        """
        Stop sending packets through C{carrier}, which has ended. If another carrier has already replaced it, nothing
        changes.
        """
        if self.carrier is carrier:
            self.carrier = None
            self._resumePort()

    def carrierFull(self, carrier: ICarrier) -> None:
        """
        Pause reading from the port, because the buffer of C{carrier} is full. An end of a link cannot be paused.
        """
        if carrier is self.carrier and not self._isPortPaused and hasattr(self.transport, "pauseProducing"):
            self._isPortPaused = True
            self.transport.pauseProducing()

    def carrierFree(self, carrier: ICarrier) -> None:
        """
        Resume reading from the port, because C{carrier} accepts packets again.
        """
        if carrier is self.carrier:
            self._resumePort()

    def _resumePort(self) -> None:
        if self._isPortPaused:
            self._isPortPaused = False
            if self.transport is not None:
                self.transport.resumeProducing()

    def carried(self, packet: bytes | memoryview, offload: Offload | None = None) -> bool:
        """
        Validate a packet from the peer, and write it to the interface.

        @param packet: an Ethernet frame or an IP packet.
        @param offload: the checksum and segmentation that the peer says it has left to this end; C{None}: nothing is
            left.

        @return: whether the packet was accepted.
        """
        return self.carriedTogether([(packet, offload)])

    def carriedTogether(self, packets: Sequence[tuple[bytes | memoryview, Offload | None]]) -> bool:
        """
        Validate packets from the peer that have arrived together, and write them to the interface. Segments of one TCP
        connection are joined to superpackets, if the port accepts these. They are not on a link, which has no system
        call that this would save.

        @param packets: packets, each with the checksum and segmentation that are left to this end: see L{carried}.

        @return: whether all packets were accepted.
        """
        transport = cast("IPacketTransport | None", self.transport)
        if transport is None:
            self.discard(Drop.DISCARDED, len(packets))
            return False
        mtu, lacking = transport.mtu, ~getattr(transport, "offloads", 0)
        joins = len(packets) > 1 and joinsSegments(transport)
        isFrame, allowed = self._ethernet, self._allowed
        together: list[Any] = []
        counters = self.counters
        refused = 0
        for packet, offload in packets:
            wrong = faultOf(packet, offload, mtu, isFrame, allowed)
            if joins and offload is None and wrong is None:
                together.append(packet)
                continue
            if together:
                # The order of all packets stays.
                self._writeTogether(transport, together)
                together.clear()
            if wrong is None:
                if offload is not None and not offload.features & lacking:
                    # The first case of forward, which is the usual one, is written out.
                    transport.writePacket([packet], offload)  # type: ignore[list-item]
                else:
                    wrong = forward(transport, packet, offload, self._ethernet)
            elif wrong is Drop.TOO_LONG and self._fragmentOrAnswer(transport, packet, offload):
                continue
            if wrong is not None:
                self.discard(wrong)
                refused += 1
                continue
            count, octets = 1, len(packet)
            if offload is not None and offload.isSuperpacket:
                count, octets = segments(packet, offload, octets)
            counters.inPackets += count
            counters.inOctets += octets
        if together:
            self._writeTogether(transport, together)
        return not refused

    def _writeTogether(self, transport: IPacketTransport, packets: list[Any]) -> None:
        self.counters.inPackets += len(packets)
        self.counters.inOctets += sum(map(len, packets))
        forwardTogether(transport, packets, self._ethernet)

    def _fragmentOrAnswer(
        self, transport: IPacketTransport, packet: bytes | memoryview, offload: Offload | None
    ) -> bool:
        """
        Write the fragments of a packet that is too long, or send an ICMP error to its sender, as a router does.

        @return: whether fragments were written.
        """
        if len(packet) > MAX_PACKET:
            return False
        network = networkStart(packet) if self._ethernet else 0
        fragments, answer = fragmentsOrError(bytes(packet), offload, network, transport.mtu)
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
