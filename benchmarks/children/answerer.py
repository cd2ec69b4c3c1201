"""
The process of L{benchmarks.answers} that answers. It runs in a network namespace of its own.

    python -m benchmarks.children.answerer PING ASK ROUNDS

PING and ASK are the paths of the client programs. The process writes the results to standard output, as JSON. For each
case there is a list of rounds. A round has two pairs of figures, of the host and of the kernel: the answers per second,
and the answers per second of CPU time of this process. Each figure is the best of L{TURNS} turns.
"""

from __future__ import annotations

import gc
import json
import re
import sys
from time import process_time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.internet.utils import getProcessOutputAndValue
from twisted.names import dns
from twisted.names.server import DNSServerFactory

from examples.dns_server import Zone
from txtuntap import Host, TuntapPort
from txtuntap.device.configure import configureInterface

HOST, KERNEL = "10.1.0.2", "10.1.0.1"

#: The numbers of requests that are under way at once.
WINDOWS = (1, 32)

#: The number of echo requests in one turn.
ECHOES = 10_000

#: The seconds of DNS queries in one turn.
SECONDS = 0.4

#: The number of turns of each server in a round.
TURNS = 2

_PONGS = re.compile(r"(\d+) received,.* time (\d+)ms")


async def pings(reactor: Any, program: str, address: str, window: int) -> tuple[int, float]:
    """
    Send echo requests to an address.

    @param program: the path of C{ping}.
    @param window: the number of requests under way at once.

    @return: the number of echo replies, and the seconds that they took.

    @raise RuntimeError: a request was not answered, so the seconds include the time that C{ping} waited for it.
    """
    output = await _run(reactor, program, "-q", "-n", "-f", "-l", str(window), "-c", str(ECHOES), address)
    found = _PONGS.search(output)
    if found is None or int(found[1]) < ECHOES:
        raise RuntimeError(f"not every echo request was answered: {output}")
    return ECHOES, int(found[2]) / 1000


async def questions(reactor: Any, program: str, address: str, window: int) -> tuple[int, float]:
    """
    Send DNS queries to an address.

    @param program: the path of the client.
    @param window: the number of queries under way at once.

    @return: the number of answers, and the seconds that they took.

    @raise RuntimeError: no query was answered.
    """
    answers, seconds = (await _run(reactor, program, address, str(dns.PORT), str(window), str(SECONDS))).split()
    if not int(answers):
        raise RuntimeError(f"{address} has answered no DNS query")
    return int(answers), float(seconds)


async def measure(reactor: Any, ping: str, ask: str, rounds: str) -> None:
    """
    Measure the host and the kernel in turns, and print the results.
    """
    host = Host([f"{HOST}/24"], reactor=reactor)
    TuntapPort("tun0", host.ip, reactor=reactor).startListening()
    configureInterface("tun0", [f"{KERNEL}/24"])
    configureInterface("lo")
    server = DNSServerFactory(authorities=[Zone()])
    for listener, interface in (host, HOST), (reactor, KERNEL):
        listener.listenUDP(dns.PORT, dns.DNSDatagramProtocol(server, reactor), interface)
    cases = {
        f"{what}, {'one at a time' if window == 1 else f'{window} under way'}": (asked, program, window)
        for what, asked, program in (("echo", pings, ping), ("names", questions, ask))
        for window in WINDOWS
    }
    gc.disable()
    found: dict[str, list[list[list[float]]]] = {case: [] for case in cases}
    for _ in range(int(rounds)):
        for case, (asked, program, window) in cases.items():
            best = {HOST: [0.0, 0.0], KERNEL: [0.0, 0.0]}
            for address in [HOST, KERNEL] * TURNS:
                cpu = process_time()
                answers, seconds = await asked(reactor, program, address, window)
                rates = answers / seconds, answers / (process_time() - cpu)
                best[address] = list(map(max, best[address], rates))
            found[case].append([best[HOST], best[KERNEL]])
        gc.collect()
    json.dump(found, sys.stdout)


async def _run(reactor: Any, program: str, *arguments: str) -> str:
    """
    Run a program to its end.

    @return: its standard output.

    @raise RuntimeError: the program fails.
    """
    output, errors, status = await getProcessOutputAndValue(program, arguments, reactor=reactor)
    if status:
        raise RuntimeError(f"{program} {' '.join(arguments)}: {status}: {output.decode()}{errors.decode()}")
    return str(output, "ascii")


if __name__ == "__main__":
    react(lambda *arguments: Deferred.fromCoroutine(measure(*arguments)), sys.argv[1:])
