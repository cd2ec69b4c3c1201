"""
The process of L{benchmarks.configure} that configures interfaces. It runs in a network namespace of its own.

    python -m benchmarks.children.configurer IP ROUNDS

IP is the path of the program C{ip}. The process prints a JSON list of two objects: without other routes, and among
many. C{turns} has the sums of each round, by the name of the measurement. C{gaps} maps the name of each other figure
to its seconds, in each round.
"""

from __future__ import annotations

import gc
import importlib
import json
import resource
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable
from time import perf_counter
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from benchmarks.measure import Turn, inTurns
from txtuntap.device import TUN
from txtuntap.device.configure import configure
from txtuntap.device.linux import LinuxDevice
from txtuntap.device.settings import InterfaceSettings

#: The interface that is configured, and the interface of the other routes.
NAME, OTHER = "tun0", "tun1"

ADDRESSES = [text for number in range(5) for text in (f"10.1.{number}.1/24", f"fd01:{number}::1/64")]
ROUTES = [text for number in range(5) for text in (f"10.2.{number}.0/24", f"fd02:{number}::/64")]

#: The arguments of C{ip} for each address and route, in turns, so that the first half has half of both.
COMMANDS = [
    command
    for address, route in zip(ADDRESSES, ROUTES, strict=True)
    for command in (
        ["address", "add", address, "dev", NAME, *(["nodad"] if ":" in address else [])],
        ["route", "add", route, "dev", NAME],
    )
]

#: The number of routes of the other interface in the second measurement.
CROWD = 10_000

#: Modules that the first request of pyroute2 imports. This process imports them before its reactor runs, as a service
#: does.
MODULES = ("marshal", "ifinfmsg", "ifaddrmsg", "rtmsg", "ndmsg")

#: The number of turns in a round.
TURNS = 3


class Work:
    """
    Other work of the reactor: a short call in each turn.

    @ivar longest: the longest time between two calls, in seconds.
    """

    def __init__(self, reactor: Any, clock: Callable[[], float] = perf_counter) -> None:
        self.longest = 0.0
        self._reactor = reactor
        self._clock = clock
        self._last = clock()
        self._call = reactor.callLater(0, self._turn)

    def _turn(self) -> None:
        now = self._clock()
        self.longest = max(self.longest, now - self._last)
        self._last = now
        self._call = self._reactor.callLater(0, self._turn)

    async def end(self) -> float:
        """
        Wait for one more call, and stop.

        @return: C{longest}.
        """
        last = self._last
        while self._last == last:
            await deferLater(self._reactor, 0)
        self._call.cancel()
        return self.longest


def cpuSeconds() -> float:
    """
    The CPU time of this process, and of the processes that it has started and that have ended, in seconds.
    """
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


async def configureOnce(reactor: Any) -> Turn:
    """
    Configure the interface, then undo the configuration.

    @raise RuntimeError: some of the changes were not made.
    """
    cpu, begin = cpuSeconds(), perf_counter()
    done = await configure(NAME, InterfaceSettings(addresses=ADDRESSES, routes=ROUTES), reactor=reactor)
    turn = 1, cpuSeconds() - cpu, perf_counter() - begin
    if len(done.changes) != len(COMMANDS):
        raise RuntimeError(f"configure made only some of the changes: {done.changes}")
    await done.restore(reactor)
    return turn


async def idle(reactor: Any, seconds: float) -> float:
    """
    Let the reactor do the other work alone.

    @param seconds: the seconds of other work.

    @return: the longest time between two calls, in seconds.
    """
    work = Work(reactor)
    await deferLater(reactor, seconds)
    return await work.end()


def measured(program: str, work: Callable[[], None]) -> Turn:
    """
    Measure programs that configure the interface, then undo the configuration.

    @param work: runs the programs.
    """
    cpu, begin = cpuSeconds(), perf_counter()
    work()
    turn = 1, cpuSeconds() - cpu, perf_counter() - begin
    _flush(program)
    return turn


def _call(program: str, commands: Iterable[list[str]]) -> None:
    for command in commands:
        subprocess.run([program, *command], check=True)


def _batch(program: str, commands: Iterable[list[str]]) -> None:
    lines = "".join(f"{' '.join(command)}\n" for command in commands)
    subprocess.run([program, "-batch", "-"], input=lines, text=True, check=True)


def _flush(program: str) -> None:
    for version in "-4", "-6":
        for what in ["address", "flush", "scope", "global"], ["route", "flush", "proto", "boot"]:
            subprocess.run([program, version, *what, "dev", NAME], check=True)


async def gaps(reactor: Any) -> dict[str, float]:
    """
    Measure how long C{configure} keeps the reactor from other work, and a collection of garbage.

    @return: the seconds of each figure.
    """
    begin = perf_counter()
    gc.collect()
    collecting = perf_counter() - begin
    work = Work(reactor)
    _, _, elapsed = await configureOnce(reactor)
    return {"gap": await work.end(), "idle gap": await idle(reactor, elapsed), "collecting": collecting}


async def measure(reactor: Any, program: str, rounds: str) -> None:
    """
    Measure C{configure} and C{ip} in turns. A round has the longest gap of its turns, because no gap may be long.
    """
    found = []

    def by(work: Callable[[str, Iterable[list[str]]], None], count: int) -> Callable[[], Awaitable[Turn]]:
        async def measure() -> Turn:
            return measured(program, lambda: work(program, COMMANDS[:count]))

        return measure

    measures = {
        "configure": lambda: configureOnce(reactor),
        "ten calls": by(_call, len(COMMANDS) // 2),
        "twenty calls": by(_call, len(COMMANDS)),
        "batch": by(_batch, len(COMMANDS)),
    }
    with LinuxDevice(NAME, TUN), LinuxDevice(OTHER, TUN):
        for name in NAME, OTHER:
            subprocess.run([program, "link", "set", name, "up"], check=True)
        for others in 0, CROWD:
            _batch(program, (_other(number) for number in range(others)))
            turns = await inTurns(measures, int(rounds), TURNS)
            gc.disable()
            longest = []
            for _ in range(int(rounds)):
                several = [await gaps(reactor) for _ in range(TURNS)]
                longest.append({what: max(each[what] for each in several) for what in several[0]})
            found.append({"turns": turns, "gaps": longest})
    json.dump(found, sys.stdout)


def _other(number: int) -> list[str]:
    number, version = divmod(number, 2)
    network = f"fd03:{number:x}::/64" if version else f"10.{64 + number // 256}.{number % 256}.0/24"
    return ["route", "add", network, "dev", OTHER]


if __name__ == "__main__":
    for module in MODULES:
        importlib.import_module(f"pyroute2.netlink.rtnl.{module}")
    react(lambda *arguments: Deferred.fromCoroutine(measure(*arguments)), sys.argv[1:])
