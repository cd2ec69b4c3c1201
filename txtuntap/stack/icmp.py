"""
ICMP and ICMPv6 of a host: it answers and sends echo requests, sends errors about packets that it cannot use, and
passes the errors about its own packets to their protocols.

Read RFC 1122 section 3.2.2 and RFC 4443 sections 2 to 4 first. RFC 792 has the message formats of ICMP, and RFC 5927
describes the attacks with forged errors.
"""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from txtuntap.interfaces import IErrorReceiver, IPacketReceiver, Route, RouteLost
from txtuntap.ip.input import IPProtocol
from txtuntap.layer.bounded import TableState
from txtuntap.layer.chance import SYSTEM_RANDOM
from txtuntap.layer.drops import Drop
from txtuntap.layer.lazy import Lazy
from txtuntap.layer.protocol import PacketProtocol
from txtuntap.layer.timer import steadySeconds
from txtuntap.packet import Packet, UnfinishableError
from txtuntap.stack.echo import EchoFlow
from txtuntap.stack.groups import GroupProtocol
from txtuntap.stack.limits import ErrorLimit
from txtuntap.stack.ndp import NeighbourDiscovery
from txtuntap.stack.ping import Pinger, Pong
from txtuntap.wire import icmp as wire
from txtuntap.wire import ipv4, ipv6, mld, ndp
from txtuntap.wire.address import versionOf

_ADVERTISEMENT = bytes((ndp.ADVERTISEMENT,))

#: The milliseconds of a day. An ICMP timestamp is the number of milliseconds since midnight UT (RFC 792).
_DAY = 24 * 60 * 60 * 1000


#: The names of the counters for received errors, by IP version and type.
_ERROR_COUNTERS = {
    (4, wire.UNREACHABLE): "inDestUnreachs",
    (4, wire.TIME_EXCEEDED): "inTimeExcds",
    (4, wire.PARAMETER_PROBLEM): "inParmProblems",
    (6, wire.UNREACHABLE6): "inDestUnreachs",
    (6, wire.PACKET_TOO_BIG6): "inPktTooBigs",
    (6, wire.TIME_EXCEEDED6): "inTimeExcds",
    (6, wire.PARAMETER_PROBLEM6): "inParmProblems",
}

#: The IP version, type and code of the errors that report a port on which no program listens.
_REFUSALS = {(4, wire.UNREACHABLE, wire.PORT_UNREACHABLE), (6, wire.UNREACHABLE6, wire.PORT_UNREACHABLE6)}

_number = int.from_bytes


@implementer(IPacketReceiver, IErrorReceiver)
class ICMPProtocol(PacketProtocol):
    """
    The ICMP layer of a host for both IP versions. Add it to an L{IPProtocol<txtuntap.ip.IPProtocol>} as protocol 1
    (ICMP) and as protocol 58 (ICMPv6).

    Counters, named as in RFC 2466 and RFC 4293: C{inMsgs}, C{inErrors} (messages that are too short or have a wrong
    checksum), C{inEchos}, C{outEchoReps} (replies to echo and timestamp requests), C{inUnknown} (messages of a type
    that the host does not process, requests that must not be answered, and replies to no request), C{outErrors} (errors
    sent), C{outLimited} (errors not sent because of the rate limit). Received errors:
    C{inDestUnreachs}, C{inPktTooBigs}, C{inTimeExcds}, C{inParmProblems}. C{inDisbelieved} counts received errors about
    packets that the host has not sent lately.

    @ivar ndp: the neighbour discovery that processes its messages; C{None} if the host has none.
    @ivar groups: the layer that processes the messages of MLD; C{None} if the host has none.
    """

    handlesFailures = True
    _limit = Lazy("_limitMade", lambda layer: ErrorLimit(layer._random or SYSTEM_RANDOM))
    _pinger = Lazy("_pingerMade", lambda layer: Pinger(layer._clock, layer._secrets or SYSTEM_RANDOM))

    def __init__(
        self,
        ip: IPProtocol,
        clock: IReactorTime,
        random: Random | None = None,
        verifyChecksum: bool = True,
        secrets: Random | None = None,
    ) -> None:
        """
        @param ip: the IP layer of the host.
        @param clock: the reactor of the host. Its time of day is sent in timestamp replies.
        @param random: blurs the rate limit of errors. By default, it is the random source of the operating system.
        @param verifyChecksum: whether to drop a message whose checksum is wrong.
        @param secrets: chooses the unpredictable identifiers of echo requests. By default, it is the random source of
            the operating system.
        """
        super().__init__()
        self._ip = ip
        self._clock = clock
        self._now = steadySeconds(clock)
        self._verify = verifyChecksum
        self._random = random
        self._secrets = secrets
        self._limitMade: ErrorLimit | None = None
        self._pingerMade: Pinger | None = None
        # The addresses of the last echo request, with its type, its code and its link header.
        self._asked = b""
        self.ndp: NeighbourDiscovery | None = None
        self.groups: GroupProtocol | None = None

    def datagramReceived(self, *args: Any, **kwargs: Any) -> None:
        """
        Refuse the interface of C{twisted.pair}: an answer needs the L{Packet} with its headers.

        @raise TypeError: always.
        """
        raise TypeError("an ICMPProtocol works only on an IPProtocol of txtuntap: add it to one with addProto")

    def doStop(self) -> None:
        """
        Stop on one port. When the last port has stopped, all pings under way fail.
        """
        super().doStop()
        if not self.numPorts and self._pingerMade is not None:
            self._pingerMade.stop()

    def tables(self) -> list[TableState]:
        """
        List the bounded tables: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [*self._limit.tables(), *self._pinger.tables()]

    # Receiving

    def packetReceived(self, packet: Packet) -> None:
        """
        Process an ICMP or ICMPv6 message.
        """
        if packet.protocol != wire.PROTOCOL[packet.version]:
            # ICMP is no protocol of IPv6, nor ICMPv6 one of IPv4.
            return self._ip.dropped(packet, Drop.UNKNOWN_PROTOCOL)
        self.counters["inMsgs"] += 1
        message = bytes(packet)
        isIPv4 = packet.version == 4
        addresses = () if isIPv4 else (packet.sourceAddress, packet.destAddress)
        if len(message) < wire.HEADER_LENGTH or (self._verify and not wire.valid(message, *addresses)):
            return self.dropped(packet, Drop.MALFORMED)
        kind, code, _, rest = wire.HEADER.unpack_from(message)
        if kind == (wire.ECHO_REQUEST if isIPv4 else wire.ECHO_REQUEST6) and not code:
            self.counters["inEchos"] += 1
            kind = wire.ECHO_REPLY if isIPv4 else wire.ECHO_REPLY6
            route = self._answer(packet, kind, rest, message[wire.HEADER_LENGTH :])
            if route is not None:
                self._learn(packet, route)
        elif kind == (wire.ECHO_REPLY if isIPv4 else wire.ECHO_REPLY6) and not code:
            if not self._pinger.answered(packet, rest, message[wire.HEADER_LENGTH :]):
                self.dropped(packet, Drop.UNKNOWN_MESSAGE)
        elif isIPv4 and kind == wire.TIMESTAMP_REQUEST and not code and len(message) >= wire.HEADER_LENGTH + 12:
            now = int(self._clock.seconds() * 1000) % _DAY
            times = message[wire.HEADER_LENGTH : wire.HEADER_LENGTH + 4] + now.to_bytes(4, "big") * 2
            self._answer(packet, wire.TIMESTAMP_REPLY, rest, times)
        elif kind in wire.ERRORS if isIPv4 else kind < wire.FIRST_INFORMATIONAL6:
            self._errorReceived(packet, kind, code, rest, message)
        elif not isIPv4 and self.groups is not None and (kind == mld.QUERY or kind in mld.REPORTS):
            self.groups.mldReceived(packet, message)
        elif not isIPv4 and self.ndp is not None and kind in self.ndp.kinds:
            self.ndp.received(packet, message)
        else:
            self.dropped(packet, Drop.UNKNOWN_MESSAGE)

    def _errorReceived(self, packet: Packet, kind: int, code: int, rest: int, message: bytes) -> None:
        """
        Process an ICMP error. Anyone can forge one, so an error counts only under two conditions. The error was sent to
        the source address of the quoted packet, and the protocol of the quoted packet confirms that it sent that
        packet. If the error reports a path MTU, the IP layer must also accept that MTU.
        """
        quote = wire.parseQuote(message)
        name = _ERROR_COUNTERS.get((packet.version, kind))
        if name is None:
            return self.dropped(packet, Drop.UNKNOWN_MESSAGE)
        tooBig = (kind, code) == (wire.UNREACHABLE, wire.FRAGMENTATION_NEEDED)
        if packet.version == 6:
            tooBig = kind == wire.PACKET_TOO_BIG6
        refused = (packet.version, kind, code) in _REFUSALS
        if quote is None or quote.source != packet.destAddress or not self._ip.reported(quote, refused):
            return self.dropped(packet, Drop.DISBELIEVED_ERROR)
        if tooBig:
            mtu = rest if packet.version == 6 else rest & 0xFFFF
            if not self._ip.pathNarrowed(quote.dest, mtu, quote.length, self._now()):
                return self.dropped(packet, Drop.DISBELIEVED_ERROR)
            name = "inPktTooBigs"
        self.counters[name] += 1

    def errorReceived(self, quote: wire.Quote, refused: bool) -> bool:
        """
        Confirm an error about an echo request of this host: see L{IErrorReceiver.errorReceived}.
        """
        kind = wire.ECHO_REQUEST if len(quote.dest) == 4 else wire.ECHO_REQUEST6
        return quote.payload[0] == kind and self._pinger.isPending(quote.dest, _number(quote.payload[4:8], "big"))

    def ownSourceReceived(self, packet: Packet) -> None:
        """
        Process an IPv6 packet that IP has dropped because its source is an address of this host. If it is a neighbour
        advertisement of that address, another station defends the address (RFC 4862 section 5.4.4).
        """
        if self.ndp is None or packet.data[packet.network + 6] != wire.PROTOCOL[6]:
            return
        packet = packet.copy()
        packet.start = packet.transport = packet.network + ipv6.HEADER_LENGTH
        message = bytes(packet)
        source, dest = packet.sourceAddress, packet.destAddress
        valid = not self._verify or wire.valid(message, source, dest)
        if message[:1] == _ADVERTISEMENT and message[8:24] == source and valid:
            self.ndp.received(packet, message)

    def _learn(self, packet: Packet, route: Route) -> None:
        """
        Have the fast path learn the flow of an echo request.

        @param route: the route of its reply.
        """
        at, size = packet.network + 12, 8
        if packet.version == 6:
            at, size = packet.network + 8, 32
        data = packet.data
        key = data[at : at + size] + data[packet.transport : packet.transport + 2]
        # Two stations may send requests from one address in turn. Their flow is not learned with each request.
        asked = key if packet.ethernet is None else key + data[packet.link : packet.network]
        isFirst, self._asked = asked != self._asked, asked
        port = self._ip.port(route)
        if port is not None:
            make = partial(EchoFlow, self._ip, port, route, packet, self.counters)
            self._ip.fastPath.learn(packet, key, self, ICMPProtocol.packetReceived, make, isFirst)

    def _answer(self, packet: Packet, kind: int, rest: int, body: bytes) -> Route | None:
        """
        Send a reply to the sender of C{packet}, unless its destination was a group or a broadcast address.

        @param kind: the type of the reply.
        @param rest: the second word of its header.
        @param body: the octets behind its header.

        @return: the route of the reply; C{None}: no reply was sent.
        """
        route = self._ip.routeBack(packet)
        if route is None or route.source != packet.destAddress:
            self.dropped(packet, Drop.UNKNOWN_MESSAGE)
            return None
        addresses = () if packet.version == 4 else (route.source, route.dest)
        self.counters["outEchoReps"] += 1
        self._output(route, wire.pack(kind, 0, rest, body, *addresses), packet.trafficClass)
        return route

    def _output(self, route: Route, message: bytes, trafficClass: int) -> None:
        # An ICMP error about a reply would not be believed, because replies are not remembered. So path MTU discovery
        # cannot work for them, and routers may fragment them.
        protocol = wire.PROTOCOL[6 if len(route.dest) == 16 else 4]
        self._ip.output(route, protocol, [message], trafficClass=trafficClass, fragmentable=True)

    def ping(self, dest: bytes, payload: bytes, timeout: float) -> Deferred[Pong]:
        """
        Send an echo request: see L{Pinger.ping}.

        @raise OSError: there is no route to C{dest}: see L{IIPTransport.write<txtuntap.interfaces.IIPTransport.write>}.
        @raise RuntimeError: the host is on no port that runs, or L{MAX_PENDING<txtuntap.stack.ping.MAX_PENDING>}
            requests are under way.
        """
        if not self.numPorts:
            raise RuntimeError("this host is on no port that runs: put it on a TuntapPort and start that")
        try:
            route = self._ip.route(dest)
        except RouteLost:
            # Another host's action has removed the route, so this is like a loss on the link: the ping times out.
            return self._pinger.ping(dest, payload, timeout, lambda word, body: None)
        version = versionOf(dest)
        kind = wire.ECHO_REQUEST if version == 4 else wire.ECHO_REQUEST6
        addresses = () if version == 4 else (route.source, route.dest)

        def send(word: int, body: bytes) -> None:
            self._ip.output(route, wire.PROTOCOL[version], [wire.pack(kind, 0, word, body, *addresses)])

        return self._pinger.ping(dest, payload, timeout, send)

    # Sending errors

    def error(self, packet: Packet, kind: int, code: int, rest: int) -> None:
        """
        Send an ICMP error to the sender of C{packet}, if one may be sent (RFC 1122 section 3.2.2, RFC 4443 section
        2.4e). No error is sent beyond the rate limit, nor about these packets: an ICMP error, an IPv4 fragment other
        than the first, a packet in a frame to a group, and a packet whose source or destination is not a single host.

        @param packet: the packet that could not be used.
        @param kind: the type of the error, in the version of ICMP that belongs to the packet.
        @param code: the code of the error.
        @param rest: the second word of its header.
        """
        route = self._ip.routeBack(packet)
        if route is None or route.source != packet.destAddress or self._isError(packet) or _isLaterFragment(packet):
            return
        linkDest = packet.linkDest
        if linkDest is not None and linkDest[0] & 1:
            return
        if not self._limit.permits(route.dest, self._now()):
            self.counters["outLimited"] += 1
            return
        try:
            # The sender of a superpacket sent its datagrams one by one, so the error quotes the first of them.
            packet = packet.finished()[0]
        except UnfinishableError:
            return
        version = versionOf(route.dest)
        quote = packet.data[packet.network : packet.end][: wire.MAX_QUOTE[version]]
        addresses = () if version == 4 else (route.source, route.dest)
        self.counters["outErrors"] += 1
        trafficClass = wire.errorService(packet.trafficClass) if version == 4 else 0
        self._output(route, wire.pack(kind, code, rest, quote, *addresses), trafficClass)

    def _isError(self, packet: Packet) -> bool:
        """
        Whether C{packet} is an ICMP error itself. A packet whose type cannot be found counts as one.
        """
        return wire.mayBeError(packet.data, packet.network, packet.end)


def _isLaterFragment(packet: Packet) -> bool:
    """
    Whether C{packet} is an IPv4 fragment other than the first.
    """
    if packet.version == 6:
        return False
    _, fragment, _ = ipv4.ESSENTIALS.unpack_from(packet.data, packet.network)
    return bool(fragment & ipv4.OFFSET_MASK)
