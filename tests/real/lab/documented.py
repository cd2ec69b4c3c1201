"""
Programs that run one example of a docstring or of the documentation.

An example in Python is in the file C{example.py}, and its name is the argument. An example of README or of the
documentation is a whole program, so it gets no names. A command line of C{twistd tuntap} is given as arguments.
"""

from __future__ import annotations

import importlib
import os
import select
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet import task
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, globalLogBeginner

from tests.examples import WIREGUARD
from tests.real.lab.namespace import ip
from txtuntap import Host, IPProtocol, TuntapPort
from txtuntap.device import TUN
from txtuntap.device.linux.device import NODE
from txtuntap.device.linux.queues import DESCRIPTOR
from txtuntap.middleware import Capture, Meter
from txtuntap.network.clock import SimulationClock
from txtuntap.network.link import Link
from txtuntap.switch import Switch
from txtuntap.tunnel.tunnel import Tunnel
from txtuntap.wireguard import PrivateKey

#: The seconds that the reactor of an example runs.
_MOMENT = 0.1

#: Modules whose names the examples use without an import.
_MODULES = (
    *(
        "txtuntap",
        "txtuntap.device",
        "txtuntap.device.configure",
        "txtuntap.device.helper.device",
        "txtuntap.device.linux.device",
    ),
    *("txtuntap.device.monitor", "txtuntap.device.linux.netlink", "txtuntap.device.linux.state"),
    *("txtuntap.device.settings", "txtuntap.device.state"),
    *(
        "txtuntap.interfaces",
        "txtuntap.network.link",
        "txtuntap.middleware",
        "txtuntap.middleware.meter",
        "txtuntap.network.network",
    ),
    *(
        "txtuntap.middleware.prometheus",
        "txtuntap.device.linux.queues",
        "txtuntap.network.replay",
        "txtuntap.switch.switch",
        "txtuntap.tcp",
        "txtuntap.testing",
    ),
    *("txtuntap.tunnel.bare", "txtuntap.tunnel.client", "txtuntap.tunnel.datagram", "txtuntap.tunnel.frames"),
    *("txtuntap.wireguard", "txtuntap.service"),
    *("txtuntap.tunnel.stream", "twisted.application.internet", "twisted.internet.endpoints", "zope.interface"),
)


class Echo(DatagramProtocol):
    """
    A protocol that sends every datagram back to its sender.
    """

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """
        Send the datagram back to its sender.
        """
        assert self.transport is not None
        self.transport.write(datagram, addr)


def _names(reactor: Any) -> dict[str, Any]:
    """
    Make the names that the examples use without an import.
    """
    # Imported only here, because these modules import the reactor.
    import prometheus_client.twisted
    from prometheus_client import CollectorRegistry
    from twisted.names import dns
    from twisted.names.server import DNSServerFactory
    from twisted.web.resource import Resource

    import txtuntap.service
    from txtuntap.service.observe.metrics import MetricsFactory

    names: dict[str, Any] = {}
    for each in _MODULES:
        module = importlib.import_module(each)
        names.update({name: value for name, value in vars(module).items() if not name.startswith("_")})
    names.update(txtuntap=txtuntap, MetricsFactory=MetricsFactory)
    names.update(reactor=reactor, task=task, select=select, sys=sys, prometheus_client=prometheus_client, dns=dns)
    names.update(Echo=Echo, Random=Random)
    clock = SimulationClock()
    host = Host(["10.0.0.2/24"], clock)
    # Some examples write datagrams to a transport.
    writer = Host(["10.1.0.2/24"], clock)
    receiver = Host(["10.1.0.3/24"], clock)
    transport = writer.listenUDP(7, Echo())
    Link(writer.ethernet, receiver.ethernet, clock).start()
    names.update(
        clock=clock,
        host=host,
        switch=Switch(clock),
        protocol=IPProtocol(),
        port=TuntapPort("tap0", host.ethernet, reactor=reactor),
        meter=Meter(Host(["10.2.0.2/24"], clock).ethernet),
        registry=CollectorRegistry(),
        resource=Resource(),
        tunnel=Tunnel(TUN),
        controller=DNSServerFactory(),
        factory=Factory.forProtocol(Protocol),
        ip=IPProtocol(),
        self=SimpleNamespace(transport=transport),
        address=("10.1.0.3", 7),
        datagrams=[b"one", b"two"],
        privateKey=PrivateKey.generate(),
        publicKey=PrivateKey.generate().public,
    )
    return names


def _prepare(name: str) -> None:
    """
    Make the files, interfaces and descriptors that an example needs.
    """
    Path("worker.py").write_text("")
    Path("wg0.conf").write_text(WIREGUARD)
    if name.startswith(("txtuntap/device/linux/device.py", "txtuntap/device/linux/netlink.py")):
        ip("tuntap", "add", "mode", "tun", "name", "tun0")
    if name.startswith("txtuntap/device/linux/device.py"):
        # The example receives a packet. The kernel sends some when the link has its carrier, such as router
        # solicitations.
        ip("link", "set", "tun0", "up")
    if name == "txtuntap/device/linux/queues.py 2":
        # This example runs in a process that has its queue as a descriptor.
        os.dup2(os.open(NODE, os.O_RDWR), DESCRIPTOR)
    with open("trace.pcapng", "wb") as file:
        host = Host(["10.0.0.1/24"], Clock())
        port = Capture(file, host.ethernet)
        Link(port, Host(["10.0.0.3/24"], Clock()).ethernet, Clock()).start()


def main() -> int:
    """
    Run the example in Python, and the reactor for a moment, unless the example runs it.
    """
    name = sys.argv[1]
    # The reactor is imported later, because it would take the number of the queue's descriptor.
    _prepare(name)
    text = Path("example.py").read_text()
    code = compile(text, name, "exec")
    if "asyncioreactor" in text:
        # The example installs a reactor itself, and stops it.
        exec(code, {"__name__": "__main__"})
        return 0

    def example(reactor: Any) -> None:
        names = {"__name__": "__main__"} if ".md " in name else _names(reactor)
        exec(code, names)

    return _runFor(example)


def service() -> int:
    """
    Run the service of a command line for a moment. The arguments of the process are those behind C{twistd tuntap}.
    """

    def example(reactor: Any) -> None:
        from txtuntap.service import Options, makeService

        options = Options()
        options.parseOptions(sys.argv[1:])  # type: ignore[no-untyped-call]
        made = makeService(options)
        made.privilegedStartService()
        made.startService()
        reactor.addSystemEventTrigger("before", "shutdown", made.stopService)

    return _runFor(example)


def _runFor(example: Callable[[Any], None]) -> int:
    """
    Run an example and the reactor for a moment.

    @return: the number of errors in the log, which are printed.
    """
    from twisted.internet import reactor

    log: list[LogEvent] = []
    globalLogBeginner.beginLoggingTo([cast(ILogObserver, log.append)], redirectStandardIO=False)
    running = cast(Any, reactor)
    began: list[bool] = []
    running.callWhenRunning(began.append, True)
    running.callWhenRunning(lambda: running.callLater(_MOMENT, running.stop))
    example(reactor)
    if not began:
        running.run()
    serious = [event for event in log if event["log_level"] in (LogLevel.error, LogLevel.critical)]
    for event in serious:
        print(eventAsText(event))
    return len(serious)
