"""
ICMP and ICMPv6 (RFC 792, 1122 section 3.2.2, 4443): echoes answered and asked for, errors sent where a packet was of no
use, and believed where they are about one of ours.
"""

from __future__ import annotations

from random import Random, SystemRandom
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from txtuntap.interfaces import IErrorReceiver, IPacketReceiver, Route, RouteLost
from txtuntap.ip.input import IPProtocol
from txtuntap.layer.bounded import TableState
from txtuntap.layer.drops import Drop
from txtuntap.layer.protocol import PacketProtocol
from txtuntap.layer.timer import steadySeconds
from txtuntap.packet import Packet, UnfinishableError
from txtuntap.stack.groups import GroupProtocol
from txtuntap.stack.limits import ErrorLimit
from txtuntap.stack.ndp import NeighbourDiscovery
from txtuntap.stack.ping import Pinger, Pong
from txtuntap.wire import icmp as wire
from txtuntap.wire import ipv4, ipv6, mld, ndp
from txtuntap.wire.address import versionOf

_ADVERTISEMENT = bytes((ndp.ADVERTISEMENT,))

#: Milliseconds in a day: the unit and the range of ICMP timestamps.
_DAY = 24 * 60 * 60 * 1000


#: The counter of each error that has come, by IP version and type.
_ERROR_COUNTERS = {
    (4, wire.UNREACHABLE): "inDestUnreachs",
    (4, wire.TIME_EXCEEDED): "inTimeExcds",
    (4, wire.PARAMETER_PROBLEM): "inParmProblems",
    (6, wire.UNREACHABLE6): "inDestUnreachs",
    (6, wire.PACKET_TOO_BIG6): "inPktTooBigs",
    (6, wire.TIME_EXCEEDED6): "inTimeExcds",
    (6, wire.PARAMETER_PROBLEM6): "inParmProblems",
}

#: Version, type and code of those that say that nobody listens there.
_REFUSALS = {(4, wire.UNREACHABLE, wire.PORT_UNREACHABLE), (6, wire.UNREACHABLE6, wire.PORT_UNREACHABLE6)}

_number = int.from_bytes


@implementer(IPacketReceiver, IErrorReceiver)
class ICMPProtocol(PacketProtocol):
    """
    ICMP for both versions of IP: to be added to an L{IPProtocol<txtuntap.ip.IPProtocol>} under 1 and 58.

    Counters, as in RFC 2466 and RFC 4293: C{inMsgs}, C{inErrors} (cut short, or not summing up), C{inEchos},
    C{outEchoReps}, C{inUnknown} (types that mean nothing here), C{outErrors} (error messages sent), C{outLimited} (not
    sent: too many). Error messages that have come: C{inDestUnreachs}, C{inPktTooBigs}, C{inTimeExcds},
    C{inParmProblems}; and C{inDisbelieved}, about packets that we have not sent lately.
    """

    handlesFailures = True

    def __init__(
        self,
        ip: IPProtocol,
        clock: IReactorTime,
        random: Random | None = None,
        verifyChecksum: bool = True,
        secrets: Random | None = None,
    ) -> None:
        """
        @param ip: the IP layer it speaks for.
        @param clock: tells the time of day, and the steady time of limits.
        @param verifyChecksum: whether to drop messages that do not sum up.
        @param secrets: where chance comes from that nobody may guess.
        """
        super().__init__()
        self._ip = ip
        self._clock = clock
        self._now = steadySeconds(clock)
        self._verify = verifyChecksum
        self._limit = ErrorLimit(random or SystemRandom())
        self._pinger = Pinger(clock, secrets or SystemRandom())
        self.ndp: NeighbourDiscovery | None = None
        self.groups: GroupProtocol | None = None

    def datagramReceived(self, *args: Any, **kwargs: Any) -> None:
        """
        Only packets are understood here: C{twisted.pair}'s call does not tell what an answer needs.
        """
        raise TypeError("ICMPProtocol goes on an IPProtocol of txtuntap")

    def doStop(self) -> None:
        """
        Stop; the last time, wait for no answer any more.
        """
        super().doStop()
        if not self.numPorts:
            self._pinger.stop()

    def tables(self) -> list[TableState]:
        """
        See L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [*self._limit.tables(), *self._pinger.tables()]

    # Up

    def packetReceived(self, packet: Packet) -> None:
        """
        A message has come.
        """
        if packet.protocol != wire.PROTOCOL[packet.version]:
            # Each version of IP has its own ICMP, and knows nothing of the other's.
            return self._ip.dropped(packet, Drop.UNKNOWN_PROTOCOL)
        self.counters["inMsgs"] += 1
        message = bytes(packet)
        four = packet.version == 4
        addresses = () if four else (packet.sourceAddress, packet.destAddress)
        if len(message) < wire.HEADER_LENGTH or (self._verify and not wire.valid(message, *addresses)):
            return self.dropped(packet, Drop.MALFORMED)
        kind, code, _, rest = wire.HEADER.unpack_from(message)
        if kind == (wire.ECHO_REQUEST if four else wire.ECHO_REQUEST6) and not code:
            self.counters["inEchos"] += 1
            self._answer(packet, wire.ECHO_REPLY if four else wire.ECHO_REPLY6, rest, message[wire.HEADER_LENGTH :])
        elif kind == (wire.ECHO_REPLY if four else wire.ECHO_REPLY6) and not code:
            if not self._pinger.answered(packet, rest, message[wire.HEADER_LENGTH :]):
                self.dropped(packet, Drop.UNKNOWN_MESSAGE)
        elif four and kind == wire.TIMESTAMP_REQUEST and not code and len(message) >= wire.HEADER_LENGTH + 12:
            now = int(self._clock.seconds() * 1000) % _DAY
            times = message[wire.HEADER_LENGTH : wire.HEADER_LENGTH + 4] + now.to_bytes(4, "big") * 2
            self._answer(packet, wire.TIMESTAMP_REPLY, rest, times)
        elif kind in wire.ERRORS if four else kind < wire.FIRST_INFORMATIONAL6:
            self._errorReceived(packet, kind, code, rest, message)
        elif not four and self.groups is not None and (kind == mld.QUERY or kind in mld.REPORTS):
            self.groups.mldReceived(packet, message)
        elif not four and self.ndp is not None and kind in self.ndp.kinds:
            self.ndp.received(packet, message)
        else:
            self.dropped(packet, Drop.UNKNOWN_MESSAGE)

    def _errorReceived(self, packet: Packet, kind: int, code: int, rest: int, message: bytes) -> None:
        """
        An ICMP error has arrived. Anyone can forge one, so it counts only if it was sent to the address that the quoted
        packet left from, and the protocol that sent that packet knows it.
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
        See L{IErrorReceiver.errorReceived}: about an echo request.
        """
        kind = wire.ECHO_REQUEST if len(quote.dest) == 4 else wire.ECHO_REQUEST6
        return quote.payload[0] == kind and self._pinger.asked(quote.dest, _number(quote.payload[4:8], "big"))

    def claimed(self, packet: Packet) -> None:
        """
        IP has dropped an IPv6 packet from an address of ours. If it advertises that address, somebody else has it: who
        defends an address does so from it (RFC 4862 section 5.4.4).
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

    def _answer(self, packet: Packet, kind: int, rest: int, body: bytes) -> None:
        """
        Answer the sender of C{packet}, if it was sent to us and not to many.
        """
        route = self._ip.routeBack(packet)
        if route is None or route.source != packet.destAddress:
            return self.dropped(packet, Drop.UNKNOWN_MESSAGE)
        addresses = () if packet.version == 4 else (route.source, route.dest)
        self.counters["outEchoReps"] += 1
        self._output(route, wire.pack(kind, 0, rest, body, *addresses), packet.trafficClass)

    def _output(self, route: Route, message: bytes, trafficClass: int) -> None:
        # Answers are not remembered, so an error about one that is too large would not be believed.
        protocol = wire.PROTOCOL[6 if len(route.dest) == 16 else 4]
        self._ip.output(route, protocol, [message], trafficClass=trafficClass, fragmentable=True)

    def ping(self, dest: bytes, payload: bytes, timeout: float) -> Deferred[Pong]:
        """
        Ask for an echo: see L{Pinger.ping}.

        @raise OSError: there is no route there, as L{IIPTransport.write<txtuntap.interfaces.IIPTransport.write>}.
        @raise RuntimeError: the host is on no port, or has just been stopped.
        """
        if not self.numPorts:
            raise RuntimeError("this host is on no port that runs: put it on a TuntapPort and start that")
        try:
            route = self._ip.route(dest)
        except RouteLost:
            # As if it were lost on the link: nobody answers.
            return self._pinger.ping(dest, payload, timeout, lambda word, body: None)
        version = versionOf(dest)
        kind = wire.ECHO_REQUEST if version == 4 else wire.ECHO_REQUEST6
        addresses = () if version == 4 else (route.source, route.dest)

        def send(word: int, body: bytes) -> None:
            self._ip.output(route, wire.PROTOCOL[version], [wire.pack(kind, 0, word, body, *addresses)])

        return self._pinger.ping(dest, payload, timeout, send)

    # Errors, down

    def error(self, packet: Packet, kind: int, code: int, rest: int) -> None:
        """
        Send an error to the sender of C{packet}, unless one must not be sent (RFC 1122 section 3.2.2, RFC 4443 section
        2.4e): about an error, about a fragment of IPv4 other than the first, to or from what is not one host, or too
        often.

        @param kind: the type of the error, in the version of ICMP that belongs to the packet.
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
            # The sender knows each datagram of a superpacket, so the first one is quoted.
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
        Whether C{packet} is an ICMP error itself, or may be: what cannot be looked into counts as one.
        """
        return wire.mayBeError(packet.data, packet.network, packet.end)


def _isLaterFragment(packet: Packet) -> bool:
    """
    Whether C{packet} is a fragment of IPv4 other than the first.
    """
    if packet.version == 6:
        return False
    _, fragment, _ = ipv4.ESSENTIALS.unpack_from(packet.data, packet.network)
    return bool(fragment & ipv4.OFFSET_MASK)
