"""
Tests for the devices of macOS over a replacement for its kernel: names, errors, and the descriptors that remain.
"""

from __future__ import annotations

import errno
import select
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.device.contract import sample
from tests.device.unix.kernels import MacSystem
from txtuntap import IPProtocol, TuntapPort
from txtuntap.device import EBADFD, TAP, TUN
from txtuntap.device.darwin.choice import makeDevice
from txtuntap.device.darwin.feth import FethDevice
from txtuntap.device.lost import InterfaceLost
from txtuntap.device.unix.device import UnixDevice
from txtuntap.interfaces import IDevice


class MacTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.system = MacSystem()
        self.addCleanup(lambda: self.assertEqual(self.system.openDescriptors(), 0))

    def device(self, name: str = "utun%d", mode: int = TUN, descriptor: int | None = None) -> UnixDevice:
        """
        Make a device that is closed at the end of the test. No descriptor may remain then.
        """
        device = makeDevice(name, mode, self.system, descriptor)
        assert isinstance(device, UnixDevice)
        self.addCleanup(device.close)
        return device

    def opened(self, name: str = "utun%d", mode: int = TUN) -> UnixDevice:
        device = self.device(name, mode)
        device.open()
        return device

    def refused(self, number: int, device: UnixDevice) -> str:
        """
        Return the text of the error with which a device cannot be opened. No descriptor may remain.
        """
        error = self.assertRaises(OSError, device.open)
        self.assertEqual((error.errno, device.fileno(), self.system.openDescriptors()), (number, -1, 0))
        return str(error)


class UtunTests(MacTestCase):
    def test_aDeviceProvidesIDevice(self) -> None:
        verifyObject(IDevice, self.device())

    def test_aNumberIsOneLessThanItsUnit(self) -> None:
        self.assertEqual(self.opened("utun5").name, "utun5")
        self.assertIn("connect 6", self.system.calls)

    def test_namesWithoutANumberAreTheNextFreeUtun(self) -> None:
        for number, name in enumerate(("utun%d", "tun%d", "")):
            self.assertEqual(self.opened(name).name, f"utun{number}")
        self.assertEqual(self.system.calls.count("connect 0"), 3)

    def test_theKernelMayPutSeveralPacketsIntoTheSocket(self) -> None:
        self.opened()
        self.assertEqual(self.system.pending, 64)

    def test_aKernelWithoutThatOptionIsServed(self) -> None:
        self.system.failing["UTUN_OPT_MAX_PENDING_PACKETS"] = errno.ENOPROTOOPT
        self.assertEqual(self.opened().name, "utun0")

    def test_errorsSayWhatToDo(self) -> None:
        for number, word in (errno.EPERM, "root"), (errno.EBUSY, "another number"), (errno.EINVAL, "utun7: "):
            self.system.connectErrors = [number]
            self.assertIn(word, self.refused(number, self.device("utun7")))
        for call in "socket", "CTLIOCGINFO":
            self.system.failing = {call: errno.ENOENT}
            self.refused(errno.ENOENT, self.device())
        self.system.failing = {"sysctl": errno.EPERM}
        self.assertIn("utun0: this user", self.refused(errno.EPERM, self.device()))

    def test_aTakenNumberIsBusy(self) -> None:
        self.opened("utun3")
        self.assertEqual(self.assertRaises(OSError, self.device("utun3").open).errno, errno.EBUSY)

    def test_anUnknownControlIsNamed(self) -> None:
        self.system.connectErrors = [errno.ENOENT]
        self.assertIn("no utun", self.refused(errno.ENOENT, self.device()))

    def test_connectingIsTriedAgainIfTheKernelLacksBuffers(self) -> None:
        self.system.connectErrors = [errno.ENOBUFS] * 2
        self.assertEqual(self.opened().name, "utun0")
        self.system.connectErrors = [errno.ENOBUFS] * 3
        self.assertRaises(OSError, self.device().open)

    def test_closingRemovesTheInterface(self) -> None:
        self.opened().close()
        self.assertEqual(self.system.interfaces, {})

    def test_thereIsNoOffload(self) -> None:
        device = self.device()
        error = self.assertRaises(OSError, device.open, True)
        self.assertEqual((error.errno, self.system.openDescriptors()), (errno.ENOTSUP, 0))
        self.assertIn("no offload on macOS", str(error))

    def test_theDescriptorIsReadableWhileAPacketWaits(self) -> None:
        device = self.opened()
        self.assertEqual(select.select([device], [], [], 0)[0], [])
        self.system.deliver(device.name, sample(TUN))
        self.assertEqual(select.select([device], [], [], 0)[0], [device])


class NameTests(MacTestCase):
    def test_otherNamesAreRefused(self) -> None:
        for name in "vpn0", "utun", "utun01", "utun%d0", "UTUN0", "tap0", "utun123456":
            error = self.assertRaises(ValueError, makeDevice, name, TUN, self.system)
            self.assertIn("utun0 or utun%d or tun0 or tun%d on macOS", str(error))
        self.assertRaises(ValueError, makeDevice, "utun0", TAP, self.system)
        self.assertRaises(ValueError, makeDevice, "utun0", 3, self.system)

    def test_aTapIsAPairOfFethUnlessItsNameIsThatOfTuntaposx(self) -> None:
        for name in "", "feth%d", "feth3":
            self.assertIsInstance(makeDevice(name, TAP), FethDevice)
        self.assertIsInstance(makeDevice("tap%d", TAP), UnixDevice)

    def test_aDescriptorIsNoneOfAPairOfFeth(self) -> None:
        error = self.assertRaises(ValueError, makeDevice, "feth0", TAP, self.system, 7)
        self.assertIn("name tap0", str(error))
        self.assertIsInstance(makeDevice("", TAP, self.system, 7), UnixDevice)

    def test_withoutTuntaposxTheErrorSaysWhatElseThereIs(self) -> None:
        self.assertIn("utun%d", self.refused(errno.ENOENT, self.device("tun3")))
        for name in "tap3", "tap%d":
            self.assertIn("feth", self.refused(errno.ENOENT, self.device(name, TAP)))

    def test_aFreeNodeOfTuntaposxIsFound(self) -> None:
        self.system.nodes = {"/dev/tap0", "/dev/tap1", "/dev/tun4"}
        self.assertEqual([self.opened("tap%d", TAP).name for _ in range(2)], ["tap0", "tap1"])
        error = self.assertRaises(OSError, self.device("tap%d", TAP).open)
        self.assertEqual(error.errno, errno.EBUSY)
        self.assertEqual(self.opened("tun4").name, "tun4")

    def test_anotherErrorOfANodeSaysWhatToDo(self) -> None:
        self.system.failing = {"open": errno.EACCES}
        self.assertIn("root", self.refused(errno.EACCES, self.device("tap0", TAP)))


class AdoptedTests(MacTestCase):
    def adopt(self, name: str = "") -> UnixDevice:
        """
        Make a device over the descriptor of a utun that was opened elsewhere.
        """
        control = self.system.socket(32, 2, 2)
        control.connect((self.system.CONTROL, 4))
        return self.device(name, TUN, control.detach())

    def test_theKernelTellsTheName(self) -> None:
        device = self.adopt("utun9")
        device.open()
        self.assertEqual((device.name, device.mtu, device.up), ("utun3", 1500, True))
        packet = sample(TUN)
        self.system.deliver("utun3", packet)
        received = device.receive()
        assert received is not None
        self.assertEqual((bytes(received), received.etherType), (packet, 0x0800))

    def test_aDescriptorThatIsNoUtunIsRefused(self) -> None:
        descriptor = self.system.reserve(None)
        error = self.assertRaises(OSError, self.device("", TUN, descriptor).open)
        self.assertIn("bareDevice", str(error))

    def test_aDescriptorServesOnce(self) -> None:
        device = self.adopt()
        device.open()
        device.close()
        error = self.assertRaises(OSError, device.open)
        self.assertEqual(error.errno, errno.EBADF)

    def test_aNegativeDescriptorIsRefused(self) -> None:
        self.assertRaises(ValueError, makeDevice, "", TUN, self.system, -1)


class FullTests(MacTestCase):
    """
    Tests for a utun whose queue stays full, as after the machine has slept.
    """

    def setUp(self) -> None:
        super().setUp()
        self.utun = self.opened()
        self.system.writeError = errno.ENOSPC

    def send(self, seconds: float = 0) -> int | None:
        """
        Send a packet after some seconds.

        @return: the number of the error; L{None}: the packet was sent.
        """
        self.system.now += seconds
        try:
            self.utun.send([sample(TUN)])
        except OSError as e:
            return e.errno
        return None

    def test_theInterfaceIsLostAfterFiveSecondsWithoutSpace(self) -> None:
        self.assertEqual([self.send(seconds) for seconds in (0, 1, 3.9)], [errno.ENOSPC] * 3)
        self.assertEqual(self.send(0.1), EBADFD)
        self.system.writeError = None
        self.assertEqual(self.send(), EBADFD)
        self.assertEqual(self.assertRaises(OSError, self.utun.receive).errno, EBADFD)

    def test_aPacketThatIsSentStartsTheTimeAnew(self) -> None:
        self.assertEqual(self.send(), errno.ENOSPC)
        self.system.writeError = None
        self.assertIsNone(self.send(4))
        self.system.writeError = errno.ENOSPC
        self.assertEqual([self.send(4), self.send(4), self.send(1)], [errno.ENOSPC, errno.ENOSPC, EBADFD])

    def test_openingAgainHeals(self) -> None:
        self.send()
        self.send(5)
        self.utun.close()
        self.system.writeError = None
        self.utun.open()
        self.assertIsNone(self.send())

    def test_aPortCountsThePacketsAndEnds(self) -> None:
        self.utun.close()
        reactor: Any = MemoryReactorClock()
        port = TuntapPort("", IPProtocol(), reactor=reactor, device=self.utun)
        port.startListening()
        lost = port.whenLost()
        port.writePacket([sample(TUN)])
        self.system.now += 5
        self.assertNoResult(lost)
        port.writePacket([sample(TUN)])
        self.assertEqual((port.counters["outDiscards"], port.counters["outErrors"]), (1, 1))
        reactor.advance(0)
        self.assertIn("its queue stays full", self.failureResultOf(lost, InterfaceLost).getErrorMessage())
        self.assertEqual(self.system.openDescriptors(), 0)
