"""
Tests for very many connections to a host in memory, and for peers that keep their connections open.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from tests.long import lengths
from tests.tcp.rawpeer import RawConnection, RawPeer
from txtuntap import TCPProtocol
from txtuntap.network.clock import SimulationClock
from txtuntap.tcp.echo import Echo
from txtuntap.tcp.halfopen import SYNACK_PAUSE, SYNACK_RETRIES
from txtuntap.tcp.sender import ORPHAN_PATIENCE
from txtuntap.tcp.timewait import TIME_WAIT
from txtuntap.wire.tcp import ACK, FIN, RST

#: The tables that connections fill.
TABLES = "connections", "half open", "time wait", "orphans", "buffers", "send buffers"


class Ending(Protocol):
    """
    A protocol that sends all data back. It closes the connection after C{close}, and resets it after C{abort}.
    """

    transport: Any

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)
        if data == b"close":
            self.transport.loseConnection()
        elif data == b"abort":
            self.transport.abortConnection()


def listening(protocol: type[Protocol]) -> RawPeer:
    """
    Make a host that listens on port 80, and its peer.
    """
    peer = RawPeer(TCPProtocol(), clock=SimulationClock())
    factory = Factory.forProtocol(protocol)
    factory.noisy = False
    peer.host.listenTCP(80, factory)
    return peer


def address(number: int) -> str:
    """
    Return the address of one of many peers.
    """
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def sizes(peer: RawPeer) -> dict[str, int]:
    """
    Return the sizes of all tables that are not empty.
    """
    return {name: size for name in TABLES if (size := peer.table(name).size)}


def test_tenThousandConnectionsAtOnce() -> None:
    peer = listening(Echo)
    # Several addresses are used, because each may have 16,384 connections at most.
    connections = [peer.open(80, address(1 << 16 | number >> 12), 1024 + (number & 4095)) for number in range(10_000)]
    assert peer.counters.currEstab == peer.table("connections").size == 10_000
    for number, connection in enumerate(connections):
        (answer,) = connection.send(b"%d" % number)
        assert answer.payload == b"%d" % number
    for connection in connections:
        connection.send(b"", flags=RST)
    assert sizes(peer) == {}


def _openedAndClosed(peer: RawPeer, number: int) -> None:
    """
    Open a connection, exchange data once, and close it in one of five ways.
    """
    question = (b"question", b"question", b"close", b"abort", b"question")[number % 5]
    connection = peer.open(80, address(1 << 16 | number % 16), 1024 + number // 16 % 60_000)
    answers = connection.send(question)
    if number % 5 == 0:
        # The peer closes first, and then the host.
        connection.send(b"", flags=ACK | FIN)
        connection.send(b"")
    elif number % 5 == 1:
        connection.send(b"", flags=RST)
    elif number % 5 == 2:
        # The host has closed first, and is in TIME-WAIT after the peer's FIN.
        connection.send(b"", flags=ACK | FIN)
    elif number % 5 == 3:
        assert answers[-1].flags & RST
    else:
        # The peer closes, and then resets the connection.
        connection.send(b"", flags=ACK | FIN)
        connection.send(b"", flags=RST)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@lengths("count", 5_000, 1_000_000, "connections")
@pytest.mark.linux
def test_closedConnectionsLeaveNoMemory(count: int) -> None:
    peer = listening(Ending)

    def open(first: int, last: int) -> tuple[int, int]:
        """
        Open and close connections, and wait until the memory of the last ones is released.
        """
        for number in range(first, last):
            _openedAndClosed(peer, number)
            if number % 50 == 0:
                peer.clock.advance(0.01)
        # The table of TIME-WAIT is cleared twice a second.
        peer.clock.advance(TIME_WAIT + 1)
        peer.sent()
        assert sizes(peer) == {}
        assert peer.counters.currEstab == 0
        gc.collect()
        return sys.getallocatedblocks(), _resident()

    blocks, resident = open(0, count // 10)
    laterBlocks, laterResident = open(count // 10, count)
    print(f"{laterBlocks - blocks} blocks and {laterResident - resident} octets more after {count} connections")
    assert peer.counters["passiveOpens"] == count
    # The interpreter keeps some blocks for itself, fewer than one for nine connections in the short run.
    assert laterBlocks - blocks < 500
    assert laterResident - resident < 16 << 20


class Greedy(Protocol):
    """
    A producer that writes until it is paused.
    """

    transport: Any

    def connectionMade(self) -> None:
        self.isPaused = False
        self.transport.registerProducer(self, True)
        self.resumeProducing()

    def pauseProducing(self) -> None:
        """
        Stop writing, because too much data waits.
        """
        self.isPaused = True

    def resumeProducing(self) -> None:
        """
        Write until C{pauseProducing} is called.
        """
        self.isPaused = False
        while not self.isPaused:
            self.transport.write(bytes(16384))

    def stopProducing(self) -> None:
        """
        Stop writing, because the connection has ended.
        """
        self.isPaused = True


class SlowPeerTests(SynchronousTestCase):
    """
    Tests for peers that keep their connections open, while another peer is still served.
    """

    count = 40

    def listen(self, protocol: type[Protocol]) -> None:
        """
        Set up a listening host.
        """
        self.peer = listening(protocol)

    def many(self, **options: Any) -> list[RawConnection]:
        """
        Establish C{count} connections from as many peers.
        """
        return [self.peer.open(80, address(1 << 16 | number), **options) for number in range(self.count)]

    def assertServes(self) -> None:
        """
        Assert that another peer can connect, and gets an answer.
        """
        self.peer.sent()
        connection = self.peer.open(80, "10.200.0.1")
        answers = [each for each in connection.send(b"honest") if each.dest == "10.200.0.1"]
        self.assertTrue(answers)
        self.assertEqual(answers[0].acknowledgment, connection.next)
        connection.send(b"", flags=RST)

    def assertEnds(self, seconds: float) -> None:
        """
        Assert that all connections end after some seconds, give or take one.
        """
        self.peer.clock.advance(seconds - 1)
        self.assertEqual(len(self.peer.host.connections), self.count)
        self.assertServes()
        self.peer.clock.advance(2)
        self.assertEqual(sizes(self.peer), {})

    def test_unansweredSYNACKsAreGivenUp(self) -> None:
        self.listen(Echo)
        for number in range(self.count):
            self.peer.syn(80, address(1 << 16 | number))
        # The SYN+ACK is retransmitted after 1, 2, 4, 8 and 16 s.
        self.assertEnds(SYNACK_PAUSE * (2 ** (SYNACK_RETRIES + 1) - 1))
        self.assertEqual(self.peer.counters["attemptFails"], self.count)

    def test_unacknowledgedDataIsGivenUp(self) -> None:
        self.listen(Echo)
        for connection in self.many():
            connection.send(b"question")
        self.assertEnds(924.6)
        self.assertEqual(self.peer.counters["estabResets"], self.count + 1)

    def test_unacknowledgedFINsAreGivenUp(self) -> None:
        self.listen(Ending)
        for connection in self.many():
            connection.send(b"close")
        self.assertEqual(self.peer.table("orphans").size, self.count)
        self.assertEnds(ORPHAN_PATIENCE)

    def test_closedWindowsKeepConnectionsWithinBounds(self) -> None:
        self.listen(Greedy)
        connections = self.many(window=0)
        for _ in range(10):
            self.peer.clock.advance(60)
            self.assertServes()
            # The peers answer each probe, so their connections continue.
            for connection in connections:
                connection.send(b"", window=0)
        self.assertEqual(len(self.peer.host.connections), self.count)
        for transport in self.peer.host.tcp.transports:
            self.assertLessEqual(transport.waiting, transport.bufferSize + 16384)
        table = self.peer.table("send buffers")
        self.assertLessEqual(table.size, self.count * 65536)

    def test_unansweredWindowProbesAreGivenUp(self) -> None:
        self.listen(Greedy)
        self.many(window=0)
        self.assertEnds(924.6)

    def test_slowSendersTakeNoBuffers(self) -> None:
        self.listen(Alive)
        connections = self.many()
        for octet in b"GET / HTTP/1.1":
            self.peer.clock.advance(60)
            for connection in connections:
                connection.send(bytes([octet]))
                connection.send(b"")
            self.assertEqual(self.peer.table("buffers").size, 0)
            self.assertServes()
        self.assertEqual(len(self.peer.host.connections), self.count)
        self.assertEnds(7200 + 9 * 75)


class Alive(Echo):
    """
    An echo service with keepalive.
    """

    def connectionMade(self) -> None:
        super().connectionMade()
        self.transport.setTcpKeepAlive(True)
