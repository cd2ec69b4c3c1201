"""
A link between two protocols, in memory: what one of them sends, the other receives, in the next turn of the reactor.

    Link(host.ethernet, switch.addPort(), clock).start()
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from txtuntap.interfaces import IEthernetProtocol, IPacketTransport, IRawPacketProtocol
from txtuntap.layer.ability import takesOffload
from txtuntap.layer.bounded import Policy, TableState
from txtuntap.layer.counters import PacketCounters
from txtuntap.layer.layer import Layer
from txtuntap.layer.life import callEach
from txtuntap.layer.pair import deviceReceiver
from txtuntap.layer.relay import EVERYTHING
from txtuntap.layer.timer import Timer, steadySeconds
from txtuntap.mistakes import checkClock, checkMTU, instead
from txtuntap.packet import Packet
from txtuntap.wire.offload import Offload, networkStart, segments

#: How many packets wait at either end, as on a device (C{txqueuelen}).
QUEUE_LENGTH = 1000


class Link:
    """
    A cable between two protocols, each of which has one end of it for its port: two hosts; a host and a switch's port;
    a tunnel and a switch's port; any of them with middleware around it.

    @ivar ends: both L{LinkEnd}s: that of the first protocol, that of the second.
    """

    def __init__(self, one: Any, other: Any, clock: IReactorTime, mtu: int = 1500) -> None:
        """
        @param one: an C{IEthernetProtocol} or an C{IRawPacketProtocol}; and C{other} is what it is.
        @param clock: an C{IReactorTime}; packets travel by its C{callLater}.
        @param mtu: the most octets that IP may put into one packet.

        @raise TypeError: they are not two of a kind, or C{clock} is none.
        @raise ValueError: they are one and the same, or C{mtu} is none.
        """
        for kind in IEthernetProtocol, IRawPacketProtocol:
            if kind.providedBy(one) and kind.providedBy(other):
                break
        else:
            ends = f"{one!r} and {other!r}{instead(one) or instead(other)}"
            raise TypeError(f"a link is between two IEthernetProtocols or two IRawPacketProtocols, not {ends}")
        if one is other:
            raise ValueError(f"a link is between two, and both ends of this one are {one!r}")
        checkClock(clock)
        checkMTU(mtu)
        ethernet = kind is IEthernetProtocol
        self.ends = LinkEnd(one, clock, mtu, ethernet), LinkEnd(other, clock, mtu, ethernet)
        self.ends[0].peer, self.ends[1].peer = self.ends[1], self.ends[0]

    def start(self) -> None:
        """
        Start both protocols. What one of them sends at once, the other has when it is started, too.

        @raise RuntimeError: they are started.
        """
        one, other = self.ends
        if one.numPorts or other.numPorts:
            raise RuntimeError("this link is started")
        one.connected = other.connected = True
        try:
            one.doStart()
            try:
                other.doStart()
            except BaseException:
                one.doStop()
                raise
        except BaseException:
            one.connected = other.connected = False
            raise

    def stop(self) -> None:
        """
        Stop both protocols. What is in transit is lost. Stopping twice is harmless.
        """
        for end in self.ends:
            end.connected = False
        for end in self.ends:
            if end.numPorts:
                end.doStop()

    def tables(self) -> list[TableState]:
        """
        How full both ends are: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [state for end in self.ends for state in end.tables()]


@implementer(IPacketTransport)
class LinkEnd(Layer):
    """
    One end of a L{Link}: the port of the protocol there.

    Counters: C{outPackets}, C{outOctets}, C{outSuperpackets} (many in one: above they count as the many);
    C{outDiscards} (more wait than L{QUEUE_LENGTH}, or the link was not started); C{protocolFailures}.

    @ivar connected: whether the link is started.
    @ivar protocol: the protocol.
    @ivar mtu: the most octets that IP may put into one packet.
    @ivar linkAddress: L{None}: a cable has no address.
    @ivar offloads: what the protocol at the other end takes, or whoever it would have to be cut for.
    @ivar batches: L{None}: nothing ever waits here, where no system call is saved by that.
    @ivar readEnd: functions to call when all packets that have come at once are delivered; L{None}: there are no more.
    """

    linkAddress = None
    batches = None
    readEnd: list[Callable[[], object]] | None = None
    peer: LinkEnd

    def __init__(self, proto: Any, clock: IReactorTime, mtu: int, ethernet: bool) -> None:
        super().__init__()
        self.counters: PacketCounters = PacketCounters()
        self.protocol = proto
        self.mtu = mtu
        self._ethernet = ethernet
        self._clock = clock
        # A deque would take ten times the memory, and a simulation has very many of these.
        self._queue: list[tuple[bytes, Offload | None]] = []
        self._now = steadySeconds(clock)
        # A clock that nobody can set needs no timer to call in its next turn. Without one, a packet in a simulated
        # network of 200 hosts takes 4 % less.
        self._timer = Timer(clock, self._deliver) if self._now != clock.seconds else None
        self._call: IDelayedCall | None = None
        self.connected = False
        self._receive = self._receiverFor(proto, deviceReceiver)
        self.offered = EVERYTHING if takesOffload(proto) else 0
        self._attach(proto, self)

    def __repr__(self) -> str:
        return f"<LinkEnd of {self.protocol!r}>"

    @property
    def clock(self) -> IReactorTime:
        """
        The clock that tells the time of packets.
        """
        return self._clock

    @property
    def offloads(self) -> int:
        """
        The work that may be left open in a packet.
        """
        return self.peer.offered

    def tables(self) -> list[TableState]:
        """
        See L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [TableState("link", len(self._queue), QUEUE_LENGTH, Policy.REFUSE.value)]

    def doStop(self) -> None:
        """
        Stop the protocol, and lose what is in transit to it.
        """
        super().doStop()
        self._queue = []
        if self._timer is not None:
            self._timer.stop()
        elif self._call is not None:
            self._call.cancel()
            self._call = None

    def writePacket(self, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        """
        Send one packet to the other end.
        """
        peer = self.peer
        queue = peer._queue
        counters = self.counters
        data = b"".join(buffers)
        count, octets = 1, len(data)
        if offload is not None and offload.size:
            count, octets = segments(octets, offload)
        if not self.connected or len(queue) >= QUEUE_LENGTH:
            counters["outDiscards"] += count
            return
        counters.outPackets += count
        counters.outOctets += octets
        if count > 1:
            counters["outSuperpackets"] += 1
        queue.append((data, offload))
        if len(queue) > 1:
            return
        if peer._timer is None:
            peer._call = peer._clock.callLater(0, peer._deliver)
        else:
            peer._timer.arm(0)

    def _deliver(self) -> None:
        self._call = None
        # Packets that are sent meanwhile are delivered in the next turn of the reactor.
        queue, self._queue = self._queue, []
        now = self._now()
        ends: list[Callable[[], object]] | None = [] if len(queue) > 1 else None
        self.readEnd = ends
        for data, offload in queue:
            if not self.connected:
                break
            packet = Packet(data, 0, self, now)
            if offload is not None:
                packet.offload = offload
                packet.network = networkStart(data) if self._ethernet else 0
            try:
                self._receive(packet)
            except Exception:
                self.failuresOf(self.protocol).failed(now, "packetReceived")
        self.readEnd = None
        if ends:
            callEach(ends, self.failuresOf(self.protocol), now)
