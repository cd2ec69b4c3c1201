"""
Packets in a stream that tell at their beginning how long they are.
"""

from __future__ import annotations

from zope.interface import implementer

from txtuntap.tunnel.framing import IStreamFraming
from txtuntap.wire.offload import Offload


@implementer(IStreamFraming)
class Delimited:
    """
    The base of framings that delimit packets only. There is no greeting, no sign of life from a peer that has nothing
    to send, and each packet is finished.

    @cvar prefix: how many octets come before each packet that are none of it.
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
        Nothing.
        """
        return b""

    def pack(self, packet: bytes | memoryview, offload: Offload | None = None) -> list[bytes | memoryview]:
        """
        See L{IStreamFraming.pack}.
        """
        raise NotImplementedError

    def needed(self, data: bytes, at: int) -> int:
        """
        How many octets there have to be from C{at} on: the whole packet with its prefix; or, where C{data} ends before
        that can be told, what it takes to know more.

        @raise FramingError: no packet begins so.
        """
        raise NotImplementedError

    def dataReceived(self, data: bytes) -> list[tuple[bytes | memoryview, Offload | None]]:
        """
        See L{IStreamFraming.dataReceived}.
        """
        rest = self._rest
        if rest:
            # Looked at only when there is something new to see: a peer may send octet by octet.
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
