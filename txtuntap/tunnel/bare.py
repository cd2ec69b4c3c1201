"""
Bare packets, one in each datagram: socat's C{TUN} over UDP (a tun or a tap), C{vde_plug udp://...}, QEMU, and others.
"""

from __future__ import annotations

from zope.interface import implementer

from txtuntap.layer.drops import Drop
from txtuntap.tunnel.framing import IDatagramFraming, UnpackError
from txtuntap.tunnel.information import LENGTH, information


@implementer(IDatagramFraming)
class Bare:
    """
    Packets, and nothing else.
    """

    anyPort = False
    zeroChecksums = False

    def __init__(self, mode: int, pi: bool = False) -> None:
        """
        @param pi: whether protocol information comes before each packet: socat has it unless given C{iff-no-pi}.
        """
        self._mode = mode
        self._pi = pi
        self.overhead = LENGTH if pi else 0

    def pack(self, packet: bytes | memoryview) -> list[bytes | memoryview]:
        """
        The packet.
        """
        return [information(packet, self._mode), packet] if self._pi else [packet]

    def unpack(self, datagram: bytes) -> bytes:
        """
        Take the packet out of a datagram.

        @raise UnpackError: it is too short.
        """
        if not self._pi:
            return datagram
        if len(datagram) < LENGTH:
            raise UnpackError(Drop.FRAMING)
        return datagram[LENGTH:]
