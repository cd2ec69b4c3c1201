"""
The input of the IP layer, which handles both IP versions: it checks packets, reassembles fragments, and delivers
datagrams by protocol number. The output is in L{txtuntap.ip.output}.

Read RFC 791 section 3.1, RFC 8200 sections 3 and 4, and RFC 1122 section 3.2 first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from txtuntap.interfaces import (
    IEthernetTransport,
    INeighbours,
    IPacketReceiver,
    IRawDatagramProtocol,
    IRawPacketProtocol,
    IRoutes,
)
from txtuntap.ip.fragments import Reassembler, reassembled4, reassembled6
from txtuntap.ip.loopback import Loopback
from txtuntap.ip.output import IPOutput
from txtuntap.layer.ability import receiverOr
from txtuntap.layer.bounded import TableState
from txtuntap.layer.drops import FAULT_DROPS, Drop
from txtuntap.layer.fastpath import FastPath, KnownReceiver, receivesBy
from txtuntap.layer.lazy import Lazy
from txtuntap.layer.pair import datagramReceiver
from txtuntap.layer.table import ReceiverTable
from txtuntap.layer.timer import Timer
from txtuntap.packet import Packet
from txtuntap.wire import ipv4, ipv6
from txtuntap.wire.checksum import onesSum
from txtuntap.wire.ethernet import IPV4, IPV6
from txtuntap.wire.ipv4 import IPHeader

__all__ = ["IPHeader", "IPProtocol"]

_number = int.from_bytes
_lengthFragmentProtocol = ipv4.ESSENTIALS.unpack_from
_header6 = ipv6.HEADER.unpack_from


@implementer(IRawPacketProtocol, IPacketReceiver)
class IPProtocol(IPOutput):
    """
    The IP layer, for IPv4 and IPv6. It delivers each datagram to the protocols that were added under the datagram's
    protocol number, and is the transport of these protocols.

    On a tun, the version field of the header tells IPv4 from IPv6. On Ethernet, the EtherType must agree with it: add
    the layer to the EthernetProtocol under 0x0800 and under 0x86dd. The layer checks headers, skips options and
    extension headers, cuts off padding, and reassembles fragments. It sends a datagram that is larger than the MTU in
    fragments.

    These counters have the names and meanings of RFC 4293:

      - C{inHdrErrors}, C{inTruncatedPkts}, C{inUnknownProtos} and C{outDiscards} count packets.
      - C{inAddrErrors} counts packets whose destination is not ours, or whose source no host can have.
      - C{reasmReqds} counts the fragments accepted. C{reasmOKs} and C{reasmFails} count datagrams.
      - C{outFragReqds} counts the datagrams to be fragmented, C{outFragCreates} the fragments sent.

    These counters are added to them:

      - C{inCsumErrors}, C{inOptErrors} and C{inSourceRoutes} count packets.
      - C{inOffloadErrors} counts packets whose checksum or segmentation was left to the receiver, but is impossible.
      - C{inFragErrors}, C{inFragHdrErrors} and C{reasmDuplicates} count fragments.
      - C{reasmOverlaps} and C{reasmTimeouts} count datagrams.
      - C{outNoRoutes} counts datagrams that were dropped because other hosts have caused the lack of a route.

    @ivar ipProtos: the lists of protocols added, by protocol number. Those for all remaining numbers are under C{None}.
        Only L{addProto} and L{removeProto} change it.
    @ivar ownAddresses: our addresses; C{None} if the layer has none, and so delivers every datagram.
    @ivar fastPath: the known flows, whose packets skip the layers.
    @ivar routes: an L{IRoutes}. It includes the networks of our addresses.
    @ivar neighbours: an L{INeighbours}, which is used on Ethernet only.
    """

    handlesFailures = True
    takesOffload = True
    _reassembler = Lazy("_reassemblerMade", lambda ip: Reassembler(ip.counters, ip.dropped))
    _loopback = Lazy("_loopbackMade", lambda ip: Loopback(ip._deliverChecked, ip.counters))

    def __init__(
        self,
        addresses: Iterable[str] | None = None,
        verifyChecksum: bool = True,
        routes: IRoutes | None = None,
        neighbours: INeighbours | None = None,
        clock: IReactorTime | None = None,
    ) -> None:
        """
        @param addresses: our addresses in CIDR notation (C{"10.0.0.2/24"}). The layer then delivers only datagrams to
            these addresses, to the broadcast addresses of their networks, and to the groups that we are a member of. It
            drops datagrams from a source that no host can have. C{None}: it delivers every datagram.
        @param verifyChecksum: whether to drop a packet whose IPv4 header has a wrong checksum.
        @param routes: the table of routes; by default, a new L{StaticRoutes<txtuntap.ip.StaticRoutes>}.
        @param neighbours: the table of neighbours; by default, a new
            L{StaticNeighbours<txtuntap.ip.StaticNeighbours>}.
        @param clock: the clock of this layer, for example for the timeout of reassembly; by default, the clock of the
            port, which usually is the reactor.

        @raise ValueError: one of C{addresses} is not an address, or has no prefix length.
        @raise TypeError: C{routes} or C{neighbours} is not a table, or C{clock} is not a clock.
        """
        self._table = ReceiverTable(8)
        self.ipProtos = self._table.protocols
        # The base class changes addresses and routes, which has the fast path forget its flows.
        self.fastPath = FastPath(self.ipProtos, verifyChecksum)
        super().__init__(addresses, routes, neighbours, clock)
        self._addresses.onChange = self.fastPath.forget
        self._receivers = self._table.receivers
        self._verify = verifyChecksum
        self._reassemblerMade: Reassembler | None = None
        self._loopbackMade: Loopback | None = None
        self._expiry: Timer | None = None

    def addProto(self, num: int | None, proto: Any) -> None:
        """
        Add a protocol under a protocol number. If several protocols are under one number, each receives every datagram.
        If the protocol has a method C{addedTo}, that is called with this layer, which need not be started yet.

        @param num: the protocol number, 0 to 255. C{None}: every number that no other protocol was added under. A
            datagram with such a number then counts as received, so a host sends no "protocol unreachable" for it.
        @param proto: an C{IRawDatagramProtocol}, or any object with a method C{packetReceived}.

        @raise TypeError: C{num} does not fit 8 bits, or C{proto} is neither.
        """
        proto = receiverOr(IRawDatagramProtocol, proto)
        if num is not None:
            self._table.check(num)
        target = self._receiverFor(proto, datagramReceiver)
        addedTo = getattr(proto, "addedTo", None)
        if callable(addedTo):
            addedTo(self)
        self._attach(proto, self)
        self._table.add(num, proto, target)
        self.fastPath.forget()

    def removeProto(self, num: int | None, proto: Any) -> None:
        """
        Undo one L{addProto}, with the same arguments. A protocol that is then under no other number is stopped.

        @raise ValueError: C{proto} was not added under C{num}.
        """
        self._table.remove(num, proto)
        self.fastPath.forget()
        self._detach(proto)

    def mtuChanged(self) -> None:
        """
        Tell the protocols above that the MTU below has changed.
        """
        self.fastPath.forget()
        super().mtuChanged()

    def _routesChanged(self) -> None:
        self.fastPath.forget()
        super()._routesChanged()

    def doStop(self) -> None:
        """
        Stop this layer on one port. On its last port, discard incomplete datagrams and those sent to ourselves.
        """
        super().doStop()
        if not self.numPorts:
            self.fastPath.forget()
            if self._reassemblerMade is not None:
                self._reassemblerMade.clear()
            if self._loopbackMade is not None:
                self._loopbackMade.clear()
            if self._expiry is not None:
                self._expiry.stop()
                self._expiry = None

    def tables(self) -> list[TableState]:
        """
        Return the states of the tables: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [*super().tables(), *self.fastPath.tables(), *self._reassembler.tables(), *self._loopback.tables()]

    # Input

    @property
    def knownReceiver(self) -> KnownReceiver | None:
        """
        The method that receives packets of known flows from the layer or port below; C{None} if this layer does not
        receive packets by L{packetReceived}.
        """
        return self.fastPath.receive if receivesBy(self, IPProtocol.packetReceived) else None

    def packetReceived(self, packet: Packet) -> None:
        """
        Check a packet with an IP header at C{start}, and deliver it to the protocols above.
        """
        data = packet.data
        if (
            packet.ethernet is not None
            or packet.readEtherType
            or packet.end != len(data)
            or packet.partial
            or not self.fastPath.receive(data, packet.start, packet.offload, packet.port, packet.time)
        ):
            self.unknownReceived(packet)

    def unknownReceived(self, packet: Packet) -> None:
        """
        Receive a packet which is no ordinary packet of a known flow: see L{packetReceived}.
        """
        data = packet.data
        start = packet.start
        available = packet.end - start
        if available < 20:
            return self.dropped(packet, Drop.TRUNCATED)
        first = data[start]
        if first >> 4 == 6:
            return self._packetReceived6(packet)
        if packet.readEtherType != 0x0800 and packet.readEtherType:
            return self.dropped(packet, Drop.HEADER)
        total, fragment, protocol = _lengthFragmentProtocol(data, start)
        header = 20
        if first != 0x45:
            header = (first & 0x0F) << 2
            if first >> 4 != 4 or header < 20 or header > available:
                return self.dropped(packet, Drop.HEADER)
            if self._verify and onesSum(data[start : start + header]):
                return self.dropped(packet, Drop.CHECKSUM)
        elif self._verify and _number(data[start : start + 20], "big") % 0xFFFF:
            return self.dropped(packet, Drop.CHECKSUM)
        if total != available:
            if total < header:
                return self.dropped(packet, Drop.HEADER)
            if total < available:
                packet.end = start + total
            elif not packet.partial:
                return self.dropped(packet, Drop.TRUNCATED)
        packet.network = start
        packet.ip = self
        own = self.ownAddresses
        if own is not None:
            addressPair = data[start + 12 : start + 20]
            if addressPair not in own.admitted and not own.admits(addressPair):
                return self.dropped(packet, Drop.ADDRESS)
        packet.transport = start + header
        if header != 20:
            fault = ipv4.optionsFault(data, start + 20, start + header)
            if fault is not None:
                # The position of the wrong octet, because an ICMP error points to it.
                packet.start = fault[1]
                return self.dropped(packet, FAULT_DROPS[fault[0]])
        packet.start = start + header
        if fragment & 0x3FFF:
            return self._fragmentReceived4(packet, fragment, protocol)
        receive = self._receivers.get(protocol)
        if receive is None:
            return self._deliverRemaining(packet)
        receive(packet)

    def _packetReceived6(self, packet: Packet) -> None:
        data = packet.data
        start = packet.start
        available = packet.end - start
        if packet.readEtherType != 0x86DD and packet.readEtherType:
            return self.dropped(packet, Drop.HEADER)
        if available < 40:
            return self.dropped(packet, Drop.TRUNCATED)
        _, length, kind, _ = _header6(data, start)
        if 40 + length != available:
            if 40 + length < available:
                packet.end = start + 40 + length
            elif not packet.partial:
                return self.dropped(packet, Drop.TRUNCATED)
        packet.network = start
        packet.ip = self
        own = self.ownAddresses
        if own is not None:
            addressPair = data[start + 8 : start + 40]
            if addressPair not in own.admitted and not own.admits(addressPair):
                return self.dropped(packet, Drop.ADDRESS)
        transport = start + 40
        if kind in ipv6.EXTENSIONS:
            kind, transport, fault = ipv6.walkExtensions(data, kind, transport, packet.end)
            if fault is not None:
                packet.start = transport
                return self.dropped(packet, FAULT_DROPS[fault])
            if kind == ipv6.FRAGMENT:
                return self._fragmentReceived6(packet, transport)
        packet.transport = packet.start = transport
        receive = self._receivers.get(kind)
        if receive is None:
            return self._deliverRemaining(packet)
        receive(packet)

    def _fragmentReceived4(self, packet: Packet, fragment: int, protocol: int) -> None:
        data = packet.data
        network = packet.network
        key = data[network + 12 : network + 20] + data[network + 4 : network + 6] + data[network + 9 : network + 10]
        offset = (fragment & ipv4.OFFSET_MASK) << 3
        first, payload = self._assemble(packet, key, packet.start, offset, bool(fragment & ipv4.MORE_FRAGMENTS))
        if first is None:
            return
        whole = reassembled4(first, payload)
        if whole is None:
            return self.dropped(first, Drop.REASSEMBLY)
        self._deliverChecked(whole, protocol)

    def _fragmentReceived6(self, packet: Packet, at: int) -> None:
        data = packet.data
        _, fragment, identification = ipv6.FRAGMENT_HEADER.unpack_from(data, at)
        key = data[packet.network + 8 : packet.network + 40] + identification.to_bytes(4, "big")
        first, payload = self._assemble(packet, key, at + 8, fragment & 0xFFF8, bool(fragment & 1))
        if first is None:
            return
        # The position in the first fragment, because the fragment header of this fragment may be at another position.
        at = first.start - 8
        whole = reassembled6(first, at, payload)
        if whole is None:
            return self.dropped(first, Drop.REASSEMBLY)
        kind = first.data[at]
        if kind in ipv6.EXTENSIONS:
            kind, whole.start, fault = ipv6.walkExtensions(whole.data, kind, whole.start, whole.end, False)
            if fault is not None:
                return self.dropped(whole, FAULT_DROPS[fault])
            if kind == ipv6.FRAGMENT:
                # A reassembled datagram must not be a fragment again.
                return self.dropped(whole, Drop.HEADER)
            whole.transport = whole.start
        self._deliverChecked(whole, kind)

    def _assemble(
        self, packet: Packet, key: bytes, at: int, offset: int, more: bool
    ) -> tuple[Packet, bytes] | tuple[None, bytes]:
        """
        Pass a fragment to the L{Reassembler}, and arm the timer for the timeout of its datagram. For the parameters,
        see L{Reassembler.add}.

        @return: the same as L{Reassembler.add}, but C{(None, b"")} in place of C{None}.
        """
        if packet.partial:
            self.dropped(packet, Drop.TRUNCATED)
            return None, b""
        if packet.offload is not None:
            if packet.offload.isOpen:
                # The open checksum covers octets of the other fragments, so it cannot be computed here.
                self.dropped(packet, Drop.OFFLOAD)
                return None, b""
            packet.offload = None
        reassembler = self._reassembler
        done = reassembler.add(packet, key, at, offset, more)
        clock = self.clock
        if clock is not None and len(reassembler):
            if self._expiry is None:
                self._expiry = Timer(clock, self._expire)
            if not self._expiry.armed:
                self._expire()
        return (None, b"") if done is None else done

    def _deliverChecked(self, packet: Packet, protocol: int) -> None:
        """
        Deliver a datagram whose headers have been checked: a reassembled one, or one that we sent to ourselves.

        @param packet: the datagram, with C{start} at its payload.
        """
        receive = self._receivers.get(protocol)
        if receive is None:
            return self._deliverRemaining(packet)
        receive(packet)

    def _deliverRemaining(self, packet: Packet) -> None:
        """
        Deliver a datagram with a number that no protocol was added under, or drop it.
        """
        receive = self._receivers.get(None)
        if receive is None:
            return self.dropped(packet, Drop.UNKNOWN_PROTOCOL)
        receive(packet)

    def _expire(self) -> None:
        """
        Drop the incomplete datagrams whose deadline has passed, and arm the timer for the next deadline.
        """
        self._reassembler.expire(self.now())
        deadline = self._reassembler.deadline
        if deadline is not None and self._expiry is not None:
            self._expiry.armAt(deadline)

    def datagramReceived(  # type: ignore[override]
        self,
        data: bytes,
        partial: int = 0,
        dest: bytes | None = None,
        source: bytes | None = None,
        protocol: int | None = None,
    ) -> None:
        """
        Receive a packet from a caller that uses the interface of C{twisted.pair}.
        """
        etherType = protocol if protocol in (IPV4, IPV6) else 0
        stations = (dest or b"") + (source or b"")
        outer = self.outer
        if outer is not None:
            # A subclass overrides this method. Its method was called for the packet C{outer}, and now calls this one.
            packet = outer.copy()
            packet.data = outer.data[: outer.start] + data
            packet.end = len(packet.data)
            packet.partial = bool(partial)
        elif len(stations) == 12 and IEthernetTransport.providedBy(self.transport):
            frame = stations + etherType.to_bytes(2, "big") + data
            packet = Packet(frame, 14, None, self.now(), bool(partial), etherType)
            packet.ethernet = cast(IEthernetTransport, self.transport)
            packet.readLinkSource = source
        else:
            packet = Packet(data, 0, None, self.now(), bool(partial), etherType)
        self.packetReceived(packet)
