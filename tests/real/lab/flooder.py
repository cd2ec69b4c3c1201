"""
A process that sends SYNs from forged addresses to a device, at a given rate.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from itertools import count
from random import Random
from struct import Struct

from tests.real.lab.machine import ECHO, STATION
from tests.real.lab.warm import Program
from tests.tcp.rawpeer import segment
from txtuntap.testing import ethernetFrame
from txtuntap.wire import ethernet
from txtuntap.wire.ethernet import IPV4, IPV6
from txtuntap.wire.tcp import SYN, packSynOptions

#: The link address of the forger.
FORGER = "02:00:00:00:00:99"

#: The first of the two words that are random in a source address, in IPv4 the first two octets: 16.0 to 79.255.
_FIRST, _FIRSTS = 0x1000, 0x4000

#: The number of SYNs between two looks at the clock.
_CHECKED = 8

_words = Struct("!HH").pack_into
_ends = Struct("!HHHH").pack_into


class Flooder:
    """
    A context manager that runs the process.
    """

    def __init__(self, interface: str, mode: str, ours: str, rate: float) -> None:
        """
        @param mode: C{"tun"} or C{"tap"}.
        @param ours: the address of the host that has the echo service.
        @param rate: the most SYNs a second.
        """
        self._arguments = [interface, mode, ours, rate]

    def __enter__(self) -> Flooder:
        self._process = Program(f"{__name__}:main", ["flooder", json.dumps(self._arguments)])
        return self

    def __exit__(self, *ignored: object) -> None:
        with self._process as process:
            process.kill()
            process.wait()


def main() -> None:
    """
    Send SYNs until the process is killed.
    """
    interface, mode, ours, rate = json.loads(sys.argv[1])
    isVersion6 = ":" in ours
    etherType = IPV6 if isVersion6 else IPV4
    source = "2001:db8::1234:5678" if isVersion6 else "18.52.86.120"
    syn = segment(source, ours, 1024, ECHO, 0, 0, SYN, options=packSynOptions(1460, 7, True, (1, 0)))
    link = ethernet.HEADER_LENGTH if mode == "tap" else 0
    if link:
        syn = ethernetFrame(FORGER, STATION, etherType, syn)
    sourceAt, tcpAt = (link + 20, link + 40) if isVersion6 else (link + 12, link + 20)
    packet = bytearray(syn)
    draw = Random().getrandbits
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as network:
        network.bind((interface, etherType))
        start = time.monotonic()
        for sent in count():
            # A pause would make bursts of the flood.
            while not sent % _CHECKED and sent > (time.monotonic() - start) * rate:
                pass
            number = draw(44)
            first = _FIRST + number % _FIRSTS
            port, high = number >> 14 & 0x3FFF, number >> 28
            # The two random words of the address have a constant sum, and so have the words behind the ports. So the
            # checksums stay valid, and a packet takes a microsecond.
            _words(packet, sourceAt, first, (0x1234 + 0x5678 - first) % 0xFFFF)
            _ends(packet, tcpAt, 1024 + port, ECHO, high, -(port + high) % 0xFFFF)
            network.send(packet)
