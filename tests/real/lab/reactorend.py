"""
Programs that end when their reactor stops, each in a fork of the warm interpreter. After that, each prints how its
ports have ended, and its log, as JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.logger import ILogObserver, LogEvent, eventAsText, globalLogBeginner
from twisted.python.failure import Failure

from tests.real.lab.link import delete
from tests.recorders import PacketRecorder, forPort
from txtuntap import Host, TuntapPort
from txtuntap.device import TAP, TUN
from txtuntap.device.linux import LinuxDevice
from txtuntap.middleware import Capture
from txtuntap.testing import MemoryDevice
from txtuntap.tunnel.frames import Frames
from txtuntap.tunnel.stream import StreamFactory
from txtuntap.tunnel.tunnel import Tunnel

Ends = dict[str, str]


def _watched(ends: Ends, name: str, port: TuntapPort) -> TuntapPort:
    """
    Start a port, and record under C{name} how it ends.
    """
    port.startListening()
    _watch(ends, name, port)
    return port


def _watch(ends: Ends, name: str, port: TuntapPort) -> None:
    """
    Record under C{name} the type of exception that the port's C{whenLost} fails with.
    """

    def ended(reason: Failure) -> None:
        ends[name] = type(reason.value).__name__

    port.whenLost().addErrback(ended)


def ports(reactor: Any, ends: Ends) -> None:
    """
    Run ports on a tun, on a tap behind middleware, and on a device in memory, and a monitor that is just starting.
    """
    from txtuntap.device.monitor import InterfaceMonitor

    monitor = InterfaceMonitor(reactor)
    recorder = forPort(PacketRecorder(), TUN)
    _watched(ends, "tun", TuntapPort("tt0", recorder, reactor=reactor, monitor=monitor))
    _watched(ends, "tap", TuntapPort("tt1", Capture(os.devnull, Host(reactor=reactor).ethernet), reactor=reactor))
    inMemory = forPort(PacketRecorder(), TUN)
    _watched(ends, "memory", TuntapPort("", inMemory, reactor=reactor, device=MemoryDevice(TUN)))

    def end() -> None:
        monitor.start()
        reactor.callWhenRunning(reactor.stop)

    reactor.addSystemEventTrigger("after", "shutdown", lambda: ends.update(stopped=repr(inMemory.events)))
    reactor.callLater(0, end)


def stopped(reactor: Any, ends: Ends) -> None:
    """
    Run a port whose C{stopListening} is called in the last turn of the reactor.
    """
    recorder = forPort(PacketRecorder(), TUN)
    port = _watched(ends, "tun", TuntapPort("tt0", recorder, reactor=reactor))
    reactor.addSystemEventTrigger("after", "shutdown", lambda: ends.update(stopped=repr(recorder.events)))

    def end() -> None:
        reactor.stop()
        port.stopListening()

    reactor.callLater(0, end)


def deleted(reactor: Any, ends: Ends) -> None:
    """
    Run two ports, and delete the interface of one while the reactor stops.
    """
    _watched(ends, "tun", TuntapPort("tt0", forPort(PacketRecorder(), TUN), reactor=reactor))
    _watched(ends, "tap", TuntapPort("tt1", forPort(PacketRecorder(), TAP), reactor=reactor))
    reactor.addSystemEventTrigger("before", "shutdown", delete, "tt0")
    reactor.callLater(0, reactor.stop)


def service(reactor: Any, ends: Ends) -> None:
    """
    Run a service that is not stopped before the reactor.
    """
    from txtuntap.service import HostService, HostServiceSettings, InterfaceServiceSettings

    interface = InterfaceServiceSettings(device=LinuxDevice("tt0", TUN), control=False)
    made = HostService(HostServiceSettings(interface=interface, addresses=["10.9.0.2/24"]), reactor)
    made.startService()
    _watch(ends, "tun", made.port)
    reactor.callLater(0, reactor.stop)


def serviceDeleted(reactor: Any, ends: Ends) -> None:
    """
    Run a service, and delete its interface while the reactor stops.
    """
    service(reactor, ends)
    reactor.addSystemEventTrigger("before", "shutdown", delete, "tt0")


def tunnels(reactor: Any, ends: Ends) -> None:
    """
    Run two tunnels that are connected to each other.
    """
    made = [Tunnel(TUN), Tunnel(TUN)]
    for number, tunnel in enumerate(made):
        _watched(ends, f"tun{number}", TuntapPort(f"tt{number}", tunnel, reactor=reactor))
    factories = [StreamFactory(tunnel, Frames, reactor) for tunnel in made]
    serverFromString(reactor, "unix:ending").listen(factories[0])
    clientFromString(reactor, "unix:ending").connect(factories[1])

    def end() -> None:
        if all(tunnel.carrier is not None for tunnel in made):
            reactor.stop()
        else:
            reactor.callLater(0.005, end)

    end()


def readme(reactor: Any, ends: Ends) -> None:
    """
    Run a program of the README until a signal ends it.
    """
    text = Path(sys.argv[3]).read_text()
    exec(compile(text, sys.argv[3], "exec"), {"__name__": "__main__"})


def main() -> int:
    """
    Run a program on a reactor. The arguments of the process are the names of the reactor and of the program.
    """
    reactorName, name = sys.argv[1:3]
    importlib.import_module(f"twisted.internet.{reactorName}reactor").install()
    from twisted.internet import reactor

    log: list[LogEvent] = []
    globalLogBeginner.beginLoggingTo([cast(ILogObserver, log.append)], redirectStandardIO=False)
    ends: Ends = {}
    program: Callable[[Any, Ends], None] = globals()[name]
    program(reactor, ends)
    if name != "readme":
        cast(Any, reactor).run()
    # Ignored, so that the process ends with an exit status and not by the signal.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lines = [[event["log_level"].name, eventAsText(event, includeTimestamp=False)] for event in log]
    print(json.dumps({"ends": ends, "log": lines}))
    return 0
