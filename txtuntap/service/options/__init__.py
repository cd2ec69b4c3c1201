"""
The options of C{twistd tuntap}.
"""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.python import usage
from twisted.python.usage import UsageError

from txtuntap.service.options.host import HostOptions, HostServiceSettings
from txtuntap.service.options.switch import SwitchOptions, SwitchServiceSettings
from txtuntap.service.options.tunnel import TunnelOptions, TunnelServiceSettings


class Options(usage.Options):
    """
    Options of C{twistd tuntap}.

    @ivar settings: once parsed, what those of the subcommand ask for.
    """

    settings: HostServiceSettings | SwitchServiceSettings | TunnelServiceSettings

    longdesc = "Put a program on a network interface of its own."
    subCommands: ClassVar[list[list[Any]]] = [
        ["host", None, HostOptions, "Be a host on a TUN or TAP device."],
        ["switch", None, SwitchOptions, "Be a learning switch between TAP devices and tunnels."],
        ["tunnel", None, TunnelOptions, "Carry a TUN or TAP device to another place."],
    ]

    def postOptions(self) -> None:
        """
        Take the settings of the subcommand, which has to be there.
        """
        if self.subCommand is None:
            raise UsageError(f"say what to run: {' or '.join(each[0] for each in self.subCommands)}")
        asked: HostOptions | SwitchOptions | TunnelOptions = self.subOptions
        self.settings = asked.settings
