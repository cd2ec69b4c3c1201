"""
The TCP layer: it receives segments from IP, and hands each to its connection.

Read RFC 9293 section 3.10.7 first. The base classes are in L{txtuntap.tcp.unconnected}, for segments without an
established connection, and in L{txtuntap.tcp.endpoints}, for ports and clients.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection
from functools import partial
from random import Random

from zope.interface import implementer

from txtuntap.interfaces import IErrorReceiver, IPacketReceiver
from txtuntap.layer.bounded import Policy, TableState
from txtuntap.layer.drops import Drop
from txtuntap.mistakes import checkCallable, checkFlag, checkKind, checkRandom
from txtuntap.packet import Packet
from txtuntap.tcp.client import TCPClient, errorOf
from txtuntap.tcp.connection import Connection
from txtuntap.tcp.endpoints import peerOf
from txtuntap.tcp.flow import SegmentFlow, SYNRefuser
from txtuntap.tcp.handshake import Parameters
from txtuntap.tcp.interfaces import ITCPLayer
from txtuntap.tcp.limits import Limits
from txtuntap.tcp.ports import BACKLOG, TCPPort, TCPServer
from txtuntap.tcp.record import (
    ConnectionRecord,
    ConnectionRecords,
    PortRecord,
    recordOf,
    recordOfHalfOpen,
    recordOfPort,
    recordOfTimeWait,
)
from txtuntap.tcp.sender import SHARE_UNIT
from txtuntap.tcp.state import ESTABLISHED, End, State
from txtuntap.tcp.transport import TCPTransport
from txtuntap.tcp.unclaimed import Ask
from txtuntap.tcp.unconnected import TCPUnconnected
from txtuntap.wire import tcp as wire
from txtuntap.wire.checksum import onesSum
from txtuntap.wire.icmp import Quote
from txtuntap.wire.tcp import CHECKSUM_OFFSET, HEADER_LENGTH, PROTOCOL

#: Parsers of a segment, by IP version. The first field is both addresses and both ports, which together are the key of
#: the flow. Sequence number, acknowledgment number, data offset with flags, window and checksum follow.
_segment4 = struct.Struct("!12sIIHHH").unpack_from
_segment6 = struct.Struct("!36sIIHHH").unpack_from
_number = int.from_bytes


@implementer(IPacketReceiver, IErrorReceiver, ITCPLayer)
class TCPProtocol(TCPUnconnected):
    """
    The TCP layer for both versions of IP. Add it to an L{IPProtocol<txtuntap.ip.IPProtocol>} as IP protocol 6::

        tcp = TCPProtocol()
        ip.addProto(6, tcp)
        tcp.listen(80, factory)

    The counters of RFC 4022 are C{activeOpens}, C{passiveOpens}, C{attemptFails}, C{estabResets}, C{currEstab},
    C{inSegs}, C{outSegs}, C{retransSegs}, C{inErrs} and C{outRsts}. C{docs/bounds.md} describes the others.

    @ivar parameters: the parameters of connections that are given no others.
    @ivar limits: the bounds of the tables, rates and buffers.
    @ivar buffers: the count of octets in the receive buffers of all connections.
    @ivar sendBuffers: the count of octets that all connections have taken from applications, and that no peer has
        acknowledged.
    @ivar onIdle: called without arguments when the last connection of C{transports} has ended. C{None}: no call.
    """

    handlesFailures = True
    takesOffload = True
    onIdle: Callable[[], object] | None = None

    def __init__(
        self,
        parameters: Parameters | None = None,
        limits: Limits | None = None,
        verifyChecksum: bool = True,
        secrets: Random | None = None,
        unclaimed: Ask | None = None,
    ) -> None:
        """
        @param parameters: the parameters of connections that are given no others.
        @param limits: the bounds of all tables and rates that the network can fill.
        @param verifyChecksum: whether to drop segments with a wrong checksum.
        @param secrets: the source of random numbers that nobody may guess. By default, this is the source of the host
            that the layer is given to, or else that of the operating system.
        @param unclaimed: a function that decides about each SYN to a port without a listener, before the SYN is
            answered. The argument is an L{UnclaimedSYN<txtuntap.tcp.unclaimed.UnclaimedSYN>}. The function returns a
            factory for the connection, an L{Answer<txtuntap.tcp.unclaimed.Answer>}, or a Deferred or coroutine of one
            of these. The layer calls C{buildProtocol} of the factory, but neither C{doStart} nor C{doStop}. After 10 s
            without a result, the Deferred is cancelled, and the peer gets no answer. The peer gets no answer after an
            exception either, which is logged.

        @raise TypeError: C{parameters} is no C{Parameters}, C{limits} is no C{Limits}, C{unclaimed} cannot be called,
            or C{secrets} is no source of random numbers.
        @raise ValueError: C{verifyChecksum} is not a bool.
        """
        if parameters is not None:
            checkKind(parameters, Parameters, "parameters", "Parameters(ecn=True)")
        if limits is not None:
            checkKind(limits, Limits, "limits", "Limits(connections=1000)")
        checkFlag(verifyChecksum, "verifyChecksum")
        if unclaimed is not None:
            checkCallable(unclaimed, "unclaimed")
        if secrets is not None:
            checkRandom(secrets, "secrets")
        super().__init__(parameters, limits, verifyChecksum, secrets, unclaimed)

    @property
    def transports(self) -> Collection[TCPTransport]:
        """
        The transports of all connections. They include a client's connections in SYN-SENT, and connections that the
        application has closed and whose peer has not acknowledged everything. They include neither half-open
        connections nor those in TIME-WAIT.
        """
        return self._transports.values()

    @property
    def connections(self) -> list[ConnectionRecord]:
        """
        A record of each connection, including the half-open ones and those in TIME-WAIT.
        """
        return list(self.eachConnection())

    def eachConnection(self) -> ConnectionRecords:
        """
        Return an iterator that makes the records of C{connections} one at a time. So a caller with many connections can
        let the reactor run in between.
        """
        return ConnectionRecords([*self._transports, *self._halfOpen, *self._timeWait], self._recordAt)

    @property
    def listening(self) -> list[PortRecord]:
        """
        A record of each listening port.
        """
        return [recordOfPort(port) for ports in self._ports.values() for port in ports]

    def _recordAt(self, key: bytes) -> ConnectionRecord | None:
        """
        Make the record of one flow's connection.

        @param key: the flow, as the tables have it.

        @return: C{None}: the flow has no connection, or a client is still looking for a route.
        """
        transport = self._transports.get(key)
        if transport is not None:
            path, connection = transport.path, transport.connection
            return None if path is None or connection is None else recordOf(path, connection)
        half = self._halfOpen.get(key)
        if half is not None:
            return recordOfHalfOpen(half)
        waiting = self._timeWait.get(key)
        return None if waiting is None else recordOfTimeWait(waiting)

    def orphaned(self, transport: TCPTransport) -> None:
        """
        Enter a connection in the table of orphans, and reset another orphan if the table is full. See
        L{ITCPLayer.orphaned}.
        """
        victim = self._orphans.add(peerOf(transport.key), transport.key, transport)
        if victim is not None:
            self.counters["orphansReset"] += 1
            victim.abandon()

    def finished(self, transport: TCPTransport, connection: Connection) -> None:
        """
        Remove a finished connection from all tables, and enter it in the table of TIME-WAIT if it is in that state.
        """
        key = transport.key
        if self._transports.get(key) is not transport:
            return
        del self._transports[key]
        fastPath = getattr(self.transport, "fastPath", None)
        if fastPath is not None:
            fastPath.forget(key)
        peer = peerOf(key)
        self._orphans.remove(peer, key)
        if isinstance(transport, TCPServer):
            transport.server.connections -= 1
            self._byPeer[peer] -= 1
            if not self._byPeer[peer]:
                del self._byPeer[peer]
        self.buffers.changed(-transport.bufferedOctets)
        self.sendBuffers.changed(-transport.sendShares * SHARE_UNIT)
        transport.bufferedOctets = transport.sendShares = 0
        if connection.endedFrom in ESTABLISHED and connection.ended is not End.DONE:
            self.counters["estabResets"] += 1
        if connection.state is State.TIME_WAIT and transport.path is not None:
            now = self.now()
            self._timeWait.put(key, connection.timeWait(transport.path, now))
            self._tickLater()
        if self.onIdle is not None and not self._transports:
            self.onIdle()

    def doStop(self) -> None:
        """
        Stop the layer on one IP port. When it stops on the last one, all its connections are lost.
        """
        if self.numPorts == 1:
            for transport in list(self._transports.values()):
                transport.layerStopped()
            self._halfOpen.clear()
            self._halfOpenUnclaimed.clear()
            self._timeWait.clear()
            self._orphans.clear()
            for port in [port for ports in self._ports.values() for port in ports]:
                port.halfOpen = 0
            if self._unclaimed is not None:
                self._unclaimed.stop()
            self.counters.currEstab = 0
            self._scheduled = []
            for timer in self._turn, self._tick:
                if timer is not None:
                    timer.stop()
            self._turn = self._tick = None
        super().doStop()

    def tables(self) -> list[TableState]:
        """
        Return how full each table is. See L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        most = max(self._byPeer.values(), default=0)
        limits = self.limits
        refuse = Policy.REFUSE.value
        ports = [port for ports in self._ports.values() for port in ports]
        # Only the fullest port is reported, because there may be many ports.
        used, bound = max(
            ((port.connections, port.maxConnections) for port in ports),
            key=lambda each: each[0] / (each[1] or 1),
            default=(0, limits.portConnections),
        )
        waiting, backlog = max(
            ((port.halfOpen, port.backlog) for port in ports),
            key=lambda each: each[0] / (each[1] or 1),
            default=(0, BACKLOG),
        )
        unclaimed = [] if self._unclaimed is None else self._unclaimed.tables()
        return [
            TableState("connections", len(self._transports), limits.connections, refuse),
            TableState("connections of a port", used, bound, refuse),
            TableState("connections of a peer", most, limits.peerConnections, refuse),
            self._halfOpen.state,
            TableState("half open of a port", waiting, backlog, refuse),
            self._timeWait.state,
            self._orphans.state,
            *unclaimed,
            self.buffers.state,
            self.sendBuffers.state,
        ]

    def addressesChanged(self) -> None:
        """
        Do nothing about new addresses of the IP layer, because each path looks up its route again every second.
        """

    def mtuChanged(self) -> None:
        """
        Give each connection a new segment size, because the MTU of a link below has changed.
        """
        for transport in list(self._transports.values()):
            if transport.connection is not None:
                transport.pathChanged()
                transport.requestTurn()

    def packetReceived(self, packet: Packet) -> None:
        """
        Receive a segment: check its header and its checksum, and hand it to its connection.
        """
        data = packet.data
        start, end = packet.start, packet.end
        counters = self.counters
        counters.inSegs += 1
        network = packet.network
        if end - start < HEADER_LENGTH:
            return self.dropped(packet, Drop.SEGMENT)
        # Both addresses are right before this header, unless IP options or extension headers are between.
        span = start - network
        if span == 20:
            first = start - 8
            key, sequence, acknowledgment, word, window, _ = _segment4(data, first)
        elif span == 40 and data[network] > 0x5F:
            first = start - 32
            key, sequence, acknowledgment, word, window, _ = _segment6(data, first)
        else:
            first = -1
            _, _, sequence, acknowledgment, word, window, _, _ = wire.HEADER.unpack_from(data, start)
            key = packet.sourceAddress + packet.destAddress + data[start : start + 4]
        if not HEADER_LENGTH <= word >> 12 << 2 <= end - start:
            return self.dropped(packet, Drop.SEGMENT)
        offload = packet.offload
        if (
            offload is not None
            and offload.isOpen
            and (offload.checksumStart != start or offload.checksumOffset != CHECKSUM_OFFSET)
        ):
            return self.dropped(packet, Drop.OFFLOAD)
        if (offload is None or not offload.isVouched) and self._verify:
            length = end - start
            octets = data[first:end] if first >= 0 else key[:-4] + data[start:end]
            if (onesSum(octets) + PROTOCOL + length) % 0xFFFF:
                return self.dropped(packet, Drop.SEGMENT)
        now = packet.time
        transport = self._transports.get(key)
        if transport is not None and transport.connection is not None:
            isMarked = (data[network + 1] & 3 == 3) if span == 20 else packet.trafficClass & 3 == 3
            fastPath = getattr(packet.ip, "fastPath", None)
            if fastPath is not None and first >= 0:
                make = partial(SegmentFlow, transport, counters, span == 20, self._verify)
                fastPath.learn(packet, key, self, TCPProtocol.packetReceived, make)
            transport.segmentReceived(
                data, start, end, sequence, acknowledgment, word, window, isMarked, now, packet.port
            )
        else:
            self._unconnectedReceived(packet, key, sequence, acknowledgment, word, window, now)

    def _synRefused(self, packet: Packet) -> None:
        fastPath = getattr(packet.ip, "fastPath", None)
        if fastPath is not None and packet.version not in fastPath.refusers:
            refuser = SYNRefuser(
                self._ownListener,
                self._cookieBudget,
                self._transports,
                self._halfOpen,
                self._timeWait,
                self.counters,
                packet.version,
            )
            fastPath.refuse(packet, refuser.refuses, self, TCPProtocol.packetReceived)

    def _ownListener(self, address: bytes, number: int) -> TCPPort | None:
        """
        Find the listening port for an address that the IP layer has as its own.
        """
        own = getattr(self.ip, "ownAddresses", None)
        return None if own is None or not own.isOwn(address) else self._listener(address, number)

    def errorReceived(self, quote: Quote, refused: bool) -> bool:
        """
        Receive an ICMP error about a segment. Anyone can forge one, so it is accepted only if the quoted sequence
        number belongs to unacknowledged data (RFC 5927 section 4). See L{IErrorReceiver.errorReceived}.
        """
        ports = quote.payload[:4]
        key = quote.dest + quote.source + ports[2:] + ports[:2]
        transport = self._transports.get(key)
        sequence = _number(quote.payload[4:8], "big")
        if transport is None or transport.connection is None:
            half = self._halfOpen.get(key)
            return half is not None and sequence == half.initial
        connection = transport.connection
        if not connection.isUnacknowledged(sequence):
            return False
        if quote.isTooBig:
            # IP learns the new size after this method returns, so the path is looked at in the next iteration.
            transport.packetTooBig()
        elif connection.isOpening and isinstance(transport, TCPClient):
            reason = errorOf(quote)
            if reason is not None:
                transport.failSoon(reason)
        return True
