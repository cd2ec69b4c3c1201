"""
The stations on the link by IP address, found by asking: one cache for ARP (RFC 826, RFC 1122 section 2.3.2) and for
neighbour discovery, whose states it has for both (RFC 4861 section 7.3.2):

    INCOMPLETE --answer--> REACHABLE --15..45 s--> STALE --used--> DELAY --5 s--> PROBE --answer--> REACHABLE
         |                                                                          |
         +--------------------------------- no answer to three requests ------------+--> forgotten

What is unresolved is kept apart from what is, and bounded apart: a scan of a whole network, which makes an entry for
every address, must not push out the stations that are there (RFC 6583).
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from txtuntap.interfaces import INeighbours
from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.layer.counters import Counters
from txtuntap.layer.timer import Timer, steadySeconds
from txtuntap.wire.address import packAddress, packLinkAddress

INCOMPLETE, REACHABLE, STALE, DELAY, PROBE, PERMANENT = (
    "incomplete",
    "reachable",
    "stale",
    "delay",
    "probe",
    "permanent",
)

#: Stations that are known; the least recently used goes.
MAX_ENTRIES = 512

#: Addresses being asked for; the oldest goes.
MAX_INCOMPLETE = 64

#: Datagrams that wait for one address; the oldest goes. And the octets that wait for all.
MAX_WAITING = 3
MAX_WAITING_OCTETS = 256 * 1024

#: RFC 4861 section 10: MAX_MULTICAST_SOLICIT and MAX_UNICAST_SOLICIT, RETRANS_TIMER, REACHABLE_TIME,
#: DELAY_FIRST_PROBE_TIME. Times in seconds.
TRIES = 3
RETRANSMIT = 1.0
REACHABLE_TIME = 30.0
DELAY_TIME = 5.0

#: How much shorter or longer a station is taken to be reachable by chance, so that hosts that were started together do
#: not ask together for ever (MIN_RANDOM_FACTOR, MAX_RANDOM_FACTOR).
RANDOM_FACTOR = 0.5, 1.5

Waiting = tuple[Callable[[bytes | None], None], int]


class Neighbour:
    """
    The entry of one address: its station and the state of that.

    @ivar state: one of the states above.
    @ivar station: its link address, once known.
    @ivar asked: when it was last asked, in seconds.
    @ivar timer: is due when the time of the state is over; L{None} while no state of this entry has had one.
    """

    __slots__ = ("asked", "state", "station", "timer", "tries", "waiting")

    def __init__(self, state: str) -> None:
        self.state = state
        self.station: bytes | None = None
        self.tries = 0
        self.asked: float | None = None
        self.timer: Timer | None = None
        self.waiting: list[Waiting] = []


@implementer(INeighbours)
class NeighbourCache:
    """
    Finds stations, and remembers them.

    Counters: C{outSolicits} (requests sent), C{unresolved} (addresses nobody answered for), C{outDiscards} (datagrams
    dropped that waited for one), C{evicted} (stations forgotten for others).

    @ivar entries: stations that are known: L{Neighbour}s by packed IP address, the least recently used first.
    @ivar incomplete: addresses being asked for, the oldest first.
    """

    resolves = True

    def __init__(self, clock: IReactorTime, random: Random, solicit: Callable[[bytes, bytes | None], None]) -> None:
        """
        @param solicit: called with an IP address to ask for, and the station to ask: L{None} for all of them.
        """
        self._clock = clock
        self._now = steadySeconds(clock)
        self._random = random
        self._solicit = solicit
        self._waitingOctets = 0
        # How many entries are permanent.
        self._permanents = 0
        self.entries: Table[bytes, Neighbour] = Table(
            "neighbours", MAX_ENTRIES, Policy.LEAST_RECENT, self._evicted, self._evictable
        )
        self.incomplete: Table[bytes, Neighbour] = Table("incomplete", MAX_INCOMPLETE, Policy.OLDEST, self._crowdedOut)
        self.counters = Counters()

    def add(self, address: str | bytes, station: str | bytes) -> None:
        """
        Enter a station for good.

        @raise ValueError: an argument is no address.
        """
        self._learn(packAddress(address), packLinkAddress(station), PERMANENT)

    def remove(self, address: str | bytes) -> None:
        """
        Forget an address.

        @raise ValueError: nothing is known of it.
        """
        packed = packAddress(address)
        entry = self.entries.pop(packed, None) or self.incomplete.pop(packed, None)
        if entry is None:
            raise ValueError(f"{address!r} is no neighbour")
        self._permanents -= entry.state == PERMANENT
        self._end(entry)

    def clear(self) -> None:
        """
        Forget all that was not entered for good.
        """
        for table in (self.entries, self.incomplete):
            for address, entry in list(table.items()):
                if entry.state != PERMANENT:
                    del table[address]
                    self._end(entry)

    def tables(self) -> list[TableState]:
        """
        See L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
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
        Whether a packed address is known or being asked for. To look does nothing to it.
        """
        return address in self.entries or address in self.incomplete

    def lookup(self, address: bytes) -> bytes | None:
        """
        See L{INeighbours.lookup}. What has not been confirmed for long is, in the background.
        """
        entry = self.entries.get(address)
        if entry is None:
            return None
        if entry.state != PERMANENT:
            self.entries.move_to_end(address)
        self.confirm(address)
        return entry.station

    def confirm(self, address: bytes) -> None:
        """
        Have a station that has not been confirmed for long be asked whether it still has an address, in the background.
        If nobody answers, it is forgotten. It does not count as used.
        """
        entry = self.entries.get(address)
        if entry is not None and entry.state == STALE:
            self._enterState(entry, DELAY, DELAY_TIME, address)

    def hold(self, address: bytes, send: Callable[[bytes | None], None], octets: int) -> None:
        """
        See L{INeighbours.hold}. A route that was found before the answer came may ask for a station that is known.
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
                del entry.waiting[0]
                self.counters["outDiscards"] += 1
            entry.waiting.append((send, octets))
            self._waitingOctets += octets - oldest
        if not entry.tries:
            # Last: the answer may come before this returns.
            self._ask(address, entry)

    def confirmed(self, address: bytes, station: bytes | None, override: bool = True) -> None:
        """
        An apparent answer to a request of ours has come. Where nothing was asked, it is a claim like any other.

        @param station: who has the address; L{None} where it does not say: whom we asked.
        @param override: whether it may replace what is known (the flag of RFC 4861 section 4.4).
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
        A station has said, unasked, that it has an address. The claim may refresh an entry, and answer a request. It
        never replaces a station by another before the former was asked, because otherwise anyone who can send could
        take over anybody's traffic.

        @param remember: whether it is worth an entry: it is about to hear from us, say.
        """
        entry = self.entries.get(address)
        if entry is None:
            if address in self.incomplete or remember:
                self._learn(address, station, STALE)
        elif entry.station != station:
            self._suspect(address, entry)

    def _suspect(self, address: bytes, entry: Neighbour) -> None:
        """
        An address that is known is claimed by another station: ask, as soon as may be.
        """
        if entry.state in (STALE, REACHABLE, DELAY):
            since = RETRANSMIT if entry.asked is None else self._now() - entry.asked
            self._enterState(entry, DELAY, max(0.0, RETRANSMIT - max(0.0, since)), address)

    def _learn(self, address: bytes, station: bytes, state: str) -> None:
        known, entry = self.entries.get(address), self.incomplete.pop(address, None)
        if entry is None:
            entry = known or Neighbour(state)
        elif known is not None:
            self._end(known)
        entry.station = station
        self._permanents += state == PERMANENT and (known is None or known.state != PERMANENT)
        self.entries.put(address, entry)
        if state == REACHABLE:
            self._enterState(entry, REACHABLE, REACHABLE_TIME * self._random.uniform(*RANDOM_FACTOR), address)
        else:
            self._enterState(entry, state, None, address)
        waiting, entry.waiting = entry.waiting, []
        for send, octets in waiting:
            self._waitingOctets -= octets
            send(station)

    def _evictable(self, new: bytes) -> bytes | None:
        """
        The least recently used of the stations that were not entered for good.
        """
        if self._permanents == len(self.entries):
            # A look at all of them, for each that is entered, would take too long.
            return None
        entries = self.entries.items()
        return next((each for each, entry in entries if entry.state != PERMANENT and each != new), None)

    def _evicted(self, address: bytes, entry: Neighbour) -> None:
        self._end(entry)
        self.counters["evicted"] += 1

    def _crowdedOut(self, address: bytes, entry: Neighbour) -> None:
        self._end(entry)

    def _enterState(self, entry: Neighbour, state: str, seconds: float | None, address: bytes) -> None:
        entry.state = state
        entry.tries = 0
        if seconds is not None:
            self._arm(entry, seconds, address)
        elif entry.timer is not None:
            entry.timer.stop()

    def _arm(self, entry: Neighbour, seconds: float, address: bytes) -> None:
        if entry.timer is None:
            # The timer knows the address and not the entry: an evicted entry is freed at once, without a cycle.
            entry.timer = Timer(self._clock, self._timerDue, address)
        entry.timer.arm(seconds)

    def _timerDue(self, address: bytes) -> None:
        """
        The time of a state is over.
        """
        entry = self.incomplete.get(address) or self.entries.get(address)
        if entry is None or entry.state == PERMANENT:
            return
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
        Send a request, or give up after the last.
        """
        if entry.tries == TRIES:
            table = self.incomplete if entry.state == INCOMPLETE else self.entries
            if table.get(address) is entry:
                del table[address]
            self.counters["unresolved"] += 1
            waiting = entry.waiting
            self._end(entry)
            # Last: what hears of it may ask anew.
            for send, _ in waiting:
                send(None)
            return
        entry.tries += 1
        entry.asked = self._now()
        self._arm(entry, RETRANSMIT, address)
        self.counters["outSolicits"] += 1
        # A station that has been told of a change may be gone: the last try asks everybody.
        self._solicit(address, entry.station if entry.tries < TRIES else None)

    def _end(self, entry: Neighbour) -> None:
        if entry.timer is not None:
            entry.timer.stop()
        self.counters["outDiscards"] += len(entry.waiting)
        self._waitingOctets -= sum(octets for _, octets in entry.waiting)
        entry.waiting = []


def isStation(link: bytes | None) -> bool:
    """
    Whether a link address is that of one station.
    """
    return link is not None and not link[0] & 1 and any(link)
