"""
Tests for the service of a live page.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.endpoints import quoteStringArgument
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock

from txtuntap import Host
from txtuntap.service import LivePage
from txtuntap.service.observe.page.live import checkEndpoint


@pytest.mark.parametrize(
    "endpoint", ["tcp:8080:interface=127.0.0.1", "tcp6:8080:interface=\\:\\:1", "unix:/run/page.socket"]
)
def test_aPageMayBeServedOnThisMachine(endpoint: str) -> None:
    checkEndpoint(endpoint, isRemote=False)


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("tcp:8080", "127.0.0.1"),
        ("tcp:8080:interface=0.0.0.0", "127.0.0.1"),
        ("tcp:8080:interface=192.0.2.1", "ssl:"),
        ("nothing", "no server endpoint"),
        ("", "no server endpoint"),
    ],
)
@pytest.mark.parametrize("isRemote", [False, True])
def test_aPageIsNotServedToOthersInTheClear(endpoint: str, why: str, isRemote: bool) -> None:
    with pytest.raises(ValueError, match=why):
        checkEndpoint(endpoint, isRemote)


def test_aPageIsServedToOthersOverTLSIfAskedFor(tmp_path: Path) -> None:
    from tests.certificates import certificate

    made = certificate(tmp_path, "one")
    # The path of a file on Windows has colons.
    file = quoteStringArgument(str(made.file))
    endpoint = f"ssl:8080:privateKey={file}:certKey={file}"
    for interface in "", ":interface=192.0.2.1":
        checkEndpoint(endpoint + interface, isRemote=True)
        with pytest.raises(ValueError, match="--page-remote"):
            checkEndpoint(endpoint + interface, isRemote=False)
    checkEndpoint(endpoint + ":interface=127.0.0.1", isRemote=False)


def page(**arguments: Any) -> tuple[LivePage, MemoryReactorClock]:
    """
    Make a page on a reactor in memory.
    """
    reactor = MemoryReactorClock()
    return LivePage("tcp:8080:interface=127.0.0.1", reactor, **arguments), reactor


def test_theAddressWithTheTokenIsKnownOnceThePageIsServed() -> None:
    made, reactor = page()
    assert made.url is None
    made.privilegedStartService()
    made.startService()
    assert len(reactor.tcpServers) == 1
    assert made.url is not None
    assert made.url.startswith("http://localhost:8080/?token=")


@pytest.mark.parametrize(
    ("listens", "hosts", "shown"),
    [
        ("0.0.0.0", [], "localhost:8080"),
        ("::", [], "localhost:8080"),
        ("0.0.0.0", ["host.example", "other.example"], "host.example:8080"),
        ("192.0.2.1", ["host.example"], "192.0.2.1:8080"),
        ("fd00::1", [], "[fd00::1]:8080"),
    ],
)
def test_theAddressHasANameThatThePageAnswersTo(listens: str, hosts: list[str], shown: str) -> None:
    made, reactor = page(hosts=hosts)
    reactor.listenTCP = lambda *ignored, **also: SimpleNamespace(  # type: ignore[method-assign]
        getHost=lambda: IPv4Address("TCP", listens, 8080), stopListening=lambda: None
    )
    made.startService()
    assert made.url is not None
    assert made.url.partition("/?")[0] == f"http://{shown}"


def test_aPageThatCannotListenSaysWhy(monkeypatch: pytest.MonkeyPatch) -> None:
    made, reactor = page()

    def refuse(*arguments: Any, **more: Any) -> None:
        raise CannotListenError("127.0.0.1", 8080, OSError("in use"))

    monkeypatch.setattr(reactor, "listenTCP", refuse)
    with pytest.raises(CannotListenError, match="in use"):
        made.privilegedStartService()


def test_nothingWaitsWhileNobodyLooks() -> None:
    made, reactor = page()
    made.add("tap0", host=Host(["10.0.0.1/24"], reactor))
    made.startService()
    assert reactor.getDelayedCalls() == []


def test_aStoppedPageCanStartAgain() -> None:
    made, reactor = page()
    made.startService()
    first = made.url
    assert made.stopService().called
    made.startService()
    assert made.url == first
    assert len(reactor.tcpServers) == 2


def test_theTablesOfThePageAreListed() -> None:
    names = [state.name for state in page()[0].tables()]
    assert names == ["page clients", "page watchers", "page downloads", "captures of a page"]


def test_thePageShowsItsOwnTables() -> None:
    made, _ = page()
    assert [each["name"] for each in made._recorder.look()["tables"]] == [state.name for state in made.tables()]
    made._recorder.stop()
