"""
The base of the tests of both devices of Windows, over a fake of Wintun's library or of the driver of a tap.
"""

from __future__ import annotations

import errno
import sys
import threading
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.device.contract import DeviceContract
from txtuntap.interfaces import IDevice

#: The most seconds to wait for a thread. No test passes because this time is over.
PATIENCE = 20


def refuse(*arguments: object) -> Any:
    """
    Refuse a call of the system.
    """
    raise OSError(errno.ENOTSUP, "the call is refused")


class WindowsCase(SynchronousTestCase):
    """
    A test case with a fake of Windows.

    @ivar network: the fake of a library or of a driver, or an object with its methods of the network's side:
        L{FakeWintun<tests.device.windows.fakes.FakeWintun>}, L{FakeDriver<tests.device.windows.fakes.FakeDriver>}.
    @ivar system: the calls of Windows, which have the fake.
    """

    network: Any
    system: Any

    def setUp(self) -> None:
        self.patch(sys, "platform", "win32")
        self.threads = threading.active_count()
        self.makeFake()
        self.addCleanup(self.assertNothingIsLeft)

    def makeFake(self) -> None:
        """
        Make the fake, and set both attributes.
        """
        raise NotImplementedError

    def assertNothingIsLeft(self) -> None:
        """
        Assert that every adapter, session, event and thread has ended, and that none was used afterwards.
        """
        self.assertEqual((0, self.threads), (self.network.opened(), threading.active_count()))
        self.assertEqual([], self.system.kernel.mistakes)
        self.assertEqual(0, self.system.kernel.events())

    def made(self, device: Any) -> Any:
        """
        Close a device at the end of the test.

        @return: the device.
        """
        self.addCleanup(device.close)
        return device

    def refused(self, call: Callable[[], object]) -> OSError:
        """
        Return the error that a call raises.
        """
        error: OSError = self.assertRaises(OSError, call)
        return error


class WindowsContract(DeviceContract):
    """
    The tests of the L{IDevice} contract on a device of a L{WindowsCase}.
    """

    # The driver drops packets without an error.
    raisesWhileDown = False

    device: Callable[..., IDevice]
    network: Any

    def makeDevice(self, name: str = "tt%d") -> IDevice:
        return self.device(name)

    def setLink(self, device: IDevice, up: bool) -> None:
        self.network.setLink(device.name, up)

    def deliver(self, device: IDevice, data: bytes) -> None:
        self.network.deliver(device.name, data)

    def sent(self, device: IDevice) -> list[bytes]:
        taken: list[bytes] = self.network.taken(device.name)
        return taken

    def deleteInterface(self, device: IDevice) -> None:
        self.network.remove(device.name)
