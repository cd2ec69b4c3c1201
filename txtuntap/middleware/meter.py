"""
Counts what goes by, and how fast.

    meter = Meter(host.ethernet, lambda: {**host.counters, "port": port.counters})
    meter.rates()["meter"].get("inPackets", 0.0)
    drops(meter.totals()).get("ip", {})
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from txtuntap.layer.counters import PacketCounters
from txtuntap.layer.drops import Drop
from txtuntap.layer.timer import Timer
from txtuntap.middleware.base import Middleware
from txtuntap.packet import Packet
from txtuntap.wire.offload import Offload, segments

#: Seconds that rates are over, and between two samples of what they are made from.
WINDOW, INTERVAL = 10, 1

#: Names of counters that count packets which went no further: those of C{docs/bounds.md}.
DROPS = frozenset(
    [
        *(drop.counter for drop in Drop if drop not in (Drop.OTHER_ADDRESS, Drop.OTHER_REPORT)),
        # Going down, or not by a layer.
        *("outErrors", "outLinkDown", "outNoRoutes", "outLimited", "inServices"),
        *("inLost", "outLost", "inOverLimit", "outOverLimit", "inTooBig", "outTooBig"),
        *("connectionsRefused", "buffersRefused", "backlogOverflows", "inSigned", "inUnacceptable"),
        *("unclaimedSilences", "unclaimedTimeouts", "unclaimedOverflows"),
    ]
)

#: Names of L{DROPS} that mean something else in one part: error messages about packets that are counted already.
NO_DROPS = frozenset([("icmp", "outErrors"), ("tunnel", "outLimited"), ("tcp", "outLimited")])

#: Names of counters that tell how many there are now: they fall, too, and have no rate.
GAUGES = frozenset(["currEstab"])

#: By part, by name.
Counters = Mapping[str, Mapping[str, int]]

_N = TypeVar("_N", int, float)


class Meter(Middleware):
    """
    Counts the packets that go through it: C{inPackets}, C{inOctets}, those that came; C{outPackets}, C{outOctets}; and
    C{inSuperpackets}, C{outSuperpackets}, many packets in one, which count above as the many.

    @ivar sources: called for the counters of other parts, by the part's name.
    """

    handlesFailures = True
    takesOffload = True

    def __init__(self, proto: Any, sources: Callable[[], Counters] = dict) -> None:
        """
        @param sources: called for the counters of other parts, by the part's name, such as those of a port or a host.

        @raise TypeError: C{proto} is no protocol that middleware goes around, or C{sources} cannot be called.
        """
        super().__init__(proto)
        self.counters: PacketCounters = PacketCounters()
        if not callable(sources):
            raise TypeError(f"sources is called for the counters of other parts: give 'lambda: {sources!r}'")
        self.sources = sources
        self._samples: deque[tuple[float, dict[str, dict[str, int]]]] = deque(maxlen=WINDOW // INTERVAL + 1)
        self._timer: Timer | None = None

    def totals(self) -> dict[str, dict[str, int]]:
        """
        All counters by part; those of this meter are under C{"meter"}.
        """
        # Copies: another thread may ask.
        return {"meter": dict(self.counters), **{part: dict(each) for part, each in self.sources().items()}}

    def rates(self) -> dict[str, dict[str, float]]:
        """
        By how much each of them has grown per second, over the latest ten seconds; over as many as there have been
        since the meter was started. What was not counted in that time is left out.
        """
        now, totals = self.now(), self.totals()
        if not self._samples or now <= self._samples[0][0]:
            return {part: {} for part in totals}
        # One of a reactor that was busy may be older than it should be: then the time is longer, too.
        began, first = self._samples[0]
        rates: dict[str, dict[str, float]] = {}
        for part, counters in totals.items():
            before = first.get(part, {})
            grown = ((name, _growth(before.get(name, 0), count)) for name, count in counters.items())
            rates[part] = {name: growth / (now - began) for name, growth in grown if growth and name not in GAUGES}
        return rates

    def doStart(self) -> None:
        """
        Begin to take samples.
        """
        # If a source raises, then before anything runs.
        self.totals()
        super().doStart()
        self._samples.clear()
        clock = self.clock
        if clock is not None and self._timer is None:
            self._timer = Timer(clock, self._sample)
        self._sample()

    def doStop(self) -> None:
        """
        Take no more.
        """
        super().doStop()
        if self._timer is not None:
            self._timer.stop()
            self._timer = None

    def _sample(self) -> None:
        if self._timer is not None:
            self._samples.append((self.now(), self.totals()))
            self._timer.arm(INTERVAL)

    def packetReceived(self, packet: Packet) -> None:
        """
        A packet has come from below.
        """
        counters = self.counters
        offload = packet.offload
        octets = packet.end - packet.start
        if offload is not None and offload.isSuperpacket and offload.size:
            count, octets = segments(packet.end, offload, packet.start)
            counters.inPackets += count
            counters["inSuperpackets"] += 1
        else:
            counters.inPackets += 1
        counters.inOctets += octets
        self.deliver(packet)

    def writePacket(self, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        """
        A packet has come from above.
        See .
        """
        counters = self.counters
        octets = sum(map(len, buffers))
        if offload is not None and offload.isSuperpacket and offload.size:
            count, octets = segments(octets, offload)
            counters.outPackets += count
            counters["outSuperpackets"] += 1
        else:
            counters.outPackets += 1
        counters.outOctets += octets
        self.send(buffers, offload)


def _growth(before: int, count: int) -> int:
    # A part that was made anew, or counts anew, has begun at 0.
    return count - before if count >= before else count


def isDrop(part: str, name: str) -> bool:
    """
    Whether a counter counts packets that went no further.
    """
    return name in DROPS and (part, name) not in NO_DROPS


def drops(counters: Mapping[str, Mapping[str, _N]]) -> dict[str, dict[str, _N]]:
    """
    Select the counters, or rates, of packets that went no further. Parts without any are left out.
    """
    found = {part: {name: n for name, n in each.items() if isDrop(part, name)} for part, each in counters.items()}
    return {part: each for part, each in found.items() if each}
