"""
Accept TCP connections at every address of a network, answer as slowly as possible, and print each request.

    python examples/tcp_honeypot.py [NETWORK]

Run it as root. The program makes tap0, with a host at 10.0.0.2 and fd00::2. The host also has every address of
10.77.0.0/16 (or of NETWORK). Run these commands in another terminal, and the program prints lines like the last two:

    $ ip route add 10.77.0.0/16 via 10.0.0.2
    $ echo hello | socat - TCP:10.77.1.2:25
    $ nmap -sT -n -Pn -p 20-25 10.77.200.201

    10.0.0.1 > 10.77.1.2 port 25: says b'hello\\n'
    10.0.0.1 > 10.77.200.201 port 20: is refused

An open port sends an octet of an endless greeting every five seconds. It reads once, and then its small window fills.
"""

from __future__ import annotations

import sys
from itertools import cycle
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import LoopingCall, react

from txtuntap import Host, TCPProtocol, TuntapPort
from txtuntap.device.configure import configureInterface
from txtuntap.tcp import Answer, Limits, Parameters, UnclaimedSYN

#: The greeting of each open port.
OPEN = {22: b"Welcome to ssh.\r\n", 23: b"busy, please wait\r\n", 25: b"220-one moment\r\n", 80: b"X-Wait: yes\r\n"}
PAUSE, MAX_LINES = 5, 20  # The seconds between two octets of a greeting; the most lines that are printed in a second.


class Tarpit(Protocol):
    """
    Repeats its greeting without an end, and reads once.
    """

    transport: Any
    factory: Any

    def connectionMade(self) -> None:
        self.ends = self.transport.getPeer(), self.transport.getHost()
        self.factory.log(*self.ends, "connects")
        greeting = cycle(OPEN[self.ends[1].port])
        self.greeting = LoopingCall(lambda: self.transport.write(bytes([next(greeting)])))
        self.greeting.start(PAUSE)

    def dataReceived(self, data: bytes) -> None:
        self.factory.log(*self.ends, f"says {data[:40]!r}")
        self.transport.pauseProducing()

    def connectionLost(self, reason: Any = connectionDone) -> None:
        self.greeting.stop()


class Honeypot(Factory):
    """
    Decides how each SYN is answered, and prints the requests.
    """

    protocol = Tarpit
    lines = 0

    def unclaimed(self, syn: UnclaimedSYN) -> Any:
        if syn.host.port not in OPEN:
            self.log(syn.peer, syn.host, "is refused")
        return self if syn.host.port in OPEN else Answer.REFUSE

    def log(self, peer: Any, host: Any, what: str) -> None:
        self.lines += 1
        if self.lines <= MAX_LINES:
            print(f"{peer.host} > {host.host} port {host.port}: {what}", flush=True)

    def everySecond(self) -> None:
        if self.lines > MAX_LINES:
            print(f"... and {self.lines - MAX_LINES} more", flush=True)
        self.lines = 0


def main(reactor: Any, network: str = "10.77.0.0/16") -> Deferred[None]:
    honeypot = Honeypot()
    LoopingCall(honeypot.everySecond).start(1)
    # No port listens, so the TCP layer asks the honeypot about each SYN.
    limits = Limits(connections=10_000, peerConnections=1000)
    tcp = TCPProtocol(Parameters(receiveBuffer=512), limits, unclaimed=honeypot.unclaimed)
    host = Host(["10.0.0.2/24", "fd00::2/64"], reactor, anyAddresses=[network], tcp=tcp)
    TuntapPort("tap0", host.ethernet, reactor=reactor).startListening()
    configureInterface("tap0", ["10.0.0.1/24", "fd00::1/64"])
    print(f"ready: all of {network} on tap0", flush=True)
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
