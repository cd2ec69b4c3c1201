"""
The options of C{twistd tuntap tunnel}.
"""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.python.usage import UsageError

from txtuntap.device import TAP, TUN
from txtuntap.options import InterfaceOptions, showAsIs
from txtuntap.tunnel.allowed import Allowed
from txtuntap.tunnel.registry import DATAGRAM_FRAMINGS, STREAM_FRAMINGS
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
        " tcp:192.0.2.1:4000 for --connect."
    )
    optFlags: ClassVar = [
        ["insecure", None, "Have everybody on the way read it, and everybody who connects be the peer."],
    ]
    optParameters: ClassVar = [
        ["listen", None, None, "ENDPOINT at which the peer connects."],
        ["connect", None, None, "ENDPOINT at which the peer listens."],
        ["framing", None, None, "What packets look like on the way; by default txtuntap, with txtuntap at both ends."],
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

    def opt_trust(self, file: str) -> None:
        """
        PEM file with a certificate that is trusted: the peer shows it, or one that it has signed. May be repeated.
        """
        self["trust"].append(file)

    def opt_pin(self, digest: str) -> None:
        """
        SHA-256 of the certificate that the peer has to show, as by 'openssl x509 -noout -fingerprint -sha256 -in FILE'.
        May be repeated.
        """
        self["pins"].append(digest.rpartition("=")[2])

    def opt_allow(self, network: str) -> None:
        """
        A network from which the peer may send, such as 10.0.0.2/32 or fd00::/64; by default, any. May be repeated.
        """
        self["allow"].append(network)

    def opt_allow_lladdr(self, address: str) -> None:
        """
        A link address from which the peer may send on a tap; by default, any. May be repeated.
        """
        self["allowLinks"].append(address)

    def parseArgs(self, *surplus: str) -> None:
        """
        There are options, and nothing else.
        """
        if surplus:
            raise UsageError(f"{surplus[0]!r} is none of the options")

    def postOptions(self) -> None:
        """
        Check what only the options together tell.
        """
        super().postOptions()
        if (self["listen"] is None) == (self["connect"] is None):
            raise UsageError("give one of --listen ENDPOINT and --connect ENDPOINT, such as tcp:4000")
        self["mode"] = TUN if self["tap"] is None else TAP
        self["isListening"] = self["listen"] is not None
        self["endpoint"] = self["listen"] or self["connect"]
        self["framing"] = self._framing()
        self["identity"] = self._identity()
        self._checkEndpoint()
        self["allowed"] = self._allowed()

    def _checkEndpoint(self) -> None:
        if parts(self["endpoint"])[0].startswith("udp"):
            return
        # Nothing is done with the reactor yet.
        fromString: Any = serverFromString if self["isListening"] else clientFromString
        try:
            fromString(None, self["endpoint"])
        except (ValueError, TypeError, LookupError) as e:
            option = "listen" if self["isListening"] else "connect"
            example = "tcp:4000" if self["isListening"] else "tcp:192.0.2.1:4000"
            raise UsageError(f"--{option}: {self['endpoint']!r} is no endpoint such as {example} ({e})") from e

    def _framing(self) -> Any:
        """
        What makes framings of the kind asked for.
        """
        isDatagram = parts(self["endpoint"])[0].startswith("udp")
        registry: dict[str, Any] = DATAGRAM_FRAMINGS if isDatagram else STREAM_FRAMINGS
        name, positional, arguments = parts(self["framing"] or ("bare" if isDatagram else "txtuntap"))
        if name not in registry or positional:
            way = "datagrams" if isDatagram else "a stream"
            raise UsageError(f"--framing: over {way} there are {', '.join(sorted(registry))}, not {self['framing']!r}")

        def make(mode: int) -> Any:
            return registry[name](mode, **arguments)

        try:
            make(self["mode"])
        except (TypeError, ValueError) as e:
            raise UsageError(f"--framing: {name}: {e}") from e
        return make

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
            if not self["insecure"] and not isPrivate(self["endpoint"], self["isListening"]):
                raise UsageError(
                    f"--{option} {self['endpoint']}: others could read it and take part: give --certificate, --key, and"
                    " --trust or --pin for TLS; or --insecure, if that is as it should be"
                )
            return None
        if kind == "tls" or kind.startswith("udp"):
            raise UsageError(f"--{given[0]}: goes with a plain stream, such as tcp:, and not with {kind}:")
        if self["certificate"] is None:
            raise UsageError(f"--{given[0]}: with TLS this end shows a certificate, too: give --certificate")
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
            return None
        try:
            return Allowed(self["allow"], self["allowLinks"])
        except ValueError as e:
            raise UsageError(f"--allow{'-lladdr' if 'link address' in str(e) else ''}: {e}") from e


showAsIs(TunnelOptions)
