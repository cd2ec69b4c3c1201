"""
Tests for the calls of tap-windows6's driver. Under Wine, the tests of L{tests.device.windows.test_tap} run over a fake
driver in C, which Wine loads.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.device.windows import test_tap
from tests.device.windows.case import PATIENCE
from tests.device.windows.test_tap import ADDRESS, NAMES
from tests.windows.environment import folder
from txtuntap.device import TAP, TUN
from txtuntap.device.windows.kernel import Kernel, Overlapped
from txtuntap.device.windows.library import CallFailed, load
from txtuntap.device.windows.registry import CONNECTIONS, DRIVERS, tapAdapters
from txtuntap.device.windows.system import WindowsSystem
from txtuntap.device.windows.tap import TapDevice

onWindows = pytest.mark.skipif(sys.platform != "win32", reason="needs Windows, or Wine (make test-windows)")

DRIVER = str(folder() / "fakes" / "tap0901.sys")

#: The requests to the fake, and its calls that fail: see C{tests/windows/fakes/tap0901.c}.
RESET, DELIVER, TAKE, SET_LINK, REMOVE, ABORT, FAIL, STATE, SET_SLOW = (0x220000 + 4 * (0x900 + n) for n in range(9))
CALLS = {"CreateFile": 0, "ReadFile": 1, "WriteFile": 2, "DeviceIoControl": 3}

#: The C{NTSTATUS} of errors.
STATUSES = {0: 0, 2: 0xC0000034, 5: 0xC0000022, 31: 0xC0000001, 995: 0xC0000120, 1450: 0xC000009A, 1784: 0xC00000E8}


def guidOf(number: int) -> str:
    """
    Return the identity of an adapter of the fake driver.
    """
    return f"{{12345678-1234-1234-1234-{number:012d}}}"


@contextlib.contextmanager
def handle(manager: Any, value: int) -> Iterator[int]:
    """
    Close a handle of the service manager in the end.
    """
    if not value:
        raise ctypes.WinError(ctypes.get_last_error())  # type: ignore[attr-defined, unused-ignore]
    try:
        yield value
    finally:
        manager.CloseServiceHandle(value)


def startDriver() -> None:
    """
    Have the system load the fake driver, unless it has done so already.
    """
    manager = load("advapi32.dll")
    manager.OpenSCManagerW.restype = manager.CreateServiceW.restype = ctypes.c_void_p
    manager.OpenServiceW.restype = ctypes.c_void_p
    manager.CloseServiceHandle.argtypes = [ctypes.c_void_p]
    manager.StartServiceW.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p]
    manager.OpenServiceW.argtypes = [ctypes.c_void_p, ctypes.c_wchar_p, ctypes.c_uint32]
    manager.CreateServiceW.argtypes = [
        *(ctypes.c_void_p, ctypes.c_wchar_p, ctypes.c_wchar_p),
        *(ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint32),
        *(ctypes.c_wchar_p, ctypes.c_wchar_p, ctypes.c_void_p, ctypes.c_wchar_p, ctypes.c_wchar_p, ctypes.c_wchar_p),
    ]
    everything, kernelDriver, onDemand, ignoreErrors = 0xF01FF, 1, 3, 0
    with handle(manager, manager.OpenSCManagerW(None, None, 0xF003F)) as services:
        path = "\\??\\" + DRIVER
        nothing = None, None, None, None, None
        service = manager.OpenServiceW(services, "faketap0901", everything) or manager.CreateServiceW(
            *(services, "faketap0901", "faketap0901", everything, kernelDriver, onDemand, ignoreErrors, path, *nothing)
        )
        with handle(manager, service) as opened:
            manager.StartServiceW(opened, 0, None)


class CDriver:
    """
    The network behind the adapters of the fake driver in C, with the methods of
    L{FakeDriver<tests.device.windows.fakes.FakeDriver>}.
    """

    def __init__(self) -> None:
        self._kernel = Kernel()
        self._file = self._kernel.openFile("\\\\.\\FakeTapNetwork")

    def reset(self) -> None:
        """
        Set all adapters back to their first state.
        """
        for number in range(len(NAMES)):
            self._ask(RESET, number)

    def close(self) -> None:
        """
        Set all adapters back to their first state, and close the network.
        """
        self.reset()
        self._kernel.close(self._file)

    def _ask(self, request: int, number: int, value: int = 0, data: bytes = b"") -> bytes:
        order = number.to_bytes(4, "little") + value.to_bytes(4, "little") + data
        return self._kernel.control(self._file, request, order, 65600)

    def deliver(self, name: str, data: bytes) -> None:
        self._ask(DELIVER, NAMES.index(name), 0, data)

    def taken(self, name: str) -> list[bytes]:
        packets = []
        while True:
            try:
                packets.append(self._ask(TAKE, NAMES.index(name)))
            except CallFailed:
                return packets

    def setLink(self, name: str, isUp: bool) -> None:
        self._ask(SET_LINK, NAMES.index(name), isUp)

    def remove(self, name: str) -> None:
        removeAdapter(NAMES.index(name))
        self._ask(REMOVE, NAMES.index(name))

    def sleep(self, name: str, code: int = 995) -> None:
        self._ask(ABORT, NAMES.index(name), STATUSES[code])

    def fail(self, call: str, code: int) -> None:
        self._ask(FAIL, CALLS[call], STATUSES[code])

    def setSlow(self, isSlow: bool) -> None:
        for number in range(len(NAMES)):
            self._ask(SET_SLOW, number, isSlow)

    def settings(self, name: str) -> tuple[bool, bytes | None]:
        _, hasMedia, isTun, *tun = self._ask(STATE, NAMES.index(name))
        return bool(hasMedia), bytes(tun) if isTun else None

    def opened(self) -> int:
        return sum(self._ask(STATE, number)[0] for number in range(len(NAMES)))


def addAdapter(number: int) -> None:
    """
    Write the keys of an adapter of the fake driver into the registry.
    """
    import winreg

    keys: Any = winreg
    driver = {"ComponentId": "root\\tap0901", "NetCfgInstanceId": guidOf(number)}
    for path, values in (
        (rf"{DRIVERS}\{8000 + number}", driver),
        (rf"{CONNECTIONS}\{guidOf(number)}\Connection", {"Name": NAMES[number]}),
    ):
        with keys.CreateKey(keys.HKEY_LOCAL_MACHINE, path) as key:
            for name, value in values.items():
                keys.SetValueEx(key, name, 0, keys.REG_SZ, value)


def removeAdapter(number: int) -> None:
    """
    Delete the keys of an adapter of the fake driver, if they are there.
    """
    import winreg

    keys: Any = winreg
    connection = rf"{CONNECTIONS}\{guidOf(number)}"
    for path in rf"{DRIVERS}\{8000 + number}", rf"{connection}\Connection", connection:
        with contextlib.suppress(FileNotFoundError):
            keys.DeleteKey(keys.HKEY_LOCAL_MACHINE, path)


class CDriverCase(test_tap.TapCase):
    """
    A test case with the fake driver in C.
    """

    def makeFake(self) -> None:
        startDriver()
        self.system = WindowsSystem()
        self.network = CDriver()
        self.addCleanup(self.network.close)
        # The driver stays loaded, and another program may have removed its adapters.
        self.network.reset()
        for number in range(len(NAMES)):
            addAdapter(number)
            self.addCleanup(removeAdapter, number)

    def device(self, name: str = "tt%d", mode: int = TAP, address: str | None = None) -> TapDevice:
        device = super().device(name, mode, address)

        def close() -> None:
            before = self.network.opened()
            isAttached = device._file != 0
            TapDevice.close(device)
            if isAttached:
                self.waitForOpened(before - 1)

        self.patch(device, "close", close)
        return device

    def waitForOpened(self, number: int) -> None:
        """
        Wait until no more than a number of adapters are open. Wine notifies the driver after the file was closed.
        """
        end = time.monotonic() + PATIENCE
        while self.network.opened() > number and time.monotonic() < end:
            time.sleep(0.01)

    def assertNothingIsLeft(self) -> None:
        self.waitForOpened(0)
        self.assertEqual((0, self.threads), (self.network.opened(), threading.active_count()))

    def awake(self) -> None:
        pass


@onWindows
class CDriverTAPContractTests(CDriverCase, test_tap.TapContractTests):
    """
    The tests of the L{IDevice} contract on a tap of the fake driver in C.
    """


@onWindows
class CDriverTUNContractTests(CDriverCase, test_tap.TapTUNContractTests):
    """
    The tests of the L{IDevice} contract on a tun of the fake driver in C.
    """


@onWindows
class CDriverTests(CDriverCase, test_tap.TapTests):
    """
    Tests for L{TapDevice<txtuntap.device.windows.tap.TapDevice>} over the fake driver in C.
    """

    def test_aTunIsRefusedByTheDriverIfItsNetworkIsWrong(self) -> None:
        device = self.openedDevice("tt0", TUN, ADDRESS)
        file = device._file
        self.assertEqual(
            87, self.assertRaises(CallFailed, self.system.kernel.control, file, 0x220028, bytes(3), 12).code
        )


@onWindows
class KernelTests(SynchronousTestCase):
    """
    Tests for the calls of the system under Windows.
    """

    def setUp(self) -> None:
        self.kernel = Kernel()

    def test_aWaitEndsWithTheFirstSignalledEvent(self) -> None:
        events = [self.kernel.createEvent(True) for _ in range(3)]
        self.assertEqual(-1, self.kernel.wait(events, 0))
        self.kernel.setEvent(events[1])
        self.kernel.setEvent(events[2])
        self.assertEqual(1, self.kernel.wait(events, None))
        self.kernel.resetEvent(events[1])
        self.assertEqual(2, self.kernel.wait(events, None))
        for event in events:
            self.kernel.close(event)

    def test_invalidHandlesAreAnError(self) -> None:
        self.assertEqual(6, self.assertRaises(CallFailed, self.kernel.wait, [0xFFFFFF0], 0).code)
        self.assertEqual(6, self.assertRaises(CallFailed, self.kernel.setEvent, 0xFFFFFF0).code)
        self.kernel.close(0xFFFFFF0)

    def test_aFileThatDoesNotExistIsAnError(self) -> None:
        self.assertEqual(2, self.assertRaises(CallFailed, self.kernel.openFile, "\\\\.\\Global\\nothing.tap").code)

    def test_theRecordOfATransferHasTheSizeOfTheSystem(self) -> None:
        self.assertEqual(32, ctypes.sizeof(Overlapped))


@onWindows
class RegistryTests(SynchronousTestCase):
    """
    Tests for the adapters in the registry under Windows.
    """

    def test_adaptersAreFound(self) -> None:
        for number in range(len(NAMES)):
            addAdapter(number)
            self.addCleanup(removeAdapter, number)
        found = WindowsSystem().tapAdapters()
        self.assertEqual(NAMES, [each.name for each in found])
        self.assertEqual(["tap0901"] * len(NAMES), [each.component for each in found])
        self.assertEqual(f"\\\\.\\Global\\{guidOf(1)}.tap", found[1].path)


class Key:
    """
    A key of a L{FakeRegistry}.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> Key:
        return self

    def __exit__(self, *ignored: object) -> None:
        pass


class FakeRegistry:
    """
    A fake of the module C{winreg}.

    @ivar values: the values of each key, by its path; L{None}: this user may not open the key.
    """

    HKEY_LOCAL_MACHINE = object()

    def __init__(self, values: dict[str, dict[str, object] | None]) -> None:
        self.values = values

    def OpenKey(self, root: object, path: str) -> Key:
        assert root is self.HKEY_LOCAL_MACHINE
        if path not in self.values and not any(each.startswith(f"{path}\\") for each in self.values):
            raise FileNotFoundError(2, "no such key")
        if self.values.get(path, {}) is None:
            raise PermissionError(13, "access denied")
        return Key(path)

    def EnumKey(self, key: Key, number: int) -> str:
        below = [each[len(key.path) + 1 :] for each in self.values if each.startswith(f"{key.path}\\")]
        if number >= len(below):
            raise OSError(22, "no more keys")
        return below[number]

    def QueryValueEx(self, key: Key, name: str) -> tuple[object, int]:
        values = self.values[key.path] or {}
        if name not in values:
            raise FileNotFoundError(2, "no such value")
        return values[name], 1


class RegistryWalkTests(SynchronousTestCase):
    """
    Tests for the walk through a registry.
    """

    def found(self, *drivers: dict[str, object] | None, name: object = "Ethernet 3") -> list[str]:
        """
        Return the identities of the adapters that are found.
        """
        values: dict[str, dict[str, object] | None] = {
            f"{DRIVERS}\\{number:04d}": driver for number, driver in enumerate(drivers)
        }
        for number in range(10):
            values[f"{CONNECTIONS}\\{guidOf(number)}\\Connection"] = {"Name": name}
        return [each.guid for each in tapAdapters(FakeRegistry(values))]

    def test_eachKindOfDriverIsFound(self) -> None:
        driver: dict[str, object]
        for component in "tap0901", "root\\tap0901", "TAP0901", "tap0801", "root\\tap0801":
            driver = {"ComponentId": component, "NetCfgInstanceId": guidOf(1)}
            self.assertEqual([guidOf(1)], self.found(driver), component)

    def test_otherDriversAreSkipped(self) -> None:
        wanted: dict[str, object] = {"ComponentId": "tap0901", "NetCfgInstanceId": guidOf(5)}
        drivers: list[dict[str, object] | None] = [
            None,
            {},
            {"ComponentId": "pci\\ven_8086", "NetCfgInstanceId": guidOf(1)},
            {"ComponentId": 5, "NetCfgInstanceId": guidOf(1)},
            {"ComponentId": "tap0901"},
            {"ComponentId": "tap0901", "NetCfgInstanceId": b"\0"},
            {"ComponentId": "tap0901", "NetCfgInstanceId": "{..\\..\\other}"},
            {"ComponentId": "tap0901", "NetCfgInstanceId": guidOf(11)},
        ]
        for other in drivers:
            self.assertEqual([guidOf(5)], self.found(other, wanted), other)

    def test_anAdapterWithoutANameIsSkipped(self) -> None:
        for name in "", None, 7:
            self.assertEqual([], self.found({"ComponentId": "tap0901", "NetCfgInstanceId": guidOf(1)}, name=name))

    def test_aRegistryWithoutTheClassHasNoAdapters(self) -> None:
        self.assertEqual([], tapAdapters(FakeRegistry({})))
        self.assertEqual([], tapAdapters(FakeRegistry({DRIVERS: None})))
