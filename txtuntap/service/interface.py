"""
The service that keeps a protocol on a TUN or TAP device.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from txtuntap.device import printable
from txtuntap.device.lost import InterfaceStuck
from txtuntap.layer.ability import sendsOffload, takesOffload
from txtuntap.layer.bounded import TableState
from txtuntap.middleware import Capture, Impairment
from txtuntap.service.errors import showPlainly
from txtuntap.service.observe.page.subject import Subject
from txtuntap.service.options.interface import InterfaceServiceSettings
from txtuntap.service.ready import addressesText, linkFacts, sayReady
from txtuntap.shutdown import endOnHangUp, stop
from txtuntap.tuntap import TuntapPort

if TYPE_CHECKING:
    from txtuntap.device.configure import Configured
    from txtuntap.device.settings import InterfaceAddress
    from txtuntap.service.observe.control import ControlSocket
    from txtuntap.stack.host import Host
    from txtuntap.wireguard.protocol import WireGuard


class InterfaceService(Service):
    """
    A service that runs a protocol on a TUN or TAP device. On SIGUSR2 it logs its counters. SIGHUP ends the process as
    SIGTERM does.

    @ivar port: the L{TuntapPort}.
    """

    #: The name of this kind of service in the log lines that say that it is ready, or that its interface is lost.
    what = "A service"

    _log = Logger()

    def __init__(
        self,
        settings: InterfaceServiceSettings,
        proto: Any,
        reactor: Any = None,
        host: Host | None = None,
        wireguard: WireGuard | None = None,
    ) -> None:
        """
        @param settings: the settings of the device and of its interface.
        @param proto: the protocol on the device: an C{IEthernetProtocol} on a tap, an C{IRawPacketProtocol} on a tun.
        @param host: the host that C{proto} belongs to. C{txtuntap connections} lists its TCP connections. C{None}:
            there is no host.
        @param wireguard: the WireGuard on the device. C{txtuntap wireguard show} shows it. C{None}: there is none.
        """
        if reactor is None:
            from twisted.internet import reactor
        # These modules import pyroute2, which must happen before the reactor runs: see C{txtuntap.device.platform}.
        from txtuntap.device.configure import configureNow
        from txtuntap.device.monitor import SharedMonitor

        device, offload = settings.device, settings.offload
        self._control: ControlSocket | None = None
        self._impairment: Impairment | None = None
        if settings.impairment is not None:
            proto = self._impairment = Impairment(proto, settings.impairment)
        if settings.control:
            from txtuntap.service.observe.control import ControlSocket

            if offload is None and not takesOffload(proto) and not sendsOffload(proto):
                # Without this, L{Capture} would accept superpackets and segment them for the protocol. The kernel
                # segments them faster.
                offload = False
            proto = Capture(None, proto)
            self._control = ControlSocket(proto, reactor, host, wireguard)
        self._reactor = reactor
        self._configureNow = configureNow
        self._kernelEnd = settings.kernelEnd
        self._undo = settings.undo
        self._configured: Configured | None = None
        # All services of this process share the monitor of a network namespace.
        self._monitor = SharedMonitor(reactor, getattr(device, "namespace", None))
        self._isWatched = False
        self._device = device
        self._offload = offload
        self.port = TuntapPort(
            device.name, proto, settings.maxPacketSize, reactor, device=device, monitor=self._monitor, offload=offload
        )

    def interface(self) -> str:
        """
        Return the current name of the interface.
        """
        return os.fsdecode(self.port.interface)

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """
        Return the counters by part and by name, which SIGUSR2 logs.
        """
        captures = {} if self._control is None else {"capture": self._control.capture.counters}
        faults = {} if self._impairment is None else {"impairment": self._impairment.counters}
        return {"port": self.port.counters, **captures, **faults}

    def subject(self) -> Subject:
        """
        Describe the interface for a L{LivePage<txtuntap.service.observe.page.live.LivePage>}.
        """
        return Subject(self.interface, self.port, counters=self.counters, others=self)

    def tables(self) -> list[TableState]:
        """
        List the tables of the servers for clients on this machine: see
        L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [] if self._control is None else self._control.tables()

    def privilegedStartService(self) -> None:
        """
        Open the device, configure the interface, and open its monitor and its control socket, before the process drops
        its privileges.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        try:
            self.open()
        except (CannotListenError, OSError, ValueError) as e:
            showPlainly(e)
            raise

    def startService(self) -> None:
        """
        Follow the changes of the interface, handle signals, and report that the service is ready.
        """
        super().startService()  # type: ignore[no-untyped-call]
        if not self.port.connected:
            self.privilegedStartService()
        self.follow()
        handleSignals(self._reactor, self._dump)
        self._started()
        self._sayReady()

    def facts(self) -> dict[str, object]:
        """
        Return the facts about the running service for the log, by name.
        """
        return {**self._ends(), **linkFacts(self.port.mtu, self.port.offloads)}

    def _ends(self) -> dict[str, object]:
        """
        Return the facts about the addresses of both ends. Subclasses extend this.
        """
        return {"addresses": addressesText(self._kernelAddresses)}

    @property
    def _kernelAddresses(self) -> Sequence[InterfaceAddress]:
        """
        The addresses that the options give the kernel's end of the interface.
        """
        return () if self._kernelEnd is None else self._kernelEnd.addresses

    def _started(self) -> None:
        """
        Do what comes last when the service starts. Subclasses override this.
        """

    def _sayReady(self) -> None:
        """
        Log that the service is ready.
        """
        sayReady(self._log, f"{self.what} on {self.interface()}", self.facts())

    def open(self) -> None:
        """
        Open the device, configure the interface, and open its monitor and its control socket.

        @raise CannotListenError: the device cannot be opened.
        @raise OSError: the kernel refused a setting.
        @raise ValueError: a setting does not fit the interface.
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
        Follow the changes of the interface, and handle its loss.
        """
        self.port.whenLost().addErrback(self._ended)
        if self._isWatched:
            self._monitor.start().addErrback(self._unwatched)

    def stopService(self) -> Deferred[None]:
        """
        Close the device, but restore the previous configuration first if C{undo} is set.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        self._isWatched = False
        self._monitor.stop()
        configured, self._configured = self._configured, None
        if configured is None or not self._undo:
            return self._close()
        undone = configured.restore(self._reactor)
        # A process that has dropped its privileges cannot restore the configuration.
        undone.addErrback(
            lambda reason: self._log.warn("The previous configuration was not restored: {reason}", reason=reason.value)
        )
        return undone.addCallback(lambda _: self._close())

    def _watch(self) -> None:
        """
        Open the monitor of the interface. The process may need its privileges for that, to enter another network
        namespace. If the monitor cannot be opened, the service runs without it.
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
            # The file of the socket is named after the interface. The service may continue on other interfaces, and
            # another interface of this name may be made, so the file must not stay.
            self._control.close()
        if reason.check(InterfaceStuck) and self.running:
            # On macOS, this happens after sleep.
            try:
                self.open()
            except (CannotListenError, OSError, ValueError) as e:
                self._log.error("{reason} It cannot be opened again: {error}", reason=reason.value, error=e)
            else:
                self._log.warn("{reason} It is open again.", reason=reason.value)
                return self.follow()
        self._lost(reason)

    def _close(self) -> Deferred[None]:
        closed = self.port.stopListening()
        if self._control is not None:
            control = self._control
            # The end of the capture, which the clients still have to read, is written when the port stops.
            closed.addCallback(lambda _: control.close())
        return closed

    def _opened(self) -> None:
        """
        Do what needs the open device and privileges. Subclasses override this.
        """

    def _dump(self) -> None:
        for part, counters in self.counters().items():
            self._log.info("{part}: {counts}", part=part, counts=countsText(counters))

    def _lost(self, reason: Failure) -> None:
        if not reason.check(ConnectionDone):
            stopWithoutInterface(self._log, self.what, reason, self._reactor)


def countsText(counters: Mapping[str, int]) -> str:
    """
    Format counters for a log line, in the order of their names.
    """
    return ", ".join(f"{name} {count}" for name, count in sorted(counters.items())) or "nothing"


def handleSignals(reactor: Any, dump: Callable[[], None]) -> None:
    """
    Call C{dump} on SIGUSR2, in the reactor's thread, and end the process on SIGHUP as on SIGTERM.
    """
    if hasattr(signal, "SIGUSR2"):
        signal.signal(signal.SIGUSR2, lambda *ignored: reactor.callFromThread(dump))
    endOnHangUp()


def stopWithoutInterface(log: Logger, what: str, reason: Failure, reactor: Any) -> None:
    """
    Stop the process, because its last interface is lost, and log the reason.

    @param what: the kind of service for the log, such as C{"A host"}.
    """
    log.critical("{reason} {what} without an interface has nothing to do: stopping.", reason=reason.value, what=what)
    stop(reactor)
