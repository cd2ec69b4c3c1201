"""
A link that loses, delays, doubles, damages and reorders packets, between a port and a protocol.

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

#: The first bit of each draw among the random bits of a packet, which are taken whatever becomes of it. Those of a
#: duplicate are after those of the packet, but for the first two.
_TRANSITION, _DUPLICATION, _LOSS, _CORRUPTION, _BIT, _REORDERING, _JITTER = range(0, 7 * 32, 32)
_DUPLICATES = 5 * 32
_DRAWN = 12 * 32

#: One draw; and one more than the greatest of them.
_DRAW = (1 << 32) - 1
_CERTAIN = 1 << 32

_NORMAL = NormalDist()


class Impairment(Middleware):
    """
    Does to packets, in each direction, what its L{Netem} says. Packets come and go complete, one at a time.

    Chance comes from a source of each direction's own, and each packet takes as much of it whatever becomes of it. So
    the same seed gives the same fate to the same packets, and if only C{loss} is another, the same are delayed by as
    much as before.

    Packets that are in transit when the port stops are lost. Those that have their time keep it when the L{Netem}
    changes.

    Counters, with C{in} before them for packets that come, C{out} for those that leave: C{Lost}; C{Duplicated} (each is
    one packet more); C{Corrupted}; C{Reordered}; C{OverLimit} (too many wait); C{TooBig} (longer than C{mtu});
    C{Discards} (in transit when the port stopped, or written when there was none).
    """

    handlesFailures = True
    takesOffload = False

    def __init__(
        self,
        proto: Any,
        both: Netem | None = None,
        up: Netem | None = None,
        down: Netem | None = None,
        random: Random | None = None,
    ) -> None:
        """
        @param both: what is done in both directions.
        @param up: or in that of the protocol alone; by default nothing.
        @param down: or in that of the port.
        @param random: where chance comes from: C{Random(seed)}, to have the same again. Two numbers are taken of it.

        @raise TypeError: C{proto} is no protocol that middleware goes around, or one of the others is no L{Netem}.
        """
        super().__init__(proto)
        if None not in (both, up, down):
            raise ValueError("both, up and down: each direction has its own already, leave out both")
        if random is not None:
            checkRandom(random)
        random = random or Random()
        self._up = _Direction("in", random.getrandbits(64), self.counters, self._deliverUp, self.ethernet)
        self._down = _Direction("out", random.getrandbits(64), self.counters, self._sendDown, self.ethernet)
        self.up = up or both or Netem()
        self.down = down or both or Netem()

    @property
    def up(self) -> Netem:
        """
        The faults of packets for the protocol. Assign another one at any time.
        """
        return self._up.netem

    @up.setter
    def up(self, netem: Netem) -> None:
        self._up.change(netem)

    @property
    def down(self) -> Netem:
        """
        The faults of packets of the protocol's. Assign another one at any time.
        """
        return self._down.netem

    @down.setter
    def down(self, netem: Netem) -> None:
        self._down.change(netem)

    def tables(self) -> list[TableState]:
        """
        See L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [self._up.state, self._down.state]

    def doStart(self) -> None:
        """
        Begin, before anything above does.

        @raise TypeError: there is no clock below.
        """
        isFirst = not self.numPorts
        if isFirst:
            if self.clock is None:
                raise TypeError(
                    f"{self.transport!r} has no clock, and packets that are late are late by one: give it one"
                )
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
        End: what is in transit is lost.
        """
        super().doStop()
        self._stopDirections()

    def packetReceived(self, packet: Packet) -> None:
        """
        A packet has come from below.
        """
        self._up.enter(packet)

    def writePacket(self, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        """
        A packet has come from above. Nothing is ever open in it.
        See L{IPacketTransport.writePacket<txtuntap.transports.IPacketTransport.writePacket>}.
        """
        self._down.enter(Packet(b"".join(buffers)))

    def _stopDirections(self) -> None:
        self._up.stop()
        self._down.stop()

    def _deliverUp(self, packet: Packet) -> None:
        try:
            self.deliver(packet)
        except Exception:
            # The port, which would see to it, may not be the caller.
            self.failuresOf(self.protocol).failed(packet.time, "packetReceived")

    def _sendDown(self, packet: Packet) -> None:
        self.send([packet.data])


class _Direction:
    """
    The faults of packets in one direction, and those that are delayed.

    @ivar netem: what happens to packets.
    """

    def __init__(
        self, prefix: str, seed: int, counters: Counters, passOn: Callable[[Packet], None], ethernet: bool
    ) -> None:
        """
        @param prefix: of the counters' names.
        @param passOn: where packets go that have got through.
        """
        self.netem = Netem()
        self._random = Random(seed)
        self._counters = counters
        self._passOn = passOn
        self._ethernet = ethernet
        self._prefix = prefix
        self._isBad = False
        # Packets since the last that was let go before others.
        self._since = 0
        # By the time they are due; those of one time in the order in which they came.
        self._queue: list[tuple[float, int, Packet]] = []
        self._number = 0
        self._latest = 0.0
        # The timer is due when the first of them is. There is one while there is a port, and a time to tell.
        self._timer: Timer | None = None
        self._now: Callable[[], float] = float
        self._isDelivering = False

    def change(self, netem: Netem) -> None:
        """
        From now on, do as C{netem} says.

        @raise TypeError: it is none.
        """
        if not isinstance(netem, Netem):
            raise TypeError(
                f"what happens to packets is said by a Netem, such as Netem(loss=0.1) or"
                f" Netem.of('loss 10%'), not by {netem!r}"
            )
        if netem.gemodel != self.netem.gemodel:
            self._isBad = False
        self.netem = netem
        # With one loss for all, the link never turns bad.
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
        How many packets are delayed now.
        """
        return TableState("impairment", len(self._queue), self.netem.limit, Policy.REFUSE.value)

    def start(self, clock: IReactorTime) -> None:
        """
        Let packets set out.

        @param clock: tells when each of them is due.
        """
        self._timer = Timer(clock, self._deliver)
        self._now = steadySeconds(clock)

    def stop(self) -> None:
        """
        Lose what is in transit.
        """
        if self._queue:
            self._count("Discards", len(self._queue))
            self._queue.clear()
        self._latest = 0.0
        if self._timer is not None:
            self._timer.stop()
            self._timer = None

    def enter(self, packet: Packet) -> None:
        """
        A packet sets out.
        """
        draws = self._random.getrandbits(_DRAWN)
        loss = self._losses[self._isBad]
        if self.netem.gemodel is not None:
            self._isBad ^= draws >> _TRANSITION & _DRAW < self._transitions[self._isBad]
        if self.netem.mtu is not None and self._octets(packet) > self.netem.mtu:
            self._count("TooBig")
        elif self._duplicate and draws >> _DUPLICATION & _DRAW < self._duplicate:
            self._count("Duplicated")
            # The receiver of the one moves it along.
            duplicate = packet.copy()
            self._meet(packet, draws, loss)
            self._meet(duplicate, draws >> _DUPLICATES, loss)
        else:
            self._meet(packet, draws, loss)

    def _meet(self, packet: Packet, draws: int, loss: int) -> None:
        """
        A packet, or its duplicate, meets with chance.
        """
        if self._timer is None:
            self._count("Discards")
            return
        if loss and draws >> _LOSS & _DRAW < loss:
            self._count("Lost")
            return
        if self._corrupt and draws >> _CORRUPTION & _DRAW < self._corrupt and len(packet):
            self._count("Corrupted")
            _flip(packet, (draws >> _BIT & _DRAW) % (8 * len(packet)))
        if self._isInstant and not self._queue:
            self._passOn(packet)
        else:
            self._send(packet, draws)

    def _count(self, what: str, number: int = 1) -> None:
        self._counters[self._prefix + what] += number

    def _octets(self, packet: Packet) -> int:
        """
        How many there are of IP.
        """
        start = networkStart(packet.data, packet.start) if self._ethernet else packet.start
        return packet.end - start

    def _send(self, packet: Packet, draws: int) -> None:
        """
        Deliver a packet that is not lost when it is due, unless too many wait.
        """
        netem = self.netem
        queue = self._queue
        if len(queue) >= netem.limit:
            self._count("OverLimit")
            return
        due = now = self._now()
        if self._reorder and self._since >= netem.gap - 1 and draws >> _REORDERING & _DRAW < self._reorder:
            self._since = 0
            self._count("Reordered")
        else:
            self._since += 1
            due += netem.delay
            if netem.jitter:
                # Neither end of what is drawn from has a normal quantile.
                place = ((draws >> _JITTER & _DRAW) + 0.5) / _CERTAIN
                factor = _NORMAL.inv_cdf(place) if netem.distribution == NORMAL else 2 * place - 1
                due = max(now, due + netem.jitter * factor)
            if netem.rate is not None:
                due = max(due, self._latest) + 8 * len(packet) / netem.rate
            elif netem.ordered:
                due = max(due, self._latest)
            self._latest = max(self._latest, due)
        if due <= now and not (queue and queue[0][0] <= now):
            self._passOn(packet)
            return
        self._number += 1
        heappush(queue, (due, self._number, packet))
        if queue[0][1] == self._number and not self._isDelivering:
            self._schedule()

    def _deliver(self) -> None:
        """
        Deliver the packets whose time has come.
        """
        queue = self._queue
        now = self._now()
        self._isDelivering = True
        try:
            # Packets that come meanwhile are delivered in a later turn of the reactor.
            for _ in range(len(queue)):
                # A receiver may have stopped it.
                if not queue or queue[0][0] > now + GRAIN:
                    break
                packet = heappop(queue)[2]
                # For those above, it has only come.
                packet.time = now
                self._passOn(packet)
        finally:
            self._isDelivering = False
            if queue:
                self._schedule()

    def _schedule(self) -> None:
        """
        Be called when the first is due.
        """
        if self._timer is not None:
            self._timer.armAt(self._queue[0][0])


def _threshold(probability: float) -> int:
    """
    The number that a draw is less than, with that probability.
    """
    return round(probability * _CERTAIN)


def _flip(packet: Packet, bit: int) -> None:
    data = bytearray(packet.data)
    data[packet.start + (bit >> 3)] ^= 1 << (bit & 7)
    packet.data = bytes(data)
