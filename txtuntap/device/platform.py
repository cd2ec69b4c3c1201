"""
The choice of the platform's modules that configure, read and watch interfaces. No other module looks at the platform.

The folder of each platform has three modules. C{configure} provides
L{IConfiguration<txtuntap.device.interfaces.IConfiguration>}, C{state} provides
L{IReading<txtuntap.device.interfaces.IReading>}, and C{monitor} provides
L{IWatching<txtuntap.device.interfaces.IWatching>}. The modules of the same names beside this one call them.
"""

from __future__ import annotations

import errno
import sys
from importlib import import_module
from typing import Any

#: The name of the folder beside this module for each C{sys.platform}.
FOLDERS = {"linux": "linux"}


def platformModule(name: str) -> Any:
    """
    Import a module from the folder of this platform, unless it is imported already.

    @param name: C{"configure"}, C{"state"} or C{"monitor"}.

    @raise OSError: there is no folder for this platform (C{ENOTSUP}).
    """
    folder = FOLDERS.get(sys.platform)
    if folder is None:
        text = f"interfaces cannot be configured, read or watched on {sys.platform} yet, only on {', '.join(FOLDERS)}"
        raise OSError(errno.ENOTSUP, text)
    return import_module(f"{__package__}.{folder}.{name}")


def importEarly(name: str) -> None:
    """
    Import a module from the folder of this platform before the reactor runs, if there is such a folder. The import can
    block the process for longer than a running reactor may wait: on Linux, it imports pyroute2.

    @param name: C{"configure"}, C{"state"} or C{"monitor"}.
    """
    if sys.platform in FOLDERS:
        platformModule(name)
