"""
The base class of all layers. A layer starts and stops the protocols above it, and delivers packets to them.
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
    The receiver for a protocol that may raise. Its exceptions are logged here. During the delivery, the layer below
    holds the packet in C{packet}, so that it recognizes a datagram to the packet's sender as an answer.
    """

    __slots__ = ("_failures", "_layer", "_method", "_receive")

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
    The receiver for a protocol that takes no unfinished packets. It finishes superpackets and open checksums first.
    """

    __slots__ = ("_layer", "_receive")

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
    A protocol that has other protocols above it and is their transport.

    Starting the layer starts the protocols above it, after each was given its transport. Stopping the layer stops each
    of them once.

    @ivar packet: the packet that is being delivered to a protocol above which may raise (see L{handlesFailures});
        C{None} otherwise.
    @ivar outer: the packet that is being delivered to this layer by a call of C{datagramReceived}, as in
        C{twisted.pair}; C{None} otherwise.
    """

    #: Called with another transport before a running layer is started on that transport, too. The function raises an
    #: exception to refuse the transport. None: every transport is accepted.
    checkSecondPort: Callable[[Any], None] | None = None

    def __init__(self) -> None:
        super().__init__()
        self.packet: Packet | None = None
        # This attribute is set here, because an attribute that is added later takes more memory.
        self.onDropped: Callable[[Packet, Drop], None] | None = None
        self.outer: Packet | None = None
        # None before a protocol has failed, or may fail.
        self._failures: dict[int, FailureLog] | None = None
        # By id: each protocol above, its transport, and the number of times it was added. The key is the identity,
        # because a protocol may define its own equality.
        self._above: dict[int, tuple[Any, object, int]] = {}

    def mtuChanged(self) -> None:
        """
        Tell the protocols above that the MTU below has changed.
        """
        self._tellAbove("mtuChanged")

    def linkUp(self) -> None:
        """
        Tell the protocols above that the link below has been set up.
        """
        self._tellAbove("linkUp")

    def _tellAbove(self, method: str) -> None:
        for proto, _, _ in list(self._above.values()):
            tell(proto, method, self.failuresOf(proto), self.now)

    def delivering(self, packet: Packet) -> None:
        """
        Note that C{packet} is about to be delivered to a protocol that may raise.
        """
        self.packet = packet

    def failuresOf(self, proto: Any) -> FailureLog:
        """
        Return the log for the exceptions of a protocol above. A protocol has one log, however often it was added.
        """
        if self._failures is None:
            self._failures = {}
        return self._failures.setdefault(id(proto), FailureLog(proto, self.counters))

    def doStart(self) -> None:
        """
        Start this layer on one more transport. The first call also starts the protocols above it.
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
        Stop this layer on one transport. The last call first stops the protocols above it.
        """
        if self.numPorts == 1:
            for proto, _, _ in reversed(list(self._above.values())):
                self._disconnect(proto)
        super().doStop()

    def _attach(self, proto: Any, transport: object) -> None:
        """
        Note that C{proto} has been added above this layer. Start it if this layer runs.
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
        Note that C{proto} has been removed once. Stop it if it was not added another time.
        """
        known, transport, count = self._above.pop(id(proto))
        if count > 1:
            self._above[id(proto)] = (known, transport, count - 1)
            return
        if self._failures is not None:
            self._failures.pop(id(proto), None)
        if self.numPorts:
            stopOn(proto)

    def _replaceTransport(self, proto: Any, old: object, new: object) -> None:
        """
        Replace the transport of C{proto}, which was added more than once, if it still has the transport C{old}.
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
        Return the function that delivers a packet to C{proto}.

        @param adapted: makes the receiver for a protocol that has only C{datagramReceived}, as in C{twisted.pair}.
        """
        if not knowsPackets(proto):
            if not callable(getattr(proto, "datagramReceived", None)):
                raise TypeError(f"packets cannot reach {proto!r}: it has neither packetReceived nor datagramReceived")
            return _Finishing(self, _Guarded(self, proto, adapted(proto)))
        receive: Receiver = proto.packetReceived
        target = receive if handlesFailures(proto) else _Guarded(self, proto, receive)
        return target if takesOffload(proto) else _Finishing(self, target)
