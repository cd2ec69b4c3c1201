"""
The fast path: ordinary packets of known flows, which skip the layers between the port and their flow.

A packet that climbs through the layers is checked by each of them. Most packets belong to a flow that has sent others
before, and look like these. The fast path reads such a packet once, finds its flow by one look-up, and hands it to the
flow. It makes no L{Packet<txtuntap.packet.Packet>} and counts no drop: it leaves every packet that is not ordinary to
the layers.

These conditions have to hold. If one of them may have changed, the code in the second column forgets the known flows,
by L{FastPath.forget}. The layers then receive the next packet of each flow, and L{FastPath.learn} adds the flow again::

    ==================================================================  ==============================================
    condition of a known flow                                           what forgets the known flows
    ==================================================================  ==============================================
    The Ethernet layer delivers its EtherType to this IP layer alone.   C{addProto}, C{removeProto} of EthernetProtocol
    Its frames are addressed to the Ethernet layer.                     a change of C{EthernetProtocol.address}
    The IP layer delivers its protocol number to one layer alone.       C{addProto}, C{removeProto} of IPProtocol
    That layer receives by its class's own method, and cannot raise.    nothing: L{FastPath.learn} asks before
    Our addresses admit its source and destination.                     any change of our addresses and groups
    One transport gets its datagrams.                                   C{listen}, C{removeProto} of RawUDPProtocol
    Its connection is open.                                             the end of the connection, for its flow alone
    Its echo replies have the same route and room.                      any change of an MTU or a path MTU
    The IP layer is on a port.                                          the end of its last port
    ==================================================================  ==============================================

These conditions are checked for each packet:

    - The frame has the same Ethernet header as the packet that the flow was learned from, and the same port.
    - The IPv4 header has no options and a right checksum, and the packet is no fragment. The IPv6 header is followed by
      the header of UDP, TCP or ICMPv6. The packet is as long as its headers say, and was read as a whole.
    - The checksum of UDP, TCP or ICMP is right, or need not be verified. An open checksum is that of UDP or TCP.
    - A superpacket agrees with its offload record.
    - The transport takes the datagram. If it is connected, it takes only those of its peer.
    - An echo reply fits into one packet.
    - The application's method is looked up at each call, because an application may replace it.

During a flood of SYNs, a refuser receives the TCP segments of unknown flows (L{FastPath.refuse}). It refuses those SYNs
that the TCP layer would refuse without an answer, and leaves all other segments to the layers. It does not verify the
checksums of a SYN, because nothing depends on them. The code that forgets the known flows also forgets the refusers,
and so does a listening port that begins or ends.

A packet that the layers receive although its flow is known does not change the flow, and no more than L{LEARN_RATE}
flows are learned in a second. So a flood costs hardly more than without a fast path.

Middleware between a port and a layer hides the layer from the port, so that each packet passes the middleware. Only a
L{Capture<txtuntap.middleware.capture.Capture>} that records nothing does not hide it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from txtuntap.layer.ability import handlesFailures, knowsPackets
from txtuntap.layer.bounded import Policy, TableState
from txtuntap.layer.table import EachReceiver, Receiver
from txtuntap.layer.tokenbucket import TokenBucket
from txtuntap.wire import icmp, ipv4, ipv6, tcp

if TYPE_CHECKING:
    from txtuntap.interfaces import IEthernetTransport, IPacketTransport
    from txtuntap.packet import Packet
    from txtuntap.wire.offload import Offload

#: The most flows that are known to one fast path. Beyond that, all are forgotten.
MAX_KNOWN = 16384

#: The most flows that one fast path learns in a second. An attacker may forge two packets of each of many flows, and to
#: learn a flow can take longer than to answer its packet.
LEARN_RATE = 1000.0

#: Functions that unpack the first octet of an IP header, its length field, the fields of a fragment (IPv4), the
#: protocol number, both addresses with both ports as one key, and the two fields of 16 bits behind the ports.
_header4 = struct.Struct("!BxH2xHxB2x12sHH").unpack_from
_header6 = struct.Struct("!B3xHBx36sHH").unpack_from

_ICMP, _ICMP6, _TCP = icmp.PROTOCOL[4], icmp.PROTOCOL[6], tcp.PROTOCOL

#: The length of an Ethernet header without tags.
LINK_LENGTH = 14

_number = int.from_bytes

#: The method of a layer on a port that receives a packet of a known flow. Its parameters are the first ones of
#: L{FastPath.receive}; the position is that of the layer's own header.
KnownReceiver = Callable[..., bool]

#: A function that receives a TCP segment of an unknown flow. It returns whether it has refused the segment without an
#: answer, as the layers would do. Otherwise it has done nothing, and the layers have to receive the segment. Its
#: arguments are the packet and what precedes it, the position of the IP header, that of the segment, and that behind
#: the segment, which may be behind the end of the packet; the packed source and destination address and both ports; the
#: sequence number; the work that is not finished in the packet; the time in seconds at which it was received; and the
#: Ethernet layer that has received it (C{None} on a tun).
Refuser = Callable[
    [bytes, int, int, int, bytes, int, "Offload | None", float, "IEthernetTransport | None"],
    bool,
]


def receivesBy(layer: Any, method: Callable[..., None]) -> bool:
    """
    Whether a layer receives packets by this very method of its class. A subclass or an instance may have replaced it.
    """
    return getattr(layer.packetReceived, "__func__", None) is method


def knownReceiverOf(receive: Receiver | None) -> KnownReceiver | None:
    """
    Return the method that receives packets of known flows in place of C{receive}. Its layer has it as C{knownReceiver}.

    @param receive: the receiver of all packets.

    @return: C{None}: there is no such method, so all packets are for C{receive}.
    """
    if isinstance(receive, EachReceiver) and len(receive.targets) == 1:
        # The other protocols under this number were removed.
        (receive,) = receive.targets
    layer: Any = getattr(receive, "__self__", None)
    # The class is asked, because middleware has the attributes of the protocol that it wraps.
    if not hasattr(type(layer), "knownReceiver") or layer.packetReceived != receive:
        return None
    known: KnownReceiver | None = layer.knownReceiver
    return known


def _isOwnReceiver(layer: Any, method: Callable[..., None]) -> bool:
    """
    Whether a layer receives by this method of its class, and raises no exception.
    """
    return receivesBy(layer, method) and handlesFailures(layer) and knowsPackets(layer)


class Known:
    """
    A flow as the fast path knows it.

    @ivar protocol: the IP protocol number.
    @ivar port: the port that has received the packets of the flow.
    @ivar ethernet: the Ethernet layer that has received them; C{None} on a tun.
    @ivar link: the Ethernet header of the packets, which is empty on a tun; C{None}: the flow must be learned again.
    """

    __slots__ = ("ethernet", "link", "port")

    protocol: int
    port: IPacketTransport | None
    ethernet: IEthernetTransport | None
    link: bytes | None

    def covers(self, packet: Packet, link: bytes) -> bool:
        """
        Whether a packet with the addresses and ports of this flow belongs to it. If it does, the flow is not learned
        again, because a flood of packets that are not ordinary would make the host learn it with each of them.

        @param link: the Ethernet header of the packet.
        """
        return (
            self.link == link
            and self.port is packet.port
            and self.ethernet is packet.ethernet
            and self.protocol == packet.protocol
        )

    def received(
        self, data: bytes, start: int, end: int, third: int, fourth: int, offload: Offload | None, now: float
    ) -> bool:
        """
        Receive an ordinary IP packet of this flow.

        @param data: the packet, and what precedes it.
        @param start: the position of the header of UDP or TCP.
        @param end: the position behind the packet.
        @param third: the first 16 bits behind the ports.
        @param fourth: the next 16 bits.
        @param offload: the work that is not finished in the packet.
        @param now: the time in seconds at which the packet was received.

        @return: whether the packet was received. Otherwise nothing was done, and the layers have to receive it.
        """
        raise NotImplementedError


class FastPath:
    """
    The known flows of one IP layer.

    @ivar refusers: the functions that receive TCP segments of unknown flows during a flood of SYNs, by IP version.
        There are none before a flood.
    @cvar atOnce: whether a flow is learned from its first packet. By default, it is learned from the second one,
        because many flows have one packet only. Tests set it.
    @cvar never: whether no flow is ever learned. Tests set it.
    """

    __slots__ = ("_flows", "_learning", "_protocols", "_verify", "refusers")

    atOnce = False
    never = False

    def __init__(self, protocols: dict[int | None, list[Any]], verifyChecksum: bool) -> None:
        """
        @param protocols: the protocols on the IP layer, by protocol number.
        @param verifyChecksum: whether the checksums of IPv4 headers are verified.
        """
        self._protocols = protocols
        self._verify = verifyChecksum
        self._flows: dict[bytes, Known] = {}
        self.refusers: dict[int, Refuser] = {}
        # None until the first flow is learned, to save memory in hosts that learn none.
        self._learning: TokenBucket | None = None

    def receive(
        self,
        data: bytes,
        start: int,
        offload: Offload | None,
        port: IPacketTransport | None,
        now: float,
        ethernet: IEthernetTransport | None = None,
    ) -> bool:
        """
        Receive a packet, if it is an ordinary packet of a known flow.

        @param data: the packet, which ends where C{data} ends or is followed by padding.
        @param start: the position of the IP header.
        @param offload: the work that is not finished in the packet.
        @param port: the port that has received the packet.
        @param now: the time in seconds at which the packet was received.
        @param ethernet: the Ethernet layer that has received the packet. C{None}: there is none.

        @return: whether the packet was received. Otherwise nothing was done, and the layers have to receive it.
        """
        try:
            first, length, fragment, protocol, key, third, fourth = _header4(data, start)
            if first == 0x45:
                transport, end = start + 20, start + length
                known = self._flows.get(key)
                if known is None:
                    if protocol == _TCP:
                        refuser = self.refusers.get(4)
                        return (
                            refuser is not None
                            and not fragment & 0x3FFF
                            and refuser(data, start, transport, end, key, third << 16 | fourth, offload, now, ethernet)
                        )
                    known = self._messageFlow(protocol, key)
                if (
                    known is None
                    or known.protocol != protocol
                    or fragment & 0x3FFF
                    or (self._verify and _number(data[start : start + 20], "big") % 0xFFFF)
                ):
                    return False
            elif first >> 4 == 6:
                _, length, protocol, key, third, fourth = _header6(data, start)
                transport = start + 40
                end = transport + length
                known = self._flows.get(key)
                if known is None:
                    if protocol == _TCP:
                        refuser = self.refusers.get(6)
                        return refuser is not None and refuser(
                            data, start, transport, end, key, third << 16 | fourth, offload, now, ethernet
                        )
                    known = self._messageFlow(protocol, key)
                if known is None or known.protocol != protocol:
                    return False
            else:
                return False
        except struct.error:
            return False
        if (
            end > len(data)
            or known.port is not port
            or known.ethernet is not ethernet
            or known.link != (b"" if ethernet is None else data[start - LINK_LENGTH : start])
        ):
            return False
        return known.received(data, transport, end, third, fourth, offload, now)

    def _messageFlow(self, protocol: int, key: bytes) -> Known | None:
        """
        Find the flow of an ICMP message.

        @param key: the addresses, and the first four octets behind the IP header.
        """
        # The last two octets are the checksum.
        return self._flows.get(key[:-2]) if protocol in (_ICMP, _ICMP6) else None

    def refuse(self, packet: Packet, refuser: Refuser, layer: Any, method: Callable[..., None]) -> None:
        """
        Have TCP segments of unknown flows tried by a refuser first. L{forget} ends that.

        @param packet: a segment that has been refused.
        @param refuser: refuses SYNs in less time than the layers.
        @param layer: the layer of TCP.
        @param method: the method of the layer's class that receives packets.
        """
        if not self.never and self._isOrdinary(packet, layer) and _isOwnReceiver(layer, method):
            self.refusers[packet.version] = refuser

    def learn(
        self,
        packet: Packet,
        key: bytes,
        layer: Any,
        method: Callable[..., None],
        make: Callable[[], Known],
        isFirst: bool = False,
    ) -> None:
        """
        Learn a flow from a packet that the layers have received, if the packet is ordinary.

        @param packet: the packet.
        @param key: the packed source and destination address, and both ports. In place of the ports, ICMP has its type
            and its code.
        @param layer: the layer of UDP, TCP or ICMP.
        @param method: the method of the layer's class that receives packets.
        @param make: returns the flow.
        @param isFirst: whether this is the first packet of the flow by this path.
        """
        ethernet = packet.ethernet
        flows = self._flows
        linkLength = 0 if ethernet is None else LINK_LENGTH
        link = packet.data[packet.network - linkLength : packet.network]
        known = flows.get(key)
        if self.never or (isFirst and not self.atOnce) or (known is not None and known.covers(packet, link)):
            return
        own = packet.ip.ownAddresses
        if not self._isOrdinary(packet, layer) or (
            own is not None and key[: 8 if packet.version == 4 else 32] not in own.admitted
        ):
            return
        if self._learning is None:
            self._learning = TokenBucket(LEARN_RATE, LEARN_RATE)
        # The classes are examined last, because that takes longer than all other conditions together.
        if not self._learning.take(packet.time) or not _isOwnReceiver(layer, method):
            return
        known = make()
        known.port = packet.port
        known.ethernet = ethernet
        known.link = link
        if len(flows) >= MAX_KNOWN:
            flows.clear()
        flows[key] = known

    def _isOrdinary(self, packet: Packet, layer: Any) -> bool:
        """
        Whether packets such as one that C{layer} has received can skip the layers.
        """
        ethernet = packet.ethernet
        # The length of the IP header, and the position of the protocol number in it.
        header, field = (ipv4.HEADER_LENGTH, 9) if packet.version == 4 else (ipv6.HEADER_LENGTH, 6)
        return not (
            packet.ip is not layer.transport
            or packet.reassembled
            or packet.transport - packet.network != header
            or (ethernet is None and packet.readEtherType)
            or (ethernet is not None and packet.network - packet.link != LINK_LENGTH)
            or [id(each) for each in self._protocols.get(packet.data[packet.network + field], ())] != [id(layer)]
        )

    def forget(self, key: bytes | None = None) -> None:
        """
        Forget one known flow, or all of them.

        @param key: the packed source and destination address, and both ports. C{None}: all flows.
        """
        if key is None:
            self._flows.clear()
            self.refusers.clear()
        else:
            self._flows.pop(key, None)

    def tables(self) -> list[TableState]:
        """
        Return the state of the table of known flows: see
        L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [TableState("known flows", len(self._flows), MAX_KNOWN, Policy.FORGET_ALL.value)]
