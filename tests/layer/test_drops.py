"""
Tests for the reasons of drops, L{txtuntap.layer.drops}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.paths import DOCS
from txtuntap.layer.counters import Counters
from txtuntap.layer.drops import FAULT_DROPS, Drop, Dropping
from txtuntap.packet import Packet
from txtuntap.wire.fault import Fault


class DropTests(SynchronousTestCase):
    """
    Tests for the members of L{Drop}.
    """

    def test_theCounterOfEachDropIsDocumented(self) -> None:
        documented = (DOCS / "bounds.md").read_text()
        for drop in Drop:
            self.assertIn(f"`{drop.counter}`", documented)
            self.assertIs(drop, Drop(drop.counter))

    def test_eachFaultHasADrop(self) -> None:
        self.assertEqual(set(Fault), set(FAULT_DROPS))
        self.assertEqual(len(Fault), len(set(FAULT_DROPS.values())))

    def test_dropsHaveTheErrorsOfTheRFCs(self) -> None:
        # RFC 792, RFC 1122 section 3.2.2, RFC 4443, RFC 7112.
        expected = {
            Drop.UNKNOWN_PROTOCOL: ((3, 2), (4, 1)),
            Drop.OPTION: ((12, 0), (4, 2)),
            Drop.SOURCE_ROUTE: (None, (4, 0)),
            Drop.FRAGMENT: (None, (4, 0)),
            Drop.FRAGMENT_HEADERS: (None, (4, 3)),
            Drop.REASSEMBLY_TIMEOUT: ((11, 1), (3, 1)),
            Drop.NO_PORT: ((3, 3), (1, 4)),
            Drop.NO_PEER: ((3, 1), (1, 3)),
            Drop.NO_ENDPOINT: ((3, 1), (1, 3)),
        }
        answered = {drop: (drop.error4, drop.error6) for drop in Drop if drop.error4 or drop.error6}
        self.assertEqual(expected, answered)


class Dropper(Dropping):
    """
    An object that only drops packets.
    """

    def __init__(self) -> None:
        self.counters = Counters()


class DroppingTests(SynchronousTestCase):
    """
    Tests for the method C{dropped}.
    """

    def test_aDropIsCounted(self) -> None:
        dropper = Dropper()
        for drop in Drop.HEADER, Drop.NO_PORT, Drop.NO_PORT:
            dropper.dropped(Packet(b"packet"), drop)
        self.assertEqual({"inHdrErrors": 1, "noPorts": 2}, dropper.counters)

    def test_onDroppedIsCalledAfterTheCount(self) -> None:
        dropper, packet = Dropper(), Packet(b"packet")
        told: list[tuple[Packet, Drop, int]] = []
        dropper.onDropped = lambda packet, drop: told.append((packet, drop, dropper.counters[drop.counter]))
        dropper.dropped(packet, Drop.ADDRESS)
        self.assertEqual([(packet, Drop.ADDRESS, 1)], told)
