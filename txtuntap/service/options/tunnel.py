"""
The options of C{twistd tuntap tunnel}.
"""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.python.usage import UsageError

from txtuntap.device import TAP, TUN
from txtuntap.service.options.interface import InterfaceOptions, about
from txtuntap.tunnel.allowed import Allowed
from txtuntap.tunnel.datagram import DatagramAddresses
from txtuntap.tunnel.registry import DATAGRAM_FRAMINGS, STREAM_FRAMINGS, framingOf
from txtuntap.tunnel.security import Identity, isPrivate, parts

_TLS = "certificate", "key", "peer-name"


class TunnelOptions(InterfaceOptions):
    """
    Options of C{twistd tuntap tunnel}.
    """

    synopsis = "[options]"
    longdesc = (
        "Carry a TUN or TAP device to another place: one end listens, the other connects, each with a certificate that"
        " the other knows. ENDPOINT is a Twisted endpoint string, such as tcp:4000 or unix:/run/tunnel for --listen and"
        " tcp:192.0.2.1:4000 for --connect; or, with a --framing of others, udp:4000 and udp:192.0.2.1:4000."
    )
    optFlags: ClassVar = [
        ["insecure", None, "Have everybody on the way read it, and everybody who connects be the peer."],
        ["allow-router", None, "With --allow: the peer may be a router and a DHCP server, too."],
    ]
    optParameters: ClassVar = [
        ["listen", None, None, "ENDPOINT at which the peer connects."],
        ["connect", None, None, "ENDPOINT at which the peer listens."],
        [
            "framing",
            None,
            None,
            "What packets look like: txtuntap, qemu, socat; with udp: bare, qemu, vxlan:vni=NUMBER.",
        ],
        ["certificate", None, None, "PEM file with this end's certificate (TLS)."],
        ["key", None, None, "PEM file with its private key; by default it is in the same file."],
        ["peer-name", None, None, "A name that the peer's certificate has to be for; with --trust."],
    ]

    def __init__(self) -> None:
        super().__init__()
        self["trust"] = []
        self["pins"] = []
        self["allow"] = []
        self["allowLinks"] = []

    @about(
        """
        PEM file with a certificate that is trusted: the peer shows it, or one that it has signed. May be repeated.
        """
    )
    def opt_trust(self, file: str) -> None:
        self["trust"].append(file)

    @about(
        """
        SHA-256 of the certificate that the peer has to show, as by 'openssl x509 -noout -fingerprint -sha256 -in FILE'.
        May be repeated.
        """
    )
    def opt_pin(self, digest: str) -> None:
        self["pins"].append(digest.rpartition("=")[2])

    @about(
        """
        A network from which the peer may send, such as 10.0.0.2/32 or fd00::/64; by default, any. May be repeated.
        """
    )
    def opt_allow(self, network: str) -> None:
        self["allow"].append(network)

    @about(
        """
        A link address from which the peer may send on a tap; by default, any. May be repeated.
        """
    )
    def opt_allow_lladdr(self, address: str) -> None:
        self["allowLinks"].append(address)

    def postOptions(self) -> None:
        """
        Check what only the options together tell.
        """
        super().postOptions()
        self.checkPeer(TUN if self["tap"] is None else TAP)

    def checkPeer(self, mode: int) -> None:
        """
        Check what the options tell of the peer.

        @param mode: L{TUN} or L{TAP}: what the tunnel is on.
        """
        if (self["listen"] is None) == (self["connect"] is None):
            raise UsageError("give one of --listen ENDPOINT and --connect ENDPOINT, such as tcp:4000")
        self["mode"] = mode
        self["isListening"] = self["listen"] is not None
        self["endpoint"] = self["listen"] if self["isListening"] else self["connect"]
        self["framing"] = self._framing()
        self["identity"] = self._identity()
        self._checkEndpoint()
        self["allowed"] = self._allowed()

    def _checkEndpoint(self) -> None:
        option = "listen" if self["isListening"] else "connect"
        if self["addresses"] is not None:
            return
        kind, arguments, named = parts(self["endpoint"])
        # Nothing is done with the reactor yet.
        fromString: Any = serverFromString if self["isListening"] else clientFromString
        try:
            fromString(None, self["endpoint"])
        except Exception as e:
            # What Twisted says is about the arguments of its own functions.
            examples = r"tcp:4000, tcp:4000:interface=192.0.2.1, tcp6:4000:interface=fd00\:\:1"
            if not self["isListening"]:
                examples = r"tcp:192.0.2.1:4000, tcp:fd00\:\:1:4000"
            raise UsageError(
                f"--{option}: {self['endpoint']!r} is no endpoint such as {examples}, unix:/run/tunnel"
            ) from e
        if kind == "unix" and not named.get("address", named.get("path", (arguments or [""])[0])):
            raise UsageError(f"--{option}: unix: wants the name of a socket, such as unix:/run/tunnel")
        port = named.get("port", (arguments[0 if self["isListening"] else 1 :] or [""])[0])
        if kind in ("tcp", "tcp6", "tls") and port.isdigit() and not int(port) < 65536:
            raise UsageError(f"--{option}: a port is a number up to 65535, not {port}")
        if kind in ("tcp", "tcp6", "tls") and not self["isListening"] and port.isdigit() and not int(port):
            raise UsageError(f"--{option}: nobody listens at port 0: give the one that the peer listens at")

    def _framing(self) -> Any:
        """
        What makes framings of the kind asked for. With datagrams, C{addresses} are those of their ends.
        """
        self["addresses"] = None
        text = self["framing"]
        isDatagram = parts(self["endpoint"])[0] == "udp"
        try:
            if not isDatagram:
                framing = framingOf(text or "txtuntap", STREAM_FRAMINGS)
                framing(self["mode"])
                return framing
            datagrams = framingOf(text or "bare", DATAGRAM_FRAMINGS)
            samePort = datagrams(self["mode"]).anyPort
        except ValueError as e:
            raise UsageError(f"--framing: {e}") from e
        try:
            if self["isListening"]:
                self["addresses"] = DatagramAddresses.listening(self["endpoint"])
            else:
                self["addresses"] = DatagramAddresses.connecting(self["endpoint"], samePort)
        except ValueError as e:
            raise UsageError(f"--{'listen' if self['isListening'] else 'connect'}: {e}") from e
        return datagrams

    def _isPrivate(self) -> bool:
        """
        Whether nobody else can read what goes that way, nor take part.
        """
        if self["addresses"] is not None:
            return bool(self["addresses"].isLoopback)
        return isPrivate(self["endpoint"], self["isListening"])

    def _identity(self) -> Identity | None:
        option = "listen" if self["isListening"] else "connect"
        kind = parts(self["endpoint"])[0]
        if kind == "ssl" or (kind == "tls" and self["isListening"]):
            raise UsageError(
                f"--{option}: {kind}: cannot have both ends show a certificate: give tcp: in its place, and"
                " --certificate, --key, and --trust or --pin"
            )
        given = [name for name in _TLS if self[name] is not None]
        given += [name for name, of in (("trust", "trust"), ("pin", "pins")) if self[of]]
        if not given:
            if not self["insecure"] and not self._isPrivate():
                raise UsageError(
                    f"--{option} {self['endpoint']}: others could read it and take part: give --certificate, --key, and"
                    " --trust or --pin for TLS; or --insecure, if that is as it should be"
                )
            return None
        if kind in ("tls", "udp"):
            raise UsageError(f"--{given[0]}: goes with a plain stream, such as tcp:, and not with {kind}:")
        if self["certificate"] is None:
            raise UsageError(f"--{given[0]}: with TLS this end shows a certificate, too: give --certificate")
        if not self["trust"] and not self["pins"]:
            raise UsageError(f"--{given[0]}: give --trust or --pin, too, to know the peer by")
        if self["peer-name"] is not None and not self["trust"]:
            raise UsageError("--peer-name: a name is only worth something in a certificate of --trust: give that, too")
        try:
            return Identity(self["certificate"], self["key"], self["trust"], self["pins"], self["peer-name"])
        except (ImportError, ValueError) as e:
            raise UsageError(str(e)) from e
        except OSError as e:
            raise UsageError(f"{e.filename} cannot be read: {e.strerror}") from e

    def _allowed(self) -> Allowed | None:
        if self["allowLinks"] and self["mode"] == TUN:
            raise UsageError("--allow-lladdr: only a tap has link addresses")
        if not self["allow"] and not self["allowLinks"]:
            if self["allow-router"]:
                raise UsageError(
                    "--allow-router: a peer may send anything, a router's packets too, unless there is --allow or"
                    " --allow-lladdr: give one of these, or leave it out"
                )
            return None
        try:
            return Allowed(self["allow"], self["allowLinks"], bool(self["allow-router"]))
        except ValueError as e:
            raise UsageError(f"--allow{'-lladdr' if 'link address' in str(e) else ''}: {e}") from e
