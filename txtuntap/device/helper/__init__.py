"""
The helper: a process with privilege that makes and configures devices for programs without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from txtuntap.device.helper.device import HelpedDevice

__all__ = ["HelpedDevice"]


def __getattr__(name: str) -> Any:
    # The other files in this folder are read on every platform, and the device can be imported on Linux alone.
    if name == "HelpedDevice":
        from txtuntap.device.helper.device import HelpedDevice

        return HelpedDevice
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
