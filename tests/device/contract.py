"""
The tests of the L{IDevice} contract, which run on the device in memory and on the kernel's.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from txtuntap.device import EBADFD, TAP, TUN
from txtuntap.device.memory import TAP_QUEUE_LENGTH, TUN_QUEUE_LENGTH
from txtuntap.interfaces import IDevice
from txtuntap.testing import ethernetFrame, udpPacket

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase as _Base
else:
    _Base = object

MARK = b"a packet of the test's"


def sample(mode: int, payload: bytes = b"") -> bytes:
    """
    Make a packet that the kernel never sends by itself.
    """
    packet = udpPacket("10.9.0.1", "10.9.0.2", 4321, 1234, MARK + payload)
    return ethernetFrame("02:00:00:00:00:aa", "02:00:00:00:00:bb", 0x0800, packet) if mode == TAP else packet


class DeviceContract(_Base):
    """
    A mixin with tests of a device. The test case makes the device and plays the network behind it. The kernel may send
    its own packets to the device at any time.
    """

    mode: int
    #: The name of the test's devices, and the name of the first of them.
    pattern = "tt%d"
    first = "tt0"
    #: The MTU of a new interface in octets; the most octets in a packet; the most packets that wait to be received.
    #: None: as on Linux.
    mtu = 1500
    longest: int | None = None
    queueLength: int | None = None
    #: The octets of the shortest packet; None: those of an Ethernet header on a tap, and one on a tun.
    shortest: bytes | None = None
    #: The octets that fill the packets of the test of the queue.
    padding = b""
    #: Whether sending raises an error while the link is down. Some kernels drop the packets without an error.
    raisesWhileDown = True

    def makeDevice(self, name: str = "tt%d") -> IDevice:
        """
        Make a device, which is not open yet.
        """
        raise NotImplementedError

    def attached(self, device: IDevice) -> None:
        """
        Prepare a device that was just opened.
        """

    def setLink(self, device: IDevice, up: bool) -> None:
        """
        Set the link up or down.
        """
        raise NotImplementedError

    def deliver(self, device: IDevice, data: bytes) -> None:
        """
        Send a packet from the network to the device. It is dropped if the link is down or the queue is full.
        """
        raise NotImplementedError

    def sent(self, device: IDevice) -> list[bytes]:
        """
        Return the packets that the network has received from the device since the last call.
        """
        raise NotImplementedError

    def deleteInterface(self, device: IDevice) -> None:
        """
        Delete the interface under the device.
        """
        raise NotImplementedError

    def nameless(self) -> str:
        """
        Return the name that the first device without a name gets.
        """
        return "tap0" if self.mode == TAP else "tun0"

    # The helpers of the tests

    def opened(self) -> IDevice:
        """
        Make a device, open it and set its link up.
        """
        device = self.makeDevice(self.pattern)
        self.addCleanup(device.close)
        self.reopen(device)
        return device

    def reopen(self, device: IDevice) -> None:
        """
        Open a device again and set its link up.
        """
        device.open()
        self.attached(device)
        self.setLink(device, True)

    def receivePackets(self, device: IDevice, maxPacketSize: int = 65535) -> list[tuple[bytes, bool]]:
        """
        Receive the packets of the test, without the kernel's own, and whether each was cut.
        """
        packets = []
        while (packet := device.receive(maxPacketSize)) is not None:
            if MARK in bytes(packet):
                packets.append((bytes(packet), packet.partial))
        return packets

    def assertRefused(self, number: int, call: Callable[[], object]) -> None:
        """
        Assert that C{call} raises an L{OSError} with this C{errno}.
        """
        error = self.assertRaises(OSError, call)
        got = error.errno or 0
        self.assertEqual(errno.errorcode.get(got, got), errno.errorcode.get(number, number))

    # Opening and closing

    def test_aNewDeviceIsClosed(self) -> None:
        device = self.makeDevice(self.pattern)
        self.assertEqual(device.fileno(), -1)
        self.assertRefused(errno.EBADF, device.receive)
        self.assertRefused(errno.EBADF, lambda: device.send([sample(self.mode)]))

    def test_openReplacesPercentDByANumber(self) -> None:
        self.assertEqual(self.opened().name, self.first)

    def test_openWithoutANameChoosesOneByTheKind(self) -> None:
        device = self.makeDevice("")
        self.addCleanup(device.close)
        device.open()
        self.assertEqual(device.name, self.nameless())

    def test_openTwiceIsBusy(self) -> None:
        self.assertRefused(errno.EBUSY, self.opened().open)

    def test_attributesOfAnOpenDevice(self) -> None:
        device = self.opened()
        self.assertEqual((device.mode, device.mtu, device.offloads), (self.mode, self.mtu, 0))
        if self.mode == TUN:
            self.assertIsNone(device.linkAddress)
        else:
            assert device.linkAddress is not None
            self.assertEqual((len(device.linkAddress), device.linkAddress[0] & 1), (6, 0))

    def test_closeTwiceIsHarmless(self) -> None:
        device = self.opened()
        device.close()
        device.close()
        self.assertEqual(device.fileno(), -1)

    def test_aClosedDeviceRaises(self) -> None:
        device = self.opened()
        device.close()
        self.assertRefused(errno.EBADF, device.receive)
        self.assertRefused(errno.EBADF, lambda: device.send([sample(self.mode)]))

    def test_aClosedDeviceOpensAgain(self) -> None:
        device = self.opened()
        self.deliver(device, sample(self.mode, b"before"))
        device.close()
        self.reopen(device)
        self.assertEqual((device.name, self.receivePackets(device)), (self.first, []))
        self.deliver(device, sample(self.mode, b"after"))
        self.assertEqual(self.receivePackets(device), [(sample(self.mode, b"after"), False)])

    def test_aDeviceRaisesAfterItsInterfaceWasDeleted(self) -> None:
        device = self.opened()
        self.deliver(device, sample(self.mode))
        self.deleteInterface(device)
        self.assertRefused(EBADFD, device.receive)
        self.assertRefused(EBADFD, lambda: device.send([sample(self.mode)]))

    def test_aDeviceClosedAfterDeletionRaisesAsAClosedOne(self) -> None:
        device = self.opened()
        self.deleteInterface(device)
        device.close()
        self.assertRefused(errno.EBADF, device.receive)
        self.assertRefused(errno.EBADF, lambda: device.send([sample(self.mode)]))

    def test_aDeviceOpensAgainAfterDeletion(self) -> None:
        device = self.opened()
        self.deleteInterface(device)
        device.close()
        self.reopen(device)
        self.deliver(device, sample(self.mode))
        self.assertEqual(self.receivePackets(device), [(sample(self.mode), False)])

    # Packets from the network

    def test_receiveReturnsNoneIfNoPacketWaits(self) -> None:
        device = self.opened()
        self.receivePackets(device)
        self.setLink(device, False)
        self.receivePackets(device)
        self.assertIsNone(device.receive())

    def test_packetsAreReceivedWhole(self) -> None:
        device = self.opened()
        packets = [sample(self.mode, bytes(size)) for size in (0, 1, 1400)]
        for packet in packets:
            self.deliver(device, packet)
        self.assertEqual(self.receivePackets(device), [(packet, False) for packet in packets])

    def test_aPacketOfMaxPacketSizeIsNotCut(self) -> None:
        device = self.opened()
        packet = sample(self.mode, bytes(100))
        self.deliver(device, packet)
        self.assertEqual(self.receivePackets(device, len(packet)), [(packet, False)])

    def test_aLongerPacketIsCut(self) -> None:
        device = self.opened()
        packet = sample(self.mode, bytes(100))
        self.deliver(device, packet)
        self.deliver(device, sample(self.mode))
        self.assertEqual(
            self.receivePackets(device, len(packet) - 1), [(packet[:-1], True), (sample(self.mode), False)]
        )

    def test_packetsSentWhileTheLinkIsDownAreLost(self) -> None:
        device = self.opened()
        self.setLink(device, False)
        self.deliver(device, sample(self.mode, b"down"))
        self.setLink(device, True)
        self.deliver(device, sample(self.mode, b"up"))
        self.assertEqual(self.receivePackets(device), [(sample(self.mode, b"up"), False)])

    def test_queueIsBounded(self) -> None:
        device = self.opened()
        for number in range(1100):
            self.deliver(device, sample(self.mode, b"%04d" % number + self.padding))
        got = self.receivePackets(device)
        # The kernel's own packets take some places in the queue.
        bound = self.queueLength or (TAP_QUEUE_LENGTH if self.mode == TAP else TUN_QUEUE_LENGTH)
        self.assertTrue(bound - 20 <= len(got) <= bound, f"{len(got)} packets")
        self.assertEqual(got[0], (sample(self.mode, b"0000" + self.padding), False))

    # Packets to the network

    def test_sendOnePacketOfSeveralBuffers(self) -> None:
        device = self.opened()
        packet = sample(self.mode, bytes(1000))
        self.sent(device)
        self.assertEqual(device.send([packet[:3], packet[3:20], b"", packet[20:]]), len(packet))
        self.assertEqual(self.sent(device), [packet])

    def test_sendMoreThanTheMTU(self) -> None:
        device = self.opened()
        packet = sample(self.mode, bytes(9000))
        self.assertEqual(device.send([packet]), len(packet))
        self.assertEqual(self.sent(device), [packet])

    def test_packetsAreNotSentWhileTheLinkIsDown(self) -> None:
        device = self.opened()
        self.setLink(device, False)
        if self.raisesWhileDown:
            self.assertRefused(errno.EIO, lambda: device.send([sample(self.mode)]))
        else:
            device.send([sample(self.mode)])
        self.setLink(device, True)
        device.send([sample(self.mode, b"up")])
        self.assertEqual(self.sent(device), [sample(self.mode, b"up")])

    def test_sendRaisesForDataThatIsNotAPacket(self) -> None:
        device = self.opened()
        packet = sample(self.mode)
        wrong = [b"", packet[:13]] if self.mode == TAP else [b"", b"\x50" + packet[1:], bytes(20)]
        for data in wrong:
            self.assertRefused(errno.EINVAL, lambda data=data: device.send([data]))  # type: ignore[misc]
        self.assertEqual(self.sent(device), [])

    def test_theShortestPacketIsSent(self) -> None:
        device = self.opened()
        packet = self.shortest or (sample(self.mode)[:14] if self.mode == TAP else b"\x45")
        self.assertEqual(device.send([packet]), len(packet))

    def test_theLongestPacketIsSent(self) -> None:
        device = self.opened()
        packet = sample(self.mode).ljust(self.longest or (65549 if self.mode == TAP else 65535), b"\0")
        self.assertEqual(device.send([packet]), len(packet))
