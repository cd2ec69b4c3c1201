"""
A host in the place of a reactor: its time, and its UDP ports. TCP is in L{txtuntap.stack.streams}.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IReactorMulticast, IReactorTime, IReactorUDP
from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer

from txtuntap.ip.addresses import Addresses
from txtuntap.layer.bound import boundAddress, overlap
from txtuntap.layer.timer import steadySeconds
from txtuntap.mistakes import checkPort
from txtuntap.stack.streams import StreamRole
from txtuntap.udp.layer import RawUDPProtocol, UDPTransport

#: Port numbers that are chosen from for port 0 (RFC 6056 section 3.2).
_EPHEMERAL = range(49152, 65536)

#: Port numbers that are tried at random before all are searched for a free one.
_TRIES = 16


@implementer(IReactorTime, IReactorUDP, IReactorMulticast)
class ReactorRole(StreamRole):
    """
    The interfaces of a reactor that a host provides, so that a library can be given the host in place of its reactor.
    """

    def __init__(
        self,
        clock: IReactorTime,
        addresses: Addresses,
        udp: RawUDPProtocol,
        secrets: Random,
    ) -> None:
        """
        @param clock: the reactor that the host runs on.
        @param addresses: the host's addresses, which its ports can be bound to.
        @param udp: the host's UDP layer.
        @param secrets: chooses free port numbers, which nobody may guess.
        """
        self._clock = clock
        self._steady = steadySeconds(clock)
        self._addresses = addresses
        self._udp = udp
        self._secrets = secrets

    # UDP

    def listenUDP(
        self, port: int, protocol: DatagramProtocol, interface: str = "", maxPacketSize: int = 8192
    ) -> UDPTransport:
        """
        Have a protocol listen on a UDP port: C{IReactorUDP.listenUDP}. (It may join groups, too: L{listenMulticast} is
        for several on one port.)

        @param port: 0 takes a free one that nobody can guess (RFC 6056).
        @param interface: an address of ours to listen on; C{"0.0.0.0"} all of IPv4, C{"::"} all of IPv6, C{""} all.
        @param maxPacketSize: has no meaning here: a datagram is delivered whole.

        @raise CannotListenError: the port is taken.
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
        As L{listenUDP}: C{IReactorMulticast.listenMulticast}.

        @param listenMultiple: let others be on the port that were let so, too. Each gets every datagram.
        """
        checkPort(port, "UDP")
        address = b"" if interface == "" else boundAddress(self._addresses, interface, port)
        if port == 0:
            port = self._freePort()
            if not port:
                raise CannotListenError(interface, port, OSError(errno.EADDRINUSE, "no port is free"))
        for other in self._udp.bound(port):
            if overlap(address, other.boundAddress) and not (listenMultiple and other.shared):
                error = OSError(errno.EADDRINUSE, f"{other.protocol!r} is there already: give 0 for any that is free")
                raise CannotListenError(interface, port, error)
        transport = self._udp.bind(port, protocol, address)
        transport.shared = listenMultiple
        return transport

    def _freePort(self) -> int:
        """
        The number of a free port, each as likely as another; 0 if no port is free.
        """
        for _ in range(_TRIES):
            port = self._secrets.choice(_EPHEMERAL)
            if not self._udp.bound(port):
                return port
        # Nearly all are taken.
        free = [number for number in _EPHEMERAL if not self._udp.bound(number)]
        return self._secrets.choice(free) if free else 0

    # Time

    def seconds(self) -> float:
        """
        See C{IReactorTime}.
        """
        return self._clock.seconds()

    def steadySeconds(self) -> float:
        """
        The seconds that have passed by the reactor's steady time (L{txtuntap.layer.timer}), which nobody can set.
        """
        return self._steady()

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object) -> IDelayedCall:
        """
        See C{IReactorTime}.
        """
        return self._clock.callLater(delay, callable, *args, **kwargs)

    def getDelayedCalls(self) -> Any:
        """
        See C{IReactorTime}.
        """
        return self._clock.getDelayedCalls()
