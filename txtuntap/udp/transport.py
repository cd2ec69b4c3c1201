"""
The transport of a C{DatagramProtocol}: what it writes by, and who has written to it.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from operator import length_hint

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import InvalidAddressError, MessageLengthError
from twisted.internet.interfaces import IListeningPort, IMulticastTransport
from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer

from txtuntap.interfaces import IIPTransport, Route, RouteLost
from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.layer.drops import Drop
from txtuntap.mistakes import checkOctets
from txtuntap.packet import Packet
from txtuntap.udp.flow import EVICTED, Flow, IFlowTransport, Peer
from txtuntap.udp.groups import MulticastTransport
from txtuntap.udp.headers import openBehind
from txtuntap.udp.interfaces import IUDPLayer
from txtuntap.udp.writer import UDPWriter
from txtuntap.wire import udp as wire
from txtuntap.wire.address import LIMITED_BROADCAST, addressText, isHost, isMulticast, packAddress

#: Peers whose flows a transport remembers for answers; the one that has not written for longest is evicted.
MAX_PEERS = 256


_ports = struct.Struct("!HH").pack


@lru_cache(256)
def _pieces(size: int, length: int) -> struct.Struct:
    """
    C{length} octets in pieces of C{size}, but for the last.
    """
    whole, rest = divmod(length, size)
    return struct.Struct(f"{size}s" * whole + (f"{rest}s" if rest else ""))


@implementer(IMulticastTransport, IListeningPort, IFlowTransport)
class UDPTransport(MulticastTransport):
    """
    The transport of a C{DatagramProtocol} on a L{RawUDPProtocol<txtuntap.rawudp.RawUDPProtocol>}.

    @ivar port: the UDP port.
    @ivar boundAddress: the packed address it is for; of zeros for all of its version, empty for all.
    @ivar protocol: the application's.
    @ivar listening: whether it is on its port, and has not been taken off.
    @ivar shared: whether others may be on the port too.
    @ivar latest: the flow of the latest datagram.
    @ivar current: the packet with the datagram just being delivered, perhaps among others.
    """

    def __init__(self, udp: IUDPLayer, port: int, protocol: DatagramProtocol, interface: bytes = b"") -> None:
        super().__init__(udp)
        self.port = port
        self.boundAddress = interface
        self.protocol = protocol
        self.current: Packet | None = None
        # If it is one of many: those that are still to come, and all of them as packets once somebody has asked.
        self._rest: Iterator[bytes] = iter(())
        self._pieces: list[Packet] = []
        self._writer = UDPWriter()
        self.listening = True
        self.shared = False
        self.failures = udp.failuresOf(protocol)
        self._connected: tuple[str, int] | None = None
        self._broadcastAllowed = False
        # The latest flow of each peer: it may know more than one of our addresses.
        self._flows: Table[tuple[str, int], Flow] = Table("peers", MAX_PEERS, Policy.LEAST_RECENT)
        self.latest: Flow | None = None

    def __repr__(self) -> str:
        return f"<UDPTransport of {self.protocol!r} on {self.port}>"

    @property
    def addressEpoch(self) -> int:
        """
        Another number after each change of our addresses: an answer may not leave as the one before.
        """
        return self._udp.addressEpoch

    def hears(self, dest: bytes) -> bool:
        """
        Whether datagrams to an address are for this transport. Those to a group, or to all, are for every one of their
        version.
        """
        interface = self.boundAddress
        if not interface or dest == interface:
            return True
        return len(interface) == len(dest) and (not any(interface) or not isHost(dest) or self._isBroadcast(dest))

    @property
    def packet(self) -> Packet | None:
        """
        The packet with the datagram just being delivered, as on the wire, or L{None}: its C{dest}, C{hopLimit},
        C{linkSource} and C{time} tell what C{datagramReceived} does not.
        """
        current = self.current
        if current is None or current.offload is None:
            return current
        if not current.offload.isSuperpacket:
            self.current = current.finished()[0]
            return self.current
        if not self._pieces:
            self._pieces = current.finished()
        return self._pieces[-1 - length_hint(self._rest)]

    def seconds(self) -> float:
        """
        The time of the datagram just being delivered, or else the time now, in steady seconds of the clock below.
        """
        return self._udp.now() if self.current is None else self.current.time

    def takes(self, flow: Flow) -> bool:
        """
        Whether the datagrams of a flow are for the application: one that is connected gets those of its peer alone.
        """
        if flow is not self.latest:
            peer = flow.peer
            if peer is EVICTED or (self._connected is not None and peer != self._connected):
                return False
            self.latest = flow
            self._writer.train = None
            flows = self._flows
            known = flows.get(peer)
            if known is flow:
                flows.move_to_end(peer)
                return True
            if known is not None:
                # The key has to be the address that knows this flow.
                del flows[peer]
            flows.put(peer, flow)
        return True

    def deliver(self, packet: Packet, flow: Flow) -> None:
        """
        Hand the application a datagram: C{packet}, from C{start} to C{end}.
        """
        if not self.takes(flow):
            return self._udp.dropped(packet, Drop.NO_PORT)
        before = self.current
        self.current = packet
        try:
            self.protocol.datagramReceived(packet.data[packet.start : packet.end], flow.peer)
        except Exception:
            self.failures.failed(packet.time, "datagramReceived")
        finally:
            self.current = before

    def deliverMany(self, packet: Packet, flow: Flow, size: int) -> None:
        """
        Hand the application the datagrams of a superpacket, for as long as it L{takes} them.

        @param size: octets in each of them but the last.
        """
        protocol = self.protocol
        peer = flow.peer
        before = self.current, self._rest, self._pieces
        self.current = packet
        # All at once: a slice for each takes twice as long.
        self._rest = iter(_pieces(size, packet.end - packet.start).unpack_from(packet.data, packet.start))
        self._pieces = []
        try:
            for datagram in self._rest:
                try:
                    protocol.datagramReceived(datagram, peer)
                except Exception:
                    self.failures.failed(packet.time, "datagramReceived")
                if self.latest is not flow and not (self.listening and self.takes(flow)):
                    # It has stopped, or has connected to somebody else: the rest may be another's.
                    rest = packet.finished()[-1 - length_hint(self._rest) :][1:]
                    break
            else:
                rest = []
        finally:
            self.current, self._rest, self._pieces = before
        for each in rest:
            each.start = each.transport
            self._udp.packetReceived(each)

    def refused(self, peer: tuple[str, int]) -> None:
        """
        A datagram went to a port where nobody listens. The protocol is called, if it is connected there.
        """
        if self.listening and self._connected == peer:
            try:
                self.protocol.connectionRefused()
            except Exception:
                self.failures.failed(self._udp.now(), "connectionRefused")

    def write(self, packet: bytes, addr: tuple[str, int] | None = None) -> None:
        """
        Send one datagram. To a peer that has written, it leaves from the address (and port) which that peer last wrote
        to, to the station it came from; and whatever has become of that route, it does not raise. (Long after, when the
        peer is no longer remembered, that takes the very object that C{datagramReceived} got for C{addr}.)

        @param packet: the payload, up to 65,507 octets over IPv4, 65,527 over IPv6.
        @param addr: an IP address as text, C{"<broadcast>"}, and a port; L{None} on a connected transport.

        @raise MessageLengthError: C{packet} is too long.
        @raise InvalidAddressError: C{addr} has no IP address.
        @raise ValueError: C{addr} is missing, is not the one connected to, or has no port.
        @raise OSError: there is no route to C{addr}, as L{IIPTransport.write}, where nobody else has caused that; or it
            is a broadcast, and those have not been allowed (C{EACCES}).
        """
        train = self._writer.train
        if train is not None:
            if addr is train.addr and len(packet) == train.size and type(packet) is bytes:
                # Train.add, inlined: 165 ns of 430 a datagram.
                datagrams = train.datagrams
                datagrams.append(packet)
                if len(datagrams) == train.most:
                    train.end()
                return
            # A peer's address is more than what it is equal to: it knows the route back.
            if addr is train.addr or (addr == train.addr and type(addr) is tuple is type(train.addr)):
                if train.add(packet):
                    return
                if type(addr) is Peer and self.current is not None and train.resume(bytes(packet)):
                    self._udp.answered.put(train.flow, self.current.time)
                    return
        writer = self._writer
        headers = writer.headers
        if (
            headers is not None
            and type(addr) is Peer
            and self._flows.get(addr) is writer.answered
            and self.current is not None
            and type(packet) is bytes
            and headers.fit(len(packet))
            and ((batches := headers.port.batches) is None or not batches.collects(headers.flow))
        ):
            self._udp.answered.put(headers.flow, self.current.time)
            headers.port.writePacket([headers.pack(len(packet)), packet], openBehind(headers.before))
        else:
            self._write(packet, addr)

    def _write(self, packet: bytes, addr: tuple[str, int] | None) -> None:
        if type(packet) is not bytes:
            checkOctets(packet, "a datagram")
        if addr is not None and not (isinstance(addr, tuple | list) and len(addr) == 2):
            raise ValueError(f"a datagram is written to an address and a port such as ('10.0.0.1', 7), not to {addr!r}")
        if self._connected is not None:
            if addr is not None and tuple(addr) != self._connected:
                raise ValueError(f"this transport is connected to {self._connected}, it cannot write to {addr!r}")
            written, addr = addr, self._connected
        elif addr is None:
            raise ValueError("this transport is not connected: give write() an address")
        else:
            written = addr
        flow = self._flows.get((addr[0], addr[1]))
        if flow is None and isinstance(addr, Peer) and addr.flow.isFor(self.protocol):
            flow = addr.flow
        if flow is None:
            dest, port = self._parse(addr[0], addr[1])
            # It may be known by another spelling.
            flow = self._flows.get((addressText(dest), port))
        ip: IIPTransport | None = (flow and flow.ip) or self._udp.ip
        route: Route | None = None
        toGroup = routeLost = False
        if flow is not None:
            # The peer of an evicted flow has port 0, and the flow's packet still has the peer's own.
            port = flow.peer[1] or flow.remotePort
            localPort = flow.localPort
            if ip is not None and port:
                route = flow.routeBack(ip)
                if route is not None and self.current is None:
                    route = ip.knownStation(route)
            limit = wire.MAX_PAYLOAD[6 if ":" in addr[0] else 4]
        else:
            localPort = self.port
            if self.boundAddress and len(self.boundAddress) != len(dest):
                raise InvalidAddressError(addr[0], f"this transport is on {addressText(self.boundAddress)}")
            source = self.boundAddress
            toGroup = isMulticast(dest)
            if toGroup and len(self._outgoing) == len(dest):
                source = self._outgoing
            if ip is not None:
                try:
                    route = ip.route(dest, source if any(source) else None)
                except RouteLost:
                    routeLost = True
            limit = wire.MAX_PAYLOAD[6 if len(dest) == 16 else 4]
        payload = bytes(packet)
        if len(payload) > limit:
            raise MessageLengthError(f"{len(payload)} octets are more than the {limit} of a UDP datagram")
        if routeLost:
            # Its layer has counted it.
            return
        if ip is None or route is None:
            self._udp.counters["outDiscards"] += 1
            return
        key = route.source + route.dest + _ports(localPort, port)
        (self._udp.written if flow is None else self._udp.answered).put(key, self._udp.now())
        if toGroup:
            header = wire.packHeader(route.source, route.dest, localPort, port, payload)
            self._outputToGroup(ip, route, [header, payload])
        else:
            answeredFlow = None if self.current is None else flow
            self._writer.send(ip, route, localPort, port, key, payload, written, answeredFlow)

    def batch(self) -> AbstractContextManager[None]:
        """
        Within it, datagrams that are written to one destination one after another leave together, as far as the device
        can do that: up to 128 of one size (the last may be shorter), in one system call. What waits is never more than
        what one datagram of IP can carry, 64 KiB; it leaves at the end, and no later than at that of this turn of the
        reactor.

            with self.transport.batch():
                for datagram in datagrams:
                    self.transport.write(datagram, address)
        """
        ip = self._udp.ip
        bottom = None if ip is None else ip.bottom
        batches = None if bottom is None else bottom.batches
        return nullcontext() if batches is None else batches.batch()

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
        self.routeChanged()
        self._connected = (addressText(dest), port)
        self.latest = None

    def getHost(self) -> IPv4Address | IPv6Address:
        """
        The address listened on: the unspecified one, and the port.
        """
        if self.boundAddress:
            kind = IPv4Address if len(self.boundAddress) == 4 else IPv6Address
            return kind("UDP", addressText(self.boundAddress), self.port)
        ip = self._udp.ip
        addresses = getattr(ip, "addresses", ())
        if addresses and all(address.version == 6 for address in addresses):
            return IPv6Address("UDP", "::", self.port)
        return IPv4Address("UDP", "0.0.0.0", self.port)

    def startListening(self) -> None:
        """
        Put the protocol on its port again, after L{stopListening}.
        """
        if not self.listening:
            self.listening = True
            self._udp.listen(self)

    def stopListening(self) -> Deferred[None]:
        """
        Take the protocol off its port. It is stopped if it is under no other.

        @return: a Deferred that has fired.
        """
        if self in self._udp.bound(self.port):
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

    def tables(self) -> list[TableState]:
        """
        How full the tables of this transport are.
        """
        return [self._flows.state]

    def forget(self) -> None:
        """
        Forget everybody who wrote.
        """
        self._flows.clear()
        self.latest = None
        self.routeChanged()

    def routeChanged(self) -> None:
        """
        The next datagram may leave by another route than the one before.
        """
        self._writer.forget()

    def _parse(self, host: str, port: int) -> tuple[bytes, int]:
        """
        Check an address the application gives.
        """
        if not isinstance(host, str):
            raise InvalidAddressError(host, "an address is text, not bytes" if isinstance(host, bytes) else "no text")
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
