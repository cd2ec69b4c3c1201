"""
Test cases that run over each fake of C{iphlpapi.dll}: the one in Python everywhere, and the DLL on Windows.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.device.windows.iphlpapifake import FakeIphlpapi
from txtuntap.device.windows import network

#: The reason why tests over the fake DLL are skipped.
SKIPPED = "the DLL runs on Windows only: use 'make test-windows'"


class OverFakeWindows(SynchronousTestCase):
    """
    A test case in which this process appears to run on Windows.

    @ivar isDLL: whether the fake is the DLL.
    @ivar fake: the fake.
    """

    isDLL = False

    def setUp(self) -> None:
        if self.isDLL:
            from tests.device.windows.iphlpapidll import FakeDLL

            self.fake: Any = FakeDLL()
        else:
            self.fake = FakeIphlpapi()
        self.fake.add("Loopback Pseudo-Interface 1", "loopback", mtu=2**32 - 1)
        self.patch(sys, "platform", "win32")
        self.patch(network, "load", lambda: self.fake)

    def tearDown(self) -> None:
        self.assertEqual((0, 0), (self.fake.tables(), self.fake.registered()), "a table or a registration was left")


def overEachFake(names: dict[str, Any]) -> Callable[[type[OverFakeWindows]], None]:
    """
    Return a class decorator that makes a subclass for each fake, and no test case of the class itself.

    @param names: the global names of the module.
    """

    def decorate(case: type[OverFakeWindows]) -> None:
        for isDLL, kind in (False, "Python"), (True, "DLL"):
            members = {"isDLL": isDLL, "__doc__": case.__doc__, "__module__": case.__module__}
            if isDLL and sys.platform != "win32":
                members["skip"] = SKIPPED
            name = f"{kind}{case.__name__}"
            names[name] = type(name, (case,), members)

    return decorate
