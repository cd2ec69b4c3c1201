"""
The base class of the tests of a switch, with ends of links on its ports, and functions that make frames.
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
    Make a frame of an EtherType that no protocol here has.
    """
    return ethernetFrame(source, dest, TYPE, payload, vlan)


def tagged(data: bytes, control: int) -> bytes:
    """
    Add an outer VLAN tag to a frame.

    @param control: the tag control information: priority and VLAN number.
    """
    return data[:12] + VLAN.to_bytes(2, "big") + control.to_bytes(2, "big") + data[12:]


class SwitchTestCase(SynchronousTestCase):
    """
    A switch, and ends of links on its ports.

    @ivar ends: the ends in the order of C{plug}. An end is the layer at the other end of a port's link.
    """

    def setUp(self) -> None:
        self.clock = SimulationClock()
        self.switch = Switch(self.clock)
        self.ends: list[End] = []

    def plug(self, proto: Any = None, mtu: int = 1500, **options: Any) -> SwitchPort:
        """
        Add a port, and connect it by a link to one more end of C{ends}.

        @param proto: the end; by default, a new L{End}.
        @param mtu: the MTU of the link.
        @param options: the arguments of L{Switch.addPort<txtuntap.switch.Switch.addPort>}.
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
        Add a port with an end for each dictionary of arguments of L{plug}.
        """
        return [self.plug(**each) for each in options]

    def send(self, number: int, data: bytes, offload: Offload | None = None) -> dict[int, list[bytes]]:
        """
        Send a frame from the end with a number.

        @return: the frames that each end received, by its number.
        """
        self.ends[number].transport.writePacket([data], offload)
        return self.received()

    def received(self) -> dict[int, list[bytes]]:
        """
        Take the frames that each end has received since the last call, by its number.
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
        Send a frame from the end C{number}, and check that exactly the ends C{numbers} receive it unchanged.
        """
        self.assertEqual(self.send(number, data), {each: [data] for each in numbers})
