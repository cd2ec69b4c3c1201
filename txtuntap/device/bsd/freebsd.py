"""
The tun and the tap of FreeBSD (C{tun(4)}, C{tap(4)}). Not run on a real FreeBSD yet.

FreeBSD keeps an interface after its node is closed. The device destroys an interface that it has created. In a jail,
the node has to be in the jail's devfs rules, and the jail needs a network stack of its own (C{vnet}).

A tap has offload by a C{struct virtio_net_hdr}. FreeBSD does not cut the superpackets that a program writes, nor does
it complete the checksums of packets that it forwards. So only a device that requires offload writes unfinished packets.
"""

from __future__ import annotations

import struct
from contextlib import suppress

from txtuntap.device import TUN
from txtuntap.device.advice import advising
from txtuntap.device.bsd.nodes import INT, NodeOpening
from txtuntap.device.unix.family import AddressFamily
from txtuntap.device.unix.kernel import nameIn
from txtuntap.device.unix.layout import AF_INET, FREEBSD, IFREQ_UNION
from txtuntap.device.unix.opening import Attachment, openNode
from txtuntap.wire.offload import CSUM, HEADER_LENGTH, TSO4, TSO6

#: The ioctls of the node (C{net/if_tun.h}, C{net/if_tap.h}): the interface's name, in an C{ifreq}; the address family
#: before each packet; the destruction at the last close; the owner; the length of the offload header.
TUNGIFNAME = 0x4020745D
TUNSIFHEAD = 0x80047460
TUNSTRANSIENT = 0x80047462
TUNSIFPID = 0x2000745F
TAPSVNETHDR = 0x8004745B

#: The ioctls of an interface's capabilities (C{net/if.h}): those that it has, and those that are
#: enabled, follow the name.
SIOCGIFCAP = 0xC020691F
SIOCSIFCAP = 0x8020691E
_CAPABILITIES = struct.Struct("=II")

IFCAP_RXCSUM, IFCAP_TXCSUM, IFCAP_TSO4, IFCAP_TSO6 = 0x1, 0x2, 0x100, 0x200
IFCAP_RXCSUM_IPV6, IFCAP_TXCSUM_IPV6 = 0x200000, 0x400000

_CHECKSUMS = IFCAP_TXCSUM | IFCAP_TXCSUM_IPV6
_SENT = _CHECKSUMS | IFCAP_TSO4 | IFCAP_TSO6
_RECEIVED = IFCAP_RXCSUM | IFCAP_RXCSUM_IPV6


class FreeBSDOpening(NodeOpening):
    """
    The means to open and close a tun or a tap of FreeBSD.
    """

    LAYOUT = FREEBSD

    def openNode(self) -> Attachment:
        """
        Open the node, which creates the interface: see L{NodeOpening.openNode}.
        """
        path = f"/dev/{self._driver}{'' if self._number is None else self._number}"
        with advising(path, FREEBSD.advice):
            before = {state.name for state in self._kernel.states()}
        attachment = Attachment(openNode(self._system, FREEBSD, path), "")
        try:
            with advising(f"the name of {path}", FREEBSD.advice):
                attachment.name = self._name(attachment)
        except BaseException:
            self._system.close(attachment.fileno)
            raise
        attachment.created = attachment.name not in before
        if attachment.created:
            # A FreeBSD with this call destroys the interface even if this process is killed.
            with suppress(OSError):
                self._system.ioctl(attachment.fileno, TUNSTRANSIENT, INT.pack(1))
                attachment.created = False
        return attachment

    def prepare(self, attachment: Attachment, offload: bool | None) -> None:
        """
        Set the header of the packets: see L{NodeOpening.prepare}.
        """
        # The process that closes the node has to be its owner, or the kernel logs a violation.
        self._system.ioctl(attachment.fileno, TUNSIFPID, 0)
        if self._mode == TUN:
            # Without the address family, a tun carries IPv4 only.
            self._system.ioctl(attachment.fileno, TUNSIFHEAD, INT.pack(1))
            attachment.prefix = AddressFamily(FREEBSD.inet6)
            return
        if offload is False:
            with suppress(OSError):
                self._system.ioctl(attachment.fileno, TAPSVNETHDR, INT.pack(0))
            return
        try:
            self._system.ioctl(attachment.fileno, TAPSVNETHDR, INT.pack(HEADER_LENGTH))
        except OSError:
            # FreeBSD before 13 has no offload.
            return
        attachment.hasOffloadHeader = True
        has, enabled = self._capabilities(attachment)
        try:
            self._enable(attachment, enabled | (has & (_SENT | _RECEIVED)))
        except PermissionError:
            # A process with a descriptor from elsewhere may read and write packets, but not change the interface.
            return
        if offload and has & _CHECKSUMS == _CHECKSUMS:
            attachment.offloads = CSUM | (TSO4 if has & IFCAP_TSO4 else 0) | (TSO6 if has & IFCAP_TSO6 else 0)

    def receiveFinished(self, attachment: Attachment) -> None:
        """
        Have the kernel finish all packets: see L{NodeOpening.receiveFinished}.
        """
        enabled = self._capabilities(attachment)[1]
        # A process without privilege may ask for the capabilities, but not change them.
        if enabled & _SENT:
            self._enable(attachment, enabled & ~_SENT)

    def presentName(self, attachment: Attachment) -> str:
        """
        Ask for the name of the interface: see L{NodeOpening.presentName}.
        """
        try:
            return self._name(attachment)
        except OSError:
            return attachment.name

    def _name(self, attachment: Attachment) -> str:
        return nameIn(bytes(self._system.ioctl(attachment.fileno, TUNGIFNAME, self._kernel.request())))

    def _capabilities(self, attachment: Attachment) -> tuple[int, int]:
        """
        Return the capabilities that the interface has, and those that are enabled.
        """
        answer = self._kernel.ioctl(AF_INET, SIOCGIFCAP, self._kernel.request(attachment.name))
        has, enabled = _CAPABILITIES.unpack_from(answer, IFREQ_UNION)
        return has, enabled

    def _enable(self, attachment: Attachment, capabilities: int) -> None:
        request = self._kernel.request(attachment.name, _CAPABILITIES.pack(capabilities, 0))
        self._kernel.ioctl(AF_INET, SIOCSIFCAP, request)
