"""
Endpoints of C{tuntap:} strings, with the kernel as their peer.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol, quoteStringArgument
from twisted.internet.error import ConnectError, ConnectionRefusedError
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from tests.real.lab.link import delete, untilHas
from tests.real.lab.namespace import PATIENCE, Namespace, interfaces, needRoot, tool, until
from tests.real.lab.streams import SMALL, WEB, KernelServices
from tests.real.lab.turning import Turning
from tests.real.lab.web import PAGE, Web, failing, fetch, urlOf
from txtuntap.device import TUN
from txtuntap.device.linux import LinuxDevice

KINDS = pytest.mark.parametrize("mode", ["tun", "tap"])
FAMILIES = pytest.mark.parametrize("address", ["10.9.0.1", "fd09::1"])

ADDRESSES = ("10.9.0.2", "fd09::2")
KERNEL_ADDRESSES = ("10.9.0.1/24", "fd09::1/64")
HOST = r"tuntap:tt0:address=10.9.0.2/24+fd09\:\:2/64:kernel=10.9.0.1/24+fd09\:\:1/64"

_NOBODY = 65534


@pytest.fixture
def nobodysDirectory() -> Iterator[Path]:
    """
    Make a directory that a user without privilege can enter.
    """
    needRoot()
    with TemporaryDirectory() as name:
        os.chown(name, _NOBODY, _NOBODY)
        yield Path(name)


@KINDS
def test_aWebServerServesOverBothVersions(namespace: Namespace, tmp_path: Path, mode: str) -> None:
    urls = [urlOf(address) for address in ADDRESSES]
    with Web(tmp_path, [f"{HOST}:mode={mode}:port=80"], urls) as web:
        untilHas("tt0", *KERNEL_ADDRESSES)
        assert [fetch(url) for url in urls] == [PAGE, PAGE]
        web.endOrderly()


def test_severalEndpointsShareAHost(namespace: Namespace, tmp_path: Path) -> None:
    strings = f"{HOST}:port=80", "tuntap:tt0:port=8080", r"tuntap:tt0:port=8081:interface=fd09\:\:2"
    urls = urlOf(ADDRESSES[0]), urlOf(ADDRESSES[1], 8080), urlOf(ADDRESSES[1], 8081)
    with Web(tmp_path, strings, urls) as web:
        assert web.log().count("starting on tt0") == 1
        assert fetch(urlOf(ADDRESSES[0], 8081)) == ""
        web.endOrderly()


@KINDS
def test_theProcessEndsWithAnOpenConnection(namespace: Namespace, tmp_path: Path, mode: str) -> None:
    string, url = f"{HOST}:mode={mode}:port=80", urlOf(ADDRESSES[0])
    with Web(tmp_path, [string], [url]) as web, socket.create_connection((ADDRESSES[0], 80), PATIENCE) as client:
        client.sendall(b"GET /page.txt HTTP/1.1\r\nHost: here\r\n\r\n")
        assert client.recv(100)
        web.endOrderly()


def test_privilegesAreDropped(namespace: Namespace, nobodysDirectory: Path) -> None:
    urls = [urlOf(address) for address in ADDRESSES]
    dropped = "--uid", str(_NOBODY), "--gid", str(_NOBODY)
    with Web(nobodysDirectory, [f"{HOST}:port=80"], urls, dropped) as web:
        status = Path(f"/proc/{web.process.pid}/status").read_text()
        assert f"Uid:\t{_NOBODY}\t{_NOBODY}" in status
        web.endOrderly()


def test_aDeletedInterfaceIsLogged(namespace: Namespace, tmp_path: Path) -> None:
    with Web(tmp_path, [f"{HOST}:port=80"], [urlOf(ADDRESSES[0])]) as web:
        delete("tt0")
        until(lambda: "The endpoints on " in web.log(), "the log")
        assert "tt0 was deleted" in web.log()
        web.endOrderly()


# Failures


def test_aBusyInterfaceIsAnErrorInOneLine(namespace: Namespace, tmp_path: Path) -> None:
    with LinuxDevice("tt0", TUN):
        said = failing(tmp_path, f"{HOST}:mode=tun:port=80")
    assert "CannotListenError" in said[-1]
    assert "tt0 is in use" in said[-1]


def test_aMissingPrivilegeIsAnErrorInOneLine(namespace: Namespace, tmp_path: Path) -> None:
    limits = tool("setpriv"), "--bounding-set=-net_admin", "--inh-caps=-net_admin"
    said = failing(tmp_path, f"{HOST}:port=80", *limits)
    assert "CannotListenError: Couldn't listen on tap:tt0: " in said[-1]
    assert "CAP_NET_ADMIN" in said[-1]


def test_aSettingThatTheInterfaceRefusesIsAnErrorInOneLine(namespace: Namespace, tmp_path: Path) -> None:
    said = failing(tmp_path, f"{HOST}:mode=tun:port=80:netns={quoteStringArgument('/nowhere/namespace')}")
    assert "CannotListenError" in said[-1]
    assert "/nowhere/namespace" in said[-1]


def test_anInvalidStringIsAnErrorInOneLine(namespace: Namespace, tmp_path: Path) -> None:
    said = failing(tmp_path, f"{HOST}:mode=tun:port=80:mac=nonsense")
    assert said[-1].startswith("ValueError: tuntap:tt0: mac: ")
    assert interfaces() == set()


# Clients


class Client(Protocol):
    """
    A client that requests a page, and keeps the data until the end.
    """

    transport: Any

    def __init__(self) -> None:
        self._came: list[bytes] = []
        self.done: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(b"GET /small HTTP/1.0\r\n\r\n")

    def dataReceived(self, data: bytes) -> None:
        self._came.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.done.callback(b"".join(self._came))


@pytest.fixture
def turning() -> Iterator[Turning]:
    """
    Make a reactor that runs in this process.
    """
    made = Turning()
    yield made
    made.stop()


@KINDS
@FAMILIES
def test_aClientConnectsTwice(namespace: Namespace, tmp_path: Path, turning: Turning, mode: str, address: str) -> None:
    string = f"{HOST}:mode={mode}:host={quoteStringArgument(address)}:port={WEB}"
    with KernelServices(tmp_path, lambda call: call()):
        endpoint = clientFromString(turning.reactor, string)
        assert interfaces() == set()
        for _ in range(2):
            client = Client()
            turning.wait(connectProtocol(endpoint, client))
            assert turning.wait(client.done).endswith(SMALL)
            # The host has closed with its connection. The next connection opens it again.
            turning.until(lambda: not interfaces(), "the interface to go")


@KINDS
@FAMILIES
def test_aPortWithoutAListenerRefuses(namespace: Namespace, turning: Turning, mode: str, address: str) -> None:
    endpoint = clientFromString(turning.reactor, f"{HOST}:mode={mode}:host={quoteStringArgument(address)}:port=81")
    with pytest.raises(ConnectionRefusedError):
        turning.wait(endpoint.connect(Factory.forProtocol(Protocol)))
    turning.until(lambda: not interfaces(), "the interface to go")


def test_aClientOnABusyInterfaceFails(namespace: Namespace, turning: Turning) -> None:
    endpoint = clientFromString(turning.reactor, f"{HOST}:mode=tun:host=10.9.0.1:port=80")
    with LinuxDevice("tt0", TUN), pytest.raises(ConnectError, match="tt0 is in use"):
        turning.wait(endpoint.connect(Factory.forProtocol(Protocol)))
