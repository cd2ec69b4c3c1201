"""
Measure how fast superpackets pass real tun devices. One system call reads or writes a superpacket of many datagrams.
"""

from __future__ import annotations

import tempfile

from benchmarks.measure import Section, rateRow, timeRow
from benchmarks.receive import child, compileProgram, privateNetwork

ABOUT = (
    "UDP datagrams over IPv4, in packets of 1,400 octets, are sent between kernel sockets and a tun device. The sender"
    ' is a separate process, and sends 46 datagrams in a system call (`UDP_SEGMENT`). "Received" counts the datagrams'
    " that a `DatagramProtocol` receives. It is compared with `twisted.pair`, and with programs that only read packets,"
    ' each in a process of its own. "Written" counts the datagrams that reach a kernel socket from `transport.write`'
    " within `transport.batch()`. It is compared with a Python loop that makes each packet, with headers and checksums,"
    ' and writes it. "Echoed" counts the datagrams that return to a kernel socket from a `DatagramProtocol`, which'
    " calls `transport.write` for each. It is compared with `twisted.pair` in one direction. A socket with GRO"
    " (`UDP_GRO`) receives many datagrams in a system call. The figures are datagrams per second of the CPU time, user"
    " and system, of the process that receives, writes or echoes. More is better. The limit is the rate of a loop that"
    " only reads superpackets, cuts each with one unpack, and calls the application for each datagram. That of the echo"
    " also writes a superpacket of what the application writes."
)

PROGRAMS = ("flood.c", "sink.c", "reader.c", "roundtrip.c")

#: The comparisons: case, name of the measurement of txtuntap, name of the peer's, the least ratio that meets the goal,
#: and the name of the measurement of the limit.
COMPARED = (
    ("received / `twisted.pair`", "received", "twisted.pair", 10.0, "limit"),
    ("received / `read()` in C", "received", "C", 1.0, "limit"),
    ("received / python-pytun", "received", "pytun", None, "limit"),
    ("written / a loop", "written", "loop", 4.0, None),
    ("written, to a socket with GRO / a loop", "written, GRO", "loop", None, None),
    ("echoed / received by `twisted.pair`", "echoed", "twisted.pair", 3.5, "limit of echoed"),
    (
        "echoed, to a socket with GRO / received by `twisted.pair`",
        "echoed, GRO",
        "twisted.pair",
        5.5,
        "limit of echoed, GRO",
    ),
)

LATENCY = (
    "One datagram of 64 octets at a time is sent to an echo server and back. One server is on a port of a `Host` behind"
    " a tun device, the other on a UDP port of Twisted on the loopback interface. The first row is about calls of"
    " `doRead` without a reactor. In the second row, client and server run on different CPUs, and the elapsed time is"
    " that of the round trip. The figures are the CPU time of the server for a datagram there and back, user and"
    " system. Less is better."
)

#: The greatest ratio of times that meets the goal.
LATENCY_GOAL = 1.3


def run(rounds: int) -> list[Section]:
    """
    Measure rates and latency.

    @raise Missing: there is no compiler, no device, no C{unshare}, or no permission to make a network namespace.
    """
    namespace = privateNetwork()
    with tempfile.TemporaryDirectory() as directory:
        for source in PROGRAMS:
            compileProgram(source, directory)
        found = child("offloader", directory, rounds, namespace=namespace)
    rows = [
        rateRow(case, found, ours, theirs, goal, limit)
        for case, ours, theirs, goal, limit in COMPARED
        if theirs in found[0]
    ]
    notes = "" if "pytun" in found[0] else "python-pytun is not installed here."
    latency = [
        timeRow(case, found, f"host, {name}", f"kernel, {name}", LATENCY_GOAL)
        for case, name in (("in `doRead`", "doRead"), ("through the reactor", "reactor"))
    ]
    return [
        Section("offload", ABOUT, ("first", "second"), rows, notes),
        Section("latency", LATENCY, ("a host on a tun", "a kernel port"), latency),
    ]
