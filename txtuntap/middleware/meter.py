"""
Middleware that counts packets and octets, and computes rates per second::

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
from txtuntap.wire.offload import Offload, countPackets

#: The seconds over which a rate is averaged, and the seconds between two samples of the counters.
WINDOW, INTERVAL = 10, 1

#: The names of counters of dropped packets, as C{docs/bounds.md} lists them.
DROPS = frozenset(
    [
        *(drop.counter for drop in Drop if drop not in (Drop.OTHER_ADDRESS, Drop.OTHER_REPORT)),
        # Drops on the way to the device, and drops outside of the layers.
        *("outErrors", "outLinkDown", "outNoRoutes", "outLimited", "inServices"),
        *("inLost", "outLost", "inOverLimit", "outOverLimit", "inTooBig", "outTooBig"),
        *("connectionsRefused", "buffersRefused", "backlogOverflows", "inSigned", "inUnacceptable"),
        *("unclaimedSilences", "unclaimedTimeouts", "unclaimedOverflows"),
        *("inMacErrors", "inHandshakeErrors", "inUnknownPeers", "inOldTimestamps", "inLimited", "inUnknownIndexes"),
        *("inExpired", "inUnauthentic", "inReplays", "inCookieErrors", "inDataErrors"),
        *("inTruncated", "inFamilyErrors"),
    ]
)

#: The part and the name of counters that count no dropped packets, although L{DROPS} has the name. They count the error
#: messages of ICMP, and the answers of ICMP, a tunnel and TCP that were suppressed because there would be too many. An
#: ICMP error answers a packet whose drop is counted already.
NO_DROPS = frozenset([("icmp", "outErrors"), ("icmp", "outLimited"), ("tunnel", "outLimited"), ("tcp", "outLimited")])

#: The names of counters that hold a current number, such as the open connections. They can fall, and have no rate.
GAUGES = frozenset(["currEstab"])

#: The type of counters: by the name of their part, and then by their own name.
Counters = Mapping[str, Mapping[str, int]]

_N = TypeVar("_N", int, float)


class Meter(Middleware):
    """
    A meter wraps a protocol and counts the packets in both directions.

    Counters: C{inPackets} and C{inOctets}, to the protocol; C{outPackets} and C{outOctets}, from the protocol;
    C{inSuperpackets} and C{outSuperpackets}, superpackets. The packets and octets of a superpacket are counted as they
    are after it is cut.

    @ivar sources: a callable that returns the counters of other parts, by the part's name.
    """

    handlesFailures = True
    takesOffload = True

    def __init__(self, proto: Any, sources: Callable[[], Counters] = dict) -> None:
        """
        @param proto: the protocol to wrap, an C{IEthernetProtocol} or an C{IRawPacketProtocol}.
        @param sources: a callable that returns the counters of other parts, such as a port or a host, by the part's
            name.

        @raise TypeError: C{proto} cannot be wrapped by middleware, or C{sources} is not callable.
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
        Read all counters, by part. The part C{"meter"} has the counters of this meter.
        """
        # The result has copies, because another thread may read it while the reactor counts on.
        return {"meter": dict(self.counters), **{part: dict(each) for part, each in self.sources().items()}}

    def rates(self) -> dict[str, dict[str, float]]:
        """
        Compute the growth of all counters per second, by part. A rate is averaged over the last ten seconds, or over
        the time since the start of the meter if that is shorter. Counters that have not grown, and L{GAUGES}, are left
        out.
        """
        now, totals = self.now(), self.totals()
        if not self._samples or now <= self._samples[0][0]:
            return {part: {} for part in totals}
        # A busy reactor samples late, so the oldest sample may be older than ten seconds. The rate is computed over the
        # true age of the sample.
        began, first = self._samples[0]
        rates: dict[str, dict[str, float]] = {}
        for part, counters in totals.items():
            before = first.get(part, {})
            grown = ((name, _growth(before.get(name, 0), count)) for name, count in counters.items())
            rates[part] = {name: growth / (now - began) for name, growth in grown if growth and name not in GAUGES}
        return rates

    def doStart(self) -> None:
        """
        Start the wrapped protocol, and sample the counters once a second from now on.
        """
        # Call the sources first, so that nothing has been started if one of them raises.
        self.totals()
        super().doStart()
        self._samples.clear()
        clock = self.clock
        if clock is not None and self._timer is None:
            self._timer = Timer(clock, self._sample)
        self._sample()

    def doStop(self) -> None:
        """
        Stop the wrapped protocol and the sampling.
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
        Count a packet from the port, and deliver it to the protocol.
        """
        counters = self.counters
        offload = packet.offload
        count, octets = 1, packet.end - packet.start
        if offload is not None and offload.isSuperpacket:
            count, octets = countPackets([memoryview(packet.data)[: packet.end]], offload, packet.start)
            counters["inSuperpackets"] += 1
        counters.inPackets += count
        counters.inOctets += octets
        self.deliver(packet)

    def writePacket(self, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        """
        Count a packet of the protocol, and pass it on to the port.
        """
        counters = self.counters
        count, octets = countPackets(buffers, offload)
        if offload is not None and offload.isSuperpacket:
            counters["outSuperpackets"] += 1
        counters.outPackets += count
        counters.outOctets += octets
        self.send(buffers, offload)


def _growth(before: int, count: int) -> int:
    # A counter that has fallen was reset, or belongs to a new part of the same name. It has grown from 0.
    return count - before if count >= before else count


def isDrop(part: str, name: str) -> bool:
    """
    Whether a counter counts dropped packets.

    @param part: the name of the part that the counter belongs to, such as C{ip}.
    @param name: the name of the counter.
    """
    return name in DROPS and (part, name) not in NO_DROPS


def drops(counters: Mapping[str, Mapping[str, _N]]) -> dict[str, dict[str, _N]]:
    """
    Select the counters of dropped packets, or their rates. Parts without any are left out.
    """
    found = {part: {name: n for name, n in each.items() if isDrop(part, name)} for part, each in counters.items()}
    return {part: each for part, each in found.items() if each}
