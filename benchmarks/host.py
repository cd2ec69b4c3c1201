"""
Compare the time that a L{Host<txtuntap.Host>} takes for a UDP datagram with that of the layers alone.
"""

from __future__ import annotations

from benchmarks import stacks
from benchmarks.measure import Row, Section, compare
from txtuntap.wire.ethernet import HEADER_LENGTH

ABOUT = (
    "A UDP datagram of 22 octets is delivered to an open port in memory, with every check on. The first rows compare a"
    " `Host` with the bare layers of `Ethernet`, `IP` and `UDP`, which compare no addresses. The last rows compare a"
    " host with very many addresses or ports with a host that has one. The figures are the time per packet. Less is"
    " better."
)

#: The greatest ratios that meet the goal: of a host to the bare layers, and of many addresses or ports to one.
GOAL, CROWD_GOAL = 1.15, 1.1

#: A network of a million addresses, and one of them.
MILLION, ONE_OF_THEM = "10.64.0.0/12", "10.77.1.2"
PORTS = 10_000

#: The number of packets in one turn.
PACKETS = 500


def run(rounds: int) -> Section:
    """
    Measure a host on a tap and on a tun, over both IP versions, then with many addresses and with many ports.
    """
    rows = []
    for version in (4, 6):
        frame = stacks.frame(22, version)
        frames, packets = [frame] * PACKETS, [frame[HEADER_LENGTH:]] * PACKETS
        tap, bareTap, tun, bareTun = compare(
            [
                stacks.hostStack().task(frames),
                stacks.layerStack().task(frames),
                stacks.hostStack(tap=False).task(packets),
                stacks.layerStackOnTun().task(packets),
            ],
            rounds,
        )
        rows.append(Row(f"IPv{version} on a tap: a host / bare layers", tap, bareTap, GOAL))
        rows.append(Row(f"IPv{version} on a tun: a host / bare layers", tun, bareTun, GOAL))
    frames = [stacks.frame(22)] * PACKETS
    one, addresses, ports = compare(
        [
            stacks.hostStack().task(frames),
            stacks.hostStack(anyAddresses=[MILLION]).task([stacks.frame(22, dest=ONE_OF_THEM)] * PACKETS),
            stacks.hostStack(ports=range(stacks.PORT, stacks.PORT + PORTS)).task(frames),
        ],
        rounds,
    )
    rows.append(Row("1,048,576 addresses / 1", addresses, one, CROWD_GOAL))
    rows.append(Row(f"{PORTS:,} open ports / 1", ports, one, CROWD_GOAL))
    return Section("host", ABOUT, ("first", "second"), rows)
