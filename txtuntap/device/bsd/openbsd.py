"""
The tun and the tap of OpenBSD (C{tun(4)}). Not run on a real OpenBSD yet.

Opening a node makes its interface, and closing the node removes an interface that was made so. A tun has the address
family before each packet, a tap has no header. OpenBSD 7.7 and later have offload, with a header of their own.
"""

from __future__ import annotations

import errno
import struct
from contextlib import suppress

from txtuntap.device import TUN
from txtuntap.device.bsd.nodes import NodeOpening
from txtuntap.device.bsd.tunheader import TunHeader
from txtuntap.device.unix.family import AddressFamily
from txtuntap.device.unix.layout import OPENBSD
from txtuntap.device.unix.opening import Attachment, openFree, openNode
from txtuntap.wire.offload import CSUM, TSO4, TSO6

#: The ioctls that put the offload header before each packet, and that remove it (C{net/if_tun.h}). The first one takes
#: the work that the kernel may leave unfinished, as C{IFCAP_CSUM_TCPv4} and so on (C{net/if.h}).
TUNSCAP = 0x800474C4
TUNDCAP = 0x200074C4
_CAPABILITIES = struct.Struct("=I")
_CHECKSUMS = 0x2 | 0x4 | 0x80 | 0x100
_SEGMENTATION = 0x1000 | 0x2000

#: C{TUNMRU}: the most octets that a kernel without the offload header accepts in one write.
_MOST = 16384


class OpenBSDOpening(NodeOpening):
    """
    The means to open and close a tun or a tap of OpenBSD.
    """

    LAYOUT = OPENBSD
    LOST = frozenset((errno.EIO,))

    def openNode(self) -> Attachment:
        """
        Open the node: see L{NodeOpening.openNode}.
        """
        if self._number is None:
            fileno, number = openFree(self._system, OPENBSD, self._driver)
        else:
            fileno, number = openNode(self._system, OPENBSD, f"/dev/{self._driver}{self._number}"), self._number
        return Attachment(fileno, f"{self._driver}{number}")

    def prepare(self, attachment: Attachment, offload: bool | None) -> None:
        """
        Set the header of the packets: see L{NodeOpening.prepare}.
        """
        if offload is not False:
            try:
                self._setCapabilities(attachment, _CHECKSUMS | _SEGMENTATION)
            except OSError:
                # OpenBSD before 7.7 has no offload.
                pass
            else:
                attachment.prefix = TunHeader(self._mode, OPENBSD.inet6)
                attachment.offloads = CSUM | TSO4 | TSO6
                return
        # Another program may have put the header before the packets of a descriptor from elsewhere.
        with suppress(OSError):
            self._system.ioctl(attachment.fileno, TUNDCAP, 0)
        attachment.prefix = AddressFamily(OPENBSD.inet6) if self._mode == TUN else None
        attachment.longest = _MOST

    def receiveFinished(self, attachment: Attachment) -> None:
        """
        Have the kernel finish all packets: see L{NodeOpening.receiveFinished}.
        """
        self._setCapabilities(attachment, 0)

    def _setCapabilities(self, attachment: Attachment, capabilities: int) -> None:
        self._system.ioctl(attachment.fileno, TUNSCAP, _CAPABILITIES.pack(capabilities))
