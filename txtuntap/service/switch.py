"""
The service of C{twistd tuntap switch}: a switch between TAP devices and tunnels::

    twistd -n tuntap switch --tap tap0 --tap tap1,vlan=10 --tap tap2,trunk=10+20,vlan=1 \\
        --tunnel listen=tcp:4000,certificate=me.pem,trust=peer.pem,trunk=10+20
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from txtuntap.device import TAP, printable
from txtuntap.device.choice import makeDevice
from txtuntap.layer.bounded import TableState
from txtuntap.middleware import Capture, Impairment
from txtuntap.network.link import Link
from txtuntap.service.carriers import makeCarriers, peerText
from txtuntap.service.errors import showPlainly
from txtuntap.service.interface import InterfaceService, countsText, handleSignals, stopWithoutInterface
from txtuntap.service.linkcapture import LinkCapture
from txtuntap.service.observe.page.subject import Subject
from txtuntap.service.options.interface import InterfaceServiceSettings
from txtuntap.service.options.switch import SwitchServiceSettings, SwitchTap, SwitchTunnel, qualifiedName
from txtuntap.service.ready import factsText, linkFacts, sayReady
from txtuntap.switch.port import SwitchPort
from txtuntap.switch.switch import Switch


class SwitchService(MultiService):
    """
    A service that runs a L{Switch} between TAP devices and tunnels. If an interface is lost, the service continues with
    the others. On SIGUSR2 it logs its counters. SIGHUP ends the process as SIGTERM does.

    @ivar switch: the switch.
    """

    _log = Logger()

    def __init__(self, settings: SwitchServiceSettings, reactor: Any = None) -> None:
        """
        @param settings: the settings of the interfaces, of the tunnels and of the switch.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        if reactor is None:
            from twisted.internet import reactor
        self._reactor = reactor
        self.switch = Switch(reactor, settings.ageingTime)
        for tap in settings.taps:
            each = SwitchTapService(self, tap, settings, reactor)
            each.setServiceParent(self)  # type: ignore[no-untyped-call]
        for tunnel in settings.tunnels:
            other = SwitchTunnelService(self.switch, tunnel, reactor, settings.page is not None)
            other.setServiceParent(self)  # type: ignore[no-untyped-call]

    def startService(self) -> None:
        """
        Start all interfaces and tunnels, handle signals for all of them, and report that the switch is ready.
        """
        super().startService()  # type: ignore[no-untyped-call]
        handleSignals(self._reactor, self._dump)
        ports = "; ".join(f"{each.interface()} ({factsText(each.facts())})" for each in self.services)
        sayReady(self._log, "A switch", {"ports": ports})

    def lost(self, service: SwitchTapService, reason: Failure) -> None:
        """
        Remove the port of an interface that is lost. If no interface and no tunnel is left, stop the process.
        """
        service.disownServiceParent()  # type: ignore[no-untyped-call]
        self.switch.removePort(service.switchPort)
        if self.services:
            self._log.error("{reason} The switch continues with the others.", reason=reason.value)
        else:
            stopWithoutInterface(self._log, "A switch", reason, self._reactor)

    def _dump(self) -> None:
        for service in self.services:
            for part, counters in service.counters().items():
                self._log.info(
                    "{name}, {part}: {counts}",
                    name=printable(service.interface()),
                    part=part,
                    counts=countsText(counters),
                )
        stations = self.switch.stations
        for each in stations:
            self._log.info(
                "{address} in VLAN {vlan} is at {port}, heard {age:.0f} seconds ago",
                address=each.address,
                vlan=each.vlan,
                port=each.port.name,
                age=each.age,
            )
        self._log.info("{count} stations are known", count=len(stations))


class SwitchTapService(InterfaceService):
    """
    The service of one TAP device at a L{SwitchService}.

    @ivar switchPort: the port of the switch that the device is at.
    """

    def __init__(self, service: SwitchService, tap: SwitchTap, settings: SwitchServiceSettings, reactor: Any) -> None:
        self._service = service
        self._namespace = tap.namespace
        self.switchPort = tap.port.addTo(service.switch, tap.name)
        interface = InterfaceServiceSettings(
            device=makeDevice(tap.interface, TAP, namespace=tap.namespace),
            kernelEnd=tap.kernelEnd,
            impairment=tap.impairment,
            offload=settings.offload,
            control=settings.control,
        )
        super().__init__(interface, self.switchPort, reactor)

    def interface(self) -> str:
        """
        Return the current name of the interface, with its network namespace.
        """
        return qualifiedName(super().interface(), self._namespace)

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """
        Return the counters of the interface, and of its port of the switch.
        """
        return {**super().counters(), "switch": self.switchPort.counters}

    def _sayReady(self) -> None:
        """
        Log nothing, because the switch logs one line for all of its ports.
        """

    def subject(self) -> Subject:
        """
        Describe the interface and its port of the switch for a live page.
        """
        return attrs.evolve(super().subject(), switch=self._service.switch, switchPort=self.switchPort)

    def _lost(self, reason: Failure) -> None:
        if not reason.check(ConnectionDone):
            self._service.lost(self, reason)


class SwitchTunnelService(Service):
    """
    The service of one tunnel at a L{SwitchService}.

    @ivar switchPort: the port of the switch that the tunnel is at.
    @ivar tunnel: the tunnel.
    """

    def __init__(self, switch: Switch, settings: SwitchTunnel, reactor: Any, captures: bool = False) -> None:
        """
        @param captures: whether there is a capture, for the live page.
        """
        self._name = settings.name
        self._peer = settings.peer
        self._switch = switch
        self.switchPort = settings.port.addTo(switch, settings.name)
        self._carriers = makeCarriers(settings.peer, reactor)
        self.tunnel = self._carriers.tunnel
        self._impairment = None
        self._proto: SwitchPort | Impairment | Capture = self.switchPort
        if settings.impairment is not None:
            self._proto = self._impairment = Impairment(self._proto, settings.impairment)
        self._capture = None
        if captures:
            self._proto = self._capture = LinkCapture(settings.name, self._proto)
        self._link = Link(self.tunnel, self._proto, reactor, settings.mtu)
        self._isOpen = False

    def interface(self) -> str:
        """
        Return the endpoint of the tunnel, which is its name among interfaces.
        """
        return self._name

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """
        Return the counters of the tunnel, of the link from it, of its capture and its faults, and of its port of the
        switch.
        """
        captures = {} if self._capture is None else {"capture": self._capture.counters}
        faults = {} if self._impairment is None else {"impairment": self._impairment.counters}
        return {
            "tunnel": self.tunnel.counters,
            "link": self._link.ends[1].counters,
            **captures,
            **faults,
            "switch": self.switchPort.counters,
        }

    def facts(self) -> dict[str, object]:
        """
        Return the facts about the running tunnel for the log.
        """
        return {"peer": peerText(self._peer), **linkFacts(self._link.ends[1].mtu, self._link.ends[1].offloads)}

    def subject(self) -> Subject:
        """
        Describe the tunnel and its port of the switch for a live page.
        """
        return Subject(
            self.interface,
            proto=self._proto,
            counters=self.counters,
            tunnel=self.tunnel,
            switch=self._switch,
            switchPort=self.switchPort,
            others=self,
        )

    def tables(self) -> list[TableState]:
        """
        List the tables of the carriers, and of the link to the switch: see
        L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [*self._carriers.tables(), *self._link.tables()]

    def privilegedStartService(self) -> None:
        """
        Listen, if this end listens, before the process drops its privileges.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        try:
            self._carriers.open()
        except (CannotListenError, OSError) as e:
            showPlainly(e)
            raise
        self._isOpen = True

    def startService(self) -> None:
        """
        Start the link, and connect if this end connects.
        """
        super().startService()  # type: ignore[no-untyped-call]
        if not self._isOpen:
            self.privilegedStartService()
        self._link.start()
        self._carriers.start()

    def stopService(self) -> Deferred[Any]:
        """
        Close the connections, and stop the link.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        self._isOpen = False
        self._link.stop()
        return self._carriers.stop()
