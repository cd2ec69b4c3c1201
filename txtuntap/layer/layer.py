"""
What the layers have in common: protocols above them by number, transport to those, life and death, counters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import AbstractDatagramProtocol
from twisted.logger import Logger
from twisted.python.reflect import fullyQualifiedName

from txtuntap.interfaces import IEthernetProtocol, IPacketReceiver, IRawDatagramProtocol, IRawPacketProtocol
from txtuntap.mistakes import instead
from txtuntap.packet import Packet

Receiver = Callable[[Packet], None]


def connect(proto: Any, transport: object) -> None:
    """
    Give a protocol its transport and start it. One that is running already keeps the transport it has; one without
    C{makeConnection} is left alone.
    """
    if getattr(proto, "numPorts", 0):
        onAnother = getattr(proto, "onAnother", None)
        if onAnother is not None:
            onAnother(transport)
        proto.doStart()
    elif hasattr(proto, "makeConnection"):
        try:
            proto.makeConnection(transport)
        except BaseException:
            # Or it could never be started again.
            proto.transport = None
            raise


def disconnect(proto: Any) -> None:
    """
    Undo one L{connect}; the last one stops the protocol.
    """
    # One that has been stopped while it was being stopped, by itself, is not stopped twice.
    if hasattr(proto, "doStop") and getattr(proto, "numPorts", True):
        transport = getattr(proto, "transport", None)
        proto.doStop()
        if getattr(proto, "numPorts", 0):
            # AbstractDatagramProtocol.doStop forgets the transport however many ports there still are.
            proto.transport = transport


class FailureLog:
    """
    Logs what a protocol raises, at most once a second: whoever can send packets must not be able to fill the disk.
    """

    _log = Logger()

    def __init__(self, proto: object, counters: Counter[str]) -> None:
        self._proto = proto
        self._counters = counters
        self._logged: float | None = None

    def failed(self, time: float, method: str) -> None:
        """
        The protocol raised, and the exception is being handled.

        @param time: of the packet, in seconds.
        """
        self._counters["protocolFailures"] += 1
        if self._logged is None or not 0 <= time - self._logged < 1:
            self._logged = time
            name = fullyQualifiedName(self._proto.__class__)
            self._log.failure("Unhandled exception from {name}.{method}", name=name, method=method)


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


class _Each:
    """
    The way to several protocols under one number: each gets the packet as it was.
    """

    def __init__(self, ways: dict[int, list[Receiver]], num: int) -> None:
        self._ways = ways
        self._num = num

    def __call__(self, packet: Packet) -> None:
        for receive in tuple(self._ways[self._num]):
            # One of them may remove another.
            if receive in self._ways.get(self._num, ()):
                receive(packet.copy())


class ProtocolTable:
    """
    Protocols by number, and the way to each.

    @ivar protocols: the protocols, in lists, by number.
    @ivar ways: what leads to each of them, in lists alike.
    """

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self.protocols: dict[int, list[Any]] = {}
        self.ways: dict[int, list[Any]] = {}

    def check(self, num: int) -> None:
        """
        @raise TypeError: C{num} does not fit the field. (C{twisted.pair} raises the same.)
        """
        if not isinstance(num, int):
            raise TypeError(f"a protocol is added under a number, not under {num!r}")
        if num < 0:
            raise TypeError("Added protocol must be positive or zero")
        if num >= 1 << self._bits:
            raise TypeError(f"Added protocol must fit in {self._bits} bits")

    def add(self, num: int, proto: Any, way: Any) -> None:
        self.protocols.setdefault(num, []).append(proto)
        self.ways.setdefault(num, []).append(way)

    def remove(self, num: int, proto: Any) -> Any:
        """
        @return: the way that led to C{proto}.

        @raise ValueError: C{proto} was not added under C{num}.
        """
        protocols = self.protocols.get(num, [])
        index = next((i for i, other in enumerate(protocols) if other is proto), None)
        if index is None:
            raise ValueError(f"{proto!r} was not added under {num}")
        del protocols[index]
        way = self.ways[num].pop(index)
        if not protocols:
            del self.protocols[num], self.ways[num]
        return way


class ReceiverTable(ProtocolTable):
    """
    A table whose ways are receivers.

    @ivar receivers: what to call with a packet for a number: all that the hot path looks at.
    """

    def __init__(self, bits: int, first: int = 0) -> None:
        """
        @param first: the least number that packets come under.
        """
        super().__init__(bits)
        self._first = first
        self.receivers: dict[int, Receiver] = {}

    def add(self, num: int, proto: Any, way: Receiver) -> None:
        super().add(num, proto, way)
        self._choose(num)

    def remove(self, num: int, proto: Any) -> Any:
        way = super().remove(num, proto)
        self._choose(num)
        return way

    def _choose(self, num: int) -> None:
        ways = self.ways.get(num)
        if ways is None:
            self.receivers.pop(num, None)
        elif num >= self._first:
            self.receivers[num] = ways[0] if len(ways) == 1 else _Each(self.ways, num)


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


def receiverOr(interface: Any, proto: Any) -> Any:
    """
    Check what is to be added: it has the C{interface} of the layer above, or none but L{IPacketReceiver}.

    @raise TypeError: it has not.
    """
    kinds = IEthernetProtocol, IRawPacketProtocol, IRawDatagramProtocol
    if IPacketReceiver.providedBy(proto) and not any(kind.providedBy(proto) for kind in kinds):
        return proto
    try:
        return interface(proto)
    except TypeError:
        above = ""
        if interface is IRawPacketProtocol and IRawDatagramProtocol.providedBy(proto):
            above = ": add it to an IPProtocol, and that here"
        raise TypeError(
            f"{proto!r} cannot be added: it is no {interface.__name__} and no IPacketReceiver{above or instead(proto)}"
        ) from None


def knowsPackets(proto: object) -> bool:
    """
    Whether C{packetReceived} is the way into C{proto}. It is not where there is none, nor where C{datagramReceived} was
    overridden below it: people subclass C{IPProtocol} so, and expect to be called.
    """
    if _isItsOwn(proto, "packetReceived"):
        return True
    if _isItsOwn(proto, "datagramReceived"):
        return False
    for cls in type(proto).__mro__:
        if "packetReceived" in vars(cls):
            return True
        if "datagramReceived" in vars(cls):
            return False
    return False


def takesOffload(proto: object) -> bool:
    """
    Whether a protocol takes packets that are not finished: L{IPacketReceiver} says how it tells.
    """
    if not knowsPackets(proto) or _isItsOwn(proto, "packetReceived"):
        return False
    for cls in type(proto).__mro__:
        if "takesOffload" in vars(cls):
            return bool(vars(cls)["takesOffload"])
        if "packetReceived" in vars(cls):
            return False
    return False


def handlesFailures(proto: object) -> bool:
    """
    Whether a protocol's C{packetReceived} lets no exception out, so that a layer can call it directly.

    A class says so with C{handlesFailures = True}. The attribute counts for that class alone: a subclass may raise.
    """
    return bool(vars(type(proto)).get("handlesFailures")) and not _isItsOwn(proto, "packetReceived")


def _isItsOwn(proto: object, name: str) -> bool:
    """
    Whether a method is that of one instance, and not of its class.

    C{__dict__} would tell. But once that of an object has been looked at, CPython (3.11 and on) keeps it, and finds the
    object's attributes more slowly: for a layer, that is a tenth of all it does.
    """
    found = getattr(proto, name, None)
    inherited = getattr(type(proto), name, None)
    if inherited is None and hasattr(type(proto), "__getattr__"):
        # A wrapper, which has it from what it goes around.
        return False
    return found is not None and getattr(found, "__func__", found) is not inherited
