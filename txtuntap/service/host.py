"""
C{twistd tuntap host}: a host on a TUN or TAP device.

    twistd -n tuntap host --tun tun0 --address 10.0.0.2/24 --kernel-address 10.0.0.1/24 --udp 7=echo
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol

from txtuntap.device import TAP
from txtuntap.device.linux.queues import DESCRIPTOR, queueProcesses, stopWithParent
from txtuntap.device.settings import InterfaceSettings
from txtuntap.service.interface import InterfaceService
from txtuntap.stack.host import Host
from txtuntap.udp.echo import Echo

if TYPE_CHECKING:
    from txtuntap.device.linux.device import LinuxDevice


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
            processes, which run C{command}: see L{txtuntap.device.linux.queues}.
        """
        top = host.ethernet if device.mode == TAP else host.ip
        super().__init__(device, top, settings, undo, reactor, offload, control=control)
        self.host = host
        for number, proto in protocols:
            host.listenUDP(number, proto)
        self._echoes = {f"echo {number}": proto.counters for number, proto in protocols if isinstance(proto, Echo)}
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
        Those of the host, and of each echo by its port, too.
        """
        return {**super().counters(), **self.host.counters, **self._echoes}

    def _opened(self) -> None:
        """
        Open the queues of other processes.
        """
        if self._makeQueues is not None:
            self._queues = self._makeQueues(self._device.name)
            for queue in self._queues:
                queue.open(self._offload)
            self._processes = queueProcesses(self._queues, self._command, self._reactor)


def makeHostService(asked: Any) -> HostService:
    """
    The service that the options ask for.
    """
    from twisted.internet import reactor

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
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
    for warning in caught:
        # A line of a program says nothing to a reader of the log.
        HostService._log.warn("{warning}", warning=warning.message)
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
