"""
The service of C{twistd tuntap host}: a host on a TUN or TAP device::

    twistd -n tuntap host --tun tun0 --address 10.0.0.2/24 --kernel-address 10.0.0.1/24 --udp 7=echo
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import attrs
from twisted.application.service import IService
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from txtuntap.device import TAP
from txtuntap.device.choice import makeDevice
from txtuntap.device.platform import platformModule
from txtuntap.interfaces import IDevice
from txtuntap.layer.bounded import TableState
from txtuntap.service.interface import InterfaceService
from txtuntap.service.observe.page.subject import Subject
from txtuntap.service.options.host import HostServiceSettings, HostSettings
from txtuntap.service.ready import addressesText
from txtuntap.stack.host import Host
from txtuntap.udp.echo import Echo

#: The most TCP connections that SIGUSR2 logs, each in one line.
_MAX_LOGGED = 1000


class ServedHost:
    """
    A host, and the UDP and TCP services on it.

    @ivar host: the host.
    """

    _log = Logger()

    def __init__(self, settings: HostSettings, reactor: Any) -> None:
        """
        @param settings: the settings of the host, and of what it serves.
        """
        self.host = _makeHost(settings, reactor, self._log)
        for number, proto in settings.protocols:
            self.host.listenUDP(number, proto)
        self._echoes = {f"echo {number}": proto for number, proto in settings.protocols if isinstance(proto, Echo)}
        self._factories = settings.factories
        self._anyAddresses = settings.anyAddresses
        self._listening: list[IListeningPort] = []

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """
        Return the counters of the host, and of each UDP echo by its port.
        """
        return {**self.host.counters, **{part: echo.counters for part, echo in self._echoes.items()}}

    def tables(self) -> list[TableState]:
        """
        List the tables of the UDP echoes: see
        L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [state for echo in self._echoes.values() for state in echo.tables()]

    @property
    def addresses(self) -> str:
        """
        The addresses of the host for the log, and the networks whose every address it has.
        """
        return addressesText([*self.host.addresses, *(f"any of {network}" for network in self._anyAddresses)])

    def listen(self) -> None:
        """
        Listen on the TCP ports.
        """
        self._listening = [self.host.listenTCP(number, factory) for number, factory in self._factories]

    def stop(self) -> list[Any]:
        """
        Close the TCP ports.

        @return: for each port, the result of its C{stopListening}.
        """
        listening, self._listening = self._listening, []
        return [port.stopListening() for port in listening]

    def dump(self) -> None:
        """
        Log the TCP connections.
        """
        connections = self.host.eachConnection()
        for record in islice(connections, _MAX_LOGGED):
            self._log.info("tcp connection: {record}", record=record)
        if connections.left:
            self._log.info("tcp connections: {count} more", count=connections.left)


class HostService(InterfaceService):
    """
    A service that runs a L{Host} on a TUN or TAP device.

    @ivar host: the host.
    """

    what = "A host"

    def __init__(self, settings: HostServiceSettings, reactor: Any = None) -> None:
        """
        @param settings: the settings of the interface, of the host, and of what it serves.
        """
        if reactor is None:
            from twisted.internet import reactor
        self._served = ServedHost(settings, reactor)
        self.host = self._served.host
        top = self.host.ethernet if settings.interface.device.mode == TAP else self.host.ip
        super().__init__(settings.interface, top, reactor, self.host)
        self._queueSettings = settings.queues
        self._isQueue = settings.isQueue
        self._queues: Sequence[IDevice] = ()
        self._processes: IService | None = None
        if settings.isQueue:
            platformModule("queues").stopWithParent(reactor)

    def _ends(self) -> dict[str, object]:
        """
        Return the addresses of the host, and as its peer those of the kernel's end of the interface.
        """
        return {"addresses": self._served.addresses, "peer": addressesText(self._kernelAddresses)}

    def _started(self) -> None:
        """
        Start the processes of further queues.
        """
        if self._processes is not None:
            self._processes.startService()

    def _sayReady(self) -> None:
        """
        Log that the service is ready, but not once for each process of it.
        """
        if not self._isQueue:
            super()._sayReady()

    def stopService(self) -> Deferred[None]:
        """
        Stop the processes of further queues, then the TCP ports and the interface.
        """
        if self._processes is not None:
            self._processes.stopService()
        for queue in self._queues:
            queue.close()
        return DeferredList([*self._served.stop(), super().stopService()]).addCallback(lambda _: None)

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """
        Return the counters of the interface, of the host, and of each UDP echo by its port.
        """
        return {**super().counters(), **self._served.counters()}

    def subject(self) -> Subject:
        """
        Describe the interface and the host for a live page.
        """
        return attrs.evolve(super().subject(), host=self.host)

    def tables(self) -> list[TableState]:
        """
        List the tables of the UDP echoes, and of the servers for clients on this machine: see
        L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [*super().tables(), *self._served.tables()]

    def _dump(self) -> None:
        """
        Log the counters and the TCP connections.
        """
        super()._dump()
        self._served.dump()

    def _opened(self) -> None:
        """
        Listen on the TCP ports, and open the queues of the further processes.
        """
        self._served.listen()
        settings = self._queueSettings
        if settings is not None:
            name, mode, node = self._device.name, self._device.mode, settings.node
            self._queues = [makeDevice(name, mode, multiQueue=True, node=node) for _ in range(settings.processes)]
            for queue in self._queues:
                queue.open(self._offload)
            run = platformModule("queues").queueProcesses
            self._processes = run(self._queues, settings.command, self._reactor)


def _makeHost(settings: HostSettings, reactor: Any, log: Logger) -> Host:
    """
    Make the host, and log its warnings.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        host = Host(
            settings.addresses,
            reactor,
            linkAddress=settings.linkAddress,
            gateways=settings.gateways,
            anyAddresses=settings.anyAddresses,
            answerFor=settings.answerFor,
            answerExcept=settings.answerExcept,
            autoconfigure=settings.autoconfigure,
        )
    for warning in caught:
        # The location in the source code, which a warning contains, would not help a reader of the log.
        log.warn("{warning}", warning=warning.message)
    return host
