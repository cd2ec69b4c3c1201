"""
The link of a host: its Ethernet layer, and the check that all its ports belong to one interface.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from txtuntap.ethernet import EthernetProtocol
from txtuntap.layer.layer import Layer


class HostEthernet(EthernetProtocol):
    """
    The Ethernet layer of a host. It calls the host when the layer starts, when it stops, and when the link comes up.
    """

    handlesFailures = True

    def __init__(
        self, address: bytes, onStart: Callable[[], None], onStop: Callable[[], None], onLinkUp: Callable[[], None]
    ) -> None:
        """
        @param address: the link address of the host, six octets.
        @param onStart: called when the layer has started on its first port.
        @param onStop: called before the layer stops on its last port.
        @param onLinkUp: called when the link has come up. Frames sent before that reached no station.
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
        Note that the link has come up.
        """
        super().linkUp()
        self._onLinkUp()


def checkInterface(layer: Layer, transport: Any) -> None:
    """
    Check that a layer of a host, which is on one port already, can be put on another transport, too. The port of that
    transport must be another queue of the same interface.

    @param layer: the layer, which is on a port.
    @param transport: the other port, or middleware on it.

    @raise RuntimeError: the port of C{transport} is on another interface.
    """
    present = portBelow(layer)
    added = portBelow(transport)
    if not isSameInterface(present, added):
        presentName, addedName = (
            getattr(each, "interface", b"").decode(errors="backslashreplace") or repr(each) for each in (present, added)
        )
        raise RuntimeError(f"this Host is on {presentName} already: make another Host for {addedName}")


def portBelow(transport: Any) -> Any:
    """
    Find the port that is below a transport and all middleware in between.
    """
    while getattr(transport, "transport", None) is not None:
        transport = transport.transport
    return transport


def isSameInterface(one: Any, other: Any) -> bool:
    """
    Whether two ports are one and the same, or queues of one interface of the kernel.
    """
    devices: list[Any] = [getattr(each, "device", None) for each in (one, other)]
    if one is other or any(each is None or each.fileno() < 0 for each in devices):
        return one is other
    identities = [(each.name, getattr(each, "namespace", None)) for each in devices]
    return bool(identities[0] == identities[1])
