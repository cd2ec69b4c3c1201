"""
A learning Ethernet switch (a bridge: IEEE 802.1Q) between any number of interfaces, hosts and tunnels::

    switch = Switch(reactor)
    TuntapPort("tap0", switch.addPort()).startListening()
    TuntapPort("tap1", switch.addPort()).startListening()
    Link(host.ethernet, switch.addPort(), reactor).start()

There is no spanning tree protocol, so a loop of links makes frames circulate without end.
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

#: The default ageing time: the seconds after which a station that was not heard again is forgotten (IEEE 802.1Q table
#: 8-3).
AGEING_TIME = 300.0


@attrs.frozen
class Station:
    """
    A record of a station that a switch knows.

    @ivar address: the link address of the station, as text.
    @ivar vlan: the number of the VLAN in which it was heard.
    @ivar port: the port on which it was last heard.
    @ivar age: the seconds since the station was last heard.
    """

    address: str
    vlan: int
    port: SwitchPort
    age: float


class Switch:
    """
    A learning Ethernet switch. It sends each frame to the port on which the destination station was last heard. It
    floods a frame, that is, sends it to all other ports, if that port is unknown or the destination is a group.

    Each VLAN has stations of its own. A station is forgotten when it was not heard for L{ageingTime}, or when its port
    stops.

    @ivar ports: the ports of the switch, by name.
    @ivar clock: the C{IReactorTime} of the switch.
    @ivar table: the stations that the switch knows, shared by all its ports.
    """

    def __init__(self, clock: IReactorTime, ageingTime: float = AGEING_TIME) -> None:
        """
        @param clock: an C{IReactorTime}, such as the reactor.
        @param ageingTime: the seconds after which a station that was not heard again is forgotten.

        @raise ValueError: C{ageingTime} is not more than 0.
        @raise TypeError: C{clock} is no C{IReactorTime}.
        """
        checkClock(clock)
        if isinstance(ageingTime, bool) or not isinstance(ageingTime, (int, float)) or not ageingTime > 0:
            raise ValueError(f"ageingTime is more than 0 seconds, not {ageingTime!r}")
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
        Add a port to the switch. It is an C{IEthernetProtocol}: put it on a
        L{TuntapPort<txtuntap.tuntap.TuntapPort>}, or at one end of a L{Link<txtuntap.network.link.Link>} whose other
        end is a host or a tunnel.

        @param name: the name of the port. By default, the names are C{"port1"} and so on.
        @param vlan: the number of the VLAN for frames without a tag and for frames with a priority tag (VLAN 0). On an
            access port, it is 1 by default. On a trunk, it is the native VLAN, and there is none by default. A trunk
            also receives frames with the tag of its native VLAN.
        @param trunk: the numbers of the VLANs whose frames are sent and received with a tag. C{None}: this is an access
            port, which drops received frames with the tag of a VLAN.
        @param isolated: whether frames from this port are not forwarded to other isolated ports.
        @param stations: the link addresses of the only stations that may send on this port. Frames from other stations
            are dropped here, and frames from these stations are dropped on other ports. C{None}: any station may send.
        @param broadcasts: the most broadcast frames a second that are accepted on this port. C{None}: there is no
            limit.
        @param multicasts: the same for frames to other groups.
        @param unknowns: the same for frames to stations whose port is unknown, which are flooded.
        @param router: whether routers and DHCP servers may send on this port: router advertisements, redirects, and
            datagrams to DHCP clients (see L{txtuntap.wire.routerguard}). C{None}: they may only if C{stations} is
            C{None}, too.

        @raise ValueError: an argument is out of its range, the name is in use, or a station is bound to another port.
        """
        if name is not None and not isinstance(name, str):
            raise ValueError(
                f"the name of a port is text, not {name!r}: give a number with its keyword, such as vlan=10"
            )
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
            raise ValueError(f"VLAN {untagged} is the untagged VLAN of this port: leave it out of trunk")
        if untagged is None and not tagged:
            raise ValueError("a port is in at least one VLAN: give trunk a VLAN, or leave trunk out")
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
        Remove a port from the switch. Frames that the port still receives are dropped.

        @raise ValueError: C{port} is no port of this switch.
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
        The seconds after which a station that was not heard again is forgotten.
        """
        return self.table.ageingTime

    @property
    def stations(self) -> list[Station]:
        """
        The stations that the switch knows. Frames to them are not flooded.
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
        The counters of all ports: for each name of a port, a mapping from counter to number.
        """
        return {name: dict(port.counters) for name, port in self.ports.items()}

    def tables(self) -> list[TableState]:
        """
        List the bounded tables of all ports: see
        L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
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
        raise ValueError(f"{address!r} is not the link address of a single station")
    return packed


def _bucket(rate: float | None) -> TokenBucket | None:
    if rate is None:
        return None
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not rate >= 0:
        raise ValueError(f"a rate limit is 0 or more frames a second, not {rate!r}")
    # The largest burst is the number of frames in a second. It is at least one frame, unless the rate is 0.
    return TokenBucket(rate, rate if not 0 < rate < 1 else 1.0)
