"""
What the tests of a switch have in common: ends of links that are plugged into one, and frames.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.network.test_link import End
from txtuntap.network.clock import SimulationClock
from txtuntap.network.link import Link
from txtuntap.switch import Switch
from txtuntap.switch.port import SwitchPort
from txtuntap.testing import ethernetFrame
from txtuntap.wire.ethernet import VLAN
from txtuntap.wire.offload import Offload

A, B, C, D = (bytes((2, 0, 0, 0, 0, number)) for number in (1, 2, 3, 4))
ALL, GROUP = b"\xff" * 6, bytes.fromhex("01005e000005")
TYPE = 0x88B5


def frame(source: bytes, dest: bytes, payload: bytes = b"payload", vlan: int | None = None) -> bytes:
    """
    A frame of an EtherType that nobody has.
    """
    return ethernetFrame(source, dest, TYPE, payload, vlan)


def tagged(data: bytes, control: int) -> bytes:
    """
    A frame with one more tag.

    @param control: priority and VLAN.
    """
    return data[:12] + VLAN.to_bytes(2, "big") + control.to_bytes(2, "big") + data[12:]


class SwitchTestCase(SynchronousTestCase):
    """
    A switch, and ends of links that are plugged into it.
    """

    def setUp(self) -> None:
        self.clock = SimulationClock()
        self.switch = Switch(self.clock)
        self.ends: list[End] = []

    def plug(self, proto: Any = None, mtu: int = 1500, **options: Any) -> SwitchPort:
        """
        One more port, with an end of C{ends} at it.
        """
        port = self.switch.addPort(**options)
        end = End() if proto is None else proto
        link = Link(end, port, self.clock, mtu)
        link.start()
        self.addCleanup(link.stop)
        self.ends.append(end)
        return port

    def plugged(self, *options: dict[str, Any]) -> list[SwitchPort]:
        """
        As many ports.
        """
        return [self.plug(**each) for each in options]

    def send(self, number: int, data: bytes, offload: Offload | None = None) -> dict[int, list[bytes]]:
        """
        Have an end send a frame.

        @return: what the others get.
        """
        self.ends[number].transport.writePacket([data], offload)
        return self.got()

    def got(self) -> dict[int, list[bytes]]:
        """
        What has come to all ends since this was last called.
        """
        self.clock.advance(0)
        found = {}
        for number, end in enumerate(self.ends):
            if end.packets:
                found[number] = [bytes(each) for each in end.packets]
                end.packets.clear()
        return found

    def sendTo(self, numbers: list[int], number: int, data: bytes) -> None:
        """
        Have an end send a frame, which comes to just these others as it is.
        """
        self.assertEqual(self.send(number, data), {each: [data] for each in numbers})
