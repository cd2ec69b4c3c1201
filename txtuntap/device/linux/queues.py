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
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorProcess, IReactorTime
from twisted.python.failure import Failure
from zope.interface import directlyProvides

from txtuntap.mistakes import listed
from txtuntap.shutdown import stop

if TYPE_CHECKING:
    from twisted.runner.procmon import ProcessMonitor

    from txtuntap.device.linux.device import LinuxDevice

#: The number by which a process has its queue.
DESCRIPTOR = 3

#: The longest wait, in seconds, before a process that dies again and again is started anew.
_MAX_DELAY = 10.0


def queueProcesses(devices: Sequence[LinuxDevice], arguments: Sequence[str], reactor: Any) -> ProcessMonitor:
    """
    Processes that are started with the service, and again when they end.

    @param devices: open, and for the processes alone: one each, which it has as descriptor 3. They stay open here, so
        that one that is started anew has its queue again without privilege; until then, the others have its packets.
    @param arguments: what to run in each.

    @raise ValueError: C{arguments} is text, and no list.

    @return: a service, which writes to the log what they say, and stops them when it stops. The devices are not closed.
    """
    command = listed(arguments, "arguments", "python3")
    # The module imports a reactor, and so cannot be imported before one is chosen.
    from twisted.runner.procmon import ProcessMonitor

    for device in devices:
        device.setQueue(False)
    handing = _Handing(reactor, {f"queue {number}": device for number, device in enumerate(devices, 1)})
    monitor: ProcessMonitor = ProcessMonitor(handing)  # type: ignore[arg-type]
    monitor.maxRestartDelay = _MAX_DELAY  # type: ignore[assignment]
    for name in handing.devices:
        monitor.addProcess(name, command, env=dict(os.environ))
    return monitor


def stopWithParent(reactor: Any) -> None:
    """
    In such a process: stop the reactor once the one that started it has ended, however it did.
    """
    _Parent(reactor).startReading()  # type: ignore[no-untyped-call]


class _Parent(FileDescriptor):
    """
    Standard input, which nobody writes to, and which ends with the parent.
    """

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor)
        self._reactor = reactor
        self.connected = 1
        os.set_blocking(self.fileno(), False)

    def fileno(self) -> int:
        """
        The descriptor of standard input.
        """
        return 0

    def doRead(self) -> Exception | None:
        """
        Standard input has ended, or a person types.
        """
        try:
            ended = not os.read(0, 4096)
        except BlockingIOError:
            return None
        return ConnectionDone() if ended else None

    def connectionLost(self, reason: Failure) -> None:
        """
        Standard input has ended: stop the reactor.
        """
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        stop(self._reactor)


class _Handing:
    """
    A reactor that hands a device's descriptor to each process it starts. A queue without a process gets nothing: what
    would be in it goes to the others.
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
        device = self.devices[proto.name]
        processEnded = proto.processEnded

        def ended(reason: Failure) -> None:
            with suppress(OSError):
                device.setQueue(False)
            processEnded(reason)

        proto.processEnded = ended
        childFDs = {0: "w", 1: "r", 2: "r", DESCRIPTOR: device.fileno()}
        process = self._reactor.spawnProcess(proto, *arguments, **keywords, childFDs=childFDs)
        # Once it is there. It was detached by whoever opened it, or when the one before ended.
        with suppress(OSError):
            device.setQueue(True)
        return process
