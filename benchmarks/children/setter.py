"""
Many routes, addresses and taps, as users set them, for L{benchmarks.scale}, in the network namespace that this is
started in.

    python -m benchmarks.children.setter ROUNDS

The figures go to standard output, as JSON: a list of rounds, each with its figures by name.
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

#: Whether an interface that is made has no IPv6, in the network namespace that this is in.
_IPV6 = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")

#: How many routes and addresses an interface has, and how many taps a switch.
FEW, MANY = 400, 1600
FEW_TAPS, MANY_TAPS = 10, 100

NAME = "tun0"

#: Fields of the settings that are measured, and a template for the things in each, by their number.
THINGS = {"routes": "11.{}.{}.0/24", "addresses": "12.{}.{}.1/24"}

#: The turns of each in a round.
TURNS = 3

#: Seconds in which a process that has nothing to do takes less than a tenth of that.
_QUIET = 0.2


async def again(reactor: Any, settings: InterfaceSettings) -> None:
    """
    Configure what is there.
    """
    done = await configure(NAME, settings, reactor=reactor)
    if done.changes:
        raise RuntimeError(f"nothing was to be done: {done.changes[:3]}")


async def configured(reactor: Any, field: str, count: int) -> tuple[float, float]:
    """
    Configure an interface that is what it is to be already.

    @return: seconds of CPU time for each thing; and those of the longest turn of the reactor.
    """
    fields: dict[str, Any] = {field: [THINGS[field].format(*divmod(each, 256)) for each in range(count)]}
    settings = InterfaceSettings(**fields)
    with LinuxDevice(NAME, TUN):
        await configure(NAME, settings, reactor=reactor)
        begin = process_time()
        await again(reactor, settings)
        elapsed = process_time() - begin
        work = Work(reactor, thread_time)
        await again(reactor, settings)
        return elapsed / count, await work.end()


async def switched(reactor: Any, count: int) -> float:
    """
    Start a switch between taps, until the process has nothing to do.

    @return: seconds of CPU time for each tap.
    """
    # With IPv6, the kernel greets all from each tap that is up, and each greeting is flooded to all the others.
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
    An interface with few things, and with many.
    """
    found = {}
    for field in THINGS:
        for count in FEW, MANY:
            gc.collect()
            found[f"{count} {field}"], found[f"{count} {field} gap"] = await configured(reactor, field, count)
    return found


async def measure(reactor: Any, rounds: str) -> None:
    """
    Few and many in turns. Of a round's times the least is taken, of its gaps the greatest: none is to be long. A switch
    is started once in a round, since that takes long.
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
