"""
A host behind a bad link: what a program does when packets are late, lost, doubled or damaged.

    python examples/bad_link.py "delay 100ms 20ms distribution normal loss 10% duplicate 5%"

as root: it makes tun0, with 10.0.0.1 at the kernel's end, and the host 10.0.0.2 behind it. Both directions are as the
text says, in the words of tc-netem(8). In another terminal:

    $ ping -c20 10.0.0.2
    $ echo hello | socat -t1 - UDP:10.0.0.2:7

When stopped, it tells what has become of the packets.
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
    One tun, and between it and the host what the text says.
    """
    host = Host(["10.0.0.2/24"], reactor)
    host.listenUDP(7, Echo())
    impairment = Impairment(host.ip, Netem.of(text))
    TuntapPort("tun0", impairment, reactor=reactor).startListening()
    configureInterface("tun0", ["10.0.0.1/24"])
    reactor.addSystemEventTrigger("before", "shutdown", lambda: print(dict(impairment.counters), flush=True))
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
