"""
The output of the IP layer: it writes headers, makes fragments, and sends datagrams to the link or to ourselves. The
choice of the route is in L{txtuntap.ip.routing}.

Read RFC 791 section 3.2, RFC 8200 section 4.5 and RFC 6864 section 4 first.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, cast

import attrs
from twisted.internet.error import MessageLengthError
from zope.interface import implementer

from txtuntap.interfaces import DEFAULT_HOP_LIMIT, IErrorReceiver, IIPTransport, IPacketTransport, Route, RouteLost
from txtuntap.ip.fragments import split
from txtuntap.ip.loopback import Loopback
from txtuntap.ip.pathmtu import FLOOR
from txtuntap.ip.routing import IPRouting
from txtuntap.layer.chance import SYSTEM_RANDOM
from txtuntap.layer.lazy import Lazy
from txtuntap.mistakes import checkOctets
from txtuntap.packet import Packet
from txtuntap.wire import icmp, ipv4, ipv6
from txtuntap.wire.address import isGroup, packAddress
from txtuntap.wire.ethernet import IPV4, IPV6
from txtuntap.wire.icmp import Quote
from txtuntap.wire.offload import Offload, complete, shifted

#: The number of identifications that are drawn at once.
_IDENTIFICATIONS = 64


@implementer(IIPTransport)
class IPOutput(IPRouting):
    """
    The output half of an L{IPProtocol<txtuntap.ip.IPProtocol>}: the transport of the protocols above it.

    Counters: C{outDiscards}, C{outFragReqds} (datagrams to be fragmented), C{outFragCreates} (fragments made).

    @ivar random: the source of the identifications of fragments. By default it is the system's secure source, because
        an attacker who guesses an identification can forge a fragment of the datagram.
    """

    _loopback: Lazy[Loopback]
    ipProtos: dict[int | None, list[Any]]
    random: Random = SYSTEM_RANDOM
    # An array takes a tenth of the memory of a list of numbers, and each host of a simulation has one.
    _identifications: array[int] | None = None

    def write(
        self,
        payload: bytes,
        dest: str | bytes,
        protocol: int,
        source: str | bytes | None = None,
        hopLimit: int | None = None,
    ) -> None:
        """
        Send one datagram: see L{IIPTransport.write}. The layer remembers the last C{MAX_ASKERS} hosts that have sent a
        packet to a raw protocol. A datagram to one of them takes the route back of that packet, even after the packet
        was delivered.
        """
        if type(payload) is not bytes:
            checkOctets(payload, "the payload")
        to = packAddress(dest)
        leaving = None if source is None else packAddress(source)
        if leaving is not None and len(leaving) != len(to):
            raise ValueError(f"the source {source!r} is of another IP version than {dest!r}")
        if leaving is not None and (isGroup(leaving) or leaving in self.broadcasts):
            raise ValueError(f"{source!r} is the address of a group or a broadcast address: it cannot be a source")
        if not isinstance(protocol, int) or not 0 <= protocol <= 255:
            raise ValueError(f"an IP protocol has a number from 0 to 255, not {protocol!r}")
        if hopLimit is None:
            hopLimit = DEFAULT_HOP_LIMIT
        elif not isinstance(hopLimit, int) or not 0 <= hopLimit <= 255:
            raise ValueError(f"a hop limit is from 0 to 255, not {hopLimit!r}")
        if len(payload) > (ipv4.MAX_LENGTH - ipv4.HEADER_LENGTH if len(to) == 4 else ipv6.MAX_PAYLOAD):
            raise MessageLengthError(f"{len(payload)} octets are more than one datagram can carry")
        asked = self.packet
        if asked is not None and asked.sourceAddress == to:
            route = self.routeBack(asked)
        elif to in self._askers:
            route = self.routeBack(self._askers[to])
            if route is not None:
                route = self.knownStation(route)
        else:
            try:
                route = self.route(to, leaving)
            except RouteLost:
                return
        if route is None:
            self.counters["outDiscards"] += 1
        else:
            self.output(
                route if leaving is None else attrs.evolve(route, source=leaving), protocol, [payload], hopLimit
            )

    def _mayNeedFragmentation(self, mtu: int) -> bool:
        """
        Whether routers may have to fragment IPv4 datagrams on a path with this MTU. If the path MTU is L{FLOOR}, a
        router may have reported a smaller one, which was raised to L{FLOOR}.

        @param mtu: the MTU of the path in octets.
        """
        return mtu == FLOOR[4] and mtu < self.mtu

    def identification(self) -> int:
        """
        Choose the identification of an IPv4 datagram that may be fragmented.
        """
        if not self._identifications:
            # One call of the system's source gives many numbers, because it takes longer than the rest of the datagram.
            self._identifications = array("H", self.random.randbytes(2 * _IDENTIFICATIONS))
        return self._identifications.pop()

    def output(
        self,
        route: Route,
        protocol: int,
        buffers: Sequence[bytes],
        hopLimit: int = DEFAULT_HOP_LIMIT,
        offload: Offload | None = None,
        trafficClass: int = 0,
        fragmentable: bool = False,
    ) -> None:
        """
        Put a header before C{buffers} and send them: see L{IIPTransport.output}.
        """
        own = self.ownAddresses is not None and self.ownAddresses.isSelf(route.dest)
        mtu = self._mtuTo(route.dest)
        isVersion4 = len(route.dest) == 4
        header = ipv4.HEADER_LENGTH if isVersion4 else ipv6.HEADER_LENGTH
        length = sum(map(len, buffers))
        # Each datagram of a superpacket fits, because the protocol that made the superpacket has checked that.
        fits = header + length <= mtu or (offload is not None and offload.isSuperpacket)
        if offload is not None and not offload.isSuperpacket and (route.hop or not fits) and not own:
            buffers = [complete(b"".join(buffers), offload)]
            offload = None
        if own:
            return self.loop(route, protocol, buffers, hopLimit, trafficClass, offload)
        if route.hop:
            self._hold(route, protocol, b"".join(buffers), hopLimit, trafficClass, fragmentable)
        elif not fits:
            fragments = self._fragments4 if isVersion4 else self._fragments6
            for packet in fragments(route, protocol, b"".join(buffers), hopLimit, mtu, trafficClass):
                self.send(route, IPV4 if isVersion4 else IPV6, packet)
        elif not isVersion4:
            header6 = ipv6.packHeader(route.source, route.dest, protocol, length, hopLimit, trafficClass)
            self.send(route, IPV6, [header6, *buffers], offload)
        elif fragmentable or self._mayNeedFragmentation(mtu):
            # Without the DF flag, routers may fragment the datagram. Its fragments then need an identification.
            identification = self.identification()
            header4 = ipv4.packHeader(
                route.source, route.dest, protocol, length, hopLimit, identification, 0, trafficClass
            )
            self.send(route, IPV4, [header4, *buffers], offload)
        else:
            # A datagram that is never fragmented ("atomic") needs no identification (RFC 6864 section 4.1).
            header4 = ipv4.packHeader(route.source, route.dest, protocol, length, hopLimit, tos=trafficClass)
            self.send(route, IPV4, [header4, *buffers], offload)

    def _hold(
        self, route: Route, protocol: int, data: bytes, hopLimit: int, trafficClass: int, fragmentable: bool
    ) -> None:
        """
        Queue a datagram until the station of its next hop is known. The datagram is queued before it is fragmented, so
        that it is sent or dropped as a whole.

        This method is not a part of L{output}, because a nested function there would make every call of L{output}
        slower.
        """

        def send(station: bytes | None) -> None:
            if station is None:
                return self._neighbourUnreachable(route, protocol, data)
            known = attrs.evolve(route, station=station, hop=b"")
            self.output(known, protocol, [data], hopLimit, None, trafficClass, fragmentable)

        self.neighbours.hold(route.hop, send, len(data))

    def _neighbourUnreachable(self, route: Route, protocol: int, data: bytes) -> None:
        """
        Report to the protocol of a datagram that no station answers for the next hop. The report is the ICMP error that
        a router would send (host or address unreachable).

        @param data: the payload of the datagram.
        """
        if len(data) >= icmp.MIN_QUOTED:
            isVersion4 = len(route.dest) == 4
            length = len(data) + (ipv4.HEADER_LENGTH if isVersion4 else ipv6.HEADER_LENGTH)
            kind, code = icmp.NO_STATION[4 if isVersion4 else 6]
            self.reported(Quote(route.source, route.dest, protocol, data, length, False, kind, code), False)

    def reported(self, quote: Quote, refused: bool) -> bool:
        """
        Report an ICMP error to the protocols that receive datagrams with the protocol number of the packet that it
        quotes: see L{IErrorReceiver}.

        @param quote: the quoted packet and the error.
        @param refused: whether the error is "port unreachable": nothing listens on the destination port.

        @return: whether one of the protocols has sent that packet lately, so that the error is believed.
        """
        protocols = self.ipProtos.get(quote.protocol) or self.ipProtos.get(None, [])
        told = [proto.errorReceived(quote, refused) for proto in protocols if IErrorReceiver.providedBy(proto)]
        return any(told)

    def loop(
        self,
        route: Route,
        protocol: int,
        buffers: Sequence[bytes],
        hopLimit: int = DEFAULT_HOP_LIMIT,
        trafficClass: int = 0,
        offload: Offload | None = None,
    ) -> None:
        """
        Deliver one of our datagrams to ourselves: see L{IIPTransport.loop}.
        """
        clock = self.clock
        if clock is None:
            self.counters["outDiscards"] += 1
            return
        pack = ipv4.packHeader if len(route.dest) == 4 else ipv6.packHeader
        header = pack(route.source, route.dest, protocol, sum(map(len, buffers)), hopLimit, tos=trafficClass)
        packet = Packet(b"".join((header, *buffers)), time=self.now())
        packet.ip = self
        packet.start = packet.transport = len(header)
        if offload is not None:
            packet.offload = shifted(offload, len(header))
        self._loopback.send(clock, packet, protocol)

    def _fragments4(
        self, route: Route, protocol: int, payload: bytes, hopLimit: int, mtu: int, trafficClass: int
    ) -> Iterator[list[bytes]]:
        identification = self.identification()
        room = mtu - ipv4.HEADER_LENGTH
        self.counters["outFragReqds"] += 1
        for offset, more, piece in split(payload, room, room):
            self.counters["outFragCreates"] += 1
            word = ipv4.MORE_FRAGMENTS * more | offset >> 3
            header = ipv4.packHeader(
                route.source, route.dest, protocol, len(piece), hopLimit, identification, word, trafficClass
            )
            yield [header, piece]

    def _fragments6(
        self, route: Route, protocol: int, payload: bytes, hopLimit: int, mtu: int, trafficClass: int
    ) -> Iterator[list[bytes]]:
        identification = self.random.getrandbits(32)
        room = mtu - ipv6.HEADER_LENGTH - ipv6.FRAGMENT_HEADER.size
        self.counters["outFragReqds"] += 1
        for offset, more, piece in split(payload, room, room):
            self.counters["outFragCreates"] += 1
            fragment = ipv6.FRAGMENT_HEADER.pack(protocol, offset | more, identification)
            length = len(fragment) + len(piece)
            header = ipv6.packHeader(route.source, route.dest, ipv6.FRAGMENT, length, hopLimit, trafficClass)
            yield [header, fragment, piece]

    def send(self, route: Route, etherType: int, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        """
        Send one packet that is complete with its IP header.

        @param route: the route of the packet.
        @param etherType: the EtherType of its IP version.
        @param buffers: the buffers of the packet, of which the first is the IP header.
        @param offload: the checksum or segmentation left open, with positions that count from behind the IP header.
        """
        if offload is not None:
            offload = shifted(offload, len(buffers[0]))
        if route.ethernet is not None:
            if offload is None:
                route.ethernet.writeFrame(buffers, route.station, etherType, route.linkSource, route.port)
            else:
                route.ethernet.writeFrame(buffers, route.station, etherType, route.linkSource, route.port, offload)
            return
        port = route.port or cast("IPacketTransport | None", self.transport)
        if port is None:
            self.counters["outDiscards"] += 1
        elif offload is None:
            port.writePacket(buffers)
        else:
            port.writePacket(buffers, offload)
