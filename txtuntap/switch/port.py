"""
A port of a switch: it checks each frame that it receives, and forwards it to the ports that are to send it.

Read IEEE 802.1Q sections 8.6 to 8.8 first.
"""

from __future__ import annotations

from math import inf
from typing import Any

from zope.interface import implementer

from txtuntap.interfaces import IEthernetProtocol, IPacketReceiver
from txtuntap.layer.bounded import Table, TableState
from txtuntap.layer.counters import FrameCounters
from txtuntap.layer.drops import FAULT_DROPS, Drop
from txtuntap.layer.lazy import Lazy
from txtuntap.layer.protocol import PacketProtocol
from txtuntap.layer.relay import bufferOf, forward, forwardTogether, joinsSegments
from txtuntap.layer.tokenbucket import TokenBucket
from txtuntap.packet import Packet
from txtuntap.switch.stations import NULL_ADDRESS, VLAN, Entry, ISwitchPort, StationTable, stationsOfPort
from txtuntap.wire import ipv4, ipv6
from txtuntap.wire.checksum import onesSum
from txtuntap.wire.ethernet import HEADER_LENGTH, SERVICE_VLAN, TAG
from txtuntap.wire.ethernet import VLAN as VLAN_TYPE
from txtuntap.wire.offload import MAX_TAGS, fault, keepsFilteredFields, networkStart, payloadStart, segments, shifted
from txtuntap.wire.routerguard import frameConfigures
from txtuntap.wire.tcp import PROTOCOL as TCP

_TAG_LENGTH = TAG.size
_TYPE = 2 * 6
_TAG = VLAN_TYPE.to_bytes(2, "big")
_SERVICE_TAG = SERVICE_VLAN.to_bytes(2, "big")
_TAGS = _TAG, _SERVICE_TAG
_VLAN_NUMBER = 0x0FFF
_PRIORITY = 0xF000

#: The first five octets of sixteen group addresses whose frames no bridge forwards (IEEE 802.1Q table 8-1), such as
#: those of the spanning tree protocol and of pause frames. The sixth octet is below 16.
_RESERVED = bytes.fromhex("0180c20000")
_BROADCAST = b"\xff" * 6

#: The least octets of a frame that is held until the end of a read. Shorter ones are mostly acknowledgments. And the
#: most frames that a port holds.
MIN_HELD, MAX_HELD = 512, 64

#: The first octet of an EtherType, and the position of the protocol number in a frame: for IPv4, and for IPv6.
_IPV4, _PROTOCOL4 = 0x08, HEADER_LENGTH + 9
_IPV6, _PROTOCOL6 = 0x86, HEADER_LENGTH + 6

#: The VLANs of tagged frames of all ports that take none.
_UNTAGGED: dict[int, VLAN] = {}

# Each flooded frame uses one of these members. A lookup in the Enum class would take longer.
_BROADCAST_STORM = Drop.BROADCAST_STORM
_MULTICAST_STORM = Drop.MULTICAST_STORM
_UNKNOWN_STORM = Drop.UNKNOWN_STORM


@implementer(IEthernetProtocol, IPacketReceiver, ISwitchPort)
class SwitchPort(PacketProtocol):
    """
    One port of a L{Switch<txtuntap.switch.Switch>}, made by the switch's C{addPort}. A port is put on one transport.

    A superpacket is forwarded as one frame. It is segmented only if the transport of the other port does not take
    superpackets. TCP segments of one connection that were read together become a superpacket, if the other port
    has a device that takes these.

    The counters are named as in RFC 4188, where it has a name for them. Each counts a superpacket as one frame:

      - C{inFrames}, C{outFrames}: received and sent.
      - C{mtuExceededDiscards}: not sent, because the frame is longer than the transport's MTU.
      - C{outDiscards}: not sent, because the port is on no transport that runs, or was just removed from the switch.
      - C{outVlans}: not sent, because an inner tag would put the untagged frame into another VLAN.
      - C{inErrors}: dropped, because the frame is shorter than its header, or truncated.
      - C{inOffloadErrors}, C{inUnknownOffloads}: dropped, because the offload header is wrong, or of an unknown type.
      - C{inVlans}: dropped, because the port is not in the frame's VLAN.
      - C{inReserved}: dropped, because the destination is a group whose frames no bridge forwards.
      - C{inSourceErrors}: dropped, because the source is a group address or all zeros.
      - C{inForbiddenSources}: dropped, because the source station may not send on this port.
      - C{inForbiddenRoles}: dropped, because only a router or a DHCP server sends such a packet, and none may be here.
      - C{inLocal}: dropped, because the destination station is on this port, too.
      - C{inIsolated}: dropped, because this port and the port of the destination station are isolated.
      - C{stormBroadcasts}, C{stormMulticasts}, C{stormUnknowns}: dropped, because of the rate limit for such frames.
      - C{inDiscards}: dropped, because the port was removed from the switch.
      - C{flooded}: sent to all ports, because the port of the destination station is unknown.
      - C{stationMoves}: the source station was known on another port, and is known on this one now.
      - C{learnedEntryDiscards}: the source station was not learned, because the port had
        L{MAX_STATIONS<txtuntap.switch.stations.MAX_STATIONS>} stations.

    @ivar name: the name of the port on its switch.
    @ivar table: the stations that the switch knows, shared by all its ports.
    @ivar isolated: whether frames from this port are not forwarded to other isolated ports.
    @ivar bound: the link addresses of the only stations that may send on this port, six octets each. C{None}: any
        station may.
    @ivar router: whether routers and DHCP servers may send on this port the packets that configure other hosts.
    @cvar entries: the stations that were learned on this port.
    @ivar lastSweep: when C{entries} was last searched for stations that are too old, in seconds.
    """

    handlesFailures = True
    takesOffload = True
    entries = Lazy("_entriesMade", lambda port: stationsOfPort())

    def __init__(
        self,
        table: StationTable,
        name: str,
        untagged: VLAN | None,
        tagged: dict[int, VLAN] | None,
        isolated: bool,
        bound: frozenset[bytes] | None,
        router: bool,
        broadcasts: TokenBucket | None,
        multicasts: TokenBucket | None,
        unknowns: TokenBucket | None,
    ) -> None:
        """
        Make a port of a switch, which has checked the arguments.

        @param table: the stations that the switch knows.
        @param name: the name of the port.
        @param untagged: the VLAN of frames without a tag; C{None} if they are in none.
        @param tagged: the VLANs of a trunk by number; C{None} for an access port.
        @param isolated: whether frames from this port are not forwarded to other isolated ports.
        @param bound: the link addresses of the only stations that may send here; C{None}: any station may.
        @param router: whether routers and DHCP servers may send here.
        @param broadcasts: the rate limit of broadcast frames; C{None}: there is no limit.
        @param multicasts: the same for frames to other groups.
        @param unknowns: the same for frames to stations whose port is unknown.
        """
        super().__init__()
        self.counters: FrameCounters = FrameCounters()
        self.name = name
        self.isolated = isolated
        self.bound = bound
        self.router = router
        self._entriesMade: Table[Entry, None] | None = None
        self.lastSweep = -inf
        self.table = table
        self._seconds = table.now
        self._untagged = untagged
        # The VLANs whose tag a received frame may have. A trunk is in its native VLAN, too, so a frame may have that
        # tag (IEEE 802.1Q section 8.6.2).
        self._tagged = tagged or _UNTAGGED
        if tagged is not None and untagged is not None:
            self._tagged = {**tagged, untagged.number: untagged}
        self._broadcasts = broadcasts
        self._multicasts = multicasts
        self._unknowns = unknowns
        self._removed = False
        # The frames of the current read that wait, so that TCP segments among them are joined.
        self._held: list[Any] = []

    @property
    def untagged(self) -> int | None:
        """
        The number of the VLAN of frames without a tag; C{None} if they are in none.
        """
        return None if self._untagged is None else self._untagged.number

    def __repr__(self) -> str:
        return f"<SwitchPort {self.name}>"

    # Starting and stopping

    def addProto(self, num: int, proto: Any) -> None:
        """
        Refuse a layer above: a host on the switch needs a port of its own.

        @raise TypeError: always.
        """
        raise TypeError(f"a SwitchPort takes no layer above it: give {proto!r} a port of its own, with a Link")

    def makeConnection(self, transport: Any) -> None:
        """
        Connect this port to a transport: the port of an interface, one end of a link, or middleware on either.

        @raise TypeError: C{transport} is none of these.
        """
        if not hasattr(transport, "writePacket"):
            raise TypeError(f"{transport!r} takes no packets: put a SwitchPort on a TuntapPort, or on a Link")
        super().makeConnection(transport)

    def doStart(self) -> None:
        """
        Start on the transport.

        @raise RuntimeError: this port runs on a transport already.
        """
        if self.numPorts:
            raise RuntimeError(f"{self!r} is on a transport already: add another port to the switch for this one")
        super().doStart()

    def doStop(self) -> None:
        """
        Stop on the transport, and forget the stations that were learned on this port.
        """
        super().doStop()
        self.table.forgetAll(self)

    def vlans(self) -> list[VLAN]:
        """
        List all VLANs that this port is in.
        """
        vlans = [*self._tagged.values()]
        return vlans if self._untagged is None or self._untagged in vlans else [*vlans, self._untagged]

    def isIn(self, vlan: VLAN) -> bool:
        """
        Whether this port is in a VLAN.
        """
        return vlan is self._untagged or self._tagged.get(vlan.number) is vlan

    def removed(self) -> None:
        """
        Note that the switch has removed this port: all frames are dropped from now on.
        """
        self.table.forgetAll(self)
        self._untagged, self._tagged = None, _UNTAGGED
        self._removed = True

    def tables(self) -> list[TableState]:
        """
        List the bounded tables: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [self.entries.state]

    # Receiving

    def datagramReceived(self, data: bytes, partial: int = 0) -> None:  # type: ignore[override]
        """
        Process a frame from a transport that has only the interface of C{twisted.pair}.

        @param data: the frame.
        @param partial: whether the frame was truncated.
        """
        self.packetReceived(Packet(data, time=self._seconds(), partial=bool(partial)))

    def packetReceived(self, packet: Packet) -> None:
        """
        Process a received frame: check it, learn its source station, and forward it to one port or to all.
        """
        data = packet.data
        start = packet.start
        length = packet.end - start
        counters = self.counters
        counters.inFrames += 1
        if length < HEADER_LENGTH or packet.partial:
            return self.dropped(packet, Drop.MALFORMED)
        offload = packet.offload
        if offload is not None and (
            offload.isSuperpacket
            or packet.end < offload.least
            or (
                offload.isOpen
                and (offload.checksumStart < start + HEADER_LENGTH or data[start + 12 : start + 14] in _TAGS)
            )
        ):
            wrong = fault(data, offload, packet.network or networkStart(data, start))
            if wrong is not None:
                return self.dropped(packet, FAULT_DROPS[wrong])
        vlan = self._untagged
        tci = 0
        isTagged = data[start + 12] == 0x81 and not data[start + 13]
        if isTagged:
            if length < HEADER_LENGTH + _TAG_LENGTH:
                return self.dropped(packet, Drop.MALFORMED)
            tci = data[start + 14] << 8 | data[start + 15]
            if tci & _VLAN_NUMBER:
                vlan = self._tagged.get(tci & _VLAN_NUMBER)
        if vlan is None:
            return self.dropped(packet, Drop.DISCARDED if self._removed else Drop.VLAN)
        dest = data[start : start + 6]
        source = data[start + 6 : start + 12]
        isGroup = dest[0] & 1
        if isGroup and dest[:5] == _RESERVED and dest[5] < 16:
            return self.dropped(packet, Drop.RESERVED_GROUP)
        if not self.router and _configures(packet):
            return self.dropped(packet, Drop.FORBIDDEN_ROLE)
        now = self._seconds()
        entry = vlan.stations.get(source)
        if entry is not None and entry.port is self:
            entry.heard = now
        else:
            forbidden = self._whyForbidden(source)
            if forbidden is not None:
                return self.dropped(packet, forbidden)
            learned = self.table.learn(vlan, source, self, now)
            if learned is not None:
                counters[learned.value] += 1
        if isGroup:
            storm, drop = self._broadcasts, _BROADCAST_STORM
            if dest != _BROADCAST:
                storm, drop = self._multicasts, _MULTICAST_STORM
        else:
            entry = vlan.stations.get(dest)
            if entry is not None and 0 <= now - entry.heard <= self.table.ageingTime:
                port = entry.port
                if port is self or self.isolated:
                    return self._toStation(port, packet, vlan, isTagged, tci)
                return port.send(packet, vlan, isTagged, tci)
            bound = self.table.boundTo(dest)
            if bound is not None and bound.isIn(vlan):
                return self._toStation(bound, packet, vlan, isTagged, tci)
            storm, drop = self._unknowns, _UNKNOWN_STORM
        if storm is not None and not storm.take(now, count=_packetCount(packet)):
            return self.dropped(packet, drop)
        if not isGroup:
            counters["flooded"] += 1
        for port in vlan.ports:
            if port is not self and port.numPorts and not (self.isolated and port.isolated):
                port.send(packet, vlan, isTagged, tci)

    def _whyForbidden(self, source: bytes) -> Drop | None:
        """
        Check whether a station, which is not known on this port yet, may send here.

        @param source: the link address of the station.

        @return: the reason why it may not; C{None} if it may.
        """
        if source[0] & 1 or source == NULL_ADDRESS:
            return Drop.SOURCE
        bound = self.table.boundTo(source)
        if bound is not self and (bound is not None or self.bound is not None):
            return Drop.FORBIDDEN_SOURCE
        return None

    # Sending

    def _toStation(self, port: ISwitchPort, packet: Packet, vlan: VLAN, isTagged: bool, tci: int) -> None:
        """
        Forward a frame to the port of its destination station, unless that port may not have it.
        """
        if port is self:
            self.dropped(packet, Drop.SAME_PORT)
        elif self.isolated and port.isolated:
            self.dropped(packet, Drop.ISOLATED_PORT)
        else:
            port.send(packet, vlan, isTagged, tci)

    def send(self, packet: Packet, vlan: VLAN, isTagged: bool, tci: int) -> None:
        """
        Send a frame out of this port. Add, replace or remove its tag as this port needs it.

        @param packet: the frame as it was received.
        @param vlan: the VLAN of the frame.
        @param isTagged: whether the frame has a tag.
        @param tci: the tag control information of the tag (IEEE 802.1Q section 9.6); 0 if there is none.
        """
        counters = self.counters
        transport: Any = self.transport
        if transport is None or self._removed:
            return self.dropped(packet, Drop.LEAVING_DISCARDED)
        if packet.end - packet.start - HEADER_LENGTH > transport.mtu and _longestPacket(packet) > transport.mtu:
            return self.dropped(packet, Drop.LEAVING_TOO_LONG)
        frame, offload = bufferOf(packet)
        if vlan is self._untagged and not isTagged:
            if frame[_TYPE] == _SERVICE_TAG[0] and _hasInnerTag(frame, _TYPE):
                return self.dropped(packet, Drop.LEAVING_VLAN)
            buffers: list[Any] = [frame]
        else:
            shift = -_TAG_LENGTH if isTagged else 0
            rest = memoryview(frame)[_TYPE - shift :]
            if vlan is not self._untagged:
                tag = TAG.pack(VLAN_TYPE, tci & _PRIORITY | vlan.number)
                buffers = [frame[:_TYPE], tag, rest]
                shift += _TAG_LENGTH
            elif _hasInnerTag(rest, 0):
                # Without the outer tag, the frame would be in the VLAN of the inner tag.
                return self.dropped(packet, Drop.LEAVING_VLAN)
            else:
                buffers = [frame[:_TYPE], rest]
            if offload is not None and shift:
                offload = shifted(offload, shift)
        if (
            offload is None
            and len(frame) >= MIN_HELD
            and len(buffers) == 1
            and (ends := getattr(packet.port, "readEnd", None)) is not None
            and joinsSegments(transport)
            and _mayBeJoined(frame)
        ):
            held = self._held
            if not held:
                ends.append(self._release)
            held.append(frame)
            if len(held) >= MAX_HELD:
                self._release()
            return
        if self._held:
            # The order of all frames stays.
            self._release()
        if offload is None:
            transport.writePacket(buffers)
        elif not offload.features & ~getattr(transport, "offloads", 0):
            transport.writePacket(buffers, offload)
        else:
            wrong = forward(transport, b"".join(buffers), offload, True)
            if wrong is not None:
                return self.dropped(packet, wrong)
        counters.outFrames += 1

    def _release(self) -> None:
        """
        Send the frames that were held, because their read has ended, or another frame is to follow them.
        """
        held, self._held = self._held, []
        transport: Any = self.transport
        if transport is None or self._removed:
            self.counters[Drop.LEAVING_DISCARDED.counter] += len(held)
            return
        self.counters.outFrames += len(held)
        forwardTogether(transport, held, True)


def _mayBeJoined(frame: Any) -> bool:
    """
    Whether a long frame without a tag has a TCP segment with a valid checksum. It can become a part of a superpacket.
    """
    kind = frame[_TYPE]
    if kind == _IPV4 and frame[_PROTOCOL4] == TCP:
        start = HEADER_LENGTH + ipv4.HEADER_LENGTH
        addresses = frame[start - 8 : start]
    elif kind == _IPV6 and frame[_PROTOCOL6] == TCP:
        start = HEADER_LENGTH + ipv6.HEADER_LENGTH
        addresses = frame[start - 32 : start]
    else:
        return False
    # A kernel that forwards a superpacket computes its checksums anew, which would hide corruption.
    return not (onesSum(addresses) + TCP + len(frame) - start + onesSum(frame[start:])) % 0xFFFF


def _configures(packet: Packet) -> bool:
    """
    Whether a frame has a packet by which a router or a DHCP server configures other hosts. A packet that can become one
    when its checksum is filled in counts as one.
    """
    data = packet.data
    network = packet.network or networkStart(data, packet.start)
    # Most frames have no padding. A view is used only for the others, because reading octets through it is slower.
    frame = data if packet.end == len(data) else memoryview(data)[: packet.end]
    if frameConfigures(frame, network):
        return True
    offload = packet.offload
    return (
        offload is not None
        and offload.isOpen
        and not offload.isSuperpacket
        and not keepsFilteredFields(frame, offload, network)
    )


def _hasInnerTag(frame: bytes | memoryview, at: int) -> bool:
    """
    Whether a frame that is to be sent untagged has a tag, which would put it into another VLAN.

    Service tags (802.1ad) with VLAN 0 are skipped, because Linux removes them. The frame counts as tagged if it has
    more tags than are searched.

    @param at: the offset of the EtherType.
    """
    last = at + MAX_TAGS * _TAG_LENGTH
    while frame[at : at + 2] == _SERVICE_TAG and at < last:
        if int.from_bytes(frame[at + 2 : at + 4], "big") & _VLAN_NUMBER:
            return False
        at += _TAG_LENGTH
    return at >= last or frame[at : at + 2] == _TAG


def _longestPacket(packet: Packet) -> int:
    """
    The length in octets, without link headers, of the packet in a frame. For a superpacket, it is the length of its
    longest segment.
    """
    # The offset of the IP header is known already if the packet has an offload.
    network = packet.network or networkStart(packet.data, packet.start)
    offload = packet.offload
    if offload is None or not offload.isSuperpacket:
        return packet.end - network
    return payloadStart(packet.data, offload) - network + offload.size


def _packetCount(packet: Packet) -> int:
    """
    The number of packets in a frame: the number of segments of a superpacket, 1 for any other frame.
    """
    offload = packet.offload
    if offload is None or not offload.isSuperpacket:
        return 1
    return segments(packet.data, offload, packet.end)[0]
