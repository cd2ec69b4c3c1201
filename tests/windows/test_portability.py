"""
Tests of the package on Windows: a thing that Windows or its Python lacks is refused with an error that says what to do,
and the rest works.
"""

from __future__ import annotations

import errno
import importlib
import os
import pkgutil
import re
import socket
import subprocess
import sys
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

import txtuntap
from tests.paths import CHECKOUT
from tests.recorders import PacketRecorder
from txtuntap.command import main
from txtuntap.command.wireguarddaemon import main as daemon
from txtuntap.device.helper.descriptors import receiveDescriptor, sendDescriptor
from txtuntap.device.helper.device import HelpedDevice
from txtuntap.device.helper.server import main as helper
from txtuntap.device.settings import InterfaceSettings
from txtuntap.layer.timer import steadySeconds
from txtuntap.middleware import Capture, CaptureFile
from txtuntap.network import Replay
from txtuntap.service.observe.control import ControlSocket
from txtuntap.service.ready import tellReady
from txtuntap.service.uapisocket import UAPISocket
from txtuntap.testing import TUN, MemoryDevice
from txtuntap.wire import pcapng
from txtuntap.wire.capturefile import readCapture
from txtuntap.wireguard import WireGuard

pytestmark = pytest.mark.skipif(sys.platform != "win32", reason="needs Windows")


def printed(*arguments: str, program: Any = main) -> str:
    """
    Run a command that fails, and return its error text.
    """
    with redirect_stderr(StringIO()) as errors:
        assert program(arguments) == 1
    return errors.getvalue()


class RefusalTests(SynchronousTestCase):
    """
    Tests for the errors.
    """

    def assertAbsent(self, words: str, call: Any, *arguments: Any) -> None:
        """
        Assert that a call raises C{ENOTSUP}, with a text that names Windows and contains some words.
        """
        error = self.assertRaises(OSError, call, *arguments)
        self.assertEqual(error.errno, errno.ENOTSUP)
        self.assertIn("Windows has no such thing", error.strerror)
        self.assertIn(words, error.strerror)

    def test_aServiceRunsWithoutAControlSocketAndLogsTheReason(self) -> None:
        lines: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            lines.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        control = ControlSocket(Capture(None, PacketRecorder()), Clock())
        control.open(MemoryDevice(TUN, "tun0"))
        self.assertEqual(len(lines), 1)
        self.assertIn("tun0 has no control socket: a control socket: Windows has no such thing: use", lines[0])
        self.successResultOf(control.close())

    def test_commandsThatAskAServiceNameTheAlternative(self) -> None:
        for command in ("connections", "tun0"), ("wireguard", "show"), ("wireguard", "show", "wg0"):
            self.assertIn("Windows has no such thing: use --prometheus", printed(*command))
        self.assertIn("Windows has neither: capture with Wireshark", printed("capture", "tun0"))

    def test_wiresharkIsGivenNoProgram(self) -> None:
        for command in "install", "uninstall":
            self.assertIn("Windows has no such thing: use Wireshark with Npcap", printed("extcap", command))

    def test_theProgramOfWgQuickNamesTheService(self) -> None:
        self.assertIn("use 'twistd tuntap wireguard'", printed("wg0", program=daemon))

    def test_theSocketOfWgIsRefused(self) -> None:
        wireguard = WireGuard(None, reactor=Clock(), outside=Clock())
        self.assertAbsent("--prometheus", UAPISocket("wg0", wireguard, Clock()).open)

    def test_theHelperAndItsDevicesAreRefused(self) -> None:
        self.assertAbsent("as an administrator", HelpedDevice("tun0", TUN).open)
        error = self.assertRaises(SystemExit, helper, ["--allow", "alice:tun0"])
        self.assertIn("the helper: Windows has no such thing", str(error))

    def test_descriptorsCannotBePassed(self) -> None:
        one, other = socket.socketpair()
        self.addCleanup(one.close)
        self.addCleanup(other.close)
        self.assertAbsent("open the device in this program", sendDescriptor, one, 0)
        self.assertAbsent("open the device in this program", receiveDescriptor, other)

    def test_usersAndGroupsHaveNoNumbers(self) -> None:
        for setting in "owner", "group":
            error = self.assertRaises(ValueError, InterfaceSettings, **{setting: "Administrators"})
            self.assertIn("have no numbers on Windows: leave it out", str(error))

    def test_aPipeCannotBeReplayed(self) -> None:
        from twisted.internet import reactor

        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        replay = Replay(reading, PacketRecorder(), reactor)
        self.assertIn("write a file first", str(self.assertRaises(ValueError, replay.start)))

    def test_systemdIsNotTold(self) -> None:
        self.patch(os, "environ", {**os.environ, "NOTIFY_SOCKET": "@here"})
        tellReady()


class CaptureTests(SynchronousTestCase):
    """
    Tests for captures on Windows.
    """

    def test_aCaptureFileKeepsItsOctets(self) -> None:
        """
        The C library does not change the ends of lines.
        """
        with TemporaryDirectory() as directory:
            path = Path(directory) / "trace.pcapng"
            sink = CaptureFile(path)
            sink.begin(pcapng.RAW, "tun0", 0)
            packets = [b"\n" * 100, b"\r\n\x1a" * 33]
            for packet in packets:
                sink.record(packet, 5, pcapng.INBOUND)
            sink.end(9)
            with path.open("rb") as file:
                self.assertEqual([each.data for each in readCapture(file)], packets)
            replayed = PacketRecorder()
            clock = Clock()
            replay = Replay(path, replayed, clock)
            done = replay.start()
            clock.advance(1)
            self.assertEqual(self.successResultOf(done), 2)

    def test_aCaptureGoesToThePipeOfAnotherProgram(self) -> None:
        reading, writing = os.pipe()
        sink = CaptureFile(writing)
        os.close(writing)
        sink.begin(pcapng.RAW, "tun0", 0)
        sink.record(b"\n" * 100, 5, pcapng.INBOUND)
        sink.end(9)
        with open(reading, "rb") as file:
            self.assertEqual([each.data for each in readCapture(file)], [b"\n" * 100])


class ReactorTests(SynchronousTestCase):
    """
    Tests for the reactors of Windows.
    """

    def test_wireGuardSpeaksThroughTheSocketsOfEachReactor(self) -> None:
        for reactor in "selectreactor", "win32eventreactor", "iocpreactor":
            command = [sys.executable, "-m", "tests.windows.wireguardpair", reactor]
            done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=200, check=False)
            self.assertEqual((done.stdout.split(), done.returncode), (["10.9.0.1", "1000"], 0), done.stderr)


class ImportTests(SynchronousTestCase):
    """
    Tests for the imports on Windows.
    """

    def test_onlyTheModulesOfOtherPlatformsCannotBeImported(self) -> None:
        failed: set[str] = set()
        for each in pkgutil.walk_packages(txtuntap.__path__, "txtuntap.", onerror=failed.add):
            try:
                importlib.import_module(each.name)
            except ImportError:
                failed.add(each.name)
        other = re.compile(
            r"txtuntap\.(device\.(linux|unix|bsd|darwin)(\..*)?|service\.(unixport|observe\.socketdirectory)|command\.capture)"
        )
        self.assertEqual([name for name in sorted(failed) if not other.fullmatch(name)], [])


class ClockTests(SynchronousTestCase):
    """
    Tests for the steady clock.
    """

    def test_theSteadyClockTellsTimesBelowAMillisecond(self) -> None:
        """
        Round trip times are measured by it, so the 15.6 ms of the system's tick are too coarse.
        """
        from twisted.internet import reactor

        seconds = steadySeconds(reactor)
        times = {seconds() for _ in range(1000)}
        self.assertGreater(len(times), 100)
