"""
A learning Ethernet switch (a bridge: IEEE 802.1Q) between any number of interfaces, hosts and tunnels.

    switch = Switch(reactor)
    TuntapPort("tap0", switch.addPort()).startListening()
    TuntapPort("tap1", switch.addPort()).startListening()
    Link(host.ethernet, switch.addPort(), reactor).start()

There is no spanning tree: a loop of links is a storm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from txtuntap.forwarding import forward, received
from txtuntap.interfaces import IEthernetProtocol, IPacketReceiver
from txtuntap.layer import Layer
from txtuntap.packet import Packet
from txtuntap.tokenbucket import TokenBucket
from txtuntap.wire.address import linkAddressText, packLinkAddress
from txtuntap.wire.ethernet import HEADER_LENGTH, TAG, VLAN
from txtuntap.wire.offload import behind, fault, networkStart, payloadStart

#: Seconds after which a station that is not heard is forgotten (IEEE 802.1Q table 8-3).
AGEING_TIME = 300.0

#: Stations learned on one port. A new one is not learned then: frames to it are flooded. So nobody loses the station
#: he speaks to by others' making up addresses, and no port has but its own share of the table.
MAX_STATIONS = 1024

#: Seconds between two looks for stations to be forgotten on a port that has as many.
_SWEEP_INTERVAL = 1.0

_TAG_LENGTH = TAG.size
_TYPE = 2 * 6
_VLAN_NUMBER = 0x0FFF
_PRIORITY = 0xF000

#: What is sent to these sixteen is for a bridge itself (IEEE 802.1Q table 8-1), such as spanning tree and pause frames.
_RESERVED = bytes.fromhex("0180c20000")
_BROADCAST = b"\xff" * 6
_NOBODY = bytes(6)


@attrs.frozen
class Station:
    """
    Whom a switch knows.

    @ivar address: its link address, as text.
    @ivar vlan: the VLAN it was heard in.
    @ivar port: the port it was heard on.
    @ivar age: how many seconds ago.
    """

    address: str
    vlan: int
    port: SwitchPort
    age: float


class Switch:
    """
    Takes each frame to the port where its station was heard last; to all others, where that is not known, and if it is
    for all or for a group.

    Stations are learned in each VLAN by itself. They are forgotten when they have not been heard for L{ageingTime}, or
    when their port stops.

    @ivar ports: those that there are, by name.
    @ivar ageingTime: seconds.
    """

    def __init__(self, clock: IReactorTime, ageingTime: float = AGEING_TIME) -> None:
        """
        @param clock: an C{IReactorTime}: the reactor, for instance.
        @param ageingTime: how many seconds a station is known that is not heard.
        """
        self.ports: dict[str, SwitchPort] = {}
        self.ageingTime = ageingTime
        self.clock = clock
        self._lans: dict[int, _LAN] = {}
        # Whose port is known beforehand.
        self._bound: dict[bytes, SwitchPort] = {}
        self._added = 0

    def addPort(
        self,
        name: str | None = None,
        vlan: int | None = None,
        trunk: Iterable[int] | None = None,
        isolated: bool = False,
        stations: Iterable[str | bytes] | None = None,
        broadcasts: float | None = None,
        multicasts: float | None = None,
        unknowns: float | None = None,
    ) -> SwitchPort:
        """
        Make a port: an C{IEthernetProtocol}, to be put on a L{TuntapPort} or at one end of a L{Link}, at whose other
        end is a host or a tunnel.

        @param name: what it is to be called; C{"port1"} and so on, by default.
        @param vlan: the VLAN of frames without a tag, and of those with one of priority only (VLAN 0): 1, by default.
            On a trunk, its native VLAN; by default it has none.
        @param trunk: the VLANs that frames come and go with a tag of. L{None}: this is an access port, and what comes
            with a tag is dropped.
        @param isolated: whether to keep what comes here from other isolated ports.
        @param stations: the link addresses of all who may send here: frames from others are dropped; and so are frames
            from these on other ports. L{None}: anybody may.
        @param broadcasts: how many frames a second that come here for all are let through; L{None}: as many as come.
        @param multicasts: likewise of those for groups.
        @param unknowns: likewise of those for stations that are not known, which all ports have to have.

        @raise ValueError: an argument is not what it should be, a port of that name is there, or a station is bound to
            another port.
        """
        self._added += 1
        name = f"port{self._added}" if name is None else name
        if name in self.ports:
            raise ValueError(f"there is a port {name!r} already: call this one something else")
        tagged = None if trunk is None else {_vlanNumber(number) for number in trunk}
        untagged = 1 if vlan is None and tagged is None else vlan
        if untagged is not None and _vlanNumber(untagged) in (tagged or ()):
            raise ValueError(f"VLAN {untagged} is without a tag on this port: leave it out of trunk")
        bound = None if stations is None else frozenset(map(_station, stations))
        for address in bound or ():
            if address in self._bound:
                raise ValueError(f"{linkAddressText(address)} is bound to {self._bound[address].name}")
        buckets = [_bucket(rate) for rate in (broadcasts, multicasts, unknowns)]
        port = self.ports[name] = SwitchPort(
            self,
            name,
            None if untagged is None else self._lan(untagged),
            {number: self._lan(number) for number in tagged or ()},
            isolated,
            bound,
            *buckets,
        )
        for lan in port.lans():
            lan.ports.append(port)
        for address in bound or ():
            self._bound[address] = port
            for lan in self._lans.values():
                if address in lan.stations:
                    lan.forget(lan.stations[address])
        return port

    def removePort(self, port: SwitchPort) -> None:
        """
        Have a port no more. What still comes there is dropped.

        @raise ValueError: it is no port of this switch.
        """
        if self.ports.get(port.name) is not port:
            raise ValueError(f"{port!r} is no port of this switch")
        del self.ports[port.name]
        for address in port.bound or ():
            del self._bound[address]
        for lan in port.lans():
            lan.ports.remove(port)
            if not lan.ports:
                del self._lans[lan.number]
        port.removed()

    @property
    def stations(self) -> list[Station]:
        """
        Who is known: whom frames are taken to, and not to all.
        """
        now = self.clock.seconds()
        return [
            Station(linkAddressText(entry.address), lan.number, entry.port, now - entry.heard)
            for lan in self._lans.values()
            for entry in lan.stations.values()
            if 0 <= now - entry.heard <= self.ageingTime
        ]

    @property
    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """
        Those of all ports, by the port's name.
        """
        return {name: dict(port.counters) for name, port in self.ports.items()}

    def boundTo(self, address: bytes) -> SwitchPort | None:
        """
        The port that a station, six octets, is bound to; L{None} if it is to none.
        """
        return self._bound.get(address)

    def _lan(self, number: int) -> _LAN:
        return self._lans.setdefault(number, _LAN(number))


class _LAN:
    """
    One VLAN.

    @ivar ports: those it is on.
    @ivar stations: those it is known of where they are, by address.
    """

    __slots__ = ("number", "ports", "stations")

    def __init__(self, number: int) -> None:
        self.number = number
        self.ports: list[SwitchPort] = []
        self.stations: dict[bytes, _Entry] = {}

    def forget(self, entry: _Entry) -> None:
        del self.stations[entry.address]
        entry.port.entries.discard(entry)


class _Entry:
    """
    Where a station is, and when it was heard.
    """

    __slots__ = ("address", "heard", "lan", "port")

    def __init__(self, address: bytes, lan: _LAN, port: SwitchPort, heard: float) -> None:
        self.address = address
        self.lan = lan
        self.port = port
        self.heard = heard


@implementer(IEthernetProtocol, IPacketReceiver)
class SwitchPort(Layer):
    """
    One port of a L{Switch}, made by L{Switch.addPort}. It goes on one transport.

    Superpackets go through it as they are, and are cut only where they leave by a transport that does not take them.

    Counters, in words of RFC 4188 where it has them: C{inFrames}, C{outFrames} (a superpacket is one);
    C{mtuExceededDiscards} (too long to leave by this port), C{outDiscards} (this port is on nothing that runs),
    C{outVlans} (what is behind the tag that would be taken off is another one). What came and goes nowhere: C{inErrors}
    (shorter than a header, or cut), C{inOffloadErrors}, C{inUnknownOffloads} (what was left open cannot be),
    C{inVlans} (no VLAN of this port's), C{inReserved} (for a bridge itself), C{inSourceErrors} (from a group, or from
    nobody), C{inForbiddenSources} (from a station that may not send here), C{inLocal} (for a station on this port),
    C{inIsolated} (from one isolated port to another), C{stormBroadcasts}, C{stormMulticasts}, C{stormUnknowns} (more
    than a second's), C{inDiscards} (the port was removed). And C{flooded} (sent to all for want of knowing),
    C{stationMoves} (a station was heard here that was known on another port), C{learnedEntryDiscards} (a station was
    not learned: there were L{MAX_STATIONS}).

    @ivar name: what it is called.
    @ivar isolated: whether what comes here is kept from other isolated ports.
    @ivar bound: the addresses of those who may send here, six octets each; L{None}: anybody may.
    """

    takesOffload = True

    def __init__(
        self,
        switch: Switch,
        name: str,
        untagged: _LAN | None,
        tagged: dict[int, _LAN],
        isolated: bool,
        bound: frozenset[bytes] | None,
        broadcasts: TokenBucket | None,
        multicasts: TokenBucket | None,
        unknowns: TokenBucket | None,
    ) -> None:
        super().__init__()
        self.name = name
        self.isolated = isolated
        self.bound = bound
        #: Stations that were learned here.
        self.entries: set[_Entry] = set()
        self._switch = switch
        self._seconds = switch.clock.seconds
        self._untagged = untagged
        self._tagged = tagged
        self._broadcasts = broadcasts
        self._multicasts = multicasts
        self._unknowns = unknowns
        self._swept = float("-inf")
        self._removed = False

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
        self._forgetAll()

    def lans(self) -> list[_LAN]:
        """
        All VLANs that this port is in.
        """
        return [*self._tagged.values()] + ([] if self._untagged is None else [self._untagged])

    def isIn(self, lan: _LAN) -> bool:
        """
        Whether this port is in a VLAN.
        """
        return lan is self._untagged or self._tagged.get(lan.number) is lan

    def removed(self) -> None:
        """
        The switch has no such port any more.
        """
        self._forgetAll()
        self._untagged, self._tagged = None, {}
        self._removed = True

    def _forgetAll(self) -> None:
        for entry in list(self.entries):
            entry.lan.forget(entry)

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
        counters["inFrames"] += 1
        if length < HEADER_LENGTH or packet.partial:
            counters["inErrors"] += 1
            return
        offload = packet.offload
        if offload is not None and (offload.isSuperpacket or packet.end < offload.least):
            wrong = fault(data, offload, networkStart(data, start))
            if wrong is not None:
                counters[wrong] += 1
                return
        lan = self._untagged
        control = 0
        isTagged = data[start + 12] == 0x81 and not data[start + 13]
        if isTagged:
            if length < HEADER_LENGTH + _TAG_LENGTH:
                counters["inErrors"] += 1
                return
            control = data[start + 14] << 8 | data[start + 15]
            if control & _VLAN_NUMBER:
                lan = self._tagged.get(control & _VLAN_NUMBER)
        if lan is None:
            counters["inDiscards" if self._removed else "inVlans"] += 1
            return
        dest = data[start : start + 6]
        source = data[start + 6 : start + 12]
        isGroup = dest[0] & 1
        if isGroup and dest[:5] == _RESERVED and dest[5] < 16:
            counters["inReserved"] += 1
            return
        now = self._seconds()
        entry = lan.stations.get(source)
        if entry is not None and entry.port is self:
            entry.heard = now
        elif not self._learned(lan, source, now):
            return
        if isGroup:
            storm, name = self._broadcasts, "stormBroadcasts"
            if dest != _BROADCAST:
                storm, name = self._multicasts, "stormMulticasts"
        else:
            entry = lan.stations.get(dest)
            if entry is not None and 0 <= now - entry.heard <= self._switch.ageingTime:
                return self._toStation(entry.port, packet, lan, isTagged, control)
            bound = self._switch.boundTo(dest)
            if bound is not None and bound.isIn(lan):
                return self._toStation(bound, packet, lan, isTagged, control)
            storm, name = self._unknowns, "stormUnknowns"
        if storm is not None and not storm.take(now, count=_packets(packet)):
            counters[name] += 1
            return
        if not isGroup:
            counters["flooded"] += 1
        for port in lan.ports:
            if port is not self and port.numPorts and not (self.isolated and port.isolated):
                port.send(packet, lan, isTagged, control)

    def _learned(self, lan: _LAN, source: bytes, now: float) -> bool:
        """
        A station was heard that is not known, or not to be here.

        @return: whether it may send here.
        """
        counters = self.counters
        if source[0] & 1 or source == _NOBODY:
            counters["inSourceErrors"] += 1
            return False
        bound = self._switch.boundTo(source)
        if bound is not self and (bound is not None or self.bound is not None):
            counters["inForbiddenSources"] += 1
            return False
        entry = lan.stations.get(source)
        if entry is not None:
            if 0 <= now - entry.heard <= self._switch.ageingTime:
                counters["stationMoves"] += 1
            lan.forget(entry)
        if len(self.entries) >= MAX_STATIONS:
            self._sweep(now)
            if len(self.entries) >= MAX_STATIONS:
                counters["learnedEntryDiscards"] += 1
                return True
        entry = lan.stations[source] = _Entry(source, lan, self, now)
        self.entries.add(entry)
        return True

    def _sweep(self, now: float) -> None:
        """
        Forget who was not heard for long, now and then.
        """
        if 0 <= now - self._swept < _SWEEP_INTERVAL:
            return
        self._swept = now
        for entry in list(self.entries):
            if not 0 <= now - entry.heard <= self._switch.ageingTime:
                entry.lan.forget(entry)

    # Out

    def _toStation(self, port: SwitchPort, packet: Packet, lan: _LAN, isTagged: bool, control: int) -> None:
        if port is self:
            self.counters["inLocal"] += 1
        elif self.isolated and port.isolated:
            self.counters["inIsolated"] += 1
        else:
            port.send(packet, lan, isTagged, control)

    def send(self, packet: Packet, lan: _LAN, isTagged: bool, control: int) -> None:
        """
        Have a frame leave by this port.

        @param isTagged: whether it has a tag; if so, C{control} is what stands in that (TCI).
        """
        counters = self.counters
        transport: Any = self.transport
        if transport is None:
            counters["outDiscards"] += 1
            return
        if packet.end - packet.start - HEADER_LENGTH > transport.mtu and _longest(packet) > transport.mtu:
            counters["mtuExceededDiscards"] += 1
            return
        frame, offload = received(packet)
        if lan is self._untagged and not isTagged:
            buffers: list[Any] = [frame]
        else:
            shift = -_TAG_LENGTH if isTagged else 0
            rest = memoryview(frame)[_TYPE - shift :]
            if lan is not self._untagged:
                tag = TAG.pack(VLAN, control & _PRIORITY | lan.number)
                buffers = [frame[:_TYPE], tag, rest]
                shift += _TAG_LENGTH
            elif int.from_bytes(rest[:2], "big") == VLAN:
                # Without the outer tag, it would be in the VLAN of the inner one.
                counters["outVlans"] += 1
                return
            else:
                buffers = [frame[:_TYPE], rest]
            if offload is not None and shift:
                offload = behind(offload, shift)
        if offload is None:
            transport.writePacket(buffers)
        elif not offload.features & ~getattr(transport, "offloads", 0):
            transport.writePacket(buffers, offload)
        else:
            wrong = forward(transport, b"".join(buffers), offload, True)
            if wrong is not None:
                counters[wrong] += 1
                return
        counters["outFrames"] += 1


def _longest(packet: Packet) -> int:
    """
    How many octets of a frame's packets there are behind link headers, in the longest of them.
    """
    network = networkStart(packet.data, packet.start)
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


def _vlanNumber(number: int) -> int:
    if not isinstance(number, int) or not 1 <= number <= 4094:
        raise ValueError(f"a VLAN has a number from 1 to 4094, not {number!r}")
    return number


def _station(address: str | bytes) -> bytes:
    packed = packLinkAddress(address)
    if packed[0] & 1 or packed == _NOBODY:
        raise ValueError(f"{address!r} is the address of no single station")
    return packed


def _bucket(rate: float | None) -> TokenBucket | None:
    if rate is None:
        return None
    if not rate >= 0:
        raise ValueError(f"frames are let through 0 or more times a second, not {rate!r}")
    # A second's worth at once.
    return TokenBucket(rate, rate if not 0 < rate < 1 else 1.0)
