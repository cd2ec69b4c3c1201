"""
A protocol on a TUN or TAP device, as a service.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from txtuntap.device import printable
from txtuntap.layer.ability import takesOffload
from txtuntap.middleware import Capture
from txtuntap.service.errors import showPlainly
from txtuntap.service.options.interface import InterfaceServiceSettings
from txtuntap.shutdown import endOnHangUp, stop
from txtuntap.tuntap import TuntapPort

if TYPE_CHECKING:
    from txtuntap.device.configure import Configured
    from txtuntap.service.observe.control import ControlSocket
    from txtuntap.stack.host import Host


class InterfaceService(Service):
    """
    A protocol on a TUN or TAP device, for as long as the service runs. On SIGUSR2 its counters go to the log; SIGHUP
    ends the process as SIGTERM does.

    @ivar port: the L{TuntapPort}.
    """

    #: The name of this kind of service in the log, when its interface has gone.
    what = "A service"

    _log = Logger()

    def __init__(
        self, settings: InterfaceServiceSettings, proto: Any, reactor: Any = None, host: Host | None = None
    ) -> None:
        """
        @param settings: the device, and how it and its interface are used.
        @param proto: what goes on it: an C{IEthernetProtocol} on a tap, an C{IRawPacketProtocol} on a tun.
        @param host: the host that this is a part of, whose TCP connections C{txtuntap connections} shows.
        """
        if reactor is None:
            from twisted.internet import reactor
        # Before the reactor runs, because these import pyroute2: see txtuntap.device.platform.
        from txtuntap.device.configure import configureNow
        from txtuntap.device.monitor import SharedMonitor

        device, offload = settings.device, settings.offload
        self._control: ControlSocket | None = None
        if settings.control:
            from txtuntap.service.observe.control import ControlSocket

            if offload is None and not takesOffload(proto):
                # The capture would take it, and cut everything for the protocol, which the kernel does better.
                offload = False
            proto = Capture(None, proto)
            self._control = ControlSocket(proto, reactor, host)
        self._reactor = reactor
        self._configureNow = configureNow
        self._kernelEnd = settings.kernelEnd
        self._undo = settings.undo
        self._configured: Configured | None = None
        # Other services of this process, on interfaces there, have it, too.
        self._monitor = SharedMonitor(reactor, device.namespace)
        self._isWatched = False
        self._device = device
        self._offload = offload
        self.port = TuntapPort(
            device.name, proto, settings.maxPacketSize, reactor, device=device, monitor=self._monitor, offload=offload
        )

    def interface(self) -> str:
        """
        The interface's name, now.
        """
        return os.fsdecode(self.port.interface)

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """
        Counters by part and by name, as SIGUSR2 has them written to the log.
        """
        captures = {} if self._control is None else {"capture": self._control.capture.counters}
        return {"port": self.port.counters, **captures}

    def privilegedStartService(self) -> None:
        """
        Open the device, and what watches it, and configure it, while there is the privilege to.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        try:
            self.open()
        except (CannotListenError, OSError, ValueError) as e:
            showPlainly(e)
            raise

    def startService(self) -> None:
        """
        Take note if the interface goes.
        """
        super().startService()  # type: ignore[no-untyped-call]
        if not self.port.connected:
            self.privilegedStartService()
        self.follow()
        handleSignals(self._reactor, self._dump)

    def open(self) -> None:
        """
        Open the device, and what watches it, and configure it.

        @raise CannotListenError: the device cannot be opened.
        @raise OSError: the kernel refused a setting.
        @raise ValueError: a setting does not go with the interface.
        """
        try:
            self.port.startListening()
            self._opened()
            if self._kernelEnd is not None:
                self._configured = self._configureNow(self._device.name, self._kernelEnd, self._device)
            self._watch()
            if self._control is not None:
                self._control.open(self._device)
        except (CannotListenError, OSError, ValueError):
            self._isWatched = False
            self._monitor.stop()
            raise

    def follow(self) -> None:
        """
        Follow the changes of the interface, and take note if it goes.
        """
        self.port.whenLost().addErrback(self._ended)
        if self._isWatched:
            self._monitor.start().addErrback(self._unwatched)

    def stopService(self) -> Deferred[None]:
        """
        Undo the configuration where that is asked for, and close the device.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        self._isWatched = False
        self._monitor.stop()
        configured, self._configured = self._configured, None
        if configured is None or not self._undo:
            return self._close()
        undone = configured.restore(self._reactor)
        # Once privileges are dropped, there is no way to.
        undone.addErrback(lambda reason: self._log.warn("Left as it is: {reason}", reason=reason.value))
        return undone.addCallback(lambda _: self._close())

    def _watch(self) -> None:
        """
        Have what watches the interface, now: who has dropped privileges cannot enter another network namespace any
        more. A service does without it where that cannot be had.
        """
        try:
            self._monitor.open()
        except OSError:
            self._unwatched(Failure())
        else:
            self._isWatched = True

    def _unwatched(self, reason: Failure) -> None:
        self._log.warn(
            "{name} is not watched, so a change of its name, MTU or state goes unnoticed: {reason}",
            name=printable(self.interface()),
            reason=getattr(reason.value, "strerror", None) or reason.value,
        )

    def _ended(self, reason: Failure) -> None:
        if self._control is not None:
            # A service may go on without it, and another interface of this name be made.
            self._control.close()
        self._lost(reason)

    def _close(self) -> Deferred[None]:
        closed = self.port.stopListening()
        if self._control is not None:
            control = self._control
            # Clients read the end of the capture, which the port's end makes.
            closed.addCallback(lambda _: control.close())
        return closed

    def _opened(self) -> None:
        """
        The device has been opened, and there is still the privilege to do more.
        """

    def _dump(self) -> None:
        for part, counters in self.counters().items():
            self._log.info("{part}: {counts}", part=part, counts=countsText(counters))

    def _lost(self, reason: Failure) -> None:
        if not reason.check(ConnectionDone):
            stopWithoutInterface(self._log, self.what, reason, self._reactor)


def countsText(counters: Mapping[str, int]) -> str:
    """
    Counters in a line of the log, by name.
    """
    return ", ".join(f"{name} {count}" for name, count in sorted(counters.items())) or "nothing"


def handleSignals(reactor: Any, dump: Callable[[], None]) -> None:
    """
    Have SIGUSR2 call C{dump}, in the reactor's thread and turn, and SIGHUP end the process as SIGTERM does.
    """
    if hasattr(signal, "SIGUSR2"):
        signal.signal(signal.SIGUSR2, lambda *ignored: reactor.callFromThread(dump))
    endOnHangUp()


def stopWithoutInterface(log: Logger, what: str, reason: Failure, reactor: Any) -> None:
    """
    Stop the process, whose last interface has gone, and log why.

    @param what: what the process has been: C{"A host"}.
    """
    log.critical("{reason} {what} without an interface has nothing to do: stopping.", reason=reason.value, what=what)
    stop(reactor)
