"""
Our own framing of packets in a stream, in which superpackets travel whole.

Each end says first who it is. Numbers are little-endian, as in C{struct virtio_net_hdr} of virtio 1.0:

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +---------------------------------------------------------------+
    |                                                               |
    +                Magic: the octets of "txtuntap"                +
    |                                                               |
    +---------------+---------------+-------------------------------+
    |  Version (1)  |     Mode      |           Offloads            |
    +---------------+---------------+-------------------------------+
    |                              MTU                              |
    +---------------------------------------------------------------+

Mode is 1 for IP packets (tun), 2 for Ethernet frames (tap); Offloads what this end's interface takes, C{TUN_F_CSUM} and
so on of C{linux/if_tun.h}: what the peer may leave open in packets that it sends. The MTU is this end's. Then come
frames, one for each packet:

    +---------------------------------------------------------------+
    |              Length of the packet; 0: no packet               |
    +---------------+---------------+-------------------------------+
    |     Flags     |   GSO Type    |         Header Length         |
    +---------------+---------------+-------------------------------+
    |           GSO Size            |        Checksum Start         |
    +-------------------------------+-------------------------------+
    |        Checksum Offset        |            Packet ...
    +-------------------------------+----------------

with what is open in the packet (see L{txtuntap.wire.offload}), at positions in it; all zeros, nothing. One without a
packet keeps the connection alive.
"""

from __future__ import annotations

import struct
from functools import lru_cache

from zope.interface import implementer

from txtuntap.device import TAP, TUN
from txtuntap.layer.relay import EVERYTHING
from txtuntap.tunnel.framing import MAX_PACKET, FramingError, IStreamFraming
from txtuntap.wire.offload import NEEDS_CHECKSUM, NONE, Offload

MAGIC = b"txtuntap"
VERSION = 1

_GREETING = struct.Struct("<8sBBHI")
_FRAME = struct.Struct("<IBBHHHH")
_LENGTH = struct.Struct("<I10x")

_KINDS = {TUN: "a tun (IP packets)", TAP: "a tap (Ethernet frames)"}

#: So many pieces of a packet are put together before it is whole.
_MAX_PIECES = 64


@implementer(IStreamFraming)
class Frames:
    """
    One end of one connection.

    @ivar peerMTU: the MTU of the peer's interface, once established.
    """

    keepalive = bytes(_FRAME.size)

    def __init__(self, mode: int) -> None:
        """
        @param mode: L{TUN} or L{TAP}.
        """
        self._mode = mode
        self.established = False
        self.offloads = 0
        self.peerMTU = 0
        # The pieces of a message that is not whole, how many octets these have, and how many the message has.
        self._pieces: list[bytes | memoryview] = []
        self._octets = 0
        self._wanted = _GREETING.size

    def greeting(self, offloads: int, mtu: int) -> bytes:
        """
        See L{IStreamFraming.greeting}.
        """
        return _GREETING.pack(MAGIC, VERSION, self._mode, offloads & EVERYTHING, mtu)

    def pack(self, packet: bytes | memoryview, offload: Offload | None = None) -> list[bytes | memoryview]:
        """
        See L{IStreamFraming.pack}.
        """
        if offload is None:
            return [_LENGTH.pack(len(packet)), packet]
        return [_header(len(packet), offload), packet]

    def dataReceived(self, data: bytes) -> list[tuple[bytes | memoryview, Offload | None]]:
        """
        See L{IStreamFraming.dataReceived}.
        """
        pieces = self._pieces
        packets: list[tuple[bytes | memoryview, Offload | None]] = []
        at = 0
        # Only what is begun in what came before is put together: the rest is looked at where it is.
        while pieces or not self.established:
            missing = self._wanted - self._octets
            piece = memoryview(data)[at : at + missing]
            pieces.append(piece)
            self._octets += len(piece)
            at += len(piece)
            if not self.established:
                self._checkMagic(b"".join(pieces))
            if len(piece) < missing:
                if len(pieces) > _MAX_PIECES:
                    # They may be of one octet each, and take fifty.
                    pieces[:] = [b"".join(pieces)]
                return packets
            begun = b"".join(pieces)
            pieces.clear()
            if not self.established:
                self._greeted(begun)
                self._wanted, self._octets = _FRAME.size, 0
            else:
                # Perhaps only its header is whole now.
                packets += self._split(begun, 0)
        return packets + self._split(data, at) if at < len(data) else packets

    def _split(self, data: bytes, at: int) -> list[tuple[bytes | memoryview, Offload | None]]:
        """
        Take apart what begins with a frame.
        """
        packets: list[tuple[bytes | memoryview, Offload | None]] = []
        view = memoryview(data)
        end = len(data)
        wanted = size = _FRAME.size
        while end - at >= size:
            length, flags, kind, *others = _FRAME.unpack_from(data, at)
            if length > MAX_PACKET:
                raise FramingError("a packet longer than any can be")
            if end - at < size + length:
                wanted = size + length
                break
            start = at + size
            at = start + length
            if length:
                # Only a kernel is believed that a checksum was verified.
                flags &= NEEDS_CHECKSUM
                packets.append((view[start:at], _offload(flags, kind, *others) if flags or kind != NONE else None))
        self._wanted = wanted
        self._octets = end - at
        if at < end:
            self._pieces.append(view[at:])
        return packets

    def _checkMagic(self, data: bytes) -> None:
        if data[: len(MAGIC)] != MAGIC[: len(data)]:
            raise FramingError("it speaks something else, and not as a txtuntap tunnel does (see --framing)")

    def _greeted(self, data: bytes) -> None:
        """
        The peer has said who it is.
        """
        self._checkMagic(data)
        _, version, mode, offloads, self.peerMTU = _GREETING.unpack_from(data)
        if version != VERSION:
            # The number is of the peer's choice, and nothing for a log.
            age = "a newer" if version > VERSION else "an older"
            raise FramingError(f"it speaks {age} version of the framing than this end, which speaks {VERSION}")
        if mode != self._mode:
            theirs = _KINDS.get(mode, "something unheard of")
            raise FramingError(f"its interface is {theirs}, and that of this end {_KINDS[self._mode]}")
        self.offloads = offloads & EVERYTHING
        self.established = True


@lru_cache(256)
def _offload(*fields: int) -> Offload:
    return Offload(*fields)


@lru_cache(256)
def _header(length: int, offload: Offload) -> bytes:
    return _FRAME.pack(
        length,
        offload.flags,
        offload.type,
        offload.headerLength,
        offload.size,
        offload.checksumStart,
        offload.checksumOffset,
    )
