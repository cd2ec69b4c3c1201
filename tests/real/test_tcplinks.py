"""
A host's TCP over lossy links and narrow paths, and with peers that close in any order or vanish.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.long import lengths
from tests.real.lab.link import setDown
from tests.real.lab.namespace import Namespace, ip, run
from tests.real.lab.streams import MUCH, SINK, SOURCE, Sink, Source, blocks
from tests.real.lab.turning import INTERFACE, LONG, TurningHost
from tests.real.test_errors import narrowPath
from txtuntap.middleware import Impairment, Netem

KINDS = pytest.mark.parametrize("mode", ["tun", "tap"])
FAMILIES = pytest.mark.parametrize("ours", ["10.9.0.2", "fd09::2"])

#: The impairment of a bad link.
BAD = Netem(delay=0.002, jitter=0.001, loss=0.01, duplicate=0.01, reorder=0.01)


@contextmanager
def turning(mode: str, octets: int = MUCH, **options: Any) -> Iterator[TurningHost]:
    """
    Run a host that counts received octets, and sends a number of them.
    """

    class Sending(Source):
        pass

    Sending.octets = octets
    made = TurningHost(mode, gateways=("10.9.0.1", "fd09::1"), **options)
    try:
        for port, protocol in (SINK, Sink), (SOURCE, Sending):
            factory = Factory.forProtocol(protocol)
            factory.noisy = False
            made.host.listenTCP(port, factory)
        yield made
    finally:
        made.stop()


def target(address: str, port: int) -> str:
    return f"TCP6:[{address}]:{port}" if ":" in address else f"TCP4:{address}:{port}"


def receives(host: TurningHost, ours: str, octets: int, patience: float = LONG) -> None:
    """
    Let socat send to the host, and compare hashes.
    """
    said = host.succeeds("socat", "-t100", "-", target(ours, SINK), data=blocks(octets), patience=patience)
    assert said == digest(octets)


def sends(host: TurningHost, ours: str, octets: int = MUCH, patience: float = LONG) -> None:
    """
    Let socat receive all that C{SOURCE} sends, and compare hashes.
    """
    said = host.succeeds("sh", "-c", f"socat -u {target(ours, SOURCE)} - | sha256sum", patience=patience)
    assert said.split()[0] == digest(octets)


@cache
def digest(octets: int) -> str:
    """
    Return the hash of a number of random octets.
    """
    found = sha256()
    for block in blocks(octets):
        found.update(block)
    return found.hexdigest()


@pytest.mark.parametrize(("mode", "ours"), [("tun", "10.9.0.2"), ("tap", "fd09::2")])
@pytest.mark.parametrize("move", [receives, sends])
@lengths("octets", MUCH, 1_000_000_000, "gigabytes")
def test_dataArrivesOverABadLink(
    namespace: Namespace, mode: str, ours: str, move: Callable[..., None], octets: int
) -> None:
    impairments = []

    def around(proto: Any) -> Any:
        impairments.append(Impairment(proto, random=Random(1)))
        return impairments[0]

    with turning(mode, octets, around=around) as host:
        (impairment,) = impairments
        impairment.up = impairment.down = BAD
        # The patience allows for a rate of 500,000 octets a second.
        move(host, ours, octets, LONG + octets / 500_000)
        for counter in "Lost", "Duplicated", "Reordered":
            assert impairment.counters[f"in{counter}"] > 0
            assert impairment.counters[f"out{counter}"] > 0


@contextmanager
def behindNarrow() -> Iterator[None]:
    """
    Enter a namespace behind a narrow link. SYNs announce a segment size that is too large for that link.
    """
    with narrowPath():
        for router in "192.0.2.1", "2001:db8::1":
            ip("route", "change", "default", "via", router, "advmss", "1440")
        yield


@pytest.mark.parametrize(("mode", "ours"), [("tun", "10.9.0.2"), ("tap", "fd09::2")])
def test_thePathMTUIsLearnedFromARouter(namespace: Namespace, mode: str, ours: str) -> None:
    with turning(mode) as host, behindNarrow():
        receives(host, ours, 2_000_000)
        sends(host, ours)
        assert host.host.counters["icmp"]["inPktTooBigs"] >= 1
        assert host.host.counters["icmp"].get("inDisbelieved", 0) == 0


_SILENT_ROUTER = """
table inet filter {
    chain leaving {
        type filter hook output priority 0;
        icmp type destination-unreachable icmp code frag-needed drop
        icmpv6 type packet-too-big drop
    }
}
"""


@pytest.mark.parametrize(("mode", "ours"), [("tun", "10.9.0.2"), ("tap", "fd09::2")])
def test_thePathMTUIsFoundWithoutErrorsOfARouter(namespace: Namespace, mode: str, ours: str, tmp_path: Path) -> None:
    (tmp_path / "filter").write_text(_SILENT_ROUTER)
    run("nft", "-f", str(tmp_path / "filter"))
    with turning(mode) as host, behindNarrow():
        sends(host, ours)
        assert host.host.counters["icmp"].get("inPktTooBigs", 0) == 0


class Conversing(Protocol):
    """
    A protocol that records its events.
    """

    transport: Any

    def __init__(self) -> None:
        self.data = b""
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


@implementer(IHalfCloseableProtocol)
class HalfClosing(Conversing):
    """
    A protocol that continues to read after it has closed its side, and to write after the peer has.
    """

    readEnded = False

    def readConnectionLost(self) -> None:
        self.readEnded = True

    def writeConnectionLost(self) -> None:
        pass


class Conversation:
    """
    A connection from a socket of the kernel to a protocol on a host.
    """

    def __init__(self, host: TurningHost, ours: str, kind: type[Conversing] = Conversing) -> None:
        self.turning = host
        self.protocol = kind()
        factory = Factory.forProtocol(lambda: self.protocol)
        factory.noisy = False
        self.port = host.host.listenTCP(0, factory)
        number = cast(IPv4Address, self.port.getHost()).port
        self.client = socket.socket(socket.AF_INET6 if ":" in ours else socket.AF_INET, socket.SOCK_STREAM)
        self.client.setblocking(False)
        self.client.connect_ex((ours, number))
        self.filter = f"dport = :{number}"
        host.until(lambda: self.protocol.connected, "a connection")

    def kernelState(self) -> str:
        """
        Return the state of the kernel's connection, as C{ss} shows it, or an empty text if there is none.
        """
        said = run("ss", "-Htan", self.filter).split()
        return said[0] if said else ""

    def until(self, *states: str) -> None:
        """
        Wait until the kernel's connection is in one of some states. An empty text means no connection.
        """
        self.turning.until(lambda: self.kernelState() in states, f"{states}, not {self.kernelState()}")

    def over(self, *left: str) -> None:
        """
        Wait until the host has no connection left, except in TIME-WAIT.

        @param left: the states that the kernel's connection may have.
        """
        self.until(*left)
        self.turning.until(lambda: not list(self.turning.host.tcp.transports), "the host's side to end")

    def received(self) -> bytes:
        """
        Wait for data, or for the end of the connection, which gives empty data.
        """
        found: list[bytes] = []

        def come() -> bool:
            with suppress(BlockingIOError):
                found.append(self.client.recv(1000))
            return bool(found)

        self.turning.until(come, "the data")
        return found[0]


@KINDS
@FAMILIES
def test_closingInAllOrders(namespace: Namespace, mode: str, ours: str) -> None:
    with turning(mode) as host:
        # The kernel closes first, and the protocol does nothing.
        one = Conversation(host, ours)
        one.client.close()
        host.until(lambda: one.protocol.lost, "the end")
        one.over("TIME-WAIT", "")
        # The host closes first, then the kernel.
        one = Conversation(host, ours)
        one.protocol.transport.loseConnection()
        one.until("CLOSE-WAIT")
        assert one.received() == b""
        one.client.close()
        one.over("")
        # The kernel closes its side, receives more data, and then the host closes.
        one = Conversation(host, ours, HalfClosing)
        one.client.shutdown(socket.SHUT_WR)
        host.until(lambda: one.protocol.readEnded, "the end of reading")  # type: ignore[attr-defined]
        one.until("FIN-WAIT-2")
        one.protocol.transport.write(b"still here")
        assert one.received() == b"still here"
        one.protocol.transport.loseConnection()
        one.over("TIME-WAIT")
        one.client.close()
        # The host closes its side, receives more data, and then the kernel closes.
        one = Conversation(host, ours, HalfClosing)
        one.protocol.transport.loseWriteConnection()
        one.until("CLOSE-WAIT")
        one.client.send(b"still here")
        host.until(lambda: one.protocol.data == b"still here", "the data")
        one.client.close()
        host.until(lambda: one.protocol.readEnded, "the end of reading")  # type: ignore[attr-defined]
        # As with a socket, a half-closing protocol keeps the connection until it closes it.
        one.protocol.transport.loseConnection()
        one.over("")
        # The host and the kernel close at the same time.
        one = Conversation(host, ours)
        one.protocol.transport.loseConnection()
        one.client.close()
        one.over("TIME-WAIT", "")
        # Each side resets a connection.
        one = Conversation(host, ours)
        one.protocol.transport.abortConnection()
        one.over("")
        with pytest.raises(ConnectionResetError):
            one.received()
        one.client.close()
        one = Conversation(host, ours)
        one.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        one.client.close()
        host.until(lambda: one.protocol.lost, "the reset")
        assert one.protocol.lost is not None and one.protocol.lost.check(ConnectionLost)
        one.over("")
        # The kernel closes a connection with unread data, which resets it.
        one = Conversation(host, ours)
        one.protocol.transport.write(b"nobody reads this")
        host.until(lambda: run("ss", "-Htan", one.filter).split()[1] != "0", "data to have come")
        one.client.close()
        host.until(lambda: one.protocol.lost, "the reset")
        assert one.protocol.lost is not None and one.protocol.lost.check(ConnectionLost)
        one.over("")


@FAMILIES
def test_aPeerThatVanishesIsNoticed(namespace: Namespace, ours: str) -> None:
    with turning("tun") as host:
        one = Conversation(host, ours)
        connection = one.protocol.transport.connection
        connection.keepAliveIdle, connection.keepAlivePause, connection.keepAliveProbes = 1.0, 1.0, 3
        one.protocol.transport.setTcpKeepAlive(True)
        # The kernel answers such probes at most twice a second.
        host.until(lambda: connection.segmentsIn > 3, "answers")
        assert one.protocol.lost is None
        setDown(INTERFACE)
        host.until(lambda: one.protocol.lost, "the end")
        assert one.protocol.lost is not None and one.protocol.lost.check(ConnectionLost)
        one.client.close()
