"""
The interfaces of a reactor that a host provides for time and for UDP. L{txtuntap.stack.streams} has the ones for TCP.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from random import Random
from typing import Any, cast

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IReactorMulticast, IReactorTime, IReactorUDP
from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer

from txtuntap.ip.addresses import Addresses
from txtuntap.ip.input import IPProtocol
from txtuntap.layer.bound import boundAddress, overlap
from txtuntap.layer.drops import Drop
from txtuntap.layer.timer import steadySeconds
from txtuntap.mistakes import checkPort
from txtuntap.packet import Packet
from txtuntap.stack.streams import Placeholder, StreamRole, replacePlaceholder
from txtuntap.udp.layer import RawUDPProtocol, UDPTransport
from txtuntap.wire.udp import PROTOCOL

#: The range of port numbers from which a free one is chosen if a program asks for port 0 (RFC 6056 section 3.2).
_EPHEMERAL = range(49152, 65536)

#: The number of random port numbers that are tried, before the whole range is searched for a free one.
_TRIES = 16


@implementer(IReactorTime, IReactorUDP, IReactorMulticast)
class ReactorRole(StreamRole):
    """
    The interfaces of a reactor that a host provides, so that a library can be given the host in place of its reactor.
    """

    def __init__(
        self,
        clock: IReactorTime,
        ip: IPProtocol,
        verifyChecksum: bool,
        secrets: Random,
    ) -> None:
        """
        @param clock: the reactor that the host runs on.
        @param ip: the host's IP layer. Its addresses are those that ports can be bound to.
        @param verifyChecksum: whether the layers of UDP and TCP drop packets with a wrong checksum.
        @param secrets: chooses free port numbers, so that they cannot be predicted.
        """
        self._clock = clock
        self._steady = steadySeconds(clock)
        self.ip = ip
        self._addresses = cast(Addresses, ip.ownAddresses)
        self._verify = verifyChecksum
        self._secrets = secrets
        self._udp: RawUDPProtocol | None = None
        # Called with each packet that IP or UDP drops.
        self._dropped: Callable[[Packet, Drop], None] | None = None
        ip.addProto(PROTOCOL, Placeholder(self, "udp"))

    # UDP

    @property
    def udp(self) -> RawUDPProtocol:
        """
        The UDP layer of this host, which is created at its first use.
        """
        udp = self._udp
        if udp is None:
            udp = self._udp = RawUDPProtocol(self._verify)
            udp.onDropped = self._dropped
            replacePlaceholder(self.ip, PROTOCOL, udp)
        return udp

    def listenUDP(
        self, port: int, protocol: DatagramProtocol, interface: str = "", maxPacketSize: int = 8192
    ) -> UDPTransport:
        """
        Let a protocol listen on a UDP port: see C{IReactorUDP.listenUDP}. The protocol may join multicast groups, too.
        L{listenMulticast} is needed only to share a port.

        @param port: the port number. 0 means a free one, which is chosen at random (RFC 6056).
        @param protocol: receives the datagrams.
        @param interface: the address of this host to listen on. C{"0.0.0.0"} means all IPv4 addresses, C{"::"} all IPv6
            addresses, and C{""} all addresses.
        @param maxPacketSize: ignored, because datagrams of any size are delivered whole.

        @return: the port that listens.

        @raise CannotListenError: the port is taken, or C{interface} is an address of another host.
        @raise InvalidAddressError: C{interface} is no IP address.
        @raise ValueError: C{port} is no port.
        """
        return self.listenMulticast(port, protocol, interface, maxPacketSize)

    def listenMulticast(
        self,
        port: int,
        protocol: DatagramProtocol,
        interface: str = "",
        maxPacketSize: int = 8192,
        listenMultiple: bool = False,
    ) -> UDPTransport:
        """
        Let a protocol listen on a UDP port that several may share: see C{IReactorMulticast.listenMulticast}. The other
        arguments, the result and the errors are those of L{listenUDP}.

        @param listenMultiple: whether to share the port with all other protocols that were given this flag, too. Each
            of them receives every datagram.
        """
        checkPort(port, "UDP")
        address = b"" if interface == "" else boundAddress(self._addresses, interface, port)
        if port == 0:
            port = self._freePort()
            if not port:
                raise CannotListenError(interface, port, OSError(errno.EADDRINUSE, "no port is free"))
        for other in self.udp.bound(port):
            if overlap(address, other.boundAddress) and not (listenMultiple and other.shared):
                error = OSError(errno.EADDRINUSE, f"{other.protocol!r} is there already: give 0 for any free port")
                raise CannotListenError(interface, port, error)
        transport = self.udp.bind(port, protocol, address)
        transport.shared = listenMultiple
        return transport

    def _freePort(self) -> int:
        """
        Choose a free port number at random, each with the same probability. Return 0 if no port is free.
        """
        for _ in range(_TRIES):
            port = self._secrets.choice(_EPHEMERAL)
            if not self.udp.bound(port):
                return port
        # All random tries hit taken ports, so nearly all ports are taken.
        free = [number for number in _EPHEMERAL if not self.udp.bound(number)]
        return self._secrets.choice(free) if free else 0

    # Time

    def seconds(self) -> float:
        """
        See C{IReactorTime.seconds}: this is the reactor's time.
        """
        return self._clock.seconds()

    def steadySeconds(self) -> float:
        """
        Read the reactor's steady time in seconds, which no clock change affects: see L{txtuntap.layer.timer}.
        """
        return self._steady()

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object) -> IDelayedCall:
        """
        See C{IReactorTime.callLater}: the reactor makes the call.
        """
        return self._clock.callLater(delay, callable, *args, **kwargs)

    def getDelayedCalls(self) -> Any:
        """
        See C{IReactorTime.getDelayedCalls}: these are all calls of the reactor.
        """
        return self._clock.getDelayedCalls()
