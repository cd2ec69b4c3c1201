"""
The interfaces of L{benchmarks.configure}, in the network namespace that this is started in.

    python -m benchmarks.children.configurer IP ROUNDS

IP is the program. What was found goes to standard output, as JSON: of each round the seconds, by what took them; first
where there are no other routes, then among many.
"""

from __future__ import annotations

import gc
import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from txtuntap.device import TUN
from txtuntap.device.configure import configure
from txtuntap.device.linux import LinuxDevice
from txtuntap.device.settings import InterfaceSettings

#: The interface that is configured, and the one that other routes go by.
NAME, OTHER = "tun0", "tun1"

ADDRESSES = [text for number in range(5) for text in (f"10.1.{number}.1/24", f"fd01:{number}::1/64")]
ROUTES = [text for number in range(5) for text in (f"10.2.{number}.0/24", f"fd02:{number}::/64")]

#: What C{ip} is told for each of those. They take turns, so that the first half is half of both.
COMMANDS = [
    command
    for address, route in zip(ADDRESSES, ROUTES, strict=True)
    for command in (
        ["address", "add", address, "dev", NAME, *(["nodad"] if ":" in address else [])],
        ["route", "add", route, "dev", NAME],
    )
]

#: How many routes there are by way of the other interface, in the end.
CROWD = 10_000

#: Imported when something is asked, if not before. A service imports them before its reactor runs.
MODULES = ("marshal", "ifinfmsg", "ifaddrmsg", "rtmsg", "ndmsg")

#: The turns of each in a round.
TURNS = 3


class Work:
    """
    Other work that the reactor has: a little, again and again.

    @ivar longest: the most seconds from one turn of it to the next.
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
        Have a last turn, and no more.

        @return: C{longest}
        """
        last = self._last
        while self._last == last:
            await deferLater(self._reactor, 0)
        self._call.cancel()
        return self.longest


async def ours(reactor: Any) -> tuple[float, float]:
    """
    Configure the interface while the reactor has other work, and make it as it was.

    @return: seconds, and the longest in which there was nothing else.
    """
    work = Work(reactor)
    begin = perf_counter()
    done = await configure(NAME, InterfaceSettings(addresses=ADDRESSES, routes=ROUTES), reactor=reactor)
    elapsed = perf_counter() - begin
    gap = await work.end()
    if len(done.changes) != len(COMMANDS):
        raise RuntimeError(f"not everything was to be done: {done.changes}")
    await done.restore(reactor)
    return elapsed, gap


async def idle(reactor: Any, seconds: float) -> float:
    """
    The other work alone, for as long.

    @return: the longest gap.
    """
    work = Work(reactor)
    await deferLater(reactor, seconds)
    return await work.end()


def calls(program: str, commands: Iterable[list[str]]) -> float:
    """
    One process of C{ip} after the other; what they did is undone.

    @return: seconds, without the undoing.
    """
    begin = perf_counter()
    for command in commands:
        subprocess.run([program, *command], check=True)
    elapsed = perf_counter() - begin
    _flush(program)
    return elapsed


def batch(program: str, commands: Iterable[list[str]]) -> float:
    """
    As L{calls}, with one process for all.
    """
    begin = perf_counter()
    _batch(program, commands)
    elapsed = perf_counter() - begin
    _flush(program)
    return elapsed


def _batch(program: str, commands: Iterable[list[str]]) -> None:
    lines = "".join(f"{' '.join(command)}\n" for command in commands)
    subprocess.run([program, "-batch", "-"], input=lines, text=True, check=True)


def _flush(program: str) -> None:
    for version in "-4", "-6":
        for what in ["address", "flush", "scope", "global"], ["route", "flush", "proto", "boot"]:
            subprocess.run([program, version, *what, "dev", NAME], check=True)


async def turn(reactor: Any, program: str) -> dict[str, float]:
    """
    All of them once.
    """
    begin = perf_counter()
    gc.collect()
    collecting = perf_counter() - begin
    elapsed, gap = await ours(reactor)
    return {
        "configure": elapsed,
        "gap": gap,
        "idle gap": await idle(reactor, elapsed),
        "ten calls": calls(program, COMMANDS[: len(COMMANDS) // 2]),
        "twenty calls": calls(program, COMMANDS),
        "batch": batch(program, COMMANDS),
        "collecting": collecting,
    }


async def measure(reactor: Any, program: str, rounds: str) -> None:
    """
    Ours and C{ip} in turns. Of a round's times the least is taken, of its gaps the greatest: none is to be long.
    """
    gc.disable()
    found: list[list[dict[str, float]]] = []
    with LinuxDevice(NAME, TUN), LinuxDevice(OTHER, TUN):
        for name in NAME, OTHER:
            subprocess.run([program, "link", "set", name, "up"], check=True)
        for others in 0, CROWD:
            _batch(program, (_other(number) for number in range(others)))
            found.append([])
            for _ in range(int(rounds)):
                turns = [await turn(reactor, program) for _ in range(TURNS)]
                found[-1].append(
                    {what: (max if "gap" in what else min)(each[what] for each in turns) for what in turns[0]}
                )
    json.dump(found, sys.stdout)


def _other(number: int) -> list[str]:
    number, version = divmod(number, 2)
    network = f"fd03:{number:x}::/64" if version else f"10.{64 + number // 256}.{number % 256}.0/24"
    return ["route", "add", network, "dev", OTHER]


if __name__ == "__main__":
    for module in MODULES:
        importlib.import_module(f"pyroute2.netlink.rtnl.{module}")
    react(lambda *arguments: Deferred.fromCoroutine(measure(*arguments)), sys.argv[1:])
