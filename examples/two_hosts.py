"""
Let two hosts in memory exchange packets, without a kernel device, without privilege, and in simulated time.

    $ python examples/two_hosts.py
    fd00::2 answers 'hello' after 0.0 seconds
    fd00::2 was pinged: 1400 octets, hop limit 64
    nobody is at fd00::3: TimeoutError, 1.0 seconds later
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from txtuntap import Host, TuntapPort
from txtuntap.testing import TAP, MemoryDevice, join


class Echo(DatagramProtocol):
    """
    Sends every datagram back.
    """

    noisy = False

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        assert self.transport is not None
        self.transport.write(datagram, addr)


class Client(DatagramProtocol):
    """
    Sends C{hello}, and prints the answer.
    """

    noisy = False

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock.seconds()

    def startProtocol(self) -> None:
        assert self.transport is not None
        self.transport.write(b"hello", ("fd00::2", 7))

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        print(f"{addr[0]} answers {datagram.decode()!r} after {self._clock.seconds() - self._began} seconds")


def main() -> None:
    """
    Join two taps in memory, with a host on each.
    """
    clock = Clock()
    devices = [MemoryDevice(TAP), MemoryDevice(TAP)]
    join(clock, *devices)
    hosts = [Host([f"fd00::{number}/64"], clock) for number in (1, 2)]
    for host, device in zip(hosts, devices, strict=True):
        TuntapPort("", host.ethernet, reactor=clock, device=device).startListening()

    def run(seconds: float) -> None:
        # The steps are small because a Clock that jumps runs each call at the end of the jump, and so too late.
        for _ in range(round(seconds * 100)):
            clock.advance(0.01)

    run(5)
    hosts[1].listenUDP(7, Echo())
    hosts[0].listenUDP(0, Client(clock))
    for _ in range(20):
        clock.advance(0)

    pinged: Deferred[Any] = hosts[0].ping("fd00::2", size=1400)
    pinged.addCallback(lambda pong: print(f"{pong.source} was pinged: {pong.size} octets, hop limit {pong.hopLimit}"))
    for _ in range(20):
        clock.advance(0)

    began = clock.seconds()

    def nobody(failure: Failure) -> None:
        print(f"nobody is at fd00::3: {type(failure.value).__name__}, {clock.seconds() - began:.1f} seconds later")

    hosts[0].ping("fd00::3").addErrback(nobody)
    run(2)


if __name__ == "__main__":
    main()
