"""
The state of the subjects, read once a second while somebody looks, and its history of five minutes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import count, islice
from typing import Any

from twisted.logger import Logger

from txtuntap.layer.bounded import TableState
from txtuntap.layer.timer import Timer, steadySeconds
from txtuntap.middleware.meter import GAUGES, isDrop
from txtuntap.service.observe.page.captures import Captures
from txtuntap.service.observe.page.flows import ALL, Flow, FlowSink, Protocols, perSecond
from txtuntap.service.observe.page.subject import Counters, Subject
from txtuntap.service.observe.wireguard import peerRecords
from txtuntap.tcp.record import plain
from txtuntap.tunnel.datagram import DatagramCarrier

#: The seconds between two readings, the readings that the history keeps, and the seconds after the last look at which
#: the readings end.
INTERVAL, KEPT, LINGER = 1.0, 300, 60.0

#: The most TCP connections, stations and peers that are shown.
MAX_SHOWN = 100

#: The version of the format of L{Recorder.latest}. A field may be added without a new version.
VERSION = 1

#: The counters whose rates the history keeps, and the name of the sum of all drops.
TRAFFIC = ("inPackets", "outPackets", "inOctets", "outOctets")
DROPS = "drops"

#: The names of the counters of packets up and down, by part, for those layers of the picture of the stack whose packets
#: nothing below them counts.
_PACKETS = {
    "port": ("inPackets", "outPackets"),
    "tunnel": ("outPackets", "inPackets"),
    "wireguard": ("outPackets", "inPackets"),
    "switch": ("inFrames", "outFrames"),
    "tcp": ("inSegs", "outSegs"),
}

#: The parts that pass each packet on, so that the layer above has the same rates.
_PASSING = ("port", "meter", "capture")

#: The parts that exchange packets with peers, to whom they go up from a port.
_CARRYING = ("tunnel", "wireguard")


#: The values of counters, by their part and their name.
_Counts = dict[tuple[str, str], int]


class _Reading:
    """
    The data of one subject that are kept between two readings.

    @ivar counters: the counters of the reading before; C{None}: there is none, or it has failed.
    @ivar history: the rates of each reading, by name.
    @ivar sink: counts the flows; C{None}: the subject has no capture.
    @ivar protocols: counts the packets of each protocol; C{None}: the subject has no middleware that shows them.
    @ivar flows: the counts of the flows at the reading before.
    @ivar peers: the octets from and to each peer of WireGuard at the reading before.
    """

    def __init__(self, subject: Subject) -> None:
        self.counters: _Counts | None = None
        self.history: dict[str, deque[float | None]] = {name: deque(maxlen=KEPT) for name in (*TRAFFIC, DROPS)}
        self.flows: dict[Flow, list[int]] = {}
        self.sink: FlowSink | None = None
        self.peers: dict[str, tuple[int, int]] = {}
        self.protocols: Protocols | None = None
        self._capture = subject.capture
        self._lossy = subject.highestImpairment
        if self._lossy is not None:
            # The capture below also shows the packets that are lost on their way up, and none that are lost on their
            # way down.
            self.protocols = Protocols(self._lossy.ethernet)
            self._lossy.observers.append(self.protocols.observe)
        if self._capture is not None:
            counted: Protocols | None = None
            if self.protocols is None:
                self.protocols = counted = Protocols(self._capture.ethernet)
            self.sink = FlowSink(counted)
            self._capture.addSink(self.sink)

    def end(self) -> None:
        """
        Count no more packets.
        """
        if self._lossy is not None and self.protocols is not None:
            self._lossy.observers.remove(self.protocols.observe)
        if self._capture is not None and self.sink is not None:
            self._capture.removeSink(self.sink)


class Recorder:
    """
    Reads the subjects once a second. It begins at the first look, and ends a minute after the last one. If the reading
    of a subject fails, the others are read nevertheless.

    @ivar subjects: the subjects that are read. More may be added at any time.
    @ivar captures: the captures of the page.
    @ivar tables: a callable that returns the tables of the page itself.
    @ivar counters: the counters of the page itself.
    """

    _log = Logger()

    def __init__(self, reactor: Any, subjects: Sequence[Subject], captures: Captures) -> None:
        self.subjects = list(subjects)
        self.captures = captures
        self.latest: dict[str, Any] | None = None
        self.tables: Callable[[], list[TableState]] = list
        self.counters: Mapping[str, int] = {}
        self._now = steadySeconds(reactor)
        self._timer = Timer(reactor, self._tick)
        self._readings: dict[int, _Reading] = {}
        self._times: deque[float] = deque(maxlen=KEPT)
        self._failed: set[int] = set()
        self._before: _Counts | None = None
        self._last = 0.0
        self._lookedAt = 0.0

    @property
    def isRunning(self) -> bool:
        """
        Whether the subjects are read now.
        """
        return self.latest is not None

    def look(self) -> dict[str, Any]:
        """
        Note that somebody looks.

        @return: the latest reading.
        """
        self._lookedAt = self._now()
        if self.latest is None:
            self._last = self._now()
            self.latest = self._read(INTERVAL)
            self._timer.arm(INTERVAL)
        return self.latest

    def named(self) -> dict[str, Subject]:
        """
        Return the subjects by their present names. A name that several have is numbered, so that each can be chosen.
        """
        found: dict[str, Subject] = {}
        for subject in self.subjects:
            try:
                name = subject.currentName()
            except Exception:
                self._fails(subject)
                name = "?"
            numbers = (f"{name} ({number})" for number in count(2))
            found[name if name not in found else next(each for each in numbers if each not in found)] = subject
        return found

    def history(self) -> dict[str, Any]:
        """
        Return the rates of the last five minutes, by interface and by name, with the time of each reading in seconds
        since 1970. C{numbers} has the number of each interface, which stays when its name changes.
        """
        named = self.named()
        return {
            "version": VERSION,
            "times": list(self._times),
            "interfaces": {
                shown: {name: list(each) for name, each in self._readings[id(subject)].history.items()}
                for shown, subject in named.items()
                if id(subject) in self._readings
            },
            "numbers": {shown: number for number, shown in enumerate(named, 1)},
        }

    def stop(self) -> None:
        """
        Read no more, and forget the history.
        """
        self._timer.stop()
        for each in self._readings.values():
            each.end()
        self._readings.clear()
        self._times.clear()
        self._failed.clear()
        self._before = None
        self.latest = None

    def _tick(self) -> None:
        now = self._now()
        if now - self._lookedAt > LINGER:
            self.stop()
            return
        self._timer.arm(INTERVAL)
        self.latest = self._read(max(now - self._last, 0.001))
        self._last = now
        self.read(self.latest)

    def read(self, latest: dict[str, Any]) -> None:
        """
        Receive each new reading. The page replaces this method.
        """

    def _read(self, seconds: float) -> dict[str, Any]:
        now = time.time()
        if self.latest is not None:
            self._times.append(now)
        interfaces = [
            {"number": number, **self._readSafely(name, subject, seconds)}
            for number, (name, subject) in enumerate(self.named().items(), 1)
        ]
        tables = [_table(state) for state in self.tables()]
        counters, self._before = _counters({"page": self.counters}, self._before, seconds)
        return {"version": VERSION, "time": now, "interfaces": interfaces, "tables": tables, "counters": counters}

    def _readSafely(self, name: str, subject: Subject, seconds: float) -> dict[str, Any]:
        try:
            return self._readSubject(name, subject, seconds)
        except Exception as e:
            self._fails(subject)
            reading = self._readings.get(id(subject))
            if reading is not None and self.latest is not None:
                # The history has a gap, so that what follows stays beside its time.
                for each in reading.history.values():
                    each.append(None)
            return {**_UNREAD, "name": name, "error": f"{type(e).__name__}: {e}"}

    def _fails(self, subject: Subject) -> None:
        """
        Log why a subject cannot be read, but not once each second.
        """
        if id(subject) not in self._failed:
            self._failed.add(id(subject))
            self._log.failure("The live page cannot read one of its interfaces")

    def _readSubject(self, name: str, subject: Subject, seconds: float) -> dict[str, Any]:
        reading = self._readings.get(id(subject))
        isFirst = reading is None
        if reading is None:
            reading = self._readings[id(subject)] = _Reading(subject)
        # Before the first reading, and after one that has failed, there is nothing to compare with.
        before, reading.counters = reading.counters, None
        counters, present = _counters(subject.currentCounters(), before, seconds)
        rates = {(each["part"], each["name"]): each["rate"] for each in counters}
        sums = dict.fromkeys((*TRAFFIC, DROPS), 0.0)
        sums[DROPS] += sum(each["rate"] or 0.0 for each in counters if each["isDrop"])
        sums.update((name, rates.get((_trafficPart(subject), name)) or 0.0) for name in TRAFFIC)
        reading.counters = present
        passed = {} if reading.protocols is None else reading.protocols.rates(seconds)
        shown = {
            "name": name,
            "error": None,
            "rates": sums if before is not None else _UNREAD["rates"],
            "stack": _stack(subject, passed, rates, counters),
            "counters": counters,
            "tables": [_table(state) for state in subject.tables()],
            "flows": [] if reading.sink is None else reading.sink.busiest(reading.flows, seconds),
            "connections": _connections(subject),
            "stations": _stations(subject),
            "peers": _peers(subject, reading, seconds),
            "tunnel": _tunnel(subject, rates),
            "captures": None if subject.capture is None else self.captures.of(subject),
            "impairment": _impairment(subject),
        }
        if not isFirst:
            for each, rate in sums.items():
                reading.history[each].append(None if before is None else rate)
        return shown


#: The reading of a subject that cannot be read.
_UNREAD: dict[str, Any] = {
    "rates": dict.fromkeys((*TRAFFIC, DROPS)),
    **{name: [] for name in ("stack", "counters", "tables", "flows")},
    **dict.fromkeys(("connections", "stations", "peers", "tunnel", "captures", "impairment")),
}


def _counters(counts: Counters, before: _Counts | None, seconds: float) -> tuple[list[dict[str, Any]], _Counts]:
    """
    Describe counters, drops first.

    @param counts: the counters by part.
    @param before: what the call before has returned; C{None}: there was none.

    @return: the description, and what the next call takes as C{before}.
    """
    found: list[dict[str, Any]] = []
    present: _Counts = {}
    for part, each in counts.items():
        for name, value in dict(each).items():
            present[part, name] = value
            rate: float | None = 0.0
            if name in GAUGES:
                rate = None
            elif before is not None:
                rate = perSecond(value, before.get((part, name), 0), seconds)
            found.append({"part": part, "name": name, "value": value, "rate": rate, "isDrop": isDrop(part, name)})
    return sorted(found, key=lambda each: (not each["isDrop"], each["part"], each["name"])), present


def _trafficPart(subject: Subject) -> str:
    return "port" if subject.port is not None else "tunnel" if subject.tunnel is not None else "wireguard"


def _stack(
    subject: Subject,
    passed: Mapping[str, tuple[float, float]],
    rates: Mapping[tuple[str, str], float | None],
    counters: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:
    """
    Describe the layers from the device up.

    @param passed: the packets a second up and down by part, as far as the page counts them.
    """
    found: list[dict[str, Any]] = []
    below: dict[str, Any] = {"part": None}
    # Where there is no port, the tunnel or WireGuard is the lowest layer, and its peers are below it.
    isLowest = subject.port is None
    for layer in subject.stack():
        part, lower = layer["part"], below["part"]
        packets: tuple[float | None, float | None] = (None, None)
        if part in passed:
            packets = passed[part]
        elif lower in _PASSING or (isLowest and lower in _CARRYING):
            packets = below["up"], below["down"]
        elif lower == "impairment" and part != "impairment":
            packets = passed.get(ALL, packets)
        elif part in _PACKETS:
            up, down = _rates(rates, part)
            packets = (down, up) if isLowest and part in _CARRYING else (up, down)
        elif part is None and lower in _CARRYING:
            packets = _rates(rates, lower)
        drops = sum(each["rate"] or 0.0 for each in counters if each["part"] == part and each["isDrop"])
        below = {**layer, "up": packets[0], "down": packets[1], "drops": drops}
        found.append(below)
    return found


def _rates(rates: Mapping[tuple[str, str], float | None], part: str) -> tuple[float | None, float | None]:
    up, down = (rates.get((part, name), 0.0) for name in _PACKETS[part])
    return up, down


def _table(state: Any) -> dict[str, Any]:
    return {name: getattr(state, name) for name in ("name", "size", "bound", "policy", "unit")}


def _connections(subject: Subject) -> dict[str, Any] | None:
    host = subject.host
    if host is None or not host.usesTCP:
        return None
    records = host.eachConnection()
    shown = [plain(record) for record in islice(records, MAX_SHOWN)]
    return {"listening": [plain(port) for port in host.listening], "shown": shown, "left": records.left}


def _stations(subject: Subject) -> dict[str, Any] | None:
    if subject.switch is None:
        return None
    port = subject.switchPort
    known = [each for each in subject.switch.stations if port is None or each.port is port]
    shown = [
        {"address": each.address, "vlan": each.vlan, "port": each.port.name, "age": each.age}
        for each in known[:MAX_SHOWN]
    ]
    return {"shown": shown, "left": len(known) - len(shown)}


def _peers(subject: Subject, reading: _Reading, seconds: float) -> dict[str, Any] | None:
    if subject.wireguard is None:
        return None
    shown = list(islice(peerRecords(subject.wireguard), MAX_SHOWN))
    before, reading.peers = reading.peers, {}
    for each in shown:
        octets = reading.peers[each["publicKey"]] = each["received"], each["sent"]
        rates = [
            perSecond(new, old, seconds) for new, old in zip(octets, before.get(each["publicKey"], octets), strict=True)
        ]
        each["rates"] = dict(zip(("received", "sent"), rates, strict=True))
    return {"shown": shown, "left": len(subject.wireguard.peers) - len(shown)}


def _tunnel(subject: Subject, rates: Mapping[tuple[str, str], float | None]) -> dict[str, Any] | None:
    if subject.tunnel is None:
        return None
    peer = _peerOf(subject.tunnel.carrier)
    return {
        "isUp": subject.tunnel.carrier is not None,
        "peer": None if peer is None else dict(zip(("host", "port"), peer, strict=True)),
        "rates": {name: rates.get(("tunnel", name)) or 0.0 for name in TRAFFIC},
    }


def _peerOf(carrier: Any) -> tuple[str, int] | None:
    """
    Return the address and port of the peer of a tunnel; C{None}: there is none, or it is at a UNIX socket.
    """
    if isinstance(carrier, DatagramCarrier):
        return carrier.peer
    getPeer = getattr(getattr(carrier, "transport", None), "getPeer", None)
    address: Any = None if getPeer is None else getPeer()
    return (address.host, address.port) if hasattr(address, "port") else None


def _impairment(subject: Subject) -> dict[str, str] | None:
    impairment = subject.impairment
    return None if impairment is None else {"up": str(impairment.up), "down": str(impairment.down)}
