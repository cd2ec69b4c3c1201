"""
Tests for L{txtuntap.device.following}, with devices that have no method C{whereabouts}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from txtuntap.device import TAP, TUN
from txtuntap.device.following import Following
from txtuntap.device.interfaces import IMonitor
from txtuntap.device.memory import MemoryDevice
from txtuntap.device.settings import InterfaceState


@implementer(IMonitor)
class Monitor:
    """
    A monitor whose states a test sets.
    """

    place = None

    def __init__(self) -> None:
        self.reactor: Any = Clock()
        self.interfaces: dict[int, InterfaceState] = {}
        self.followers: list[Callable[[int | None], None]] = []

    def follow(self, follower: Callable[[int | None], None]) -> Callable[[], None]:
        self.followers.append(follower)
        return lambda: self.followers.remove(follower)

    def tell(self, index: int | None, *states: InterfaceState) -> None:
        """
        Set the states, and report a change.

        @param index: the index of the changed interface; L{None}: all may have changed.
        @param states: the states of all interfaces.
        """
        self.interfaces = {state.index: state for state in states}
        for follower in list(self.followers):
            follower(index)


def state(index: int, name: str, mtu: int = 1500, **more: Any) -> InterfaceState:
    """
    Make the state of an interface.
    """
    fields: dict[str, Any] = {"kind": "tap", "flags": 0, "up": True, "carrier": True, "linkAddress": bytes(5) + b"\x09"}
    return InterfaceState(name=name, index=index, mtu=mtu, txqueuelen=500, **{**fields, **more})


class FollowingTests(SynchronousTestCase):
    """
    Tests that a device's values are equal to a monitor's.
    """

    def setUp(self) -> None:
        self.monitor = Monitor()
        self.told: list[tuple[bool, bool]] = []

    def following(self, mode: int = TAP) -> Following:
        """
        Open a device in memory and follow its interface.
        """
        self.device = MemoryDevice(mode, "tt0")
        self.device.open()
        following = Following(self.device, self.monitor, lambda *changed: self.told.append(changed))
        following.start()
        return following

    def test_theFirstUpdateIsNotReported(self) -> None:
        self.monitor.tell(None, state(7, "tt0", 9000))
        self.following()
        self.assertEqual((9000, []), (self.device.mtu, self.told))

    def test_aStateThatArrivesLaterIsReported(self) -> None:
        self.following()
        self.monitor.tell(None, state(7, "tt0", 9000))
        self.assertEqual((9000, [(True, False)]), (self.device.mtu, self.told))
        self.assertEqual(bytes(5) + b"\x09", self.device.linkAddress)

    def test_aTunHasNoLinkAddress(self) -> None:
        self.following(TUN)
        self.monitor.tell(None, state(7, "tt0"))
        self.assertIsNone(self.device.linkAddress)

    def test_severalChangesInOneEventAreReported(self) -> None:
        before = state(7, "tt0")
        self.monitor.tell(None, before)
        self.following()
        self.monitor.tell(7, attrs.evolve(before, name="tt8", mtu=1300, up=False))
        self.assertEqual(("tt8", 1300), (self.device.name, self.device.mtu))
        self.monitor.tell(7, attrs.evolve(before, name="tt9", mtu=1400))
        self.assertEqual(("tt9", 1400), (self.device.name, self.device.mtu))
        self.assertEqual([(True, False), (True, True)], self.told)

    def test_anMTUThatIsAlreadyInTheDeviceIsReported(self) -> None:
        # configureNow(device=...) sets the MTU of the device, but does not report it to the port.
        self.monitor.tell(None, state(7, "tt0"))
        self.following()
        self.device.mtu = 1400
        self.monitor.tell(7, state(7, "tt0", 1400))
        self.assertEqual([(True, False)], self.told)

    def test_anotherInterfaceWithTheFormerNameIsIgnored(self) -> None:
        ours = state(7, "tt0")
        self.monitor.tell(None, ours)
        self.following()
        self.monitor.tell(7, attrs.evolve(ours, name="tt1"), state(8, "tt0", 777))
        self.monitor.tell(8, attrs.evolve(ours, name="tt1"), state(8, "tt0", 778))
        self.assertEqual(("tt1", 1500), (self.device.name, self.device.mtu))

    def test_eventsOfOtherInterfacesAreIgnored(self) -> None:
        self.monitor.tell(None, state(7, "tt0"), state(8, "other"))
        self.following()
        self.device.whereabouts = self.fail  # type: ignore[attr-defined]
        self.monitor.tell(8, state(7, "tt0"), state(8, "other", 1300))
        self.assertEqual([], self.told)

    def test_stopEndsTheCalls(self) -> None:
        following = self.following()
        following.stop()
        following.stop()
        self.assertEqual([], self.monitor.followers)
