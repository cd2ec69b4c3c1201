"""
The link that a host is on: its Ethernet layer, and the one interface that all its ports have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from txtuntap.ethernet import EthernetProtocol
from txtuntap.layer.layer import Layer


class HostEthernet(EthernetProtocol):
    """
    The Ethernet layer of a host, which calls the host when the link comes, goes, and is set up again.
    """

    handlesFailures = True

    def __init__(
        self, address: bytes, onStart: Callable[[], None], onStop: Callable[[], None], onLinkUp: Callable[[], None]
    ) -> None:
        """
        @param onStart: called when the layer is started; C{onStop}: when it is stopped.
        @param onLinkUp: called when the link has been set up: nobody has heard what was sent on it before.
        """
        super().__init__(address)
        self._onStart = onStart
        self._onStop = onStop
        self._onLinkUp = onLinkUp

    def doStart(self) -> None:
        super().doStart()
        if self.numPorts == 1:
            self._onStart()

    def doStop(self) -> None:
        if self.numPorts == 1:
            self._onStop()
        super().doStop()

    def linkUp(self) -> None:
        """
        The link has been set up.
        """
        super().linkUp()
        self._onLinkUp()


def checkInterface(layer: Layer, transport: Any) -> None:
    """
    A layer of a host that is on a port is put on one more. Another queue of the same interface is all that can be.

    @raise RuntimeError: the other port is on another interface.
    """
    one = portBelow(layer)
    other = portBelow(transport)
    if not isSameInterface(one, other):
        where, there = (
            getattr(each, "interface", b"").decode(errors="backslashreplace") or repr(each) for each in (one, other)
        )
        raise RuntimeError(f"this Host is on {where} already: make another Host for {there}")


def portBelow(transport: Any) -> Any:
    """
    The port below all layers and middleware.
    """
    while getattr(transport, "transport", None) is not None:
        transport = transport.transport
    return transport


def isSameInterface(one: Any, other: Any) -> bool:
    """
    Whether two ports are one, or on queues of one interface of the kernel's.
    """
    devices: list[Any] = [getattr(each, "device", None) for each in (one, other)]
    if one is other or any(each is None or each.fileno() < 0 for each in devices):
        return one is other
    places = [(each.name, getattr(each, "namespace", None)) for each in devices]
    return bool(places[0] == places[1])
