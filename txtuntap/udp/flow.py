"""
Flows: the datagrams from one address and port to another, and the path of an answer to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from twisted.internet.protocol import DatagramProtocol
from zope.interface import Attribute, Interface

from txtuntap.layer.fastpath import Known
from txtuntap.packet import Packet
from txtuntap.wire.checksum import FOLD_FROM, foldedSum
from txtuntap.wire.ethernet import IPV4, IPV6
from txtuntap.wire.offload import MAX_DATAGRAMS, UDP, Offload
from txtuntap.wire.udp import CHECKSUM_OFFSET, HEADER_LENGTH, PROTOCOL

if TYPE_CHECKING:
    from txtuntap.interfaces import IIPTransport, Route
    from txtuntap.layer.life import FailureLog

_number = int.from_bytes

#: The octets of an IP header before the addresses, with the version and the length of the header alone.
_HEADER4, _HEADER6 = bytes((0x45, *bytes(11))), bytes((0x60, *bytes(7)))

#: A packet that the fast path has received: its octets, the positions of the UDP header and behind the packet, the
#: offload, the time in seconds, and the flow. A L{Packet} is made of it when an application asks for that.
Arrival = tuple[bytes, int, int, "Offload | None", float, "Flow"]


class IFlowTransport(Interface):
    """
    The transport of an application's protocol, as the UDP layer and the flows to this transport use it.
    """

    protocol: DatagramProtocol = Attribute("The protocol of the application.")
    listening: bool = Attribute("Whether the transport is on its port, and has not been removed from it.")
    failures: FailureLog = Attribute("The log for the protocol's exceptions.")
    latest: Flow | None = Attribute("The flow of the last datagram that was delivered.")
    current: Packet | Arrival | None = Attribute(
        "The packet with the datagram being delivered; C{None} outside of a delivery."
    )
    verifies: bool = Attribute("Whether the UDP layer verifies checksums.")
    addressEpoch: int = Attribute("A number that changes with each change of our addresses.")

    def takes(flow: Flow) -> bool:
        """
        Whether the application gets the datagrams of a flow. A connected transport gets only those of its peer.
        """

    def deliver(packet: Packet, flow: Flow) -> None:
        """
        Pass one datagram to the application.

        @param packet: the packet, with the payload of the datagram from C{start} to C{end}.
        @param flow: the flow of the datagram.
        """

    def deliverMany(
        packet: Packet | Arrival, flow: Flow, size: int, data: bytes, start: int, end: int, now: float
    ) -> None:
        """
        Pass the datagrams of a superpacket to the application.

        @param packet: the superpacket.
        @param flow: the flow of the datagrams.
        @param size: the number of octets in each datagram but the last, which may be shorter.
        @param data: the octets of the superpacket, with the payloads of the datagrams from C{start} to C{end}.
        @param now: the time in seconds at which the superpacket was received.
        """

    def routeChanged() -> None:
        """
        Discard the stored headers of answers, because the next answer may leave by another route.
        """


class _Attributes(dict[str, Any]):
    """
    The attributes of one L{Peer}: a dictionary that stays empty, with the flow in a slot. A subclass of C{tuple} cannot
    have slots of its own, and a flow as an ordinary attribute would take another 110 octets (Python 3.11), or 260
    octets (Python 3.13).
    """

    __slots__ = ("flow",)

    flow: Flow


class Peer(tuple[str, int]):
    """
    The address C{(host, port)} of the sender of a datagram, as C{datagramReceived} gets it. It is an ordinary tuple
    that also has the flow of the datagram. So an application that keeps the object can always answer by the route back.
    """

    @property
    def flow(self) -> Flow:
        """
        The flow of the sender's datagrams.
        """
        return cast(_Attributes, self.__dict__).flow

    @flow.setter
    def flow(self, flow: Flow) -> None:
        attributes = _Attributes()
        attributes.flow = flow
        self.__dict__ = attributes

    def __copy__(self) -> Peer:
        return self

    def __deepcopy__(self, memo: object) -> Peer:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # A pickled peer is a plain tuple, because the flow means nothing in another process.
        return tuple, (tuple(self),)


#: A placeholder for the peer of a flow that has been evicted.
EVICTED = Peer(("", 0))


class Flow(Known):
    """
    The datagrams from one address and port to another: their sender, the transports that get them, and the path of an
    answer. There may be thousands of flows. To save memory, each keeps its addresses and ports only in its key, and all
    tables share the object of the key.

    @ivar key: the packed source and destination address, and both ports.
    @ivar peer: the sender's address; L{EVICTED} once the flow has been evicted. The replacement breaks the reference
        cycle between a peer and its flow, so that both are freed without the garbage collector.
    @ivar transport: the transport of the protocol that gets the datagrams; C{None} if there are several.
    @ivar port: the port that received the last datagram.
    @ivar ethernet: the Ethernet layer that received the last datagram; C{None} on a tun.
    @ivar ip: the IP layer that received the last datagram.
    """

    __slots__ = (
        "_epoch",
        "_linkHeader",
        "_route",
        "_several",
        "_size",
        "ip",
        "key",
        "peer",
        "transport",
    )

    protocol = PROTOCOL

    def __init__(self, peer: Peer, transports: tuple[IFlowTransport, ...], packet: Packet, key: bytes) -> None:
        self.peer = peer
        peer.flow = self
        self.key = key
        # The number of octets of both addresses.
        self._size = len(key) - 4
        self.transport = transports[0] if len(transports) == 1 else None
        self._several = () if self.transport is not None else transports
        self.updatePath(packet)

    def received(
        self, data: bytes, start: int, end: int, length: int, check: int, offload: Offload | None, now: float
    ) -> bool:
        """
        Receive an ordinary packet of this flow: see L{Known.received<txtuntap.layer.fastpath.Known.received>}.
        """
        transport = self.transport
        peer = self.peer
        if length != end - start or length < 8 or transport is None or peer is EVICTED:
            return False
        if offload is None:
            if not check:
                # A datagram over IPv4 may have no checksum.
                if self._size != 8:
                    return False
            elif transport.verifies:
                if length >= FOLD_FROM:
                    total = foldedSum(data, start - self._size, end)
                else:
                    total = _number(data[start - self._size : end], "big")
                    if length & 1:
                        total <<= 8
                if (total + (17 + length)) % 0xFFFF:
                    return False
        elif offload.isOpen:
            if offload.checksumStart != start or offload.checksumOffset != CHECKSUM_OFFSET:
                return False
        elif not offload.isVouched or offload.isSuperpacket or not (check or self._size == 8):
            return False
        size = 0
        if offload is not None and offload.isSuperpacket:
            size, payload = offload.size, length - 8
            if (
                offload.type != UDP
                or not 0 < size <= payload <= size * MAX_DATAGRAMS
                or not offload.headerLength <= end == len(data)
            ):
                return False
        if self is not transport.latest and not transport.takes(self):
            return False
        arrival = data, start, end, offload, now, self
        if size:
            transport.deliverMany(arrival, self, size, data, start + 8, end, now)
            return True
        # UDPTransport.deliver is inlined to save the time of a call.
        before = transport.current
        transport.current = arrival
        try:
            transport.protocol.datagramReceived(data[start + 8 : end], peer)
        except Exception:
            transport.failures.failed(now, "datagramReceived")
        finally:
            transport.current = before
        return True

    def packet(self, data: bytes, start: int, end: int, offload: Offload | None, now: float) -> Packet:
        """
        Make the packet that the layers would have delivered to the application in place of an L{Arrival}.
        """
        packet = Packet(data, start + HEADER_LENGTH, self.port, now)
        packet.end = end
        packet.transport = start
        packet.network = network = start - (20 if self._size == 8 else 40)
        packet.ip = self.ip
        packet.offload = offload
        if self.ethernet is not None:
            # The flow may have another path by now, because of a packet that was received during this delivery.
            packet.ethernet, packet.readLinkSource = self.ethernet, data[network - 8 : network - 2]
            packet.link = network - 14
            packet.readEtherType = IPV4 if self._size == 8 else IPV6
        return packet

    @property
    def transports(self) -> tuple[IFlowTransport, ...]:
        """
        The transports of the protocols that get the datagrams.
        """
        return self._several if self.transport is None else (self.transport,)

    def updatePath(self, packet: Packet) -> None:
        """
        Store the path by which C{packet} was received. From now on, answers leave by this path.
        """
        self.link = None
        self._linkHeader = b"" if packet.ethernet is None else packet.data[packet.link : packet.network]
        self.ip: IIPTransport | None = packet.ip
        self.port = packet.port
        self.ethernet = packet.ethernet
        self._route: Route | None = None
        self._epoch = 0
        for transport in self.transports:
            transport.routeChanged()

    def evicted(self) -> None:
        """
        Release the peer, because the UDP layer has removed this flow from its table. An application that has the peer
        can still answer by this flow.
        """
        self.peer = EVICTED
        self.link = None

    def isPathOf(self, packet: Packet) -> bool:
        """
        Whether C{packet} was received by the stored path: from the same link address, by the same layers and port.
        """
        return (
            packet.ethernet is self.ethernet
            and packet.port is self.port
            and packet.ip is self.ip
            and (packet.readLinkSource is None or packet.readLinkSource == self._linkHeader[6:12])
        )

    def isFor(self, protocol: DatagramProtocol) -> bool:
        """
        Whether a protocol is among those that get the datagrams.
        """
        return any(transport.protocol is protocol for transport in self.transports)

    @property
    def localPort(self) -> int:
        """
        The destination port of the datagrams, which is ours.
        """
        return _number(self.key[-2:], "big")

    @property
    def remotePort(self) -> int:
        """
        The source port of the datagrams, which is the peer's.
        """
        return _number(self.key[-4:-2], "big")

    def routeBack(self, ip: IIPTransport) -> Route | None:
        """
        Find the route of an answer. The route is found once in each address epoch.

        @return: the route; C{None} if the datagrams must not or cannot be answered: see
            L{IIPTransport.routeBack<txtuntap.interfaces.IIPTransport.routeBack>}.
        """
        epoch = (self.transport or self._several[0]).addressEpoch
        if self._route is None or self._epoch != epoch:
            self._route = ip.routeBack(self._headers())
            self._epoch = epoch
        return self._route

    def _headers(self) -> Packet:
        """
        Make a packet of the link header, an IP header and the ports, to which the IP layer finds the route back. Only
        the addresses in the IP header will be read.
        """
        link = self._linkHeader
        data = link + (_HEADER4 if self._size == 8 else _HEADER6) + self.key
        packet = Packet(data, len(data) - 4, self.port)
        packet.network, packet.transport = len(link), packet.start
        packet.ethernet, packet.ip = self.ethernet, self.ip
        packet.readLinkSource = link[6:12] or None
        return packet
