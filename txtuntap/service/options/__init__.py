"""
The options of C{twistd tuntap}.
"""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.python import usage
from twisted.python.usage import UsageError

from txtuntap.service.options.host import HostOptions
from txtuntap.service.options.switch import SwitchOptions
from txtuntap.service.options.tunnel import TunnelOptions


class Options(usage.Options):
    """
    Options of C{twistd tuntap}.
    """

    longdesc = "Put a program on a network interface of its own."
    subCommands: ClassVar[list[list[Any]]] = [
        ["host", None, HostOptions, "Be a host on a TUN or TAP device."],
        ["switch", None, SwitchOptions, "Be a learning switch between TAP devices and tunnels."],
        ["tunnel", None, TunnelOptions, "Carry a TUN or TAP device to another place."],
    ]

    def postOptions(self) -> None:
        """
        Something must be asked for.
        """
        if self.subCommand is None:
            raise UsageError(f"say what to run: {' or '.join(each[0] for each in self.subCommands)}")
