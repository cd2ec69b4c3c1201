"""
A tunnel's carrier over UDP: each datagram holds one packet::

    where = DatagramAddresses.connecting("udp:192.0.2.1:4000")
    UDPServer(where.port, DatagramCarrier(tunnel, Bare(TUN), where.peer, reactor), where.interface, MAX_DATAGRAM)

Read RFC 768 and RFC 6935 (zero checksums over IPv6) first.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger
from zope.interface import implementer

from txtuntap.layer.drops import Drop
from txtuntap.layer.timer import steadySeconds
from txtuntap.tunnel.framing import ICarrier, IDatagramFraming, UnpackError
from txtuntap.tunnel.tunnel import Tunnel
from txtuntap.wire.offload import Offload

#: The C{maxPacketSize} of the UDP port, in octets. No datagram is longer, so none is truncated.
MAX_DATAGRAM = 65535

#: The seconds of silence after which the sender of another valid datagram replaces a discovered peer.
PEER_TIMEOUT = 60.0

#: The receive buffer to request for the socket, in octets. The kernel may grant less (C{net.core.rmem_max}), and also
#: charges its own overhead to the buffer.
RECEIVE_BUFFER = 1024 * 1024

#: The socket option C{UDP_NO_CHECK6_RX} (C{linux/udp.h}), with which the socket receives datagrams without a checksum
#: over IPv6. This end always sends a checksum, because every peer accepts a correct one. A peer accepts datagrams
#: without a checksum only if it is configured to (C{udp6zerocsumrx} of the kernel's vxlan device).
_UDP_NO_CHECK6_RX = 102


@implementer(ICarrier)
class DatagramCarrier(DatagramProtocol):
    """
    A carrier that exchanges a tunnel's packets with one peer over a UDP socket.

    The peer is either given or discovered. With a given peer, datagrams from other senders are counted and dropped. A
    discovered peer is the first sender whose packet the interface accepts. It can be replaced after L{PEER_TIMEOUT}
    seconds without a valid packet. In both cases the peer is not authenticated, because a source address can be forged.

    The counters are the tunnel's: C{inOtherPeers} (datagrams from another sender than the peer), C{inFramingErrors} and
    C{inOtherNetworks} (datagrams that the framing refuses). Datagrams that the kernel does not accept for sending count
    as C{outDiscards}.

    @ivar peer: the IP address and UDP port to which packets are sent; C{None} until a peer is discovered.
    """

    noisy = False
    offloads = 0
    transport: Any

    _log = Logger()

    def __init__(
        self, tunnel: Tunnel, framing: IDatagramFraming, peer: tuple[str, int] | None, clock: IReactorTime
    ) -> None:
        """
        @param tunnel: the tunnel whose packets are carried.
        @param framing: the framing, made for the tunnel's mode.
        @param peer: the peer's IP address as text, and its UDP port; C{None} to discover the peer.
        @param clock: the clock that measures how long a discovered peer has been silent.
        """
        self._tunnel = tunnel
        self._framing = framing
        self._now = steadySeconds(clock)
        self._isPeerGiven = peer is not None
        self._lastHeard = 0.0
        self._setPeer(peer)
        self._socket: Any = None

    def _setPeer(self, peer: tuple[str, int] | None) -> None:
        self.peer = peer
        # The expected source of datagrams is compared as text, because the kernel writes each address in only one form.
        self._source: tuple[str, int] | str | None = peer
        if peer is not None and self._framing.anyPort:
            self._source = peer[0]

    def startProtocol(self) -> None:
        """
        Configure the socket, which has just been opened. If the peer is given, report that the carrier is up.
        """
        # C{transport.write} would parse the peer's address for each datagram, so packets are sent by the socket itself.
        self._socket = self.transport.getHandle()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        if self._framing.zeroChecksums:
            # Only Linux has this option, and over IPv4 every system accepts datagrams without a checksum.
            with suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_UDP, _UDP_NO_CHECK6_RX, 1)
        # C{listenUDP} reads at most 8192 octets by default, and silently truncates longer datagrams.
        self.transport.maxPacketSize = MAX_DATAGRAM
        if self.peer is not None:
            self._tunnel.carrierUp(self)

    def stopProtocol(self) -> None:
        """
        Report that the carrier is down, because the socket has been closed. A discovered peer is forgotten.
        """
        self._socket = None
        if not self._isPeerGiven:
            self._setPeer(None)
        self._tunnel.carrierDown(self)

    def disconnect(self, why: str) -> None:
        """
        Do nothing, because the socket belongs to its port: see L{ICarrier.disconnect}.
        """

    def send(self, packet: bytes | memoryview, offload: Offload | None = None) -> bool:
        """
        Send one packet in one datagram: see L{ICarrier.send}.
        """
        try:
            self._socket.sendmsg(self._framing.pack(packet), (), 0, self.peer)
        except OSError:
            # The buffer may be full, a route or permission missing, or the datagram too long. A later datagram may
            # still succeed.
            return False
        return True

    def flush(self) -> None:
        """
        Do nothing, because no packet is queued: see L{ICarrier.flush}.
        """

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """
        Unpack a datagram and pass its packet to the tunnel.
        """
        isPeer = self._source in (addr, addr[0])
        if not isPeer and not self._mayReplacePeer():
            self._tunnel.discard(Drop.OTHER_PEER)
            return
        try:
            packet = self._framing.unpack(datagram)
        except UnpackError as e:
            self._tunnel.discard(e.drop)
            return
        if self._tunnel.carried(packet) and not self._isPeerGiven:
            self._lastHeard = self._now()
            if not isPeer:
                self._found(addr)

    def _mayReplacePeer(self) -> bool:
        """
        Whether the sender of another datagram may become the peer now.
        """
        if self._isPeerGiven:
            return False
        if self.peer is None:
            return True
        now = self._now()
        # If the clock has been set back, the recorded time is in the future. The silence is then measured from now.
        self._lastHeard = min(self._lastHeard, now)
        return now - self._lastHeard >= PEER_TIMEOUT

    def _found(self, addr: tuple[str, int]) -> None:
        port = self.transport.getHost().port if self._framing.anyPort else addr[1]
        self._setPeer((addr[0], port))
        self._log.info("The tunnel's peer is {host} port {port}", host=addr[0], port=port)
        self._tunnel.carrierUp(self)


@frozen
class DatagramAddresses:
    """
    The addresses and ports of a tunnel over UDP.

    @ivar peer: the peer's IP address as text, and its UDP port; C{None} to discover the peer.
    @ivar interface: the local IP address to listen at. If empty, all IPv4 addresses; C{"::"}: all IPv6 addresses.
    @ivar port: the local UDP port; 0 for any free one.
    """

    peer: tuple[str, int] | None
    interface: str
    port: int

    @property
    def isLoopback(self) -> bool:
        """
        Whether the tunnel is confined to this machine. This is so if the peer's address is a loopback address. If the
        peer is to be discovered, the local address decides.
        """
        inner = self.interface if self.peer is None else self.peer[0]
        return bool(inner) and ip_address(inner).is_loopback

    @classmethod
    def connecting(cls, text: str, samePort: bool = False) -> DatagramAddresses:
        """
        Parse the endpoint text C{udp:ADDRESS:PORT[:bindAddress=ADDRESS][:bindPort=PORT]}. An IPv6 address is in
        brackets, or its colons are escaped as in Twisted's endpoint strings: C{[fd00::1]}, C{fd00\\:\\:1}.

        @param samePort: whether the default for C{bindPort} is the peer's port instead of any free one.

        @raise ValueError: the text has another form, or an address or a port is invalid.
        """
        parts, arguments = _split(text, 2, {"bindAddress", "bindPort"})
        peer = _address(parts[0]), _port(parts[1], 1)
        interface = _address(arguments.get("bindAddress", "::" if ":" in peer[0] else "0.0.0.0"))
        if (":" in interface) != (":" in peer[0]):
            raise ValueError(f"{text}: bindAddress and the peer's address are of different IP versions")
        port = _port(arguments.get("bindPort", str(peer[1]) if samePort else "0"), 0)
        return cls(peer, interface, port)

    @classmethod
    def listening(cls, text: str) -> DatagramAddresses:
        """
        Parse the endpoint text C{udp:PORT[:interface=ADDRESS]}.

        @raise ValueError: the text has another form, or the address or the port is invalid.
        """
        parts, arguments = _split(text, 1, {"interface"})
        return cls(None, _address(arguments.get("interface", "0.0.0.0")), _port(parts[0], 0))


_PART = re.compile(r"(?:\\.|\[[^\]]*\]|[^:\\\[])+")


def _split(text: str, count: int, names: set[str]) -> tuple[list[str], Mapping[str, str]]:
    """
    Split an endpoint text into its arguments behind C{udp:}.

    @param count: how many arguments are positional.
    @param names: the names of the keyword arguments that are accepted.

    @return: the positional arguments, and the keyword arguments by name.
    """
    usage = "udp:ADDRESS:PORT" if count == 2 else "udp:PORT"
    scheme, _, rest = text.partition(":")
    parts = _PART.findall(rest)
    named = dict(part.partition("=")[::2] for part in parts[count:])
    if scheme != "udp" or ":".join(parts) != rest or len(parts) < count or not named.keys() <= names:
        options = "".join(f"[:{name}=...]" for name in sorted(names))
        raise ValueError(f"{text!r} should be {usage}{options}, IPv6 addresses as [fd00::1]")
    plain = re.compile(r"\\(.)")
    return [plain.sub(r"\1", part) for part in parts[:count]], {
        name: plain.sub(r"\1", value) for name, value in named.items()
    }


def _address(text: str) -> str:
    """
    Return an IP address as the kernel writes it, for comparison with the source of a datagram.
    """
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        address = ip_address(inner)
    except ValueError as e:
        raise ValueError(f"{text!r} is not an IP address: a tunnel over UDP needs an address, not a host name") from e
    if address.version == 4:
        return str(address)
    plain, percent, scope = inner.partition("%")
    return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, plain)) + percent + scope


def _port(text: str, least: int) -> int:
    if not (text.isascii() and text.isdigit() and least <= int(text) < 65536):
        raise ValueError(f"a port is a number from {least} to 65535, not {text!r}")
    return int(text)
