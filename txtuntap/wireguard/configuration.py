"""
The configuration file of WireGuard: what C{wg setconf} and C{wg-quick} read.

Read wg(8), "CONFIGURATION FILE FORMAT", and wg-quick(8) first.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network
from typing import Any

import attrs

from txtuntap.layer.prefixes import Network
from txtuntap.wireguard.endpoint import endpointParts
from txtuntap.wireguard.keys import PrivateKey, keyOctets, keyText

#: Keys whose values wg-quick gives to a shell: whoever writes them runs programs as root.
HOOKS = ("preup", "postup", "predown", "postdown")

#: A key in base64, even one that lacks some characters.
_KEY = re.compile("[A-Za-z0-9+/]{40,}=*")

#: The text of a value that is none.
_OFF = "off"


class ConfigurationError(ValueError):
    """
    A file that is wrong: the text says in which line, and what to do.
    """


@attrs.define
class PeerConfiguration:
    """
    One section C{[Peer]} of a file.

    @ivar publicKey: 32 octets; C{presharedKey}: 32 octets, or C{None}.
    @ivar endpoint: C{HOST:PORT}, or C{None}.
    @ivar keepalive: in seconds; 0: none.
    """

    publicKey: bytes = b""
    presharedKey: bytes | None = attrs.field(default=None, repr=False)
    allowed: list[Network] = attrs.Factory(list)
    endpoint: str | None = None
    keepalive: int = 0


@attrs.define
class Configuration:
    """
    The content of a configuration file.

    @ivar privateKey: C{None}: there is none.
    @ivar listenPort: 0: any; C{fwmark}: 0: none.
    @ivar addresses: of the interface, in CIDR notation.
    @ivar nameServers: addresses; C{searchDomains}: names: both of C{DNS}.
    @ivar mtu: in octets; C{None}: the one that fits the path outside.
    @ivar table: the routing table for the allowed networks: C{auto}, C{off}, or its number.
    @ivar saveConfig: whether the state of the interface is written to the file at its end.
    @ivar hooks: the names of keys whose values are shell commands. They are not kept, and never run.
    """

    privateKey: PrivateKey | None = None
    listenPort: int = 0
    fwmark: int = 0
    addresses: list[IPv4Interface | IPv6Interface] = attrs.Factory(list)
    nameServers: list[str] = attrs.Factory(list)
    searchDomains: list[str] = attrs.Factory(list)
    mtu: int | None = None
    table: str = "auto"
    saveConfig: bool = False
    hooks: list[str] = attrs.Factory(list)
    peers: list[PeerConfiguration] = attrs.Factory(list)

    @classmethod
    def of(cls, text: str) -> Configuration:
        """
        Read the text of a file.

        @raise ConfigurationError: it is wrong. The message repeats no key.
        """
        return _Reader(text).configuration

    def text(self) -> str:
        """
        Write the text of a file, which has the private key.
        """
        lines = ["[Interface]"]
        if self.addresses:
            lines.append("Address = " + ", ".join(map(str, self.addresses)))
        if self.nameServers or self.searchDomains:
            lines.append("DNS = " + ", ".join([*self.nameServers, *self.searchDomains]))
        if self.mtu is not None:
            lines.append(f"MTU = {self.mtu}")
        if self.table != "auto":
            lines.append(f"Table = {self.table}")
        if self.saveConfig:
            lines.append("SaveConfig = true")
        if self.listenPort:
            lines.append(f"ListenPort = {self.listenPort}")
        if self.fwmark:
            lines.append(f"FwMark = {self.fwmark:#x}")
        if self.privateKey is not None:
            lines.append(f"PrivateKey = {keyText(self.privateKey.secret())}")
        for peer in self.peers:
            lines += ["", "[Peer]", f"PublicKey = {keyText(peer.publicKey)}"]
            if peer.presharedKey is not None and any(peer.presharedKey):
                lines.append(f"PresharedKey = {keyText(peer.presharedKey)}")
            if peer.allowed:
                lines.append("AllowedIPs = " + ", ".join(map(str, peer.allowed)))
            if peer.endpoint is not None:
                lines.append(f"Endpoint = {peer.endpoint}")
            if peer.keepalive:
                lines.append(f"PersistentKeepalive = {peer.keepalive}")
        return "\n".join([*lines, ""])


class _Reader:
    """
    Reads a file, line by line.
    """

    def __init__(self, text: str) -> None:
        self.configuration = Configuration()
        self._peer: PeerConfiguration | None = None
        self._section = ""
        for number, line in enumerate(text.splitlines(), 1):
            try:
                self._line(line)
            except ValueError as e:
                # Any text that looks like a key is hidden, because a key may stand where none belongs.
                raise ConfigurationError(f"line {number}: {_KEY.sub('(a key)', str(e))}") from None
        self._endPeer()

    def _line(self, line: str) -> None:
        name, _, value = line.partition("=")
        if self._section == "interface" and name.strip().lower() in HOOKS:
            # Its value may have a number sign.
            self.configuration.hooks.append(name.strip())
            return
        plain = "".join(line.partition("#")[0].split())
        if not plain:
            return
        if plain.lower() in ("[interface]", "[peer]"):
            self._section = plain.lower()[1:-1]
            if self._section == "peer":
                self._endPeer()
                self._peer = PeerConfiguration()
                self.configuration.peers.append(self._peer)
            return
        name, equals, value = plain.partition("=")
        readers = _PEER if self._section == "peer" else _INTERFACE
        if not self._section or not equals:
            raise ConfigurationError("expected [Interface], [Peer], or KEY = VALUE")
        read = readers.get(name.lower())
        if read is None:
            known = ", ".join(_NAMES[each] for each in readers)
            raise ConfigurationError(f"{name!r} is no key of [{self._section.title()}]: those are {known}")
        target: Any = self._peer if self._section == "peer" else self.configuration
        read(target, value)

    def _endPeer(self) -> None:
        if self._peer is not None and not self._peer.publicKey:
            raise ConfigurationError("a [Peer] has no PublicKey")


def _number(value: str, what: str, least: int, most: int) -> int:
    """
    Read a number, decimal or with C{0x}.
    """
    try:
        number = int(value, 16 if value.lower().startswith("0x") else 10)
    except ValueError:
        number = least - 1
    if not least <= number <= most or not value.isascii():
        raise ConfigurationError(f"{what} is a number from {least} to {most}, not {value!r}")
    return number


def _privateKey(target: Configuration, value: str) -> None:
    target.privateKey = PrivateKey(value)


def _listenPort(target: Configuration, value: str) -> None:
    target.listenPort = _number(value, "ListenPort", 0, 0xFFFF)


def _mark(target: Configuration, value: str) -> None:
    target.fwmark = 0 if value.lower() == _OFF else _number(value, "FwMark", 0, 0xFFFFFFFF)


def _address(target: Configuration, value: str) -> None:
    target.addresses += [ip_interface(each) for each in value.split(",") if each]


def _names(target: Configuration, value: str) -> None:
    for each in value.split(","):
        try:
            target.nameServers.append(str(ip_address(each)))
        except ValueError:
            target.searchDomains.append(each)


def _mtu(target: Configuration, value: str) -> None:
    target.mtu = _number(value, "MTU", 576, 65535)


def _table(target: Configuration, value: str) -> None:
    if value.lower() in ("auto", _OFF):
        target.table = value.lower()
    else:
        target.table = str(_number(value, "Table is auto, off, or its number; that", 1, 0xFFFFFFFF))


def _save(target: Configuration, value: str) -> None:
    if value not in ("true", "false"):
        raise ConfigurationError(f"SaveConfig is true or false, not {value!r}")
    target.saveConfig = value == "true"


def _publicKey(target: PeerConfiguration, value: str) -> None:
    target.publicKey = keyOctets(value, "PublicKey")


def _presharedKey(target: PeerConfiguration, value: str) -> None:
    target.presharedKey = keyOctets(value, "PresharedKey")


def _allowed(target: PeerConfiguration, value: str) -> None:
    target.allowed += [ip_network(each, strict=False) for each in value.split(",") if each]


def _endpoint(target: PeerConfiguration, value: str) -> None:
    endpointParts(value)
    target.endpoint = value


def _keepalive(target: PeerConfiguration, value: str) -> None:
    target.keepalive = 0 if value.lower() == _OFF else _number(value, "PersistentKeepalive", 0, 0xFFFF)


_NAMES = {
    name.lower(): name
    for name in (
        *("PrivateKey", "ListenPort", "FwMark", "Address", "DNS", "MTU", "Table", "SaveConfig"),
        *("PublicKey", "PresharedKey", "AllowedIPs", "Endpoint", "PersistentKeepalive"),
    )
}

_INTERFACE: dict[str, Callable[[Any, str], None]] = {
    "privatekey": _privateKey,
    "listenport": _listenPort,
    "fwmark": _mark,
    "address": _address,
    "dns": _names,
    "mtu": _mtu,
    "table": _table,
    "saveconfig": _save,
}

_PEER: dict[str, Callable[[Any, str], None]] = {
    "publickey": _publicKey,
    "presharedkey": _presharedKey,
    "allowedips": _allowed,
    "endpoint": _endpoint,
    "persistentkeepalive": _keepalive,
}
