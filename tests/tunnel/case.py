"""
The base of the tests of L{txtuntap.tunnel.tunnel}: a tunnel on a port, a carrier that records packets, and packets.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.ports import RecordingPort
from tests.superpackets import superpacket
from txtuntap.device import TUN
from txtuntap.device.memory import MemoryDevice
from txtuntap.device.packets import PacketDescriptor
from txtuntap.interfaces import Reader
from txtuntap.layer.fastpath import KnownReceiver
from txtuntap.layer.relay import EVERYTHING
from txtuntap.tunnel import Allowed, Tunnel
from txtuntap.tunnel.framing import ICarrier
from txtuntap.wire import ipv4
from txtuntap.wire.offload import TCP4, Offload

#: An Ethernet header for IPv4.
LINK_HEADER = bytes.fromhex("0200000000020200000000010800")

SOURCE, DEST = bytes([10, 0, 0, 2]), bytes([10, 0, 0, 1])


def packet(octets: int = 100) -> bytes:
    """
    Make an IPv4 packet of a given length in octets, with UDP as its protocol.
    """
    return ipv4.packHeader(SOURCE, DEST, 17, octets - 20) + bytes(octets - 20)


def segments(payload: int, size: int) -> tuple[bytes, Offload]:
    """
    Make a superpacket of TCP, and the description of its checksum and segmentation.
    """
    return superpacket(4, TCP4, bytes(payload), size)[:2]


@implementer(ICarrier)
class Carrier:
    """
    A fake carrier that records the packets it sends.

    @ivar room: whether it accepts packets.
    @ivar why: the reason with which it was disconnected.
    @ivar flushed: how often it was flushed.
    """

    def __init__(self, offloads: int = EVERYTHING, room: bool = True) -> None:
        self.offloads = offloads
        self.room = room
        self.sent: list[tuple[bytes, Offload | None]] = []
        self.why = ""
        self.flushed = 0

    def send(self, packet: bytes | memoryview, offload: Offload | None = None) -> bool:
        self.sent.append((bytes(packet), offload))
        return self.room

    def flush(self) -> None:
        self.flushed += 1

    def disconnect(self, why: str) -> None:
        self.why = why


class ReadDevice(MemoryDevice):
    """
    A device that a port reads like a descriptor with offload headers.
    """

    def __init__(self, *reads: bytes) -> None:
        """
        @param reads: the octets of each read, with the offload header.
        """
        super().__init__(TUN)
        waiting = list(reads)

        def read(fileno: int, most: int) -> bytes:
            if not waiting:
                raise BlockingIOError
            return waiting.pop(0)

        self._descriptor = PacketDescriptor("", TUN, None, SimpleNamespace(read=read, write=None))
        self._descriptor._setHeaders(True)

    def countInto(self, counters: dict[str, int]) -> None:
        self._descriptor.countInto(counters)

    def reader(self, maxPacketSize: int) -> Reader | None:
        return self._descriptor.reader(maxPacketSize)


class TunnelTestCase(SynchronousTestCase):
    """
    A test case with a tunnel on a port.
    """

    def made(
        self, mode: int = TUN, wire: RecordingPort | None = None, allowed: Allowed | None = None
    ) -> tuple[Tunnel, RecordingPort]:
        """
        Make a tunnel on a port.
        """
        tunnel = Tunnel(mode, allowed)
        wire = wire or RecordingPort()
        tunnel.makeConnection(wire)
        return tunnel, wire

    def reading(
        self, mode: int = TUN
    ) -> tuple[Tunnel, RecordingPort, Carrier, KnownReceiver, list[Callable[[], object]]]:
        """
        Make a tunnel with a carrier, on a port that is reading.

        @return: the tunnel, the port, the carrier, the receiver of ordinary packets, and the functions to call at the
            end of the read.
        """
        tunnel, wire = self.made(mode)
        carrier = Carrier()
        tunnel.carrierUp(carrier)
        known = tunnel.knownReceiver
        assert known is not None
        ends: list[Callable[[], object]] = []
        wire.readEnd = ends
        return tunnel, wire, carrier, known, ends
