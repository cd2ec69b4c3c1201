"""
C{twistd tuntap wireguard}: a WireGuard peer on a TUN device::

    twistd -n tuntap wireguard --tun wg0 --config wg0.conf
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from txtuntap.device.platform import platformModule, requireLinux
from txtuntap.device.settings import InterfaceRoute, InterfaceSettings
from txtuntap.layer.bounded import TableState
from txtuntap.layer.timer import Timer
from txtuntap.service.interface import InterfaceService
from txtuntap.service.nameservers import NameServers
from txtuntap.service.observe.page.subject import Subject
from txtuntap.service.observe.wireguard import dumpPeers, peerCounters
from txtuntap.service.options.wireguard import WireGuardServiceSettings
from txtuntap.service.ready import wireguardFacts
from txtuntap.service.uapisocket import UAPISocket
from txtuntap.service.wireguardfile import makeWireGuard, saveIfAsked
from txtuntap.shutdown import stop
from txtuntap.wireguard.clamp import ClampMSS

if TYPE_CHECKING:
    from txtuntap.device.linux.policy import PolicyRules

#: The seconds between two looks at whether the socket of C{wg} is still there. If a user deletes it, the interface
#: ends.
_LOOK = 2.0

#: The number of the first table that a default route is put into, as with C{wg-quick}.
FIRST_TABLE = 51820


class WireGuardService(InterfaceService):
    """
    A service that runs a L{WireGuard<txtuntap.wireguard.protocol.WireGuard>} on a TUN device.

    @ivar wireguard: the protocol.
    """

    what = "A WireGuard"

    def __init__(self, settings: WireGuardServiceSettings, reactor: Any = None) -> None:
        """
        @param settings: the settings of the interface, the keys and the peers.
        """
        if reactor is None:
            from twisted.internet import reactor
        self.wireguard = makeWireGuard(settings, reactor)
        self._clamp = ClampMSS(self.wireguard) if settings.clampMSS else None
        super().__init__(settings.interface, self._clamp or self.wireguard, reactor, wireguard=self.wireguard)
        self._settings = settings
        self._uapi: UAPISocket | None = None
        self._looking = Timer(reactor, self._look)
        self._nameServers = NameServers()
        self._rules: PolicyRules | None = None

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """
        Return the counters of the interface, of WireGuard, and of the clamping.
        """
        clamp = {} if self._clamp is None else {"clamp": self._clamp.counters}
        return {**super().counters(), **clamp, "wireguard": self.wireguard.counters}

    def subject(self) -> Subject:
        """
        Describe the interface and the WireGuard for a live page.
        """
        return attrs.evolve(super().subject(), wireguard=self.wireguard)

    def tables(self) -> list[TableState]:
        """
        List the tables of the servers for clients on this machine: see
        L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [*super().tables(), *([] if self._uapi is None else self._uapi.tables())]

    def peerCounters(self) -> Mapping[str, Mapping[str, float]]:
        """
        Return the counters of each peer by its public key.
        """
        return peerCounters(self.wireguard)

    def _dump(self) -> None:
        """
        Log the counters and the peers.
        """
        super()._dump()
        dumpPeers(self._log, self.wireguard)

    def open(self) -> None:
        """
        Open the device, configure the interface, its default routes and its name servers.

        @raise CannotListenError: the device or the socket outside cannot be opened.
        @raise OSError: the kernel refused a setting.
        @raise ValueError: a setting does not fit the interface.
        """
        versions = self._chooseTable()
        super().open()
        if versions:
            rules = platformModule("policy").addingRules(self.wireguard.fwmark, versions)
            self._rules = platformModule("configure").askNow(rules)
        # Last, because nothing undoes it if another step fails.
        self._nameServers.set(self.interface(), self._settings.configuration)

    def _chooseTable(self) -> list[int]:
        """
        Add the default routes to the settings of the interface. Messages outside must not use them, so they are in a
        table whose number is the mark of these messages.

        @return: the IP versions for which policy rules are needed.
        """
        defaults = self._settings.defaults
        if not defaults:
            return []
        requireLinux(
            "a default route beside that of the peers' endpoints",
            "set Table = off, and add 0.0.0.0/1 and 128.0.0.0/1 through the interface, and a route to each endpoint",
        )
        from txtuntap.device.controlname import namespaceNumber

        namespace = getattr(self._device, "namespace", None)
        table = None
        # In another namespace than that of the socket outside, the messages cannot use the routes.
        if namespace is None or namespaceNumber(namespace) == namespaceNumber():
            if not self.wireguard.fwmark:
                finding = platformModule("policy").findingTable(FIRST_TABLE)
                self.wireguard.setMark(platformModule("configure").askNow(finding))
            table = self.wireguard.fwmark
        kernelEnd = self._settings.interface.kernelEnd or InterfaceSettings(up=None)
        routes = [*kernelEnd.routes, *(InterfaceRoute(str(network), table=table) for network in defaults)]
        self._kernelEnd = attrs.evolve(kernelEnd, routes=routes, up=True if kernelEnd.up is None else kernelEnd.up)
        return [] if table is None else [network.version for network in defaults]

    def _opened(self) -> None:
        """
        Listen to C{wg}, before the process drops its privileges.
        """
        if self._settings.uapi:
            uapi = UAPISocket(self.interface(), self.wireguard, self._reactor)
            try:
                uapi.open()
            except OSError as e:
                self._log.warn("wg(8) cannot show {name}: {reason}", name=self.interface(), reason=e)
            else:
                self._uapi = uapi

    def _ends(self) -> dict[str, object]:
        """
        Return the addresses of the kernel's end of the interface, and the facts about the WireGuard.
        """
        return {**super()._ends(), **wireguardFacts(self.wireguard)}

    def _started(self) -> None:
        """
        Watch the socket of C{wg}.
        """
        if self._uapi is not None:
            self._looking.arm(_LOOK)

    def stopService(self) -> Deferred[None]:
        """
        Write the file if C{SaveConfig} is set, and undo what does not end with the interface.
        """
        saveIfAsked(self.wireguard, self._settings)
        self._end()
        return super().stopService()

    def _ended(self, reason: Failure) -> None:
        self._end()
        super()._ended(reason)

    def _end(self) -> None:
        """
        Close the socket of C{wg}, and restore the name servers and the policy rules.
        """
        self._looking.stop()
        if self._uapi is not None:
            self._uapi.close()
            self._uapi = None
        self._nameServers.unset()
        rules, self._rules = self._rules, None
        if rules is not None:
            try:
                platformModule("configure").askNow(rules.removing())
            except OSError as e:
                # A process that has dropped its privileges cannot remove them.
                self._log.warn("Policy rules stay: {reason}", reason=e.strerror)

    def _look(self) -> None:
        """
        Stop if the socket of C{wg} was deleted. C{wg-quick} and others end an interface of a program so.
        """
        if self._uapi is not None and not self._uapi.isThere:
            self._log.info("{path} was deleted: stopping", path=self._uapi.path)
            stop(self._reactor)
            return
        self._looking.arm(_LOOK)
