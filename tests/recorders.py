"""
Protocols that keep what they get, for the tests of what delivers it: packets, C{twisted.pair}'s calls, UDP datagrams.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.protocol import AbstractDatagramProtocol, DatagramProtocol
from zope.interface import directlyProvides, implementer, implementer_only

from txtuntap import Packet
from txtuntap.device import TAP
from txtuntap.interfaces import IEthernetProtocol, IPacketReceiver
from txtuntap.raw import IRawDatagramProtocol, IRawPacketProtocol

_Recorder = TypeVar("_Recorder", bound="Recorder")


class Oops(Exception):
    """
    The error that a recorder raises where it is to fail.
    """


class Recorder(AbstractDatagramProtocol):
    """
    Notes that it is started and stopped. The recorders below keep what they get, too.

    @ivar events: C{"start"} and C{"stop"}, in the order they happened.
    @ivar failing: the events at which it raises L{Oops}; C{"receive"} is one more.
    """

    noisy = False
    transport: Any

    def __init__(self, *failing: str) -> None:
        self.events: list[str] = []
        self.failing = set(failing)

    def startProtocol(self) -> None:
        self.happened("start")

    def stopProtocol(self) -> None:
        self.happened("stop")

    def happened(self, event: str) -> None:
        """
        Note an event, and fail at it if so told.
        """
        self.events.append(event)
        self.failAt(event)

    def failAt(self, event: str) -> None:
        """
        Fail at an event if so told.
        """
        if event in self.failing:
            raise Oops(event)


@implementer(IRawPacketProtocol, IRawDatagramProtocol)
class PacketRecorder(Recorder):
    """
    Keeps packets as they are on the wire. It goes on a tun, on an Ethernet layer, and on an IP layer.

    @ivar then: what it does with each packet once that is kept.
    """

    def __init__(self, *failing: str, then: Callable[[Any], object] | None = None) -> None:
        super().__init__(*failing)
        self.packets: list[Packet] = []
        self.then = then

    @property
    def data(self) -> list[bytes]:
        """
        The octets of each packet, from where the layer below has left off.
        """
        return [bytes(packet) for packet in self.packets]

    def addProto(self, num: int, proto: Any) -> None:
        """
        A part of the interface: nothing goes above.
        """

    def datagramReceived(self, *args: Any, **kwargs: Any) -> None:
        """
        A part of the interface: packets do not come by it.
        """
        raise NotImplementedError

    def packetReceived(self, packet: Packet) -> None:
        self.packets.append(packet)
        if self.then is not None:
            self.then(packet)
        self.failAt("receive")


class SuperpacketRecorder(PacketRecorder):
    """
    Keeps packets as they come, with what is left open in them: their checksums, and where they are to be cut.
    """

    takesOffload = True


@implementer_only(IPacketReceiver)
class PlainPacketRecorder(PacketRecorder):
    """
    Has none of C{twisted.pair}'s interfaces.
    """


def going(recorder: _Recorder, mode: int) -> _Recorder:
    """
    Have a recorder go on a tun or on a tap.
    """
    directlyProvides(recorder, IEthernetProtocol if mode == TAP else IRawPacketProtocol)
    return recorder


@implementer(IRawPacketProtocol, IRawDatagramProtocol)
class PairRecorder(Recorder):
    """
    Keeps the calls of a protocol that was written for C{twisted.pair}, and knows nothing of packets.

    @ivar calls: the arguments of each, by name.
    """

    def __init__(self, *failing: str) -> None:
        super().__init__(*failing)
        self.calls: list[dict[str, Any]] = []

    @property
    def data(self) -> list[bytes]:
        """
        The octets of each call.
        """
        return [call["data"] for call in self.calls]

    def addProto(self, num: int, proto: Any) -> None:
        """
        A part of the interface: nothing goes above.
        """

    def datagramReceived(self, data: bytes, **rest: Any) -> None:  # type: ignore[override]
        self.calls.append({"data": data, **rest})
        self.failAt("receive")


class DatagramRecorder(Recorder, DatagramProtocol):
    """
    Keeps UDP datagrams.

    @ivar received: each datagram, and its sender's address.
    @ivar then: what it does with each datagram and address once they are kept.
    """

    def __init__(self, *failing: str, then: Callable[[bytes, Any], object] | None = None) -> None:
        super().__init__(*failing)
        self.received: list[tuple[bytes, tuple[str, int]]] = []
        self.then = then

    @property
    def data(self) -> list[bytes]:
        """
        The datagrams, without the addresses.
        """
        return [data for data, _ in self.received]

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """
        The addresses, without the datagrams.
        """
        return [addr for _, addr in self.received]

    def write(self, data: bytes, addr: tuple[str, int]) -> None:
        """
        Send a datagram. As C{then}, it sends each one back.
        """
        self.transport.write(data, addr)

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        self.received.append((datagram, addr))
        if self.then is not None:
            self.then(datagram, addr)
        self.failAt("receive")


class CarrierRecorder(DatagramRecorder):
    """
    Keeps UDP datagrams, and the packets they came in.
    """

    def __init__(self, *failing: str, then: Callable[[bytes, Any], object] | None = None) -> None:
        super().__init__(*failing, then=then)
        self.packets: list[Packet] = []

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        self.packets.append(self.transport.packet)
        super().datagramReceived(datagram, addr)


class Echo(DatagramProtocol):
    """
    Sends every datagram back to its sender. (L{txtuntap.udp.Echo} does not: it spares the ports of servers.)
    """

    noisy = False

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        assert self.transport is not None
        self.transport.write(datagram, addr)
