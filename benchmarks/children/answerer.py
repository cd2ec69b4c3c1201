"""
The process of L{benchmarks.answers} that answers. It runs in a network namespace of its own.

    python -m benchmarks.children.answerer PING ASK ROUNDS

PING and ASK are the paths of the client programs. The process prints a JSON list of rounds, with the sums of all
turns, by the name of the measurement. The units of the measurements are answers.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react
from twisted.names import dns
from twisted.names.server import DNSServerFactory

from benchmarks.children.bench import bare
from benchmarks.children.client import Client
from benchmarks.measure import inTurns
from examples.dns_server import Zone
from txtuntap import Host, TuntapPort
from txtuntap.device.configure import configureInterface

#: The addresses that answer, by name. The host and the bare loop have a device each.
ADDRESSES = {"host": "10.1.0.2", "kernel": "10.1.0.1", "bare": "10.1.1.2"}

#: The numbers of requests that are under way at once.
WINDOWS = (1, 32)

#: The number of echo requests in one turn.
ECHOES = 10_000

#: The seconds of DNS queries in one turn.
SECONDS = 0.4

#: The number of turns of each measurement in a round.
TURNS = 2

_PONGS = re.compile(r"(\d+) received,.* time (\d+)ms")


def pongs(output: str) -> tuple[int, float]:
    """
    Parse the output of C{ping}.

    @return: the number of echo replies, and the seconds that they took.

    @raise RuntimeError: a request was not answered, so the seconds include the time that C{ping} waited for it.
    """
    found = _PONGS.search(output)
    if found is None or int(found[1]) < ECHOES:
        raise RuntimeError(f"not every echo request was answered: {output}")
    return ECHOES, int(found[2]) / 1000


def replies(output: str) -> tuple[int, float]:
    """
    Parse the output of the client for DNS.

    @return: the number of answers, and the seconds that they took.

    @raise RuntimeError: no query was answered.
    """
    answers, seconds = output.split()
    if not int(answers):
        raise RuntimeError("no DNS query was answered")
    return int(answers), float(seconds)


async def measure(reactor: Any, ping: str, ask: str, rounds: str) -> None:
    """
    Measure the host and its peers in turns, and print the results.
    """
    host = Host([f"{ADDRESSES['host']}/24"], reactor=reactor)
    TuntapPort("tun0", host.ip, reactor=reactor).startListening()
    loop = subprocess.Popen([str(part) for part in bare("answer", "tun1")])
    try:
        while "tun1:" not in Path("/proc/self/net/dev").read_text():
            await deferLater(reactor, 0.02, lambda: None)
        configureInterface("tun0", [f"{ADDRESSES['kernel']}/24"])
        configureInterface("tun1", ["10.1.1.1/24"])
        configureInterface("lo")
        server = DNSServerFactory(authorities=[Zone()])
        for listener, name in (host, "host"), (reactor, "kernel"):
            listener.listenUDP(dns.PORT, dns.DNSDatagramProtocol(server, reactor), ADDRESSES[name])
        client = Client(reactor)

        def echo(name: str, window: int) -> Any:
            flood = ping, "-q", "-n", "-f", "-l", str(window), "-c", str(ECHOES), ADDRESSES[name]
            return lambda: client.turn(pongs, *flood, process=loop.pid if name == "bare" else 0)

        def names(name: str, window: int) -> Any:
            return lambda: client.turn(replies, ask, ADDRESSES[name], str(dns.PORT), str(window), str(SECONDS))

        measures = {
            f"{kind.__name__} {window}, {name}": kind(name, window)
            for kind, several in ((echo, ADDRESSES), (names, ("host", "kernel")))
            for window in WINDOWS
            for name in several
        }
        json.dump(await inTurns(measures, int(rounds), TURNS), sys.stdout)
    finally:
        loop.kill()


if __name__ == "__main__":
    react(lambda *arguments: Deferred.fromCoroutine(measure(*arguments)), sys.argv[1:])
