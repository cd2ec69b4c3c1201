"""
C{twistd tuntap switch}: a switch between TAP devices and tunnels.

    twistd -n tuntap switch --tap tap0 --tap tap1,vlan=10 --tap tap2,trunk=10+20,vlan=1 \\
        --tunnel listen=tcp:4000,certificate=me.pem,trust=peer.pem,trunk=10+20
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from txtuntap.device import TAP, printable
from txtuntap.network.link import Link
from txtuntap.service.carriers import makeCarriers
from txtuntap.service.errors import showPlainly
from txtuntap.service.interface import InterfaceService, handleSignals
from txtuntap.service.options.switch import SwitchTap, SwitchTunnel, named
from txtuntap.shutdown import stop
from txtuntap.switch.switch import AGEING_TIME, Switch


class SwitchService(MultiService):
    """
    A L{Switch} between TAP devices and tunnels. When an interface goes, the others go on. On SIGUSR2 the counters go to
    the log; SIGHUP ends the process as SIGTERM does.

    @ivar switch: the switch.
    """

    _log = Logger()

    def __init__(
        self,
        taps: Sequence[SwitchTap],
        ageingTime: float = AGEING_TIME,
        reactor: Any = None,
        offload: bool | None = None,
        control: bool = True,
        tunnels: Sequence[SwitchTunnel] = (),
    ) -> None:
        """
        @param taps: the interfaces.
        @param tunnels: the tunnels.
        @param ageingTime: as of L{Switch}.
        @param offload: whether packets come and go as few large ones: see L{TuntapPort<txtuntap.tuntap.TuntapPort>}.
        @param control: whether each of them has a control socket: see L{InterfaceService}.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        if reactor is None:
            from twisted.internet import reactor
        self._reactor = reactor
        self.switch = Switch(reactor, ageingTime)
        for tap in taps:
            each = SwitchTapService(self, tap, reactor, offload, control)
            each.setServiceParent(self)  # type: ignore[no-untyped-call]
        for tunnel in tunnels:
            other = SwitchTunnelService(self.switch, tunnel, reactor)
            other.setServiceParent(self)  # type: ignore[no-untyped-call]

    def startService(self) -> None:
        """
        Have one signal for all interfaces.
        """
        super().startService()  # type: ignore[no-untyped-call]
        handleSignals(self._signalled)

    def lost(self, service: SwitchTapService, reason: Failure) -> None:
        """
        An interface has gone.
        """
        service.disownServiceParent()  # type: ignore[no-untyped-call]
        self.switch.removePort(service.switchPort)
        if self.services:
            self._log.error("{reason} The switch goes on with the others.", reason=reason.value)
        else:
            self._log.critical(
                "{reason} A switch without an interface has nothing to do: stopping.", reason=reason.value
            )
            stop(self._reactor)

    def _signalled(self, *ignored: object) -> None:
        self._reactor.callFromThread(self._dump)

    def _dump(self) -> None:
        for service in self.services:
            for part, counters in service.counters().items():
                counts = ", ".join(f"{name} {count}" for name, count in sorted(counters.items()))
                self._log.info(
                    "{name}, {part}: {counts}",
                    name=printable(service.interface()),
                    part=part,
                    counts=counts or "nothing",
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
    One TAP device at a L{SwitchService}.

    @ivar switchPort: its port of the switch.
    """

    def __init__(
        self, service: SwitchService, tap: SwitchTap, reactor: Any, offload: bool | None, control: bool = True
    ) -> None:
        from txtuntap.device.linux.device import LinuxDevice

        self._service = service
        self._namespace = tap.namespace
        self.switchPort = service.switch.addPort(tap.name, **tap.options)
        device = LinuxDevice(tap.interface, TAP, namespace=tap.namespace)
        super().__init__(device, self.switchPort, tap.settings, False, reactor, offload, control)

    def interface(self) -> str:
        """
        The interface's name, now, and where it is.
        """
        return named(super().interface(), self._namespace)

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """
        Those of the port of the switch, too.
        """
        return {**super().counters(), "switch": self.switchPort.counters}

    def _lost(self, reason: Failure) -> None:
        if not reason.check(ConnectionDone):
            self._service.lost(self, reason)


class SwitchTunnelService(Service):
    """
    One tunnel at a L{SwitchService}.

    @ivar switchPort: its port of the switch.
    @ivar tunnel: the tunnel.
    """

    def __init__(self, switch: Switch, asked: SwitchTunnel, reactor: Any) -> None:
        self._name = asked.name
        self.switchPort = switch.addPort(asked.name, **asked.options)
        self._carriers, _ = makeCarriers(asked.peer, reactor)
        self.tunnel = self._carriers.tunnel
        self._link = Link(self.tunnel, self.switchPort, reactor, asked.mtu)
        self._isOpen = False

    def interface(self) -> str:
        """
        What it is called among interfaces.
        """
        return self._name

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """
        Those of the tunnel, of the link from it, and of the port of the switch.
        """
        return {
            "tunnel": self.tunnel.counters,
            "link": self._link.ends[1].counters,
            "switch": self.switchPort.counters,
        }

    def privilegedStartService(self) -> None:
        """
        Listen, while there is the privilege to.
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
        Connect, too.
        """
        super().startService()  # type: ignore[no-untyped-call]
        if not self._isOpen:
            self.privilegedStartService()
        self._link.start()
        self._carriers.start()

    def stopService(self) -> Deferred[Any]:
        """
        End the connection.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        self._isOpen = False
        self._link.stop()
        return self._carriers.stop()


def makeSwitchService(asked: Any) -> SwitchService:
    """
    The service that the options ask for.
    """
    offload = False if asked["no-offload"] else None
    return SwitchService(asked["taps"], asked["ageing"], None, offload, not asked["no-control"], asked["tunnels"])
