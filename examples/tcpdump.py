"""
Print a line for each packet of a tun or a tap, like tcpdump.

    python examples/tcpdump.py [INTERFACE]

Run it as root. The program makes tun0, or INTERFACE, with 10.0.0.1 at the kernel's end. A name that begins with tap
makes a tap. In another terminal, send packets into the interface:

    $ ping -c1 10.0.0.2
    $ echo hello | socat -u - UDP:10.0.0.3:7

The program then prints:

    17:33:08.124 IP 10.0.0.1 > 10.0.0.2: ICMP echo request, id 7, seq 1, length 64
    17:33:11.730 IP 10.0.0.1.50422 > 10.0.0.3.7: UDP, length 6

On a tap, the kernel first asks for the link address of 10.0.0.2, and no host answers:

    17:34:52.613 ARP, Request who-has 10.0.0.2 tell 10.0.0.1, length 28
"""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from txtuntap import TAP, TUN, Packet, TuntapPort
from txtuntap.device.configure import configureInterface


class Printer:
    """
    A protocol that needs no layer below it: a packet finds its own headers.
    """

    def packetReceived(self, packet: Packet) -> None:
        time = f"{datetime.now():%H:%M:%S.%f}"[:-3]
        print(f"{time} {packet}", flush=True)


def main(reactor: Any, interface: str = "tun0") -> Deferred[None]:
    """
    Print the packets of an interface until interrupted.
    """
    mode = TAP if interface.startswith("tap") else TUN
    port = TuntapPort(interface, Printer(), reactor=reactor, mode=mode)
    port.startListening()
    # The kernel has chosen the number in a name such as tun%d.
    configureInterface(port.device.name, ["10.0.0.1/24"], device=port.device)
    print(f"listening on {port.device.name}", flush=True)
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
