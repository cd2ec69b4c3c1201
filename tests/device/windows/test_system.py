"""
Tests with Windows' own C{iphlpapi.dll}, which is Wine's where C{make test-windows} runs them. They change nothing.
"""

from __future__ import annotations

import ctypes
import errno
import sys
from ipaddress import ip_address
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.device.windows.constants import NUMBERS
from tests.device.windows.iphlpapifake import Row, addressIn
from tests.device.windows.overfakes import SKIPPED
from txtuntap.device.configure import configureInterface
from txtuntap.device.monitor import InterfaceMonitor
from txtuntap.device.settings import InterfaceAddress
from txtuntap.device.state import readInterface, readInterfaces
from txtuntap.device.windows import notifications
from txtuntap.device.windows.network import Network

_SIZE = 1 << 16


def _library() -> Any:
    if sys.platform != "win32":
        raise OSError(errno.ENOTSUP, SKIPPED)
    return ctypes.WinDLL("iphlpapi.dll")


def _structure(name: str, address: int, size: int) -> Row:
    return Row(name, ctypes.string_at(address, size))


def adapters() -> dict[int, tuple[str, bytes, bool, list[str]]]:
    """
    List the adapters by another function, C{GetAdaptersAddresses}: for each index the name, the link address, whether
    the link has a carrier, and the addresses.
    """
    buffer, size = ctypes.create_string_buffer(_SIZE), ctypes.c_ulong(_SIZE)
    code = _library().GetAdaptersAddresses(0, 0, None, buffer, ctypes.byref(size))
    assert code == 0, code
    found = {}
    at = ctypes.addressof(buffer)
    while at:
        adapter = _structure("IP_ADAPTER_ADDRESSES", at, 448)
        addresses = []
        address = adapter["FirstUnicastAddress"]
        while address:
            row = _structure("IP_ADAPTER_UNICAST_ADDRESS", address, 64)
            ip = addressIn(ctypes.string_at(row["lpSockaddr"], 28))
            addresses.append(f"{ip}/{row['OnLinkPrefixLength']}")
            address = row["Next"]
        link = adapter.octets("PhysicalAddress")[: adapter["PhysicalAddressLength"]]
        name = ctypes.wstring_at(adapter["FriendlyName"])
        found[adapter["IfIndex"]] = name, link, adapter["OperStatus"] == NUMBERS["IfOperStatusUp"], addresses
        at = adapter["Next"]
    return found


class SystemTests(SynchronousTestCase):
    """
    Tests for the reading of this machine's interfaces.
    """

    if sys.platform != "win32":
        skip = SKIPPED

    def test_theInterfacesAreThoseOfAnotherFunction(self) -> None:
        others = adapters()
        states = {each.index: each for each in readInterfaces()}
        self.assertTrue(states)
        self.assertLessEqual(states.keys(), others.keys())
        for index, state in states.items():
            name, link, hasCarrier, addresses = others[index]
            self.assertEqual((name, hasCarrier), (state.name, state.carrier))
            self.assertEqual(sorted(addresses), sorted(str(each) for each in state.addresses))
            if state.linkAddress is not None:
                self.assertEqual(link, state.linkAddress)

    def test_theLoopbackInterfaceIsRead(self) -> None:
        (loopback,) = [each for each in readInterfaces() if each.flags & 0x8]
        self.assertIn(InterfaceAddress("127.0.0.1/8"), loopback.addresses)
        self.assertEqual(loopback.index, readInterface(loopback.name).index)
        self.assertEqual((True, True, None), (loopback.up, loopback.carrier, loopback.linkAddress))

    def test_theRoutesAreRead(self) -> None:
        network = Network()
        for route in network.routes():
            self.assertIn(route.index, network.names())
            self.assertNotEqual(ip_address("0.0.0.0"), route.gateway)
        self.assertEqual(0, network.malformed)

    def test_aMonitorStartsAndStops(self) -> None:
        before = set(notifications._registered)
        monitor = InterfaceMonitor(MemoryReactorClock())
        self.successResultOf(monitor.start())
        self.assertEqual({each.index for each in readInterfaces()}, set(monitor.interfaces))
        monitor.stop()
        self.assertFalse(monitor.isOpen)
        # Wine gives no handles, so that the callbacks stay.
        self.assertTrue(all(not each._handle for each in notifications._registered - before))

    def test_theCallsThatWineLacksAreNamed(self) -> None:
        name = readInterfaces()[0].name
        for settings, call in (
            ({"addresses": ["10.99.0.1/24"]}, "InitializeUnicastIpAddressEntry"),
            ({"routes": ["10.99.0.0/16"]}, "InitializeIpForwardEntry"),
        ):
            if hasattr(_library(), call):
                self.skipTest("this is not Wine 8, and a change of the machine's addresses is no test")
            error = self.assertRaises(OSError, configureInterface, name, **settings)
            self.assertEqual(errno.ENOTSUP, error.errno)
            self.assertIn(f"this iphlpapi.dll has no {call}", str(error))
