"""
C{twistd tuntap wireguard}: a WireGuard peer on a TUN device.

    twistd -n tuntap wireguard --tun wg0 --config wg0.conf
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.python.failure import Failure

from txtuntap.service.interface import InterfaceService
from txtuntap.service.options.wireguard import WireGuardServiceSettings
from txtuntap.service.ready import tellReady
from txtuntap.service.unixport import UNIXPort
from txtuntap.shutdown import stop
from txtuntap.wireguard.configuration import Configuration, PeerConfiguration
from txtuntap.wireguard.keys import keyText
from txtuntap.wireguard.protocol import WireGuard
from txtuntap.wireguard.uapi import UAPIFactory

#: The directory where C{wg} looks for the sockets of interfaces that are programs.
DIRECTORY = "/var/run/wireguard"

#: Seconds between two looks at whether the socket is still there: who takes it away wants the interface to end.
_LOOK = 2.0

#: Seconds that C{resolvconf} may take.
_PATIENCE = 10


class UAPISocket:
    """
    The UNIX socket by which C{wg} shows and sets an interface.

    @ivar path: its file.
    """

    _log = Logger()

    def __init__(self, name: str, wireguard: WireGuard, reactor: Any, directory: str = DIRECTORY) -> None:
        self.path = os.path.join(directory, f"{name}.sock")
        self._factory = UAPIFactory(wireguard, reactor)
        self._reactor = reactor
        self._port: UNIXPort | None = None

    def open(self) -> None:
        """
        Listen for clients of C{wg}. A file that a program has left behind is taken away.

        @raise OSError: another program listens there, or this one may not.
        """
        os.makedirs(os.path.dirname(self.path), 0o755, exist_ok=True)
        if os.path.lexists(self.path) and not _isListening(self.path):
            os.unlink(self.path)
        try:
            port = UNIXPort(os.fsencode(self.path), self._factory, mode=0o600, reactor=self._reactor)
            port.startListening()
        except CannotListenError as e:
            raise OSError(getattr(e.socketError, "errno", None), f"{self.path}: {e.socketError}") from e
        self._port = port

    @property
    def isThere(self) -> bool:
        """
        Whether the file is still the one that was made.
        """
        return self._port is not None and self._port.isThere

    def close(self) -> None:
        """
        Stop listening to C{wg}.
        """
        port, self._port = self._port, None
        if port is not None:
            port.stopListening()


def _isListening(path: str) -> bool:
    """
    Whether a program listens on a UNIX socket.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        try:
            asking.connect(path)
        except OSError:
            return False
    return True


class WireGuardService(InterfaceService):
    """
    A WireGuard peer on a TUN device.

    @ivar wireguard: the protocol.
    """

    what = "A WireGuard"

    def __init__(self, settings: WireGuardServiceSettings, reactor: Any = None) -> None:
        """
        @param settings: the interface, the keys and the peers.
        """
        if reactor is None:
            from twisted.internet import reactor
        configuration = settings.configuration
        self.wireguard = WireGuard(
            configuration.privateKey, configuration.listenPort, reactor, fwmark=configuration.fwmark
        )
        super().__init__(settings.interface, self.wireguard, reactor)
        for peer in configuration.peers:
            addPeer(self.wireguard, peer)
        self._settings = settings
        self._uapi: UAPISocket | None = None
        self._looking: Any = None
        self._hasNames = False
        for warning in settings.warnings:
            self._log.warn("{warning}", warning=warning)

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """
        Counters of the interface, of WireGuard, and of each peer.
        """
        peers = {
            f"peer {peer.name}": {"inOctets": peer.received, "outOctets": peer.sent} for peer in self.wireguard.peers
        }
        return {**super().counters(), "wireguard": self.wireguard.counters, **peers}

    def _opened(self) -> None:
        """
        Listen to C{wg}, while there is the privilege to.
        """
        if self._settings.uapi:
            uapi = UAPISocket(self.interface(), self.wireguard, self._reactor)
            try:
                uapi.open()
            except OSError as e:
                self._log.warn("wg(8) cannot show {name}: {reason}", name=self.interface(), reason=e)
            else:
                self._uapi = uapi
        self._setNames()

    def startService(self) -> None:
        """
        Tell the service manager that the interface is ready.
        """
        super().startService()
        if self._uapi is not None:
            self._look()
        self._log.info(
            "{name} is a WireGuard peer on UDP port {port}: {count} peers, public key {key}",
            name=self.interface(),
            port=self.wireguard.listenPort,
            count=len(self.wireguard.peers),
            key=keyText(self.wireguard.publicKey) or "none",
        )
        tellReady()

    def stopService(self) -> Deferred[None]:
        """
        Write the file where that is asked for, and close the socket of C{wg}.
        """
        settings = self._settings
        if settings.configuration.saveConfig and settings.path is not None and self.wireguard.numPorts:
            save(self.wireguard, settings.configuration, settings.path)
        self._end()
        return super().stopService()

    def _ended(self, reason: Failure) -> None:
        self._end()
        super()._ended(reason)

    def _end(self) -> None:
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
        if self._uapi is not None:
            self._uapi.close()
            self._uapi = None
        if self._hasNames:
            self._hasNames = False
            self._resolvconf("-d", self.interface(), "-f")

    def _look(self) -> None:
        """
        End when the socket of C{wg} is taken away: so C{wg-quick} and others end an interface that is a program.
        """
        self._looking = None
        if self._uapi is not None and not self._uapi.isThere:
            self._log.info("{path} was taken away: stopping", path=self._uapi.path)
            stop(self._reactor)
            return
        self._looking = self._reactor.callLater(_LOOK, self._look)

    def _setNames(self) -> None:
        """
        Have the machine ask the name servers of the file.
        """
        configuration = self._settings.configuration
        if not configuration.nameServers:
            return
        lines = [f"nameserver {each}\n" for each in configuration.nameServers]
        if configuration.searchDomains:
            lines.append(f"search {' '.join(configuration.searchDomains)}\n")
        self._hasNames = self._resolvconf("-a", self.interface(), "-m", "0", "-x", text="".join(lines))

    def _resolvconf(self, *arguments: str, text: str = "") -> bool:
        program = shutil.which("resolvconf")
        if program is None:
            self._log.warn("DNS is left as it is, since there is no resolvconf")
            return False
        try:
            subprocess.run(
                [program, *arguments], input=text, text=True, check=True, timeout=_PATIENCE, capture_output=True
            )
        except (OSError, subprocess.SubprocessError) as e:
            self._log.warn("DNS is left as it is: {reason}", reason=e)
            return False
        return True


def addPeer(wireguard: WireGuard, peer: PeerConfiguration) -> None:
    """
    Add a peer of a configuration; or change it, if the file has it twice.
    """
    try:
        wireguard.peer(peer.publicKey)
    except KeyError:
        wireguard.addPeer(peer.publicKey)
    for network in peer.allowed:
        wireguard.allow(peer.publicKey, network)
    wireguard.changePeer(
        peer.publicKey, endpoint=peer.endpoint, keepalive=peer.keepalive or None, presharedKey=peer.presharedKey
    )


def save(wireguard: WireGuard, configuration: Configuration, path: str) -> None:
    """
    Write the state of an interface into its file.

    @param configuration: of the file: what C{wg} cannot change stays as it is.
    """
    configuration.privateKey = wireguard.privateKey
    configuration.listenPort, configuration.fwmark = wireguard.listenPort, wireguard.fwmark
    configuration.peers = [
        PeerConfiguration(
            peer.publicKey,
            peer.presharedKey if peer.hasPresharedKey else None,
            list(peer.allowed),
            None if peer.endpoint is None else str(peer.endpoint),
            peer.keepalive,
        )
        for peer in wireguard.peers
    ]
    new = f"{path}.new"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(configuration.text())
    os.replace(new, path)
