"""
A tunnel's packets over UDP, one in each datagram.

    where = DatagramAddresses.connecting("udp:192.0.2.1:4000")
    UDPServer(where.port, DatagramCarrier(tunnel, Bare(TUN), where.peer, reactor), where.interface, MAX_DATAGRAM)
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

#: The C{maxPacketSize} of the UDP port: whatever comes is whole.
MAX_DATAGRAM = 65535

#: Seconds for which a peer that was found has to be silent before another is.
PEER_TIMEOUT = 60.0

#: Octets that wait in the kernel to be read; it may grant less (C{net.core.rmem_max}), and counts its own beside them.
RECEIVE_BUFFER = 1024 * 1024

#: C{linux/udp.h}: have datagrams without a checksum received over IPv6, too. The option for sending such datagrams is
#: not used, because every peer takes a checksum that is right, and only one that was told to takes none (as the
#: kernel's own device is by C{udp6zerocsumrx}).
_UDP_NO_CHECK6_RX = 102


@implementer(ICarrier)
class DatagramCarrier(DatagramProtocol):
    """
    Carries a tunnel's packets to one peer.

    Either the peer is given: what comes from others is counted and nothing else. Or it is found: the first from whom a
    packet comes that the interface takes, until there was none from it for L{PEER_TIMEOUT}. Neither proves that a
    datagram is from where it says.

    Counters, those of the tunnel: C{inOtherPeers} (not from the peer); C{inFramingErrors}, C{inOtherNetworks} (of the
    framing). What the kernel does not take is the tunnel's C{outDiscards}.

    @ivar peer: the address that packets go to, and the port; L{None} while nobody was found.
    """

    noisy = False
    offloads = 0
    transport: Any

    _log = Logger()

    def __init__(
        self, tunnel: Tunnel, framing: IDatagramFraming, peer: tuple[str, int] | None, clock: IReactorTime
    ) -> None:
        """
        @param framing: of the tunnel's mode.
        @param peer: an address as text, and a port; L{None}: it is to be found.
        @param clock: tells how long a peer is silent.
        """
        self._tunnel = tunnel
        self._framing = framing
        self._now = steadySeconds(clock)
        self._given = peer is not None
        self._heard = 0.0
        self._become(peer)
        self._socket: Any = None

    def _become(self, peer: tuple[str, int] | None) -> None:
        self.peer = peer
        # The source of its datagrams. It is compared as text, which each address has only one of.
        self._source: tuple[str, int] | str | None = peer
        if peer is not None and self._framing.anyPort:
            self._source = peer[0]

    def startProtocol(self) -> None:
        """
        The socket is there.
        """
        # The transport's own write looks anew, for each datagram, at what the peer's address is.
        self._socket = self.transport.getHandle()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        if self._framing.zeroChecksums:
            # Only Linux has it, and over IPv4 everybody takes them.
            with suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_UDP, _UDP_NO_CHECK6_RX, 1)
        # By default, listenUDP has a port read 8192 octets, and the rest of a datagram is lost without a word.
        self.transport.maxPacketSize = MAX_DATAGRAM
        if self.peer is not None:
            self._tunnel.carrierUp(self)

    def stopProtocol(self) -> None:
        """
        The socket is closed.
        """
        self._socket = None
        if not self._given:
            self._become(None)
        self._tunnel.carrierDown(self)

    def disconnect(self, why: str) -> None:
        """
        See L{ICarrier.disconnect}. The socket stays its owner's.
        """

    def send(self, packet: bytes | memoryview, offload: Offload | None = None) -> bool:
        """
        See L{ICarrier.send}.
        """
        try:
            self._socket.sendmsg(self._framing.pack(packet), (), 0, self.peer)
        except OSError:
            # No room, no route, no permission, too long even in fragments: it may be otherwise for the next.
            return False
        return True

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """
        A datagram has come.
        """
        isPeer = self._source in (addr, addr[0])
        if not isPeer and not self._maySucceed():
            self._tunnel.discard(Drop.OTHER_PEER)
            return
        try:
            packet = self._framing.unpack(datagram)
        except UnpackError as e:
            self._tunnel.discard(e.drop)
            return
        if self._tunnel.carried(packet) and not self._given:
            self._heard = self._now()
            if not isPeer:
                self._found(addr)

    def _maySucceed(self) -> bool:
        """
        Whether somebody else may be the peer now.
        """
        if self._given:
            return False
        if self.peer is None:
            return True
        now = self._now()
        # A clock that was set back knows nothing of how long ago that was.
        self._heard = min(self._heard, now)
        return now - self._heard >= PEER_TIMEOUT

    def _found(self, addr: tuple[str, int]) -> None:
        port = self.transport.getHost().port if self._framing.anyPort else addr[1]
        self._become((addr[0], port))
        self._log.info("The tunnel's peer is {host} port {port}", host=addr[0], port=port)
        self._tunnel.carrierUp(self)


@frozen
class DatagramAddresses:
    """
    The ends of a tunnel over UDP.

    @ivar peer: the other's: an address as text, and a port; L{None}: it is to be found.
    @ivar interface: the address to listen at; empty: any of IPv4's, C{"::"}: any.
    @ivar port: the port to listen at; 0: any.
    """

    peer: tuple[str, int] | None
    interface: str
    port: int

    @property
    def isLoopback(self) -> bool:
        """
        Whether nobody takes part who is not on this machine.
        """
        inner = self.interface if self.peer is None else self.peer[0]
        return bool(inner) and ip_address(inner).is_loopback

    @classmethod
    def connecting(cls, text: str, samePort: bool = False) -> DatagramAddresses:
        """
        Read C{udp:ADDRESS:PORT[:bindAddress=ADDRESS][:bindPort=PORT]}. IPv6 addresses are in brackets, or have their
        colons quoted as in Twisted's endpoint strings: C{[fd00::1]}, C{fd00\\:\\:1}.

        @param samePort: whether this end listens at the port that the peer does, if nothing else is said.

        @raise ValueError: it is nothing of the kind.
        """
        parts, arguments = _split(text, 2, {"bindAddress", "bindPort"})
        peer = _address(parts[0]), _port(parts[1], 1)
        interface = _address(arguments.get("bindAddress", "::" if ":" in peer[0] else "0.0.0.0"))
        if (":" in interface) != (":" in peer[0]):
            raise ValueError(f"{text}: bindAddress and the peer's are of two versions of IP")
        port = _port(arguments.get("bindPort", str(peer[1]) if samePort else "0"), 0)
        return cls(peer, interface, port)

    @classmethod
    def listening(cls, text: str) -> DatagramAddresses:
        """
        Read C{udp:PORT[:interface=ADDRESS]}.

        @raise ValueError: it is nothing of the kind.
        """
        parts, arguments = _split(text, 1, {"interface"})
        return cls(None, _address(arguments.get("interface", "0.0.0.0")), _port(parts[0], 0))


_PART = re.compile(r"(?:\\.|\[[^\]]*\]|[^:\\\[])+")


def _split(text: str, count: int, names: set[str]) -> tuple[list[str], Mapping[str, str]]:
    """
    The parts of what comes after C{udp:}, and those that have names.
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
    As the kernel writes it, with which it is compared.
    """
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        address = ip_address(inner)
    except ValueError as e:
        raise ValueError(f"{text!r} is no IP address: a tunnel over UDP is to an address, not a name") from e
    if address.version == 4:
        return str(address)
    plain, percent, scope = inner.partition("%")
    return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, plain)) + percent + scope


def _port(text: str, least: int) -> int:
    if not (text.isascii() and text.isdigit() and least <= int(text) < 65536):
        raise ValueError(f"a port is a number from {least} to 65535, not {text!r}")
    return int(text)
