"""
Options about the peer of a tunnel, whether the tunnel is on an interface or at a switch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import attrs
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.python.usage import UsageError

from txtuntap.device import TUN
from txtuntap.service.options.service import PlainOptions, naming, repeatable
from txtuntap.tunnel.allowed import Allowed
from txtuntap.tunnel.datagram import DatagramAddresses
from txtuntap.tunnel.framing import IDatagramFraming, IStreamFraming
from txtuntap.tunnel.registry import DATAGRAM_FRAMINGS, STREAM_FRAMINGS, framingOf
from txtuntap.tunnel.security import Identity, isPrivate, parts


@attrs.frozen(kw_only=True)
class _AnyPeerSettings:
    """
    Settings of a tunnel beside those of its interface, whatever carries it.

    @ivar mode: L{TUN<txtuntap.device.TUN>} or L{TAP<txtuntap.device.TAP>}: whether packets or frames are carried.
    @ivar endpoint: where this end listens, or connects: what the user has written.
    @ivar allowed: what the peer may send; L{None}: anything.
    """

    mode: int
    endpoint: str
    allowed: Allowed | None = None


@attrs.frozen(kw_only=True)
class StreamPeerSettings(_AnyPeerSettings):
    """
    Settings of a tunnel over streams: C{endpoint} is the description of a Twisted endpoint.

    @ivar isListening: whether this end listens.
    @ivar framing: makes the framing of a connection, from C{mode}.
    @ivar identity: the certificates of TLS; L{None}: there is no TLS.
    """

    isListening: bool
    framing: Callable[[int], IStreamFraming]
    identity: Identity | None = None


@attrs.frozen(kw_only=True)
class DatagramPeerSettings(_AnyPeerSettings):
    """
    Settings of a tunnel over UDP.

    @ivar addresses: the addresses and ports of both ends, as C{endpoint} tells them.
    @ivar framing: makes the framing of the tunnel, from C{mode}.
    """

    addresses: DatagramAddresses
    framing: Callable[[int], IDatagramFraming]


PeerSettings = StreamPeerSettings | DatagramPeerSettings


@attrs.frozen
class _End:
    """
    This end of a tunnel.

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
        The kind of endpoint: C{"tcp"}, C{"unix"}, C{"udp"} and so on.
        """
        return parts(self.endpoint)[0]

    def check(self) -> None:
        """
        Check that there can be such an endpoint for streams.
        """
        kind, arguments, named = parts(self.endpoint)
        fromString: Any = serverFromString if self.isListening else clientFromString
        try:
            # The reactor is used only once the endpoint listens or connects.
            fromString(None, self.endpoint)
        except Exception as e:
            # Twisted's text would be about the arguments of its own functions.
            examples = r"tcp:4000, tcp:4000:interface=192.0.2.1, tcp6:4000:interface=fd00\:\:1"
            if not self.isListening:
                examples = r"tcp:192.0.2.1:4000, tcp:fd00\:\:1:4000"
            raise UsageError(
                f"--{self.option}: {self.endpoint!r} is no endpoint such as {examples}, unix:/run/tunnel"
            ) from e
        if kind == "unix" and not named.get("address", named.get("path", (arguments or [""])[0])):
            raise UsageError(f"--{self.option}: unix: wants the name of a socket, such as unix:/run/tunnel")
        port = named.get("port", (arguments[0 if self.isListening else 1 :] or [""])[0])
        if kind in ("tcp", "tcp6", "tls") and port.isdigit():
            if not int(port) < 65536:
                raise UsageError(f"--{self.option}: a port is a number up to 65535, not {port}")
            if not self.isListening and not int(port):
                raise UsageError(f"--{self.option}: nobody listens at port 0: give the one that the peer listens at")


class PeerOptions(PlainOptions):
    """
    Options about the peer of a tunnel.
    """

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
        self._trust: list[str] = []
        self._pins: list[str] = []
        self._allow: list[str] = []
        self._allowLinks: list[str] = []

    @repeatable("PEM file with a certificate that is trusted: the peer shows it, or one that it has signed.")
    def opt_trust(self, file: str) -> None:
        self._trust.append(file)

    @repeatable(
        """
        SHA-256 of the certificate that the peer has to show, as by 'openssl x509 -noout -fingerprint -sha256 -in FILE'.
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
        Check the options about the peer together, and make settings of them.

        @param mode: L{TUN<txtuntap.device.TUN>} or L{TAP<txtuntap.device.TAP>}: whether packets or frames are carried.

        @raise UsageError: they do not go together.
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
        The certificates of TLS; L{None}, if there is to be none.

        @param private: whether nobody else can read what is carried, nor take part, even without TLS.
        """
        if end.kind == "ssl" or (end.kind == "tls" and end.isListening):
            raise UsageError(
                f"--{end.option}: {end.kind}: cannot have both ends show a certificate: give tcp: in its place, and"
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
                    f"--{end.option} {end.endpoint}: others could read it and take part: give --certificate, --key, and"
                    " --trust or --pin for TLS; or --insecure, if that is as it should be"
                )
            return None
        if end.kind in ("tls", "udp"):
            raise UsageError(f"--{given[0]}: goes with a plain stream, such as tcp:, and not with {end.kind}:")
        if certificate is None:
            raise UsageError(f"--{given[0]}: with TLS this end shows a certificate, too: give --certificate")
        if not self._trust and not self._pins:
            raise UsageError(f"--{given[0]}: give --trust or --pin, too, to know the peer by")
        if peerName is not None and not self._trust:
            raise UsageError("--peer-name: a name is only worth something in a certificate of --trust: give that, too")
        try:
            return Identity(certificate, key, self._trust, self._pins, peerName)
        except (ImportError, ValueError) as e:
            raise UsageError(str(e)) from e
        except OSError as e:
            raise UsageError(f"{e.filename} cannot be read: {e.strerror}") from e

    def _allowed(self, mode: int) -> Allowed | None:
        if self._allowLinks and mode == TUN:
            raise UsageError("--allow-lladdr: only a tap has link addresses")
        if not self._allow and not self._allowLinks:
            if self.isGiven("allow-router"):
                raise UsageError(
                    "--allow-router: a peer may send anything, a router's packets too, unless there is --allow or"
                    " --allow-lladdr: give one of these, or leave it out"
                )
            return None
        try:
            return Allowed(self._allow, self._allowLinks, self.isGiven("allow-router"))
        except ValueError as e:
            raise UsageError(f"--allow{'-lladdr' if 'link address' in str(e) else ''}: {e}") from e


#: The names of the options about a peer, without those that all options have (C{help}).
PEER_OPTIONS: Sequence[str] = [name for name in PeerOptions().docs if name not in PlainOptions().docs]
