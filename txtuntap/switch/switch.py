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
from itertools import count
from typing import cast

import attrs
from twisted.internet.interfaces import IReactorTime

from txtuntap.layer.bounded import TableState
from txtuntap.layer.tokenbucket import TokenBucket
from txtuntap.mistakes import checkClock, checkFlag, listed
from txtuntap.switch.port import SwitchPort
from txtuntap.switch.stations import NULL_ADDRESS, VLAN, StationTable
from txtuntap.wire.address import linkAddressText, packLinkAddress

__all__ = ["AGEING_TIME", "Station", "Switch", "SwitchPort"]

#: Seconds after which a station that is not heard is forgotten (IEEE 802.1Q table 8-3).
AGEING_TIME = 300.0


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
    @ivar table: which stations are known, and where; its ports share it.
    """

    def __init__(self, clock: IReactorTime, ageingTime: float = AGEING_TIME) -> None:
        """
        @param clock: an C{IReactorTime}: the reactor, for instance.
        @param ageingTime: how many seconds a station is known that is not heard.

        @raise ValueError: C{ageingTime} is not more than 0.
        """
        checkClock(clock)
        if isinstance(ageingTime, bool) or not isinstance(ageingTime, (int, float)) or not ageingTime > 0:
            raise ValueError(f"stations are forgotten after more than 0 seconds, not after {ageingTime!r}")
        self.ports: dict[str, SwitchPort] = {}
        self.clock = clock
        self.table = StationTable(clock, ageingTime)
        self._vlans: dict[int, VLAN] = {}
        self._numbers = count(1)

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
        router: bool | None = None,
    ) -> SwitchPort:
        """
        Make a port: an C{IEthernetProtocol}, to be put on a L{TuntapPort<txtuntap.tuntap.TuntapPort>} or at one end
        of a L{Link<txtuntap.network.link.Link>}, at whose other end is a host or a tunnel.

        @param name: what it is to be called; C{"port1"} and so on, by default.
        @param vlan: the VLAN of frames without a tag, and of those with one of priority only (VLAN 0): 1, by default.
            On a trunk, its native VLAN, whose tag may be there on frames that come, too; by default it has none.
        @param trunk: the VLANs that frames come and go with a tag of. L{None}: this is an access port, and what comes
            with a tag is dropped.
        @param isolated: whether to keep what comes here from other isolated ports.
        @param stations: the link addresses of all who may send here: frames from others are dropped; and so are frames
            from these on other ports. L{None}: anybody may.
        @param broadcasts: how many frames a second that come here for all are let through; L{None}: as many as come.
        @param multicasts: likewise of those for groups.
        @param unknowns: likewise of those for stations that are not known, which all ports have to have.
        @param router: whether what configures others may come here: router advertisements, redirects, and what is for
            clients of DHCP (see L{txtuntap.wire.routerguard}). L{None}: only if C{stations} is.

        @raise ValueError: an argument is not what it should be, a port of that name is there, or a station is bound to
            another port.
        """
        if name is not None and not isinstance(name, str):
            raise ValueError(f"the name of a port is text, not {name!r}: say what other numbers are, such as vlan=10")
        checkFlag(isolated, "isolated")
        trunk = None if trunk is None else listed(trunk, "trunk", 10)
        stations = None if stations is None else listed(stations, "stations", "02:00:00:00:00:01")
        if name is None:
            name = next(each for each in map("port{}".format, self._numbers) if each not in self.ports)
        if name in self.ports:
            raise ValueError(f"there is a port {name!r} already: call this one something else")
        tagged = None if trunk is None else {_vlanNumber(number) for number in trunk}
        untagged = 1 if vlan is None and tagged is None else vlan
        if untagged is not None and _vlanNumber(untagged) in (tagged or ()):
            raise ValueError(f"VLAN {untagged} is without a tag on this port: leave it out of trunk")
        if untagged is None and not tagged:
            raise ValueError("a port is in a VLAN at least: give trunk a VLAN, or leave it out")
        bound = None if stations is None else frozenset(map(_station, stations))
        for address in bound or ():
            if address in self.table.bound:
                raise ValueError(f"{linkAddressText(address)} is bound to {self.table.bound[address].name}")
        buckets = [_bucket(rate) for rate in (broadcasts, multicasts, unknowns)]
        port = self.ports[name] = SwitchPort(
            self.table,
            name,
            None if untagged is None else self._vlan(untagged),
            None if tagged is None else {number: self._vlan(number) for number in tagged},
            isolated,
            bound,
            bound is None if router is None else bool(router),
            *buckets,
        )
        for joined in port.vlans():
            joined.ports += (port,)
        for address in bound or ():
            self.table.bound[address] = port
            for joined in self._vlans.values():
                if address in joined.stations:
                    joined.forget(joined.stations[address])
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
            del self.table.bound[address]
        for vlan in port.vlans():
            vlan.ports = tuple(each for each in vlan.ports if each is not port)
            if not vlan.ports:
                del self._vlans[vlan.number]
        port.removed()

    @property
    def ageingTime(self) -> float:
        """
        The seconds for which a station is known that is not heard.
        """
        return self.table.ageingTime

    @property
    def stations(self) -> list[Station]:
        """
        The stations that are known: frames to them are not flooded.
        """
        now = self.table.now()
        return [
            Station(linkAddressText(entry.address), vlan.number, cast(SwitchPort, entry.port), now - entry.heard)
            for vlan in self._vlans.values()
            for entry in vlan.stations.values()
            if 0 <= now - entry.heard <= self.ageingTime
        ]

    @property
    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """
        The counters of all ports, by the port's name.
        """
        return {name: dict(port.counters) for name, port in self.ports.items()}

    def tables(self) -> list[TableState]:
        """
        How full the tables of all ports are: see L{PacketProtocol<txtuntap.layer.protocol.PacketProtocol>}.
        """
        return [state for port in self.ports.values() for state in port.tables()]

    def _vlan(self, number: int) -> VLAN:
        return self._vlans.setdefault(number, VLAN(number))


def _vlanNumber(number: int) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= 4094:
        raise ValueError(f"a VLAN has a number from 1 to 4094, not {number!r}")
    return number


def _station(address: str | bytes) -> bytes:
    packed = packLinkAddress(address)
    if packed[0] & 1 or packed == NULL_ADDRESS:
        raise ValueError(f"{address!r} is the address of no single station")
    return packed


def _bucket(rate: float | None) -> TokenBucket | None:
    if rate is None:
        return None
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not rate >= 0:
        raise ValueError(f"frames are let through 0 or more times a second, not {rate!r}")
    # A second's worth at once.
    return TokenBucket(rate, rate if not 0 < rate < 1 else 1.0)
