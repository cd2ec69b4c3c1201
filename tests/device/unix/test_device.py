"""
Tests for a device over a descriptor: the header before its packets, what a kernel may hand over, and bare descriptors.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import sys
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.device.contract import sample
from tests.device.unix.kernels import FreeBSDSystem, MacSystem
from txtuntap import IPProtocol, TuntapPort
from txtuntap.device import EBADFD, TAP, TUN
from txtuntap.device.bsd.choice import makeDevice as makeBSDDevice
from txtuntap.device.darwin.choice import makeDevice
from txtuntap.device.unix.adopted import bareDevice
from txtuntap.device.unix.device import UnixDevice
from txtuntap.device.unix.system import RealSystem
from txtuntap.testing import udpPacket


class FamilyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.system = MacSystem()
        self.device: Any = makeDevice("utun%d", TUN, self.system)
        self.device.open()
        self.addCleanup(self.device.close)

    def receive(self, data: bytes) -> bytes | None:
        """
        Receive what a read of the descriptor returns.
        """
        self.system.deliver("utun0", data, b"")
        packet = self.device.receive()
        return None if packet is None else bytes(packet)

    def test_theFamilyPrecedesEachPacketInNetworkOrder(self) -> None:
        four, six = sample(TUN), udpPacket("fe80::1", "fe80::2", 1, 2, b"hello")
        for packet, family in (four, "00000002"), (six, "0000001e"):
            self.assertEqual(self.receive(bytes.fromhex(family) + packet), packet)
            self.device.send([b"", packet[:1], packet[1:]])
            self.assertEqual(self.system.interfaces["utun0"].received.pop(), bytes.fromhex(family) + packet)

    def test_aFamilyThatIsUnknownOrContradictsThePacketIsCounted(self) -> None:
        packet = sample(TUN)
        for family in "00000000", "0000001e", "02000000", "00000007", "ffffffff":
            self.assertIsNone(self.receive(bytes.fromhex(family) + packet))
        self.assertIsNone(self.receive(bytes.fromhex("00000002")))
        self.assertEqual(self.device.counters, {"inFamilyErrors": 6})
        self.assertEqual(self.receive(bytes.fromhex("00000002") + packet), packet)

    def test_aReadShorterThanTheFamilyIsCounted(self) -> None:
        for length in 1, 2, 3:
            self.assertIsNone(self.receive(bytes(length)))
        self.assertEqual(self.device.counters, {"inTruncated": 3})

    def test_thePortHasTheCountersOfItsDevice(self) -> None:
        self.device.close()
        reactor: Any = MemoryReactorClock()
        port = TuntapPort("", IPProtocol(), reactor=reactor, device=self.device)
        port.startListening()
        self.addCleanup(lambda: (port.stopListening(), reactor.advance(0)))
        self.system.deliver("utun0", b"\0\0\0\7" + sample(TUN), b"")
        port.doRead()
        self.assertEqual(port.counters["inFamilyErrors"], 1)


class ErrorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(sys, "platform", "freebsd14")
        self.system = FreeBSDSystem()
        self.device = makeBSDDevice("tap%d", TAP, self.system)
        self.device.open()
        self.addCleanup(self.device.close)

    def test_aReadWhileTheInterfaceIsDownFindsNothing(self) -> None:
        self.assertIsNone(self.device.receive())
        reader = self.device.reader(1500)
        assert reader is not None
        self.assertRaises(BlockingIOError, reader.read, reader.fileno, reader.most)

    def test_theFastPathFindsTheSameErrors(self) -> None:
        self.system.interfaces["tap0"].up = True
        reader = self.device.reader(1500)
        assert reader is not None
        self.system.destroy("tap0")
        error = self.assertRaises(OSError, reader.read, reader.fileno, reader.most)
        self.assertEqual(error.errno, EBADFD)

    def test_otherErrorsAreRaisedUnchanged(self) -> None:
        self.system.interfaces["tap0"].up = True
        for number in errno.ENOBUFS, errno.ENOMEM, errno.EAFNOSUPPORT:
            self.system.writeError = number
            self.assertEqual(self.assertRaises(OSError, self.device.send, [sample(TAP)]).errno, number)
        for number in errno.EHOSTDOWN, errno.ENETDOWN:
            self.system.writeError = number
            self.assertEqual(self.assertRaises(OSError, self.device.send, [sample(TAP)]).errno, errno.EIO)

    def test_aDeviceWithADescriptorTakesNoCallback(self) -> None:
        self.assertEqual(self.assertRaises(OSError, self.device.readable, None).errno, errno.ENOTSUP)

    def test_theContextManagerOpensAndCloses(self) -> None:
        self.device.close()
        with self.device as device:
            self.assertGreaterEqual(device.fileno(), 0)
            self.assertEqual(repr(device), "<UnixDevice tap tap0 open>")
        self.assertEqual(repr(device), "<UnixDevice tap tap0 closed>")


class StateTests(SynchronousTestCase):
    """
    Tests for the state of the interface when a device is opened.
    """

    def test_theDeviceKnowsItsInterface(self) -> None:
        self.patch(sys, "platform", "freebsd14")
        for mode, name in (TUN, "tun3"), (TAP, "tap3"):
            system = FreeBSDSystem()
            interface = system.add(name, mode, 1400)
            interface.up = True
            device = makeBSDDevice(name, mode, system)
            device.open()
            self.addCleanup(device.close)
            link = interface.linkAddress if mode == TAP else None
            expected = (interface.index, True, 1400, link)
            self.assertEqual((device.index, device.up, device.mtu, device.linkAddress), expected)

    def test_anInterfaceThatTheKernelDoesNotListIsRefused(self) -> None:
        self.patch(sys, "platform", "freebsd14")
        system = FreeBSDSystem()
        system.hidden = {"tun0"}
        error = self.assertRaises(OSError, makeBSDDevice("tun0", TUN, system).open)
        self.assertEqual((error.errno, system.openDescriptors()), (errno.ENODEV, 0))
        self.assertIn("vnet", str(error))


class BareTests(SynchronousTestCase):
    """
    Tests for a descriptor that carries bare packets, which is a real socket here.
    """

    def setUp(self) -> None:
        self.peer, own = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(self.peer.close)
        self.descriptor = own.detach()

    def opened(self, mode: int = TUN) -> UnixDevice:
        device = bareDevice(self.descriptor, mode, mtu=1280)
        device.open()
        self.addCleanup(device.close)
        return device

    def test_packetsHaveNoHeader(self) -> None:
        for mode in TUN, TAP:
            self.setUp()
            device = self.opened(mode)
            self.assertIsNone(device.receive())
            self.peer.send(sample(mode))
            self.assertEqual(select.select([device], [], [], 0)[0], [device])
            packet = device.receive()
            assert packet is not None
            self.assertEqual(bytes(packet), sample(mode))
            device.send([sample(mode)[:20], sample(mode)[20:]])
            self.assertEqual(self.peer.recv(100), sample(mode))

    def test_theDescriptorDoesNotBlockAndIsNotInherited(self) -> None:
        os.set_inheritable(self.descriptor, True)
        device = self.opened()
        self.assertEqual((os.get_blocking(device.fileno()), os.get_inheritable(device.fileno())), (False, False))

    def test_theMTUIsTheGivenOne(self) -> None:
        device = self.opened()
        self.assertEqual((device.name, device.mtu, device.linkAddress), ("tun", 1280, None))

    def test_theInterfaceIsLostWhenTheOtherEndCloses(self) -> None:
        device = self.opened()
        self.peer.close()
        self.assertEqual(self.assertRaises(OSError, device.receive).errno, EBADFD)
        self.assertEqual(self.assertRaises(OSError, device.send, [sample(TUN)]).errno, EBADFD)

    def test_aDeviceThatWasNeverOpenedClosesTheDescriptor(self) -> None:
        device = bareDevice(self.descriptor)
        device.close()
        self.assertRaises(OSError, os.fstat, self.descriptor)
        self.assertEqual(self.assertRaises(OSError, device.open).errno, errno.EBADF)

    def test_aDescriptorThatIsNotOpenIsNamed(self) -> None:
        os.close(self.descriptor)
        error = self.assertRaises(OSError, bareDevice(self.descriptor).open)
        self.assertEqual(error.errno, errno.EBADF)
        self.assertIn(f"no descriptor {self.descriptor}: give one", str(error))

    def test_aDescriptorThatCannotBeMadeNonBlockingIsClosed(self) -> None:
        """
        A device of another kind may not know the call. Its descriptor is open.
        """

        class System(RealSystem):
            @staticmethod
            def set_blocking(fileno: int, blocking: bool) -> None:
                raise OSError(errno.ENOTTY, "no such call")

        error = self.assertRaises(OSError, bareDevice(self.descriptor, system=System).open)
        self.assertEqual((error.errno, error.strerror), (errno.ENOTTY, "no such call"))
        self.assertRaises(OSError, os.fstat, self.descriptor)

    def test_aFailureToOpenClosesTheDescriptor(self) -> None:
        device = bareDevice(self.descriptor)
        self.assertEqual(self.assertRaises(OSError, device.open, True).errno, errno.ENOTSUP)
        self.assertRaises(OSError, os.fstat, self.descriptor)

    def test_theDeviceClosesTheDescriptorAndServesOnce(self) -> None:
        device = self.opened()
        device.close()
        self.assertRaises(OSError, os.fstat, self.descriptor)
        self.assertEqual(self.assertRaises(OSError, device.open).errno, errno.EBADF)

    def test_wrongArgumentsAreRefused(self) -> None:
        self.assertRaises(ValueError, bareDevice, self.descriptor, 3)
        self.assertRaises(ValueError, bareDevice, -1)
        self.assertRaises(ValueError, bareDevice, self.descriptor, TUN, "a name that is too long")
        self.assertRaises(ValueError, bareDevice, self.descriptor, TUN, "", 1)
        # The descriptor is still that of the caller.
        os.close(self.descriptor)
