"""
Counters of services, for Prometheus.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.error import CannotListenError

from txtuntap.service.interface import showPlainly


class MetricsService(Service):
    """
    A web server, whose C{/metrics} are the counters of interfaces, for Prometheus: see
    L{txtuntap.middleware.prometheus}. It is for whoever may be trusted, on the loopback interface for instance: there
    is no bound to what C{twisted.web} takes in one request.
    """

    def __init__(self, endpoint: str, services: Sequence[Any]) -> None:
        """
        @param endpoint: where it listens: a server endpoint's description.
        @param services: L{InterfaceService}s.
        """
        # These import a reactor, or are an extra's.
        from prometheus_client import CollectorRegistry
        from prometheus_client.twisted import MetricsResource
        from twisted.application import strports
        from twisted.web.resource import Resource
        from twisted.web.server import Site

        from txtuntap.middleware.prometheus import InterfaceCollector

        collector = InterfaceCollector()
        for each in services:
            collector.add(each.interface, each.counters)
        registry = CollectorRegistry()
        registry.register(collector)
        root: Any = Resource()
        root.putChild(b"metrics", MetricsResource(registry))  # type: ignore[no-untyped-call]
        site: Any = Site(root)
        site.noisy = False
        # Requests make no log lines: whoever can ask could fill the disk.
        site.log = lambda request: None
        self._server: Any = strports.service(endpoint, site)

    def privilegedStartService(self) -> None:
        """
        Listen, while there is the privilege to.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        try:
            self._server.privilegedStartService()
        except (CannotListenError, OSError) as e:
            showPlainly(e)
            raise

    def startService(self) -> None:
        """
        Listen, if that has not been begun yet.
        """
        super().startService()  # type: ignore[no-untyped-call]
        self._server.startService()

    def stopService(self) -> Any:
        """
        Listen no more.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        return self._server.stopService()
