"""
Tests for the services of a host on UDP and TCP ports: C{--udp} and C{--tcp}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, eventAsText
from twisted.protocols.wire import Chargen
from twisted.trial.unittest import SynchronousTestCase

from tests.service.sharedhosts import Device, NoMonitor, onDevice
from tests.tcp.hosts import Client, Server
from txtuntap import Host, TuntapPort
from txtuntap.device import monitor
from txtuntap.service import HostService, HostServiceSettings, interface
from txtuntap.service.options.host import HostOptions
from txtuntap.tcp.echo import Discard, Echo
from txtuntap.testing import TUN, join

HOST = ["--tun", "tun0", "--address", "10.9.0.2/24"]

#: A factory that a dotted name can lead to.
factory = Server()


def makeFactory() -> Factory:
    """
    Make a factory, when a dotted name leads here.
    """
    return Factory.forProtocol(Echo)


def settingsOf(*arguments: str) -> HostServiceSettings:
    """
    Return the settings that options describe.
    """
    options = HostOptions()
    options.parseOptions([*HOST, *arguments])
    assert isinstance(options.settings, HostServiceSettings)
    return options.settings


class FactoryTests(SynchronousTestCase):
    """
    Tests for the factories that C{--tcp} makes.
    """

    def factories(self, *names: str) -> list[Any]:
        arguments = [word for port, name in enumerate(names, 7) for word in ("--tcp", f"{port}={name}")]
        settings = settingsOf(*arguments)
        self.assertEqual([port for port, _ in settings.factories], list(range(7, 7 + len(names))))
        return [made for _, made in settings.factories]

    def test_aProtocolClassIsServed(self) -> None:
        made = self.factories("echo", "discard", "twisted.protocols.wire.Chargen")
        self.assertEqual([type(each.buildProtocol(None)) for each in made], [Echo, Discard, Chargen])

    def test_aFactoryIsServed(self) -> None:
        self.assertIs(self.factories(f"{__name__}.factory")[0], factory)

    def test_aFunctionThatMakesAFactoryIsCalled(self) -> None:
        made = self.factories("tests.tcp.hosts.Server", f"{__name__}.makeFactory")
        self.assertEqual([type(each) for each in made], [Server, Factory])

    def test_thereAreNoFactoriesWithoutOptions(self) -> None:
        self.assertEqual(settingsOf().factories, [])

    def test_udpAndTCPMayShareAPortNumber(self) -> None:
        settings = settingsOf("--udp", "7=echo", "--tcp", "7=echo")
        self.assertEqual([port for port, _ in (*settings.protocols, *settings.factories)], [7, 7])


class ServiceTests(SynchronousTestCase):
    """
    Tests for a service whose device is in memory.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.patch(monitor, "SharedMonitor", NoMonitor)
        device, other = Device(TUN, "tun0"), Device(TUN, "tun1")
        join(self.clock, device, other)
        self.served = Server()
        settings = settingsOf("--tcp", "7=echo")
        factories = [*settings.factories, (80, self.served)]
        self.service = HostService(onDevice(settings, device, factories=factories), self.clock)
        self.host = Host(["10.9.0.1/24"], self.clock)
        TuntapPort("", self.host.ip, reactor=self.clock, device=other).startListening()

    def turn(self) -> None:
        for _ in range(20):
            self.clock.advance(0.01)

    def test_factoriesListenOnlyWhileTheServiceRuns(self) -> None:
        # A factory may open a log file when it starts, which must not happen before the process forks.
        self.assertEqual(self.served.numPorts, 0)
        for _ in range(2):
            self.service.privilegedStartService()
            self.assertEqual(self.served.numPorts, 1)
            client = Client()
            self.host.connectTCP("10.9.0.2", 7, client)
            self.turn()
            client.made[0].transport.write(b"hello")
            self.turn()
            self.assertEqual(client.made[0].data, b"hello")
            stopped = self.service.stopService()
            self.turn()
            self.assertIsNone(self.successResultOf(stopped))
            self.assertEqual(self.served.numPorts, 0)

    def test_aStuckInterfaceIsOpenedAgain(self) -> None:
        self.patch(interface, "handleSignals", lambda reactor, dump: None)
        stopped: list[Any] = []
        self.patch(interface, "stop", stopped.append)
        self.service.startService()
        device: Any = self.service.port.device
        device.isStuck = True
        with capturedLogs() as events:
            device.delete()
            self.turn()
        self.assertTrue(self.service.port.connected)
        self.assertIn("tun0 takes no more packets", " ".join(map(eventAsText, events)))
        self.assertEqual(self.served.numPorts, 1)
        # An interface that was deleted is not opened again.
        device.isStuck = False
        device.delete()
        self.turn()
        self.assertFalse(self.service.port.connected)
        self.assertEqual(len(stopped), 1)
