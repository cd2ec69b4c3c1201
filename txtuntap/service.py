"""
What is behind C{twistd tuntap}: services and their options.

    twistd -n tuntap host --tun tun0 --address 10.0.0.2/24 --kernel-address 10.0.0.1/24 --udp 7=echo
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from txtuntap.device import TAP
from txtuntap.device.settings import InterfaceSettings
from txtuntap.layer import takesOffload
from txtuntap.middleware import Capture
from txtuntap.options import Options
from txtuntap.queues import DESCRIPTOR, queueProcesses, stopWithParent
from txtuntap.stack.host import Host
from txtuntap.tuntap import TuntapPort

if TYPE_CHECKING:
    from txtuntap.control import ControlSocket
    from txtuntap.device.configure import Configured
    from txtuntap.device.linux import LinuxDevice

__all__ = ["HostService", "InterfaceService", "MetricsService", "Options", "makeService"]


class InterfaceService(Service):
    """
    A protocol on a TUN or TAP device, for as long as the service runs. On SIGUSR2 its counters go to the log.

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
        maxPacketSize: int = 8192,
    ) -> None:
        """
        @param device: the device, not open yet.
        @param proto: what goes on it: an C{IEthernetProtocol} on a tap, an C{IRawPacketProtocol} on a tun.
        @param settings: what the kernel's end is to be; L{None}: it is left as it is, or is a helper's to set.
        @param undo: whether to take away what was set, on a device that stays, when the service stops.
        @param offload: whether packets come and go as few large ones: see L{TuntapPort}.
        @param control: whether there is a control socket, and a L{Capture} around C{proto} for who asks there for one.
        @param maxPacketSize: how many octets of a packet are read.
        """
        if reactor is None:
            from twisted.internet import reactor
        # Not on other platforms, and before the reactor runs: see txtuntap.device.netlink.
        from txtuntap.device.configure import configureNow
        from txtuntap.device.monitor import InterfaceMonitor

        self._control: ControlSocket | None = None
        if control:
            from txtuntap.control import ControlSocket

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
        self._monitor = InterfaceMonitor(reactor, device.namespace)
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
            # Who has dropped privileges cannot enter another network namespace any more.
            self._monitor.open()
            if self._control is not None:
                self._control.open(self._device)
        except (CannotListenError, OSError, ValueError) as e:
            _showPlainly(e)
            raise

    def startService(self) -> None:
        """
        Take note if the interface goes.
        """
        super().startService()  # type: ignore[no-untyped-call]
        if not self.port.connected:
            self.privilegedStartService()
        self.port.whenLost().addErrback(self._ended)
        self._monitor.start().addErrback(lambda reason: self._log.failure("The interface cannot be watched", reason))
        if hasattr(signal, "SIGUSR2"):
            signal.signal(signal.SIGUSR2, self._signalled)

    def stopService(self) -> Deferred[None]:
        """
        Close the device.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        self._monitor.stop()
        configured, self._configured = self._configured, None
        if configured is None or not self._undo:
            return self._close()
        undone = configured.undo(self._reactor)
        # Once privileges are dropped, there is no way to.
        undone.addErrback(lambda reason: self._log.warn("Left as it is: {reason}", reason=reason.value))
        return undone.addCallback(lambda _: self._close())

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
            self._reactor.stop()


class HostService(InterfaceService):
    """
    A L{Host} on a TUN or TAP device.

    @ivar host: the host.
    """

    what = "A host"

    def __init__(
        self,
        device: LinuxDevice,
        host: Host,
        protocols: Sequence[tuple[int, DatagramProtocol]] = (),
        settings: InterfaceSettings | None = None,
        undo: bool = False,
        reactor: Any = None,
        queues: Callable[[str], Sequence[LinuxDevice]] | None = None,
        command: Sequence[str] = (),
        offload: bool | None = None,
        control: bool = True,
    ) -> None:
        """
        @param protocols: UDP ports, and the protocol on each.
        @param queues: makes, with the name of the device that was opened, the same once more for each of other
            processes, which run C{command}: see L{txtuntap.queues}.
        """
        top = host.ethernet if device.mode == TAP else host.ip
        super().__init__(device, top, settings, undo, reactor, offload, control=control)
        self.host = host
        for number, proto in protocols:
            host.listenUDP(number, proto)
        self._makeQueues = queues
        self._command = command
        self._queues: Sequence[LinuxDevice] = ()
        self._processes: IService | None = None

    def startService(self) -> None:
        """
        Start the other processes, too.
        """
        super().startService()
        if self._processes is not None:
            self._processes.startService()

    def stopService(self) -> Deferred[None]:
        """
        Stop them first.
        """
        if self._processes is not None:
            self._processes.stopService()
        for queue in self._queues:
            queue.close()
        return super().stopService()

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """
        Those of the host, too.
        """
        return {**super().counters(), **self.host.counters}

    def _opened(self) -> None:
        """
        Open the queues of other processes.
        """
        if self._makeQueues is not None:
            self._queues = self._makeQueues(self._device.name)
            for queue in self._queues:
                queue.open(self._offload)
            self._processes = queueProcesses(self._queues, self._command, self._reactor)


class MetricsService(Service):
    """
    A web server, whose C{/metrics} are the counters of interfaces, for Prometheus: see
    L{txtuntap.middleware.prometheus}. It is for whoever may be trusted, on the loopback interface for instance: there
    is no bound to what C{twisted.web} takes in one request.
    """

    def __init__(self, endpoint: str, services: Sequence[Any]) -> None:
        """
        @param endpoint: where it listens: a server endpoint's description.
        @param services: L{InterfaceService}s.
        """
        # These import a reactor, or are an extra's.
        from prometheus_client import CollectorRegistry
        from prometheus_client.twisted import MetricsResource
        from twisted.application import strports
        from twisted.web.resource import Resource
        from twisted.web.server import Site

        from txtuntap.middleware.prometheus import InterfaceCollector

        collector = InterfaceCollector()
        for each in services:
            collector.add(each.interface, each.counters)
        registry = CollectorRegistry()
        registry.register(collector)
        root: Any = Resource()
        root.putChild(b"metrics", MetricsResource(registry))  # type: ignore[no-untyped-call]
        site: Any = Site(root)
        site.noisy = False
        # Requests make no log lines: whoever can ask could fill the disk.
        site.log = lambda request: None
        self._server: Any = strports.service(endpoint, site)

    def privilegedStartService(self) -> None:
        """
        Listen, while there is the privilege to.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        try:
            self._server.privilegedStartService()
        except (CannotListenError, OSError) as e:
            _showPlainly(e)
            raise

    def startService(self) -> None:
        """
        Listen, if that has not been begun yet.
        """
        super().startService()  # type: ignore[no-untyped-call]
        self._server.startService()

    def stopService(self) -> Any:
        """
        Listen no more.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        return self._server.stopService()


def _showPlainly(error: Exception) -> None:
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


def makeService(options: Options) -> Service:
    """
    The service that the options ask for.
    """
    assert options.subCommand is not None
    asked: Any = options.subOptions
    service = _SERVICES[options.subCommand](asked)
    if asked.get("prometheus") is None:
        return service
    both = MultiService()
    # First: where it cannot listen, there is no interface yet.
    interfaces = list(service) if isinstance(service, MultiService) else [service]
    MetricsService(asked["prometheus"], interfaces).setServiceParent(both)  # type: ignore[no-untyped-call]
    service.setServiceParent(both)
    return both


def _hostService(asked: Any) -> Service:
    from twisted.internet import reactor

    host = Host(
        asked["addresses"],
        reactor,
        linkAddress=asked["mac"],
        gateways=asked["gateways"],
        anyAddresses=asked["anyAddresses"],
        answerFor=asked["answerFor"],
        answerExcept=asked["answerExcept"],
        autoconfigure=bool(asked["autoconfigure"]),
    )
    settings = asked["settings"] if asked["helper"] is None else None
    undo = bool(asked["undo"])
    offload = False if asked["no-offload"] else None
    control = not asked["no-control"]
    if asked["queue"] is not None:
        stopWithParent(reactor)
        # Who asks for packets is given those of the first process, which has the control socket.
        return HostService(asked["device"], host, asked["protocols"], offload=offload, control=False)
    queues = asked.makeQueues if asked["queues"] > 1 else None
    command = [
        sys.executable,
        "-m",
        "twisted",
        "--log-format=text",
        "tuntap",
        "host",
        *asked.arguments,
        "--queue",
        str(DESCRIPTOR),
    ]
    return HostService(
        asked["device"], host, asked["protocols"], settings, undo, None, queues, command, offload, control
    )


def _switchService(asked: Any) -> Service:
    # It is made of what is here.
    from txtuntap.switchservice import SwitchService

    offload = False if asked["no-offload"] else None
    return SwitchService(asked["taps"], asked["ageing"], None, offload, not asked["no-control"])


def _tunnelService(asked: Any) -> Service:
    from txtuntap.tunnelservice import makeTunnelService

    return makeTunnelService(asked)


#: By subcommand, what makes the service that its options ask for.
_SERVICES: dict[str, Callable[[Any], Service]] = {
    "host": _hostService,
    "switch": _switchService,
    "tunnel": _tunnelService,
}
