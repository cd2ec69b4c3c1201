"""
TUN and TAP devices of Linux, their configuration and their events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from txtuntap.device.linux.device import LinuxDevice

__all__ = ["LinuxDevice"]


def __getattr__(name: str) -> Any:
    # The constants in this folder are read on every platform, and the device can be imported on Linux alone.
    if name == "LinuxDevice":
        from txtuntap.device.linux.device import LinuxDevice

        return LinuxDevice
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
