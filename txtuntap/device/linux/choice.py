"""
The choice of a Linux device by its name.
"""

from __future__ import annotations

from typing import Any

from txtuntap.device.linux.device import LinuxDevice
from txtuntap.interfaces import IDevice


def makeDevice(
    name: str | bytes, mode: int, system: Any = None, descriptor: int | None = None, **options: Any
) -> IDevice:
    """
    Make a L{LinuxDevice}, not open yet. The arguments are those of L{LinuxDevice}.
    """
    return LinuxDevice(name, mode, system=system, descriptor=descriptor, **options)
