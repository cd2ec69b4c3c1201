"""
A link between two protocols, in memory. Each one receives the packets of the other in the next turn of the reactor::

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
from txtuntap.wire.offload import Offload, countPackets, networkStart

#: The most packets that wait for delivery at either end, as many as the default C{txqueuelen} of an Ethernet device.
QUEUE_LENGTH = 1000


class Link:
    """
    A cable between two protocols, each of which has one end of the cable as its port. A protocol is a layer of a host,
    a port of a switch, a tunnel, or middleware around one of these.

    @ivar ends: the two L{LinkEnd}s, in the order of the protocols.
    """

    def __init__(self, one: Any, other: Any, clock: IReactorTime, mtu: int = 1500) -> None:
        """
        @param one: an C{IEthernetProtocol} or an C{IRawPacketProtocol}.
        @param other: another protocol of the same interface.
        @param clock: the C{IReactorTime} whose C{callLater} delivers the packets.
        @param mtu: the most octets of an IP packet on the link.

        @raise TypeError: the protocols do not provide the same interface, or C{clock} is no clock.
        @raise ValueError: both protocols are the same object, or C{mtu} is out of range.
        """
        for kind in IEthernetProtocol, IRawPacketProtocol:
            if kind.providedBy(one) and kind.providedBy(other):
                break
        else:
            ends = f"{one!r} and {other!r}{instead(one) or instead(other)}"
            raise TypeError(f"a link is between two IEthernetProtocols or two IRawPacketProtocols, not {ends}")
        if one is other:
            raise ValueError(f"a link is between two protocols, and both ends of this one are {one!r}")
        checkClock(clock)
        checkMTU(mtu)
        ethernet = kind is IEthernetProtocol
        self.ends = LinkEnd(one, clock, mtu, ethernet), LinkEnd(other, clock, mtu, ethernet)
        self.ends[0].peer, self.ends[1].peer = self.ends[1], self.ends[0]

    def start(self) -> None:
        """
        Start the protocols at both ends. A packet that the first protocol sends while it starts is delivered after the
        second one has started, too.

        @raise RuntimeError: the link is started already.
        """
        one, other = self.ends
        if one.numPorts or other.numPorts:
            raise RuntimeError("this link is started already")
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
        Stop the protocols at both ends. Packets in transit are lost. Stopping twice is harmless.
        """
        for end in self.ends:
            end.connected = False
        for end in self.ends:
            if end.numPorts:
                end.doStop()

    def tables(self) -> list[TableState]:
        """
        List the queues of both ends: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [state for end in self.ends for state in end.tables()]


@implementer(IPacketTransport)
class LinkEnd(Layer):
    """
    One end of a L{Link}, which is the port of the protocol at that end.

    Counters: C{outPackets} and C{outOctets}, sent by the protocol (a superpacket counts as the packets in it);
    C{outSuperpackets}; C{outDiscards}, dropped because L{QUEUE_LENGTH} packets waited, or because the link was stopped;
    C{protocolFailures}, the exceptions of the protocol.

    @ivar connected: whether the link is started.
    @ivar protocol: the protocol at this end.
    @ivar peer: the other end.
    @ivar mtu: the most octets of an IP packet on the link.
    @ivar linkAddress: always C{None}, because a cable has no address.
    @ivar ethernet: whether the packets are Ethernet frames.
    @ivar batches: always C{None}, because joining datagrams saves no system call here.
    @ivar readEnd: the functions to call after all packets of one turn are delivered; C{None} between turns, and in a
        turn with only one packet.
    @ivar offered: the offloads, as a bit set, that the protocol at this end takes in received packets.
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
        self.ethernet = ethernet
        self._clock = clock
        # The packets that are to be delivered to this end's protocol. A deque would take ten times the memory of a
        # list, and a simulation has a great many ends.
        self._queue: list[tuple[bytes, Offload | None]] = []
        self._now = steadySeconds(clock)
        # A Timer is needed only for a clock that can be set, such as a reactor's. On other clocks a plain callLater()
        # saves 4 % of the time of a packet, in a simulated network of 200 hosts.
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
        The clock that times the delivery of packets.
        """
        return self._clock

    @property
    def offloads(self) -> int:
        """
        The work that may be left open in a packet that is sent here: the offloads, as a bit set, that the protocol at
        the other end takes.
        """
        return self.peer.offered

    def tables(self) -> list[TableState]:
        """
        List the queue of this end: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [TableState("link", len(self._queue), QUEUE_LENGTH, Policy.REFUSE.value)]

    def doStop(self) -> None:
        """
        Stop the protocol, and discard the packets in transit to it.
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
        Send one packet to the other end, where it is delivered in the next turn of the reactor.
        """
        peer = self.peer
        queue = peer._queue
        counters = self.counters
        data = b"".join(buffers)
        count, octets = countPackets([data], offload)
        if not self.connected or len(queue) >= QUEUE_LENGTH:
            counters["outDiscards"] += count
            return
        counters.outPackets += count
        counters.outOctets += octets
        if offload is not None and offload.isSuperpacket:
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
        # The queue is replaced, so that packets that are sent meanwhile are delivered in the next turn of the reactor.
        queue, self._queue = self._queue, []
        now = self._now()
        atReadEnd: list[Callable[[], object]] | None = [] if len(queue) > 1 else None
        self.readEnd = atReadEnd
        for data, offload in queue:
            if not self.connected:
                break
            packet = Packet(data, 0, self, now)
            if offload is not None:
                packet.offload = offload
                packet.network = networkStart(data) if self.ethernet else 0
            try:
                self._receive(packet)
            except Exception:
                self.failuresOf(self.protocol).failed(now, "packetReceived")
        self.readEnd = None
        if atReadEnd:
            callEach(atReadEnd, self.failuresOf(self.protocol), now)
