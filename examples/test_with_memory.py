"""
A test case without a kernel: it reads the application's packets from a device in memory, on a simulated clock.

    trial examples/test_with_memory.py
    pytest examples/test_with_memory.py
    python examples/test_with_memory.py

The test needs no privilege and no TUN device of the kernel. Its ten minutes of simulated time pass at once.
"""

from __future__ import annotations

import unittest
from typing import Any

from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txtuntap import IPProtocol, RawUDPProtocol, TuntapPort
from txtuntap.testing import TUN, MemoryDevice, udpPacket

CLIENT, SERVER = "10.0.0.1", "10.0.0.2"


class Reminder(DatagramProtocol):
    """
    The application, which answers C{b"600 tea"} with C{b"tea"} after 600 seconds.
    """

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        seconds, _, text = datagram.partition(b" ")
        if seconds.isdigit():
            self.reactor.callLater(int(seconds), self.remind, text, addr)

    def remind(self, text: bytes, addr: tuple[str, int]) -> None:
        if self.transport is not None:
            self.transport.write(text, addr)


class ReminderTests(SynchronousTestCase):
    """
    Tests of L{Reminder}, on an IP stack in memory.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.device = MemoryDevice(TUN)
        udp = RawUDPProtocol()
        udp.addProto(37, Reminder(self.clock))
        ip = IPProtocol([f"{SERVER}/24"])
        ip.addProto(17, udp)
        self.port = TuntapPort("", ip, reactor=self.clock, device=self.device)
        self.port.startListening()

    def say(self, text: bytes) -> None:
        """
        Deliver a datagram from the client, and run one turn of the reactor.
        """
        self.device.deliver(udpPacket(CLIENT, SERVER, 5000, 37, text))
        self.clock.advance(0)

    def test_theReminderComesAfterItsTime(self) -> None:
        self.say(b"600 tea")
        self.clock.advance(599)
        self.assertEqual(self.device.sent, [])
        self.clock.advance(1)
        self.assertEqual(self.device.sent, [udpPacket(SERVER, CLIENT, 37, 5000, b"tea")])

    def test_aDatagramWithoutANumberIsIgnored(self) -> None:
        self.say(b"tea, please")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_noReminderLeavesAfterThePortHasStopped(self) -> None:
        self.say(b"600 tea")
        self.port.stopListening()
        self.clock.advance(600)
        self.assertEqual(self.device.sent, [])


if __name__ == "__main__":
    unittest.main()
