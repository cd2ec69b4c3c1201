"""
The neighbour cache of a host: the link addresses of the stations on the link, by IP address. One cache serves ARP and
neighbour discovery. Its entries have the states of RFC 4861 section 7.3.2 for both::

    INCOMPLETE --answer--> REACHABLE --15..45 s--> STALE --used--> DELAY --5 s--> PROBE --answer--> REACHABLE
         |                                                                          |
         +--------------------------------- no answer to three requests ------------+--> forgotten

Read RFC 4861 section 7.3 and RFC 1122 section 2.3.2 first.

Unresolved addresses are in a table of their own with its own bound. A scan of a whole network makes an entry for every
address, and must not evict the stations that are known (RFC 6583).
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from random import Random

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from txtuntap.interfaces import INeighbours
from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.layer.counters import Counters
from txtuntap.layer.lazy import Lazy
from txtuntap.layer.timer import GRAIN, Timer, steadySeconds
from txtuntap.wire.address import packAddress, packLinkAddress

#: The states of an entry. A permanent entry was added by the program. The other states are those of RFC 4861.
INCOMPLETE, REACHABLE, STALE, DELAY, PROBE, PERMANENT = (
    "incomplete",
    "reachable",
    "stale",
    "delay",
    "probe",
    "permanent",
)

#: The most stations that are known. The least recently used is evicted.
MAX_ENTRIES = 512

#: The most addresses that are being resolved. The oldest is evicted.
MAX_INCOMPLETE = 64

#: The most datagrams that wait for the resolution of one address. The oldest is dropped.
MAX_WAITING = 3

#: The most octets of all waiting datagrams. A new one is dropped.
MAX_WAITING_OCTETS = 256 * 1024

# The constants of RFC 4861 section 10. Times are in seconds.

#: The number of solicitations without an answer after which an entry is removed (MAX_MULTICAST_SOLICIT,
#: MAX_UNICAST_SOLICIT).
TRIES = 3

#: The time between two solicitations (RETRANS_TIMER).
RETRANSMIT = 1.0

#: The mean time for which a confirmed station is taken to be reachable (REACHABLE_TIME).
REACHABLE_TIME = 30.0

#: The time between the first use of a stale entry and the first solicitation (DELAY_FIRST_PROBE_TIME).
DELAY_TIME = 5.0

#: The least and the largest random factor by which the reachable time is multiplied (MIN_RANDOM_FACTOR,
#: MAX_RANDOM_FACTOR). Without the factor, hosts that were started together would always solicit at the same time.
RANDOM_FACTOR = 0.5, 1.5

#: A waiting datagram: the function that sends it, as in L{NeighbourCache.hold}, and its length in octets.
Waiting = tuple[Callable[[bytes | None], None], int]


class Neighbour:
    """
    The cache entry of one IP address.

    @ivar state: one of the states above.
    @ivar station: the link address of the station that has the address; C{None} while it is unknown.
    @ivar tries: the number of solicitations sent since the entry is in this state.
    @ivar asked: the time of the last solicitation in seconds; C{None} if there was none.
    @ivar due: the time at which the state ends or the next solicitation is due, in seconds; infinity if neither is.
    @ivar waiting: the datagrams that wait for the station's link address.
    """

    __slots__ = ("asked", "due", "state", "station", "tries", "waiting")

    def __init__(self, state: str) -> None:
        self.state = state
        self.station: bytes | None = None
        self.tries = 0
        self.asked: float | None = None
        self.due = inf
        self.waiting: tuple[Waiting, ...] = ()


@implementer(INeighbours)
class NeighbourCache:
    """
    Resolves IP addresses to the link addresses of stations, and remembers the stations.

    Counters: C{outSolicits} (solicitations sent), C{unresolved} (addresses for which no station answered),
    C{outDiscards} (datagrams dropped while they waited for a resolution), C{evicted} (stations removed to make room).

    @cvar entries: the entries with a known station by packed IP address, the least recently used first.
    @cvar incomplete: the entries of addresses that are being resolved, the oldest first.
    """

    resolves = True
    entries: Lazy[Table[bytes, Neighbour]] = Lazy(
        "_entriesMade",
        lambda cache: Table("neighbours", MAX_ENTRIES, Policy.LEAST_RECENT, cache._evicted, cache._evictable),
    )
    incomplete: Lazy[Table[bytes, Neighbour]] = Lazy(
        "_incompleteMade", lambda cache: Table("incomplete", MAX_INCOMPLETE, Policy.OLDEST, cache._crowdedOut)
    )
    # One timer serves all entries, because a timer and its call would take more memory than an entry.
    _timer = Lazy("_timerMade", lambda cache: Timer(cache._clock, cache._timerDue))

    def __init__(self, clock: IReactorTime, random: Random, solicit: Callable[[bytes, bytes | None], None]) -> None:
        """
        @param clock: the reactor of the host.
        @param random: varies the reachable time of each entry.
        @param solicit: called to send a solicitation. The arguments are the packed IP address to resolve, and the link
            address of the station to ask, or C{None} to ask all stations.
        """
        self._clock = clock
        self._now = steadySeconds(clock)
        self._random = random
        self._solicit = solicit
        self._waitingOctets = 0
        self._permanentCount = 0
        self._entriesMade: Table[bytes, Neighbour] | None = None
        self._incompleteMade: Table[bytes, Neighbour] | None = None
        self._timerMade: Timer | None = None
        self.counters = Counters()

    def add(self, address: str | bytes, station: str | bytes) -> None:
        """
        Add a permanent entry, which no packet changes.

        @param address: the IP address as text or packed.
        @param station: the link address as text or packed.

        @raise ValueError: an argument is no address.
        """
        self._learn(packAddress(address), packLinkAddress(station), PERMANENT)

    def remove(self, address: str | bytes) -> None:
        """
        Remove the entry of an address, permanent or not.

        @param address: the IP address as text or packed.

        @raise ValueError: there is no entry for the address.
        """
        packed = packAddress(address)
        entry = self.entries.pop(packed, None) or self.incomplete.pop(packed, None)
        if entry is None:
            raise ValueError(f"{address!r} is no neighbour")
        self._permanentCount -= entry.state == PERMANENT
        self._end(entry)

    def clear(self) -> None:
        """
        Remove all entries that are not permanent.
        """
        for table in (self.entries, self.incomplete):
            for address, entry in list(table.items()):
                if entry.state != PERMANENT:
                    del table[address]
                    self._end(entry)
        if self._timerMade is not None:
            self._timerMade.stop()

    def tables(self) -> list[TableState]:
        """
        List the bounded tables: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        waiting = max((len(entry.waiting) for entry in self.incomplete.values()), default=0)
        return [
            self.entries.state,
            self.incomplete.state,
            TableState("waiting", waiting, MAX_WAITING, Policy.OLDEST.value),
            TableState("waiting octets", self._waitingOctets, MAX_WAITING_OCTETS, Policy.REFUSE.value, "octets"),
        ]

    def __contains__(self, address: bytes) -> bool:
        """
        Whether a packed address is known or being resolved. This does not count as a use of the entry.
        """
        return address in self.entries or address in self.incomplete

    def lookup(self, address: bytes) -> bytes | None:
        """
        Find the station of a packed address: see L{INeighbours.lookup}. The use of a stale entry starts its
        confirmation in the background.
        """
        entries = self._entriesMade or self.entries
        entry = entries.get(address)
        if entry is None:
            return None
        if entry.state != PERMANENT:
            entries.move_to_end(address)
        if entry.state == STALE:
            self.confirm(address)
        return entry.station

    def confirm(self, address: bytes) -> None:
        """
        Start the confirmation of a stale entry: its station is asked after L{DELAY_TIME} whether it still has the
        address. Without an answer, the entry is removed. This does not count as a use of the entry.
        """
        entry = self.entries.get(address)
        if entry is not None and entry.state == STALE:
            self._enterState(entry, DELAY, DELAY_TIME)

    def hold(self, address: bytes, send: Callable[[bytes | None], None], octets: int) -> None:
        """
        Hold a datagram until its station is known: see L{INeighbours.hold}. If the station is known already, C{send} is
        called at once, because the answer may have come between the lookup of the route and this call.
        """
        station = self.lookup(address)
        if station is not None:
            send(station)
            return
        entry = self.incomplete.get(address)
        if entry is None:
            entry = Neighbour(INCOMPLETE)
            self.incomplete.put(address, entry)
        oldest = entry.waiting[0][1] if len(entry.waiting) >= MAX_WAITING else 0
        if self._waitingOctets - oldest + octets > MAX_WAITING_OCTETS:
            self.counters["outDiscards"] += 1
        else:
            if len(entry.waiting) >= MAX_WAITING:
                entry.waiting = entry.waiting[1:]
                self.counters["outDiscards"] += 1
            entry.waiting = (*entry.waiting, (send, octets))
            self._waitingOctets += octets - oldest
        if not entry.tries:
            # This call comes last, because the answer may arrive before the call returns.
            self._ask(address, entry)

    def confirmed(self, address: bytes, station: bytes | None, override: bool = True) -> None:
        """
        Process a message that has the form of an answer to a solicitation. If the host has sent no solicitation, the
        message counts as a claim: see L{claimed}.

        @param address: the packed IP address.
        @param station: the link address in the answer. C{None}: the answer has no link address, so it is from the
            station that was asked.
        @param override: the Override flag (RFC 4861 section 4.4): whether the answer may replace the known station.
        """
        entry = self.entries.get(address) or self.incomplete.get(address)
        if entry is None or entry.state == PERMANENT:
            return
        station = station or entry.station
        if station is None:
            return
        if station == entry.station or entry.state == INCOMPLETE or (entry.state == PROBE and override):
            self._learn(address, station, REACHABLE)
        else:
            self._suspect(address, entry)

    def claimed(self, address: bytes, station: bytes, remember: bool) -> None:
        """
        Process an unsolicited claim of a station that it has an address. The claim may complete the resolution of the
        address. It never replaces a known station before that station was asked. Otherwise anyone on the link could
        redirect the traffic of others with one forged packet.

        @param address: the packed IP address.
        @param station: the link address of the claiming station.
        @param remember: whether to add an entry if there is none, because the host is about to answer the station, for
            example.
        """
        entry = self.entries.get(address)
        if entry is None:
            if address in self.incomplete or remember:
                self._learn(address, station, STALE)
        elif entry.station != station:
            self._suspect(address, entry)

    def _suspect(self, address: bytes, entry: Neighbour) -> None:
        """
        Ask the known station of an address soon, because another station claims the address.
        """
        if entry.state in (STALE, REACHABLE, DELAY):
            since = RETRANSMIT if entry.asked is None else self._now() - entry.asked
            self._enterState(entry, DELAY, max(0.0, RETRANSMIT - max(0.0, since)))

    def _learn(self, address: bytes, station: bytes, state: str) -> None:
        """
        Enter the station of an address, and send the datagrams that wait for it.
        """
        known, entry = self.entries.get(address), self.incomplete.pop(address, None)
        if entry is None:
            entry = known or Neighbour(state)
        elif known is not None:
            self._end(known)
        entry.station = station
        self._permanentCount += state == PERMANENT and (known is None or known.state != PERMANENT)
        self.entries.put(address, entry)
        if state == REACHABLE:
            self._enterState(entry, REACHABLE, REACHABLE_TIME * self._random.uniform(*RANDOM_FACTOR))
        else:
            self._enterState(entry, state, inf)
        waiting, entry.waiting = entry.waiting, ()
        for send, octets in waiting:
            self._waitingOctets -= octets
            send(station)

    def _evictable(self, new: bytes) -> bytes | None:
        """
        Choose the entry to evict: the least recently used one that is not permanent.

        @param new: the address that was just entered, which is not evicted.

        @return: the packed address of the entry; C{None} if all others are permanent.
        """
        if self._permanentCount == len(self.entries):
            # A search of all entries at each addition would take too long.
            return None
        entries = self.entries.items()
        return next((each for each, entry in entries if entry.state != PERMANENT and each != new), None)

    def _evicted(self, address: bytes, entry: Neighbour) -> None:
        self._end(entry)
        self.counters["evicted"] += 1

    def _crowdedOut(self, address: bytes, entry: Neighbour) -> None:
        self._end(entry)

    def _enterState(self, entry: Neighbour, state: str, seconds: float) -> None:
        """
        Change the state of an entry.

        @param seconds: the number of seconds until the state ends; infinity if it does not end by itself.
        """
        entry.state = state
        entry.tries = 0
        self._arm(entry, seconds)

    def _arm(self, entry: Neighbour, seconds: float) -> None:
        entry.due = self._now() + seconds
        if seconds < self._timer.left:
            self._timer.arm(seconds)

    def _timerDue(self) -> None:
        """
        Process all entries that are due, and arm the timer for the others.
        """
        now = self._now() + GRAIN
        for table in self.incomplete, self.entries:
            for address, entry in [each for each in table.items() if each[1].due <= now]:
                # The requests for the entries before this one may have changed it, or removed it.
                if entry.due <= now and table.get(address) is entry:
                    self._stateEnds(address, entry)
        left = [entry.due for table in (self.incomplete, self.entries) for entry in table.values()]
        self._timer.armAt(min(left, default=inf))

    def _stateEnds(self, address: bytes, entry: Neighbour) -> None:
        """
        Enter the next state, or send the next solicitation.
        """
        entry.due = inf
        if entry.state == REACHABLE:
            entry.state = STALE
        elif entry.state == DELAY:
            entry.state = PROBE
            entry.tries = 0
            self._ask(address, entry)
        else:
            self._ask(address, entry)

    def _ask(self, address: bytes, entry: Neighbour) -> None:
        """
        Send the next solicitation of an entry. After L{TRIES} solicitations without an answer, remove the entry
        instead, and call the C{send} of each waiting datagram with C{None}.
        """
        if entry.tries == TRIES:
            table = self.incomplete if entry.state == INCOMPLETE else self.entries
            if table.get(address) is entry:
                del table[address]
            self.counters["unresolved"] += 1
            waiting = entry.waiting
            self._end(entry)
            # These calls come last, because they may start a new resolution of the address.
            for send, _ in waiting:
                send(None)
            return
        entry.tries += 1
        entry.asked = self._now()
        self._arm(entry, RETRANSMIT)
        self.counters["outSolicits"] += 1
        # The last try asks all stations, because another one may have the address now.
        self._solicit(address, entry.station if entry.tries < TRIES else None)

    def _end(self, entry: Neighbour) -> None:
        if not entry.waiting:
            return
        self.counters["outDiscards"] += len(entry.waiting)
        self._waitingOctets -= sum(octets for _, octets in entry.waiting)
        entry.waiting = ()


def isStation(link: bytes | None) -> bool:
    """
    Whether a link address is that of a single station: neither a group's, nor all zeros, nor C{None}.
    """
    return link is not None and not link[0] & 1 and any(link)
