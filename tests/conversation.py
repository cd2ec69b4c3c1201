"""
What two hosts on one link say to each other: one script, for two of ours in memory
(C{tests/stack/test_conversation.py}) and for one of ours and Linux (C{tests/real/test_conversation.py}). So what the
tests in memory expect of a host is what Linux does.
"""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import TimeoutError
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure

from txtuntap import Host

#: Ours and theirs, over both versions; and a second one of ours.
PAIRS = (("10.9.0.2", "10.9.0.1"), ("fd09::2", "fd09::1"))
OURS = ("10.9.0.2/24", "10.9.0.3/24", "fd09::2/64", "fd09::3/64")
THEIRS = ("10.9.0.1/24", "fd09::1/64")

PINGS = (0, 1, 56, 1472, 1473, 8000, 65507)
DATAGRAMS = (0, 1, 2, 1452, 1453, 1472, 1473, 4000, 65507)

#: Steps after which what has not come never will: those who lose an answer are to fail, not to wait for ever.
STEPS = 4_000

#: UDP ports: an echo, and one that nobody is on.
ECHO, CLOSED = 7, 9


class Asking(DatagramProtocol):
    """
    Asks one other, and takes the answer.

    @ivar answered: fires with what comes back; fails with C{ConnectionRefusedError} if nobody is there.
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
    Have one of our hosts ask another host by a connected port.

    @return: fires with the answer; fails as L{Asking} says.
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
    The script. Test cases add who they are.

    @ivar host: ours, which has C{OURS} for addresses and an L{Echo} on its port.
    """

    host: Host
    assertEqual: Any
    assertRaises: Any

    def wait(self, waited: Deferred[Any]) -> Any:
        """
        @return: what it fires with.

        @raise Exception: what it fails with.
        """
        raise NotImplementedError

    def theyPing(self, address: str, size: int, timeout: int = 10) -> bool:
        """
        @param timeout: seconds that they wait.

        @return: whether they are answered, octet for octet.
        """
        raise NotImplementedError

    def theyAsk(self, address: str, port: int, data: bytes) -> bytes:
        """
        @return: the answer to a datagram of theirs, from just where it went.

        @raise ConnectionRefusedError: nobody was there.
        """
        raise NotImplementedError

    def test_wePing(self) -> None:
        for _, theirs in PAIRS:
            for size in PINGS:
                pong = self.wait(self.host.ping(theirs, size, timeout=10))
                self.assertEqual((pong.source, pong.size, pong.hopLimit), (theirs, size, 64))

    def test_theyPing(self) -> None:
        for ours, _ in PAIRS:
            for size in PINGS:
                self.assertEqual((ours, size, self.theyPing(ours, size)), (ours, size, True))

    def test_weAsk(self) -> None:
        for _, theirs in PAIRS:
            for size in DATAGRAMS:
                data = Random(size).randbytes(size)
                self.assertEqual(self.wait(ask(self.host, theirs, ECHO, data)), data)

    def test_theyAsk(self) -> None:
        for ours in ("10.9.0.2", "10.9.0.3", "fd09::2", "fd09::3"):
            for size in DATAGRAMS:
                data = Random(size).randbytes(size)
                self.assertEqual(self.theyAsk(ours, ECHO, data), data)

    def test_closedPortOfTheirs(self) -> None:
        for _, theirs in PAIRS:
            for size in 0, 1000:
                asked = ask(self.host, theirs, CLOSED, bytes(size))
                self.assertRaises(ConnectionRefusedError, self.wait, asked)

    def test_closedPortOfOurs(self) -> None:
        for ours, _ in PAIRS:
            for size in 0, 1000:
                self.assertRaises(ConnectionRefusedError, self.theyAsk, ours, CLOSED, bytes(size))

    def test_nobodyAnswersForEverybody(self) -> None:
        self.assertRaises(TimeoutError, self.wait, self.host.ping("10.9.0.255", timeout=0.5))
        self.assertEqual(self.theyPing("10.9.0.255", 56, timeout=1), False)

    def test_nobodyThere(self) -> None:
        for address in "10.9.0.77", "fd09::77":
            self.assertRaises(TimeoutError, self.wait, self.host.ping(address, timeout=0.5))
            self.assertEqual(self.theyPing(address, 56, timeout=1), False)


def resultOf(waited: Deferred[Any], step: Any) -> Any:
    """
    Do C{step} until something has fired.

    @return: what it fires with.

    @raise Exception: what it fails with.
    @raise AssertionError: it does neither.
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
