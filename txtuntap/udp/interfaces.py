"""
The contract between the UDP layer and the transports of the protocols behind its ports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zope.interface import Attribute, Interface

from txtuntap.layer.counters import Counters

if TYPE_CHECKING:
    from txtuntap.interfaces import IIPTransport
    from txtuntap.layer.bounded import Table
    from txtuntap.layer.drops import Drop
    from txtuntap.layer.life import FailureLog
    from txtuntap.packet import Packet


class IUDPLayer(Interface):
    """
    A UDP layer, as the transports on its ports use it.
    """

    ip: IIPTransport | None = Attribute("The IP layer below; C{None} if there is none.")
    addressEpoch: int = Attribute("A number that changes with each change of the IP layer's addresses.")
    counters: Counters = Attribute("The counters, by name.")
    verifies: bool = Attribute("Whether the layer verifies checksums.")
    written: Table[bytes, float] = Attribute(
        "The time in seconds, by the clock below, of the last datagram of each flow that was not an answer. ICMP errors"
        " about recent datagrams are believed. A key is the packed source and destination address and both ports, as in"
        " the header of a datagram of the peer."
    )
    answered: Table[bytes, float] = Attribute("The same as C{written}, for answers to datagrams received.")

    def now() -> float:
        """
        Return the time by the clock below, in seconds.
        """

    def failuresOf(proto: Any) -> FailureLog:
        """
        Return the log for the exceptions of a protocol above.
        """

    def dropped(packet: Packet, drop: Drop) -> None:
        """
        Drop and count a packet: see L{Dropping.dropped<txtuntap.layer.drops.Dropping.dropped>}.
        """

    def packetReceived(packet: Packet) -> None:
        """
        Receive an IP datagram with a UDP header at C{start}, and deliver it.
        """

    def bound(num: int) -> list[Any]:
        """
        Return the transports on a port.
        """

    def listen(transport: Any) -> None:
        """
        Put a transport on its port, so that it gets the datagrams to this port.
        """

    def removeProto(num: int, proto: Any) -> None:
        """
        Remove a protocol from a port.

        @raise ValueError: C{proto} is not on that port.
        """
