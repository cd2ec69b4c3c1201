"""
The same tests for two pairs of hosts on one link. C{tests/stack/test_conversation.py} runs them between two L{Host}s in
memory, and C{tests/real/test_conversation.py} between a L{Host} and Linux. This proves that the peer in memory behaves
as Linux does.
"""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import TimeoutError
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure

from txtuntap import Host

#: The addresses of host and peer, for both IP versions; and all addresses of each, two of each version for the host.
PAIRS = (("10.9.0.2", "10.9.0.1"), ("fd09::2", "fd09::1"))
OURS = ("10.9.0.2/24", "10.9.0.3/24", "fd09::2/64", "fd09::3/64")
THEIRS = ("10.9.0.1/24", "fd09::1/64")

PINGS = (0, 1, 56, 1472, 1473, 8000, 65507)
DATAGRAMS = (0, 1, 2, 1452, 1453, 1472, 1473, 4000, 65507)

#: The number of steps after which a test fails because no answer has arrived.
STEPS = 4_000

#: The UDP ports of an echo server and of no server.
ECHO, CLOSED = 7, 9


class Asking(DatagramProtocol):
    """
    A client that receives one answer.

    @ivar answered: fires with the answer; fails with C{ConnectionRefusedError} if the port of the server is closed.
    """

    noisy = False

    def __init__(self) -> None:
        self.answered: Deferred[bytes] = Deferred()

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        self.answered.callback(datagram)

    def connectionRefused(self) -> None:
        self.answered.errback(ConnectionRefusedError())


def ask(host: Host, address: str, port: int, data: bytes) -> Deferred[bytes]:
    """
    Send a datagram from a connected port of a host, and wait for the answer.

    @return: fires with the answer; fails like C{answered} of L{Asking}.
    """
    asking = Asking()
    transport = host.listenUDP(0, asking)
    transport.connect(address, port)
    transport.write(data)

    def done(result: Any) -> Any:
        transport.stopListening()
        return result

    return asking.answered.addBoth(done)


class ConversationMixin:
    """
    The tests of both pairs. A test case adds a host, and the methods that act as its peer.

    @ivar host: the host with the addresses C{OURS} and an echo server on port C{ECHO}.
    """

    host: Host
    assertEqual: Any
    assertRaises: Any

    def wait(self, waited: Deferred[Any]) -> Any:
        """
        Wait for the result of a Deferred.

        @return: the result.

        @raise Exception: the exception that the Deferred fails with.
        """
        raise NotImplementedError

    def peerPings(self, address: str, size: int, timeout: int = 10) -> bool:
        """
        Ping an address of the host from the peer.

        @param size: the number of octets of the payload.
        @param timeout: the number of seconds that the peer waits.

        @return: whether the peer receives an answer with the same payload.
        """
        raise NotImplementedError

    def peerAsks(self, address: str, port: int, data: bytes) -> bytes:
        """
        Send a datagram from the peer to the host, and wait for the answer from the same address and port.

        @return: the answer.

        @raise ConnectionRefusedError: the port of the host is closed.
        """
        raise NotImplementedError

    def test_theHostPingsThePeer(self) -> None:
        for _, theirs in PAIRS:
            for size in PINGS:
                pong = self.wait(self.host.ping(theirs, size, timeout=10))
                self.assertEqual((pong.source, pong.size, pong.hopLimit), (theirs, size, 64))

    def test_thePeerPingsTheHost(self) -> None:
        for ours, _ in PAIRS:
            for size in PINGS:
                self.assertEqual((ours, size, self.peerPings(ours, size)), (ours, size, True))

    def test_theHostAsksThePeer(self) -> None:
        for _, theirs in PAIRS:
            for size in DATAGRAMS:
                data = Random(size).randbytes(size)
                self.assertEqual(self.wait(ask(self.host, theirs, ECHO, data)), data)

    def test_thePeerAsksTheHost(self) -> None:
        for ours in ("10.9.0.2", "10.9.0.3", "fd09::2", "fd09::3"):
            for size in DATAGRAMS:
                data = Random(size).randbytes(size)
                self.assertEqual(self.peerAsks(ours, ECHO, data), data)

    def test_aClosedPortOfThePeerRefuses(self) -> None:
        for _, theirs in PAIRS:
            for size in 0, 1000:
                asked = ask(self.host, theirs, CLOSED, bytes(size))
                self.assertRaises(ConnectionRefusedError, self.wait, asked)

    def test_aClosedPortOfTheHostRefuses(self) -> None:
        for ours, _ in PAIRS:
            for size in 0, 1000:
                self.assertRaises(ConnectionRefusedError, self.peerAsks, ours, CLOSED, bytes(size))

    def test_aBroadcastPingIsNotAnswered(self) -> None:
        self.assertRaises(TimeoutError, self.wait, self.host.ping("10.9.0.255", timeout=0.5))
        self.assertEqual(self.peerPings("10.9.0.255", 56, timeout=1), False)

    def test_aPingOfAnUnusedAddressIsNotAnswered(self) -> None:
        for address in "10.9.0.77", "fd09::77":
            self.assertRaises(TimeoutError, self.wait, self.host.ping(address, timeout=0.5))
            self.assertEqual(self.peerPings(address, 56, timeout=1), False)


def resultOf(waited: Deferred[Any], step: Any) -> Any:
    """
    Call C{step} until a Deferred has fired.

    @return: the result of the Deferred.

    @raise Exception: the exception that the Deferred fails with.
    @raise AssertionError: the Deferred has not fired after C{STEPS} steps.
    """
    results: list[Any] = []
    waited.addBoth(results.append)
    for _ in range(STEPS):
        if results:
            break
        step()
    assert results, "no answer"
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]
