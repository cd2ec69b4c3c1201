"""
Tests for L{txtuntap.udp.echo}: the echo service.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.network import Network
from txtuntap.network.clock import SimulationClock
from txtuntap.udp.echo import BURST, MAX_PEERS, RATE, Echo

PEER = ("10.0.0.1", 4000)


class Transport:
    """
    A transport that records the datagrams written to it, and has a clock.
    """

    def __init__(self) -> None:
        self.clock = SimulationClock()
        self.seconds = self.clock.seconds
        self.written: list[tuple[bytes, tuple[str, int]]] = []

    def write(self, datagram: bytes, addr: tuple[str, int]) -> None:
        self.written.append((datagram, addr))


class EchoTests(SynchronousTestCase):
    """
    An echo service on a fake transport, without a network.
    """

    def begin(self, **options: Any) -> Echo:
        self.transport = cast(Any, Transport())
        echo = Echo(**options)
        echo.makeConnection(self.transport)
        return echo

    def answered(self, echo: Echo, count: int, peer: tuple[str, int] = PEER) -> int:
        """
        Send C{count} datagrams of a peer to the echo service, and count its answers.
        """
        before = len(self.transport.written)
        for _ in range(count):
            echo.datagramReceived(b"x", peer)
        return len(self.transport.written) - before

    def test_datagramIsSentBack(self) -> None:
        echo = self.begin()
        echo.datagramReceived(b"hello", PEER)
        self.assertEqual((self.transport.written, echo.counters), ([(b"hello", PEER)], {}))

    def test_portsOfOtherEchoServicesAreNotAnswered(self) -> None:
        echo = self.begin(echoPorts=frozenset([4000]))
        for port in 4000, 7, 1023:
            self.assertEqual(self.answered(echo, 1, ("10.0.0.1", port)), 0)
        self.assertEqual(self.answered(echo, 1, ("10.0.0.1", 1024)), 1)
        self.assertEqual(echo.counters, {"inServices": 3})

    def test_aPeerIsAnsweredAtABoundedRate(self) -> None:
        echo = self.begin()
        self.assertEqual(self.answered(echo, 12_000), 10_000)
        self.assertEqual(echo.counters, {"outLimited": 2000})
        self.transport.clock.advance(1)
        self.assertEqual(self.answered(echo, 12_000), 5000)
        self.transport.clock.advance(10)
        self.assertEqual(self.answered(echo, 12_000), 10_000)
        self.assertEqual((RATE, BURST), (5000, 10_000))

    def test_eachAddressAndPortIsAPeer(self) -> None:
        echo = self.begin(rate=1, burst=2)
        for peer in ("10.0.0.1", 4000), ("10.0.0.1", 4001), ("10.0.0.2", 4000), ("fe80::1%1", 4000, 0, 1):
            self.assertEqual(self.answered(echo, 3, peer), 2)  # type: ignore[arg-type]
        self.assertEqual(self.answered(echo, 1, ("10.0.0.1", 4000)), 0)

    def test_withoutARateEveryDatagramIsAnswered(self) -> None:
        self.assertEqual(self.answered(self.begin(rate=None), 20_000), 20_000)

    def test_forgedPeersDoNotEvictAPeerThatKeepsSending(self) -> None:
        echo = self.begin(rate=1, burst=1)
        self.assertEqual(self.answered(echo, 1), 1)
        for number in range(3 * MAX_PEERS):
            self.assertEqual(self.answered(echo, 1, ("10.0.1.1", 2000 + number)), 1)
            self.assertEqual(self.answered(echo, 1), 0)
        self.assertEqual([table.size for table in echo.tables()], [MAX_PEERS])

    def test_stoppingResetsTheLimits(self) -> None:
        echo = self.begin(rate=1, burst=1)
        self.answered(echo, 1)
        echo.doStop()  # type: ignore[no-untyped-call]
        echo.makeConnection(self.transport)
        self.assertEqual(self.answered(echo, 1), 1)

    def test_onATransportOfTwistedsOwn(self) -> None:
        written: list[Any] = []
        echo = self.begin(rate=0.001, burst=2)
        echo.transport = type("Port", (), {"write": lambda _, *what: written.append(what)})()
        self.answered(echo, 3)
        self.assertEqual(written, [(b"x", PEER)] * 2)

    def test_argumentsAreChecked(self) -> None:
        for options in {"rate": 0}, {"rate": -1}, {"rate": float("nan")}, {"rate": float("inf")}, {"burst": 0.5}:
            self.assertRaises(ValueError, Echo, **options)


class LoopTests(SynchronousTestCase):
    """
    Two echo services, and one datagram from one to the other, as an attacker could forge it. The datagram must not be
    sent back and forth endlessly.
    """

    def loop(self, netem: str | None = None) -> list[Echo]:
        net = Network(seed=1)
        switch = net.switch()
        hosts = [net.host(f"10.0.0.{number}/24", switch, netem) for number in (1, 2)]
        echoes = [Echo(frozenset([6000])), Echo(frozenset([6001]))]
        with net:
            transports = [host.listenUDP(6000 + at, echoes[at]) for at, host in enumerate(hosts)]
            transports[0].write(b"x", ("10.0.0.2", 6001))
            net.run(10)
        self.assertEqual(hosts[0].counters["neighbours"].get("unresolved"), None)
        return echoes

    def test_loopWithoutDelayEnds(self) -> None:
        self.assertEqual([each.counters["outLimited"] for each in self.loop()], [0, 1])

    def test_loopWithLittleDelayEnds(self) -> None:
        self.assertEqual([each.counters["outLimited"] for each in self.loop("delay 0.02ms")], [0, 1])

    def test_loopWithinOneHostEnds(self) -> None:
        net = Network()
        host = net.host("10.0.0.1/24", net.switch())
        echoes = [Echo(), Echo()]
        with net:
            transports = [host.listenUDP(6000 + at, echo) for at, echo in enumerate(echoes)]
            transports[0].write(b"x", ("10.0.0.1", 6001))
            net.run(1)
        self.assertEqual([each.counters["outLimited"] for each in echoes], [0, 1])
