"""
The form of a packet inside a tunnel: the contracts between a tunnel, its carrier and a framing.

A framing has no sockets and no clock. It is made for one connection (a stream), or for one tunnel (datagrams), by
calling its class with the mode, L{TUN<txtuntap.device.TUN>} or L{TAP<txtuntap.device.TAP>}, and keyword arguments of
its own; it raises C{ValueError}, and says why, if it cannot carry packets of that mode.
"""

from __future__ import annotations

from collections.abc import Sequence

from zope.interface import Attribute, Interface

from txtuntap.device import LONGEST_PACKET
from txtuntap.layer.drops import Drop
from txtuntap.wire.offload import Offload

#: The most octets that a packet has, an Ethernet header with two tags before it: what is said to be longer is none.
MAX_PACKET = LONGEST_PACKET


class FramingError(Exception):
    """
    The octets that came are nothing that this framing knows, so the place of the next packet is unknown. The text says
    what they were, in words that are not of the peer's choice: the log has each text once a minute.
    """


class UnpackError(Exception):
    """
    No packet can be taken out of a datagram.

    @ivar drop: how to count the datagram.
    """

    def __init__(self, drop: Drop) -> None:
        super().__init__(drop.counter)
        self.drop = drop


class IStreamFraming(Interface):
    """
    Packets in a stream of octets, of one connection.
    """

    established: bool = Attribute("Whether packets may go: what the peer has to say first, it has said.")
    offloads: int = Attribute(
        "Once established, what may be left open in a packet that is packed: CSUM, TSO4 and so on of wire.offload; 0,"
        " nothing, for the framings of others."
    )
    peerMTU: int = Attribute("Once established, the MTU of the peer's interface; 0: nobody says.")
    keepalive: bytes = Attribute(
        "What to send where there has been nothing else for a while, as the peer does: one that is silent is dead."
        " Empty: there is nothing like that."
    )

    def greeting(offloads: int, mtu: int) -> bytes:
        """
        The connection is there.

        @param offloads: what the interface at this end takes.
        @param mtu: that of the interface at this end.

        @return: what to say first; nothing, perhaps.
        """

    def pack(packet: bytes | memoryview, offload: Offload | None = None) -> Sequence[bytes | memoryview]:
        """
        @param packet: a frame, or an IP packet, of at most L{MAX_PACKET} octets.
        @param offload: what is open in it, of what is in C{offloads}.

        @return: the octets to send, in pieces, C{packet} one of them where that can be.
        """

    def dataReceived(data: bytes) -> list[tuple[bytes | memoryview, Offload | None]]:
        """
        Some of the stream has come. What is not whole yet is kept: never more than one packet.

        @return: the packets that are whole now, and what is open in each. Nothing of either has been checked.

        @raise FramingError: it can be nothing. What was whole before that is lost, too, and the connection is closed.
        """


class IDatagramFraming(Interface):
    """
    Packets in datagrams, one in each.
    """

    overhead: int = Attribute("How many octets the framing puts before a packet.")
    anyPort: bool = Attribute(
        "Whether the peer sends from any port it likes, and listens at the one that this end listens at."
    )
    zeroChecksums: bool = Attribute(
        "Whether the peer may leave out UDP's checksum over IPv6, too (RFC 6935): the framing's specification says so."
    )

    def pack(packet: bytes | memoryview) -> Sequence[bytes | memoryview]:
        """
        @param packet: a frame, or an IP packet, that is finished.

        @return: the datagram to send, in pieces.
        """

    def unpack(datagram: bytes) -> bytes | memoryview:
        """
        @return: the packet, of which nothing has been checked.

        @raise UnpackError: there is none in it, or none for us.
        """


class ICarrier(Interface):
    """
    The carrier of a tunnel's packets to its peer: a connection, or a socket for datagrams. It calls C{carrierUp} of its
    L{Tunnel<txtuntap.tunnel.tunnel.Tunnel>} when packets may go, C{carried} with each that has come, C{carrierFull} and
    C{carrierFree} when it takes no more and takes more again, where it can tell, and C{carrierDown} at its end.
    """

    offloads: int = Attribute("What may be left open in a packet: CSUM, TSO4 and so on of wire.offload; 0, nothing.")

    def send(packet: bytes | memoryview, offload: Offload | None = None) -> bool:
        """
        @param packet: a frame, or an IP packet. It may be kept.
        @param offload: what is open in it, of what is in C{offloads}.

        @return: whether there was room for it. If not, the tunnel counts it as dropped.
        """

    def disconnect(why: str) -> None:
        """
        The tunnel has another carrier now, or none any more.

        @param why: for the log.
        """
