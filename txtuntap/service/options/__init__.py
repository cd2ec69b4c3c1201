"""
The options of the command C{twistd tuntap}.
"""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.python.usage import Completions, UsageError

from txtuntap.service.options.completion import CompleteSubcommand
from txtuntap.service.options.help import HelpfulOptions
from txtuntap.service.options.host import HostOptions, HostServiceSettings, WireGuardHostSettings
from txtuntap.service.options.switch import SwitchOptions, SwitchServiceSettings
from txtuntap.service.options.tunnel import TunnelOptions, TunnelServiceSettings
from txtuntap.service.options.wireguard import WireGuardOptions, WireGuardServiceSettings


class Options(HelpfulOptions):
    """
    The options of the command C{twistd tuntap}.

    @ivar settings: once parsed, the settings that the options of the subcommand describe.
    """

    settings: (
        HostServiceSettings
        | SwitchServiceSettings
        | TunnelServiceSettings
        | WireGuardHostSettings
        | WireGuardServiceSettings
    )

    longdesc = "Put a program on a network interface of its own."
    compData: ClassVar = Completions(extraActions=[CompleteSubcommand("tuntap", lambda: Options.subCommands)])
    subCommands: ClassVar[list[list[Any]]] = [
        ["host", None, HostOptions, "Be a host on a TUN or TAP device, or in a network of WireGuard."],
        ["switch", None, SwitchOptions, "Be a learning switch between TAP devices and tunnels."],
        ["tunnel", None, TunnelOptions, "Carry the packets of a TUN or TAP device to a peer."],
        ["wireguard", None, WireGuardOptions, "Be a WireGuard peer on a TUN device."],
    ]

    @property
    def synopsis(self) -> str:
        """
        The words behind C{tuntap}, until there is a subcommand with a synopsis of its own.
        """
        return "" if self.subCommand else "COMMAND [options]"

    def postOptions(self) -> None:
        """
        Take the settings from the options of the subcommand.

        @raise UsageError: there is no subcommand.
        """
        if self.subCommand is None:
            raise UsageError(f"say what to run: {' or '.join(each[0] for each in self.subCommands)}")
        options: HostOptions | SwitchOptions | TunnelOptions | WireGuardOptions = self.subOptions
        self.settings = options.settings
