"""
The transport of a C{DatagramProtocol}: it remembers the route back to each peer, and sends what the protocol writes.

Read RFC 1122 sections 4.1.3 and 4.1.4 first, and C{IUDPTransport} of C{twisted.internet.interfaces}.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import InvalidAddressError, MessageLengthError
from twisted.internet.interfaces import IListeningPort, IMulticastTransport, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer

from txtuntap.interfaces import IIPTransport, Route, RouteLost
from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.mistakes import checkOctets, checkRange
from txtuntap.udp.delivery import UDPDelivery
from txtuntap.udp.flow import Flow, IFlowTransport, Peer
from txtuntap.udp.headers import openBehind
from txtuntap.udp.interfaces import IUDPLayer
from txtuntap.udp.writer import UDPWriter
from txtuntap.wire import udp as wire
from txtuntap.wire.address import LIMITED_BROADCAST, addressText, isHost, isMulticast, packAddress

#: The most peers that one transport remembers for answers. Beyond that, the peer that has not written for longest is
#: evicted.
MAX_PEERS = 256


_ports = struct.Struct("!HH").pack


# Before Twisted 24.10, IMulticastTransport does not extend IUDPTransport.
@implementer(IMulticastTransport, IUDPTransport, IListeningPort, IFlowTransport)
class UDPTransport(UDPDelivery):
    """
    The transport of a C{DatagramProtocol} on a L{RawUDPProtocol<txtuntap.rawudp.RawUDPProtocol>}.

    @ivar port: the UDP port.
    @ivar boundAddress: the packed address that the transport listens on: all zeros for every address of that version,
        empty for every address of both versions.
    @ivar shared: whether other transports may be on the same port, too.
    @ivar verifies: whether the UDP layer verifies checksums.
    """

    def __init__(self, udp: IUDPLayer, port: int, protocol: DatagramProtocol, interface: bytes = b"") -> None:
        super().__init__(udp, protocol)
        self.port = port
        self.boundAddress = interface
        self._writer = UDPWriter()
        self.shared = False
        self.verifies = udp.verifies
        self._connected: tuple[str, int] | None = None
        self._broadcastAllowed = False
        # The last flow of each peer. A peer has several flows if it writes to several of our addresses.
        self._flows: Table[tuple[str, int], Flow] = Table("peers", MAX_PEERS, Policy.LEAST_RECENT)

    def __repr__(self) -> str:
        return f"<UDPTransport of {self.protocol!r} on {self.port}>"

    @property
    def addressEpoch(self) -> int:
        """
        A number that changes with each change of our addresses, because the next answer may then need another route.
        """
        return self._udp.addressEpoch

    def hears(self, dest: bytes) -> bool:
        """
        Whether datagrams to a packed address are for this transport. Datagrams to a group or to a broadcast address are
        for every transport of their IP version.
        """
        interface = self.boundAddress
        if not interface or dest == interface:
            return True
        return len(interface) == len(dest) and (not any(interface) or not isHost(dest) or self._isBroadcast(dest))

    def refused(self, peer: tuple[str, int]) -> None:
        """
        Call C{connectionRefused} of the protocol if it is connected to C{peer}, because an ICMP error says that nothing
        listens on the port of this peer.
        """
        if self.listening and self._connected == peer:
            try:
                self.protocol.connectionRefused()
            except Exception:
                self.failures.failed(self._udp.now(), "connectionRefused")

    def write(self, packet: bytes, addr: tuple[str, int] | None = None) -> None:
        """
        Send one datagram to an address and port. A datagram to a peer that has written is an answer. It leaves from the
        address and port that the peer last wrote to, and is sent to the station that the peer's datagram came from. An
        answer without a route is dropped and counted, and does not raise C{OSError}.

        The transport remembers the last C{MAX_PEERS} peers. To answer an older peer, pass the very object that
        C{datagramReceived} got as the address of this peer. The object still has the route back.

        @param packet: the payload, at most 65,507 octets over IPv4 and 65,527 octets over IPv6.
        @param addr: an IP address as text, or C{"<broadcast>"}, and a port; C{None} on a connected transport.

        @raise MessageLengthError: C{packet} is too long.
        @raise InvalidAddressError: the host in C{addr} is not an IP address, or not of the IP version of the address
            that the transport listens on.
        @raise ValueError: C{addr} is missing, is not the peer that the transport is connected to, or has no valid port.
        @raise OSError: there is no route to C{addr} (see L{IIPTransport.write}), or C{addr} is a broadcast address and
            L{setBroadcastAllowed} was not called (C{EACCES}). If other hosts have caused the lack of a route, the
            datagram is dropped and counted instead.
        """
        train = self._writer.train
        if train is not None:
            if addr is train.addr and len(packet) == train.size and type(packet) is bytes:
                # Train.add is inlined to save 165 ns of 430 a datagram.
                datagrams = train.datagrams
                datagrams.append(packet)
                if len(datagrams) == train.most:
                    train.end()
                return
            # Equal addresses may have different routes, because a Peer has a route back and a plain tuple has none.
            if addr is train.addr or (addr == train.addr and type(addr) is tuple is type(train.addr)):
                if train.add(packet):
                    return
                if type(addr) is Peer and self.current is not None and train.resume(bytes(packet)):
                    self._udp.answered.put(train.flow, self.seconds())
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
            and ((batches := headers.port.batches) is None or not batches.collects(writer.flow))
        ):
            self._udp.answered.put(writer.flow, self.seconds())
            headers.port.writePacket([headers.pack(len(packet)), packet], openBehind(headers.before))
        else:
            self._write(packet, addr)

    def _write(self, packet: bytes, addr: tuple[str, int] | None) -> None:
        if type(packet) is not bytes:
            checkOctets(packet, "a datagram")
        if addr is not None and not (isinstance(addr, tuple | list) and len(addr) == 2):
            raise ValueError(f"give an address and a port such as ('10.0.0.1', 7) to write to, not {addr!r}")
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
            # The peer may be remembered under another spelling of the same IPv6 address.
            flow = self._flows.get((addressText(dest), port))
        ip: IIPTransport | None = (flow and flow.ip) or self._udp.ip
        route: Route | None = None
        toGroup = routeLost = False
        if flow is not None:
            # The peer of an evicted flow is EVICTED, whose port is 0. The headers of the flow still have its port.
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
            # The IP layer has counted the datagram.
            return
        if ip is None or route is None:
            self._udp.counters["outDiscards"] += 1
            return
        key = route.dest + route.source + _ports(port, localPort)
        if flow is not None and flow.key == key:
            # The flow's own object, so that the tables of flows and answers share one object.
            key = flow.key
        (self._udp.written if flow is None else self._udp.answered).put(key, self._udp.now())
        if toGroup:
            header = wire.packHeader(route.source, route.dest, localPort, port, payload)
            self._outputToGroup(ip, route, [header, payload], self._writer.trafficClass)
        else:
            answeredFlow = None if self.current is None else flow
            self._writer.send(ip, route, localPort, port, key, payload, written, answeredFlow)

    @property
    def trafficClass(self) -> int:
        """
        The Traffic Class octet of the datagrams that are written from now on; over IPv4, the Type of Service octet. The
        default is 0. The two low bits are the ECN field (RFC 3168), the others the DSCP (RFC 2474).
        """
        return self._writer.trafficClass

    @trafficClass.setter
    def trafficClass(self, octet: int) -> None:
        checkRange(octet, "a traffic class", 0, 255)
        if octet != self._writer.trafficClass:
            self._writer.trafficClass = octet
            self._writer.forget()

    def batch(self) -> AbstractContextManager[None]:
        """
        Return a context manager for writing many datagrams. If the device supports superpackets, datagrams to one
        destination that are written one after another within the context are sent in one system call. One call sends
        up to 128 datagrams of one size, of which the last may be shorter, with at most 64 KiB in all. The last call
        happens at the end of the context, or at the end of this turn of the reactor if that is earlier. For example::

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
        Send one datagram made of several pieces: see L{write}.
        """
        self.write(b"".join(seq), addr)

    def connect(self, host: str, port: int) -> None:
        """
        Connect the transport to a peer. From then on, it writes to this peer only, and drops the datagrams of others.

        @raise RuntimeError: the transport is connected already.
        @raise InvalidAddressError: C{host} is not an IP address.
        @raise ValueError: C{port} is not a port.
        @raise OSError: C{host} is a broadcast address and L{setBroadcastAllowed} was not called (C{EACCES}).
        """
        if self._connected is not None:
            raise RuntimeError("already connected, reconnecting is not currently supported")
        dest, port = self._parse(host, port)
        self.routeChanged()
        self._connected = (addressText(dest), port)
        self.forgetLatest()

    def getHost(self) -> IPv4Address | IPv6Address:
        """
        Return the address and port that the transport listens on. The address is C{"0.0.0.0"} or C{"::"} if the
        transport listens on all addresses.
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
        Put the protocol back on its port, after L{stopListening}.
        """
        if not self.listening:
            self.listening = True
            self._udp.listen(self)

    def stopListening(self) -> Deferred[None]:
        """
        Remove the protocol from its port. The protocol is stopped if it is on no other port.

        @return: a Deferred that has fired already.
        """
        if self in self._udp.bound(self.port):
            self._udp.removeProto(self.port, self.protocol)
            self.forget()
        return succeed(None)

    def setBroadcastAllowed(self, enabled: bool) -> None:
        """
        Set whether this transport may write to a broadcast address. The default is false.
        """
        self._broadcastAllowed = bool(enabled)

    def getBroadcastAllowed(self) -> bool:
        """
        Return whether this transport may write to a broadcast address.
        """
        return self._broadcastAllowed

    def tables(self) -> list[TableState]:
        """
        Return the state of the table of peers.
        """
        return [self._flows.state]

    def forget(self) -> None:
        """
        Forget all peers, and so the routes of answers to them.
        """
        self._flows.clear()
        self.forgetLatest()
        self.routeChanged()

    def routeChanged(self) -> None:
        """
        Discard the train and the prepared headers, because the next datagram may have another route.
        """
        self._writer.forget()

    def _parse(self, host: str, port: int) -> tuple[bytes, int]:
        """
        Check and parse the address and port that an application gives.

        @return: the packed address, and the port.
        """
        if not isinstance(host, str):
            said = "an address is text, not bytes" if isinstance(host, bytes) else "an address is text"
            raise InvalidAddressError(host, said)
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
