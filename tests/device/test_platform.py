"""
Tests for L{txtuntap.device.platform}, and for the contracts of each platform's folder.
"""

from __future__ import annotations

import errno
import sys
from importlib import import_module
from importlib.util import find_spec

import pytest
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyClass, verifyObject

from txtuntap.device import monitor, platform
from txtuntap.device.interfaces import IConfiguration, IMonitor, IReading, IWatch, IWatching


class PlatformTests(SynchronousTestCase):
    """
    Tests for the choice of a platform's modules.
    """

    def test_aPlatformWithoutAFolderIsNamed(self) -> None:
        self.patch(sys, "platform", "plan9")
        platform.importEarly("configure")
        error = self.assertRaises(OSError, platform.platformModule, "configure")
        self.assertEqual(errno.ENOTSUP, error.errno)
        self.assertIn("on plan9 yet, only on linux", str(error))

    def test_monitorsFailOnAPlatformWithoutAFolder(self) -> None:
        self.patch(sys, "platform", "plan9")
        self.assertRaises(OSError, monitor.InterfaceMonitor, Clock())
        self.assertRaises(OSError, monitor.SharedMonitor(Clock()).open)
        self.failureResultOf(monitor.SharedMonitor(Clock()).start(), OSError)


class ContractTests(SynchronousTestCase):
    """
    Tests that each folder has the modules that L{txtuntap.device.interfaces} describes.
    """

    @pytest.mark.linux
    def test_theModulesProvideTheirInterfaces(self) -> None:
        for folder in sorted({each for folders in platform.FOLDERS.values() for each in folders}):
            for name, interface in ("configure", IConfiguration), ("state", IReading), ("monitor", IWatching):
                path = f"txtuntap.device.{folder}.{name}"
                if find_spec(f"txtuntap.device.{folder}") and find_spec(path):
                    verifyObject(interface, import_module(path))
            if folder == "linux":
                verifyClass(IWatch, import_module("txtuntap.device.linux.monitor").InterfaceWatch)

    def test_monitorsProvideIMonitor(self) -> None:
        for made in monitor.InterfaceMonitor(Clock()), monitor.SharedMonitor(Clock()):
            verifyObject(IMonitor, made)
