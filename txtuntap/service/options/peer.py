"""
Options about the peer of a tunnel, whether the tunnel is on an interface or at a switch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import attrs
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.python.usage import CompleteList, Completer, Completions, UsageError

from txtuntap.device import TUN
from txtuntap.service.options.help import repeatable
from txtuntap.service.options.service import PlainOptions, naming
from txtuntap.tunnel.allowed import Allowed
from txtuntap.tunnel.datagram import DatagramAddresses
from txtuntap.tunnel.framing import IDatagramFraming, IStreamFraming
from txtuntap.tunnel.registry import DATAGRAM_FRAMINGS, STREAM_FRAMINGS, framingOf
from txtuntap.tunnel.security import Identity, isPrivate, splitEndpoint


@attrs.frozen(kw_only=True)
class _AnyPeerSettings:
    """
    The settings of a tunnel that do not depend on its kind of carrier. The settings of its interface are elsewhere.

    @ivar mode: C{TUN} for IP packets, or C{TAP} for Ethernet frames.
    @ivar endpoint: the endpoint at which this end listens, or to which it connects, as the user has written it.
    @ivar allowed: the addresses that the peer may send from; C{None}: any.
    """

    mode: int
    endpoint: str
    allowed: Allowed | None = None


@attrs.frozen(kw_only=True)
class StreamPeerSettings(_AnyPeerSettings):
    """
    The settings of a tunnel over streams, whose C{endpoint} is the description of a Twisted endpoint.

    @ivar isListening: whether this end listens.
    @ivar framing: makes the framing of a connection for C{mode}.
    @ivar identity: the certificates for TLS; C{None}: TLS is not used.
    """

    isListening: bool
    framing: Callable[[int], IStreamFraming]
    identity: Identity | None = None


@attrs.frozen(kw_only=True)
class DatagramPeerSettings(_AnyPeerSettings):
    """
    The settings of a tunnel over UDP.

    @ivar addresses: the addresses and ports of both ends, as parsed from C{endpoint}.
    @ivar framing: makes the framing of the tunnel for C{mode}.
    """

    addresses: DatagramAddresses
    framing: Callable[[int], IDatagramFraming]


PeerSettings = StreamPeerSettings | DatagramPeerSettings


@attrs.frozen
class _End:
    """
    The endpoint of a tunnel as the options C{--listen} and C{--connect} give it.

    @ivar option: C{"listen"} or C{"connect"}.
    @ivar endpoint: the value of that option.
    """

    option: str
    endpoint: str

    @property
    def isListening(self) -> bool:
        return self.option == "listen"

    @property
    def kind(self) -> str:
        """
        The kind of the endpoint: C{"tcp"}, C{"unix"}, C{"udp"} and so on.
        """
        return splitEndpoint(self.endpoint)[0]

    def check(self) -> None:
        """
        Check that the endpoint is valid for streams.

        @raise UsageError: it is not valid. The text gives examples.
        """
        kind, arguments, named = splitEndpoint(self.endpoint)
        fromString: Any = serverFromString if self.isListening else clientFromString
        try:
            # No reactor is needed, because the endpoint uses it only once it listens or connects.
            fromString(None, self.endpoint)
        except Exception as e:
            # The text of Twisted's exception names the arguments of Twisted's functions, which the user does not know.
            examples = r"tcp:4000, tcp:4000:interface=192.0.2.1, tcp6:4000:interface=fd00\:\:1"
            if not self.isListening:
                examples = r"tcp:192.0.2.1:4000, tcp:fd00\:\:1:4000"
            raise UsageError(
                f"--{self.option}: {self.endpoint!r} is no endpoint such as {examples}, unix:/run/tunnel"
            ) from e
        if kind == "unix" and not named.get("address", named.get("path", (arguments or [""])[0])):
            raise UsageError(f"--{self.option}: unix: needs the name of a socket, such as unix:/run/tunnel")
        port = named.get("port", (arguments[0 if self.isListening else 1 :] or [""])[0])
        if kind in ("tcp", "tcp6", "tls") and port.isdigit():
            if not int(port) < 65536:
                raise UsageError(f"--{self.option}: a port is a number up to 65535, not {port}")
            if not self.isListening and not int(port):
                raise UsageError(f"--{self.option}: no peer can listen at port 0: give the port at which it does")


class PeerOptions(PlainOptions):
    """
    The options about the peer of a tunnel.
    """

    optGroups: ClassVar = {
        "Peer": ["listen", "connect", "framing", "allow", "allow-lladdr", "allow-router"],
        "Certificates (TLS)": ["certificate", "key", "trust", "pin", "peer-name", "insecure"],
    }
    compData: ClassVar = Completions(
        multiUse=["trust", "pin", "allow", "allow-lladdr"],
        mutuallyExclusive=[("listen", "connect")],
        optActions={
            "listen": Completer("endpoint"),
            "connect": Completer("endpoint"),
            "framing": CompleteList(sorted({*STREAM_FRAMINGS, *DATAGRAM_FRAMINGS})),
            "peer-name": Completer("name"),
            "pin": Completer("digest"),
            "allow": Completer("network"),
            "allow-lladdr": Completer("link address"),
        },
    )
    optFlags: ClassVar = [
        ["insecure", None, "Use no TLS: others can read the packets, and any host can be the peer."],
        ["allow-router", None, "With --allow or --allow-lladdr: the peer may be a router and a DHCP server, too."],
    ]
    optParameters: ClassVar = [
        ["listen", None, None, "ENDPOINT at which to wait for the peer's connection."],
        ["connect", None, None, "ENDPOINT of the peer to connect to."],
        [
            "framing",
            None,
            None,
            "The format on the wire: txtuntap, qemu, socat; over UDP bare, qemu, socat, vxlan:vni=NUMBER.",
        ],
        ["certificate", None, None, "PEM file with this end's certificate (TLS)."],
        ["key", None, None, "PEM file with the certificate's private key; by default, the file of --certificate."],
        ["peer-name", None, None, "A DNS name or IP address that the peer's certificate must be for; needs --trust."],
    ]

    def __init__(self) -> None:
        super().__init__()
        self._trust: list[str] = []
        self._pins: list[str] = []
        self._allow: list[str] = []
        self._allowLinks: list[str] = []

    @repeatable("PEM file with a trusted certificate: the peer must have it, or one that it has signed.")
    def opt_trust(self, file: str) -> None:
        self._trust.append(file)

    @repeatable(
        """
        SHA-256 digest that the peer's certificate must have, as 'openssl x509 -noout -fingerprint -sha256 -in FILE'
        prints it.
        """
    )
    def opt_pin(self, digest: str) -> None:
        self._pins.append(digest.rpartition("=")[2])

    @repeatable("A network from which the peer may send, such as 10.0.0.2/32 or fd00::/64; by default, any.")
    def opt_allow(self, network: str) -> None:
        self._allow.append(network)

    @repeatable("A link address from which the peer may send on a tap; by default, any.")
    def opt_allow_lladdr(self, address: str) -> None:
        self._allowLinks.append(address)

    def peerSettings(self, mode: int) -> PeerSettings:
        """
        Check the options about the peer together, and make settings from them.

        @param mode: C{TUN} for IP packets, or C{TAP} for Ethernet frames.

        @raise UsageError: the options contradict each other, or one is missing.
        """
        given = [option for option in ("listen", "connect") if self.valueOf(option) is not None]
        if len(given) != 1:
            raise UsageError("give one of --listen ENDPOINT and --connect ENDPOINT, such as tcp:4000")
        end = _End(given[0], self[given[0]])
        return self._datagrams(end, mode) if end.kind == "udp" else self._streams(end, mode)

    def _streams(self, end: _End, mode: int) -> StreamPeerSettings:
        with naming("--framing"):
            framing = framingOf(self.valueOf("framing") or "txtuntap", STREAM_FRAMINGS)
            framing(mode)
        identity = self._identity(end, isPrivate(end.endpoint, end.isListening))
        end.check()
        return StreamPeerSettings(
            mode=mode,
            endpoint=end.endpoint,
            allowed=self._allowed(mode),
            isListening=end.isListening,
            framing=framing,
            identity=identity,
        )

    def _datagrams(self, end: _End, mode: int) -> DatagramPeerSettings:
        with naming("--framing"):
            framing = framingOf(self.valueOf("framing") or "bare", DATAGRAM_FRAMINGS)
            samePort = framing(mode).anyPort
        with naming(f"--{end.option}"):
            if end.isListening:
                addresses = DatagramAddresses.listening(end.endpoint)
            else:
                addresses = DatagramAddresses.connecting(end.endpoint, samePort)
        self._identity(end, addresses.isLoopback)
        return DatagramPeerSettings(
            mode=mode, endpoint=end.endpoint, allowed=self._allowed(mode), addresses=addresses, framing=framing
        )

    def _identity(self, end: _End, private: bool) -> Identity | None:
        """
        Return the certificates for TLS; C{None} if TLS is not to be used.

        @param private: whether the packets stay on this machine, or the endpoint itself encrypts them.
        """
        if end.kind == "ssl" or (end.kind == "tls" and end.isListening):
            raise UsageError(
                f"--{end.option}: {end.kind}: cannot authenticate both ends: give tcp: in its place, and"
                " --certificate, --key, and --trust or --pin"
            )
        certificate, key, peerName = map(self.valueOf, ("certificate", "key", "peer-name"))
        values = {"certificate": certificate, "key": key, "peer-name": peerName}
        lists = {"trust": self._trust, "pin": self._pins}
        given = [option for option, value in values.items() if value is not None]
        given += [option for option, value in lists.items() if value]
        if not given:
            if not self.isGiven("insecure") and not private:
                raise UsageError(
                    f"--{end.option} {end.endpoint}: others could read the packets or be the peer: give --certificate,"
                    " --key, and --trust or --pin for TLS; or --insecure to accept that"
                )
            return None
        if end.kind in ("tls", "udp"):
            raise UsageError(f"--{given[0]}: TLS works over a plain stream, such as tcp:, and not with {end.kind}:")
        if certificate is None:
            raise UsageError(f"--{given[0]}: with TLS this end shows a certificate, too: give --certificate")
        if not self._trust and not self._pins:
            raise UsageError(f"--{given[0]}: give --trust or --pin, too, to authenticate the peer")
        if peerName is not None and not self._trust:
            raise UsageError("--peer-name: the name is checked only with --trust: give that, too")
        try:
            return Identity(certificate, key, self._trust, self._pins, peerName)
        except ImportError as e:
            raise UsageError(f"--{given[0]}: {e}") from e
        except (OSError, ValueError) as e:
            text = f"{e.filename} cannot be read: {e.strerror}" if isinstance(e, OSError) else str(e)
            raise UsageError(f"{self._blamed(text, certificate, key, peerName)}: {text}") from e

    def _blamed(self, text: str, certificate: str, key: str | None, peerName: str | None) -> str:
        """
        Find the option that an error about certificates is about, by the value that its text has.
        """
        values = [("--key", key), ("--peer-name", peerName), ("--certificate", certificate)]
        values += [("--trust", each) for each in self._trust] + [("--pin", each) for each in self._pins]
        return next((option for option, value in values if value and value in text), "--certificate")

    def _allowed(self, mode: int) -> Allowed | None:
        if self._allowLinks and mode == TUN:
            raise UsageError("--allow-lladdr: only a tap has link addresses")
        if not self._allow and not self._allowLinks:
            if self.isGiven("allow-router"):
                raise UsageError(
                    "--allow-router: without --allow or --allow-lladdr, the peer may send any packet, a router's too:"
                    " give one of these, or leave it out"
                )
            return None
        try:
            return Allowed(self._allow, self._allowLinks, self.isGiven("allow-router"))
        except ValueError as e:
            raise UsageError(f"--allow{'-lladdr' if 'link address' in str(e) else ''}: {e}") from e


#: The names of the options about a peer, without the options that every command has (C{help}).
PEER_OPTIONS: Sequence[str] = [name for name in PeerOptions().docs if name not in PlainOptions().docs]
