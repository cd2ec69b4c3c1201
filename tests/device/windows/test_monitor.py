"""
Tests for the monitors of interfaces on Windows, over fakes of its DLL.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.device.windows.constants import FIELDS, NUMBERS
from tests.device.windows.iphlpapifake import INET
from tests.device.windows.overfakes import OverFakeWindows, overEachFake
from txtuntap.device import monitor
from txtuntap.device.configure import configureInterface
from txtuntap.device.monitor import InterfaceEvent, InterfaceMonitor, SharedMonitor
from txtuntap.device.windows import iphlpapi, notifications


class ThreadReactor(MemoryReactorClock):
    """
    A reactor with the calls that other threads have made.

    @ivar fromThreads: the functions to call, each with the thread that has asked for it.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.fromThreads: list[tuple[Callable[[], None], int]] = []

    def callFromThread(self, function: Callable[[], None]) -> None:
        """
        Note a function to call.
        """
        self.fromThreads.append((function, threading.get_ident()))


@overEachFake(globals())
class MonitorTests(OverFakeWindows):
    """
    Tests for L{InterfaceMonitor} over the fakes.
    """

    def setUp(self) -> None:
        super().setUp()
        self.reactor = ThreadReactor()
        self.events: list[InterfaceEvent] = []
        self.monitor = InterfaceMonitor(self.reactor)
        self.monitor.subscribe(self.events.append)
        self.tun = self.fake.add("txtuntap 0", "tun")
        self.successResultOf(self.monitor.start())

    def tearDown(self) -> None:
        self.monitor.stop()
        super().tearDown()

    def happened(self) -> list[str]:
        """
        Let the reactor make the calls of other threads, and return the kinds of the events since the last call.
        """
        self.fake.settle()
        calls, self.reactor.fromThreads = self.reactor.fromThreads, []
        for function, thread in calls:
            self.assertNotEqual(threading.get_ident(), thread)
            function()
        kinds = [each.kind for each in self.events]
        self.events.clear()
        return kinds

    def test_theInterfacesAreKnownWithoutAnEvent(self) -> None:
        names = {each.name for each in self.monitor.interfaces.values()}
        self.assertEqual({"Loopback Pseudo-Interface 1", "txtuntap 0"}, names)
        self.assertEqual(([], True), (self.happened(), self.monitor.isOpen))

    def test_eachChangeIsAnEvent(self) -> None:
        configureInterface("txtuntap 0", ["10.0.0.1/24"], mtu=1300)
        self.assertEqual([monitor.MTU, monitor.ADDRESS_ADDED], self.happened())
        configureInterface("txtuntap 0", ["10.0.0.1/25"])
        self.assertEqual([monitor.ADDRESS_REMOVED, monitor.ADDRESS_ADDED], self.happened())
        self.fake.setLink(self.tun, True, False)
        self.assertEqual([monitor.NO_CARRIER], self.happened())
        self.fake.setLink(self.tun, False, False)
        self.assertEqual([monitor.DOWN], self.happened())
        self.fake.setLink(self.tun, True, True)
        self.assertEqual([monitor.UP, monitor.CARRIER], self.happened())
        tap = self.fake.add("Ethernet 2", "tap")
        self.assertEqual([monitor.ADDED], self.happened())
        self.fake.remove(tap)
        self.assertEqual([monitor.REMOVED], self.happened())

    def test_aNewAdapterIsAddedOnceIPUsesIt(self) -> None:
        index = self.fake.add("Ethernet 2", "tap", ())
        self.assertEqual([], self.happened())
        self.fake.bind(index, INET)
        self.assertEqual([monitor.ADDED], self.happened())

    def test_aChangeAfterItsNotificationIsNoticedLater(self) -> None:
        self.fake.tell()
        self.assertEqual([], self.happened())
        self.fake.rename(self.tun, "other")
        self.reactor.advance(1)
        self.assertEqual([monitor.RENAMED], self.happened())
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_manyNotificationsAreOneCall(self) -> None:
        for _ in range(20):
            self.fake.tell()
        self.fake.settle()
        self.assertEqual(1, len(self.reactor.fromThreads))
        self.assertEqual([], self.happened())
        # The next notification is another call.
        self.fake.tell()
        self.fake.settle()
        self.assertEqual(1, len(self.reactor.fromThreads))

    def test_tablesThatCannotBeReadAreLoggedOnce(self) -> None:
        self.fake.fail("GetIfTable2", NUMBERS["ERROR_NOT_ENOUGH_MEMORY"])
        for _ in range(3):
            self.fake.tell()
            self.assertEqual([], self.happened())
        self.assertEqual(1, len(self.flushLoggedErrors(OSError)))
        self.fake.fail("GetIfTable2", 0)
        configureInterface("txtuntap 0", mtu=1300)
        self.assertEqual([monitor.MTU], self.happened())

    def test_malformedRowsAreLoggedOnce(self) -> None:
        texts: list[str] = []

        @implementer(ILogObserver)
        def observe(event: dict[str, Any]) -> None:
            texts.append(str(event.get("log_format")))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        self.fake.poke("GetIpInterfaceTable", 8 + FIELDS["MIB_IPINTERFACE_ROW"]["Family"][0], b"\x63")
        for _ in range(3):
            self.fake.tell()
            self.happened()
        self.assertEqual(1, len([each for each in texts if "malformed rows" in each]))

    def test_stoppingEndsTheNotifications(self) -> None:
        self.fake.tell()
        self.happened()
        self.fake.tell()
        self.monitor.stop()
        self.monitor.stop()
        self.assertEqual((0, False, {}), (self.fake.registered(), self.monitor.isOpen, dict(self.monitor.interfaces)))
        self.assertEqual([], self.reactor.getDelayedCalls())
        # A call that the reactor has not made yet does nothing.
        self.assertEqual(([], {}), (self.happened(), dict(self.monitor.interfaces)))
        self.successResultOf(self.monitor.start())
        self.assertEqual(2, len(self.monitor.interfaces))
        configureInterface("txtuntap 0", mtu=1300)
        self.assertEqual([monitor.MTU], self.happened())

    def test_aSubscriberMayStopTheMonitor(self) -> None:
        self.monitor.subscribe(lambda event: self.monitor.stop())
        for name in "Ethernet 2", "Ethernet 3":
            self.fake.add(name, "tap")
        self.assertEqual(([monitor.ADDED], {}), (self.happened(), dict(self.monitor.interfaces)))
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_aRefusedRegistrationIsReported(self) -> None:
        # The registration before it is cancelled.
        self.fake.fail("NotifyUnicastIpAddressChange", NUMBERS["ERROR_NOT_ENOUGH_MEMORY"])
        other = InterfaceMonitor(self.reactor)
        self.assertRaises(OSError, other.open)
        reason = self.failureResultOf(other.start(), OSError)
        self.assertIn("cannot watch the interfaces", str(reason.value))
        self.assertEqual((2, False), (self.fake.registered(), other.isOpen))

    def test_statesThatCannotBeReadFailTheStart(self) -> None:
        self.fake.fail("GetIfTable2", NUMBERS["ERROR_NOT_ENOUGH_MEMORY"])
        other = InterfaceMonitor(self.reactor)
        self.failureResultOf(other.start(), OSError)
        other.stop()
        self.assertEqual(2, self.fake.registered())

    def test_monitorsAreShared(self) -> None:
        shares = [SharedMonitor(self.reactor) for _ in range(2)]
        for share in shares:
            self.successResultOf(share.start())
        self.assertEqual(4, self.fake.registered())
        for share in shares:
            share.stop()
        self.assertEqual(2, self.fake.registered())

    def test_aNamespaceIsRefused(self) -> None:
        self.assertRaises(OSError, InterfaceMonitor, self.reactor, "blue")
        self.assertRaises(OSError, SharedMonitor(self.reactor, "blue").open)

    def test_aCallbackStaysUntilItIsCancelled(self) -> None:
        self.fake.fail("CancelMibChangeNotify2", NUMBERS["ERROR_INVALID_PARAMETER"])
        kept = len(notifications._registered)
        self.monitor.stop()
        self.assertEqual(kept, len(notifications._registered))
        # The DLL may still call it, which has no effect.
        self.fake.tell()
        self.assertEqual([], self.happened())
        self.fake.fail("CancelMibChangeNotify2", 0)
        notifications._cancelAll()
        self.assertEqual(0, self.fake.registered())

    def test_aRegistrationWithoutAHandleIsNotCancelled(self) -> None:
        before = set(notifications._registered)
        for name in "NotifyIpInterfaceChange", "NotifyUnicastIpAddressChange":
            self.fake.withhold(name)
        other = InterfaceMonitor(self.reactor)
        self.successResultOf(other.start())
        other.stop()
        # Its callback stays, because nothing can end the calls.
        left = notifications._registered - before
        self.assertEqual(2, len(left))
        notifications._registered.difference_update(left)


class LackingTests(SynchronousTestCase):
    """
    Tests for a DLL that lacks the notifications.
    """

    def test_nothingIsLeftOfARegistrationThatTheDLLLacks(self) -> None:
        before = set(notifications._registered)
        library = iphlpapi._Library(object())
        for name in "NotifyIpInterfaceChange", "NotifyUnicastIpAddressChange":
            self.assertRaises(OSError, notifications.Notification, library, name, list)
        self.assertEqual(before, notifications._registered)


@overEachFake(globals())
class FakeTests(OverFakeWindows):
    """
    Tests for the fakes, which have to find a program that waits for itself.
    """

    def test_aCancellationInItsOwnCallIsRefused(self) -> None:
        codes: list[int] = []

        def cancel() -> None:
            codes.append(self.fake.CancelMibChangeNotify2(made._handle))

        made = notifications.Notification(self.fake, "NotifyIpInterfaceChange", cancel)
        self.fake.tell()
        self.fake.settle()
        self.assertEqual(([NUMBERS["ERROR_POSSIBLE_DEADLOCK"]], 1), (codes, self.fake.registered()))
        made.cancel()
