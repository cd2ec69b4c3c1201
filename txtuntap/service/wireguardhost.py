"""
C{twistd tuntap host --wireguard}: a host in a network of WireGuard, without a device and without privileges::

    twistd -n tuntap host --wireguard wg0.conf --udp 7=echo
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from txtuntap.layer.bounded import TableState
from txtuntap.middleware import Impairment
from txtuntap.network.link import Link
from txtuntap.service.errors import showPlainly
from txtuntap.service.host import ServedHost
from txtuntap.service.interface import countsText, handleSignals
from txtuntap.service.linkcapture import LinkCapture
from txtuntap.service.observe.control import ControlSocket
from txtuntap.service.observe.page.subject import Subject
from txtuntap.service.observe.wireguard import dumpPeers, peerCounters
from txtuntap.service.options.host import WireGuardHostSettings
from txtuntap.service.options.wireguardfile import allowedNetworks
from txtuntap.service.ready import linkFacts, sayReady, wireguardFacts
from txtuntap.service.wireguardfile import makeWireGuard, saveIfAsked


class WireGuardHostService(Service):
    """
    A service that runs a L{Host<txtuntap.stack.host.Host>} behind a
    L{WireGuard<txtuntap.wireguard.protocol.WireGuard>}. Both are joined by a L{Link}. On SIGUSR2 it logs its counters.

    @ivar wireguard: the protocol.
    @ivar host: the host.
    @ivar link: the link between them.
    """

    _log = Logger()

    def __init__(self, settings: WireGuardHostSettings, reactor: Any = None) -> None:
        """
        @param settings: the settings of WireGuard, of the host, and of what it serves.
        """
        if reactor is None:
            from twisted.internet import reactor
        self._settings = settings
        self._reactor = reactor
        self._served = ServedHost(settings, reactor)
        self.host = self._served.host
        for network in allowedNetworks(settings.wireguard.configuration):
            self.host.addRoute(str(network))
        self.wireguard = makeWireGuard(settings.wireguard, reactor)
        self._impairment = None if settings.impairment is None else Impairment(self.host.ip, settings.impairment)
        self._capture = LinkCapture(settings.name, self._impairment or self.host.ip)
        self._control = ControlSocket(self._capture, reactor, self.host, self.wireguard) if settings.control else None
        self.link = Link(self.wireguard, self._capture, reactor, settings.mtu)

    def interface(self) -> str:
        """
        Return the name of the file, which stands for that of an interface.
        """
        return self._settings.name

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """
        Return the counters of the link, of WireGuard, of the faults, of the host, and of each UDP echo by its port.
        """
        wireguard, host = (end.counters for end in self.link.ends)
        port = {
            "inPackets": wireguard.outPackets,
            "inOctets": wireguard.outOctets,
            "outPackets": host.outPackets,
            "outOctets": host.outOctets,
            "inDiscards": wireguard["outDiscards"],
            "outDiscards": host["outDiscards"],
        }
        faults = {} if self._impairment is None else {"impairment": self._impairment.counters}
        return {"port": port, "wireguard": self.wireguard.counters, **faults, **self._served.counters()}

    def subject(self) -> Subject:
        """
        Describe WireGuard and the host for a live page.
        """
        return Subject(
            self.interface,
            proto=self._capture,
            counters=self.counters,
            host=self.host,
            wireguard=self.wireguard,
            others=self,
        )

    def tables(self) -> list[TableState]:
        """
        List the tables of the link, the UDP echoes, and the server for clients on this machine: see
        L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        control = [] if self._control is None else self._control.tables()
        return [*self.link.tables(), *self._served.tables(), *control]

    def peerCounters(self) -> Mapping[str, Mapping[str, float]]:
        """
        Return the counters of each peer by its public key.
        """
        return peerCounters(self.wireguard)

    def privilegedStartService(self) -> None:
        """
        Open the socket outside and the control socket, and listen on the TCP ports.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        try:
            self.link.start()
        except (CannotListenError, OSError, ValueError) as e:
            showPlainly(e)
            raise
        self._served.listen()
        if self._control is not None:
            self._control.open(_NoDevice(self._settings.name))

    def startService(self) -> None:
        """
        Handle signals, and tell the service manager that the host is ready.
        """
        super().startService()  # type: ignore[no-untyped-call]
        if not self.wireguard.numPorts:
            self.privilegedStartService()
        handleSignals(self._reactor, self._dump)
        sayReady(self._log, f"A host behind WireGuard {self.interface()}", self.facts())

    def facts(self) -> dict[str, object]:
        """
        Return the facts about the running service for the log.
        """
        inside = self.link.ends[1]
        link = linkFacts(inside.mtu, inside.offloads)
        return {"addresses": self._served.addresses, **wireguardFacts(self.wireguard), **link}

    def stopService(self) -> Deferred[None]:
        """
        Write the file if C{SaveConfig} is set, and close the ports and the sockets.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        saveIfAsked(self.wireguard, self._settings.wireguard)

        def stopped(_: object) -> Deferred[Any]:
            self.link.stop()
            return maybeDeferred(lambda: None if self._control is None else self._control.close())

        return DeferredList(self._served.stop()).addCallback(stopped).addCallback(lambda _: None)

    def _dump(self) -> None:
        for part, counters in self.counters().items():
            self._log.info("{part}: {counts}", part=part, counts=countsText(counters))
        self._served.dump()
        dumpPeers(self._log, self.wireguard)


@attrs.frozen
class _NoDevice:
    """
    The stand-in for the device of a control socket.
    """

    name: str
