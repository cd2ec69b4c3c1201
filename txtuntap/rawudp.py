"""
UDP: datagrams by port, and the transports of the protocols behind the ports.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import InvalidAddressError, MessageLengthError
from twisted.internet.interfaces import IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer

from txtuntap.interfaces import IIPTransport, IPacketReceiver, IRawDatagramProtocol
from txtuntap.ip import Route
from txtuntap.layer import FailureLog, Layer, ProtocolTable
from txtuntap.packet import Packet
from txtuntap.wire import udp as wire
from txtuntap.wire.address import LIMITED_BROADCAST, addressText, packAddress
from txtuntap.wire.udp import UDPHeader

__all__ = ["Peer", "RawUDPProtocol", "UDPHeader", "UDPTransport"]

#: Flows (source, destination and both ports) remembered by a RawUDPProtocol; the oldest goes.
MAX_FLOWS = 4096

#: Peers whose way back is remembered by a transport; the oldest goes.
MAX_PEERS = 256

_lengthAndSum = struct.Struct("!4xHH").unpack_from
_number = int.from_bytes


class Peer(tuple[str, int]):
    """
    The address C{(host, port)} of whoever sent a datagram, as the application gets it: an ordinary tuple that also
    knows the way back, for as long as somebody holds it.

    @ivar headers: a packet with no more than the headers of the latest datagram on this flow.
    @ivar transports: who gets the datagrams of this flow.
    @ivar only: the one of C{transports}, if it is one.
    """

    headers: Packet
    port: object
    ethernet: object
    station: bytes | None
    transports: tuple[UDPTransport, ...]
    only: UDPTransport | None
    _route: Route | None

    def cameFrom(self, packet: Packet) -> None:
        """
        Take note of the way that C{packet} came: answers go back that way from now on.
        """
        self.headers = packet.copy()
        self.headers.data = packet.data[: packet.transport + wire.HEADER_LENGTH]
        self.headers.end = len(self.headers.data)
        self.port = packet.port
        self.ethernet = packet.ethernet
        self.station = packet.linkSource
        self._route = None

    @property
    def localPort(self) -> int:
        """
        The port of ours that it wrote to.
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
        self._flows: dict[bytes, Peer] = {}
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
        self._table.remove(num, proto)
        self._flows.clear()
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
        length, check = _lengthAndSum(data, start)
        if length != available:
            if length < 8 or length > available:
                return self.dropped(packet, "inErrors")
            packet.end = start + length
        # Source and destination address stand right before this header if no options do: then those, the ports and the
        # payload are one slice, which holds most of what the checksum covers, and begins with what tells flows apart.
        network = packet.network
        span = start - network
        if span == 20:
            first = start - 8
        elif span == 40 and data[network] > 0x5F:
            first = start - 32
        else:
            return self._unusual(packet, length, check)
        if check:
            if self._verify:
                total = _number(data[first : packet.end], "big")
                if length & 1:
                    total <<= 8
                if (total + 17 + length) % 0xFFFF:
                    return self.dropped(packet, "inCsumErrors")
        elif span == 40 and self._verify:
            return self.dropped(packet, "inErrors")
        key = data[first : start + 4]
        peer = self._flows.get(key)
        if peer is None:
            peer = self._newFlow(packet, key)
            if peer is None:
                return self.dropped(packet, "noPorts")
        elif (
            packet.port is not peer.port
            or packet.ethernet is not peer.ethernet
            or (peer.station is not None and data[packet.link + 6 : packet.link + 12] != peer.station)
        ):
            peer.cameFrom(packet)
        packet.start = start + 8
        if peer.only is not None:
            peer.only.deliver(packet, peer)
        else:
            for transport in peer.transports:
                transport.deliver(packet.copy(), peer)

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
        packet = Packet(header + data, start=len(header), partial=bool(partial))
        packet.transport = len(header)
        if addresses:
            return self.packetReceived(packet)
        # The words of somebody's own tests, say. There is no checksum to verify, and no way back.
        if len(data) < wire.HEADER_LENGTH or not wire.HEADER_LENGTH <= UDPHeader(data).len <= len(data):
            return self.dropped(packet, "inErrors")
        packet.end = packet.start + UDPHeader(data).len
        packet.start += wire.HEADER_LENGTH
        for transport in self._transports.get(UDPHeader(data).dest, ()):
            peer = Peer((source, UDPHeader(data).source))
            peer.cameFrom(packet)
            transport.deliver(packet.copy(), peer)

    def _unusual(self, packet: Packet, length: int, check: int) -> None:
        """
        A datagram with IP options or extension headers: as L{packetReceived}, but its addresses stand elsewhere.
        """
        plain = Packet(packet.sourceAddress + packet.destAddress + packet.data[packet.start : packet.end])
        addresses = len(plain.data) - length
        if check:
            total = _number(plain.data, "big") << (8 if length & 1 else 0)
            if self._verify and (total + wire.PROTOCOL + length) % 0xFFFF:
                return self.dropped(packet, "inCsumErrors")
        elif addresses == 32 and self._verify:
            return self.dropped(packet, "inErrors")
        key = plain.data[: addresses + 4]
        peer = self._flows.get(key) or self._newFlow(packet, key)
        if peer is None:
            return self.dropped(packet, "noPorts")
        peer.cameFrom(packet)
        packet.start += wire.HEADER_LENGTH
        for transport in peer.transports:
            transport.deliver(packet.copy(), peer)

    def _newFlow(self, packet: Packet, key: bytes) -> Peer | None:
        """
        The peer of a flow that is not in the table, or L{None} if nobody has its port.

        @param key: source and destination address, source and destination port.
        """
        transports = self._transports.get(_number(key[-2:], "big"))
        if transports is None:
            return None
        size = (len(key) - 4) // 2
        peer = Peer((addressText(key[:size]), _number(key[-4:-2], "big")))
        peer.cameFrom(packet)
        # A protocol under several ports has the transport of the first, and looks there for the packet.
        peer.transports = tuple(
            transport.protocol.transport if isinstance(transport.protocol.transport, UDPTransport) else transport
            for transport in transports
        )
        peer.only = peer.transports[0] if len(peer.transports) == 1 else None
        if len(self._flows) >= MAX_FLOWS:
            del self._flows[next(iter(self._flows))]
        self._flows[key] = peer
        return peer


@implementer(IUDPTransport)
class UDPTransport:
    """
    The transport of a C{DatagramProtocol} on a L{RawUDPProtocol}.

    @ivar port: the UDP port.
    @ivar protocol: the application's.
    @ivar packet: the packet just being delivered (L{Packet<txtuntap.packet.Packet>}), or L{None}: its C{dest},
        C{hopLimit}, C{linkSource} and C{time} tell what C{datagramReceived} does not.
    """

    def __init__(self, udp: RawUDPProtocol, port: int, protocol: DatagramProtocol) -> None:
        self.port = port
        self.protocol = protocol
        self.packet: Packet | None = None
        self._udp = udp
        self._failures = FailureLog(protocol, udp.counters)
        self._connected: tuple[str, int] | None = None
        self._broadcastAllowed = False
        # Who wrote, and by which flow last: more than one of our addresses may be known to a peer.
        self._peers: dict[tuple[str, int], Peer] = {}
        self._latest: Peer | None = None

    def __repr__(self) -> str:
        return f"<UDPTransport of {self.protocol!r} on {self.port}>"

    def deliver(self, packet: Packet, peer: Peer) -> None:
        """
        Hand the application a datagram: C{packet}, from C{start} to C{end}.
        """
        if peer is not self._latest:
            if self._connected is not None and peer != self._connected:
                return self._udp.dropped(packet, "noPorts")
            self._remember(peer)
        self.packet = packet
        try:
            self.protocol.datagramReceived(packet.data[packet.start : packet.end], peer)
        except Exception:
            self._failures.failed(packet.time, "datagramReceived")
        finally:
            self.packet = None

    def write(self, packet: bytes, addr: tuple[str, int] | None = None) -> None:
        """
        Send one datagram. To a peer that has written, it leaves from the address (and port) which that peer last wrote
        to, to the station it came from; and whatever has become of that way, it does not raise.

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
        peer = self._peers.get((addr[0], addr[1]))
        if peer is None and isinstance(addr, Peer):
            peer = addr
        ip = (peer and peer.headers.ip) or self._udp.ip
        route: Route | None = None
        if peer is not None:
            port = peer[1]
            localPort = peer.localPort
            if ip is not None and port:
                route = peer.routeBack(ip)
            limit = wire.MAX_PAYLOAD[16 if ":" in peer[0] else 4]
        else:
            dest, port = self._parse(*addr)
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
        self._latest = None

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
        self._peers.clear()
        self._latest = None

    def _remember(self, peer: Peer) -> None:
        self._latest = peer
        known = self._peers.get(peer)
        if known is not peer:
            # A dict keeps the key it has: out with the old one, so that the new one is the youngest.
            if known is not None:
                del self._peers[peer]
            elif len(self._peers) >= MAX_PEERS:
                del self._peers[next(iter(self._peers))]
            self._peers[peer] = peer

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
