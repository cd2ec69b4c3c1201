"""
The framing of VXLAN (RFC 7348), in which each datagram holds one Ethernet frame of a numbered network. The kernel's
C{vxlan} device can be the peer. Read RFC 7348 sections 4 and 5 first.

All datagrams are sent from one port. RFC 7348 section 5 recommends a source port for each flow, by which routers
balance the flows over several paths. Receivers accept any source port.
"""

from __future__ import annotations

from zope.interface import implementer

from txtuntap.device import TAP
from txtuntap.layer.drops import Drop
from txtuntap.tunnel.framing import IDatagramFraming, UnpackError
from txtuntap.wire.vxlan import HEADER_LENGTH, MAX_VNI, packHeader, vniOf


@implementer(IDatagramFraming)
class VXLAN:
    """
    The framing in which a VXLAN header precedes each frame.

    @ivar vni: the identifier of the network (VNI).
    """

    overhead = HEADER_LENGTH
    anyPort = True
    #: "When a packet is received with a UDP checksum of zero, it MUST be accepted" (RFC 7348 section 5).
    zeroChecksums = True

    def __init__(self, mode: int, vni: int) -> None:
        """
        @param mode: C{TAP}.
        @param vni: the identifier of the network, 0 to 16,777,215. Both ends have to use the same.

        @raise ValueError: C{mode} is not C{TAP}, or C{vni} is out of range.
        """
        if mode != TAP:
            raise ValueError("VXLAN carries Ethernet frames: use a tap")
        if not 0 <= vni <= MAX_VNI:
            raise ValueError(f"a VNI is a number from 0 to {MAX_VNI}, not {vni}")
        self.vni = vni
        self._header = packHeader(vni)

    def pack(self, packet: bytes | memoryview) -> list[bytes | memoryview]:
        """
        Return the VXLAN header and the frame.
        """
        return [self._header, packet]

    def unpack(self, datagram: bytes) -> memoryview:
        """
        Return the frame that a datagram holds.

        @raise UnpackError: the datagram has no valid VXLAN header, or its frame is of another network.
        """
        vni = vniOf(datagram)
        if vni is None:
            raise UnpackError(Drop.FRAMING)
        if vni != self.vni:
            raise UnpackError(Drop.OTHER_NETWORK)
        return memoryview(datagram)[HEADER_LENGTH:]
