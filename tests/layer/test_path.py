"""
Tests for the calls that deliver a packet. Each layer of this package calls the next one directly, without a function
in between.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import capturedLogs

import txtuntap
from tests.ports import DeviceTestCase
from tests.recorders import Oops
from txtuntap import EthernetProtocol, Host, IPProtocol, Packet, RawUDPProtocol
from txtuntap.interfaces import IPacketReceiver
from txtuntap.layer.fastpath import FastPath
from txtuntap.middleware import Capture, Impairment, Meter
from txtuntap.testing import TAP, TUN, MemoryDevice, ethernetFrame, udpPacket

PAYLOAD = b"payload"
PACKET = udpPacket("10.0.0.1", "10.0.0.2", 4000, 7, PAYLOAD)
STATION = "02:00:00:00:00:01"
BROADCAST = b"\xff" * 6


class Callers(DatagramProtocol):
    """
    A protocol that records the functions on the call stack, from the port to itself.
    """

    def __init__(self) -> None:
        self.path: list[str] = []

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.path = []
        frame = sys._getframe(1)
        while frame.f_code.co_name != "doRead":
            self.path.insert(0, f"{type(frame.f_locals['self']).__name__}.{frame.f_code.co_name}")
            assert frame.f_back is not None
            frame = frame.f_back


class PathTests(DeviceTestCase):
    """
    Tests for the functions that deliver a datagram.
    """

    def path(self, mode: int, datagrams: int, around: Callable[[Any], Any] = lambda proto: proto) -> list[str]:
        """
        Find the functions between a port and an application behind a L{Host}.

        @param datagrams: the number of datagrams of one flow. The path is that of the last one.
        @param around: puts middleware around the top protocol.
        """
        callers = Callers()
        host = Host(["10.0.0.2/24"], self.clock)
        host.listenUDP(7, callers)
        self.device = MemoryDevice(mode)
        self.on(around(host.ethernet if mode == TAP else host.ip))
        for _ in range(datagrams):
            self.deliver(PACKET if mode == TUN else ethernetFrame(STATION, BROADCAST, 0x800, PACKET))
        return callers.path

    def test_nothingStandsBetweenOurLayersOnATun(self) -> None:
        self.assertEqual(
            [
                "IPProtocol.packetReceived",
                "IPProtocol.unknownReceived",
                "RawUDPProtocol.packetReceived",
                "UDPTransport.deliver",
            ],
            self.path(TUN, 1),
        )

    def test_nothingStandsBetweenOurLayersOnATap(self) -> None:
        self.assertEqual(
            [
                "HostEthernet.packetReceived",
                "HostEthernet.unknownReceived",
                "IPProtocol.packetReceived",
                "IPProtocol.unknownReceived",
                "RawUDPProtocol.packetReceived",
                "UDPTransport.deliver",
            ],
            self.path(TAP, 1),
        )

    def test_packetsOfAKnownFlowSkipTheLayers(self) -> None:
        self.patch(FastPath, "never", False)
        self.assertEqual(["IPProtocol.packetReceived", "FastPath.receive", "Flow.received"], self.path(TUN, 3))
        self.assertEqual(["HostEthernet.packetReceived", "FastPath.receive", "Flow.received"], self.path(TAP, 3))

    def test_nothingStandsBetweenMiddlewareAndOurLayers(self) -> None:
        path = self.path(TAP, 1, lambda proto: Meter(Capture(None, proto)))
        self.assertNotIn("_Guarded.__call__", path)
        self.assertNotIn("_Finishing.__call__", path)
        self.assertIn("Capture.packetReceived", path)


class MarkTests(DeviceTestCase):
    """
    Tests for C{handlesFailures}, the attribute of classes that let no exception out. It is not inherited.
    """

    mode = TAP

    @pytest.mark.linux
    def test_everyReceiverOfThePackageHandlesFailures(self) -> None:
        found = set()
        for module in pkgutil.walk_packages(txtuntap.__path__, "txtuntap."):
            if module.name.endswith("__main__"):
                continue
            for name, cls in vars(importlib.import_module(module.name)).items():
                if isinstance(cls, type) and cls.__module__ == module.name and hasattr(cls, "packetReceived"):
                    self.assertTrue(vars(cls).get("handlesFailures"), f"{module.name}.{name}")
                    found.add(name)
        self.assertLessEqual({"EthernetProtocol", "IPProtocol", "RawUDPProtocol", "Meter", "Tunnel"}, found)

    def test_theExceptionOfASubclassIsCaughtBelow(self) -> None:
        for base in IPProtocol, RawUDPProtocol, EthernetProtocol, Impairment:

            class Raising(base):  # type: ignore[misc, valid-type]
                def packetReceived(self, packet: Packet) -> None:
                    raise Oops

            self.assertTrue(IPacketReceiver.implementedBy(Raising))
            with self.subTest(base.__name__):
                self.assertOutlives(Raising)

    def assertOutlives(self, kind: Any) -> None:
        ip, ethernet = IPProtocol(), EthernetProtocol("02:00:00:00:00:02")
        top: Any = ethernet
        if issubclass(kind, RawUDPProtocol):
            ethernet.addProto(0x800, ip)
            ip.addAddress("10.0.0.2/24")
            ip.addProto(17, kind())
        elif issubclass(kind, EthernetProtocol):
            top = Meter(kind("02:00:00:00:00:02"))
        elif issubclass(kind, Impairment):
            top = Meter(kind(ethernet))
        else:
            ethernet.addProto(0x800, kind())
        self.device = MemoryDevice(TAP)
        self.on(top)
        with capturedLogs() as events:
            for _ in range(2):
                self.deliver(ethernetFrame(STATION, "02:00:00:00:00:02", 0x800, PACKET))
        self.assertEqual(1, len([event for event in events if "log_failure" in event]))
        self.assertTrue(self.port.connected)
        self.flushLoggedErrors(Oops)

    def test_theExceptionOfAMethodSetOnAnInstanceIsCaughtBelow(self) -> None:
        ip = IPProtocol()
        ethernet = EthernetProtocol("02:00:00:00:00:02")

        def raises(packet: Packet) -> None:
            raise Oops

        ip.packetReceived = raises  # type: ignore[method-assign]
        ethernet.addProto(0x800, ip)
        ethernet.packetReceived(Packet(ethernetFrame(STATION, "02:00:00:00:00:02", 0x800, PACKET)))
        self.assertEqual(1, ethernet.counters["protocolFailures"])
        self.flushLoggedErrors(Oops)
