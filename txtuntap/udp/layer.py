"""
UDP: datagrams by port, and the transports of the protocols behind the ports.
"""

from __future__ import annotations

import struct
from math import inf
from typing import Any, cast

from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer

from txtuntap.interfaces import IErrorReceiver, IIPTransport, IPacketReceiver, IRawDatagramProtocol
from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.layer.drops import FAULT_DROPS, Drop
from txtuntap.layer.layer import Layer
from txtuntap.layer.table import ProtocolTable
from txtuntap.mistakes import instead
from txtuntap.packet import Packet, UnfinishableError
from txtuntap.udp.flow import Flow, IFlowTransport, Peer
from txtuntap.udp.interfaces import IUDPLayer
from txtuntap.udp.transport import UDPTransport
from txtuntap.wire import udp as wire
from txtuntap.wire.address import addressText, packAddress
from txtuntap.wire.checksum import FOLD_FROM, fold
from txtuntap.wire.icmp import Quote
from txtuntap.wire.offload import MAX_DATAGRAMS, UDP, Offload
from txtuntap.wire.udp import CHECKSUM_OFFSET, UDPHeader

__all__ = ["Peer", "RawUDPProtocol", "UDPHeader", "UDPTransport"]

#: Flows (source, destination and both ports) remembered by a RawUDPProtocol; the oldest goes.
MAX_FLOWS = 16384

#: Datagrams that were sent, by both addresses and both ports: those of our own, and answers. An ICMP error is believed
#: if it is about one of them, for so many seconds after it was sent.
MAX_WRITTEN = 4096
MAX_ANSWERED = 4096
LATELY = 60.0

#: Addresses and ports in one, length, checksum.
_flow4 = struct.Struct("!12sHH").unpack_from
_flow6 = struct.Struct("!36sHH").unpack_from
_number = int.from_bytes


@implementer(IRawDatagramProtocol, IPacketReceiver, IErrorReceiver, IUDPLayer)
class RawUDPProtocol(Layer):
    """
    Hands datagrams to the C{DatagramProtocol}s added for their destination port, and gives those their transports.

    Counters, as in RFC 4113: C{noPorts}, C{inErrors} (lengths that cannot be, no checksum over IPv6), and
    C{inCsumErrors}, C{inOffloadErrors} (what was left open cannot be); C{outDiscards} (answers that must not be sent,
    or have no route).

    Two tables tell which datagrams were sent lately, so that an ICMP error is believed only if it is about one of them.
    Answers have a table of their own. A sender who forges many addresses decides what is in that one, but evicts
    nothing that applications write by themselves. Answers are evicted in the order in which they were sent. An error
    comes within a round trip. An attacker who wants an answer to be unknown by then has to make us send
    C{MAX_ANSWERED} others in that time, which takes us a tenth of a second. (Eviction at random would forget some
    answers long before that.)

    @ivar addressEpoch: another number after each change of the IP layer's addresses.
    @ivar written: when datagrams were sent that are no answers, in seconds, by source and destination address and both
        ports as in their headers; C{answered}: the same of answers.
    @ivar udpProtos: the protocols added: lists by port. To be changed by L{addProto} and L{removeProto}.
    """

    handlesFailures = True
    takesOffload = True

    def __init__(self, verifyChecksum: bool = True) -> None:
        """
        @param verifyChecksum: whether to drop datagrams that do not sum up. Without, datagrams over IPv6 may have no
            checksum at all (RFC 6935).
        """
        super().__init__()
        self._table = ProtocolTable(16)
        self._verify = verifyChecksum
        self._transports: dict[int, list[UDPTransport]] = self._table.targets
        self._flows: Table[bytes, Flow] = Table("flows", MAX_FLOWS, Policy.OLDEST, _evicted)
        # Looked up for each packet. (To find the method of a class that Python code defines takes as long again.)
        self._flowOf = self._flows.get
        self.written: Table[bytes, float] = Table("written", MAX_WRITTEN, Policy.LEAST_RECENT)
        self.answered: Table[bytes, float] = Table("answered", MAX_ANSWERED, Policy.LEAST_RECENT)
        self.udpProtos = self._table.protocols
        self.addressEpoch = 0

    def addProto(self, num: int, proto: Any) -> None:
        """
        Add a protocol. Several under one port all get every datagram.

        @param num: the port, 0 to 65535.
        @param proto: a C{DatagramProtocol}.

        @raise TypeError: C{num} does not fit 16 bits, or C{proto} is something else.
        """
        self.bind(num, proto)

    def bind(self, num: int, proto: Any, interface: bytes = b"") -> UDPTransport:
        """
        Add a protocol for one address only.

        @param interface: a packed address; one of zeros for all of its version; empty for all.

        @return: its transport.

        @raise TypeError: as L{addProto}.
        """
        if not isinstance(proto, DatagramProtocol):
            raise TypeError(f"Added protocol must be an instance of DatagramProtocol{instead(proto)}")
        self._table.check(num)
        transport = UDPTransport(self, num, proto, interface)
        self.listen(transport)
        return transport

    def listen(self, transport: UDPTransport) -> None:
        """
        Have datagrams delivered to a transport.
        """
        self._attach(transport.protocol, transport)
        self._table.add(transport.port, transport.protocol, transport)
        self._flows.clear()

    def bound(self, num: int) -> list[UDPTransport]:
        """
        The transports on a port.
        """
        return list(self._transports.get(num, ()))

    def removeProto(self, num: int, proto: Any) -> None:
        """
        Undo an L{addProto}. A protocol removed for the last time is stopped.

        @raise ValueError: C{proto} was not added so.
        """
        removed = self._table.remove(num, proto)
        removed.listening = False
        removed.leaveAll()
        self._flows.clear()
        for transports in self._transports.values():
            for transport in transports:
                if transport.protocol is proto:
                    self._replaceTransport(proto, removed, transport)
        self._detach(proto)

    def _all(self) -> list[UDPTransport]:
        return [transport for transports in self._transports.values() for transport in transports]

    @property
    def ip(self) -> IIPTransport | None:
        """
        The IP layer below, while there is one.
        """
        return cast("IIPTransport | None", self.transport)

    def doStart(self) -> None:
        """
        Start this layer; the first time, be in the groups that were joined before.
        """
        ip, first = self.ip, not self.numPorts
        try:
            if first and ip is not None:
                for transport in self._all():
                    transport.enterGroups(ip)
            super().doStart()
        except BaseException:
            if first and ip is not None:
                for transport in self._all():
                    transport.quitGroups(ip)
            raise

    def doStop(self) -> None:
        """
        Stop this layer; the last time, forget who wrote.
        """
        ip = self.ip
        super().doStop()
        if not self.numPorts:
            self._flows.clear()
            self.written.clear()
            self.answered.clear()
            for transport in self._all():
                transport.forget()
                if ip is not None:
                    transport.quitGroups(ip)

    def tables(self) -> list[TableState]:
        """
        See L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}: those of the transports, too.
        """
        own = [table.state for table in (self._flows, self.written, self.answered)]
        return own + [state for transport in self._all() for state in transport.tables()]

    def addressesChanged(self) -> None:
        """
        The IP layer has other addresses now: known routes for answers hold no longer.
        """
        self.addressEpoch += 1
        for transport in self._all():
            transport.routeChanged()

    # Up

    def packetReceived(self, packet: Packet) -> None:
        """
        The payload of an IP datagram has come.
        """
        data = packet.data
        start = packet.start
        available = packet.end - start
        if available < 8:
            return self.dropped(packet, Drop.MALFORMED)
        # Source and destination address stand right before this header if no options do: then one unpacking has them
        # and the ports, which tell flows apart, with length and checksum; and one slice has what the sum covers.
        network = packet.network
        span = start - network
        if span == 20:
            first = start - 8
            key, length, check = _flow4(data, first)
        elif span == 40 and data[network] > 0x5F:
            first = start - 32
            key, length, check = _flow6(data, first)
        else:
            return self._unusual(packet)
        if length != available:
            if length < 8 or length > available:
                return self.dropped(packet, Drop.MALFORMED)
            packet.end = start + length
        offload = packet.offload
        if offload is not None:
            # Many in one; or one whose checksum nobody has made yet, though another than that of UDP.
            if offload.isSuperpacket or (
                offload.isOpen and (offload.checksumStart != start or offload.checksumOffset != CHECKSUM_OFFSET)
            ):
                return self._unfinished(packet, key, offload)
            if not offload.isVouched:
                offload = None
        if offload is not None:
            if not check and span == 40 and self._verify and not offload.isOpen:
                return self.dropped(packet, Drop.MALFORMED)
        elif check:
            if self._verify:
                total = _number(data[first : packet.end], "big")
                if length & 1:
                    total <<= 8
                if length >= FOLD_FROM:
                    total = fold(total)
                if (total + (17 + length)) % 0xFFFF:
                    return self.dropped(packet, Drop.CHECKSUM)
        elif span == 40 and self._verify:
            return self.dropped(packet, Drop.MALFORMED)
        flow = self._flowOf(key)
        if flow is None:
            flow = self._newFlow(packet, key)
            if flow is None:
                return self.dropped(packet, Drop.NO_PORT)
        elif (
            # Flow.isPathOf, inlined: 30 ns of 1,950 a datagram.
            packet.linkSource != flow.linkSource or packet.ethernet is not flow.ethernet or packet.port is not flow.port
        ):
            flow.cameFrom(packet)
        packet.start = start + 8
        transport = flow.transport
        if transport is None:
            self._deliverEach(packet, flow)
        elif flow is not transport.latest:
            transport.deliver(packet, flow)
        else:
            # UDPTransport.deliver, inlined: 70 ns of 2,000 a datagram.
            before = transport.current
            transport.current = packet
            try:
                transport.protocol.datagramReceived(data[start + 8 : packet.end], flow.peer)
            except Exception:
                transport.failures.failed(packet.time, "datagramReceived")
            finally:
                transport.current = before

    def datagramReceived(  # type: ignore[override]
        self,
        data: bytes,
        partial: int,
        source: str,
        dest: str,
        protocol: int = wire.PROTOCOL,
        version: int = 4,
        ihl: int = 0,
        tos: int = 0,
        tot_len: int = 0,
        fragment_id: int = 0,
        fragment_offset: int = 0,
        dont_fragment: int = 0,
        more_fragments: int = 0,
        ttl: int = 0,
    ) -> None:
        """
        The payload of an IP datagram has come from something that speaks C{twisted.pair}.
        """
        outer = self.outer
        if outer is not None and (outer.source, outer.dest) == (source, dest):
            # A method that overrides this one has been called with a packet, and calls on.
            packet = outer.copy()
            packet.data = outer.data[: outer.start] + data
            packet.end = len(packet.data)
            return self.packetReceived(packet)
        try:
            addresses = packAddress(source) + packAddress(dest)
        except ValueError:
            addresses = b""
        # The header before that of UDP is read for the addresses and the hop limit, and for nothing else.
        if len(addresses) == 32:
            header = bytes((0x60, *bytes(5), wire.PROTOCOL, ttl & 0xFF)) + addresses
        elif addresses:
            header = bytes((0x45, *bytes(7), ttl & 0xFF, wire.PROTOCOL, 0, 0)) + addresses
        else:
            header = bytes((0x45, *bytes(19)))
        packet = Packet(header + data, len(header), None, self.now(), bool(partial))
        packet.transport = len(header)
        if addresses:
            return self.packetReceived(packet)
        # The words of somebody's own tests, say. There is no checksum to verify, and no route for an answer.
        if len(data) < wire.HEADER_LENGTH:
            return self.dropped(packet, Drop.MALFORMED)
        udp = UDPHeader(data)
        if not wire.HEADER_LENGTH <= udp.len <= len(data):
            return self.dropped(packet, Drop.MALFORMED)
        packet.end = packet.start + udp.len
        packet.start += wire.HEADER_LENGTH
        flow = Flow(Peer((source, udp.source)), tuple(self._transports.get(udp.dest, ())), packet)
        self._deliverEach(packet, flow)

    def errorReceived(self, quote: Quote, refused: bool) -> bool:
        """
        See L{IErrorReceiver.errorReceived}. A transport that is connected there is told that it is refused.
        """
        flow = quote.source + quote.dest + quote.payload[:4]
        written = max(self.written.get(flow, -inf), self.answered.get(flow, -inf))
        if self.now() - written >= LATELY:
            return False
        ports = _number(flow[-4:-2], "big"), _number(flow[-2:], "big")
        listening = [transport for transport in self.bound(ports[0]) if transport.hears(quote.source)]
        if refused:
            for transport in listening:
                transport.refused((addressText(quote.dest), ports[1]))
        return bool(listening)

    def _deliverEach(self, packet: Packet, flow: Flow) -> None:
        """
        Deliver to several transports, each of which may stop another.
        """
        for transport in flow.transports:
            if transport.listening:
                transport.deliver(packet.copy(), flow)

    def _unfinished(self, packet: Packet, key: bytes, offload: Offload) -> None:
        """
        Many datagrams in one, or one whose sum goes over something else. What an application gets of many is cut out of
        the one; for all else, each of them is made as it would be on the wire.
        """
        start = packet.start
        payload = packet.end - start - 8
        if (
            offload.type == UDP
            and offload.isOpen
            and offload.checksumStart == start
            and offload.checksumOffset == CHECKSUM_OFFSET
            and 0 < offload.size <= payload <= offload.size * MAX_DATAGRAMS
            and offload.headerLength <= packet.end == len(packet.data)
        ):
            # A port has looked at this already; others need not have.
            flow = self._flows.get(key) or self._newFlow(packet, key)
            if flow is not None and flow.transport is not None and flow.transport.takes(flow):
                if not flow.isPathOf(packet):
                    flow.cameFrom(packet)
                packet.start = start + 8
                return flow.transport.deliverMany(packet, flow, offload.size)
        self._deliverFinished(packet)

    def _deliverFinished(self, packet: Packet) -> None:
        try:
            packets = packet.finished()
        except UnfinishableError as e:
            return self.dropped(packet, FAULT_DROPS[e.fault])
        for each in packets:
            self.packetReceived(each)

    def _unusual(self, packet: Packet) -> None:
        """
        A datagram with IP options or extension headers: as L{packetReceived}, but its addresses stand elsewhere.
        """
        if packet.offload is not None:
            if packet.offload.isOpen:
                return self._deliverFinished(packet)
            packet.offload = None
        _, _, length, check = wire.HEADER.unpack_from(packet.data, packet.start)
        if length < wire.HEADER_LENGTH or length > packet.end - packet.start:
            return self.dropped(packet, Drop.MALFORMED)
        packet.end = packet.start + length
        plain = Packet(packet.sourceAddress + packet.destAddress + packet.data[packet.start : packet.end])
        addresses = len(plain.data) - length
        if check:
            total = _number(plain.data, "big") << (8 if length & 1 else 0)
            if self._verify and (total + wire.PROTOCOL + length) % 0xFFFF:
                return self.dropped(packet, Drop.CHECKSUM)
        elif addresses == 32 and self._verify:
            return self.dropped(packet, Drop.MALFORMED)
        key = plain.data[: addresses + 4]
        flow = self._flows.get(key) or self._newFlow(packet, key)
        if flow is None:
            return self.dropped(packet, Drop.NO_PORT)
        flow.cameFrom(packet)
        packet.start += wire.HEADER_LENGTH
        self._deliverEach(packet, flow)

    def _newFlow(self, packet: Packet, key: bytes) -> Flow | None:
        """
        A flow that is not in the table, or L{None} if nobody has its port.

        @param key: source and destination address, source and destination port.
        """
        size = (len(key) - 4) // 2
        dest = key[size : 2 * size]
        known = [transport for transport in self._transports.get(_number(key[-2:], "big"), ()) if transport.hears(dest)]
        if not known:
            return None
        transports = tuple(map(_transportOf, known))
        flow = Flow(Peer((addressText(key[:size]), _number(key[-4:-2], "big"))), transports, packet)
        self._flows.put(key, flow)
        return flow


def _transportOf(transport: UDPTransport) -> IFlowTransport:
    """
    Where the protocol of C{transport} looks for the packet: one under several ports has the transport of the first.
    """
    held = transport.protocol.transport
    return held if isinstance(held, UDPTransport) else transport


def _evicted(key: bytes, flow: Flow) -> None:
    flow.evicted()
