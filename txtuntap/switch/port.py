"""
A port of a switch: what becomes of the frames that come there, and how they leave by another.
"""

from __future__ import annotations

from typing import Any

from zope.interface import implementer

from txtuntap.interfaces import IEthernetProtocol, IPacketReceiver
from txtuntap.layer.bounded import TableState
from txtuntap.layer.counters import FrameCounters
from txtuntap.layer.drops import FAULT_DROPS, Drop
from txtuntap.layer.protocol import PacketProtocol
from txtuntap.layer.relay import bufferOf, forward
from txtuntap.layer.tokenbucket import TokenBucket
from txtuntap.packet import Packet
from txtuntap.switch.stations import NULL_ADDRESS, VLAN, ISwitchPort, StationTable, stationsOfPort
from txtuntap.wire.ethernet import HEADER_LENGTH, SERVICE_VLAN, TAG
from txtuntap.wire.ethernet import VLAN as VLAN_TYPE
from txtuntap.wire.offload import MAX_TAGS, fault, networkStart, payloadStart, shifted, spares
from txtuntap.wire.routerguard import frameConfigures

_TAG_LENGTH = TAG.size
_TYPE = 2 * 6
_TAG = VLAN_TYPE.to_bytes(2, "big")
_SERVICE_TAG = SERVICE_VLAN.to_bytes(2, "big")
_TAGS = _TAG, _SERVICE_TAG
_VLAN_NUMBER = 0x0FFF
_PRIORITY = 0xF000

#: Frames to these sixteen groups are for a bridge itself (IEEE 802.1Q table 8-1): spanning tree and pause frames, say.
_RESERVED = bytes.fromhex("0180c20000")
_BROADCAST = b"\xff" * 6

# Each frame to many passes these names, and to look a member up in its Enum takes longer.
_BROADCAST_STORM = Drop.BROADCAST_STORM
_MULTICAST_STORM = Drop.MULTICAST_STORM
_UNKNOWN_STORM = Drop.UNKNOWN_STORM


@implementer(IEthernetProtocol, IPacketReceiver, ISwitchPort)
class SwitchPort(PacketProtocol):
    """
    One port of a L{Switch<txtuntap.switch.Switch>}, made by its C{addPort}. It goes on one transport.

    Superpackets go through it as they are, and are cut only where they leave by a transport that does not take them.

    Counters, in words of RFC 4188 where it has them: C{inFrames}, C{outFrames} (a superpacket is one);
    C{mtuExceededDiscards} (too long to leave by this port), C{outDiscards} (this port is on nothing that runs),
    C{outVlans} (what is behind the tag that would be taken off is another one). What came and goes nowhere: C{inErrors}
    (shorter than a header, or cut), C{inOffloadErrors}, C{inUnknownOffloads} (what was left open cannot be),
    C{inVlans} (no VLAN of this port's), C{inReserved} (for a bridge itself), C{inSourceErrors} (from a group, or from
    nobody), C{inForbiddenSources} (from a station that may not send here), C{inForbiddenRoles} (from a router or a
    DHCP server, to configure others, where none may be), C{inLocal} (for a station on this port),
    C{inIsolated} (from one isolated port to another), C{stormBroadcasts}, C{stormMulticasts}, C{stormUnknowns} (more
    than a second's), C{inDiscards} (the port was removed). And C{flooded} (sent to all, since the station is unknown),
    C{stationMoves} (a station that was known on another port is known here now), C{learnedEntryDiscards} (a frame came
    whose station was not learned here: there were L{MAX_STATIONS<txtuntap.switch.stations.MAX_STATIONS>}).

    @ivar name: what it is called.
    @ivar table: the stations that all ports of its switch know.
    @ivar isolated: whether what comes here is kept from other isolated ports.
    @ivar bound: the addresses of those who may send here, six octets each; L{None}: anybody may.
    @ivar router: whether routers and DHCP servers may send here what others are configured by.
    """

    handlesFailures = True
    takesOffload = True

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
        super().__init__()
        self.counters: FrameCounters = FrameCounters()
        self.name = name
        self.isolated = isolated
        self.bound = bound
        self.router = router
        #: Stations that were learned here, and when it was last looked for those that are too old.
        self.entries = stationsOfPort()
        self.swept = float("-inf")
        self.table = table
        self._seconds = table.now
        self._untagged = untagged
        # Whose tag may be on what comes. On a trunk, so may its native VLAN's (IEEE 802.1Q 8.6.2: it is in that).
        self._tagged = tagged or {}
        if tagged is not None and untagged is not None:
            self._tagged = {**tagged, untagged.number: untagged}
        self._broadcasts = broadcasts
        self._multicasts = multicasts
        self._unknowns = unknowns
        self._removed = False

    @property
    def untagged(self) -> int | None:
        """
        The number of the VLAN of frames without a tag; L{None} if they are in none.
        """
        return None if self._untagged is None else self._untagged.number

    def __repr__(self) -> str:
        return f"<SwitchPort {self.name}>"

    # Life

    def addProto(self, num: int, proto: Any) -> None:
        """
        Nothing goes above a port of a switch: what is on the switch has a port of its own.
        """
        raise TypeError(f"nothing goes above a SwitchPort: give {proto!r} a port of its own, with a Link")

    def makeConnection(self, transport: Any) -> None:
        """
        Be on a port of an interface, or at the end of a link.

        @raise TypeError: C{transport} is none of these, nor middleware.
        """
        if not hasattr(transport, "writePacket"):
            raise TypeError(f"{transport!r} takes no packets: a SwitchPort goes on a TuntapPort, or on a Link")
        super().makeConnection(transport)

    def doStart(self) -> None:
        """
        Begin.

        @raise RuntimeError: this is on something already.
        """
        if self.numPorts:
            raise RuntimeError(f"{self!r} is on one transport: add another port for the other one")
        super().doStart()

    def doStop(self) -> None:
        """
        Forget who was here.
        """
        super().doStop()
        self.table.forgetAll(self)

    def vlans(self) -> list[VLAN]:
        """
        All VLANs that this port is in.
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
        The switch has no such port any more.
        """
        self.table.forgetAll(self)
        self._untagged, self._tagged = None, {}
        self._removed = True

    def tables(self) -> list[TableState]:
        """
        See L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [self.entries.state]

    # In

    def datagramReceived(self, data: bytes, partial: int = 0) -> None:  # type: ignore[override]
        """
        A frame has come from something that speaks C{twisted.pair}.
        """
        self.packetReceived(Packet(data, time=self._seconds(), partial=bool(partial)))

    def packetReceived(self, packet: Packet) -> None:
        """
        A frame has come.
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
            forbidden = self._forbidden(source)
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
        if storm is not None and not storm.take(now, count=_packets(packet)):
            return self.dropped(packet, drop)
        if not isGroup:
            counters["flooded"] += 1
        for port in vlan.ports:
            if port is not self and port.numPorts and not (self.isolated and port.isolated):
                port.send(packet, vlan, isTagged, tci)

    def _forbidden(self, source: bytes) -> Drop | None:
        """
        A station was heard that is not known, or not to be here.

        @return: why it may not send here; L{None} if it may.
        """
        if source[0] & 1 or source == NULL_ADDRESS:
            return Drop.SOURCE
        bound = self.table.boundTo(source)
        if bound is not self and (bound is not None or self.bound is not None):
            return Drop.FORBIDDEN_SOURCE
        return None

    # Out

    def _toStation(self, port: ISwitchPort, packet: Packet, vlan: VLAN, isTagged: bool, tci: int) -> None:
        if port is self:
            self.dropped(packet, Drop.SAME_PORT)
        elif self.isolated and port.isolated:
            self.dropped(packet, Drop.ISOLATED_PORT)
        else:
            port.send(packet, vlan, isTagged, tci)

    def send(self, packet: Packet, vlan: VLAN, isTagged: bool, tci: int) -> None:
        """
        Have a frame leave by this port.

        @param isTagged: whether it has a tag; if so, C{tci} is what stands in that (TCI).
        """
        counters = self.counters
        transport: Any = self.transport
        if transport is None or self._removed:
            return self.dropped(packet, Drop.LEAVING_DISCARDED)
        if packet.end - packet.start - HEADER_LENGTH > transport.mtu and _longest(packet) > transport.mtu:
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
                # Without the outer tag, it would be in the VLAN of the inner one.
                return self.dropped(packet, Drop.LEAVING_VLAN)
            else:
                buffers = [frame[:_TYPE], rest]
            if offload is not None and shift:
                offload = shifted(offload, shift)
        if offload is None:
            transport.writePacket(buffers)
        elif not offload.features & ~getattr(transport, "offloads", 0):
            transport.writePacket(buffers, offload)
        else:
            wrong = forward(transport, b"".join(buffers), offload, True)
            if wrong is not None:
                return self.dropped(packet, wrong)
        counters.outFrames += 1


def _configures(packet: Packet) -> bool:
    """
    Whether a frame is one by which a router or a DHCP server configures others, or may become one.
    """
    data = packet.data
    network = packet.network or networkStart(data, packet.start)
    # Most have no padding, and octets are read faster than a view of them.
    frame = data if packet.end == len(data) else memoryview(data)[: packet.end]
    if frameConfigures(frame, network):
        return True
    offload = packet.offload
    return offload is not None and offload.isOpen and not offload.isSuperpacket and not spares(frame, offload, network)


def _hasInnerTag(frame: bytes | memoryview, at: int) -> bool:
    """
    Whether a frame that leaves without a tag would be in the VLAN of another one.

    @param at: where its EtherType is. Tags of priority with that of 802.1ad (VLAN 0) are looked behind, since Linux
        strips them.
    """
    last = at + MAX_TAGS * _TAG_LENGTH
    while frame[at : at + 2] == _SERVICE_TAG and at < last:
        if int.from_bytes(frame[at + 2 : at + 4], "big") & _VLAN_NUMBER:
            return False
        at += _TAG_LENGTH
    return at >= last or frame[at : at + 2] == _TAG


def _longest(packet: Packet) -> int:
    """
    How many octets of a frame's packets there are behind link headers, in the longest of them.
    """
    # A port or link has found the IP header already if something is open in the packet.
    network = packet.network or networkStart(packet.data, packet.start)
    offload = packet.offload
    if offload is None or not offload.isSuperpacket:
        return packet.end - network
    return payloadStart(packet.data, offload) - network + offload.size


def _packets(packet: Packet) -> int:
    """
    How many packets a frame stands for.
    """
    offload = packet.offload
    if offload is None or not offload.isSuperpacket:
        return 1
    return max(1, -((payloadStart(packet.data, offload) - packet.end) // offload.size))
