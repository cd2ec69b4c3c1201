"""
The tun and the tap of OpenBSD (C{tun(4)}). Not run on a real OpenBSD yet.

Opening a node makes its interface, and closing the node removes an interface that was made so. A tun has the address
family before each packet, a tap has no header.
"""

from __future__ import annotations

from txtuntap.device import TUN
from txtuntap.device.bsd.nodes import NodeOpening
from txtuntap.device.unix.link import OPENBSD, Platform
from txtuntap.device.unix.opening import Attachment, Header, openFree, openNode

#: C{TUNGCAP}, which tells the capabilities of the header C{struct tun_hdr}, if that precedes each packet.
TUNGCAP = 0x400474C4

#: C{TUNMRU}: the most octets that the kernel accepts in one write.
_MOST = 16384


class OpenBSDOpening(NodeOpening):
    """
    The means to open and close a tun or a tap of OpenBSD.
    """

    PLATFORM: Platform = OPENBSD

    def openNode(self) -> Attachment:
        """
        Open the node: see L{NodeOpening.openNode}.
        """
        if self._number is None:
            fileno, number = openFree(self._system, OPENBSD, self._driver)
        else:
            fileno, number = openNode(self._system, OPENBSD, f"/dev/{self._driver}{self._number}"), self._number
        return Attachment(fileno, f"{self._driver}{number}", Header.NONE)

    def prepare(self, attachment: Attachment, offload: bool | None) -> None:
        """
        Set the header of the packets: see L{NodeOpening.prepare}.
        """
        attachment.header = Header.FAMILY if self._mode == TUN else Header.NONE
        attachment.longest = _MOST
