"""
The helper is a privileged process that makes and configures devices for programs without privilege.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from txtuntap.device.helper.device import HelpedDevice

__all__ = ["HelpedDevice"]


def __getattr__(name: str) -> Any:
    # The import of another module of this folder needs no device.
    if name == "HelpedDevice":
        from txtuntap.device.helper.device import HelpedDevice

        return HelpedDevice
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
