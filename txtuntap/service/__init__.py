"""
The services of C{twistd tuntap}, and their options::

    twistd -n tuntap host --tun tun0 --address 10.0.0.2/24 --kernel-address 10.0.0.1/24 --udp 7=echo
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
from twisted.application.service import MultiService, Service

from txtuntap.service.host import HostService
from txtuntap.service.interface import InterfaceService
from txtuntap.service.observe.metrics import MetricsFactory, MetricsService
from txtuntap.service.observe.page.live import LivePage
from txtuntap.service.observe.page.subject import ObservedService, Subject
from txtuntap.service.options import Options
from txtuntap.service.options.host import HostServiceSettings, QueueSettings, WireGuardHostSettings
from txtuntap.service.options.interface import InterfaceServiceSettings
from txtuntap.service.options.peer import DatagramPeerSettings, StreamPeerSettings
from txtuntap.service.options.switch import SwitchPortSettings, SwitchServiceSettings, SwitchTap, SwitchTunnel
from txtuntap.service.options.tunnel import TunnelServiceSettings
from txtuntap.service.options.wireguard import WireGuardServiceSettings
from txtuntap.service.switch import SwitchService
from txtuntap.service.tunnel import TunnelService

if TYPE_CHECKING:
    from txtuntap.service.wireguard import WireGuardService
    from txtuntap.service.wireguardhost import WireGuardHostService

__all__ = [
    "DatagramPeerSettings",
    "HostService",
    "HostServiceSettings",
    "InterfaceService",
    "InterfaceServiceSettings",
    "LivePage",
    "MetricsFactory",
    "MetricsService",
    "Options",
    "QueueSettings",
    "StreamPeerSettings",
    "Subject",
    "SwitchPortSettings",
    "SwitchService",
    "SwitchServiceSettings",
    "SwitchTap",
    "SwitchTunnel",
    "TunnelService",
    "TunnelServiceSettings",
    "WireGuardHostSettings",
    "WireGuardServiceSettings",
    "makeService",
]


def makeService(options: Options) -> Service:
    """
    Make the service that the options describe.
    """
    settings = options.settings
    service: HostService | SwitchService | TunnelService | WireGuardService | WireGuardHostService
    interfaces: Sequence[ObservedService]
    if isinstance(settings, HostServiceSettings):
        service = HostService(settings)
        interfaces = [service]
    elif isinstance(settings, WireGuardHostSettings):
        # The extra "wireguard" is needed only here and below.
        from txtuntap.service.wireguardhost import WireGuardHostService

        service = WireGuardHostService(settings)
        interfaces = [service]
    elif isinstance(settings, WireGuardServiceSettings):
        from txtuntap.service.wireguard import WireGuardService

        service = WireGuardService(settings)
        interfaces = [service]
    elif isinstance(settings, TunnelServiceSettings):
        service = TunnelService(settings)
        interfaces = [service]
    else:
        service = SwitchService(settings)
        interfaces = list(service)
    services = MultiService()
    # The servers are first, so that no interface is opened if their endpoints cannot listen.
    if settings.prometheus is not None:
        MetricsService(settings.prometheus, interfaces).setServiceParent(services)  # type: ignore[no-untyped-call]
    if settings.page is not None:
        page = LivePage(**attrs.asdict(settings.page))
        for each in interfaces:
            page.addSubject(each.subject())
        page.setServiceParent(services)  # type: ignore[no-untyped-call]
    if not services.services:
        return service
    service.setServiceParent(services)  # type: ignore[no-untyped-call]
    return services
