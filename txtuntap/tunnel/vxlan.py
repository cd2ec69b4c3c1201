"""
VXLAN (RFC 7348): Ethernet frames in UDP, of one network of many. The kernel's own C{vxlan} device is a peer.

All leave from one port. (RFC 7348 section 5 recommends one for each flow, for the sake of routers between that have
several paths to choose from. No receiver may care.)
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
    Frames behind a VXLAN header.

    @ivar vni: the network.
    """

    overhead = HEADER_LENGTH
    anyPort = True
    #: "When a packet is received with a UDP checksum of zero, it MUST be accepted" (RFC 7348 section 5).
    zeroChecksums = True

    def __init__(self, mode: int, vni: int) -> None:
        """
        @param vni: the network's identifier, 0 to 16,777,215: what both ends have in common.

        @raise ValueError: C{mode} is not L{TAP<txtuntap.device.TAP>}, or C{vni} none.
        """
        if mode != TAP:
            raise ValueError("VXLAN carries Ethernet frames: use a tap")
        if not 0 <= vni <= MAX_VNI:
            raise ValueError(f"a VNI is a number from 0 to {MAX_VNI}, not {vni}")
        self.vni = vni
        self._header = packHeader(vni)

    def pack(self, packet: bytes | memoryview) -> list[bytes | memoryview]:
        """
        The header and the frame.
        """
        return [self._header, packet]

    def unpack(self, datagram: bytes) -> memoryview:
        """
        The frame.

        @raise UnpackError: it is for another network, or says nothing of one.
        """
        vni = vniOf(datagram)
        if vni is None:
            raise UnpackError(Drop.FRAMING)
        if vni != self.vni:
            raise UnpackError(Drop.OTHER_NETWORK)
        return memoryview(datagram)[HEADER_LENGTH:]
