"""
One device for several processes, each with its own queue (C{IFF_MULTI_QUEUE}). The kernel puts all packets of a flow
into one queue: the queue to which the flow's packets in the other direction are written::

    devices = [LinuxDevice("tun0", TUN, multiQueue=True) for _ in range(4)]
    for device in devices:
        device.open(offload=None)
    queueProcesses(devices, [sys.executable, "worker.py"], reactor).startService()

The file C{worker.py} contains::

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
from twisted.internet.fdesc import setNonBlocking
from twisted.internet.interfaces import IReactorProcess, IReactorTime
from twisted.python.failure import Failure
from zope.interface import directlyProvides

from txtuntap.mistakes import listed
from txtuntap.shutdown import stop

if TYPE_CHECKING:
    from twisted.runner.procmon import ProcessMonitor

    from txtuntap.device.linux.device import LinuxDevice

#: The number of the descriptor with which a process has its queue.
DESCRIPTOR = 3

#: The largest number of seconds until a process that ends repeatedly is started again.
_MAX_DELAY = 10.0


def queueProcesses(devices: Sequence[LinuxDevice], arguments: Sequence[str], reactor: Any) -> ProcessMonitor:
    """
    Make a service that runs one process for each queue of a device, and starts a process again when it has ended.

    @param devices: an open device for each process, attached to the same interface. The process has its device as
        descriptor 3. The devices stay open in this process, so that a process can be started again without privilege.
        While a process does not run, the other processes receive its packets.
    @param arguments: the command to run in each process, and its arguments.
    @param reactor: the reactor.

    @return: the service. It logs the output of the processes, and ends them when it stops. It does not close the
        devices.

    @raise ValueError: C{arguments} is text instead of a list.
    @raise OSError: a device is not open, or has no C{multiQueue}.
    """
    command = listed(arguments, "arguments", "python3")
    # The import is here, because procmon imports the reactor, which the application has to choose first.
    from twisted.runner.procmon import ProcessMonitor

    for device in devices:
        device.setQueue(False)
    queues = {f"queue {number}": device for number, device in enumerate(devices, 1)}
    monitor: ProcessMonitor = ProcessMonitor(_DescriptorPassingReactor(reactor, queues))  # type: ignore[arg-type]
    monitor.maxRestartDelay = _MAX_DELAY  # type: ignore[assignment]
    for name in queues:
        monitor.addProcess(name, command, env=dict(os.environ))
    return monitor


def stopWithParent(reactor: Any) -> None:
    """
    Stop the reactor once the parent process has ended for any reason. Call this in a process that L{queueProcesses} has
    started.
    """
    _Parent(reactor).startReading()  # type: ignore[no-untyped-call]


class _Parent(FileDescriptor):
    """
    The reader of standard input, which is a pipe from the parent process. The parent writes nothing to it, and the pipe
    is closed when the parent ends.
    """

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor)
        self._reactor = reactor
        self.connected = 1
        setNonBlocking(self.fileno())

    def fileno(self) -> int:
        """
        The descriptor of standard input.
        """
        return 0

    def doRead(self) -> Exception | None:
        """
        Detect the end of standard input. Octets are ignored, because standard input is a terminal if a person has
        started the process.
        """
        try:
            ended = not os.read(0, 4096)
        except BlockingIOError:
            return None
        return ConnectionDone() if ended else None

    def connectionLost(self, reason: Failure) -> None:
        """
        Stop the reactor, because standard input has ended.
        """
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        stop(self._reactor)


class _DescriptorPassingReactor:
    """
    A reactor that passes a device's descriptor to each process that it starts. The queue of a process that does not run
    is detached, so that the kernel distributes its packets among the other queues.
    """

    def __init__(self, reactor: Any, devices: dict[str, LinuxDevice]) -> None:
        self._reactor = reactor
        self.devices = devices
        directlyProvides(self, IReactorProcess, IReactorTime)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def spawnProcess(self, proto: Any, *arguments: Any, **keywords: Any) -> Any:
        """
        Start a process and attach its queue: see C{IReactorProcess.spawnProcess}.
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
        # The queue is attached once the process runs. It was detached by queueProcesses, or when the former process
        # ended.
        with suppress(OSError):
            device.setQueue(True)
        return process
