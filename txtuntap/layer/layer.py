"""
What the layers have in common: protocols above them by number, transport to those, life and death, counters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import AbstractDatagramProtocol

from txtuntap.layer.ability import handlesFailures, knowsPackets, takesOffload
from txtuntap.layer.life import FailureLog, connect, disconnect
from txtuntap.layer.table import Receiver
from txtuntap.layer.tables import TableState
from txtuntap.packet import Packet


class _Guarded:
    """
    The path to a protocol that may raise. Its exceptions end here, and while it runs the layer below knows which packet
    an answer would answer.
    """

    def __init__(self, layer: Layer, proto: object, receive: Receiver) -> None:
        self._layer = layer
        self._receive = receive
        self._failures = layer.failuresOf(proto)
        self._method = "packetReceived" if receive == getattr(proto, "packetReceived", None) else "datagramReceived"

    def __call__(self, packet: Packet) -> None:
        before = self._layer.packet
        self._layer.delivering(packet)
        try:
            self._receive(packet)
        except Exception:
            self._failures.failed(packet.time, self._method)
        finally:
            self._layer.packet = before


class _Finishing:
    """
    The way to a protocol that takes packets as they are on the wire: complete, and one at a time.
    """

    def __init__(self, layer: Layer, receive: Receiver) -> None:
        self._layer = layer
        self._receive = receive

    def __call__(self, packet: Packet) -> None:
        if packet.offload is None:
            return self._receive(packet)
        try:
            packets = packet.finished()
        except ValueError as e:
            return self._layer.dropped(packet, str(e))
        for each in packets:
            self._receive(each)


class Layer(AbstractDatagramProtocol):
    """
    A protocol with protocols above it, to which it is the transport.

    Starting the layer starts them, each with its transport in place; stopping it stops each of them once.

    @ivar counters: how often each thing happened, by name. Names are those of the RFCs' MIBs where they have one.
    @ivar packet: the packet being delivered to a protocol that may raise, while it is: see L{handlesFailures}.
    @ivar outer: the packet being delivered to this layer in C{twisted.pair}'s way, while it is.
    """

    noisy = False

    #: Called with a transport before this layer is started on one more than it has. It may raise.
    onAnother: Callable[[Any], None] | None = None

    def __init__(self) -> None:
        # What AbstractDatagramProtocol has in its class. An object that gets attributes after it was made takes twice
        # the memory, and a simulation has very many of these.
        self.numPorts = 0
        self.transport = None
        self.counters: Counter[str] = Counter()
        self.packet: Packet | None = None
        #: Called with each packet dropped and the name it is counted by: a host may have an answer to it.
        self.onDropped: Callable[[Packet, str], None] | None = None
        self.outer: Packet | None = None
        self._failures: dict[int, FailureLog] = {}
        # Every protocol above, once however many numbers it has, and the transport it is given. By identity: a
        # protocol may define equality as it likes.
        self._above: dict[int, tuple[Any, object, int]] = {}

    def mtuChanged(self) -> None:
        """
        The MTU below is another one now: those above, who may know what to do about that, are told.
        """
        self._tellAbove("mtuChanged")

    def linkUp(self) -> None:
        """
        The link below has been set up: likewise.
        """
        self._tellAbove("linkUp")

    def _tellAbove(self, method: str) -> None:
        for proto, _, _ in list(self._above.values()):
            if callable(getattr(proto, method, None)):
                try:
                    getattr(proto, method)()
                except Exception:
                    self.failuresOf(proto).failed(self.now(), method)

    def dropped(self, packet: Packet, name: str) -> None:
        """
        C{packet} goes no further. Everything that this layer drops on the way up comes through here.

        @param name: of the counter.
        """
        self.counters[name] += 1
        if self.onDropped is not None:
            self.onDropped(packet, name)

    @property
    def clock(self) -> IReactorTime | None:
        """
        That of the port below; L{None} if there is none. (C{twisted.pair}'s port calls it C{reactor}.)
        """
        below = self.transport
        return cast("IReactorTime | None", getattr(below, "clock", None) or getattr(below, "reactor", None))

    def now(self) -> float:
        """
        The time by the C{clock}, in seconds; 0 if there is none.
        """
        clock = self.clock
        return 0.0 if clock is None else clock.seconds()

    def tables(self) -> list[TableState]:
        """
        How full each bounded table of this layer is now.

        @return: one record for each: its name (which several may share), its size now, its bound, and what happens at
            the bound. See L{TableState}. This is the shape of every C{tables()}.
        """
        return []

    def delivering(self, packet: Packet) -> None:
        """
        C{packet} is about to be delivered to a protocol that may raise.
        """
        self.packet = packet

    def failuresOf(self, proto: Any) -> FailureLog:
        """
        Where the exceptions of a protocol above are logged: one place however many numbers it has.
        """
        return self._failures.setdefault(id(proto), FailureLog(proto, self.counters))

    def doStart(self) -> None:
        """
        Start this layer, and, the first time, everything above it.
        """
        super().doStart()  # type: ignore[no-untyped-call]
        if self.numPorts == 1:
            started = []
            try:
                for proto, transport, _ in list(self._above.values()):
                    connect(proto, transport)
                    started.append(proto)
            except BaseException:
                for proto in reversed(started):
                    self._disconnect(proto)
                super().doStop()  # type: ignore[no-untyped-call]
                raise

    def doStop(self) -> None:
        """
        Stop this layer, and, the last time, everything above it first.
        """
        if self.numPorts == 1:
            for proto, _, _ in reversed(list(self._above.values())):
                self._disconnect(proto)
        super().doStop()  # type: ignore[no-untyped-call]

    def _attach(self, proto: Any, transport: object) -> None:
        """
        C{proto} has been added above; start it if this layer runs.
        """
        key = id(proto)
        known, transport, count = self._above.get(key, (proto, transport, 0))
        self._above[key] = (known, transport, count + 1)
        if not count and self.numPorts:
            try:
                connect(proto, transport)
            except BaseException:
                del self._above[key]
                raise

    def _detach(self, proto: Any) -> None:
        """
        C{proto} has been removed; stop it if it was the last time.
        """
        known, transport, count = self._above.pop(id(proto))
        if count > 1:
            self._above[id(proto)] = (known, transport, count - 1)
            return
        self._failures.pop(id(proto), None)
        if self.numPorts:
            disconnect(proto)

    def _replaceTransport(self, proto: Any, old: object, new: object) -> None:
        """
        Let C{proto}, which has been added more than once, have another transport than that of the first time.
        """
        known, transport, count = self._above[id(proto)]
        if transport is old:
            self._above[id(proto)] = (known, new, count)
        if proto.transport is old:
            proto.transport = new

    def _disconnect(self, proto: Any) -> None:
        try:
            disconnect(proto)
        except Exception:
            self.failuresOf(proto).failed(self.now(), "stopProtocol")

    def _wayTo(self, proto: Any, adapted: Callable[[Any], Receiver]) -> Receiver:
        """
        How packets get to C{proto}.

        @param adapted: makes the way to one that only knows C{twisted.pair}'s call.
        """
        if not knowsPackets(proto):
            if not callable(getattr(proto, "datagramReceived", None)):
                raise TypeError(f"packets cannot reach {proto!r}: it has neither packetReceived nor datagramReceived")
            return _Finishing(self, _Guarded(self, proto, adapted(proto)))
        receive: Receiver = proto.packetReceived
        way = receive if handlesFailures(proto) else _Guarded(self, proto, receive)
        return way if takesOffload(proto) else _Finishing(self, way)
