"""
The options that every service has, and helpers to read and refuse options.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import ClassVar

import attrs
from twisted.python.usage import Completer, Completions, UsageError

from txtuntap.service.observe.page.live import checkEndpoint
from txtuntap.service.options.help import HelpfulOptions, repeatable
from txtuntap.tunnel.security import checkServerEndpoint


@contextmanager
def naming(option: str) -> Iterator[None]:
    """
    Put the name of an option in front of an error about its value. A C{ValueError} or C{UsageError} within the context
    becomes a C{UsageError} whose text begins with the name.

    @param option: the option as the user has written it, such as C{--address}.
    """
    try:
        yield
    except (ValueError, UsageError) as e:
        raise UsageError(f"{option}: {e}") from e


@attrs.frozen(kw_only=True)
class PageSettings:
    """
    The settings of a L{LivePage<txtuntap.service.observe.page.live.LivePage>}, whose arguments the fields are.
    """

    endpoint: str
    control: bool = False
    hosts: tuple[str, ...] = ()
    isRemote: bool = False


class PlainOptions(HelpfulOptions):
    """
    The base class of options without positional arguments.
    """

    def parseArgs(self, *surplus: str) -> None:
        """
        Refuse positional arguments, because there are none.
        """
        if surplus:
            raise UsageError(f"{surplus[0]!r} is not an option: options begin with --")

    def valueOf(self, option: str) -> str | None:
        """
        Return the value of one of C{optParameters}; C{None} if it was not given and has no default.
        """
        value: str | None = self[option]
        return value

    def isGiven(self, flag: str) -> bool:
        """
        Whether one of C{optFlags} was given.
        """
        return bool(self[flag])


class ServiceOptions(PlainOptions):
    """
    The options that every service has.
    """

    optGroups: ClassVar = {
        "Interface": ["no-offload"],
        "Observation": ["no-control", "prometheus", "page", "page-control", "page-host", "page-remote"],
    }
    compData: ClassVar = Completions(
        multiUse=["page-host"], optActions={"prometheus": Completer("endpoint"), "page": Completer("endpoint")}
    )
    optFlags: ClassVar = [
        ["no-offload", None, "Read and write no superpackets, so that captures show single packets with checksums."],
        ["no-control", None, "Open no control socket, which 'txtuntap capture' and 'txtuntap connections' need."],
        ["page-control", None, "With --page: permit captures and changes of --impairment there."],
        ["page-remote", None, "With --page: permit an ssl: endpoint that other machines can reach."],
    ]
    optParameters: ClassVar = [
        ["prometheus", None, None, "ENDPOINT at which to serve /metrics, such as tcp:9100:interface=127.0.0.1."],
        ["page", None, None, "ENDPOINT at which to serve a live page, such as tcp:8080:interface=127.0.0.1."],
    ]

    def __init__(self) -> None:
        super().__init__()
        self._pageHosts: list[str] = []

    @repeatable("With --page: a further name by which browsers reach it, such as that of a proxy.")
    def opt_page_host(self, name: str) -> None:
        self._pageHosts.append(name)

    @property
    def offload(self) -> bool | None:
        """
        Whether packets are read and written as superpackets: see L{TuntapPort<txtuntap.tuntap.TuntapPort>}.
        """
        return False if self.isGiven("no-offload") else None

    @property
    def control(self) -> bool:
        """
        Whether each interface has a control socket.
        """
        return not self.isGiven("no-control")

    @property
    def prometheus(self) -> str | None:
        """
        The endpoint at which metrics are served; C{None}: metrics are not served.
        """
        return self.valueOf("prometheus")

    @property
    def page(self) -> PageSettings | None:
        """
        The settings of the live page; C{None}: there is none.
        """
        endpoint = self.valueOf("page")
        if endpoint is None:
            return None
        return PageSettings(
            endpoint=endpoint,
            control=self.isGiven("page-control"),
            hosts=tuple(self._pageHosts),
            isRemote=self.isGiven("page-remote"),
        )

    def checkObservation(self) -> None:
        """
        Check that metrics and the page can be served, if they are to be.

        @raise UsageError: prometheus_client is not installed, or an endpoint is invalid. Or an option about the page is
            given without it.
        """
        self._checkPrometheus()
        page = self.page
        if page is not None:
            with naming("--page"):
                checkEndpoint(page.endpoint, page.isRemote)
            return
        given = [flag for flag in ("page-control", "page-remote") if self.isGiven(flag)]
        given += ["page-host"] if self._pageHosts else []
        if given:
            raise UsageError(f"--{given[0]}: there is no --page, which this is about")

    def _checkPrometheus(self) -> None:
        endpoint = self.prometheus
        if endpoint is None:
            return
        if find_spec("prometheus_client") is None:
            raise UsageError("--prometheus: prometheus_client is missing: pip install prometheus-client")
        try:
            checkServerEndpoint(endpoint, "tcp:9100:interface=127.0.0.1")
        except ValueError as e:
            raise UsageError(f"--prometheus: {e}") from e
