"""
The interfaces between a tunnel, its carrier and a framing.

A framing converts between packets and the octets on the wire. It has no sockets and no timers. A stream framing is made
for one connection, a datagram framing for one tunnel. To make a framing, its class is called with the mode,
C{TUN} or C{TAP}, and with keyword arguments of its own. The call raises
C{ValueError} if the framing cannot carry packets of that mode. The text of the error says why.
"""

from __future__ import annotations

from collections.abc import Sequence

from zope.interface import Attribute, Interface

from txtuntap.device import LONGEST_PACKET
from txtuntap.layer.drops import Drop
from txtuntap.wire.offload import Offload

#: The greatest length of a packet in octets, including an Ethernet header with two VLAN tags. A stream framing refuses
#: a greater length as malformed.
MAX_PACKET = LONGEST_PACKET


class FramingError(Exception):
    """
    The octets of a stream do not follow the framing, so the start of the next packet is unknown.

    The text says what was received. The text must contain nothing that the peer can choose. The log writes each text at
    most once a minute, but with different texts a peer could fill the log.
    """


class UnpackError(Exception):
    """
    A datagram holds no packet for this tunnel.

    @ivar drop: the reason, by which the datagram is counted.
    """

    def __init__(self, drop: Drop) -> None:
        super().__init__(drop.counter)
        self.drop = drop


class IStreamFraming(Interface):
    """
    A framing that carries packets in the stream of octets of one connection.
    """

    established: bool = Attribute(
        "Whether packets can be sent. If the framing has a greeting, the peer's greeting must have been received."
    )
    offloads: int = Attribute(
        "Once established, the checksums and segmentation that may be left to the peer, as flags CSUM, TSO4 and so on"
        " of wire.offload. 0 if every packet must be complete, as in all framings but txtuntap's own."
    )
    peerMTU: int = Attribute("Once established, the MTU of the peer's interface in octets; 0 if it is unknown.")
    keepalive: bytes = Attribute(
        "The octets to send when there has been no packet to send for a while. The peer does the same, so a silent peer"
        " is dead. Empty if the framing has no keepalive message."
    )

    def greeting(offloads: int, mtu: int) -> bytes:
        """
        Return the octets to send first on a new connection; empty if the framing has no greeting.

        @param offloads: the offloads that the interface at this end accepts, as flags.
        @param mtu: the MTU of the interface at this end, in octets.
        """

    def pack(packet: bytes | memoryview, offload: Offload | None = None) -> Sequence[bytes | memoryview]:
        """
        Return the octets that carry one packet.

        @param packet: an Ethernet frame or an IP packet, of at most L{MAX_PACKET} octets.
        @param offload: the checksum and segmentation that are left to the peer, within C{offloads}; C{None}: nothing is
            left.

        @return: the octets to send, in pieces. C{packet} itself is one of the pieces if that is possible, which saves a
            copy.
        """

    def dataReceived(data: bytes) -> list[tuple[bytes | memoryview, Offload | None]]:
        """
        Parse the next octets of the stream. An incomplete packet is kept until its rest arrives; at most one packet is
        kept.

        @return: the packets that are complete now, each with the checksum and segmentation that the peer has left to
            this end. Neither the packets nor these descriptions have been validated.

        @raise FramingError: the octets do not follow the framing. The packets of this call are lost, too, and the
            carrier closes the connection.
        """


class IDatagramFraming(Interface):
    """
    A framing that carries one packet in each datagram.
    """

    overhead: int = Attribute("How many octets the framing adds before each packet.")
    anyPort: bool = Attribute(
        "Whether the peer may send from any port. The peer then listens at the same port number as this end."
    )
    zeroChecksums: bool = Attribute(
        "Whether the peer may omit the UDP checksum over IPv6, too (RFC 6935), because the framing's specification"
        " permits it."
    )

    def pack(packet: bytes | memoryview) -> Sequence[bytes | memoryview]:
        """
        Return the payload of the datagram that carries one packet.

        @param packet: an Ethernet frame or an IP packet, with complete checksums; no superpacket.

        @return: the payload, in pieces.
        """

    def unpack(datagram: bytes) -> bytes | memoryview:
        """
        Return the packet that the payload of a datagram holds. The packet has not been validated.

        @raise UnpackError: the payload holds no packet, or one for another tunnel.
        """


class ICarrier(Interface):
    """
    A carrier, which exchanges a tunnel's packets with the peer over a connection or a UDP socket.

    It calls these methods of its L{Tunnel<txtuntap.tunnel.tunnel.Tunnel>}:

      - C{carrierUp} when packets can be sent, and C{carrierDown} when the carrier has ended;
      - C{carried} with each packet from the peer, or C{carriedTogether} with those that have arrived together;
      - C{carrierFull} when its buffer is full, and C{carrierFree} when it accepts packets again. A carrier without a
        buffer of its own never calls these two.
    """

    offloads: int = Attribute(
        "The checksums and segmentation that may be left to the peer, as flags CSUM, TSO4 and so on of wire.offload."
    )

    def send(packet: bytes | memoryview, offload: Offload | None = None) -> bool:
        """
        Send one packet to the peer.

        @param packet: an Ethernet frame or an IP packet. The carrier may keep a reference to it.
        @param offload: the checksum and segmentation that are left to the peer, within C{offloads}; C{None}: nothing is
            left.

        @return: whether the packet was accepted. If not, the tunnel counts it as dropped.
        """

    def flush() -> None:
        """
        Send the packets that are queued now. Without this call, they are sent at the end of the reactor's turn, unless
        C{flushes} of the tunnel is true.
        """

    def disconnect(why: str) -> None:
        """
        Close the carrier, because the tunnel has another carrier now or needs none any more.

        @param why: the reason, for the log.
        """
