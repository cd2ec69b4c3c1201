"""
C{twistd tuntap switch}: a switch between TAP devices.

    twistd -n tuntap switch --tap tap0 --tap tap1,vlan=10 --tap tap2,trunk=10+20,vlan=1
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.error import ConnectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from txtuntap.device import TAP
from txtuntap.service.interface import InterfaceService
from txtuntap.service.switchoptions import SwitchTap, named
from txtuntap.switch import AGEING_TIME, Switch

#: The longest frame that an interface can have; a longer one than another takes is dropped there.
_LONGEST_FRAME = 65535


class SwitchService(MultiService):
    """
    A L{Switch} between TAP devices. When an interface goes, the others go on. On SIGUSR2 the counters go to the log.

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
    ) -> None:
        """
        @param taps: the interfaces.
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

    def startService(self) -> None:
        """
        Have one signal for all interfaces.
        """
        super().startService()  # type: ignore[no-untyped-call]
        if hasattr(signal, "SIGUSR2"):
            signal.signal(signal.SIGUSR2, self._signalled)

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
            self._reactor.stop()

    def _signalled(self, *ignored: object) -> None:
        self._reactor.callFromThread(self._dump)

    def _dump(self) -> None:
        for service in self.services:
            service.dump()
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
        from txtuntap.device.linux import LinuxDevice

        self._service = service
        self._namespace = tap.namespace
        self.switchPort = service.switch.addPort(tap.name, **tap.options)
        device = LinuxDevice(tap.interface, TAP, namespace=tap.namespace)
        super().__init__(
            *(device, self.switchPort, tap.settings, False, reactor, offload, control),
            maxPacketSize=_LONGEST_FRAME,
        )

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

    def dump(self) -> None:
        """
        Write the counters to the log.
        """
        for part, counters in self.counters().items():
            counts = ", ".join(f"{name} {count}" for name, count in sorted(counters.items()))
            self._log.info("{name}, {part}: {counts}", name=self.interface(), part=part, counts=counts or "nothing")

    def _lost(self, reason: Failure) -> None:
        if not reason.check(ConnectionDone):
            self._service.lost(self, reason)


def makeSwitchService(asked: Any) -> SwitchService:
    """
    The service that the options ask for.
    """
    offload = False if asked["no-offload"] else None
    return SwitchService(asked["taps"], asked["ageing"], None, offload, not asked["no-control"])
