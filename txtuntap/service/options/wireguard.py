"""
The options of C{twistd tuntap wireguard}.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, ClassVar

import attrs
from twisted.python.usage import UsageError

from txtuntap.device import TUN
from txtuntap.device.settings import InterfaceAddress, InterfaceRoute
from txtuntap.layer.prefixes import prefixSet
from txtuntap.service.options.interface import InterfaceOptions, InterfaceServiceSettings
from txtuntap.service.options.service import naming

if TYPE_CHECKING:
    from txtuntap.wireguard.configuration import Configuration

#: The MTU of an interface whose file sets none: that of Ethernet, less the headers of IPv6, UDP and WireGuard.
DEFAULT_MTU = 1420


@attrs.frozen(kw_only=True)
class WireGuardServiceSettings:
    """
    Settings of a L{WireGuardService<txtuntap.service.wireguard.WireGuardService>}.

    @ivar interface: the interface.
    @ivar configuration: the keys, the peers, and what else the file says.
    @ivar path: the file; L{None}: there is none.
    @ivar uapi: whether there is a socket for C{wg}.
    @ivar warnings: what is to be logged about the file.
    @ivar prometheus: the endpoint at which metrics are served; L{None}: they are not.
    """

    interface: InterfaceServiceSettings
    configuration: Configuration
    path: str | None = None
    uapi: bool = True
    warnings: tuple[str, ...] = ()
    prometheus: str | None = None


def readConfiguration(path: str, ignoresHooks: bool) -> tuple[Configuration, tuple[str, ...]]:
    """
    Read a configuration file.

    @return: the configuration, and warnings about the file.

    @raise UsageError: it cannot be read, is wrong, or has commands to run and C{ignoresHooks} is false.
    """
    from txtuntap.wireguard.configuration import Configuration, ConfigurationError

    warnings = []
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o007:
                warnings.append(f"{path} has a private key, and every user may read it: chmod o-rwx {path}")
            configuration = Configuration.of(file.read())
    except OSError as e:
        raise UsageError(f"{path}: {e.strerror}") from e
    except ConfigurationError as e:
        raise UsageError(f"{path}, {e}") from e
    if configuration.hooks:
        hooks = ", ".join(dict.fromkeys(configuration.hooks))
        if not ignoresHooks:
            text = f"{path} has commands to run ({hooks}), which are never run here"
            raise UsageError(f"{text}: take them out, or give --ignore-hooks")
        warnings.append(f"{path} has commands that were not run: {hooks}")
    return configuration, tuple(warnings)


class WireGuardOptions(InterfaceOptions):
    """
    Options of C{twistd tuntap wireguard}.

    @ivar settings: once parsed, what they ask for.
    """

    settings: WireGuardServiceSettings

    synopsis = "--tun NAME --config FILE [options]"
    longdesc = (
        "Be a WireGuard peer on a TUN device. FILE is what wg-quick reads: its addresses, MTU and allowed networks"
        " configure the interface, and 'wg show' and 'wg set' work on it."
    )
    optFlags: ClassVar = [
        ["ignore-hooks", None, "Take a file with PreUp, PostUp, PreDown or PostDown. They are not run."],
        ["no-uapi", None, "Have no socket by which wg(8) shows and sets the interface."],
    ]
    optParameters: ClassVar = [
        ["config", "c", None, "The configuration file."],
    ]

    def postOptions(self) -> None:
        """
        Read the file, check the options together, and make settings of them.
        """
        try:
            # It takes the extra "wireguard", which the other services do without.
            from txtuntap.wireguard.configuration import Configuration
        except ImportError as e:
            raise UsageError(str(e)) from e
        path = self.valueOf("config")
        configuration, warnings = Configuration(), tuple[str, ...]()
        if path is not None:
            with naming("--config"):
                configuration, warnings = readConfiguration(path, self.isGiven("ignore-hooks"))
                self._configure(configuration)
        super().postOptions()
        if self.mode != TUN:
            raise UsageError("--tap: WireGuard carries IP packets: give --tun NAME")
        self.settings = WireGuardServiceSettings(
            interface=self.interface,
            configuration=configuration,
            path=path,
            uapi=not self.isGiven("no-uapi"),
            warnings=warnings,
            prometheus=self.prometheus,
        )

    def _configure(self, configuration: Configuration) -> None:
        """
        Add to the kernel's end of the interface what the file says.
        """
        self.kernelAddresses += [InterfaceAddress(str(each)) for each in configuration.addresses]
        if self.valueOf("mtu") is None:
            self["mtu"] = str(configuration.mtu or DEFAULT_MTU)
        if configuration.table == "off" or not self.kernelAddresses:
            return
        own = prefixSet(each.interface.network for each in self.kernelAddresses)
        for network in dict.fromkeys(each for peer in configuration.peers for each in peer.allowed):
            # The kernel has routes to the networks of its addresses.
            if own.lengths(network.version) and not own.covers(network):
                self.kernelRoutes.append(InterfaceRoute(str(network)))
