"""
The tun and the tap of NetBSD (C{tun(4)}, C{tap(4)}). Not run on a real NetBSD yet.

C{/dev/tap} makes a new tap for each program that opens it. The node of a tun creates the interface when it is opened. A
tap with a given number has to be created first. The device does so, and destroys what it or its node has created.
"""

from __future__ import annotations

import errno
from contextlib import suppress

from txtuntap.device import TAP, TUN
from txtuntap.device.advice import advising
from txtuntap.device.bsd.nodes import INT, NodeOpening
from txtuntap.device.unix.family import AddressFamily
from txtuntap.device.unix.kernel import nameIn
from txtuntap.device.unix.layout import NETBSD
from txtuntap.device.unix.opening import MAX_NODES, Attachment, openNode

#: The ioctls of the nodes (C{net/if_tun.h}, C{net/if_tap.h}): the address family before each packet of a tun; the name
#: of a tap, in an C{ifreq}.
TUNSIFHEAD = 0x80047442
TAPGIFNAME = 0x40906500


class NetBSDOpening(NodeOpening):
    """
    The means to open and close a tun or a tap of NetBSD.
    """

    LAYOUT = NETBSD

    def openNode(self) -> Attachment:
        """
        Open the node, and create the interface if it is not there: see L{NodeOpening.openNode}.
        """
        if self._number is not None:
            return self._openNumber(self._number)
        if self._mode == TAP:
            return self._openClone()
        for number in range(MAX_NODES):
            try:
                return self._openNumber(number)
            except OSError as e:
                if e.errno != errno.EBUSY:
                    raise
        raise OSError(errno.EBUSY, f"each node from /dev/tun0 to /dev/tun{number} is in use")

    def _openClone(self) -> Attachment:
        fileno = openNode(self._system, NETBSD, "/dev/tap")
        attachment = Attachment(fileno, "")
        try:
            with advising("the name of /dev/tap", NETBSD.advice):
                attachment.name = self.presentName(attachment)
        except BaseException:
            self._system.close(fileno)
            raise
        return attachment

    def _openNumber(self, number: int) -> Attachment:
        name = f"{self._driver}{number}"
        path = f"/dev/{name}"
        # Opening the node of a tun creates the interface.
        with advising(name, NETBSD.advice):
            existed = any(state.name == name for state in self._kernel.states())
        try:
            return Attachment(openNode(self._system, NETBSD, path), name, created=not existed)
        except OSError as e:
            if e.errno != errno.ENXIO:
                raise
        # The driver has no such interface yet.
        with advising(name, NETBSD.advice):
            self._kernel.create(name)
        try:
            return Attachment(openNode(self._system, NETBSD, path), name, created=True)
        except OSError as e:
            if e.errno != errno.EBUSY:
                # With EBUSY, another program has the interface now.
                with suppress(OSError):
                    self._kernel.destroy(name)
            raise

    def prepare(self, attachment: Attachment, offload: bool | None) -> None:
        """
        Set the header of the packets: see L{NodeOpening.prepare}.
        """
        if self._mode == TUN:
            # Without the address family, a tun carries IPv4 only.
            self._system.ioctl(attachment.fileno, TUNSIFHEAD, INT.pack(1))
            attachment.prefix = AddressFamily(NETBSD.inet6)

    def presentName(self, attachment: Attachment) -> str:
        """
        Ask for the name of a tap, if it was not given: see L{NodeOpening.presentName}.
        """
        if attachment.name or self._mode == TUN:
            return attachment.name
        return nameIn(bytes(self._system.ioctl(attachment.fileno, TAPGIFNAME, self._kernel.request())))
