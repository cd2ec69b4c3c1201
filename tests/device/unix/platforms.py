"""
Test cases that run once for each of macOS, FreeBSD, NetBSD and OpenBSD, over a fake of its kernel.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.device.unix.routefakes import PLATFORMS, FakeKernel
from txtuntap.device.unix import kernel


class OverFakeKernel(SynchronousTestCase):
    """
    A test case in which this process appears to run on a platform.

    @ivar platform: the platform.
    @ivar fake: the fake of its kernel.
    """

    platform = "darwin"

    def setUp(self) -> None:
        self.fake = FakeKernel(self.platform)
        self.patch(sys, "platform", PLATFORMS[self.platform])
        self.patch(kernel, "RealSystem", self.fake)

    def tearDown(self) -> None:
        self.assertEqual(([], {}), (self.fake.routing, self.fake.queries), "a socket was left open")


def onEachPlatform(names: dict[str, Any]) -> Callable[[type[OverFakeKernel]], None]:
    """
    Return a class decorator that makes a subclass for each platform, and no test case of the class itself.

    @param names: the global names of the module.
    """

    def decorate(case: type[OverFakeKernel]) -> None:
        for platform in PLATFORMS:
            name = f"{platform.capitalize()}{case.__name__}"
            members = {"platform": platform, "__doc__": case.__doc__, "__module__": case.__module__}
            names[name] = type(name, (case,), members)

    return decorate
