"""
The one place where the platform is chosen whose folder configures, reads and watches interfaces.

A folder has a module for each face: C{configure} provides L{IConfiguration<txtuntap.device.interfaces.IConfiguration>},
C{state} L{IReading<txtuntap.device.interfaces.IReading>}, and C{monitor}
L{IWatching<txtuntap.device.interfaces.IWatching>}.
"""

from __future__ import annotations

import errno
import sys
from importlib import import_module
from typing import Any

#: The folders beside this module, by C{sys.platform}.
FOLDERS = {"linux": "linux"}


def platformModule(name: str) -> Any:
    """
    Import a module of this platform's folder, if that has not been done before.

    @param name: C{"configure"}, C{"state"} or C{"monitor"}.

    @raise OSError: no folder is for this platform (C{ENOTSUP}).
    """
    folder = FOLDERS.get(sys.platform)
    if folder is None:
        text = f"interfaces cannot be configured, read or watched on {sys.platform} yet, only on {', '.join(FOLDERS)}"
        raise OSError(errno.ENOTSUP, text)
    return import_module(f"{__package__}.{folder}.{name}")


def importEarly(name: str) -> None:
    """
    Import a module of this platform's folder together with its face. Importing can take longer (pyroute2, on Linux)
    than a reactor may be kept from its work. Without a folder for this platform, nothing is imported.

    @param name: as that of L{platformModule}.
    """
    if sys.platform in FOLDERS:
        platformModule(name)
