"""
Tests for L{txtuntap.device.choice}, and for what other modules do on a platform that lacks a thing of Linux.
"""

from __future__ import annotations

import errno
import io
import sys
from contextlib import redirect_stderr
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from twisted.internet.task import Clock
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from txtuntap import IPProtocol, TuntapPort
from txtuntap.command import main
from txtuntap.device import TAP, TUN
from txtuntap.device.choice import makeDevice
from txtuntap.device.clockstep import followClock
from txtuntap.device.controlname import namespaceNumber
from txtuntap.device.memory import MemoryDevice
from txtuntap.device.platform import platformName, runDirectory
from txtuntap.service.options.host import HostOptions

#: The values of C{sys.platform} on macOS, the BSDs and Windows, and the folder of each.
FOLDERS = {"darwin": "darwin", "freebsd14": "bsd", "openbsd7": "bsd", "netbsd10": "bsd", "win32": "windows"}


class ChoiceTests(SynchronousTestCase):
    """
    Tests for the choice of a device by the platform.
    """

    def on(self, platform: str) -> list[tuple[Any, ...]]:
        """
        Pretend to be on another platform, whose devices are in memory.

        @return: the arguments of each device that is made.
        """
        made = []

        def makeDevice(name: str, mode: int, system: Any = None, descriptor: int | None = None) -> MemoryDevice:
            made.append((name, mode, system, descriptor))
            return MemoryDevice(mode)

        self.patch(sys, "platform", platform)
        fake = patch.dict(
            sys.modules, {f"txtuntap.device.{FOLDERS[platform]}.choice": SimpleNamespace(makeDevice=makeDevice)}
        )
        fake.start()
        self.addCleanup(fake.stop)
        return made

    @pytest.mark.linux
    def test_aLinuxDeviceIsMadeOnLinux(self) -> None:
        from txtuntap.device.linux.device import LinuxDevice

        device = makeDevice("tun7", TUN, namespace="lab")
        self.assertIsInstance(device, LinuxDevice)
        self.assertEqual((device.name, getattr(device, "namespace", None)), ("tun7", "lab"))

    def test_eachPlatformMakesItsOwnDevice(self) -> None:
        system = object()
        for platform in FOLDERS:
            made = self.on(platform)
            TuntapPort("tun7", IPProtocol(["10.0.0.2/24"]), reactor=Clock(), system=system)
            makeDevice("tap%d", TAP, descriptor=5)
            self.assertEqual(made, [(b"tun7", TUN, system, None), ("tap%d", TAP, None, 5)], platform)

    def test_theArgumentsOfALinuxDeviceAreRefusedElsewhere(self) -> None:
        self.on("freebsd14")
        for option in "protocolInformation", "multiQueue", "exclusive", "node", "namespace":
            error = self.assertRaises(OSError, makeDevice, "tun7", TUN, **{option: "yes"})
            self.assertEqual(error.errno, errno.ENOTSUP)
            self.assertRegex(error.strerror, f"^{option}: only Linux has that, and this is freebsd: leave it out, ")
        makeDevice("tun7", TUN, protocolInformation=False, namespace=None, library=None)

    def test_theLibraryOfWintunIsRefusedElsewhere(self) -> None:
        self.on("freebsd14")
        error = self.assertRaises(OSError, makeDevice, "tun7", TUN, library="wintun.dll")
        self.assertEqual(error.errno, errno.ENOTSUP)
        self.assertRegex(error.strerror, "^library: only Windows has that, and this is .*: leave it out, ")

    def test_aPlatformWithoutDevicesIsNamed(self) -> None:
        self.patch(sys, "platform", "plan9")
        error = self.assertRaises(OSError, TuntapPort, "tun7", IPProtocol(), reactor=Clock())
        self.assertEqual(error.errno, errno.ENOTSUP)
        self.assertRegex(error.strerror, "cannot be opened by name on plan9, only on linux, .*: give a device")

    def test_aDeviceOfTheApplicationsOwnWorksEverywhere(self) -> None:
        self.patch(sys, "platform", "plan9")
        port = TuntapPort("", IPProtocol(["10.0.0.2/24"]), reactor=Clock(), device=MemoryDevice(TUN))
        port.startListening()
        self.assertTrue(port.connected)


class ElsewhereTests(SynchronousTestCase):
    """
    Tests for things of Linux on another platform.
    """

    def setUp(self) -> None:
        self.patch(sys, "platform", "darwin")

    def test_aPlatformHasItsNameWithoutItsVersion(self) -> None:
        for platform in FOLDERS:
            self.patch(sys, "platform", platform)
            self.assertEqual(platformName(), platform if platform == "win32" else platform.rstrip("0123456789"))
        self.patch(sys, "platform", "plan9")
        self.assertEqual(platformName(), "plan9")

    def test_noClockIsFollowed(self) -> None:
        self.assertIsNone(followClock(object()))

    def test_socketsOfServicesAreInTheDirectoryOfThePlatform(self) -> None:
        self.assertEqual(runDirectory(), "/var/run")
        self.patch(sys, "platform", "linux")
        self.assertEqual(runDirectory(), "/run")

    def test_thereIsOneNetworkNamespace(self) -> None:
        self.assertEqual(namespaceNumber(), 0)
        error = self.assertRaises(OSError, namespaceNumber, "lab")
        self.assertEqual(error.strerror, "a network namespace: only Linux has that, and this is darwin: leave it out")

    def test_subcommandsNameThePlatformAndAnAlternative(self) -> None:
        for arguments, words in (
            (["add", "tun7", "--mode", "tun"], "this is darwin: start the program"),
            (["delete", "tun7"], "this is darwin: end the program"),
            (["set", "tun7", "--mtu", "1400", "--netns", "lab"], "this is darwin: leave out --netns"),
            (["--netns", "lab", "connections", "tun7"], "this is darwin: leave it out"),
        ):
            said = io.StringIO()
            with redirect_stderr(said):
                self.assertEqual(main(arguments, io.StringIO()), 1)
            self.assertIn(words, said.getvalue())

    def test_optionsNameThePlatformAndAnAlternative(self) -> None:
        address = ["--address", "10.0.0.2/24"]
        for options, words in (
            (["--tun", "utun7", *address, "--queues", "2"], "--queues: only Linux has that, and this is darwin"),
            (["--tun", "utun7", *address, "--netns", "lab"], "namespace: only Linux has that, and this is darwin"),
            (["--tun", "utun7", *address, "--multi-queue"], "multiQueue: only Linux has that, and this is darwin"),
            (["--tun", "utun7", *address, "--wintun", "a.dll"], "library: only Windows has that, and this is darwin"),
        ):
            error = self.assertRaises(UsageError, HostOptions().parseOptions, options)
            self.assertIn(words, str(error))
