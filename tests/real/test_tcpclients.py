"""
A host connects to services of the kernel, and to another host through a bridge of the kernel.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, connectProtocol
from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.python.failure import Failure
from twisted.web.client import Agent, readBody

from tests.real.lab.namespace import Namespace, ip, run
from tests.real.lab.streams import CERTIFICATE, LARGE, NAME, SINK, SMALL, TLS, KernelServices, Sink, much
from tests.real.lab.turning import INTERFACE, TurningHost
from txtuntap import Host, TuntapPort

FAMILIES = pytest.mark.parametrize("address", ["10.9.0.1", "fd09::1"])
KINDS = pytest.mark.parametrize("mode", ["tun", "tap"])

CLOSED = 81


class Client(Protocol):
    """
    A client that writes data, and keeps the received data until the end.
    """

    transport: Any

    def __init__(self, data: bytes, closes: bool = False) -> None:
        """
        @param closes: whether the client closes its side after writing.
        """
        self._data = data
        self._closes = closes
        self._came: list[bytes] = []
        self.done: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(self._data)
        if self._closes:
            self.transport.loseWriteConnection()

    def dataReceived(self, data: bytes) -> None:
        self._came.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if reason.check(error.ConnectionDone):
            self.done.callback(b"".join(self._came))
        else:
            self.done.errback(reason)


@contextmanager
def turning(mode: str, **options: Any) -> Iterator[TurningHost]:
    """
    Run a host in this process.
    """
    made = TurningHost(mode, **options)
    try:
        yield made
    finally:
        made.stop()


def endpoint(host: Any, address: str, port: int, timeout: float = 30) -> Any:
    """
    Make an endpoint that connects to an address.
    """
    kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
    return kind(host, address, port, timeout)


def sinks(turning: TurningHost, host: Any, address: str, data: bytes) -> None:
    """
    Send data, and compare its hash with that of the received data.
    """
    client = Client(data, closes=True)
    turning.wait(connectProtocol(endpoint(host, address, SINK), client))
    assert turning.wait(client.done).decode() == sha256(data).hexdigest()


@KINDS
@FAMILIES
def test_aHostUsesServicesOfTheKernel(namespace: Namespace, tmp_path: Path, mode: str, address: str) -> None:
    with turning(mode) as host, KernelServices(tmp_path, lambda call: call()):
        agent = Agent(host.host)
        for page, expected in ("small", SMALL), ("large", much(LARGE)):
            url = f"http://{f'[{address}]' if ':' in address else address}/{page}"
            response = host.wait(agent.request(b"GET", url.encode()))
            assert (response.code, host.wait(readBody(response)) == expected) == (200, True)
        sinks(host, host.host, address, much())
        # Send the data by TLS, too.
        trusted = Certificate.loadPEM((tmp_path / CERTIFICATE).read_bytes())
        client = Client(b"GET /small HTTP/1.0\r\n\r\n")
        factory = ClientFactory.forProtocol(lambda: client)
        factory.noisy = False
        host.host.connectSSL(address, TLS, factory, optionsForClientTLS(NAME, trusted))
        assert host.wait(client.done).endswith(SMALL)


@KINDS
@FAMILIES
def test_aClosedPortRefusesTheConnection(namespace: Namespace, mode: str, address: str) -> None:
    with turning(mode) as host, pytest.raises(error.ConnectionRefusedError) as raised:
        host.wait(endpoint(host.host, address, CLOSED).connect(Factory.forProtocol(Protocol)))
    assert raised.value.osError == errno.ECONNREFUSED


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7"])
def test_anUnreachableErrorOfARouterEndsTheAttempt(namespace: Namespace, address: str) -> None:
    for version in "ipv4", "ipv6":
        Path(f"/proc/sys/net/{version}/conf/all/forwarding").write_text("1")
    ip("route", "add", "unreachable", f"{address}/128" if ":" in address else address)
    with turning("tap", gateways=("10.9.0.1", "fd09::1")) as host, pytest.raises(error.ConnectError) as raised:
        host.wait(endpoint(host.host, address, SINK).connect(Factory.forProtocol(Protocol)))
    # As with a socket of the kernel, only the error of ICMPv6 means "no route".
    expected = (error.NoRouteError, errno.ENETUNREACH) if ":" in address else (error.ConnectError, errno.EHOSTUNREACH)
    assert (type(raised.value), raised.value.osError) == expected


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7"])
def test_aMissingRouteFailsAtOnce(namespace: Namespace, address: str) -> None:
    # On a tun, every destination is on the link.
    with turning("tap") as host, pytest.raises(error.NoRouteError) as raised:
        host.wait(endpoint(host.host, address, SINK).connect(Factory.forProtocol(Protocol)))
    assert raised.value.osError == errno.ENETUNREACH


@FAMILIES
def test_anUnansweredAttemptTimesOut(namespace: Namespace, tmp_path: Path, address: str) -> None:
    (tmp_path / "filter").write_text(
        f"table inet filter {{ chain coming {{ type filter hook input priority 0; tcp dport {CLOSED} drop\n }}\n }}\n"
    )
    run("nft", "-f", str(tmp_path / "filter"))
    with turning("tap") as host, pytest.raises(error.TimeoutError):
        host.wait(endpoint(host.host, address, CLOSED, 1.5).connect(Factory.forProtocol(Protocol)))


@pytest.mark.parametrize("offload", [True, False])
def test_twoHostsConnectThroughABridge(namespace: Namespace, offload: bool) -> None:
    ip("link", "add", "ttb0", "type", "bridge")
    with turning("tap", offload=offload) as one:
        other = Host(["10.9.0.3/24", "fd09::3/64"], one.reactor)
        factory = Factory.forProtocol(Sink)
        factory.noisy = False
        other.listenTCP(SINK, factory)
        port = TuntapPort("tt1", other.ethernet, reactor=one.reactor, offload=offload)
        port.startListening()
        for interface in INTERFACE, "tt1":
            ip("link", "set", interface, "master", "ttb0", "up")
        ip("link", "set", "ttb0", "up")
        try:
            for address in "10.9.0.3", "fd09::3":
                sinks(one, one.host, address, much())
        finally:
            one.wait(port.stopListening())
    ip("link", "delete", "ttb0")
