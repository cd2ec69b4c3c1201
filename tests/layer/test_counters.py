"""
Tests for the counters, L{txtuntap.layer.counters}.
"""

from __future__ import annotations

import copy
import json
import pickle

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txtuntap import EthernetProtocol, IPProtocol, RawUDPProtocol, TuntapPort
from txtuntap.layer.counters import Counters, FrameCounters, PacketCounters
from txtuntap.middleware import Meter
from txtuntap.network import Link
from txtuntap.switch import Switch
from txtuntap.testing import TAP, MemoryDevice


class CountersTests(SynchronousTestCase):
    """
    Tests for counters of which none is an attribute.
    """

    def test_aCounterThatWasNeverIncrementedIsZeroAndNotListed(self) -> None:
        counters = Counters()
        self.assertEqual(0, counters["inErrors"])
        self.assertEqual({}, counters)
        self.assertNotIn("inErrors", counters)

    def test_anIncrementedCounterIsListed(self) -> None:
        counters = Counters()
        counters["inErrors"] += 1
        counters["inErrors"] += 2
        self.assertEqual({"inErrors": 3}, counters)

    def test_countersTakeNoMoreMemoryThanADict(self) -> None:
        self.assertEqual({}.__sizeof__(), Counters().__sizeof__())
        self.assertFalse(hasattr(Counters(), "__dict__"))


class AttributeTests(SynchronousTestCase):
    """
    Tests for counters of which some are attributes.
    """

    def setUp(self) -> None:
        self.counters = PacketCounters()
        self.counters.outPackets += 2
        self.counters["inErrors"] += 1
        self.counters.outOctets += 60
        self.expected = {"outOctets": 60, "outPackets": 2, "inErrors": 1}

    def test_attributesAreReadByName(self) -> None:
        self.assertEqual(60, self.counters["outOctets"])
        self.assertEqual(1, self.counters["inErrors"])
        self.assertEqual(0, self.counters["inOctets"])
        self.assertEqual(0, self.counters["mistake"])

    def test_getReturnsTheDefaultForZero(self) -> None:
        self.assertEqual(60, self.counters.get("outOctets"))
        self.assertEqual(1, self.counters.get("inErrors", 5))
        self.assertEqual(5, self.counters.get("inOctets", 5))
        self.assertIsNone(self.counters.get("mistake"))

    def test_theMappingHasAllIncrementedCounters(self) -> None:
        self.assertEqual(self.expected, self.counters)
        self.assertEqual(self.counters, self.expected)
        self.assertNotEqual(self.counters, {**self.expected, "inPackets": 0})
        self.assertFalse(self.counters != self.expected)
        self.assertEqual(list(self.expected), list(self.counters))
        self.assertEqual(list(self.expected), list(self.counters.keys()))
        self.assertEqual([60, 2, 1], list(self.counters.values()))
        self.assertEqual(list(self.expected.items()), list(self.counters.items()))
        self.assertEqual(3, len(self.counters))
        self.assertIn("outPackets", self.counters)
        self.assertIn("inErrors", self.counters)
        self.assertNotIn("inPackets", self.counters)
        self.assertEqual(repr(self.expected), repr(self.counters))

    def test_newCountersAreAnEmptyMapping(self) -> None:
        self.assertEqual({}, FrameCounters())
        self.assertFalse(FrameCounters())
        self.assertTrue(self.counters)

    def test_copiesArePlainDicts(self) -> None:
        for found in (
            dict(self.counters),
            {**self.counters},
            {} | self.counters,
            self.counters | {},
            self.counters.copy(),
            copy.copy(self.counters),
            copy.deepcopy(self.counters),
            pickle.loads(pickle.dumps(self.counters)),
            json.loads(json.dumps(self.counters)),
        ):
            self.assertEqual(self.expected, found)
            self.assertIs(dict, type(found))

    def test_aDictCanBeUpdatedFromCounters(self) -> None:
        found: dict[str, int] = {}
        found.update(self.counters)
        self.assertEqual(self.expected, found)

    def test_clearSetsAllToZero(self) -> None:
        self.counters.clear()
        self.assertEqual({}, self.counters)
        self.assertEqual(0, self.counters["outPackets"])
        self.counters.outPackets += 1
        self.assertEqual({"outPackets": 1}, self.counters)

    def test_countersMayBeAddedDuringAnIteration(self) -> None:
        for name in self.counters:
            self.counters[f"also {name}"] += 1
        self.assertEqual(6, len(self.counters))

    def test_countersCanBeMergedWithADict(self) -> None:
        counters = PacketCounters()
        counters.inPackets += 5
        self.assertEqual(counters | {"others": 1}, {"inPackets": 5, "others": 1})
        self.assertEqual({"others": 1} | counters, {"inPackets": 5, "others": 1})


class UseTests(SynchronousTestCase):
    """
    Tests for the classes of the counters of layers and ports.
    """

    def test_layersAndPortsHaveTheirClassOfCounters(self) -> None:
        clock = Clock()
        port = Switch(clock).addPort()
        link = Link(EthernetProtocol(), port, clock)
        meter = Meter(EthernetProtocol())
        tuntap = TuntapPort("", meter, reactor=clock, device=MemoryDevice(TAP))
        for plain in EthernetProtocol(), IPProtocol(), RawUDPProtocol():
            self.assertIs(Counters, type(plain.counters))
        for counted in meter, tuntap, *link.ends:
            self.assertIs(PacketCounters, type(counted.counters))
        self.assertIs(FrameCounters, type(port.counters))
