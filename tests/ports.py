"""
Ports for tests: ports without a device, which keep what is written to them, and ports on a device in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    A port that keeps what is written to it.

    @ivar sent: the packets.
    """

    linkAddress: bytes | None = None
    interface = b""
    offloads = 0
    batches = None
    readEnd = None

    def __init__(self, mtu: int = 1500, clock: IReactorTime | None = None) -> None:
        self.mtu = mtu
        self.clock: IReactorTime = Clock() if clock is None else clock
        self.sent: list[bytes] = []

    def writePacket(self, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        self.sent.append(b"".join(buffers))


class OffloadPort(RecordingPort):
    """
    A port that takes packets which are not finished, and keeps what is left open in them.

    @ivar written: the packets, and what is left open in each.
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
    A device that counts how often it was opened and closed.
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
    A clock that keeps the readers of descriptors, as a reactor does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.addReader = self.readers.add
        self.removeReader = self.readers.discard

    def removeWriter(self, writer: object) -> None:
        """
        A part of a reactor: nothing ever waits to be written.
        """


def joinHosts(clock: IReactorTime, mode: int, *hosts: Host) -> list[TuntapPort]:
    """
    Put hosts on one network in memory, of this kind.

    @return: their ports, which are listening.
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
    A clock, a device in memory, and ports on it.

    @cvar mode: the kind of the device.
    @cvar features: what it can take and give that is not finished.
    """

    mode = TUN
    features = 0

    def setUp(self) -> None:
        self.clock = Clock()
        self.device = MemoryDevice(self.mode, features=self.features)

    def on(self, proto: Any, **options: Any) -> None:
        """
        Have C{proto} on a port on the device.
        """
        self.port = TuntapPort("", proto, reactor=self.clock, device=self.device, **options)
        self.port.startListening()

    def deliver(self, *packets: bytes | tuple[bytes, Offload | None]) -> None:
        """
        Let packets be read in one turn.

        @param packets: the octets of each, or these and what is left open in it.
        """
        for packet in packets:
            data, offload = (packet, None) if isinstance(packet, bytes) else packet
            self.device.deliver(data, offload)
        self.clock.advance(0)


class PortTestCase(SynchronousTestCase):
    """
    A port on a device in memory, with a recorder on it.
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
        @return: what the protocol gets of C{packets}.
        """
        del self.proto.packets[:]
        for packet in packets:
            self.device.deliver(packet)
        self.clock.advance(0)
        return self.proto.data

    def stop(self) -> None:
        """
        Stop the port.
        """
        done = self.port.stopListening()
        self.clock.advance(0)
        self.assertIsNone(self.successResultOf(done))
