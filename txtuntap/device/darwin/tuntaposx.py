"""
The devices of tuntaposx, a kernel extension of others for macOS, by its nodes C{/dev/tun0} to C{/dev/tun15} and
C{/dev/tap0} to C{/dev/tap15}. Not run on a real macOS yet.

These devices are legacy: macOS 11 and later refuse the extension.
"""

from __future__ import annotations

import errno
from typing import Any

from txtuntap.device.unix.layout import DARWIN
from txtuntap.device.unix.opening import Attachment, Opening, openFree, openNode

_INSTEAD = {
    "tun": "name it utun%d, which needs no driver",
    "tap": "install tuntaposx (up to macOS 10.15), or use a pair of feth interfaces, or a tun (utun%d)",
}


class TuntaposxOpening(Opening):
    """
    The means to open and close a device of tuntaposx.
    """

    LAYOUT = DARWIN

    def __init__(self, driver: str, number: int | None, system: Any) -> None:
        """
        @param driver: C{"tun"} or C{"tap"}.
        @param number: the number of the node; C{None}: the first free one.
        @param system: the operating system's calls.
        """
        self._driver = driver
        self._number = number
        self._system = system

    def open(self, offload: bool | None) -> Attachment:
        """
        Open the node, which is a character device without headers: see L{Opening.open}.
        """
        number = self._number
        try:
            if number is None:
                fileno, number = openFree(self._system, DARWIN, self._driver)
            else:
                fileno = openNode(self._system, DARWIN, f"/dev/{self._driver}{number}")
        except OSError as e:
            if e.errno != errno.ENOENT:
                raise
            shown = "%d" if number is None else number
            what = f"macOS has no {self._driver}{shown} by itself"
            raise OSError(e.errno, f"{what}: {_INSTEAD[self._driver]}") from e
        return Attachment(fileno, f"{self._driver}{number}")

    def close(self, attachment: Attachment) -> None:
        """
        Close the node: see L{Opening.close}.
        """
        self._system.close(attachment.fileno)
