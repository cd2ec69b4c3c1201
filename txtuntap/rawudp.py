"""
UDP: datagrams by port, and the transports of the protocols behind the ports.
"""

from __future__ import annotations

import errno
import struct
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import InvalidAddressError, MessageLengthError
from twisted.internet.interfaces import IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer

from txtuntap.interfaces import IIPTransport, IPacketReceiver, IRawDatagramProtocol
from txtuntap.layer import Layer, ProtocolTable
from txtuntap.packet import Packet
from txtuntap.routing import Route
from txtuntap.wire import udp as wire
from txtuntap.wire.address import LIMITED_BROADCAST, addressText, packAddress
from txtuntap.wire.udp import UDPHeader

__all__ = ["Peer", "RawUDPProtocol", "UDPHeader", "UDPTransport"]

#: Flows (source, destination and both ports) remembered by a RawUDPProtocol; the oldest goes.
MAX_FLOWS = 16384

#: Peers whose way back is remembered by a transport; the one that has not written for longest goes.
MAX_PEERS = 256

#: Addresses and ports in one, length, checksum.
_flow4 = struct.Struct("!12sHH").unpack_from
_flow6 = struct.Struct("!36sHH").unpack_from
_number = int.from_bytes


class Peer(tuple[str, int]):
    """
    The address C{(host, port)} of whoever sent a datagram, as the application gets it: an ordinary tuple that also
    knows the way back, for as long as somebody holds it.

    @ivar flow: how its datagrams come.
    """

    flow: Flow

    def __copy__(self) -> Peer:
        return self

    def __deepcopy__(self, memo: object) -> Peer:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # The way back is nothing that another process could go.
        return tuple, (tuple(self),)


class Flow:
    """
    Datagrams from one port of one address to one port of another: who sends them, who gets them, and what an answer
    needs to know.

    @ivar peer: the sender's address.
    @ivar transports: of the protocols that get them.
    @ivar transport: the one of C{transports}, if it is one.
    @ivar headers: a packet with the headers, and no more, of the first datagram that came the way the latest came.
    @ivar port: by which port that way comes; C{ethernet} and C{linkSource}: by which layer and from which station.
    """

    __slots__ = ("_route", "ethernet", "headers", "linkSource", "peer", "port", "transport", "transports")

    def __init__(self, peer: Peer, transports: tuple[UDPTransport, ...], packet: Packet) -> None:
        self.peer = peer
        peer.flow = self
        self.transports = transports
        self.transport = transports[0] if len(transports) == 1 else None
        self.cameFrom(packet)

    def cameFrom(self, packet: Packet) -> None:
        """
        Take note of the way that C{packet} came: answers go back that way from now on.
        """
        self.headers = packet.headers()
        self.port = packet.port
        self.ethernet = packet.ethernet
        self.linkSource = packet.linkSource
        self._route: Route | None = None

    def isFor(self, protocol: DatagramProtocol) -> bool:
        """
        Whether a protocol is among those that get them.
        """
        return any(transport.protocol is protocol for transport in self.transports)

    @property
    def localPort(self) -> int:
        """
        The port of ours that they go to.
        """
        at = self.headers.transport + 2
        return _number(self.headers.data[at : at + 2], "big")

    def routeBack(self, ip: IIPTransport) -> Route | None:
        """
        @return: the way for an answer; L{None} where there must not be one.
        """
        if self._route is None:
            self._route = ip.routeBack(self.headers)
        return self._route


@implementer(IRawDatagramProtocol, IPacketReceiver)
class RawUDPProtocol(Layer):
    """
    Hands datagrams to the C{DatagramProtocol}s added for their destination port, and gives those their transports.

    Counters, as in RFC 4113: C{noPorts}, C{inErrors} (lengths that cannot be, no checksum over IPv6), and
    C{inCsumErrors}; C{outDiscards} (answers that must not be sent, or have no way to go).

    @ivar udpProtos: the protocols added: lists by port. To be changed by L{addProto} and L{removeProto}.
    """

    def __init__(self, verifyChecksum: bool = True) -> None:
        """
        @param verifyChecksum: whether to drop datagrams that do not sum up. Without, datagrams over IPv6 may have no
            checksum at all (RFC 6935).
        """
        super().__init__()
        self._table = ProtocolTable(16)
        self._verify = verifyChecksum
        self._transports: dict[int, list[UDPTransport]] = self._table.ways
        self._flows: OrderedDict[bytes, Flow] = OrderedDict()
        self.udpProtos = self._table.protocols

    def addProto(self, num: int, proto: Any) -> None:
        """
        Add a protocol. Several under one port all get every datagram.

        @param num: the port, 0 to 65535.
        @param proto: a C{DatagramProtocol}.

        @raise TypeError: C{num} does not fit 16 bits, or C{proto} is something else.
        """
        if not isinstance(proto, DatagramProtocol):
            raise TypeError("Added protocol must be an instance of DatagramProtocol")
        self._table.check(num)
        transport = UDPTransport(self, num, proto)
        self._attach(proto, transport)
        self._table.add(num, proto, transport)
        self._flows.clear()

    def removeProto(self, num: int, proto: Any) -> None:
        """
        Undo an L{addProto}. A protocol removed for the last time is stopped.

        @raise ValueError: C{proto} was not added so.
        """
        removed = self._table.remove(num, proto)
        removed.listening = False
        self._flows.clear()
        for transports in self._transports.values():
            for transport in transports:
                if transport.protocol is proto:
                    self._replaceTransport(proto, removed, transport)
        self._detach(proto)

    @property
    def ip(self) -> IIPTransport | None:
        """
        The IP layer below, while there is one.
        """
        return cast("IIPTransport | None", self.transport)

    def doStop(self) -> None:
        """
        Stop this layer; the last time, forget who wrote.
        """
        super().doStop()
        if not self.numPorts:
            self._flows.clear()
            for transports in self._transports.values():
                for transport in transports:
                    transport.forget()

    # Up

    def packetReceived(self, packet: Packet) -> None:
        """
        The payload of an IP datagram has come.
        """
        data = packet.data
        start = packet.start
        available = packet.end - start
        if available < 8:
            return self.dropped(packet, "inErrors")
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
                return self.dropped(packet, "inErrors")
            packet.end = start + length
        if check:
            if self._verify:
                total = _number(data[first : packet.end], "big")
                if length & 1:
                    total <<= 8
                if (total + (17 + length)) % 0xFFFF:
                    return self.dropped(packet, "inCsumErrors")
        elif span == 40 and self._verify:
            return self.dropped(packet, "inErrors")
        flow = self._flows.get(key)
        if flow is None:
            flow = self._newFlow(packet, key)
            if flow is None:
                return self.dropped(packet, "noPorts")
        elif (
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
            # As deliver() does: a call less for one datagram after another from the same peer.
            before = transport.packet
            transport.packet = packet
            try:
                transport.protocol.datagramReceived(data[start + 8 : packet.end], flow.peer)
            except Exception:
                transport.failures.failed(packet.time, "datagramReceived")
            finally:
                transport.packet = before

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
        # What stands before the UDP header is read for the addresses and the hop limit, and for nothing else.
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
        # The words of somebody's own tests, say. There is no checksum to verify, and no way back.
        if len(data) < wire.HEADER_LENGTH:
            return self.dropped(packet, "inErrors")
        udp = UDPHeader(data)
        if not wire.HEADER_LENGTH <= udp.len <= len(data):
            return self.dropped(packet, "inErrors")
        packet.end = packet.start + udp.len
        packet.start += wire.HEADER_LENGTH
        flow = Flow(Peer((source, udp.source)), tuple(self._transports.get(udp.dest, ())), packet)
        self._deliverEach(packet, flow)

    def _deliverEach(self, packet: Packet, flow: Flow) -> None:
        """
        Deliver to several transports, each of which may stop another.
        """
        for transport in flow.transports:
            if transport.listening:
                transport.deliver(packet.copy(), flow)

    def _unusual(self, packet: Packet) -> None:
        """
        A datagram with IP options or extension headers: as L{packetReceived}, but its addresses stand elsewhere.
        """
        _, _, length, check = wire.HEADER.unpack_from(packet.data, packet.start)
        if length < wire.HEADER_LENGTH or length > packet.end - packet.start:
            return self.dropped(packet, "inErrors")
        packet.end = packet.start + length
        plain = Packet(packet.sourceAddress + packet.destAddress + packet.data[packet.start : packet.end])
        addresses = len(plain.data) - length
        if check:
            total = _number(plain.data, "big") << (8 if length & 1 else 0)
            if self._verify and (total + wire.PROTOCOL + length) % 0xFFFF:
                return self.dropped(packet, "inCsumErrors")
        elif addresses == 32 and self._verify:
            return self.dropped(packet, "inErrors")
        key = plain.data[: addresses + 4]
        flow = self._flows.get(key) or self._newFlow(packet, key)
        if flow is None:
            return self.dropped(packet, "noPorts")
        flow.cameFrom(packet)
        packet.start += wire.HEADER_LENGTH
        self._deliverEach(packet, flow)

    def _newFlow(self, packet: Packet, key: bytes) -> Flow | None:
        """
        A flow that is not in the table, or L{None} if nobody has its port.

        @param key: source and destination address, source and destination port.
        """
        known = self._transports.get(_number(key[-2:], "big"))
        if known is None:
            return None
        transports = tuple(map(_transportOf, known))
        size = (len(key) - 4) // 2
        flow = Flow(Peer((addressText(key[:size]), _number(key[-4:-2], "big"))), transports, packet)
        if len(self._flows) >= MAX_FLOWS:
            self._flows.popitem(last=False)
        self._flows[key] = flow
        return flow


def _transportOf(transport: UDPTransport) -> UDPTransport:
    """
    Where the protocol of C{transport} looks for the packet: one under several ports has the transport of the first.
    """
    held = transport.protocol.transport
    return held if isinstance(held, UDPTransport) else transport


@implementer(IUDPTransport)
class UDPTransport:
    """
    The transport of a C{DatagramProtocol} on a L{RawUDPProtocol}.

    @ivar port: the UDP port.
    @ivar protocol: the application's.
    @ivar listening: whether it is on its port, and has not been taken off.
    @ivar latest: the flow of the latest datagram.
    @ivar packet: the packet just being delivered (L{Packet<txtuntap.packet.Packet>}), or L{None}: its C{dest},
        C{hopLimit}, C{linkSource} and C{time} tell what C{datagramReceived} does not.
    """

    def __init__(self, udp: RawUDPProtocol, port: int, protocol: DatagramProtocol) -> None:
        self.port = port
        self.protocol = protocol
        self.packet: Packet | None = None
        self.listening = True
        self._udp = udp
        self.failures = udp.failuresOf(protocol)
        self._connected: tuple[str, int] | None = None
        self._broadcastAllowed = False
        # Who wrote, and by which flow last: more than one of our addresses may be known to a peer.
        self._flows: OrderedDict[tuple[str, int], Flow] = OrderedDict()
        self.latest: Flow | None = None

    def __repr__(self) -> str:
        return f"<UDPTransport of {self.protocol!r} on {self.port}>"

    def deliver(self, packet: Packet, flow: Flow) -> None:
        """
        Hand the application a datagram: C{packet}, from C{start} to C{end}.
        """
        if flow is not self.latest:
            if self._connected is not None and flow.peer != self._connected:
                return self._udp.dropped(packet, "noPorts")
            self._remember(flow)
        before = self.packet
        self.packet = packet
        try:
            self.protocol.datagramReceived(packet.data[packet.start : packet.end], flow.peer)
        except Exception:
            self.failures.failed(packet.time, "datagramReceived")
        finally:
            self.packet = before

    def write(self, packet: bytes, addr: tuple[str, int] | None = None) -> None:
        """
        Send one datagram. To a peer that has written, it leaves from the address (and port) which that peer last wrote
        to, to the station it came from; and whatever has become of that way, it does not raise. (Long after, when the
        peer is no longer remembered, that takes the very object that C{datagramReceived} got for C{addr}.)

        @param packet: the payload, up to 65,507 octets over IPv4, 65,527 over IPv6.
        @param addr: an IP address as text, C{"<broadcast>"}, and a port; L{None} on a connected transport.

        @raise MessageLengthError: C{packet} is too long.
        @raise InvalidAddressError: C{addr} has no IP address.
        @raise ValueError: C{addr} is missing, is not the one connected to, or has no port.
        @raise OSError: there is no way to C{addr}, as L{IIPTransport.write}; or it is a broadcast, and those have not
            been allowed (C{EACCES}).
        """
        if self._connected is not None:
            if addr is not None and tuple(addr) != self._connected:
                raise ValueError(f"this transport is connected to {self._connected}, it cannot write to {addr!r}")
            addr = self._connected
        elif addr is None:
            raise ValueError("this transport is not connected: give write() an address")
        flow = self._flows.get((addr[0], addr[1]))
        if flow is None and isinstance(addr, Peer) and addr.flow.isFor(self.protocol):
            flow = addr.flow
        if flow is None:
            dest, port = self._parse(addr[0], addr[1])
            # It may be known by another spelling.
            flow = self._flows.get((addressText(dest), port))
        ip = (flow and flow.headers.ip) or self._udp.ip
        route: Route | None = None
        if flow is not None:
            port = flow.peer[1]
            localPort = flow.localPort
            if ip is not None and port:
                route = flow.routeBack(ip)
                if route is not None and self.packet is None:
                    route = ip.knownStation(route)
            limit = wire.MAX_PAYLOAD[16 if ":" in flow.peer[0] else 4]
        else:
            localPort = self.port
            if ip is not None:
                route = ip.route(dest)
            limit = wire.MAX_PAYLOAD[len(dest)]
        if len(packet) > limit:
            raise MessageLengthError(f"{len(packet)} octets are more than the {limit} of a UDP datagram")
        if ip is None or route is None:
            self._udp.counters["outDiscards"] += 1
            return
        payload = bytes(packet)
        header = wire.packHeader(route.source, route.dest, localPort, port, payload)
        ip.output(route, wire.PROTOCOL, [header, payload])

    def writeSequence(self, seq: Iterable[bytes], addr: tuple[str, int] | None = None) -> None:
        """
        L{write} one datagram made of several pieces.
        """
        self.write(b"".join(seq), addr)

    def connect(self, host: str, port: int) -> None:
        """
        From now on write to this address only, and take datagrams from nobody else.

        @raise RuntimeError: the transport is connected already.
        @raise InvalidAddressError: C{host} is no IP address.
        @raise ValueError: C{port} is no port.
        """
        if self._connected is not None:
            raise RuntimeError("already connected, reconnecting is not currently supported")
        dest, port = self._parse(host, port)
        self._connected = (addressText(dest), port)
        self.latest = None

    def getHost(self) -> IPv4Address | IPv6Address:
        """
        The address listened on: the unspecified one, and the port.
        """
        ip = self._udp.ip
        addresses = getattr(ip, "addresses", ())
        if addresses and all(address.version == 6 for address in addresses):
            return IPv6Address("UDP", "::", self.port)
        return IPv4Address("UDP", "0.0.0.0", self.port)

    def stopListening(self) -> Deferred[None]:
        """
        Take the protocol off its port. It is stopped if it is under no other.

        @return: a Deferred that has fired.
        """
        if self in self._udp._transports.get(self.port, ()):
            self._udp.removeProto(self.port, self.protocol)
            self.forget()
        return succeed(None)

    def setBroadcastAllowed(self, enabled: bool) -> None:
        """
        Set whether this transport may write to a broadcast address. At first it may not.
        """
        self._broadcastAllowed = bool(enabled)

    def getBroadcastAllowed(self) -> bool:
        """
        Whether this transport may write to a broadcast address.
        """
        return self._broadcastAllowed

    def forget(self) -> None:
        """
        Forget everybody who wrote.
        """
        self._flows.clear()
        self.latest = None

    def _remember(self, flow: Flow) -> None:
        self.latest = flow
        if self._flows.pop(flow.peer, None) is None and len(self._flows) >= MAX_PEERS:
            self._flows.popitem(last=False)
        self._flows[flow.peer] = flow

    def _parse(self, host: str, port: int) -> tuple[bytes, int]:
        """
        Check an address the application gives.
        """
        if host == "<broadcast>":
            dest = LIMITED_BROADCAST
        else:
            try:
                dest = packAddress(host)
            except ValueError:
                raise InvalidAddressError(host, "only IP addresses are accepted, not host names") from None
        if not isinstance(port, int) or not 0 < port <= 0xFFFF:
            raise ValueError(f"a UDP port to write to is a number from 1 to 65535, not {port!r}")
        if not self._broadcastAllowed and self._isBroadcast(dest):
            raise OSError(errno.EACCES, f"{host} is a broadcast address: call setBroadcastAllowed(True) first")
        return dest, port

    def _isBroadcast(self, dest: bytes) -> bool:
        ip = self._udp.ip
        return dest == LIMITED_BROADCAST or dest in getattr(ip, "broadcasts", ())
