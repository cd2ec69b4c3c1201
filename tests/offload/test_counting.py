"""
Tests that a superpacket counts as the packets that it becomes on the wire, wherever packets are counted.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.offload.case import ALL
from tests.recorders import SuperpacketRecorder, forPort
from tests.superpackets import SUPERPACKETS
from txtuntap import TuntapPort
from txtuntap.middleware import Meter
from txtuntap.network.clock import SimulationClock
from txtuntap.network.link import Link
from txtuntap.testing import TAP, TUN, MemoryDevice
from txtuntap.wire.offload import Offload, countPackets, finish, segments, shifted


class CountingTests(SynchronousTestCase):
    """
    Tests for the numbers of packets and octets. The octets include those of TCP options.
    """

    def check(self, counters: Any, direction: str, data: bytes, offload: Offload, network: int) -> None:
        """
        Check the counters of one superpacket.

        @param direction: C{in} or C{out}.
        """
        packets = finish(data, offload, network)
        expected = {
            f"{direction}Packets": len(packets),
            f"{direction}Octets": sum(map(len, packets)),
            f"{direction}Superpackets": 1,
        }
        self.assertEqual(expected, dict(counters))

    @given(SUPERPACKETS, st.integers(0, 10), st.integers(0, 5000))
    def test_theFunctionsCountTheSegments(self, made: tuple[bytes, Offload, int], start: int, cut: int) -> None:
        data, offload, network = made
        packets = finish(data, offload, network)
        expected = len(packets), sum(map(len, packets))
        moved, buffer = shifted(offload, start), bytes(start) + data
        self.assertEqual(expected, segments(buffer, moved, len(buffer), start))
        self.assertEqual(expected, countPackets([buffer[:cut], buffer[cut:]], moved, start))
        self.assertEqual((1, len(data)), countPackets([data], None))

    @given(SUPERPACKETS, st.integers(0, 60))
    def test_whatCannotBeCutCountsAsOnePacket(self, made: tuple[bytes, Offload, int], cut: int) -> None:
        data, offload, _ = made
        short = data[: min(cut, offload.payload - 1)]
        self.assertEqual((1, len(short)), countPackets([short], offload))
        self.assertEqual((1, 5), countPackets([b"", b"short"], offload))
        self.assertEqual((1, 0), countPackets([], offload))
        for wrong in Offload(1, 7, 40, 1400, 20, 16), Offload(1, 1, 40, 0, 20, 16), Offload(0, 5, 28, 1400, 20, 6):
            self.assertEqual((1, len(data)), countPackets([data], wrong))

    @given(SUPERPACKETS)
    def test_aPortAndAMeterCountTheSegments(self, made: tuple[bytes, Offload, int]) -> None:
        data, offload, network = made
        mode = TAP if network else TUN
        clock, device = Clock(), MemoryDevice(mode, features=ALL)
        meter = Meter(forPort(SuperpacketRecorder(), mode))
        port = TuntapPort("", meter, reactor=clock, device=device)
        port.startListening()
        device.deliver(data, offload)
        clock.advance(0)
        self.check(port.counters, "in", data, offload, network)
        self.check(meter.counters, "in", data, offload, network)
        port.counters.clear()
        meter.counters.clear()
        meter.writePacket([data[:54], data[54:]], offload)
        self.check(port.counters, "out", data, offload, network)
        self.check(meter.counters, "out", data, offload, network)
        port.stopListening()

    @given(SUPERPACKETS)
    def test_aLinkCountsTheSegments(self, made: tuple[bytes, Offload, int]) -> None:
        data, offload, network = made
        mode = TAP if network else TUN
        link = Link(forPort(SuperpacketRecorder(), mode), forPort(SuperpacketRecorder(), mode), SimulationClock())
        link.start()
        link.ends[0].writePacket([data], offload)
        self.check(link.ends[0].counters, "out", data, offload, network)
