"""
Tests for the tap of macOS by a pair of C{feth} interfaces, over a fake of the kernel.
"""

from __future__ import annotations

import errno
import select
import struct
import sys
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.descriptors import openDescriptors
from tests.device.contract import DeviceContract, sample
from tests.device.darwin.fethfakes import MOST, FakeFethKernel
from txtuntap import EthernetProtocol, TuntapPort
from txtuntap.device import EBADFD, TAP
from txtuntap.device.darwin.feth import FethDevice, framesIn
from txtuntap.device.lost import InterfaceLost
from txtuntap.interfaces import IDevice
from txtuntap.testing import ethernetFrame


def frame(number: int) -> bytes:
    """
    Make a frame of the tests.
    """
    return ethernetFrame("02:00:00:00:00:aa", "02:00:00:00:00:bb", 0x88B5, b"%05d" % number)


class FethCase(SynchronousTestCase):
    """
    A test case with a fake of macOS's kernel, in which everything is closed and deleted at the end.
    """

    def setUp(self) -> None:
        self.patch(sys, "platform", "darwin")
        self.fake = FakeFethKernel()
        self.descriptors = openDescriptors()
        self.addCleanup(self.assertNothingIsLeft)

    def assertNothingIsLeft(self) -> None:
        self.assertEqual(["lo0"], list(self.fake.links))
        self.assertEqual(({}, {}, {}), (self.fake.filters, self.fake.sockets, self.fake.queries))
        self.assertEqual(self.descriptors, openDescriptors())

    def makeDevice(self, name: str = "") -> FethDevice:
        device = FethDevice(name, self.fake)
        self.addCleanup(device.close)
        return device

    def isReadable(self, device: FethDevice) -> bool:
        return bool(select.select([device], [], [], 0)[0])


@pytest.mark.linux
class FethContractTests(FethCase, DeviceContract):
    """
    The tests of the L{IDevice} contract, but for names, lengths and what a pair does silently.
    """

    mode = TAP
    # The other interface of the pair drops the frame without an error.
    raisesWhileDown = False

    def makeDevice(self, name: str = "") -> FethDevice:
        return super().makeDevice("feth%d" if name == "tt%d" else name)

    def setLink(self, device: IDevice, up: bool) -> None:
        if up:
            # The kernel has dropped the frames that were written while the link was down.
            self.fake.sent(device.name)
        link = self.fake.links[device.name]
        link.flags = link.flags & ~1 | up

    def deliver(self, device: IDevice, data: bytes) -> None:
        self.fake.deliver(device.name, data)

    def sent(self, device: IDevice) -> list[bytes]:
        return self.fake.sent(device.name)

    def deleteInterface(self, device: IDevice) -> None:
        assert isinstance(device, FethDevice)
        self.fake.deleteInterface(device.peer)

    def test_openReplacesPercentDByANumber(self) -> None:
        self.assertEqual("feth0", self.opened().name)

    def test_openWithoutANameChoosesOneByTheKind(self) -> None:
        device = self.makeDevice("")
        device.open()
        self.assertEqual("feth0", device.name)

    def test_aClosedDeviceOpensAgain(self) -> None:
        device = self.opened()
        self.deliver(device, sample(self.mode, b"before"))
        device.close()
        self.reopen(device)
        self.deliver(device, sample(self.mode, b"after"))
        self.assertEqual(self.receivePackets(device), [(sample(self.mode, b"after"), False)])

    def test_queueIsBounded(self) -> None:
        # The kernel drops what does not fit into the buffers of the filter.
        device = self.opened()
        for number in range(5000):
            self.deliver(device, sample(self.mode, b"%04d" % number))
        self.assertLess(len(self.receivePackets(device)), 5000)

    def test_theLongestPacketIsSent(self) -> None:
        device = self.opened()
        packet = sample(self.mode).ljust(16384, b"\0")
        self.assertEqual(device.send([packet]), len(packet))
        self.assertRefused(errno.EMSGSIZE, lambda: device.send([packet + b"\0"]))

    def test_sendRaisesForDataThatIsNotAPacket(self) -> None:
        device = self.opened()
        for data in b"", sample(self.mode)[:13]:
            self.assertRefused(errno.EINVAL, lambda data=data: device.send([data]))  # type: ignore[misc]
        self.assertEqual(self.sent(device), [])


@pytest.mark.linux
class FethTests(FethCase):
    """
    Tests for L{FethDevice} over a fake kernel.
    """

    def opened(self, name: str = "") -> FethDevice:
        device = self.makeDevice(name)
        device.open()
        self.fake.links[device.name].flags |= 1
        return device

    def test_theProgramReadsAndWritesThePeer(self) -> None:
        device = self.opened("feth7")
        self.assertEqual(("feth7", "feth0"), (device.name, device.peer))
        (bpf,), (ndrv,) = self.fake.filters.values(), self.fake.sockets.values()
        self.assertEqual(("feth0", "feth0"), (bpf.interface, ndrv.interface))
        names = ["BIOCSBLEN", "BIOCIMMEDIATE", "BIOCSSEESENT", "BIOCSETIF", "BIOCPROMISC"]
        self.assertEqual((names, ["bind", "connect"]), (bpf.asked, ndrv.asked))
        self.assertEqual(1, self.fake.links["feth0"].flags & 1)

    def test_theDeviceKnowsItsInterface(self) -> None:
        device = self.makeDevice()
        device.open()
        link = self.fake.links[device.name]
        self.assertEqual((link.index, 1500, link.hardware), (device.index, device.mtu, device.linkAddress))
        self.assertFalse(device.up)

    def test_nodesInUseAreSkipped(self) -> None:
        self.fake.busy = 3
        self.opened()
        self.fake.busy = 1000
        error = self.assertRaises(OSError, self.makeDevice().open)
        self.assertEqual(errno.EBUSY, error.errno)

    def test_aReadBringsSeveralFrames(self) -> None:
        device = self.opened()
        for number in range(50):
            self.fake.deliver(device.name, frame(number)[: 16 + number % 4])
        got = []
        while (packet := device.receive()) is not None:
            # As long as frames are left, the descriptor is readable.
            got.append(bytes(packet))
            self.assertEqual(len(got) < 50, self.isReadable(device))
        self.assertEqual([frame(number)[: 16 + number % 4] for number in range(50)], got)

    def test_framesLeftAtTheCloseAreForgotten(self) -> None:
        device = self.opened()
        for number in range(3):
            self.fake.deliver(device.name, frame(number))
        device.receive()
        device.close()
        device.open()
        self.assertFalse(self.isReadable(device))
        self.assertIsNone(device.receive())

    def test_aFrameThatTheFilterCutsIsPartial(self) -> None:
        device = self.opened()
        self.fake.deliver(device.name, frame(1), cut=15)
        packet = device.receive()
        assert packet is not None
        self.assertEqual((frame(1)[:15], True), (bytes(packet), packet.partial))

    def test_theSizeOfABufferIsTheKernels(self) -> None:
        device = self.opened()
        self.assertEqual([MOST], [each.size for each in self.fake.filters.values()])
        self.fake.deliver(device.name, frame(1))
        self.assertIsNotNone(device.receive())

    def test_aDeletedInterfaceMakesTheDescriptorReadable(self) -> None:
        device = self.opened()
        self.assertFalse(self.isReadable(device))
        self.fake.deleteInterface(device.peer)
        self.assertTrue(self.isReadable(device))

    def test_theKernelsInterfaceIsMissedAfterTheInterval(self) -> None:
        """
        The other interface stays, and its descriptors tell nothing. So the device asks it for its partner.
        """
        device = self.opened()
        self.fake.deleteInterface(device.name)
        self.assertIsNone(device.receive())
        self.assertFalse(self.isReadable(device))
        self.fake.joins[-1].expire()
        self.assertTrue(self.isReadable(device))
        error = self.assertRaises(OSError, device.receive)
        self.assertEqual((EBADFD, "feth0 is lost"), (error.errno, str(error.strerror)[:13]))

    def test_aNewInterfaceOfTheSameNameIsNotThePartner(self) -> None:
        device = self.opened()
        self.fake.deleteInterface(device.name)
        self.fake.add(device.name, 0)
        self.fake.joins[-1].expire()
        self.assertEqual(EBADFD, self.assertRaises(OSError, device.receive).errno)

    def test_aPairIsKeptWhileBothInterfacesExist(self) -> None:
        device = self.opened()
        self.fake.joins[-1].expire()
        self.assertIsNone(device.receive())
        self.assertFalse(self.isReadable(device))
        # An error that does not concern the pair says nothing about it.
        self.fake.failures = {"SIOCGDRVSPEC": errno.EMFILE}
        self.fake.joins[-1].expire()
        self.assertIsNone(device.receive())
        self.fake.deliver(device.name, frame(1))
        self.assertEqual(frame(1), bytes(device.receive() or b""))

    def test_aPortEndsWithItsReason(self) -> None:
        for half in "name", "peer":
            device = self.makeDevice()
            reactor: Any = MemoryReactorClock()
            port = TuntapPort("", EthernetProtocol(), reactor=reactor, device=device)
            port.startListening()
            lost = port.whenLost()
            self.fake.deleteInterface(getattr(device, half))
            self.fake.joins[-1].expire()
            reason = port.doRead()
            port.connectionLost(Failure(reason))
            self.assertIn("feth0 was deleted", self.failureResultOf(lost, InterfaceLost).getErrorMessage())
            self.assertNothingIsLeft()

    def test_aFailureWhileOpeningLeavesNothing(self) -> None:
        calls = "SIOCIFCREATE", "SIOCSDRVSPEC", "SIOCSIFFLAGS", "open", "BIOCSETIF", "ndrv", "sysctl", "join"
        for call in calls:
            device = self.makeDevice()
            self.fake.failures = {call: errno.ENOMEM}
            self.assertEqual(errno.ENOMEM, self.assertRaises(OSError, device.open).errno, call)
            self.assertEqual(-1, device.fileno())
            self.assertNothingIsLeft()
            self.fake.failures = {}
            device.open()
            device.close()

    def test_theSecondInterfaceMayFailToBeCreated(self) -> None:
        made: list[bytes] = []
        real = self.fake._create

        def create(request: bytes) -> bytes:
            if made:
                raise OSError(errno.ENOMEM, "no memory")
            made.append(request)
            return real(request)

        self.patch(self.fake, "_create", create)
        self.assertRaises(OSError, self.makeDevice().open)
        self.assertEqual(["lo0"], list(self.fake.links))

    def test_refusalsSayWhatToDo(self) -> None:
        self.opened("feth3")
        error = self.assertRaises(FileExistsError, self.makeDevice("feth3").open)
        self.assertIn("left it behind", str(error))
        self.fake.isRoot = False
        self.assertIn("run as root", str(self.assertRaises(PermissionError, self.makeDevice().open)))
        self.fake.isRoot = True
        for call, number, word in (
            ("SIOCSDRVSPEC", errno.EPERM, "run as root"),
            ("open", errno.EACCES, "/dev/bpf0: this user may not open it: run as root"),
            ("BIOCSETIF", errno.EINVAL, "macOS 10.13"),
            ("ndrv", errno.EPERM, "by /dev/bpf0: this user may not do that: run as root"),
        ):
            self.fake.failures = {call: number}
            error = self.assertRaises(OSError, self.makeDevice().open)
            self.assertEqual((number, True), (error.errno, word in str(error)), str(error))
        self.fake.failures = {}

    def test_anotherNameIsRefused(self) -> None:
        for name in "tap0", "feth", "feth01", "feth%d0":
            self.assertIn("feth0", str(self.assertRaises(ValueError, FethDevice, name)))

    def test_offloadIsRefused(self) -> None:
        self.assertEqual(errno.ENOTSUP, self.assertRaises(OSError, self.makeDevice().open, True).errno)

    def test_aRefusedWriteKeepsItsError(self) -> None:
        device = self.opened()
        for given, expected in (errno.ENOBUFS, errno.ENOBUFS), (errno.ENETDOWN, errno.EIO):
            self.fake.failures = {"write": given}
            self.assertEqual(expected, self.assertRaises(OSError, device.send, [frame(1)]).errno)

    def test_theDeviceHasADescriptorAndNoCallback(self) -> None:
        self.assertRaises(OSError, self.makeDevice().readable, None)
        self.assertIsNone(self.makeDevice().reader(1500))


class FramesTests(SynchronousTestCase):
    """
    Tests for the split of a packet filter's buffer.
    """

    def record(self, header: int, captured: int, length: int = 20) -> bytes:
        return struct.pack("=8xIIH", captured, length, header)

    def test_anEmptyBufferHasNoFrame(self) -> None:
        self.assertEqual([], framesIn(b""))

    def test_recordsThatDoNotFitAreRefused(self) -> None:
        whole = self.record(18, 20) + bytes(20)
        self.assertEqual([(bytes(20), False)], framesIn(whole))
        for data in (
            whole[:17],
            whole[:-1],
            self.record(0, 20) + bytes(20),
            self.record(17, 20) + bytes(20),
            self.record(18, 0xFFFFFFFF) + bytes(20),
            self.record(0xFFFF, 20) + bytes(20),
            whole + bytes(2) + whole[:5],
        ):
            self.assertEqual(errno.EIO, self.assertRaises(OSError, framesIn, data).errno)
