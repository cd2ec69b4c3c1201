"""
Tests for the monitors of interfaces on macOS and the BSDs, over fakes of their kernels.
"""

from __future__ import annotations

import errno
import struct

from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from tests.device.unix.platforms import OverFakeKernel, onEachPlatform
from tests.device.unix.routesockets import Link
from txtuntap.device import monitor
from txtuntap.device.configure import configureInterface
from txtuntap.device.monitor import InterfaceEvent, InterfaceMonitor, SharedMonitor


@onEachPlatform(globals())
class MonitorTests(OverFakeKernel):
    """
    Tests for L{InterfaceMonitor} over the fake kernels.
    """

    def setUp(self) -> None:
        super().setUp()
        self.reactor = MemoryReactorClock()
        self.events: list[InterfaceEvent] = []
        self.monitor = InterfaceMonitor(self.reactor)
        self.monitor.subscribe(self.events.append)
        self.tun: Link = self.fake.addTun()
        self.successResultOf(self.monitor.start())
        self.addCleanup(self.monitor.stop)

    def tearDown(self) -> None:
        self.monitor.stop()
        super().tearDown()

    def happened(self) -> list[str]:
        """
        Let the reactor read, and return the kinds of the events since the last call.
        """
        for reader in self.reactor.getReaders():
            reader.doRead()
        kinds = [each.kind for each in self.events]
        self.events.clear()
        return kinds

    def test_theInterfacesAreKnownWithoutAnEvent(self) -> None:
        self.assertEqual({"lo0", self.tun.name}, {each.name for each in self.monitor.interfaces.values()})
        self.assertEqual([], self.happened())

    def test_eachChangeIsAnEvent(self) -> None:
        configureInterface(self.tun.name, ["10.0.0.1/24"], mtu=1300)
        self.assertEqual([monitor.UP, monitor.MTU, monitor.ADDRESS_ADDED], self.happened())
        configureInterface(self.tun.name, ["10.0.0.1/25"], up=False)
        kinds = [monitor.DOWN, monitor.ADDRESS_REMOVED, monitor.ADDRESS_ADDED]
        self.assertEqual(kinds, self.happened())
        tap = self.fake.addTap()
        self.assertEqual([monitor.ADDED], self.happened())
        if self.platform != "netbsd":
            configureInterface(tap.name, up=None, linkAddress="02:00:00:00:00:01")
            self.assertEqual([monitor.LINK_ADDRESS], self.happened())
        self.fake.remove(tap.name)
        self.assertEqual([monitor.REMOVED], self.happened())

    def test_aRemovalWithoutAMessageIsNoticedLater(self) -> None:
        configureInterface(self.tun.name, up=True)
        self.happened()
        self.fake.remove(self.tun.name, silently=True)
        self.assertEqual([], self.happened())
        self.reactor.advance(1)
        self.assertEqual([monitor.REMOVED], self.happened())
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_messagesAboutRoutesAreIgnored(self) -> None:
        reads: list[object] = []
        real = self.fake.sysctl

        def sysctl(names: tuple[int, ...]) -> bytes:
            reads.append(names)
            return real(names)

        self.patch(self.fake, "sysctl", sysctl)
        for kind in 1, 2, 4, 5:
            self.fake.tell(struct.pack("=HBB", 92, self.fake.numbers["RTM_VERSION"], kind).ljust(92, b"\0"))
        self.fake.tell(b"\x01")
        self.happened()
        self.assertEqual([], reads)

    def test_lostMessagesLeadToAnotherLook(self) -> None:
        self.tun.mtu = 1234
        self.fake.routing[0].errors.append(errno.ENOBUFS)
        self.assertEqual([monitor.MTU], self.happened())

    def test_aFloodOfMessagesIsReadInTurns(self) -> None:
        message = struct.pack("=HBB", 4, self.fake.numbers["RTM_VERSION"], 1)
        for _ in range(150):
            self.fake.tell(message)
        self.tun.mtu = 1234
        self.fake.tell(self.fake._stateMessage(self.tun))
        self.assertEqual([], self.happened())
        self.assertEqual([monitor.MTU], self.happened())

    def test_aListThatCannotBeReadIsLoggedOnce(self) -> None:
        self.fake.corrupt = b"\xff" * 50
        for _ in range(3):
            self.fake.tell(self.fake._stateMessage(self.tun))
            self.assertEqual([], self.happened())
        self.assertEqual(1, len(self.flushLoggedErrors(OSError)))
        self.fake.corrupt = None
        configureInterface(self.tun.name, mtu=1234, up=None)
        self.assertEqual([monitor.MTU], self.happened())

    def test_anotherErrorOfTheSocketEndsTheMonitor(self) -> None:
        (reader,) = self.reactor.getReaders()
        self.fake.routing[0].errors.append(errno.EBADF)
        self.assertRaises(OSError, reader.doRead)
        reader.connectionLost(Failure(ConnectionDone()))
        self.assertEqual({}, dict(self.monitor.interfaces))
        self.assertFalse(self.monitor.isOpen)

    def test_theEndOfTheSocketIsAnError(self) -> None:
        (reader,) = self.reactor.getReaders()
        self.fake.routing[0].far.close()
        self.assertRaises(OSError, reader.doRead)

    def test_stoppingClosesTheSocket(self) -> None:
        configureInterface(self.tun.name)
        self.happened()
        self.monitor.stop()
        self.monitor.stop()
        self.assertEqual(([], [], []), (self.fake.routing, self.reactor.getReaders(), self.reactor.getDelayedCalls()))
        self.successResultOf(self.monitor.start())
        self.assertEqual(2, len(self.monitor.interfaces))

    def test_aSubscriberMayStopTheMonitor(self) -> None:
        self.monitor.subscribe(lambda event: self.monitor.stop())
        for link in self.fake.links.values():
            link.mtu = 1300
        self.fake.tell(self.fake._stateMessage(self.tun))
        self.assertEqual([monitor.MTU], self.happened())
        self.assertEqual({}, dict(self.monitor.interfaces))

    def test_aRefusedSocketIsReported(self) -> None:
        self.fake.failures["socket"] = errno.EPERM
        other = InterfaceMonitor(self.reactor)
        self.assertRaises(PermissionError, other.open)
        reason = self.failureResultOf(other.start(), PermissionError)
        self.assertIn("cannot open a routing socket", str(reason.value))

    def test_statesThatCannotBeReadFailTheStart(self) -> None:
        self.fake.failures["sysctl"] = errno.ENOMEM
        other = InterfaceMonitor(self.reactor)
        self.failureResultOf(other.start(), OSError)
        other.stop()
        self.assertEqual(1, len(self.fake.routing))

    def test_monitorsAreShared(self) -> None:
        shares = [SharedMonitor(self.reactor) for _ in range(2)]
        for share in shares:
            self.successResultOf(share.start())
        self.assertEqual(2, len(self.fake.routing))
        for share in shares:
            share.stop()
        self.assertEqual(1, len(self.fake.routing))

    def test_aNamespaceIsRefused(self) -> None:
        self.assertRaises(OSError, InterfaceMonitor, self.reactor, "blue")
        self.assertRaises(OSError, SharedMonitor(self.reactor, "blue").open)
