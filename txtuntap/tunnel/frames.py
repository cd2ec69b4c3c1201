"""
The framing C{txtuntap}, which carries packets in a stream of octets and keeps superpackets whole.

Each end first sends a greeting. Numbers are little-endian, as in C{struct virtio_net_hdr} of virtio 1.0::

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

Mode is 1 for IP packets (tun) and 2 for Ethernet frames (tap). Offloads is a set of the flags C{TUN_F_CSUM} and so on
of C{linux/if_tun.h}: the checksums and segmentation that the peer may leave to the sender of the greeting. MTU is the
MTU of the interface of the sender, in octets. After the greeting, each packet is sent in one frame::

    +---------------------------------------------------------------+
    |              Length of the packet; 0: no packet               |
    +---------------+---------------+-------------------------------+
    |     Flags     |   GSO Type    |         Header Length         |
    +---------------+---------------+-------------------------------+
    |           GSO Size            |        Checksum Start         |
    +-------------------------------+-------------------------------+
    |        Checksum Offset        |            Packet ...
    +-------------------------------+----------------

The fields behind the length describe the checksum and the segmentation that the receiver has to do (see
L{txtuntap.wire.offload}). Offsets count from the start of the packet. All these fields are zero if the packet is
complete. A frame without a packet is a keepalive message.

Read section 5.1.6 of the virtio 1.0 specification, which defines the virtio network header, first.
"""

from __future__ import annotations

import struct
import sys
from functools import lru_cache

from zope.interface import implementer

from txtuntap.device import TAP, TUN
from txtuntap.layer.relay import EVERYTHING
from txtuntap.tunnel.framing import MAX_PACKET, FramingError, IStreamFraming
from txtuntap.wire.offload import HEADER, NEEDS_CHECKSUM, NONE, Offload

MAGIC = b"txtuntap"
VERSION = 1

_GREETING = struct.Struct("<8sBBHI")
#: The length of a packet, and the fields behind it.
_FRAME = struct.Struct("<I10s")
_OFFLOAD = struct.Struct("<BBHHHH")
_LENGTH = struct.Struct("<I10x")

#: Whether these fields have the byte order of the record of an offload.
_IS_LITTLE_ENDIAN = sys.byteorder == "little"

_MODES = {TUN: "a tun (IP packets)", TAP: "a tap (Ethernet frames)"}

#: The greatest number of pieces of an incomplete message. Beyond that the pieces are joined, which saves memory.
_MAX_PIECES = 64


@implementer(IStreamFraming)
class Frames:
    """
    The framing C{txtuntap} at one end of a connection.

    @ivar established: whether the peer's greeting has been received.
    @ivar offloads: the offloads that the peer accepts, once established.
    @ivar peerMTU: the MTU of the peer's interface in octets, once established.
    """

    keepalive = bytes(_FRAME.size)

    def __init__(self, mode: int) -> None:
        """
        @param mode: C{TUN} or C{TAP}.
        """
        self._mode = mode
        self.established = False
        self.offloads = 0
        self.peerMTU = 0
        # The pieces of an incomplete message; their total length; and the total length with which parsing continues.
        self._pieces: list[bytes | memoryview] = []
        self._octets = 0
        self._wanted = _GREETING.size

    def greeting(self, offloads: int, mtu: int) -> bytes:
        """
        Return the greeting of this end: see L{IStreamFraming.greeting}.
        """
        return _GREETING.pack(MAGIC, VERSION, self._mode, offloads & EVERYTHING, mtu)

    def pack(self, packet: bytes | memoryview, offload: Offload | None = None) -> list[bytes | memoryview]:
        """
        Return a frame with one packet: see L{IStreamFraming.pack}.
        """
        if offload is None:
            return [_LENGTH.pack(len(packet)), packet]
        record = offload.packed if _IS_LITTLE_ENDIAN else _OFFLOAD.pack(*HEADER.unpack(offload.packed))
        return [_FRAME.pack(len(packet), record), packet]

    def dataReceived(self, data: bytes) -> list[tuple[bytes | memoryview, Offload | None]]:
        """
        Parse the greeting and then the frames of the stream: see L{IStreamFraming.dataReceived}.
        """
        pieces = self._pieces
        packets: list[tuple[bytes | memoryview, Offload | None]] = []
        at = 0
        # Only a message that began in earlier data is copied. The rest is parsed in place.
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
                    # A piece of one octet occupies some fifty octets of memory.
                    pieces[:] = [b"".join(pieces)]
                return packets
            begun = b"".join(pieces)
            pieces.clear()
            if not self.established:
                self._greetingReceived(begun)
                self._wanted, self._octets = _FRAME.size, 0
            else:
                # These octets may be only the header of a frame, whose length is known now.
                packets += self._split(begun, 0)
        return packets + self._split(data, at) if at < len(data) else packets

    def _split(self, data: bytes, at: int) -> list[tuple[bytes | memoryview, Offload | None]]:
        """
        Split octets that begin with a frame into packets, and keep the incomplete frame at the end.

        @param at: the offset in octets at which the first frame begins.
        """
        packets: list[tuple[bytes | memoryview, Offload | None]] = []
        view = memoryview(data)
        end = len(data)
        wanted = size = _FRAME.size
        unpack = _FRAME.unpack_from
        while end - at >= size:
            length, record = unpack(data, at)
            if length > MAX_PACKET:
                raise FramingError("it sent a packet longer than any interface carries")
            if end - at < size + length:
                wanted = size + length
                break
            start = at + size
            at = start + length
            if length:
                packets.append((view[start:at], _unpacked(record)))
        self._wanted = wanted
        self._octets = end - at
        if at < end:
            self._pieces.append(view[at:])
        return packets

    def _checkMagic(self, data: bytes) -> None:
        if data[: len(MAGIC)] != MAGIC[: len(data)]:
            raise FramingError("its first octets are no txtuntap greeting: give both ends the same --framing")

    def _greetingReceived(self, data: bytes) -> None:
        """
        Check the peer's greeting, and take the peer's settings from it.

        @raise FramingError: the peer has another version or another mode than this end.
        """
        self._checkMagic(data)
        _, version, mode, offloads, self.peerMTU = _GREETING.unpack_from(data)
        if version != VERSION:
            # The log must not have the number itself, because the peer could choose a new one for each line.
            age = "a newer" if version > VERSION else "an older"
            raise FramingError(f"it uses {age} version of the framing than this end, which uses version {VERSION}")
        if mode != self._mode:
            theirs = _MODES.get(mode, "of an unknown kind")
            raise FramingError(f"its interface is {theirs}, and this end's is {_MODES[self._mode]}")
        self.offloads = offloads & EVERYTHING
        self.established = True


@lru_cache(256)
def _unpacked(record: bytes) -> Offload | None:
    """
    Unpack the fields of a frame that describe the checksum and the segmentation.
    """
    flags, kind, *others = _OFFLOAD.unpack(record)
    # C{DATA_VALID} (the checksum was verified) is trusted only if the kernel has set it, not if a peer has.
    flags &= NEEDS_CHECKSUM
    return Offload(flags, kind, *others) if flags or kind != NONE else None
