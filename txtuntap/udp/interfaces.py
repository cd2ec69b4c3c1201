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
    A UDP layer as the transports on it see it.
    """

    ip: IIPTransport | None = Attribute("The IP layer below, while there is one.")
    addressEpoch: int = Attribute("A number that is another one after each change of the IP layer's addresses.")
    counters: Counters = Attribute("How often each thing happened, by name.")
    written: Table[bytes, float] = Attribute(
        "When each datagram was sent that is no answer, in seconds by the clock below: ICMP errors about it are"
        " believed. The keys are the packed addresses it leaves from and goes to, and both ports, as in its header."
    )
    answered: Table[bytes, float] = Attribute("As C{written}, of answers to those who have written.")

    def now() -> float:
        """
        The time by the clock below, in seconds.
        """

    def failuresOf(proto: Any) -> FailureLog:
        """
        The log for exceptions of a protocol above.
        """

    def dropped(packet: Packet, drop: Drop) -> None:
        """
        Drop and count a packet: see L{Dropping.dropped<txtuntap.layer.drops.Dropping.dropped>}.
        """

    def packetReceived(packet: Packet) -> None:
        """
        Take the payload of an IP datagram, and deliver it.
        """

    def bound(num: int) -> list[Any]:
        """
        The transports on a port.
        """

    def listen(transport: Any) -> None:
        """
        Deliver the datagrams of a port to a transport.
        """

    def removeProto(num: int, proto: Any) -> None:
        """
        Take a protocol off a port.

        @raise ValueError: it is not on that port.
        """
