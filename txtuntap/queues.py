"""
One device, several processes: each has a queue of its own (C{IFF_MULTI_QUEUE}), and the kernel keeps the packets of a
flow in one of them: where its answers come from.

    devices = [LinuxDevice("tun0", TUN, multiQueue=True) for _ in range(4)]
    for device in devices:
        device.open(offload=None)
    queueProcesses(devices, [sys.executable, "worker.py"], reactor).startService()

and in C{worker.py}

    TuntapPort("tun0", protocol, device=LinuxDevice("tun0", TUN, descriptor=DESCRIPTOR)).startListening()
    stopWithParent(reactor)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IReactorProcess, IReactorTime
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import directlyProvides

if TYPE_CHECKING:
    from twisted.runner.procmon import ProcessMonitor

    from txtuntap.device.linux import LinuxDevice

#: The number by which a process has its queue.
DESCRIPTOR = 3

#: The longest wait, in seconds, before a process that dies again and again is started anew.
_MAX_DELAY = 10.0


def queueProcesses(devices: Sequence[LinuxDevice], arguments: Sequence[str], reactor: Any) -> ProcessMonitor:
    """
    Processes that are started with the service, and again when they end.

    @param devices: open, and for the processes alone: one each, which it has as descriptor 3. They stay open here, so
        that one that is started anew has its queue again without privilege.
    @param arguments: what to run in each.

    @return: a service, which writes to the log what they say, and stops them when it stops. The devices are not closed.
    """
    # That imports a reactor, and so cannot be imported before one is chosen.
    from twisted.runner.procmon import ProcessMonitor

    handing = _Handing(reactor, {f"queue {number}": device for number, device in enumerate(devices, 1)})
    monitor: ProcessMonitor = ProcessMonitor(handing)  # type: ignore[arg-type]
    monitor.maxRestartDelay = _MAX_DELAY  # type: ignore[assignment]
    for name in handing.devices:
        monitor.addProcess(name, list(arguments), env=dict(os.environ))
    return monitor


def stopWithParent(reactor: Any) -> None:
    """
    In such a process: stop the reactor once the one that started it has ended, however it did.
    """
    from twisted.internet.stdio import StandardIO

    StandardIO(_Parent(reactor), reactor=reactor)


class _Parent(Protocol):
    """
    Standard input, which nobody writes to, and which ends with the parent.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def connectionLost(self, reason: Failure | None = None) -> None:
        """
        It has ended.
        """
        if self._reactor.running:
            self._reactor.stop()


class _Handing:
    """
    A reactor that hands a device's descriptor to each process it starts.
    """

    def __init__(self, reactor: Any, devices: dict[str, LinuxDevice]) -> None:
        self._reactor = reactor
        self.devices = devices
        directlyProvides(self, IReactorProcess, IReactorTime)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def spawnProcess(self, proto: Any, *arguments: Any, **keywords: Any) -> Any:
        """
        See C{IReactorProcess.spawnProcess}.
        """
        childFDs = {0: "w", 1: "r", 2: "r", DESCRIPTOR: self.devices[proto.name].fileno()}
        return self._reactor.spawnProcess(proto, *arguments, **keywords, childFDs=childFDs)
