"""
The UDP layer: it checks datagrams and delivers them by port, and gives each protocol on a port its transport.

Read RFC 768 and RFC 1122 section 4.1 first, and RFC 8200 section 8.1 for the checksum over IPv6.
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
from txtuntap.layer.table import TransportTable
from txtuntap.mistakes import instead
from txtuntap.packet import Packet, UnfinishableError
from txtuntap.udp.flow import Flow, IFlowTransport, Peer
from txtuntap.udp.interfaces import IUDPLayer
from txtuntap.udp.transport import UDPTransport
from txtuntap.wire import udp as wire
from txtuntap.wire.address import addressText, packAddress
from txtuntap.wire.checksum import FOLD_FROM, foldedSum
from txtuntap.wire.icmp import Quote
from txtuntap.wire.offload import MAX_DATAGRAMS, UDP, Offload
from txtuntap.wire.udp import CHECKSUM_OFFSET, UDPHeader

__all__ = ["Peer", "RawUDPProtocol", "UDPHeader", "UDPTransport"]

#: The most flows (source address, destination address and both ports) that one layer remembers. Beyond that, the oldest
#: flow is evicted.
MAX_FLOWS = 16384

#: The most flows for which one layer remembers when it last sent a datagram that was no answer.
MAX_WRITTEN = 4096
#: The most flows for which one layer remembers when it last sent an answer.
MAX_ANSWERED = 4096

#: The number of seconds after the sending of a datagram during which an ICMP error about the datagram is believed.
LATELY = 60.0

#: Functions that unpack three values: both addresses and both ports as one key, the UDP length, and the checksum. They
#: begin at the source address, and so need an IP header without options or extension headers.
_flow4 = struct.Struct("!12sHH").unpack_from
_flow6 = struct.Struct("!36sHH").unpack_from
_number = int.from_bytes


@implementer(IRawDatagramProtocol, IPacketReceiver, IErrorReceiver, IUDPLayer)
class RawUDPProtocol(Layer):
    """
    The UDP layer, above an IP layer. It delivers each datagram to the C{DatagramProtocol}s that were added under its
    destination port, and gives these protocols their transports.

    These counters have the names and meanings of RFC 4113:

      - C{noPorts} counts datagrams to a port on which no protocol listens.
      - C{inErrors} counts datagrams with an impossible length, and datagrams without a checksum over IPv6.

    These counters are added to them:

      - C{inCsumErrors} counts datagrams with a wrong checksum.
      - C{inOffloadErrors} counts packets whose checksum or segmentation was left to the receiver, but is impossible.
      - C{outDiscards} counts answers that must not be sent or have no route, and datagrams that are written while there
        is no IP layer below.

    Two tables remember which datagrams were sent lately. An ICMP error is believed only if it quotes one of these
    datagrams. Answers have a table of their own, because an attacker who forges many source addresses can fill this
    table. So the attacker evicts no datagram that an application has sent unasked.

    Answers are evicted in the order in which they were sent. An attacker may want an answer evicted before the error
    about it arrives, which is one round trip later. For that, the attacker has to make us send C{MAX_ANSWERED} other
    answers within this time, and these take us a tenth of a second. (Random eviction would evict some answers much
    sooner.)

    @ivar verifies: whether datagrams with a wrong checksum are dropped.
    @ivar addressEpoch: a number that changes with each change of the IP layer's addresses.
    @ivar written: the time in seconds of the last datagram of each flow that was not an answer. A key is the packed
        source and destination address and both ports, as they stand in the header of a datagram of the peer.
    @ivar answered: the same as C{written}, for answers.
    @ivar udpProtos: the lists of protocols added, by port. Only L{addProto} and L{removeProto} change it.
    """

    handlesFailures = True
    takesOffload = True

    def __init__(self, verifyChecksum: bool = True) -> None:
        """
        @param verifyChecksum: whether to drop datagrams with a wrong checksum. If not, datagrams without a checksum are
            accepted over IPv6, too (RFC 6935).
        """
        super().__init__()
        self._table = TransportTable(16)
        self.verifies = verifyChecksum
        self._transports: dict[int, list[UDPTransport]] = self._table.transports
        self._flows: Table[bytes, Flow] = Table("flows", MAX_FLOWS, Policy.OLDEST, _evicted)
        # A bound method, because each packet calls it. To look the method up in a class written in Python would take as
        # long again as the call.
        self._flowOf = self._flows.get
        self.written: Table[bytes, float] = Table("written", MAX_WRITTEN, Policy.LEAST_RECENT)
        self.answered: Table[bytes, float] = Table("answered", MAX_ANSWERED, Policy.LEAST_RECENT)
        self.udpProtos = self._table.protocols
        self.addressEpoch = 0

    def addProto(self, num: int, proto: Any) -> None:
        """
        Add a protocol under a port. If several protocols are under one port, each gets every datagram.

        @param num: the port, 0 to 65535.
        @param proto: a C{DatagramProtocol}.

        @raise TypeError: C{num} does not fit 16 bits, or C{proto} is not a C{DatagramProtocol}.
        """
        self.bind(num, proto)

    def bind(self, num: int, proto: Any, interface: bytes = b"") -> UDPTransport:
        """
        Add a protocol under a port, for datagrams to one address only.

        @param num: the port, 0 to 65535.
        @param proto: a C{DatagramProtocol}.
        @param interface: the packed address: all zeros for every address of that version, empty for every address of
            both versions.

        @return: the transport of the protocol.

        @raise TypeError: see L{addProto}.
        """
        if not isinstance(proto, DatagramProtocol):
            raise TypeError(f"Added protocol must be an instance of DatagramProtocol{instead(proto)}")
        self._table.check(num)
        transport = UDPTransport(self, num, proto, interface)
        self.listen(transport)
        return transport

    def listen(self, transport: UDPTransport) -> None:
        """
        Put a transport on its port, so that it gets the datagrams to this port.
        """
        self._attach(transport.protocol, transport)
        self._table.add(transport.port, transport.protocol, transport)
        self._forgetFlows()

    def bound(self, num: int) -> list[UDPTransport]:
        """
        Return the transports on a port.
        """
        return list(self._transports.get(num, ()))

    def removeProto(self, num: int, proto: Any) -> None:
        """
        Undo one L{addProto}, with the same arguments. A protocol that is then under no other port is stopped.

        @raise ValueError: C{proto} was not added under C{num}.
        """
        removed = self._table.remove(num, proto)
        removed.listening = False
        removed.forgetLatest()
        removed.leaveAll()
        self._forgetFlows()
        for transports in self._transports.values():
            for transport in transports:
                if transport.protocol is proto:
                    self._replaceTransport(proto, removed, transport)
        self._detach(proto)

    def _forgetFlows(self) -> None:
        """
        Forget all flows, because other transports may get their datagrams now.
        """
        self._flows.clear()
        fastPath = getattr(self.transport, "fastPath", None)
        if fastPath is not None:
            fastPath.forget()

    def _allTransports(self) -> list[UDPTransport]:
        return [transport for transports in self._transports.values() for transport in transports]

    @property
    def ip(self) -> IIPTransport | None:
        """
        The IP layer below; C{None} if there is none.
        """
        return cast("IIPTransport | None", self.transport)

    def doStart(self) -> None:
        """
        Start this layer on a port. On its first port, join the groups of all transports in the IP layer.
        """
        ip, first = self.ip, not self.numPorts
        try:
            if first and ip is not None:
                for transport in self._allTransports():
                    transport.resumeGroups(ip)
            super().doStart()
        except BaseException:
            if first and ip is not None:
                for transport in self._allTransports():
                    transport.suspendGroups(ip)
            raise

    def doStop(self) -> None:
        """
        Stop this layer on one port. On its last port, forget all flows and leave all groups in the IP layer.
        """
        ip = self.ip
        super().doStop()
        if not self.numPorts:
            self._forgetFlows()
            self.written.clear()
            self.answered.clear()
            for transport in self._allTransports():
                transport.forget()
                if ip is not None:
                    transport.suspendGroups(ip)

    def tables(self) -> list[TableState]:
        """
        Return the states of the tables of this layer and of its transports: see
        L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        own = [table.state for table in (self._flows, self.written, self.answered)]
        return own + [state for transport in self._allTransports() for state in transport.tables()]

    def addressesChanged(self) -> None:
        """
        Begin a new address epoch, because the addresses of the IP layer have changed. The routes of answers are then
        found anew.
        """
        self.addressEpoch += 1
        for transport in self._allTransports():
            transport.routeChanged()

    # Input

    def packetReceived(self, packet: Packet) -> None:
        """
        Check an IP datagram with a UDP header at C{start}, and deliver it to the protocols on its destination port.
        """
        data = packet.data
        start = packet.start
        available = packet.end - start
        if available < 8:
            return self.dropped(packet, Drop.MALFORMED)
        # If the IP header has no options or extension headers, the addresses stand right before the UDP header. One
        # unpack_from then reads the addresses and ports, which identify the flow, with the length and the checksum. One
        # slice holds all octets that the checksum covers.
        network = packet.network
        span = start - network
        if span == 20:
            first = start - 8
            key, length, check = _flow4(data, first)
        elif span == 40 and data[network] > 0x5F:
            first = start - 32
            key, length, check = _flow6(data, first)
        else:
            return self._receiveBehindOptions(packet)
        if length != available:
            if length < 8 or length > available:
                return self.dropped(packet, Drop.MALFORMED)
            packet.end = start + length
        offload = packet.offload
        if offload is not None:
            # A superpacket, or a datagram in which a checksum other than that of UDP is still open.
            if offload.isSuperpacket or (
                offload.isOpen and (offload.checksumStart != start or offload.checksumOffset != CHECKSUM_OFFSET)
            ):
                return self._receiveUnfinished(packet, key, offload)
            if not offload.isVouched:
                offload = None
        if offload is not None:
            if not check and span == 40 and self.verifies and not offload.isOpen:
                return self.dropped(packet, Drop.MALFORMED)
        elif check:
            if self.verifies:
                if length >= FOLD_FROM:
                    total = foldedSum(data, first, packet.end)
                else:
                    total = _number(data[first : packet.end], "big")
                    if length & 1:
                        total <<= 8
                if (total + (17 + length)) % 0xFFFF:
                    return self.dropped(packet, Drop.CHECKSUM)
        elif span == 40 and self.verifies:
            return self.dropped(packet, Drop.MALFORMED)
        flow = self._flowOf(key)
        isFirst = flow is None
        if flow is None:
            flow = self._newFlow(packet, key)
            if flow is None:
                return self.dropped(packet, Drop.NO_PORT)
        elif not flow.isPathOf(packet):
            flow.updatePath(packet)
            isFirst = True
        self._learn(packet, flow, isFirst)
        packet.start = start + 8
        transport = flow.transport
        if transport is None:
            self._deliverToEach(packet, flow)
        else:
            transport.deliver(packet, flow)

    def _learn(self, packet: Packet, flow: Flow, isFirst: bool) -> None:
        """
        Have the fast path learn a flow whose datagrams one transport gets.

        @param isFirst: whether this is the first packet of the flow by this path.
        """
        fastPath = getattr(packet.ip, "fastPath", None)
        if fastPath is not None and flow.transport is not None:
            fastPath.learn(packet, flow.key, self, RawUDPProtocol.packetReceived, lambda: flow, isFirst)

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
        Receive the payload of an IP datagram from a caller that uses the interface of C{twisted.pair}.
        """
        outer = self.outer
        if outer is not None and (outer.source, outer.dest) == (source, dest):
            # A subclass overrides this method. Its method was called for the packet C{outer}, and now calls this one.
            packet = outer.copy()
            packet.data = outer.data[: outer.start] + data
            packet.end = len(packet.data)
            return self.packetReceived(packet)
        try:
            addresses = packAddress(source) + packAddress(dest)
        except ValueError:
            addresses = b""
        # Make an IP header for the payload. Only its addresses and its hop limit will be read.
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
        # The addresses are arbitrary text, as in the tests of an application. The checksum cannot be verified without
        # addresses, and an answer has no route.
        if len(data) < wire.HEADER_LENGTH:
            return self.dropped(packet, Drop.MALFORMED)
        udp = UDPHeader(data)
        if not wire.HEADER_LENGTH <= udp.len <= len(data):
            return self.dropped(packet, Drop.MALFORMED)
        packet.end = packet.start + udp.len
        packet.start += wire.HEADER_LENGTH
        transports = tuple(self._transports.get(udp.dest, ()))
        flow = Flow(Peer((source, udp.source)), transports, packet, bytes(8) + data[:4])
        self._deliverToEach(packet, flow)

    def errorReceived(self, quote: Quote, refused: bool) -> bool:
        """
        Receive an ICMP error about a datagram: see L{IErrorReceiver.errorReceived}. If the error is "port unreachable",
        each protocol that is connected to the destination of the datagram gets a C{connectionRefused}.
        """
        payload = quote.payload
        flow = quote.dest + quote.source + payload[2:4] + payload[:2]
        written = max(self.written.get(flow, -inf), self.answered.get(flow, -inf))
        if self.now() - written >= LATELY:
            return False
        ports = _number(payload[:2], "big"), _number(payload[2:4], "big")
        listening = [transport for transport in self.bound(ports[0]) if transport.hears(quote.source)]
        if refused:
            for transport in listening:
                transport.refused((addressText(quote.dest), ports[1]))
        return bool(listening)

    def _deliverToEach(self, packet: Packet, flow: Flow) -> None:
        """
        Deliver a datagram to all transports of a flow that still listen. A transport may have stopped another one
        during this delivery.
        """
        for transport in flow.transports:
            if transport.listening:
                transport.deliver(packet.copy(), flow)

    def _receiveUnfinished(self, packet: Packet, key: bytes, offload: Offload) -> None:
        """
        Receive a superpacket, or a datagram in which a checksum other than that of UDP is open.

        If one transport gets the superpacket, the payloads of its datagrams are cut out of it directly. In all other
        cases, the complete datagrams are made first, as they would be on the wire, and each is received.

        @param key: the packed source and destination address, and both ports.
        """
        start = packet.start
        payload = packet.end - start - 8
        # A TuntapPort has made these checks already, but the superpacket may come from elsewhere.
        if (
            offload.type == UDP
            and offload.isOpen
            and offload.checksumStart == start
            and offload.checksumOffset == CHECKSUM_OFFSET
            and 0 < offload.size <= payload <= offload.size * MAX_DATAGRAMS
            and offload.headerLength <= packet.end == len(packet.data)
        ):
            flow = self._flows.get(key)
            isFirst = flow is None
            flow = flow or self._newFlow(packet, key)
            if flow is not None and flow.transport is not None and flow.transport.takes(flow):
                if not flow.isPathOf(packet):
                    flow.updatePath(packet)
                    isFirst = True
                self._learn(packet, flow, isFirst)
                packet.start = start + 8
                return flow.transport.deliverMany(
                    packet, flow, offload.size, packet.data, packet.start, packet.end, packet.time
                )
        self._deliverFinished(packet)

    def _deliverFinished(self, packet: Packet) -> None:
        try:
            packets = packet.finished()
        except UnfinishableError as e:
            return self.dropped(packet, FAULT_DROPS[e.fault])
        for each in packets:
            self.packetReceived(each)

    def _receiveBehindOptions(self, packet: Packet) -> None:
        """
        Receive a datagram with IP options or extension headers. The checks are those of L{packetReceived}, but the
        addresses do not stand right before the UDP header.
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
            if self.verifies and (total + wire.PROTOCOL + length) % 0xFFFF:
                return self.dropped(packet, Drop.CHECKSUM)
        elif addresses == 32 and self.verifies:
            return self.dropped(packet, Drop.MALFORMED)
        key = plain.data[: addresses + 4]
        flow = self._flows.get(key) or self._newFlow(packet, key)
        if flow is None:
            return self.dropped(packet, Drop.NO_PORT)
        flow.updatePath(packet)
        packet.start += wire.HEADER_LENGTH
        self._deliverToEach(packet, flow)

    def _newFlow(self, packet: Packet, key: bytes) -> Flow | None:
        """
        Make the flow of a datagram, and add it to the table.

        @param packet: the datagram, from which the flow takes the path of answers.
        @param key: the packed source and destination address, and both ports.

        @return: the flow; C{None} if no transport listens on the destination address and port.
        """
        size = (len(key) - 4) // 2
        dest = key[size : 2 * size]
        known = [transport for transport in self._transports.get(_number(key[-2:], "big"), ()) if transport.hears(dest)]
        if not known:
            return None
        transports = tuple(map(_transportOf, known))
        flow = Flow(Peer((addressText(key[:size]), _number(key[-4:-2], "big"))), transports, packet, key)
        self._flows.put(key, flow)
        return flow


def _transportOf(transport: UDPTransport) -> IFlowTransport:
    """
    Return the transport that the protocol of C{transport} has as its own. A protocol under several ports has only the
    transport of the first port, and reads the packet being delivered from it.
    """
    held = transport.protocol.transport
    return held if isinstance(held, UDPTransport) else transport


def _evicted(key: bytes, flow: Flow) -> None:
    flow.evicted()
