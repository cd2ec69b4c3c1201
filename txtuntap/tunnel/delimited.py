"""
The base of framings whose packets state their own length in a stream of octets.
"""

from __future__ import annotations

from zope.interface import implementer

from txtuntap.tunnel.framing import IStreamFraming
from txtuntap.wire.offload import Offload


@implementer(IStreamFraming)
class Delimited:
    """
    The base class of framings that only delimit packets. They have no greeting and no keepalive message, and each
    packet has complete checksums and is no superpacket.

    @cvar prefix: how many octets precede each packet without being a part of it.
    """

    established = True
    offloads = 0
    peerMTU = 0
    keepalive = b""

    prefix = 0

    def __init__(self) -> None:
        self._rest = bytearray()
        self._needed = 0

    def greeting(self, offloads: int, mtu: int) -> bytes:
        """
        Return no octets, because these framings have no greeting.
        """
        return b""

    def pack(self, packet: bytes | memoryview, offload: Offload | None = None) -> list[bytes | memoryview]:
        """
        Return the octets that carry one packet, as L{IStreamFraming.pack} describes. A subclass implements this.
        """
        raise NotImplementedError

    def needed(self, data: bytes, at: int) -> int:
        """
        Return how many octets the complete packet takes with its prefix. If C{data} ends before the length field,
        return how many octets are needed to read that field. A subclass implements this.

        @param at: the offset in octets at which the prefix or the packet begins.

        @raise FramingError: the octets are not the start of a packet.
        """
        raise NotImplementedError

    def dataReceived(self, data: bytes) -> list[tuple[bytes | memoryview, Offload | None]]:
        """
        Split the stream into packets and keep an incomplete one: see L{IStreamFraming.dataReceived}.
        """
        rest = self._rest
        if rest:
            # An incomplete packet is parsed again only once enough octets are there, because a peer may send one octet
            # at a time.
            rest += data
            if len(rest) < self._needed:
                return []
            data = bytes(rest)
            rest.clear()
        packets: list[tuple[bytes | memoryview, Offload | None]] = []
        prefix = self.prefix
        at, end = 0, len(data)
        while at < end:
            needed = self.needed(data, at)
            if needed > end - at:
                self._needed = needed
                rest += data[at:]
                break
            packets.append((data[at + prefix : at + needed], None))
            at += needed
        return packets
