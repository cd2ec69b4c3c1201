"""
Tests for the calls of Wintun's library. Under Wine, the tests of L{tests.device.windows.test_wintun} run over a fake
library in C, too. The genuine library makes no adapter there, but it is loaded.
"""

from __future__ import annotations

import ctypes
import errno
import faulthandler
import gc
import os
import sys
import tempfile
import threading
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.device.contract import sample
from tests.device.windows import test_wintun
from tests.windows.environment import folder
from txtuntap.device import EBADFD, TUN
from txtuntap.device.windows import wintunlibrary
from txtuntap.device.windows.library import systemDirectory
from txtuntap.device.windows.system import WindowsSystem
from txtuntap.device.windows.wintun import WintunDevice
from txtuntap.device.windows.wintunlibrary import WintunLibrary, findLibrary

onWindows = pytest.mark.skipif(sys.platform != "win32", reason="needs Windows, or Wine (make test-windows)")

FAKE = str(folder() / "fakes" / "wintun.dll")
GENUINE = str(folder() / "wintun" / "wintun.dll")


def temporaryDirectory(case: SynchronousTestCase) -> str:
    """
    Make a directory that is deleted after the test.
    """
    # A library in use cannot be deleted on Windows.
    directory = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    case.addCleanup(directory.cleanup)
    return os.path.realpath(directory.name)


class CFake:
    """
    The network behind the adapters of the fake library in C, with the methods of
    L{FakeWintun<tests.device.windows.fakes.FakeWintun>}.
    """

    def __init__(self, path: str = FAKE) -> None:
        self._library: Any = ctypes.CDLL(path)

    def deliver(self, name: str, data: bytes) -> None:
        self._library.FakeDeliver(name, data, len(data))

    def taken(self, name: str) -> list[bytes]:
        packets = []
        buffer = ctypes.create_string_buffer(65536)
        while (length := self._library.FakeTake(name, buffer, len(buffer))) >= 0:
            packets.append(buffer.raw[:length])
        return packets

    def setLink(self, name: str, isUp: bool) -> None:
        self._library.FakeSetLink(name, isUp)

    def remove(self, name: str) -> None:
        self._library.FakeRemove(name)

    def signal(self, name: str) -> None:
        self._library.FakeSignal(name)

    def fail(self, call: str, code: int) -> None:
        self._library.FakeFail(call.encode(), code)

    def wrongSize(self, size: int) -> None:
        self._library.FakeWrongSize(ctypes.c_uint32(size))

    def wrongAddress(self, address: int) -> None:
        """
        Give the next packet, received or to be sent, another address.
        """
        self._library.FakeWrongAddress(ctypes.c_void_p(address))

    def guid(self, name: str) -> bytes:
        guid = ctypes.create_string_buffer(16)
        self._library.FakeGUID(name, guid)
        return guid.raw

    def opened(self) -> int:
        opened: int = self._library.FakeOpened()
        return opened

    def log(self) -> None:
        """
        Log messages on a thread that is not Python's.
        """
        self._library.FakeLog()


class CFakeCase(test_wintun.WintunCase):
    """
    A test case with the fake library in C.
    """

    def makeFake(self) -> None:
        self.system = WindowsSystem()
        self.network = CFake()
        self.addCleanup(self.endFailures)

    def endFailures(self) -> None:
        """
        Have no call fail any more.
        """
        for call in "CreateAdapter", "StartSession", "GetReadWaitEvent", "ReceivePacket", "AllocateSendPacket":
            self.network.fail(call, 0)

    def assertNothingIsLeft(self) -> None:
        self.assertEqual((0, self.threads), (self.network.opened(), threading.active_count()))

    def device(self, name: str = "tt%d", **options: Any) -> WintunDevice:
        return super().device(name, library=FAKE, **options)


@onWindows
class CFakeContractTests(CFakeCase, test_wintun.WintunContractTests):
    """
    The tests of the L{IDevice} contract over the fake library in C.
    """


@onWindows
class CFakeTests(CFakeCase, test_wintun.WintunTests):
    """
    Tests for L{WintunDevice} over the fake library in C.
    """

    def test_messagesOfAnyThreadAreKept(self) -> None:
        library = findLibrary(FAKE)
        library.messages.clear()
        self.network.log()
        self.assertEqual(["an error of another thread"], list(library.messages))
        for _ in range(100):
            gc.collect()
            self.network.log()
        self.assertEqual(library.messages.maxlen, len(library.messages))

    def test_anAddressWithoutMemoryLosesTheInterface(self) -> None:
        if faulthandler.is_enabled():
            # It would report each error, although Python raises an exception for it.
            faulthandler.disable()
            self.addCleanup(faulthandler.enable, 2)
        for address in 8, 0xFFFF_FFFF_FFFF_0000:
            device = self.openedDevice()
            for call in device.receive, partial(device.send, [sample(TUN)]):
                self.network.wrongAddress(address)
                for _ in range(2):
                    error = self.refused(call)
                    self.assertEqual(EBADFD, error.errno)
                    self.assertIn("its ring is corrupt: a packet without memory", str(error))
                device.close()
                device.open()
            device.close()

    def test_theLibraryIsLoadedOnce(self) -> None:
        self.assertIs(findLibrary(FAKE), findLibrary(FAKE))


@onWindows
class GenuineTests(SynchronousTestCase):
    """
    Tests with the genuine library, from the wheel of another package.
    """

    def test_theGenuineLibraryIsLoaded(self) -> None:
        self.assertIsNone(findLibrary(GENUINE).driverVersion())

    def test_theGenuineLibraryExplainsItsErrors(self) -> None:
        device = WintunDevice("txtuntap", library=GENUINE)
        error = self.assertRaises(OSError, device.open)
        self.assertRegex(
            str(error), r"^\[Errno \d+\] txtuntap: Wintun cannot make an adapter.*; Wintun says: .+ \(error"
        )
        self.assertNotIn("\n", str(error))
        device.close()
        self.assertFalse(any(each.name.startswith("txtuntap") for each in threading.enumerate()))


@onWindows
class LoadingTests(SynchronousTestCase):
    """
    Tests for the search of the library under Windows.
    """

    def test_noLibraryIsFound(self) -> None:
        for path in None, "C:\\nowhere\\wintun.dll":
            error = self.assertRaises(FileNotFoundError, findLibrary, path)
            self.assertIn("www.wintun.net", str(error))

    def test_anotherLibraryIsRefused(self) -> None:
        error = self.assertRaises(OSError, WintunLibrary, os.path.join(systemDirectory(), "kernel32.dll"))
        self.assertEqual(errno.ENOEXEC, error.errno)
        self.assertIn("kernel32.dll has no WintunCreateAdapter", str(error))

    def test_aFileThatIsNoLibraryIsRefused(self) -> None:
        path = os.path.join(temporaryDirectory(self), "wintun.dll")
        with open(path, "wb") as file:
            file.write(b"no library")
        self.assertIn(path, str(self.assertRaises(OSError, findLibrary, path)))


class SearchTests(SynchronousTestCase):
    """
    Tests for the places where the library is looked for.
    """

    def setUp(self) -> None:
        self.loaded: list[str] = []
        self.system = temporaryDirectory(self)
        self.patch(wintunlibrary, "_loaded", self.loaded.append)
        self.patch(wintunlibrary, "systemDirectory", lambda: self.system)
        self.patch(sys, "executable", os.path.join(temporaryDirectory(self), "python.exe"))

    def library(self, directory: str) -> str:
        """
        Make a file with the name of the library.
        """
        path = os.path.join(directory, "wintun.dll")
        open(path, "wb").close()
        return path

    def test_thePathComesFirst(self) -> None:
        self.library(self.system)
        path = os.path.join(temporaryDirectory(self), "other.dll")
        findLibrary(path)
        self.assertEqual([path], self.loaded)

    def test_theLibraryIsBesideTheProgram(self) -> None:
        self.library(self.system)
        script = self.library(temporaryDirectory(self))
        program = SimpleNamespace(__file__=os.path.join(os.path.dirname(script), "program.py"))
        with patch.dict(sys.modules, {"__main__": program}):
            findLibrary()
        beside = self.library(os.path.dirname(sys.executable))
        findLibrary()
        self.assertEqual([script, beside], self.loaded)

    def test_theSystemComesLast(self) -> None:
        path = self.library(self.system)
        findLibrary()
        self.assertEqual([path], self.loaded)

    def test_theCurrentDirectoryIsNotSearched(self) -> None:
        here = temporaryDirectory(self)
        self.library(here)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(here)
        error = self.assertRaises(FileNotFoundError, findLibrary)
        self.assertRegex(str(error), "take wintun.dll .* from www.wintun.net, .* beside the program .* its path")
        self.assertEqual([], self.loaded)
