"""
Ports for tests: ports without a device, which keep the packets written to them, and ports on a device in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.recorders import PacketRecorder
from txtuntap import Host, TuntapPort
from txtuntap.interfaces import IPacketTransport
from txtuntap.layer.relay import EVERYTHING
from txtuntap.testing import TAP, TUN, MemoryDevice, join
from txtuntap.wire.offload import Offload


@implementer(IPacketTransport)
class RecordingPort:
    """
    A port without a device, which keeps the packets written to it.

    @ivar sent: the packets that were written.
    """

    linkAddress: bytes | None = None
    ethernet = 0
    interface = b""
    offloads = 0
    batches = None
    readEnd: list[Callable[[], object]] | None = None

    def __init__(self, mtu: int = 1500, clock: IReactorTime | None = None) -> None:
        self.mtu = mtu
        self.clock: IReactorTime = Clock() if clock is None else clock
        self.sent: list[bytes] = []

    def writePacket(self, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        self.sent.append(b"".join(buffers))


class OffloadPort(RecordingPort):
    """
    A port without a device, which accepts unfinished packets and keeps them with their offload records.

    @ivar written: the packets that were written, each with its offload record.
    """

    def __init__(self, offloads: int = EVERYTHING, clock: IReactorTime | None = None) -> None:
        super().__init__(clock=clock)
        self.offloads = offloads
        self.written: list[tuple[bytes, Offload | None]] = []

    def writePacket(self, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        super().writePacket(buffers, offload)
        self.written.append((self.sent[-1], offload))


class CountingDevice(MemoryDevice):
    """
    A device in memory that counts how often it was opened and closed.
    """

    opened = closed = 0

    def open(self, offload: bool | None = False) -> None:
        super().open(offload)
        self.opened += 1

    def close(self) -> None:
        super().close()
        self.closed += 1


class DescriptorClock(Clock):
    """
    A clock with the methods of a reactor for descriptors. It keeps the set of readers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.addReader = self.readers.add
        self.removeReader = self.readers.discard

    def removeWriter(self, writer: object) -> None:
        """
        Do nothing, because no descriptor is ever registered for writing.
        """


def joinHosts(clock: IReactorTime, mode: int, *hosts: Host) -> list[TuntapPort]:
    """
    Connect hosts to one network in memory.

    @param mode: the kind of the devices, TAP or TUN.

    @return: the ports of the hosts, which are listening.
    """
    devices = [MemoryDevice(mode) for _ in hosts]
    join(clock, *devices)
    ports = []
    for host, device in zip(hosts, devices, strict=True):
        top = host.ethernet if mode == TAP else host.ip
        ports.append(TuntapPort("", top, reactor=clock, device=device))
        ports[-1].startListening()
    return ports


class DeviceTestCase(SynchronousTestCase):
    """
    A test case with a clock, a device in memory, and ports on it.

    @cvar mode: the kind of the device, TAP or TUN.
    @cvar features: the offload features of the device, as bits of wire.offload.
    """

    mode = TUN
    features = 0

    def setUp(self) -> None:
        self.clock = Clock()
        self.device = MemoryDevice(self.mode, features=self.features)

    def on(self, proto: Any, **options: Any) -> None:
        """
        Start a port on the device with C{proto}.
        """
        self.port = TuntapPort("", proto, reactor=self.clock, device=self.device, **options)
        self.port.startListening()

    def deliver(self, *packets: bytes | tuple[bytes, Offload | None]) -> None:
        """
        Let the port read packets in one turn.

        @param packets: the octets of each packet, or the octets and the offload record.
        """
        for packet in packets:
            data, offload = (packet, None) if isinstance(packet, bytes) else packet
            self.device.deliver(data, offload)
        self.clock.advance(0)


class PortTestCase(SynchronousTestCase):
    """
    A test case with a port on a device in memory, and a recorder on the port.
    """

    def setUp(self) -> None:
        self.make()

    def make(self, *failing: str, start: bool = True, **options: Any) -> None:
        """
        Make the port, C{port}; its clock, C{clock}; its device, C{device}; and the recorder, C{proto}.
        """
        self.clock = Clock()
        self.device = CountingDevice(TUN, mtu=1400)
        self.proto = PacketRecorder(*failing)
        self.port = TuntapPort("", self.proto, reactor=self.clock, device=self.device, **options)
        if start:
            self.port.startListening()

    def deliver(self, *packets: bytes) -> list[bytes]:
        """
        Let the port read packets in one turn.

        @return: the packets that the protocol receives.
        """
        del self.proto.packets[:]
        for packet in packets:
            self.device.deliver(packet)
        self.clock.advance(0)
        return self.proto.data

    def stop(self) -> None:
        """
        Stop the port, and check that C{stopListening} fires.
        """
        done = self.port.stopListening()
        self.clock.advance(0)
        self.assertIsNone(self.successResultOf(done))
