"""
An hour of a simulation is captured, for Wireshark to look at, and played to another host, to see that it says the same.

    $ python examples/capture.py hour.pcapng
    120 packets in hour.pcapng; the first one came at 0 seconds, the last one went at 3540
    60 packets played to another host: 60 answers, the same as then

No kernel, no privilege; and the hour has passed at once. On an interface, a capture goes around a protocol likewise:
C{TuntapPort("tap0", Capture("tap0.pcapng", host.ethernet))}.
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

#: An IPv4 header without options: what comes after is the same each time.
HEADER = 20


def converse(path: str) -> None:
    """
    Two hosts, one of which pings the other once a minute.
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
    Capture, show, and play.
    """
    converse(path)
    with Path(path).open("rb") as file:
        packets = list(readCapture(file))
    # Only blocks of a kind that nobody writes here have no time.
    first, last = ((packets[at].time or 0) // NANOSECONDS for at in (0, -1))
    print(f"{len(packets)} packets in {path}; the first one came at {first} seconds, the last one went at {last}")

    clock = SimulationClock()
    replay = Replay(path, Host(["10.0.0.2/24"], clock).ip, clock)
    replay.start().addCallback(lambda played: print(f"{played} packets played to another host", end=": "))
    clock.advance(3600)
    then = [packet.data[HEADER:] for packet in packets if packet.direction == pcapng.OUTBOUND]
    now = [packet[HEADER:] for packet in replay.sent]
    print(f"{len(now)} answers, {'the same as then' if now == then else 'others than then'}")


if __name__ == "__main__":
    main(*sys.argv[1:] or ["hour.pcapng"])
