"""
A protocol on a TUN or TAP device, as a service.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from txtuntap.device import printable
from txtuntap.device.settings import InterfaceSettings
from txtuntap.layer.ability import takesOffload
from txtuntap.middleware import Capture
from txtuntap.shutdown import endOnHangUp, stop
from txtuntap.tuntap import TuntapPort

if TYPE_CHECKING:
    from txtuntap.device.configure import Configured
    from txtuntap.device.linux.device import LinuxDevice
    from txtuntap.service.observe.control import ControlSocket


class InterfaceService(Service):
    """
    A protocol on a TUN or TAP device, for as long as the service runs. On SIGUSR2 its counters go to the log; SIGHUP
    ends the process as SIGTERM does.

    @ivar port: the L{TuntapPort}.
    """

    #: What it is, for who reads the log when its interface has gone.
    what = "A service"

    _log = Logger()

    def __init__(
        self,
        device: LinuxDevice,
        proto: Any,
        settings: InterfaceSettings | None = None,
        undo: bool = False,
        reactor: Any = None,
        offload: bool | None = None,
        control: bool = True,
        maxPacketSize: int | None = None,
    ) -> None:
        """
        @param device: the device, not open yet.
        @param proto: what goes on it: an C{IEthernetProtocol} on a tap, an C{IRawPacketProtocol} on a tun.
        @param settings: what the kernel's end is to be; L{None}: it is left as it is, or is a helper's to set.
        @param undo: whether to take away what was set, on a device that stays, when the service stops.
        @param offload: whether packets come and go as few large ones: see L{TuntapPort}.
        @param control: whether there is a control socket, and a L{Capture} around C{proto} for who asks there for one.
        @param maxPacketSize: how many octets of a packet are read; L{None}: all that the link carries, whatever its
            MTU.
        """
        if reactor is None:
            from twisted.internet import reactor
        # Before the reactor runs, because these import pyroute2: see txtuntap.device.platform.
        from txtuntap.device.configure import configureNow
        from txtuntap.device.monitor import SharedMonitor

        self._control: ControlSocket | None = None
        if control:
            from txtuntap.service.observe.control import ControlSocket

            if offload is None and not takesOffload(proto):
                # The capture would take it, and cut everything for the protocol, which the kernel does better.
                offload = False
            proto = Capture(None, proto)
            self._control = ControlSocket(proto, reactor)
        self._reactor = reactor
        self._configureNow = configureNow
        self._settings = settings
        self._undo = undo
        self._configured: Configured | None = None
        # Other services of this process, on interfaces there, have it, too.
        self._monitor = SharedMonitor(reactor, device.namespace)
        self._isWatched = False
        self._device = device
        self._offload = offload
        self.port = TuntapPort(
            device.name, proto, maxPacketSize, reactor, device=device, monitor=self._monitor, offload=offload
        )

    def interface(self) -> str:
        """
        The interface's name, now.
        """
        return os.fsdecode(self.port.interface)

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """
        What SIGUSR2 has written to the log, by part.
        """
        captures = {} if self._control is None else {"capture": self._control.capture.counters}
        return {"port": self.port.counters, **captures}

    def privilegedStartService(self) -> None:
        """
        Open the device, and what watches it, and configure it, while there is the privilege to.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        try:
            self.port.startListening()
            self._opened()
            if self._settings is not None:
                self._configured = self._configureNow(self._device.name, self._settings, self._device)
            self._watch()
            if self._control is not None:
                self._control.open(self._device)
        except (CannotListenError, OSError, ValueError) as e:
            self._isWatched = False
            self._monitor.stop()
            showPlainly(e)
            raise

    def startService(self) -> None:
        """
        Take note if the interface goes.
        """
        super().startService()  # type: ignore[no-untyped-call]
        if not self.port.connected:
            self.privilegedStartService()
        self.port.whenLost().addErrback(self._ended)
        if self._isWatched:
            self._monitor.start().addErrback(self._unwatched)
        handleSignals(self._signalled)

    def stopService(self) -> Deferred[None]:
        """
        Close the device.
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
            # Those who are told of packets are told of the end.
            closed.addCallback(lambda _: control.close())
        return closed

    def _opened(self) -> None:
        """
        The device has been opened, and there is still the privilege to do more.
        """

    def _signalled(self, *ignored: object) -> None:
        self._reactor.callFromThread(self._dump)

    def _dump(self) -> None:
        for part, counters in self.counters().items():
            counts = ", ".join(f"{name} {count}" for name, count in sorted(counters.items()))
            self._log.info("{part}: {counts}", part=part, counts=counts or "nothing")

    def _lost(self, reason: Failure) -> None:
        if not reason.check(ConnectionDone):
            self._log.critical(
                "{reason} {what} without an interface has nothing to do: stopping.", reason=reason.value, what=self.what
            )
            stop(self._reactor)


def handleSignals(dump: Callable[..., None]) -> None:
    """
    Have SIGUSR2 call C{dump}, and SIGHUP end the process as SIGTERM does.
    """
    if hasattr(signal, "SIGUSR2"):
        signal.signal(signal.SIGUSR2, dump)
    endOnHangUp()


def showPlainly(error: Exception) -> None:
    """
    Have an error that ends twistd shown as a line. It would be a traceback, at whose end stands what the user is to
    read; and anything else to end with, such as C{SystemExit}, would leave the pid file behind.
    """
    others = sys.excepthook

    def show(kind: type[BaseException], value: BaseException, traceback: TracebackType | None) -> None:
        if value is error:
            print(f"twistd tuntap: {value}", file=sys.stderr)
        else:
            others(kind, value, traceback)

    sys.excepthook = show
