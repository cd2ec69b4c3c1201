"""
What a datagram to an open UDP port of a whole host costs, beside the bare layers.
"""

from __future__ import annotations

from benchmarks import stacks
from benchmarks.measure import Row, Section, compare
from txtuntap.wire.ethernet import HEADER_LENGTH

ABOUT = (
    "A UDP datagram of 22 octets to an open port, every check on, in memory. First, through a `Host` and through the"
    " bare layers of `Ethernet`, `IP` and `UDP`, which look at no address. Then through a host with very many addresses"
    " or ports, and through one with one. Time per packet: less is better."
)

#: What a host may cost over the bare layers, and what a crowd may over one.
GOAL, CROWD_GOAL = 1.15, 1.1

#: A million addresses, and one of them.
MILLION, ONE_OF_THEM = "10.64.0.0/12", "10.77.1.2"
PORTS = 10_000

#: Packets in one turn.
PACKETS = 500


def run(rounds: int) -> Section:
    """
    On a tap and on a tun, both versions of IP; many addresses, many ports.
    """
    rows = []
    for version in (4, 6):
        frame = stacks.frame(22, version)
        frames, packets = [frame] * PACKETS, [frame[HEADER_LENGTH:]] * PACKETS
        tap, bareTap, tun, bareTun = compare(
            [
                stacks.ofHost().task(frames),
                stacks.ours().task(frames),
                stacks.ofHost(tap=False).task(packets),
                stacks.oursOnTun().task(packets),
            ],
            rounds,
        )
        rows.append(Row(f"IPv{version} on a tap: a host / bare layers", tap, bareTap, GOAL))
        rows.append(Row(f"IPv{version} on a tun: a host / bare layers", tun, bareTun, GOAL))
    frames = [stacks.frame(22)] * PACKETS
    one, addresses, ports = compare(
        [
            stacks.ofHost().task(frames),
            stacks.ofHost(anyAddresses=[MILLION]).task([stacks.frame(22, dest=ONE_OF_THEM)] * PACKETS),
            stacks.ofHost(ports=range(stacks.PORT, stacks.PORT + PORTS)).task(frames),
        ],
        rounds,
    )
    rows.append(Row("1,048,576 addresses / 1", addresses, one, CROWD_GOAL))
    rows.append(Row(f"{PORTS:,} open ports / 1", ports, one, CROWD_GOAL))
    return Section("host", ABOUT, ("first", "second"), rows)
