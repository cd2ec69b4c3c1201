"""
Tests for the options of the live page and of the faults.
"""

from __future__ import annotations

import pytest
from twisted.application.service import MultiService
from twisted.python.usage import UsageError

from txtuntap.middleware import Capture, Impairment, Netem
from txtuntap.service import LivePage, Options, makeService
from txtuntap.service.interface import InterfaceService
from txtuntap.service.options.service import PageSettings

_LOOPBACK = "tcp:8080:interface=127.0.0.1"


def parsed(*more: str) -> Options:
    """
    Parse the options of a host with further ones.
    """
    options = Options()
    options.parseOptions(["host", "--tun", "tun0", "--address", "10.0.0.2/24", *more])  # type: ignore[no-untyped-call]
    return options


def test_thereIsNoPageByDefault() -> None:
    assert parsed().settings.page is None


def test_aPageIsReadOnlyByDefault() -> None:
    assert parsed("--page", _LOOPBACK).settings.page == PageSettings(endpoint=_LOOPBACK)


def test_theOptionsOfAPageAreTaken() -> None:
    given = parsed("--page", "unix:/run/p", "--page-control", "--page-host", "a", "--page-host", "b", "--page-remote")
    expected = PageSettings(endpoint="unix:/run/p", control=True, hosts=("a", "b"), isRemote=True)
    assert given.settings.page == expected


@pytest.mark.parametrize("option", [["--page-control"], ["--page-remote"], ["--page-host", "a"]])
def test_anOptionAboutAPageNeedsOne(option: list[str]) -> None:
    with pytest.raises(UsageError, match=f"{option[0]}: there is no --page"):
        parsed(*option)


@pytest.mark.parametrize("endpoint", ["tcp:8080", "tcp:8080:interface=192.0.2.1", "nothing"])
def test_aPageThatOthersCouldReadIsRefused(endpoint: str) -> None:
    with pytest.raises(UsageError, match="--page: "):
        parsed("--page", endpoint)


def test_aMissingFileOfAnEndpointIsNamed() -> None:
    endpoint = "ssl:8443:interface=127.0.0.1:privateKey=/nonexistent/me.pem"
    with pytest.raises(UsageError, match=f"^--page: '{endpoint}' needs a file: .*'/nonexistent/me.pem'"):
        parsed("--page", endpoint)


@pytest.mark.linux
def test_queuesHaveNoPage() -> None:
    with pytest.raises(UsageError, match="--page: with --queues"):
        parsed("--page", _LOOPBACK, "--queues", "2")


@pytest.mark.parametrize(
    "line",
    [
        "host --tap tap0 --address 10.0.0.2/24",
        "tunnel --tun tun0 --listen unix:/run/tunnel",
        "switch --tap tap0 --tap tap1",
    ],
)
def test_eachServiceHasItsInterfacesOnThePage(line: str) -> None:
    options = Options()
    options.parseOptions([*line.split(), "--page", _LOOPBACK])  # type: ignore[no-untyped-call]
    services = makeService(options)
    assert isinstance(services, MultiService)
    page, _ = services
    assert isinstance(page, LivePage)
    names = [subject.currentName() for subject in page.subjects]
    assert names == [word for word in line.split() if word.startswith(("tap", "tun")) and word != "tunnel"]


@pytest.mark.parametrize("text", ["", "delay 50ms loss 1%"])
def test_faultsAreBetweenTheCaptureAndTheHost(text: str) -> None:
    service = makeService(parsed("--impairment", text))
    assert isinstance(service, InterfaceService)
    capture = service.port.protocol
    assert isinstance(capture, Capture)
    assert isinstance(capture.protocol, Impairment)
    assert capture.protocol.up == capture.protocol.down == Netem.of(text)


@pytest.mark.parametrize("setting", ["--tap tap0", "--tunnel listen=unix:/run/tunnel"])
@pytest.mark.parametrize("hasFaults", [True, False])
def test_aPortOfASwitchHasItsOwnFaultsOnThePage(setting: str, hasFaults: bool) -> None:
    options = Options()
    line = [*(f"{setting},impairment=loss 1%" if hasFaults else setting).split(" ", 1), "--tap", "tap1"]
    options.parseOptions(["switch", *line, "--page", _LOOPBACK])  # type: ignore[no-untyped-call]
    services = makeService(options)
    assert isinstance(services, MultiService)
    subjects = {each.currentName(): each for each in services.services[0].subjects}
    assert subjects.pop("tap1").impairment is None
    (subject,) = subjects.values()
    assert subject.capture is not None
    assert (subject.highestImpairment is not None) is hasFaults
    assert ("impairment" in subject.currentCounters()) is hasFaults
    if subject.impairment is not None:
        assert subject.impairment.up == subject.impairment.down == Netem(loss=0.01)
        assert subject.impairment.protocol is subject.switchPort


@pytest.mark.linux
@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("host --tap tap0 --address 10.0.0.2/24 --udp 7=echo", {"control clients", "echo peers", "device headers"}),
        ("tunnel --tun tun0 --listen unix:/run/tunnel", {"control clients", "strangers", "device headers"}),
        ("switch --tunnel listen=unix:/run/tunnel", {"strangers", "link", "stations"}),
    ],
)
def test_thePageHasTheTablesOfTheWholeService(line: str, names: set[str]) -> None:
    options = Options()
    options.parseOptions([*line.split(), "--page", _LOOPBACK])  # type: ignore[no-untyped-call]
    services = makeService(options)
    assert isinstance(services, MultiService)
    (subject,) = services.services[0].subjects
    assert names - {each.name for each in subject.tables()} == set()


def test_thereAreNoFaultsByDefault() -> None:
    service = makeService(parsed())
    assert isinstance(service, InterfaceService)
    assert not isinstance(service.port.protocol.protocol, Impairment)


def test_faultsThatCannotBeReadAreRefused() -> None:
    with pytest.raises(UsageError, match="--impairment: 'lose' is none"):
        parsed("--impairment", "lose 1%")
