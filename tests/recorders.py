"""
Protocols for tests, which keep what they receive: packets, calls of C{twisted.pair}, or UDP datagrams.
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
    The exception that a recorder raises at an event in C{failing}.
    """


class Recorder(AbstractDatagramProtocol):
    """
    A protocol that records its start and stop. Its subclasses also keep what they receive.

    @ivar events: C{"start"} and C{"stop"}, in the order in which they happened.
    @ivar failing: the events at which the protocol raises L{Oops}: C{"start"}, C{"stop"} or C{"receive"}.
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
        Record an event, and raise L{Oops} if the event is in C{failing}.
        """
        self.events.append(event)
        self.failAt(event)

    def failAt(self, event: str) -> None:
        """
        Raise L{Oops} if an event is in C{failing}.
        """
        if event in self.failing:
            raise Oops(event)


@implementer(IRawPacketProtocol, IRawDatagramProtocol)
class PacketRecorder(Recorder):
    """
    A protocol that keeps complete packets. It can be on a tun port, an Ethernet layer, or an IP layer.

    @ivar packets: the packets that were received.
    @ivar then: called with each packet after it was kept.
    """

    def __init__(self, *failing: str, then: Callable[[Any], object] | None = None) -> None:
        super().__init__(*failing)
        self.packets: list[Packet] = []
        self.then = then

    @property
    def data(self) -> list[bytes]:
        """
        The octets of each packet, without the headers that the layers below have read.
        """
        return [bytes(packet) for packet in self.packets]

    def addProto(self, num: int, proto: Any) -> None:
        """
        Do nothing, because no protocol is added above. The interface requires this method.
        """

    def datagramReceived(self, *args: Any, **kwargs: Any) -> None:
        """
        Fail, because packets are delivered by C{packetReceived}. The interface requires this method.
        """
        raise NotImplementedError

    def packetReceived(self, packet: Packet) -> None:
        self.packets.append(packet)
        if self.then is not None:
            self.then(packet)
        self.failAt("receive")


class SuperpacketRecorder(PacketRecorder):
    """
    A protocol that keeps packets unchanged: superpackets, and packets with open checksums, with their offload records.
    """

    takesOffload = True


@implementer_only(IPacketReceiver)
class PlainPacketRecorder(PacketRecorder):
    """
    A protocol that keeps complete packets, and has none of the interfaces of C{twisted.pair}.
    """


def forPort(recorder: _Recorder, mode: int) -> _Recorder:
    """
    Give a recorder the interface for a tun port or for a tap port.
    """
    directlyProvides(recorder, IEthernetProtocol if mode == TAP else IRawPacketProtocol)
    return recorder


@implementer(IRawPacketProtocol, IRawDatagramProtocol)
class PairRecorder(Recorder):
    """
    A protocol as written for C{twisted.pair}, which receives octets and header fields instead of packets.

    @ivar calls: the arguments of each call, by name.
    """

    def __init__(self, *failing: str) -> None:
        super().__init__(*failing)
        self.calls: list[dict[str, Any]] = []

    @property
    def data(self) -> list[bytes]:
        """
        The octets that each call delivered.
        """
        return [call["data"] for call in self.calls]

    def addProto(self, num: int, proto: Any) -> None:
        """
        Do nothing, because no protocol is added above. The interface requires this method.
        """

    def datagramReceived(self, data: bytes, **rest: Any) -> None:  # type: ignore[override]
        self.calls.append({"data": data, **rest})
        self.failAt("receive")


class DatagramRecorder(Recorder, DatagramProtocol):
    """
    A protocol that keeps UDP datagrams.

    @ivar received: each datagram, and the address and port of its sender.
    @ivar then: called with each datagram and its sender after they were kept.
    """

    def __init__(self, *failing: str, then: Callable[[bytes, Any], object] | None = None) -> None:
        super().__init__(*failing)
        self.received: list[tuple[bytes, tuple[str, int]]] = []
        self.then = then

    @property
    def data(self) -> list[bytes]:
        """
        The datagrams that were received, without the addresses.
        """
        return [data for data, _ in self.received]

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """
        The addresses and ports of the senders, without the datagrams.
        """
        return [addr for _, addr in self.received]

    def write(self, data: bytes, addr: tuple[str, int]) -> None:
        """
        Send a datagram to an address. If this method is C{then}, each datagram is sent back to its sender.
        """
        self.transport.write(data, addr)

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        self.received.append((datagram, addr))
        if self.then is not None:
            self.then(datagram, addr)
        self.failAt("receive")


class CarrierRecorder(DatagramRecorder):
    """
    A protocol that keeps UDP datagrams and C{transport.packet} at the time of each.
    """

    def __init__(self, *failing: str, then: Callable[[bytes, Any], object] | None = None) -> None:
        super().__init__(*failing, then=then)
        self.packets: list[Packet] = []

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        self.packets.append(self.transport.packet)
        super().datagramReceived(datagram, addr)


class Echo(DatagramProtocol):
    """
    A protocol that sends every datagram back to its sender. L{txtuntap.udp.Echo} does not answer well-known ports.
    """

    noisy = False

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        assert self.transport is not None
        self.transport.write(datagram, addr)
