"""
The records and the sockets of the fake kernels in C{routefakes.py}.
"""

from __future__ import annotations

import os
import socket
from ipaddress import IPv4Interface, IPv6Interface
from typing import Any, Protocol

import attrs

Interface = IPv4Interface | IPv6Interface


@attrs.define
class Address:
    """
    An address of an interface of the fake.

    @ivar other: the destination or the broadcast address, as text; empty: there is none.
    """

    own: Interface
    other: str = ""


@attrs.define
class Link:
    """
    An interface of the fake. Its numbers of packets and octets count from 1001.
    """

    name: str
    index: int
    flags: int
    mtu: int = 1500
    hardware: bytes = b""
    addresses: list[Address] = attrs.field(factory=list)
    neighbourFlags: int = 0


@attrs.define
class Route:
    """
    A route of the fake.

    @ivar gateway: the address of the gateway, or of the interface itself; empty: the route has a link address.
    """

    network: Any
    index: int
    flags: int
    gateway: str = ""
    source: str = ""


class Kernel(Protocol):
    """
    The part of a fake kernel that its sockets use.
    """

    routing: list[RoutingSocket]
    queries: dict[int, int]

    def routeRequested(self, data: bytes) -> None:
        """
        Answer a request about a route.
        """


class RoutingSocket:
    """
    A routing socket of the fake, whose descriptor becomes readable as a real one does.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.near, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.far.setblocking(False)
        # The errors that the next reads raise.
        self.errors: list[int] = []

    def __enter__(self) -> RoutingSocket:
        return self

    def __exit__(self, *ignored: object) -> None:
        self.close()

    def fileno(self) -> int:
        return self.near.fileno()

    def setblocking(self, flag: bool) -> None:
        self.near.setblocking(flag)

    def recv(self, size: int) -> bytes:
        if self.errors:
            number = self.errors.pop(0)
            raise OSError(number, os.strerror(number))
        return self.near.recv(size)

    def send(self, data: bytes) -> int:
        self._kernel.routeRequested(data)
        return len(data)

    def close(self) -> None:
        if self in self._kernel.routing:
            self._kernel.routing.remove(self)
        self.near.close()
        self.far.close()


class QuerySocket:
    """
    A datagram socket of the fake, on which ioctls are made.
    """

    def __init__(self, kernel: Kernel, family: int) -> None:
        self._kernel = kernel
        self._number = max(kernel.queries, default=1000) + 1
        kernel.queries[self._number] = family

    def __enter__(self) -> QuerySocket:
        return self

    def __exit__(self, *ignored: object) -> None:
        del self._kernel.queries[self._number]

    def fileno(self) -> int:
        return self._number


def refusal(number: int) -> OSError:
    """
    Make the error that a real system call raises for an error number.
    """
    return OSError(number, os.strerror(number))
