"""
Tests for conversations of two hosts on one network, in memory and on a test clock.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.ports import joinHosts
from tests.recorders import DatagramRecorder, Echo
from txtuntap import Host
from txtuntap.testing import TAP, TUN, MemoryDevice, join


class PairTests(SynchronousTestCase):
    """
    Conversations on TAP devices, where link addresses must be resolved first, and on TUN devices.
    """

    def pair(self, mode: int) -> tuple[Host, Host]:
        self.clock = Clock()
        one, other = (Host([f"10.0.0.{n}/24", f"fd00::{n}/64"], self.clock) for n in (1, 2))
        joinHosts(self.clock, mode, one, other)
        self.run_(5)
        return one, other

    def run_(self, seconds: float) -> None:
        for _ in range(round(seconds * 20)):
            self.clock.advance(0.05)

    def turns(self) -> None:
        for _ in range(200):
            self.clock.advance(0)

    def test_datagramsOfAllSizesAreEchoed(self) -> None:
        for mode in (TAP, TUN):
            one, other = self.pair(mode)
            other.listenUDP(7, Echo())
            speaker = DatagramRecorder()
            one.listenUDP(0, speaker)
            for address in ("10.0.0.2", "fd00::2"):
                for size in (0, 1, 1472, 1473, 8000, 65507):
                    speaker.received.clear()
                    speaker.write(bytes(size), (address, 7))
                    self.turns()
                    self.assertEqual(list(map(len, speaker.data)), [size], address)

    def test_eachHostPingsTheOther(self) -> None:
        for mode in (TAP, TUN):
            one, other = self.pair(mode)
            for host, address in ((one, "10.0.0.2"), (other, "fd00::1")):
                answer = host.ping(address, size=3000)
                self.turns()
                pong = self.successResultOf(answer)
                self.assertEqual((pong.source, pong.size), (address, 3000))

    def test_aTAPAndATUNDeviceCannotBeJoined(self) -> None:
        self.assertRaises(ValueError, join, Clock(), MemoryDevice(TAP), MemoryDevice(TUN))
