"""
The stations that a switch knows: the port on which each was last heard, and the port to which each is bound, if any. A
station is heard when a frame with its source address is received.
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

#: The most stations that are learned on one port. A new station beyond that is not learned: frames to it are flooded,
#: or sent to the port on which it was heard before. So a flood of forged source addresses displaces no known station,
#: and does not affect the other ports.
MAX_STATIONS = 1024

#: The least seconds between two searches for old stations on a port that has C{MAX_STATIONS} of them.
_SWEEP_INTERVAL = 1.0

#: The link address that no station has.
NULL_ADDRESS = bytes(6)


class Learned(Enum):
    """
    The event that a switch counts when a station is heard on a port where it was not known. The value is the counter's
    name.
    """

    #: The station was known on another port.
    MOVED = "stationMoves"
    #: The station is not learned on the port, because the port has C{MAX_STATIONS} already.
    DISCARDED = "learnedEntryDiscards"


class ISwitchPort(Interface):
    """
    A port of a switch as the other ports and the table of stations see it.
    """

    name: str = Attribute("The name of the port on its switch.")
    numPorts: int = Attribute("The number of transports that the port runs on: 1 or 0.")
    isolated: bool = Attribute("Whether frames from this port are not forwarded to other isolated ports.")
    bound: frozenset[bytes] | None = Attribute("The only stations that may send on this port; C{None}: any may.")
    entries: Table[Entry, None] = Attribute("The stations that were learned on this port.")
    lastSweep: float = Attribute("When C{entries} was last searched for stations that are too old, in seconds.")

    def isIn(vlan: VLAN) -> bool:
        """
        Whether this port is in a VLAN.
        """

    def send(packet: Packet, vlan: VLAN, isTagged: bool, tci: int) -> None:
        """
        Send a frame out of this port.

        @param packet: the frame as it was received.
        @param vlan: the VLAN of the frame.
        @param isTagged: whether the frame has a tag.
        @param tci: the tag control information of the tag; 0 if there is none.
        """


class VLAN:
    """
    One VLAN of a switch.

    @ivar number: the VLAN identifier, 1 to 4094.
    @ivar ports: the ports that are in the VLAN.
    @ivar stations: the entries of the stations known in the VLAN, by link address.
    """

    __slots__ = ("number", "ports", "stations")

    def __init__(self, number: int) -> None:
        self.number = number
        # A tuple that each change replaces, because a change may happen while a frame is being sent to all ports.
        self.ports: tuple[ISwitchPort, ...] = ()
        self.stations: dict[bytes, Entry] = {}

    def forget(self, entry: Entry) -> None:
        """
        Remove the entry of a station.
        """
        del self.stations[entry.address]
        entry.port.entries.pop(entry, None)


class Entry:
    """
    The entry of one station that was learned.

    @ivar address: the link address of the station.
    @ivar vlan: the VLAN in which it was heard.
    @ivar port: the port on which it was last heard.
    @ivar heard: the steady time at which it was last heard, in seconds.
    """

    __slots__ = ("address", "heard", "port", "vlan")

    def __init__(self, address: bytes, vlan: VLAN, port: ISwitchPort, heard: float) -> None:
        self.address = address
        self.vlan = vlan
        self.port = port
        self.heard = heard


def stationsOfPort() -> Table[Entry, None]:
    """
    Make a table for the stations that are learned on one port.
    """
    return Table("stations", MAX_STATIONS, Policy.REFUSE)


class StationTable:
    """
    The stations that a switch knows. All its ports share this table.

    @ivar now: returns the steady time in seconds.
    @ivar ageingTime: the seconds after which a station that was not heard again is forgotten.
    @ivar bound: the ports of the stations that may send on one port only, by the station's link address.
    """

    def __init__(self, clock: IReactorTime, ageingTime: float) -> None:
        self.now = steadySeconds(clock)
        self.ageingTime = ageingTime
        self.bound: dict[bytes, ISwitchPort] = {}

    def boundTo(self, address: bytes) -> ISwitchPort | None:
        """
        The only port on which a station may send. C{None} if the station is not bound to a port.

        @param address: the link address of the station, six octets.
        """
        return self.bound.get(address)

    def learn(self, vlan: VLAN, source: bytes, port: ISwitchPort, now: float) -> Learned | None:
        """
        Enter a station that was heard on a port where it is not known yet.

        @param vlan: the VLAN in which it was heard.
        @param source: the link address of the station.
        @param port: the port on which it was heard.
        @param now: the steady time in seconds.

        @return: the event to be counted; C{None} for a new station that was entered.
        """
        if port.entries.isFull:
            self._sweep(port, now)
            if port.entries.isFull:
                # The entry of the station on another port stays. Without it, frames to the station would be flooded.
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
        Forget the stations of a port that were not heard for the ageing time, at most once in L{_SWEEP_INTERVAL}.
        """
        if 0 <= now - port.lastSweep < _SWEEP_INTERVAL:
            return
        port.lastSweep = now
        for entry in list(port.entries):
            if not 0 <= now - entry.heard <= self.ageingTime:
                entry.vlan.forget(entry)
