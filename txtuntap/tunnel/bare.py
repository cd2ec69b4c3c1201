"""
The framing in which each datagram is one packet. The peer may be socat with C{TUN} over UDP (a tun or a tap),
C{vde_plug udp://...}, or QEMU.
"""

from __future__ import annotations

from zope.interface import implementer

from txtuntap.layer.drops import Drop
from txtuntap.tunnel.framing import IDatagramFraming, UnpackError
from txtuntap.tunnel.information import LENGTH, information


@implementer(IDatagramFraming)
class Bare:
    """
    A framing that adds nothing to a packet, or only socat's protocol information.
    """

    anyPort = False
    zeroChecksums = False

    def __init__(self, mode: int, pi: bool = False) -> None:
        """
        @param mode: C{TUN} or C{TAP}.
        @param pi: whether protocol information (4 octets) precedes each packet. Without its option C{iff-no-pi}, socat
            sends this information and expects it.
        """
        self._mode = mode
        self._pi = pi
        self.overhead = LENGTH if pi else 0

    def pack(self, packet: bytes | memoryview) -> list[bytes | memoryview]:
        """
        Return the packet in pieces, with the protocol information before it if C{pi} was given.
        """
        return [information(packet, self._mode), packet] if self._pi else [packet]

    def unpack(self, datagram: bytes) -> bytes:
        """
        Return the packet that a datagram holds.

        @raise UnpackError: the datagram is shorter than the protocol information.
        """
        if not self._pi:
            return datagram
        if len(datagram) < LENGTH:
            raise UnpackError(Drop.FRAMING)
        return datagram[LENGTH:]
