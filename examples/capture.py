"""
Capture an hour of a simulation for Wireshark, then replay it to a second host and compare the second host's answers.

    $ python examples/capture.py hour.pcapng
    120 packets in hour.pcapng, the first one at 0 seconds, the last one at 3540
    60 packets replayed to another host: 60 answers, equal to the captured ones

The simulation needs no kernel device and no privilege, and its hour takes less than a second. On a real interface, a
capture wraps a protocol in the same way: C{TuntapPort("tap0", Capture("tap0.pcapng", host.ethernet))}.
"""

from __future__ import annotations

import sys
from pathlib import Path

from txtuntap import Host
from txtuntap.middleware import Capture
from txtuntap.network import Link, Replay, SimulationClock
from txtuntap.wire import pcapng
from txtuntap.wire.capturefile import readCapture

NANOSECONDS = 1_000_000_000

#: The number of octets in an IPv4 header without options. The comparison leaves the header out, because the
#: identification in it is random.
HEADER = 20


def converse(path: str) -> None:
    """
    Simulate an hour in which one host pings another once a minute, and capture it.

    @param path: the capture file to write.
    """
    clock = SimulationClock()
    asker, asked = Host(["10.0.0.1/24"], clock), Host(["10.0.0.2/24"], clock)
    capture = Capture(path, asked.ip)
    link = Link(asker.ip, capture, clock)
    link.start()
    for minute in range(60):
        capture.comment(f"minute {minute}")
        asker.ping("10.0.0.2")
        clock.advance(60)
    link.stop()


def main(path: str) -> None:
    """
    Capture an hour, print the times of its first and last packet, and replay it.
    """
    converse(path)
    with Path(path).open("rb") as file:
        packets = list(readCapture(file))
    # The type allows a packet without a time, but txtuntap writes a time with each packet.
    first, last = ((packets[at].time or 0) // NANOSECONDS for at in (0, -1))
    print(f"{len(packets)} packets in {path}, the first one at {first} seconds, the last one at {last}")

    clock = SimulationClock()
    replay = Replay(path, Host(["10.0.0.2/24"], clock).ip, clock)
    replay.start().addCallback(lambda count: print(f"{count} packets replayed to another host", end=": "))
    clock.advance(3600)
    then = [packet.data[HEADER:] for packet in packets if packet.direction == pcapng.OUTBOUND]
    now = [packet[HEADER:] for packet in replay.sent]
    print(f"{len(now)} answers, {'equal to' if now == then else 'other than'} the captured ones")


if __name__ == "__main__":
    main(*sys.argv[1:] or ["hour.pcapng"])
