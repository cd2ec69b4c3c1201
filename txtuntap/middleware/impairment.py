"""
Middleware that imitates a bad link: it loses, delays, duplicates, corrupts and reorders packets::

    Impairment(host.ethernet, Netem(delay=0.05, loss=0.01))
    Impairment(host.ethernet, up=Netem.of("loss 10%"), down=Netem.of("rate 1mbit limit 20"), random=Random(1))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from random import Random
from statistics import NormalDist
from typing import Any

from twisted.internet.interfaces import IReactorTime

from txtuntap.layer.bounded import Policy, TableState
from txtuntap.layer.counters import Counters
from txtuntap.layer.timer import GRAIN, Timer, steadySeconds
from txtuntap.middleware.base import Middleware
from txtuntap.middleware.netem import NORMAL, GEModel, Netem
from txtuntap.mistakes import checkRandom
from txtuntap.packet import Packet
from txtuntap.wire.offload import Offload, networkStart

#: The position of each 32-bit draw in the random bits of a packet. Every packet takes all of these bits, whatever
#: happens to it, so that changing one fault leaves the draws for the others as they were.
_TRANSITION, _DUPLICATION, _LOSS, _CORRUPTION, _BIT, _REORDERING, _JITTER = range(0, 7 * 32, 32)

#: The distance, in bits, from the draws of a packet to those of its duplicate. The duplicate shares the draws for the
#: transition and the duplication, and has its own draws from the loss on.
_DUPLICATES = 5 * 32

#: The number of random bits that each packet takes.
_DRAWN = 12 * 32

#: The bit mask of one draw, and the number above the greatest draw, which stands for probability 1.
_DRAW = (1 << 32) - 1
_CERTAIN = 1 << 32

#: The standard normal distribution.
_NORMAL = NormalDist()


class Impairment(Middleware):
    """
    An impairment wraps a protocol and applies the faults of a L{Netem} to the packets in each direction. It sees no
    superpackets, since they are cut before they reach it.

    Each direction has its own random source, and each packet takes the same number of random bits from it, whatever
    happens to the packet. So the same seed and the same packets give the same faults. If only C{loss} is changed, the
    delays of the remaining packets stay as they were.

    Packets in transit are lost when the port stops. A packet in transit keeps its delivery time when a new L{Netem} is
    assigned.

    Counters, prefixed C{in} for packets to the protocol and C{out} for packets from the protocol: C{Lost};
    C{Duplicated} (each is one packet more); C{Corrupted}; C{Reordered}; C{OverLimit} (more packets in transit than
    C{limit}); C{TooBig} (longer than C{mtu}); C{Discards} (in transit when the port stopped, or sent without a port).

    @ivar observers: functions that are called with each packet between the faults and the protocol, and with whether it
        is for the protocol. They must not raise.
    """

    handlesFailures = True
    takesOffload = False

    def __init__(
        self,
        proto: Any,
        netem: Netem | None = None,
        up: Netem | None = None,
        down: Netem | None = None,
        random: Random | None = None,
    ) -> None:
        """
        @param proto: the protocol to wrap, an C{IEthernetProtocol} or an C{IRawPacketProtocol}.
        @param netem: the faults in each direction that has none of its own; by default no faults.
        @param up: the faults of packets to the protocol.
        @param down: the faults of packets from the protocol.
        @param random: the source from which each direction's own source is seeded. C{Random(seed)} makes the faults
            reproducible.

        @raise TypeError: C{proto} cannot be wrapped by middleware, or the faults are not given as a L{Netem}.
        @raise ValueError: C{netem} is given and not used, since C{up} and C{down} are given, too.
        """
        super().__init__(proto)
        self.observers: list[Callable[[bytes, bool], object]] = []
        if None not in (netem, up, down):
            raise ValueError("netem has no effect beside both up and down: leave out netem")
        if random is not None:
            checkRandom(random)
        random = random or Random()
        self._up = _Direction("in", random.getrandbits(64), self.counters, self._deliverUp, self.ethernet)
        self._down = _Direction("out", random.getrandbits(64), self.counters, self._sendDown, self.ethernet)
        self.up = up or netem or Netem()
        self.down = down or netem or Netem()

    @property
    def up(self) -> Netem:
        """
        The faults of packets to the protocol. Another L{Netem} can be assigned at any time.
        """
        return self._up.netem

    @up.setter
    def up(self, netem: Netem) -> None:
        self._up.change(netem)

    @property
    def down(self) -> Netem:
        """
        The faults of packets from the protocol. Another L{Netem} can be assigned at any time.
        """
        return self._down.netem

    @down.setter
    def down(self, netem: Netem) -> None:
        self._down.change(netem)

    def tables(self) -> list[TableState]:
        """
        List the packets in transit, by direction: see
        L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [self._up.state, self._down.state]

    def doStart(self) -> None:
        """
        Start both directions, and then the wrapped protocol, which may send at once.

        @raise TypeError: the port has no clock.
        """
        isFirst = not self.numPorts
        if isFirst:
            if self.clock is None:
                text = f"{self.transport!r} has no clock, by which an Impairment delays packets: give it one"
                raise TypeError(text)
            for direction in self._up, self._down:
                direction.start(self.clock)
        try:
            super().doStart()
        except BaseException:
            if isFirst:
                self._stopDirections()
            raise

    def doStop(self) -> None:
        """
        Stop the wrapped protocol, and lose the packets in transit.
        """
        super().doStop()
        self._stopDirections()

    def packetReceived(self, packet: Packet) -> None:
        """
        Receive a packet from the port, and send it through the faults to the protocol.
        """
        self._up.enter(packet)

    def writePacket(self, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        """
        Send a packet of the protocol through the faults to the port. The packet is complete, because an impairment
        offers no offloads.
        See L{IPacketTransport.writePacket<txtuntap.transports.IPacketTransport.writePacket>}.
        """
        data = b"".join(buffers)
        for observe in self.observers:
            observe(data, False)
        self._down.enter(Packet(data))

    def _stopDirections(self) -> None:
        self._up.stop()
        self._down.stop()

    def _deliverUp(self, packet: Packet) -> None:
        for observe in self.observers:
            observe(packet.data[packet.start : packet.end], True)
        try:
            self.deliver(packet)
        except Exception:
            # A port logs the exceptions of its protocol. The caller here may be a timer, which would not.
            self.failuresOf(self.protocol).failed(packet.time, "packetReceived")

    def _sendDown(self, packet: Packet) -> None:
        self.send([packet.data])


class _Direction:
    """
    One direction of an impairment: its faults, and its queue of delayed packets.

    @ivar netem: the faults that are applied to new packets.
    """

    def __init__(
        self, prefix: str, seed: int, counters: Counters, passOn: Callable[[Packet], None], ethernet: bool
    ) -> None:
        """
        @param prefix: the prefix of the counters' names, C{in} or C{out}.
        @param seed: the seed of this direction's random source.
        @param passOn: called with each packet that is delivered.
        @param ethernet: whether packets are Ethernet frames.
        """
        self.netem = Netem()
        self._random = Random(seed)
        self._counters = counters
        self._passOn = passOn
        self._ethernet = ethernet
        self._prefix = prefix
        # The state of the GEModel: whether the link is bad.
        self._isBad = False
        # The number of packets since the last reordered one, which was sent without its delay.
        self._sinceReordered = 0
        # A heap of delayed packets by the time at which they are due, in seconds. The number of a packet keeps packets
        # that are due at the same time in the order of their arrival.
        self._queue: list[tuple[float, int, Packet]] = []
        self._number = 0
        # The latest time at which any packet so far is due.
        self._lastDue = 0.0
        # The timer expires when the first packet of the queue is due. It is None while there is no port.
        self._timer: Timer | None = None
        self._now: Callable[[], float] = float
        self._isDelivering = False

    def change(self, netem: Netem) -> None:
        """
        Apply other faults to new packets. Packets in transit keep their delivery times.

        @raise TypeError: C{netem} is no L{Netem}.
        """
        if not isinstance(netem, Netem):
            example = "a Netem, such as Netem(loss=0.1) or Netem.of('loss 10%')"
            raise TypeError(f"an Impairment takes {example}, not {netem!r}")
        if netem.gemodel != self.netem.gemodel:
            self._isBad = False
        self.netem = netem
        # A plain loss is a model whose link never turns bad.
        model = netem.gemodel or GEModel(0.0, k=1 - netem.loss)
        self._transitions = _threshold(model.p), _threshold(model.r)
        self._losses = _CERTAIN - _threshold(model.k), _CERTAIN - _threshold(model.h)
        self._duplicate = _threshold(netem.duplicate)
        self._corrupt = _threshold(netem.corrupt)
        self._reorder = _threshold(netem.reorder)
        self._isInstant = not netem.delay and not netem.jitter and netem.rate is None

    @property
    def state(self) -> TableState:
        """
        The number of packets in transit, and its bound.
        """
        return TableState("impairment", len(self._queue), self.netem.limit, Policy.REFUSE.value)

    def start(self, clock: IReactorTime) -> None:
        """
        Begin to accept packets.

        @param clock: the clock by which packets are delayed.
        """
        self._timer = Timer(clock, self._deliver)
        self._now = steadySeconds(clock)

    def stop(self) -> None:
        """
        Discard and count the packets in transit. Until the next start, new packets are discarded, too.
        """
        if self._queue:
            self._count("Discards", len(self._queue))
            self._queue.clear()
        self._lastDue = 0.0
        if self._timer is not None:
            self._timer.stop()
            self._timer = None

    def enter(self, packet: Packet) -> None:
        """
        Draw the random bits of a new packet, and apply the faults that they select.
        """
        draws = self._random.getrandbits(_DRAWN)
        loss = self._losses[self._isBad]
        if self.netem.gemodel is not None:
            self._isBad ^= draws >> _TRANSITION & _DRAW < self._transitions[self._isBad]
        if self.netem.mtu is not None and self._octets(packet) > self.netem.mtu:
            self._count("TooBig")
        elif self._duplicate and draws >> _DUPLICATION & _DRAW < self._duplicate:
            self._count("Duplicated")
            # Copy the packet before it is delivered, because its receiver moves its start.
            duplicate = packet.copy()
            self._impair(packet, draws, loss)
            self._impair(duplicate, draws >> _DUPLICATES, loss)
        else:
            self._impair(packet, draws, loss)

    def _impair(self, packet: Packet, draws: int, loss: int) -> None:
        """
        Lose, corrupt or delay a packet, or its duplicate, as its draws say.

        @param draws: the random bits of the packet.
        @param loss: the threshold of the loss. A packet is lost if its draw for the loss is less.
        """
        if self._timer is None:
            self._count("Discards")
            return
        if loss and draws >> _LOSS & _DRAW < loss:
            self._count("Lost")
            return
        if self._corrupt and draws >> _CORRUPTION & _DRAW < self._corrupt and len(packet):
            self._count("Corrupted")
            _flipBit(packet, (draws >> _BIT & _DRAW) % (8 * len(packet)))
        if self._isInstant and not self._queue:
            self._passOn(packet)
        else:
            self._delay(packet, draws)

    def _count(self, name: str, number: int = 1) -> None:
        self._counters[self._prefix + name] += number

    def _octets(self, packet: Packet) -> int:
        """
        Count the octets of a packet from its IP header on, as an MTU does.
        """
        start = networkStart(packet.data, packet.start) if self._ethernet else packet.start
        return packet.end - start

    def _delay(self, packet: Packet, draws: int) -> None:
        """
        Compute when a packet is due, and queue it until then. A packet is dropped if the queue is at its limit.
        """
        netem = self.netem
        queue = self._queue
        if len(queue) >= netem.limit:
            self._count("OverLimit")
            return
        due = now = self._now()
        isAfterGap = self._sinceReordered >= netem.gap - 1
        if self._reorder and isAfterGap and draws >> _REORDERING & _DRAW < self._reorder:
            self._sinceReordered = 0
            self._count("Reordered")
        else:
            self._sinceReordered += 1
            due += netem.delay
            if netem.jitter:
                # The 0.5 keeps the probability off 0 and 1, for which the normal distribution has no quantile.
                probability = ((draws >> _JITTER & _DRAW) + 0.5) / _CERTAIN
                factor = _NORMAL.inv_cdf(probability) if netem.distribution == NORMAL else 2 * probability - 1
                due = max(now, due + netem.jitter * factor)
            if netem.rate is not None:
                due = max(due, self._lastDue) + 8 * len(packet) / netem.rate
            elif netem.ordered:
                due = max(due, self._lastDue)
            self._lastDue = max(self._lastDue, due)
        if due <= now and not (queue and queue[0][0] <= now):
            self._passOn(packet)
            return
        self._number += 1
        heappush(queue, (due, self._number, packet))
        if queue[0][1] == self._number and not self._isDelivering:
            self._schedule()

    def _deliver(self) -> None:
        """
        Deliver the packets that are due.
        """
        queue = self._queue
        now = self._now()
        self._isDelivering = True
        try:
            # The number of deliveries is fixed here, so that packets that arrive meanwhile wait for a later turn of the
            # reactor.
            for _ in range(len(queue)):
                # The queue is empty once a receiver has stopped the port.
                if not queue or queue[0][0] > now + GRAIN:
                    break
                packet = heappop(queue)[2]
                # To the layers above, the packet arrives now.
                packet.time = now
                self._passOn(packet)
        finally:
            self._isDelivering = False
            if queue:
                self._schedule()

    def _schedule(self) -> None:
        """
        Arm the timer for the first packet in the queue.
        """
        if self._timer is not None:
            self._timer.armAt(self._queue[0][0])


def _threshold(probability: float) -> int:
    """
    Return the threshold for a probability: a uniform 32-bit draw is less than the threshold with that probability.
    """
    return round(probability * _CERTAIN)


def _flipBit(packet: Packet, bit: int) -> None:
    data = bytearray(packet.data)
    data[packet.start + (bit >> 3)] ^= 1 << (bit & 7)
    packet.data = bytes(data)
