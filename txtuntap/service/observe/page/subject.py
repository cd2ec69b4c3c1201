"""
The subjects of a live page: each is an interface, with the objects on it that the page shows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from txtuntap.device import TAP
from txtuntap.layer.bounded import TableState
from txtuntap.middleware import Capture, Impairment, Meter
from txtuntap.middleware.base import Middleware
from txtuntap.service.observe.metrics import CountingService

if TYPE_CHECKING:
    from txtuntap.stack.host import Host
    from txtuntap.switch.port import SwitchPort
    from txtuntap.switch.switch import Switch
    from txtuntap.tunnel.tunnel import Tunnel
    from txtuntap.tuntap import TuntapPort
    from txtuntap.wireguard.protocol import WireGuard

#: The type of counters: by the name of their part, and then by their own name.
Counters = Mapping[str, Mapping[str, int]]


class HasTables(Protocol):
    """
    An object with bounded tables.
    """

    def tables(self) -> list[TableState]:
        """
        List its tables, with their bounds.
        """


@attrs.frozen
class Subject:
    """
    An interface that a page shows. All fields but C{name} may be left out.

    @ivar name: the name of the interface, or a callable that returns its present name.
    @ivar port: the port on the interface.
    @ivar proto: the protocol that receives the packets, with the middleware around it; C{None}: that of C{port}.
    @ivar counters: a callable that returns the counters by part; C{None}: those of the objects below are shown.
    @ivar host: the host on the port.
    @ivar tunnel: the tunnel on the port.
    @ivar wireguard: the WireGuard on the port, or below the host.
    @ivar switch: the switch that the port belongs to.
    @ivar switchPort: the port's place at the switch.
    @ivar others: an object with further tables, such as the
        L{StreamFactory<txtuntap.tunnel.stream.StreamFactory>} of the tunnel.
    """

    name: str | Callable[[], str]
    port: TuntapPort | None = None
    proto: Any = None
    counters: Callable[[], Counters] | None = None
    host: Host | None = None
    tunnel: Tunnel | None = None
    wireguard: WireGuard | None = None
    switch: Switch | None = None
    switchPort: SwitchPort | None = None
    others: HasTables | None = None

    def currentName(self) -> str:
        """
        Return the present name of the interface. Octets that are no UTF-8 are escaped.
        """
        name = self.name() if callable(self.name) else self.name
        return os.fsencode(name).decode("utf-8", "backslashreplace")

    def currentCounters(self) -> Counters:
        """
        Return the present counters by part.
        """
        if self.counters is not None:
            return self.counters()
        found: dict[str, Mapping[str, int]] = {} if self.port is None else {"port": self.port.counters}
        found.update({part: each.counters for part, each in self._parts() if part != "host"})
        if self.host is not None:
            found.update(self.host.counters)
        return found

    def middleware(self) -> Iterator[Middleware]:
        """
        Iterate over the middleware on the port, the lowest first.
        """
        proto = self.proto
        if proto is None and self.port is not None:
            proto = self.port.protocol
        while isinstance(proto, Middleware):
            yield proto
            proto = proto.protocol

    @property
    def capture(self) -> Capture | None:
        """
        The lowest L{Capture} on the port, from which the page captures; C{None}: there is none.
        """
        return next((each for each in self.middleware() if isinstance(each, Capture)), None)

    @property
    def impairment(self) -> Impairment | None:
        """
        The lowest L{Impairment} on the port, which the page changes; C{None}: there is none.
        """
        return next((each for each in self.middleware() if isinstance(each, Impairment)), None)

    @property
    def highestImpairment(self) -> Impairment | None:
        """
        The highest L{Impairment} on the port, if it is above the L{capture}; C{None}: there is none.
        """
        found: Impairment | None = None
        for each in self.middleware():
            if isinstance(each, Impairment):
                found = each
            elif each is self.capture:
                found = None
        return found

    def tables(self) -> list[TableState]:
        """
        List the bounded tables of all objects.
        """
        found: list[TableState] = []
        device = None if self.port is None else self.port.device
        for each in (device, *(each for _, each in self._parts()), self.others):
            tables = getattr(each, "tables", None)
            if tables is not None:
                found += tables()
        return found

    def stack(self) -> list[dict[str, Any]]:
        """
        List what a packet passes, from the device or the peers up: for each, C{title} for the picture, and C{part}, the
        name of its counters (C{None}: it has none). The parts of a host that are beside each other have the same
        C{level}.
        """
        found: list[dict[str, Any]] = []

        def add(title: str, part: str | None = None, beside: bool = False) -> None:
            level = 0 if not found else found[-1]["level"] + (not beside)
            found.append({"title": title, "part": part, "level": level})

        if self.port is not None:
            add(f"device {self.currentName()}")
            add("TuntapPort", "port")
            self._addMiddleware(add)
        elif self.wireguard is not None or self.tunnel is not None:
            add(self._peersTitle())
        if self.wireguard is not None:
            add("WireGuard", "wireguard")
        if self.tunnel is not None:
            add("Tunnel", "tunnel")
        if self.port is None:
            self._addMiddleware(add)
        elif self.host is None and (self.wireguard is not None or self.tunnel is not None):
            add(self._peersTitle())
        if self.switchPort is not None:
            add(f"Switch, port {self.switchPort.name}", "switch")
            add("other ports of the switch")
        if self.host is not None:
            if self.port is not None and self.port.device.mode == TAP:
                add("EthernetProtocol", "ethernet")
            add("IPProtocol", "ip")
            add("ICMP", "icmp")
            add("UDP", "udp", beside=True)
            if self.host.usesTCP:
                add("TCP", "tcp", beside=True)
        return found

    def _peersTitle(self) -> str:
        return "peer of the tunnel" if self.wireguard is None else "peers of WireGuard"

    def _addMiddleware(self, add: Callable[[str, str], None]) -> None:
        for each in self.middleware():
            add(_className(each), _partOf(each))

    def _parts(self) -> Iterator[tuple[str, Any]]:
        """
        Iterate over the objects that have counters or tables, with the names of their parts.
        """
        for each in self.middleware():
            yield _partOf(each), each
        for part, other in (
            ("host", self.host),
            ("tunnel", self.tunnel),
            ("wireguard", self.wireguard),
            ("switch", self.switchPort),
        ):
            if other is not None:
                yield part, other


class ObservedService(CountingService, Protocol):
    """
    A service that a live page shows.
    """

    def subject(self) -> Subject:
        """
        Describe the interface for the page.
        """


def _className(middleware: Middleware) -> str:
    """
    Return the name of the class. A subclass of this package's middleware has the name of that.
    """
    kinds = (each.__name__ for each in (Capture, Impairment, Meter) if isinstance(middleware, each))
    return next(kinds, type(middleware).__name__)


def _partOf(middleware: Middleware) -> str:
    return _className(middleware).lower()
