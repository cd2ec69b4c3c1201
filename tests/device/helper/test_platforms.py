"""
Tests for the helper and its client on macOS and the BSDs, with devices in memory.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import tempfile
import threading
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.device.unix.kernels import FreeBSDSystem
from txtuntap.device import TAP, TUN
from txtuntap.device.bsd.choice import makeDevice as makeBSDDevice
from txtuntap.device.configure import Configured
from txtuntap.device.helper import device as client
from txtuntap.device.helper import leases
from txtuntap.device.helper.device import HelpedDevice
from txtuntap.device.helper.limits import LogLimit
from txtuntap.device.helper.permission import DeviceRequest, Peer
from txtuntap.device.memory import MemoryDevice
from txtuntap.device.settings import InterfaceSettings, InterfaceState
from txtuntap.device.unix import leasing
from txtuntap.interfaces import IDevice

PEER = Peer(7, 501, frozenset([20]))


class FakeDevice(MemoryDevice):
    """
    A device of another platform in memory. It owns a descriptor that was opened elsewhere.
    """

    def __init__(self, name: Any, mode: int, system: Any = None, descriptor: int | None = None) -> None:
        super().__init__(mode, os.fsdecode(name))
        self.descriptor = descriptor
        self.isClosed = False

    def close(self) -> None:
        super().close()
        self.isClosed = True
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


class PlatformTests(SynchronousTestCase):
    """
    Tests with C{sys.platform} of macOS.
    """

    def setUp(self) -> None:
        self.patch(sys, "platform", "darwin")
        self.made: list[FakeDevice] = []

        def makeDevice(*arguments: Any, **keywords: Any) -> FakeDevice:
            self.made.append(FakeDevice(*arguments, **keywords))
            return self.made[-1]

        def ask(reactor: Any, conversation: Any, namespace: Any) -> Deferred[None]:
            self.assertEqual(list(conversation), [])
            return succeed(None)

        modules = {
            "txtuntap.device.darwin.choice": SimpleNamespace(makeDevice=makeDevice),
            "txtuntap.device.darwin.configure": SimpleNamespace(ask=ask),
            "txtuntap.device.darwin.leasing": leasing,
        }
        fake = patch.dict(sys.modules, modules)
        fake.start()
        self.addCleanup(fake.stop)


class LeaseTests(PlatformTests):
    """
    Tests for the devices that the helper gives to programs.
    """

    def setUp(self) -> None:
        super().setUp()
        self.existing: dict[str, int] = {}
        self.patch(socket, "if_nametoindex", self._index)
        self.wanted: list[InterfaceSettings] = []
        self.patch(leases, "configure", self._configure)
        self.leases = leases.Leases(Clock(), None, None, LogLimit(Clock()))

    def _index(self, name: str) -> int:
        if name not in self.existing:
            raise OSError(errno.ENXIO, "no such interface")
        return self.existing[name]

    def _configure(self, name: str, wanted: InterfaceSettings, *ignored: Any) -> Deferred[Configured]:
        self.wanted.append(wanted)
        return succeed(Configured(name, 9, None, ()))

    def grant(self, name: str, settings: InterfaceSettings | None) -> tuple[Any, leases.Lease]:
        request = DeviceRequest(name, TUN, settings)
        device, before = self.successResultOf(Deferred.fromCoroutine(self.leases.attach(PEER, request)))
        granting = self.leases.grant(PEER, device, before, settings)
        return device, self.successResultOf(Deferred.fromCoroutine(granting))

    def test_theHelperHasADeviceOpenUntilTheProgramEnds(self) -> None:
        device, lease = self.grant("utun%d", InterfaceSettings(addresses=["10.9.0.1/24"]))
        self.assertEqual((device.name, lease.made, lease.kept), ("utun0", True, device))
        self.assertFalse(device.isClosed)
        self.successResultOf(Deferred.fromCoroutine(self.leases.takeBack(lease)))
        self.assertTrue(device.isClosed)

    def test_anInterfaceIsNotHardenedWhereThatIsNotPossible(self) -> None:
        settings = InterfaceSettings(addresses=["10.9.0.1/24"])
        self.grant("utun%d", settings)
        self.assertEqual(self.wanted, [settings])

    def test_anInterfaceThatExistsIsOpenedAndStays(self) -> None:
        self.existing["utun3"] = 9
        state = InterfaceState(
            name="utun3",
            index=9,
            kind="tun",
            flags=0,
            up=True,
            carrier=True,
            mtu=1500,
            linkAddress=None,
            txqueuelen=0,
        )
        self.patch(leases, "read", lambda *ignored: succeed(state))
        _, lease = self.grant("utun3", None)
        self.assertFalse(lease.made)

    def test_theNodeAndTheNamespaceOfLinuxAreRefused(self) -> None:
        for keywords in {"node": "/dev/net/tun", "namespace": None}, {"node": None, "namespace": "lab"}:
            error = self.assertRaises(OSError, leasing.makeLeased, "utun4", TUN, False, **keywords)
            self.assertEqual(error.errno, errno.ENOTSUP)

    def test_aFreeNumberIsThatOfNoInterface(self) -> None:
        # The kernels of the BSDs would open an interface that exists and is closed, which may be an administrator's.
        self.patch(sys, "platform", "netbsd10")
        self.existing = {"tun0": 1, "tun1": 2}
        for name in "tun%d", "":
            self.assertEqual(leasing.makeLeased(name, TUN, True, None, None).name, "tun2")
        self.assertRaises(OSError, leasing.makeLeased, "tun1", TUN, True, None, None)
        self.assertEqual(leasing.makeLeased("tun1", TUN, False, None, None).name, "tun1")

    def test_aDeviceWhoseEndAProgramCouldDelayIsNotGranted(self) -> None:
        self.patch(sys, "platform", "freebsd14")
        kernel = FreeBSDSystem()
        for calls, isRefused in ({}, False), ({"TUNSTRANSIENT": errno.ENOTTY}, True):
            kernel.failing = calls
            device = makeBSDDevice("tun4", TUN, kernel)
            device.open()
            self.addCleanup(device.close)
            if isRefused:
                self.assertIn("TUNSTRANSIENT", str(self.assertRaises(OSError, leasing.checkLeased, device)))
            else:
                leasing.checkLeased(device)
            device.close()

    def test_aPairOfInterfacesIsNotPassedOn(self) -> None:
        self.patch(sys, "platform", "darwin")
        for name in "feth3", "feth%d":
            error = self.assertRaises(OSError, leasing.makeLeased, name, TAP, False, None, None)
            self.assertEqual(error.errno, errno.ENOTSUP)
            self.assertIn("ask for a utun", str(error))


class ClientTests(PlatformTests):
    """
    Tests for the device of a program that the helper opens.
    """

    def serve(self, answer: dict[str, Any], descriptor: int) -> str:
        """
        Answer the first request with a descriptor, in a thread.

        @return: the path of the socket.
        """
        path = os.path.join(tempfile.mkdtemp(), "helper.sock")
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(path)
        listening.listen(1)
        self.addCleanup(listening.close)

        def answerOne() -> None:
            connection, _ = listening.accept()
            self.addCleanup(connection.close)
            self.request = json.loads(connection.makefile("rb").readline())
            socket.send_fds(connection, [json.dumps(answer).encode() + b"\n"], [descriptor])

        thread = threading.Thread(target=answerOne)
        thread.start()
        self.addCleanup(thread.join)
        return path

    def test_theDeviceIsOneOfThePlatformOnTheDescriptor(self) -> None:
        reading, writing = os.pipe()
        self.addCleanup(os.close, writing)
        self.addCleanup(os.close, reading)
        path = self.serve({"name": "utun4", "mtu": 1400, "linkAddress": None}, writing)
        device = HelpedDevice("utun%d", TUN, InterfaceSettings(addresses=["10.9.0.1/24"]), path)
        verifyObject(IDevice, device)
        device.open()
        self.assertEqual((self.request["name"], device.name, device.mtu), ("utun%d", "utun4", 1400))
        received = self.made[-1].descriptor
        assert received is not None
        self.assertEqual(os.fstat(received).st_ino, os.fstat(writing).st_ino)
        self.assertFalse(os.get_inheritable(received))
        device.mtu = 1300
        self.assertEqual(self.made[-1].mtu, 1300)
        device.close()
        self.assertRaises(OSError, os.fstat, received)

    def test_aDescriptorThatCannotBeUsedIsClosed(self) -> None:
        for answer, isMade in (
            ({"mtu": 1400}, True),
            ({"error": "no"}, True),
            ({"name": "utun4", "mtu": 1400, "linkAddress": None}, False),
        ):
            reading, writing = os.pipe()
            self.addCleanup(os.close, reading)
            device = HelpedDevice("utun%d", TUN, path=self.serve(answer, writing))
            if not isMade:
                self.patch(client, "makeDevice", self.refuse)
            self.assertRaises((OSError, KeyError), device.open)
            os.close(writing)
            os.set_blocking(reading, False)
            # The end of the file shows that no copy of the other end is open.
            self.assertEqual(os.read(reading, 1), b"")

    def refuse(self, *arguments: object, **keywords: object) -> None:
        raise OSError(errno.ENOTSUP, "no such device")
