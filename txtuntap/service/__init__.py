"""
What is behind C{twistd tuntap}: services and their options.

    twistd -n tuntap host --tun tun0 --address 10.0.0.2/24 --kernel-address 10.0.0.1/24 --udp 7=echo
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import MultiService, Service

from txtuntap.service.host import HostService, makeHostService
from txtuntap.service.interface import InterfaceService
from txtuntap.service.observe.metrics import MetricsFactory, MetricsService
from txtuntap.service.options import Options
from txtuntap.service.switch import SwitchService, makeSwitchService
from txtuntap.service.tunnel import TunnelService, makeTunnelService

__all__ = [
    "HostService",
    "InterfaceService",
    "MetricsFactory",
    "MetricsService",
    "Options",
    "SwitchService",
    "TunnelService",
    "makeService",
]

#: By subcommand, what makes the service that its options ask for.
_SERVICES: dict[str, Callable[[Any], Service]] = {
    "host": makeHostService,
    "switch": makeSwitchService,
    "tunnel": makeTunnelService,
}


def makeService(options: Options) -> Service:
    """
    The service that the options ask for.
    """
    assert options.subCommand is not None
    asked: Any = options.subOptions
    service = _SERVICES[options.subCommand](asked)
    if asked.get("prometheus") is None:
        return service
    both = MultiService()
    # First: where it cannot listen, there is no interface yet.
    interfaces = list(service) if isinstance(service, MultiService) else [service]
    MetricsService(asked["prometheus"], interfaces).setServiceParent(both)  # type: ignore[no-untyped-call]
    service.setServiceParent(both)
    return both
