"""
A base class for tests of C{tuntap:} endpoints. The hosts are on devices in memory, which share one network.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.ports import CountingDevice
from tests.tcp.hosts import Server, Talker
from txtuntap.device import configure, monitor
from txtuntap.service import endpoints
from txtuntap.service.endpoints import EndpointHost, TuntapEndpoints
from txtuntap.service.options.host import HostServiceSettings
from txtuntap.testing import TUN, join

#: The beginnings of two endpoint strings, which describe the hosts of two interfaces.
NEAR = r"tuntap:tun0:mode=tun:address=10.9.0.1/24+fd09\:\:1/64"
FAR = r"tuntap:tun1:mode=tun:address=10.9.0.2/24+fd09\:\:2/64"


class NoMonitor:
    """
    A fake monitor for interfaces in memory, which never change.
    """

    def __init__(self, reactor: Any, namespace: Any) -> None:
        self.interfaces: dict[int, Any] = {}
        self.place = None

    def open(self) -> None:
        """
        Do nothing, because there is no socket.
        """

    def start(self) -> Deferred[None]:
        """
        Return a Deferred that never fires.
        """
        return Deferred()

    def stop(self) -> None:
        """
        Do nothing, because there is no socket.
        """

    def follow(self, follower: Any) -> Any:
        """
        Accept a follower but never call it.
        """
        return lambda: None


class Device(CountingDevice):
    """
    A device in memory that cannot be opened while C{refusal} is set.
    """

    namespace = None
    refusal: OSError | None = None

    def open(self, offload: bool | None = False) -> None:
        if self.refusal is not None:
            raise self.refusal
        super().open(offload)


def onDevice(settings: HostServiceSettings, device: Any, **others: Any) -> HostServiceSettings:
    """
    Change settings so that the host is on a device in memory.

    @param others: further settings of the host to change.
    """
    interface = attrs.evolve(settings.interface, device=device, control=False)
    return attrs.evolve(settings, interface=interface, **others)


class EndpointsTestCase(SynchronousTestCase):
    """
    A test case with two hosts in one network.

    @ivar devices: the devices of the interfaces, by name.
    @ivar made: the services of hosts, in the order in which they were opened.
    @ivar configured: the interfaces whose kernel's end was configured, each with its addresses.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.devices = {name: Device(TUN, name) for name in ("tun0", "tun1")}
        join(self.clock, *self.devices.values())
        self.made: list[EndpointHost] = []
        self.configured: list[Any] = []
        self.patch(monitor, "SharedMonitor", NoMonitor)
        self.patch(configure, "configureNow", self.configure)
        self.patch(endpoints, "endpoints", TuntapEndpoints(self.makeService))

    def makeService(self, settings: HostServiceSettings, reactor: Any) -> EndpointHost:
        """
        Make the service of a host on a device in memory.
        """
        self.made.append(EndpointHost(onDevice(settings, self.devices[settings.interface.device.name]), reactor))
        return self.made[-1]

    def configure(self, name: str, kernelEnd: Any, device: Any) -> None:
        """
        Record how the kernel's end of an interface is configured.
        """
        self.configured.append((name, [str(each) for each in kernelEnd.addresses]))

    def server(self, string: str) -> Any:
        """
        Make a server endpoint from a string.
        """
        return serverFromString(self.clock, string)

    def client(self, string: str) -> Any:
        """
        Make a client endpoint from a string.
        """
        return clientFromString(self.clock, string)

    def turn(self, seconds: float = 0.1) -> None:
        """
        Advance the clock by some seconds, in steps.
        """
        for _ in range(20):
            self.clock.advance(seconds / 20)

    def listen(self, string: str, factory: Any = None) -> Any:
        """
        Listen at an endpoint string, and return the port.
        """
        return self.successResultOf(self.server(string).listen(factory or Server()))

    def connect(self, string: str, protocol: type[Talker] = Talker) -> Any:
        """
        Connect to an endpoint string, and return the protocol.
        """
        connected = self.client(string).connect(Server(protocol))
        self.turn()
        return self.successResultOf(connected)

    def isOpen(self, name: str) -> bool:
        """
        Whether the device of an interface is open.
        """
        device = self.devices[name]
        return device.opened > device.closed

    def stop(self, port: Any) -> None:
        """
        Stop a port, and check that it has stopped.
        """
        stopped = port.stopListening()
        self.turn()
        self.assertIsNone(self.successResultOf(stopped))

    def assertClosed(self, *protocols: Talker) -> None:
        """
        Check that each protocol has lost its connection without an error.
        """
        for protocol in protocols:
            self.assertIsInstance(protocol.lost, ConnectionDone)
