"""
TUN and TAP devices on Linux, and the configuration and events of their interfaces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from txtuntap.device.linux.device import LinuxDevice

__all__ = ["LinuxDevice"]


def __getattr__(name: str) -> Any:
    # The import of another module of this folder needs no device.
    if name == "LinuxDevice":
        from txtuntap.device.linux.device import LinuxDevice

        return LinuxDevice
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
