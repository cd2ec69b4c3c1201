"""
Two hosts in virtual time on a link that an adversary controls. Each host has clocks of its own, which a test may set.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from itertools import count
from math import inf
from random import Random

import attrs
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from txtuntap import Host, TuntapPort
from txtuntap.layer.timer import GRAIN
from txtuntap.tcp import TCPProtocol
from txtuntap.testing import TAP, TUN, MemoryDevice, SettableClock
from txtuntap.wire import ipv4
from txtuntap.wire.checksum import checksum, onesSum
from txtuntap.wire.offload import NEEDS_CHECKSUM, TCP4, TCP6, Offload, finish
from txtuntap.wire.tcp import CHECKSUM_OFFSET, FIN, PROTOCOL, PSH, RST, SYN

#: The fates of a packet on the link.
FATES = ("pass", "lose", "delay", "duplicate", "corrupt", "split", "join", "superpacket")

#: The most octets of data in a segment that is joined from two.
_LONGEST = 60_000

#: The number of calls at one time that means that the hosts never come to rest.
_MOST_AT_ONCE = 100_000

#: The wall clock at the beginning, in seconds.
_EPOCH = 1.8e9


@attrs.define
class Segment:
    """
    A TCP segment in a packet.

    @ivar packet: the whole packet, with its Ethernet header if it has one.
    @ivar network: the offset of the IP header.
    @ivar transport: the offset of the TCP header.
    @ivar payload: the offset of the data.
    """

    packet: bytes
    network: int
    transport: int
    payload: int

    @classmethod
    def of(cls, packet: bytes, network: int) -> Segment | None:
        """
        Parse the segment in a packet. L{None}: it has none.
        """
        version = packet[network] >> 4
        if version == 4:
            if packet[network + 9] != PROTOCOL:
                return None
            transport = network + ipv4.HEADER_LENGTH
        else:
            if version != 6 or packet[network + 6] != PROTOCOL:
                return None
            transport = network + 40
        return cls(packet, network, transport, transport + (packet[transport + 12] >> 4 << 2))

    @property
    def sequence(self) -> int:
        return int.from_bytes(self.packet[self.transport + 4 : self.transport + 8], "big")

    @property
    def flags(self) -> int:
        return self.packet[self.transport + 13]

    @property
    def length(self) -> int:
        """
        The number of octets of data.
        """
        return len(self.packet) - self.payload

    def asSuperpacket(self, size: int) -> tuple[bytes, Offload]:
        """
        Make a superpacket of this segment, as a kernel with GSO or GRO does. Its checksum is left open.

        @param size: the octets of data in each segment of the superpacket.
        """
        packet, network, transport = bytearray(self.packet), self.network, self.transport
        isIPv4 = packet[network] >> 4 == 4
        if isIPv4:
            packet[network + 2 : network + 4] = (len(packet) - network).to_bytes(2, "big")
            packet[network + 10 : network + 12] = bytes(2)
            sum = checksum(bytes(packet[network:transport]))
            packet[network + 10 : network + 12] = sum.to_bytes(2, "big")
        else:
            packet[network + 4 : network + 6] = (len(packet) - transport).to_bytes(2, "big")
        ends = bytes(packet[network + 12 if isIPv4 else network + 8 : transport])
        pseudo = (onesSum(ends) + PROTOCOL + len(packet) - transport) % 0xFFFF
        field = transport + CHECKSUM_OFFSET
        packet[field : field + 2] = pseudo.to_bytes(2, "big")
        kind = TCP4 if isIPv4 else TCP6
        return bytes(packet), Offload(NEEDS_CHECKSUM, kind, self.payload, size, transport, CHECKSUM_OFFSET)

    def joined(self, other: Segment) -> Segment | None:
        """
        Join this segment with the next one. L{None}: the other is not the next one, or has other headers.
        """
        headers = [bytearray(each.packet[self.network + 12 : each.payload]) for each in (self, other)]
        for header in headers:
            # The sequence number, the flags and the checksum may differ.
            at = self.transport - self.network - 12
            header[at + 4 : at + 8] = bytes(4)
            header[at + 13 : at + 14] = bytes(1)
            header[at + 16 : at + 18] = bytes(2)
        follows = (self.sequence + self.length) & 0xFFFFFFFF == other.sequence
        isPlain = not (self.flags & (SYN | FIN | RST) or other.flags & (SYN | RST)) and self.length and other.length
        if headers[0] != headers[1] or not follows or not isPlain or self.length + other.length > _LONGEST:
            return None
        packet = bytearray(self.packet + other.packet[other.payload :])
        packet[self.transport + 13] |= other.flags & (FIN | PSH)
        return attrs.evolve(self, packet=bytes(packet))


class Device(MemoryDevice):
    """
    A device that hands packets to the link as the stack has made them, without cutting superpackets.
    """

    outlet: Callable[[bytes, Offload | None], None]

    def send(self, buffers: Sequence[bytes], offload: Offload | None = None) -> int:
        data = b"".join(buffers)
        self.outlet(data, offload)
        return len(data)


class End:
    """
    One host with its clocks and its device.

    @ivar rate: the seconds by which its clocks advance in a true second.
    """

    def __init__(
        self,
        world: World,
        number: int,
        mode: int,
        features: int,
        start: float,
        rate: float,
        tcp: TCPProtocol | None,
    ) -> None:
        self.clock = SettableClock()
        self.clock.advance(start)
        self.clock.setBy(_EPOCH)
        self.rate = rate
        self.device = Device(mode, features=features)
        self.device.linkAddress = b"\x02\0\0\0\0%c" % (number + 1) if mode == TAP else None
        self.device.outlet = lambda data, offload: world.leave(number, data, offload)
        own = [f"10.0.0.{number + 1}/24", f"fd00::{number + 1}/64"]
        self.host = Host(own, reactor=self.clock, random=Random(number), secrets=Random(number), tcp=tcp)
        protocol = self.host.ethernet if mode == TAP else self.host.ip
        offload = bool(features)
        self.port = TuntapPort("", protocol, reactor=self.clock, device=self.device, offload=offload)
        self.port.startListening()

    @property
    def until(self) -> float:
        """
        The seconds, by its own clocks, until its next delayed call.
        """
        calls = self.clock.getDelayedCalls()
        if not calls:
            return inf
        return max(0.0, min(call.getTime() for call in calls) - self.clock.seconds())


@implementer(ILogObserver)
class Failures(list[str]):
    """
    An observer that keeps all logged failures.
    """

    def __call__(self, event: LogEvent) -> None:
        if "log_failure" in event or event.get("isError"):
            self.append(formatEvent(event) + str(event.get("log_failure", "")))


class World:
    """
    Two hosts, the link between them, and the true time.

    @ivar fates: for each end, the fates of its first packets, each with a number that is its parameter.
    @ivar loss: the share of later packets that is lost.
    @ivar mischief: the share of later packets that has a random fate.
    @ivar restlessness: the share of an application's calls after which a clock is set.
    @ivar isHealed: whether the link delivers all packets unharmed.
    @ivar failures: all logged failures.
    """

    def __init__(
        self,
        mode: int = TUN,
        features: tuple[int, int] = (0, 0),
        delay: float = 0.01,
        starts: tuple[float, float] = (0.0, 0.0),
        rates: tuple[float, float] = (1.0, 1.0),
        fates: tuple[list[tuple[str, int]], list[tuple[str, int]]] = ([], []),
        loss: float = 0.0,
        mischief: float = 0.0,
        restlessness: float = 0.0,
        seed: int = 0,
        tcp: TCPProtocol | None = None,
    ) -> None:
        """
        @param mode: C{TUN} or C{TAP}.
        @param features: the offloads of the device at each end.
        @param delay: the seconds that a packet takes.
        @param starts: the time at which the steady clock of each end begins.
        @param rates: the seconds by which the clocks of each end advance in a true second.
        @param tcp: the TCP layer of the second host.
        """
        self.now = 0.0
        self.delay = delay
        self.fates = fates
        self.loss = loss
        self.mischief = mischief
        self.restlessness = restlessness
        self.isHealed = True
        self.random = Random(seed)
        self.network = 14 if mode == TAP else 0
        self.events: list[tuple[float, int, Callable[[], object]]] = []
        self.failures = Failures()
        self._numbers = count()
        self._counts = [0, 0]
        self._held: list[Segment | None] = [None, None]
        globalLogPublisher.addObserver(self.failures)
        self.ends = [
            End(self, number, mode, features[number], starts[number], rates[number], tcp if number else None)
            for number in (0, 1)
        ]

    def stop(self) -> None:
        """
        Stop both hosts and the log observer.
        """
        globalLogPublisher.removeObserver(self.failures)
        for end in self.ends:
            end.port.stopListening()

    # Time

    def at(self, when: float, call: Callable[[], object]) -> None:
        """
        Schedule a call for a true time, in seconds.
        """
        heapq.heappush(self.events, (when, next(self._numbers), call))

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """
        Advance the true time, and run all calls that are due.

        @param until: returns whether to end earlier.
        """
        end = self.now + seconds
        atOnce = 0
        while not until():
            due = self.events[0][0] if self.events else inf
            who, wait = -1, inf
            for number, each in enumerate(self.ends):
                left = each.until
                if self.now + left / each.rate < due:
                    due, who, wait = self.now + left / each.rate, number, left
            if due > end:
                self._pass(end - self.now)
                break
            atOnce = atOnce + 1 if due <= self.now + GRAIN else 0
            assert atOnce < _MOST_AT_ONCE, f"nothing comes to rest: {[e.clock.getDelayedCalls() for e in self.ends]}"
            if who >= 0 or due > self.now:
                # Otherwise an event of the link is due now, which runs before any call of the hosts.
                self._pass(max(due - self.now, 0.0), who, wait)
            if who < 0:
                heapq.heappop(self.events)[2]()

    def _pass(self, seconds: float, who: int = -1, wait: float = 0.0) -> None:
        """
        Advance the true time and all clocks.

        @param seconds: the true seconds.
        @param who: the end whose next call is due. -1: none.
        @param wait: the seconds until that call by the clock of that end.
        """
        self.now += seconds
        for number, each in enumerate(self.ends):
            each.clock.advance(wait if number == who else seconds * each.rate)

    def suspend(self, number: int, seconds: float) -> None:
        """
        Suspend the machine of an end. Its clocks have advanced when it wakes up.
        """
        self.ends[number].clock.advance(seconds)

    # The link

    def leave(self, number: int, data: bytes, offload: Offload | None) -> None:
        """
        Take a packet from a host, and choose its fate.
        """
        if offload is not None and offload.isSuperpacket and self._fate(number)[0] == "pass":
            self._arriveLater(number, self.delay, data, offload)
            return
        packets = [data] if offload is None else finish(data, offload, self.network)
        for packet in packets:
            self._leaveOne(number, packet, *self._fate(number))

    def _fate(self, number: int) -> tuple[str, int]:
        index = self._counts[number]
        if self.isHealed:
            return "pass", 0
        self._counts[number] += 1
        if index < len(self.fates[number]):
            return self.fates[number][index]
        choice = self.random.random()
        if choice < self.loss:
            return "lose", 0
        if choice < self.loss + self.mischief:
            return self.random.choice(FATES), self.random.randrange(16)
        return "pass", 0

    def _leaveOne(self, number: int, packet: bytes, fate: str, amount: int) -> None:
        delay = self.delay
        segment = Segment.of(packet, self.network)
        held, self._held[number] = self._held[number], None
        if held is not None:
            both = None if segment is None else held.joined(segment)
            if both is not None:
                self._arriveLater(number, delay, *both.asSuperpacket(max(held.length, 8)))
                return
            self._arriveLater(number, delay, held.packet)
        if fate == "lose":
            return
        if fate == "delay":
            delay += amount * max(delay, 0.001) / 4
        elif fate == "duplicate":
            self._arriveLater(number, delay * (1 + amount), packet)
        elif fate == "corrupt":
            # Only segments are corrupted. The Ethernet header and ARP have no checksum in memory, unlike on a real
            # link.
            if segment is not None:
                changed = bytearray(packet)
                at = self.random.randrange(self.network, len(packet))
                changed[at] ^= 1 << amount % 8
                packet = bytes(changed)
        elif segment is not None and segment.length > 16 and not segment.flags & (SYN | RST):
            if fate == "split":
                for each in finish(*segment.asSuperpacket(8 + amount * 97 % (segment.length - 8)), self.network):
                    self._arriveLater(number, delay, each)
                return
            if fate == "superpacket":
                size = max(8, segment.length // (1 + amount % 4))
                self._arriveLater(number, delay, *segment.asSuperpacket(size))
                return
            if fate == "join":
                self._held[number] = segment
                self.at(self.now + delay, lambda: self._release(number, segment))
                return
        self._arriveLater(number, delay, packet)

    def _release(self, number: int, segment: Segment) -> None:
        if self._held[number] is segment:
            self._held[number] = None
            self.ends[1 - number].device.deliver(segment.packet)

    def _arriveLater(self, number: int, delay: float, data: bytes, offload: Offload | None = None) -> None:
        self.at(self.now + delay, lambda: self.ends[1 - number].device.deliver(data, offload))
