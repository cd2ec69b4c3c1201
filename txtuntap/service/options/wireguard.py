"""
The options of C{twistd tuntap wireguard}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs
from twisted.python.usage import CompleteFiles, Completions, UsageError

from txtuntap.device import TUN
from txtuntap.device.settings import InterfaceAddress, InterfaceRoute
from txtuntap.layer.prefixes import Network, prefixSet
from txtuntap.service.options.interface import InterfaceOptions, InterfaceServiceSettings
from txtuntap.service.options.service import PageSettings, naming
from txtuntap.service.options.wireguardfile import (
    AUTO,
    DEFAULT_MTU,
    IGNORE_HOOKS,
    WireGuardSettings,
    allowedNetworks,
    readConfiguration,
    requireWireGuard,
)

if TYPE_CHECKING:
    from txtuntap.wireguard.configuration import Configuration

__all__ = ["DEFAULT_MTU", "WireGuardOptions", "WireGuardServiceSettings"]


@attrs.frozen(kw_only=True)
class WireGuardServiceSettings(WireGuardSettings):
    """
    The settings of a L{WireGuardService<txtuntap.service.wireguard.WireGuardService>}.

    @ivar interface: the settings of the interface.
    @ivar defaults: the default routes that must not take the messages outside. The service chooses their table.
    @ivar clampMSS: whether the maximum segment size of TCP that passes is clamped to the MTU.
    @ivar uapi: whether there is a socket for C{wg}.
    @ivar prometheus: the endpoint at which metrics are served; C{None}: metrics are not served.
    @ivar page: the settings of the live page; C{None}: there is none.
    """

    interface: InterfaceServiceSettings
    defaults: tuple[Network, ...] = ()
    clampMSS: bool = False
    uapi: bool = True
    prometheus: str | None = None
    page: PageSettings | None = None


class WireGuardOptions(InterfaceOptions):
    """
    The options of C{twistd tuntap wireguard}.

    @ivar settings: once parsed, the settings of the service.
    """

    settings: WireGuardServiceSettings

    synopsis = "--tun NAME --config FILE [options]"
    longdesc = (
        "Be a WireGuard peer on a TUN device. FILE is what wg-quick reads: its addresses, MTU and allowed networks"
        " configure the interface, and 'wg show' and 'wg set' work on it."
    )
    optGroups: ClassVar = {"WireGuard": ["config", "ignore-hooks", "clamp-mss", "no-uapi"]}
    compData: ClassVar = Completions(optActions={"config": CompleteFiles("*.conf")})
    optFlags: ClassVar = [
        IGNORE_HOOKS,
        ["clamp-mss", None, "Lower the maximum segment size of TCP that passes to what the MTU allows."],
        ["no-uapi", None, "Have no socket by which wg(8) shows and sets the interface."],
    ]
    optParameters: ClassVar = [
        ["config", "c", None, "The configuration file."],
    ]

    def __init__(self) -> None:
        super().__init__()
        self._defaults: list[Network] = []

    def postOptions(self) -> None:
        """
        Read the file, check the options together, and make settings from them.
        """
        requireWireGuard()
        from txtuntap.wireguard.configuration import Configuration

        path = self.valueOf("config")
        wireguard = WireGuardSettings(configuration=Configuration())
        if path is not None:
            with naming("--config"):
                wireguard = readConfiguration(path, self.isGiven("ignore-hooks"))
                self._configure(wireguard.configuration)
        super().postOptions()
        if self.mode != TUN:
            raise UsageError("--tap: WireGuard carries IP packets: give --tun NAME")
        if self._defaults and self.valueOf("helper") is not None:
            text = f"--helper: it sets no policy rules, which the route to {self._defaults[0]} needs"
            raise UsageError(f"{text}: put Table = off into the file")
        self.settings = WireGuardServiceSettings(
            interface=self.interface,
            configuration=wireguard.configuration,
            path=wireguard.path,
            warnings=wireguard.warnings,
            defaults=tuple(self._defaults),
            clampMSS=self.isGiven("clamp-mss"),
            uapi=not self.isGiven("no-uapi"),
            prometheus=self.prometheus,
            page=self.page,
        )

    def _configure(self, configuration: Configuration) -> None:
        """
        Add the settings of the file to those of the kernel's end of the interface.
        """
        self.kernelAddresses += [InterfaceAddress(str(each)) for each in configuration.addresses]
        if self.valueOf("mtu") is None:
            self["mtu"] = str(configuration.mtu or DEFAULT_MTU)
        if configuration.table == "off":
            return
        table = None if configuration.table == AUTO else int(configuration.table)
        # The kernel has routes in the main table to the networks of its addresses.
        own = prefixSet(each.interface.network for each in self.kernelAddresses)
        for network in allowedNetworks(configuration):
            if table is not None:
                self.kernelRoutes.append(InterfaceRoute(str(network), table=table))
            elif not network.prefixlen:
                self._defaults.append(network)
            elif not own.covers(network):
                self.kernelRoutes.append(InterfaceRoute(str(network)))
