"""
Tests for the log line of a service that is ready, over devices in memory.
"""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, eventAsText

from tests.service.sharedhosts import NEAR, Device, EndpointsTestCase, onDevice
from txtuntap.device.settings import InterfaceSettings
from txtuntap.network.clock import SimulationClock
from txtuntap.service import HostService, InterfaceServiceSettings, SwitchService, TunnelService, interface, switch
from txtuntap.service.options.host import HostOptions, HostServiceSettings
from txtuntap.service.options.switch import SwitchServiceSettings, SwitchTap, SwitchTunnel
from txtuntap.service.options.tunnel import TunnelOptions, TunnelServiceSettings
from txtuntap.testing import TAP, TUN


def hostSettings(*arguments: str) -> HostServiceSettings:
    options = HostOptions()
    options.parseOptions(arguments)
    assert isinstance(options.settings, HostServiceSettings)
    return options.settings


class ReadyTests(EndpointsTestCase):
    def setUp(self) -> None:
        super().setUp()
        for module in interface, switch:
            self.patch(module, "handleSignals", lambda reactor, dump: None)

    def readyLine(self, service: Any) -> str:
        """
        Start and stop a service.

        @return: the only line in which it says that it is ready.
        """
        with capturedLogs() as events:
            service.privilegedStartService()
            early = [text for text in map(eventAsText, events) if " is ready: " in text]
            service.startService()
        (line,) = [text for text in map(eventAsText, events) if " is ready: " in text]
        # The process has not dropped its privileges before.
        self.assertEqual(early, [])
        service.stopService()
        return line.partition("] ")[2]

    def test_aHostSaysItsAddressesAndTheKernels(self) -> None:
        words = ["--tun", "tt0", "--address", "10.9.0.2/24", "--any-address", "fd09::/64"]
        kernelEnd = InterfaceSettings(addresses=["10.9.0.1/24", "fd09::1/64"])
        settings = onDevice(hostSettings(*words), Device(TUN, "tt0"))
        interfaceSettings = InterfaceServiceSettings(device=Device(TUN, "tt0"), kernelEnd=kernelEnd, control=False)
        settings = HostServiceSettings(
            interface=interfaceSettings, addresses=settings.addresses, anyAddresses=settings.anyAddresses
        )
        self.assertEqual(
            self.readyLine(HostService(settings, Clock())),
            "A host on tt0 is ready: addresses 10.9.0.2/24 and any of fd09::/64,"
            " peer 10.9.0.1/24 and fd09::1/64, MTU 1500, offload off",
        )

    def test_aTunnelSaysItsPeer(self) -> None:
        options: Any = TunnelOptions()
        options.parseOptions(["--tun", "tt0", "--connect", "unix:/nowhere", "--insecure"])
        interfaceSettings = InterfaceServiceSettings(device=Device(TUN, "tt0"), control=False)
        settings = TunnelServiceSettings(interface=interfaceSettings, peer=options.settings.peer)
        self.assertEqual(
            self.readyLine(TunnelService(settings, SimulationClock())),
            "A tunnel on tt0 is ready: addresses none, peer at unix:/nowhere, MTU 1500, offload off",
        )

    def test_aSwitchSaysItsPortsInOneLine(self) -> None:
        self.patch(switch, "makeDevice", lambda name, mode, namespace: Device(mode, name))
        settings = SwitchServiceSettings(
            taps=[SwitchTap.of("tt0"), SwitchTap.of("tt1,vlan=10")],
            tunnels=[SwitchTunnel.of("connect=unix:/nowhere,mtu=1400")],
            control=False,
        )
        self.assertEqual(
            self.readyLine(SwitchService(settings, SimulationClock())),
            "A switch is ready: ports tt0 (addresses none, MTU 1500, offload off);"
            " tt1 (addresses none, MTU 1500, offload off);"
            " unix:/nowhere (peer at unix:/nowhere, MTU 1400, offload on)",
        )

    @pytest.mark.unix("names with control characters")
    def test_theNameIsPrintable(self) -> None:
        device = Device(TAP, "tt\x1b0")
        settings = HostServiceSettings(
            interface=InterfaceServiceSettings(device=device, control=False), addresses=["10.9.0.2/24"]
        )
        self.assertIn(r"A host on tt\x1b0 is ready", self.readyLine(HostService(settings, Clock())))

    def test_anEndpointSaysNothing(self) -> None:
        # The program that opens endpoints decides by itself when it is ready.
        with capturedLogs() as events:
            self.listen(f"{NEAR}:port=80")
        self.assertNotIn(" is ready", " ".join(map(eventAsText, events)))
