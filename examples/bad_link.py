"""
Put a host behind a bad link, to see how a program behaves when packets are late, lost, duplicated or corrupted.

    python examples/bad_link.py "delay 100ms 20ms distribution normal loss 10% duplicate 5%"

Run it as root. The program makes tun0, gives the kernel's end the address 10.0.0.1, and puts the host 10.0.0.2 behind
it. The argument describes both directions of the link, in the syntax of tc-netem(8). In another terminal:

    $ ping -c20 10.0.0.2
    $ echo hello | socat -t1 - UDP:10.0.0.2:7

When the program is stopped, it prints how many packets were lost, duplicated and corrupted in each direction.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from txtuntap import Host, TuntapPort
from txtuntap.device.configure import configureInterface
from txtuntap.middleware import Impairment, Netem
from txtuntap.udp import Echo

USUAL = "delay 50ms 20ms loss 10%"


def main(reactor: Any, text: str = USUAL) -> Deferred[None]:
    """
    Put an impairment between a tun and a host.

    @param text: the impairment, in the syntax of tc-netem(8).
    """
    host = Host(["10.0.0.2/24"], reactor)
    host.listenUDP(7, Echo())
    impairment = Impairment(host.ip, Netem.of(text))
    TuntapPort("tun0", impairment, reactor=reactor).startListening()
    configureInterface("tun0", ["10.0.0.1/24"])
    print(f"ready: 10.0.0.2 on tun0, {text}", flush=True)
    reactor.addSystemEventTrigger("before", "shutdown", lambda: print(dict(impairment.counters), flush=True))
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
