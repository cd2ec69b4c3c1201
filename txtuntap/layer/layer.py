"""
The base class of all layers: protocols above them by number, transport to those, life and death, counters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from txtuntap.layer.ability import handlesFailures, knowsPackets, takesOffload
from txtuntap.layer.drops import FAULT_DROPS, Drop
from txtuntap.layer.life import FailureLog, startOn, stopOn, tell
from txtuntap.layer.protocol import PacketProtocol
from txtuntap.layer.table import Receiver
from txtuntap.packet import Packet, UnfinishableError


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
    The receiver for a protocol that takes packets as they are on the wire: complete, and one at a time.
    """

    def __init__(self, layer: Layer, receive: Receiver) -> None:
        self._layer = layer
        self._receive = receive

    def __call__(self, packet: Packet) -> None:
        if packet.offload is None:
            return self._receive(packet)
        try:
            packets = packet.finished()
        except UnfinishableError as e:
            return self._layer.dropped(packet, FAULT_DROPS[e.fault])
        for each in packets:
            self._receive(each)


class Layer(PacketProtocol):
    """
    A protocol with protocols above it, to which it is the transport.

    Starting the layer starts them, each with its transport in place; stopping it stops each of them once.

    @ivar packet: the packet being delivered to a protocol that may raise, while it is: see L{handlesFailures}.
    @ivar outer: the packet being delivered to this layer in C{twisted.pair}'s call, while it is.
    """

    #: Called with a transport before this layer is started on one more than it has. It may raise.
    checkSecondPort: Callable[[Any], None] | None = None

    def __init__(self) -> None:
        super().__init__()
        self.packet: Packet | None = None
        # Set here, since an attribute that comes later takes more memory.
        self.onDropped: Callable[[Packet, Drop], None] | None = None
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
            tell(proto, method, self.failuresOf(proto), self.now)

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
        super().doStart()
        if self.numPorts == 1:
            started = []
            try:
                for proto, transport, _ in list(self._above.values()):
                    startOn(proto, transport)
                    started.append(proto)
            except BaseException:
                for proto in reversed(started):
                    self._disconnect(proto)
                super().doStop()
                raise

    def doStop(self) -> None:
        """
        Stop this layer, and, the last time, everything above it first.
        """
        if self.numPorts == 1:
            for proto, _, _ in reversed(list(self._above.values())):
                self._disconnect(proto)
        super().doStop()

    def _attach(self, proto: Any, transport: object) -> None:
        """
        C{proto} has been added above; start it if this layer runs.
        """
        key = id(proto)
        known, transport, count = self._above.get(key, (proto, transport, 0))
        self._above[key] = (known, transport, count + 1)
        if not count and self.numPorts:
            try:
                startOn(proto, transport)
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
            stopOn(proto)

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
            stopOn(proto)
        except Exception:
            self.failuresOf(proto).failed(self.now(), "stopProtocol")

    def _receiverFor(self, proto: Any, adapted: Callable[[Any], Receiver]) -> Receiver:
        """
        How packets get to C{proto}.

        @param adapted: makes the receiver for one that only knows C{twisted.pair}'s call.
        """
        if not knowsPackets(proto):
            if not callable(getattr(proto, "datagramReceived", None)):
                raise TypeError(f"packets cannot reach {proto!r}: it has neither packetReceived nor datagramReceived")
            return _Finishing(self, _Guarded(self, proto, adapted(proto)))
        receive: Receiver = proto.packetReceived
        target = receive if handlesFailures(proto) else _Guarded(self, proto, receive)
        return target if takesOffload(proto) else _Finishing(self, target)
