"""
The tests of the contract of devices, run with the kernel's device, and tests of the other features of /dev/net/tun.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct

from twisted.trial.unittest import SynchronousTestCase

from tests.device.contract import DeviceContract, sample
from tests.real.lab.link import KIND, PacketSocket, delete, setDown, setUp, show
from tests.real.lab.namespace import NODE, Namespace, interfaces, ip, until
from txtuntap.device import TAP, TUN, interfaceName
from txtuntap.device.linux import LinuxDevice
from txtuntap.device.linux.ioctl import IFF_VNET_HDR, TUNSETIFF, TUNSETOFFLOAD
from txtuntap.interfaces import IDevice
from txtuntap.packet import Packet
from txtuntap.wire import ipv4
from txtuntap.wire.checksum import onesSum


class InNamespace(SynchronousTestCase):
    """
    A test case whose tests run each in a network namespace of its own.
    """

    def setUp(self) -> None:
        namespace = Namespace()
        namespace.open()
        self.addCleanup(namespace.close)


class LinuxContract(DeviceContract):
    """
    The contract of devices, with the kernel as the network behind the device, through a packet socket.
    """

    information = False

    def makeDevice(self, name: str = "tt%d") -> IDevice:
        return LinuxDevice(name, self.mode, self.information)

    def attached(self, device: IDevice) -> None:
        self.network = PacketSocket(device.name, self.mode)
        self.addCleanup(self.network.close)

    def setLink(self, device: IDevice, up: bool) -> None:
        (setUp if up else setDown)(device.name)
        # The packet socket reports the link that goes down as an error, once.
        self.network.close()
        self.attached(device)

    def deliver(self, device: IDevice, data: bytes) -> None:
        try:
            self.network.send(data)
        except OSError as e:
            self.assertIn(e.errno, (errno.ENETDOWN, errno.ENOBUFS))

    def sent(self, device: IDevice) -> list[bytes]:
        return self.network.received()

    def deleteInterface(self, device: IDevice) -> None:
        delete(device.name)


class LinuxTUNTests(LinuxContract, InNamespace):
    mode = TUN


class LinuxTAPTests(LinuxContract, InNamespace):
    mode = TAP


class InformedTUNTests(LinuxContract, InNamespace):
    """
    The contract with protocol information, which tells the EtherType of each packet.
    """

    mode = TUN
    information = True

    def test_theEtherTypeOfAPacketIsKnown(self) -> None:
        device = self.opened()
        for packet in (sample(TUN), bytes([0x60]) + bytes(39)):
            self.deliver(device, packet)
        types = {bytes(packet)[0] >> 4: packet.etherType for packet in _all(device)}
        self.assertEqual(types, {4: 0x0800, 6: 0x86DD})

    def test_theKernelTakesBothVersions(self) -> None:
        device = self.opened()
        device.send([sample(TUN)])
        device.send([bytes([0x60]) + bytes(39)])
        self.assertEqual([data[0] >> 4 for data in self.sent(device)], [4, 6])


class InformedTAPTests(LinuxContract, InNamespace):
    mode = TAP
    information = True


def _all(device: IDevice) -> list[Packet]:
    packets = []
    while (packet := device.receive()) is not None:
        packets.append(packet)
    return packets


class LinuxDeviceTests(InNamespace):
    """
    Features that the device in memory does not have.
    """

    def opened(self, name: str, mode: int = TUN) -> LinuxDevice:
        """
        Open a device for the rest of the test.
        """
        device = LinuxDevice(name, mode)
        device.open()
        self.addCleanup(device.close)
        return device

    def test_aDeviceThatIsAContextManagerEndsItsInterface(self) -> None:
        for mode in (TUN, TAP):
            with LinuxDevice("tt0", mode) as device:
                self.assertEqual(interfaces(), {"tt0"})
                self.assertEqual(show("tt0")["linkinfo"]["info_data"]["type"], KIND[mode])
                self.assertGreaterEqual(device.fileno(), 0)
            self.assertEqual(interfaces(), set())

    def test_theNextFreeNumberIsTaken(self) -> None:
        self.assertEqual([self.opened("tt%d").name for _ in range(3)], ["tt0", "tt1", "tt2"])

    def test_aSecondQueueIsRefusedWithoutMultiQueue(self) -> None:
        self.opened("tt0")
        error = self.assertRaises(OSError, LinuxDevice("tt0", TUN).open)
        self.assertEqual(error.errno, errno.EBUSY)

    def test_aNameMayHaveFifteenOctets(self) -> None:
        self.opened("fifteen-letters")
        self.assertEqual(interfaces(), {"fifteen-letters"})

    def test_namesAreThoseTheKernelTakes(self) -> None:
        names = [bytes([byte]) + b"a" for byte in range(1, 128)]
        names += [b".", b"..", b"...", b"%d%d", b"%d%", b"a%", b"%", b"%%d", b"a%da", b"a%i"]
        differing = []
        for name in names:
            taken = _kernelTakes(name)
            try:
                interfaceName(name)
            except ValueError:
                if taken:
                    differing.append(name)
            else:
                if not taken:
                    differing.append(name)
        self.assertEqual(differing, [])

    def test_theDescriptorIsReadableWhenAPacketWaits(self) -> None:
        device = self.opened("tt0")
        setUp("tt0")
        _all(device)
        with PacketSocket("tt0", TUN) as network:
            network.send(sample(TUN))
        readable, _, _ = select.select([device], [], [], 10)
        self.assertEqual(readable, [device])
        self.assertIn(sample(TUN), [bytes(packet) for packet in _all(device)])

    def test_theDescriptorIsReadableWhenTheInterfaceIsDeleted(self) -> None:
        device = self.opened("tt0")
        poll = select.poll()
        poll.register(device.fileno(), select.POLLIN)
        delete("tt0")
        self.assertTrue(poll.poll(10000)[0][1] & select.POLLERR)

    def test_theDescriptorIsNotInherited(self) -> None:
        self.assertFalse(os.get_inheritable(self.opened("tt0").fileno()))

    def test_aPersistentInterfaceStays(self) -> None:
        ip("tuntap", "add", "mode", "tap", "name", "tt0")
        ip("link", "set", "tt0", "address", "02:00:00:00:00:77", "mtu", "1280")
        device = self.opened("tt0", TAP)
        self.assertEqual((device.linkAddress, device.mtu), (b"\x02\0\0\0\0\x77", 1280))
        device.close()
        self.assertEqual(interfaces(), {"tt0"})

    def test_aDeviceMadeWithProtocolInformationIsUsedWithout(self) -> None:
        ip("tuntap", "add", "mode", "tun", "name", "tt0", "pi")
        device = self.opened("tt0")
        setUp("tt0")
        with PacketSocket("tt0", TUN) as network:
            network.send(sample(TUN))
            self.assertIn(sample(TUN), [bytes(packet) for packet in _all(device)])
            device.send([sample(TUN)])
            self.assertEqual(network.received(), [sample(TUN)])

    def test_offloadOfAnEarlierOwnerIsTurnedOff(self) -> None:
        before = os.open(NODE, os.O_RDWR)
        fcntl.ioctl(before, TUNSETIFF, struct.pack("16sH22x", b"tt0", TUN | 0x1000 | IFF_VNET_HDR))
        fcntl.ioctl(before, TUNSETOFFLOAD, 0x01 | 0x02 | 0x04)
        fcntl.ioctl(before, 0x400454CB, 1)
        os.close(before)
        device = self.opened("tt0")
        setUp("tt0", "10.9.0.1/24")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"odd", ("10.9.0.2", 7))
        (packet,) = until(lambda: [bytes(p) for p in _all(device) if bytes(p)[0] >> 4 == 4], "the datagram")
        header = ipv4.IPHeader(packet)
        # The sum covers addresses, protocol, length and data. A complete checksum makes it 0.
        self.assertEqual((onesSum(packet[12:]) + 17 + header.tot_len - header.ihl) % 0xFFFF, 0)


def _kernelTakes(name: bytes) -> bool:
    node = os.open(NODE, os.O_RDWR)
    try:
        fcntl.ioctl(node, TUNSETIFF, struct.pack("16sH22x", name, TUN))
    except OSError as e:
        assert e.errno == errno.EINVAL
        return False
    else:
        return True
    finally:
        os.close(node)
