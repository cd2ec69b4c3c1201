"""
The process of L{benchmarks.scale} that configures many routes, addresses and taps, in a network namespace of its own.

    python -m benchmarks.children.setter ROUNDS

The process prints a JSON list of rounds. A round maps the name of each figure to its seconds.
"""

from __future__ import annotations

import gc
import importlib
import json
import sys
from pathlib import Path
from time import process_time, thread_time
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import deferLater, react

from benchmarks.children.configurer import MODULES, Work
from txtuntap.device import TUN
from txtuntap.device.configure import configure
from txtuntap.device.linux import LinuxDevice
from txtuntap.device.settings import InterfaceSettings
from txtuntap.service import SwitchService, SwitchServiceSettings, SwitchTap

#: The setting that turns IPv6 off (1) or on (0) for new interfaces of this network namespace.
_IPV6 = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")

#: The smaller and the greater number of routes or addresses of an interface.
FEW, MANY = 400, 1600

#: The smaller and the greater number of taps of a switch.
FEW_TAPS, MANY_TAPS = 10, 100

NAME = "tun0"

#: The measured fields of the settings, and for each a template that makes a route or address of its number.
THINGS = {"routes": "11.{}.{}.0/24", "addresses": "12.{}.{}.1/24"}

#: The number of turns in a round.
TURNS = 3

#: The seconds between two readings of the CPU time. The process is idle if it has used less than a tenth of them.
_QUIET = 0.2


async def configureAgain(reactor: Any, settings: InterfaceSettings) -> None:
    """
    Configure the interface with the settings that it has already.

    @raise RuntimeError: C{configure} has changed something.
    """
    done = await configure(NAME, settings, reactor=reactor)
    if done.changes:
        raise RuntimeError(f"configure has changed settings that were right: {done.changes[:3]}")


async def configured(reactor: Any, field: str, count: int) -> tuple[float, float]:
    """
    Configure an interface once more with the settings that it has already.

    @param field: the field of the settings, C{routes} or C{addresses}.
    @param count: the number of routes or addresses.

    @return: the seconds of CPU time for each route or address, and those of the longest turn of the reactor.
    """
    fields: dict[str, Any] = {field: [THINGS[field].format(*divmod(each, 256)) for each in range(count)]}
    settings = InterfaceSettings(**fields)
    with LinuxDevice(NAME, TUN):
        await configure(NAME, settings, reactor=reactor)
        begin = process_time()
        await configureAgain(reactor, settings)
        elapsed = process_time() - begin
        work = Work(reactor, thread_time)
        await configureAgain(reactor, settings)
        return elapsed / count, await work.end()


async def switched(reactor: Any, count: int) -> float:
    """
    Start a switch between taps, and wait until the process is idle.

    @return: the seconds of CPU time for each tap.
    """
    # With IPv6, the kernel would send multicasts from each new tap, and the switch would flood them to all others.
    _IPV6.write_text("1")
    taps = [SwitchTap.of(f"tap{each},up") for each in range(count)]
    service = SwitchService(SwitchServiceSettings(taps=taps, control=False), reactor)
    begin = process_time()
    service.privilegedStartService()  # type: ignore[no-untyped-call]
    service.startService()
    now = process_time()
    while True:
        before = now
        await deferLater(reactor, _QUIET)
        now = process_time()
        if now - before < _QUIET / 10:
            break
    await maybeDeferred(service.stopService)
    _IPV6.write_text("0")
    return (now - begin) / count


async def turn(reactor: Any) -> dict[str, float]:
    """
    Measure an interface with few routes or addresses, and with many.

    @return: the seconds of each figure.
    """
    found = {}
    for field in THINGS:
        for count in FEW, MANY:
            gc.collect()
            found[f"{count} {field}"], found[f"{count} {field} gap"] = await configured(reactor, field, count)
    return found


async def measure(reactor: Any, rounds: str) -> None:
    """
    Measure few and many in turns, and print the results. A round has the shortest time and the longest gap of its
    turns, because no gap may be long. A switch starts only once in a round, because the start takes long.
    """
    gc.disable()
    found = []
    for _ in range(int(rounds)):
        turns = [await turn(reactor) for _ in range(TURNS)]
        found.append({what: (max if "gap" in what else min)(each[what] for each in turns) for what in turns[0]})
        for count in FEW_TAPS, MANY_TAPS:
            gc.collect()
            found[-1][f"{count} taps"] = await switched(reactor, count)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    for module in MODULES:
        importlib.import_module(f"pyroute2.netlink.rtnl.{module}")
    react(lambda *arguments: Deferred.fromCoroutine(measure(*arguments)), sys.argv[1:])
