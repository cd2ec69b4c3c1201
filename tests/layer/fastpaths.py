"""
Helpers of the tests for the fast path: a host with an application that keeps datagrams, and a count of fast packets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import SynchronousTestCase

from tests.ports import DeviceTestCase
from tests.stack.link import OWN, frame
from txtuntap import Host
from txtuntap.layer.fastpath import FastPath
from txtuntap.testing import TAP, TUN, MemoryDevice, udpPacket

US, THEM = {4: "10.9.0.2", 6: "fd09::2"}, {4: "10.9.0.1", 6: "fd09::1"}


def datagram(payload: bytes = b"payload", version: int = 4, source: int = 4000, dest: int = 7) -> bytes:
    """
    Make an IP packet with a datagram for the host of these tests.
    """
    return udpPacket(THEM[version], US[version], source, dest, payload)


class Keeper(DatagramProtocol):
    """
    A protocol that keeps datagrams, and facts about the packet of each.
    """

    def __init__(self) -> None:
        self.received: list[tuple[bytes, Any]] = []
        self.packets: list[Any] = []

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.received.append((datagram, addr))
        transport: Any = self.transport
        packet = transport.packet
        facts = "data", "start", "end", "network", "transport", "link", "linkSource", "linkDest", "etherType", "time"
        more = "source", "dest", "protocol", "hopLimit", "trafficClass", "partial", "reassembled", "port", "ethernet"
        self.packets.append(tuple(getattr(packet, name) for name in (*facts, *more, "ip", "offload")))


def countReceived(case: SynchronousTestCase) -> Callable[[], int]:
    """
    Count the packets that fast paths receive during a test.

    @return: returns the number so far.
    """
    count = 0
    original = FastPath.receive

    def receive(*arguments: Any) -> bool:
        nonlocal count
        isKnown = original(*arguments)
        count += isKnown
        return isKnown

    case.patch(FastPath, "receive", receive)
    return lambda: count


class FastPathTestCase(DeviceTestCase):
    """
    A test case with a host, whose fast path learns each flow from its first packet.
    """

    def setUp(self) -> None:
        super().setUp()
        self.patch(FastPath, "atOnce", True)
        self.patch(FastPath, "never", False)
        self._count = countReceived(self)

    @property
    def fast(self) -> int:
        """
        The number of packets that the fast path has received.
        """
        return self._count()

    def hosted(self, mode: int = TUN, around: Callable[[Any], Any] = lambda proto: proto) -> Keeper:
        """
        Make a host on a device, with a L{Keeper} on port 7.
        """
        self.device = MemoryDevice(mode)
        self.host = Host([f"{US[4]}/24", f"{US[6]}/64"], self.clock, linkAddress=OWN)
        self.on(around(self.host.ethernet if mode == TAP else self.host.ip))
        keeper = Keeper()
        self.listening = self.host.listenUDP(7, keeper)
        return keeper

    def take(self, *packets: bytes) -> int:
        """
        Deliver packets in one turn.

        @return: how many of them the fast path has received.
        """
        before = self.fast
        self.deliver(*(frame(packet) if self.device.mode == TAP else packet for packet in packets))
        return self.fast - before
