"""
Tests for the events and the table of L{txtuntap.device.events}.
"""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.device.test_following import state
from txtuntap.device import events
from txtuntap.device.settings import InterfaceAddress

ONE, OTHER = InterfaceAddress("10.9.0.1/24"), InterfaceAddress("10.9.0.2/24")


class InterfaceTableTests(SynchronousTestCase):
    """
    Tests for the events that changes of a table cause.
    """

    def setUp(self) -> None:
        self.table = events.InterfaceTable()
        self.told: list[events.InterfaceEvent] = []
        self.followed: list[int | None] = []
        self.unsubscribe = self.table.subscribe(self.told.append)
        self.unfollow = self.table.follow(self.followed.append)

    def kinds(self) -> list[str]:
        kinds = [event.kind for event in self.told]
        self.told.clear()
        return kinds

    def test_existingInterfacesCauseNoEvent(self) -> None:
        self.table.fill([state(7, "tt0"), state(8, "tt1")])
        self.assertEqual(([7, 8], []), (list(self.table.states), self.told))
        self.table.clear()
        self.assertEqual(({}, []), (self.table.states, self.told))

    def test_anInterfaceIsAddedAndRemoved(self) -> None:
        come = state(7, "tt0")
        self.table.change(come)
        self.assertEqual([events.InterfaceEvent(events.ADDED, come)], self.told)
        self.table.remove(7)
        self.assertEqual(events.InterfaceEvent(events.REMOVED, come, come), self.told[1])
        self.table.remove(7)
        self.assertEqual((2, [7, 7], {}), (len(self.told), self.followed, self.table.states))

    def test_theStatesOfAllInterfacesAreComparedWithTheTable(self) -> None:
        one, other = state(7, "tt0", addresses=(ONE,)), state(8, "tt1")
        self.table.fill([one, other])
        counted = attrs.evolve(one, statistics={"rx_packets": 5})
        self.table.update([counted, other])
        self.assertEqual(([], []), (self.kinds(), self.followed))
        self.table.update([attrs.evolve(one, addresses=(OTHER,)), state(9, "tt2")])
        expected = [events.REMOVED, events.ADDRESS_REMOVED, events.ADDRESS_ADDED, events.ADDED]
        self.assertEqual((expected, [7, 9]), (self.kinds(), sorted(self.table.states)))

    def test_noStateIsEnteredAfterASubscriberHasClearedTheTable(self) -> None:
        self.table.subscribe(lambda event: self.table.clear())
        self.table.update([state(7, "tt0"), state(8, "tt1")])
        self.assertEqual(([events.ADDED], {}), (self.kinds(), self.table.states))

    def test_eachDifferenceIsAnEvent(self) -> None:
        before = state(7, "tt0")
        self.table.fill([before])
        for changed, kind in (
            ({"name": "tt1"}, events.RENAMED),
            ({"up": False}, events.DOWN),
            ({"up": True}, events.UP),
            ({"carrier": False}, events.NO_CARRIER),
            ({"carrier": True}, events.CARRIER),
            ({"mtu": 1400}, events.MTU),
            ({"linkAddress": bytes(6)}, events.LINK_ADDRESS),
        ):
            before = attrs.evolve(before, **changed)
            self.table.change(before)
            self.assertEqual([kind], self.kinds())
        self.table.change(before)
        self.assertEqual([], self.kinds())
        self.table.change(attrs.evolve(before, name="tt2", mtu=1300))
        self.assertEqual([events.RENAMED, events.MTU], self.kinds())

    def test_addressChangesAreEvents(self) -> None:
        before = state(7, "tt0", addresses=(ONE,))
        after = attrs.evolve(before, addresses=(OTHER,))
        self.table.fill([before])
        self.table.change(after, [ONE], [OTHER])
        self.assertEqual(
            [
                events.InterfaceEvent(events.ADDRESS_REMOVED, after, before, ONE),
                events.InterfaceEvent(events.ADDRESS_ADDED, after, before, OTHER),
            ],
            self.told,
        )

    def test_aListenersExceptionIsLoggedAndTheOthersAreCalled(self) -> None:
        def fails(_: object) -> None:
            raise RuntimeError("a listener's own")

        self.unsubscribe()
        self.unfollow()
        self.table.subscribe(fails)
        self.table.follow(fails)
        self.table.subscribe(self.told.append)
        self.table.follow(self.followed.append)
        self.table.change(state(7, "tt0"))
        self.assertEqual(2, len(self.flushLoggedErrors(RuntimeError)))
        self.assertEqual(([events.ADDED], [7]), (self.kinds(), self.followed))

    def test_anEndedListenerIsNotCalled(self) -> None:
        for end in self.unsubscribe, self.unfollow:
            end()
            end()
        self.table.change(state(7, "tt0"))
        self.assertEqual(([], []), (self.told, self.followed))
