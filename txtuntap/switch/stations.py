"""
The stations that a switch knows: on which port each was heard last, and which of them are bound to one.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorTime
from zope.interface import Attribute, Interface

from txtuntap.layer.bounded import Policy, Table
from txtuntap.layer.timer import steadySeconds

if TYPE_CHECKING:
    from txtuntap.packet import Packet

#: Stations learned on one port. A new one is not learned then: frames to it are flooded, or leave by the port on which
#: it was heard before. So nobody loses the station he speaks to by others' making up addresses, and no port has but its
#: own share of the table.
MAX_STATIONS = 1024

#: Seconds between two looks for stations to be forgotten on a port that has as many.
_SWEEP_INTERVAL = 1.0

#: The link address that no station has.
NULL_ADDRESS = bytes(6)


class Learned(Enum):
    """
    The event that a switch counts when a station is heard on a port where it was not known. The value is the counter's
    name.
    """

    #: It was known on another port.
    MOVED = "stationMoves"
    #: The port has no room for one more, so it is not learned there.
    DISCARDED = "learnedEntryDiscards"


class ISwitchPort(Interface):
    """
    A port of a switch as the other ports and the table of stations see it.
    """

    name: str = Attribute("What it is called.")
    numPorts: int = Attribute("Whether it is on a transport: 1 or 0.")
    isolated: bool = Attribute("Whether what comes here is kept from other isolated ports.")
    bound: frozenset[bytes] | None = Attribute("The only stations that may send here; L{None}: any may.")
    entries: Table[Entry, None] = Attribute("The stations that were learned here.")
    swept: float = Attribute("When C{entries} was last searched for stations that are too old, in seconds.")

    def isIn(vlan: VLAN) -> bool:
        """
        Whether this port is in a VLAN.
        """

    def send(packet: Packet, vlan: VLAN, isTagged: bool, tci: int) -> None:
        """
        Send a frame out of this port.

        @param isTagged: whether the frame has a tag.
        @param tci: the tag's TCI, if it has one.
        """


class VLAN:
    """
    One VLAN.

    @ivar ports: the ports that are in it.
    @ivar stations: the entries of its known stations, by link address.
    """

    __slots__ = ("number", "ports", "stations")

    def __init__(self, number: int) -> None:
        self.number = number
        # Another tuple for each change: one may be made while a frame is being sent to all of them.
        self.ports: tuple[ISwitchPort, ...] = ()
        self.stations: dict[bytes, Entry] = {}

    def forget(self, entry: Entry) -> None:
        """
        Know a station no more.
        """
        del self.stations[entry.address]
        entry.port.entries.pop(entry, None)


class Entry:
    """
    Where a station is, and when it was heard.
    """

    __slots__ = ("address", "heard", "port", "vlan")

    def __init__(self, address: bytes, vlan: VLAN, port: ISwitchPort, heard: float) -> None:
        self.address = address
        self.vlan = vlan
        self.port = port
        self.heard = heard


def stationsOfPort() -> Table[Entry, None]:
    """
    A table for the stations that are learned on one port.
    """
    return Table("stations", MAX_STATIONS, Policy.REFUSE)


class StationTable:
    """
    The stations that all ports of a switch know.

    @ivar now: tells the steady time, in seconds, that a station was heard at.
    @ivar ageingTime: the seconds for which a station is known that is not heard.
    @ivar bound: the port of each station that was bound to one beforehand, by the station's address.
    """

    def __init__(self, clock: IReactorTime, ageingTime: float) -> None:
        self.now = steadySeconds(clock)
        self.ageingTime = ageingTime
        self.bound: dict[bytes, ISwitchPort] = {}

    def boundTo(self, address: bytes) -> ISwitchPort | None:
        """
        The port that a station, six octets, is bound to; L{None} if it is bound to none.
        """
        return self.bound.get(address)

    def learn(self, vlan: VLAN, source: bytes, port: ISwitchPort, now: float) -> Learned | None:
        """
        Note that a station was heard on a port where it is not known yet.

        @return: what that means besides, if it means anything.
        """
        if port.entries.isFull:
            self._sweep(port, now)
            if port.entries.isFull:
                # A station that is known on another port stays known there: forgotten, it would be heard by all.
                return Learned.DISCARDED
        learned = None
        entry = vlan.stations.get(source)
        if entry is not None:
            if 0 <= now - entry.heard <= self.ageingTime:
                learned = Learned.MOVED
            vlan.forget(entry)
        entry = vlan.stations[source] = Entry(source, vlan, port, now)
        port.entries.put(entry, None)
        return learned

    def forgetAll(self, port: ISwitchPort) -> None:
        """
        Forget all stations that were learned on a port.
        """
        for entry in list(port.entries):
            entry.vlan.forget(entry)

    def _sweep(self, port: ISwitchPort, now: float) -> None:
        """
        Forget the stations of a port that were not heard for long, at most once in L{_SWEEP_INTERVAL}.
        """
        if 0 <= now - port.swept < _SWEEP_INTERVAL:
            return
        port.swept = now
        for entry in list(port.entries):
            if not 0 <= now - entry.heard <= self.ageingTime:
                entry.vlan.forget(entry)
