"""
The contract's tests on the devices of macOS and the BSDs, over replacements for their kernels.
"""

from __future__ import annotations

import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.device.contract import DeviceContract
from tests.device.unix.fakes import QUEUE_LENGTH, FakeSystem
from tests.device.unix.kernels import FreeBSDSystem, MacSystem, NetBSDSystem, OpenBSDSystem
from txtuntap.device import TAP, TUN
from txtuntap.device.bsd.choice import makeDevice as makeBSDDevice
from txtuntap.device.darwin.choice import makeDevice as makeMacDevice
from txtuntap.interfaces import IDevice


class UnixContract(DeviceContract):
    """
    The contract's tests on a device over a replacement for a kernel, which is also the network.
    """

    System: type[FakeSystem]
    queueLength = QUEUE_LENGTH
    longest = 65535
    raisesWhileDown = False

    def setUp(self) -> None:
        self.system = self.System()
        self.patch(sys, "platform", {"darwin": "darwin"}.get(self.System.platform, f"{self.System.platform}14"))
        self.addCleanup(lambda: self.assertEqual(self.system.openDescriptors(), 0))

    def makeDevice(self, name: str = "tt%d") -> IDevice:
        return makeBSDDevice(name, self.mode, self.system)

    def setLink(self, device: IDevice, up: bool) -> None:
        self.system.interfaces[device.name].up = up

    def deliver(self, device: IDevice, data: bytes) -> None:
        self.system.deliver(device.name, data)

    def sent(self, device: IDevice) -> list[bytes]:
        interface = self.system.interfaces[device.name]
        before = interface.offloadLength + 4 * interface.hasFamily
        taken = [packet[before:] for packet in interface.received]
        interface.received.clear()
        return taken

    def deleteInterface(self, device: IDevice) -> None:
        self.system.destroy(device.name)


class UtunTests(UnixContract, SynchronousTestCase):
    System = MacSystem
    mode = TUN
    pattern, first = "utun%d", "utun0"

    def makeDevice(self, name: str = "utun%d") -> IDevice:
        return makeMacDevice(name, self.mode, self.system)

    def nameless(self) -> str:
        return "utun0"


class TuntaposxTests(UnixContract, SynchronousTestCase):
    System = MacSystem
    mode = TAP
    pattern, first = "tap%d", "tap0"

    def makeDevice(self, name: str = "tap%d") -> IDevice:
        assert isinstance(self.system, MacSystem)
        self.system.nodes |= {f"/dev/tap{number}" for number in range(16)}
        # A tap without a name is a pair of feth interfaces.
        return makeMacDevice(name or "tap%d", self.mode, self.system)


class TuntaposxTUNTests(TuntaposxTests):
    mode = TUN
    pattern, first = "tun0", "tun0"

    def makeDevice(self, name: str = "tun0") -> IDevice:
        assert isinstance(self.system, MacSystem)
        self.system.nodes.add("/dev/tun0")
        return makeMacDevice(name, self.mode, self.system)

    def nameless(self) -> str:
        return "utun0"


class FreeBSDTUNTests(UnixContract, SynchronousTestCase):
    System = FreeBSDSystem
    mode = TUN
    pattern, first = "tun%d", "tun0"
    raisesWhileDown = True


class FreeBSDTAPTests(FreeBSDTUNTests):
    mode = TAP
    pattern, first = "tap%d", "tap0"


class OpenBSDTUNTests(UnixContract, SynchronousTestCase):
    System = OpenBSDSystem
    mode = TUN
    pattern, first = "tun%d", "tun0"
    mtu = 3000
    longest = 16384


class OpenBSDTAPTests(OpenBSDTUNTests):
    mode = TAP
    pattern, first = "tap%d", "tap0"
    mtu = 1500


class NetBSDTUNTests(UnixContract, SynchronousTestCase):
    System = NetBSDSystem
    mode = TUN
    pattern, first = "tun%d", "tun0"


class NetBSDTAPTests(NetBSDTUNTests):
    mode = TAP
    pattern, first = "tap%d", "tap0"
