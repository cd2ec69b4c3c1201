"""
The calls of Windows that its devices make, in one object that tests can replace. Run under Wine with fake drivers, not
on a real Windows yet.
"""

from __future__ import annotations

import time
from functools import cached_property

from txtuntap.device.windows.kernel import Kernel
from txtuntap.device.windows.link import Links
from txtuntap.device.windows.registry import TapAdapter, realRegistry, tapAdapters
from txtuntap.device.windows.wintunlibrary import WintunLibrary, findLibrary


class WindowsSystem:
    """
    The calls of Windows. Each library is loaded when it is needed first.
    """

    @cached_property
    def kernel(self) -> Kernel:
        """
        The calls of C{kernel32.dll}.
        """
        return Kernel()

    @cached_property
    def links(self) -> Links:
        """
        The calls of C{iphlpapi.dll}.
        """
        return Links()

    monotonic = staticmethod(time.monotonic)

    def tapAdapters(self) -> list[TapAdapter]:
        """
        List the adapters of tap-windows6: see L{tapAdapters}.
        """
        return tapAdapters(realRegistry())

    def wintun(self, path: str | None) -> WintunLibrary:
        """
        Load C{wintun.dll}: see L{findLibrary}.
        """
        return findLibrary(path)
