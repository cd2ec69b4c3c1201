"""
Interfaces with very many routes, addresses and neighbours. The work grows in proportion to their number, and each turn
of the reactor has a bound. The work is measured in calls of Python functions, which are the same on every machine.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import attrs
import pytest
from pyroute2.netlink.rtnl.marshal import MarshalRtnl
from twisted.internet.defer import Deferred
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import deferLater

from tests.conversation import resultOf
from tests.real.lab.namespace import Namespace, ip, tool
from tests.real.lab.watch import watchOf
from txtuntap.device import TAP
from txtuntap.device.configure import Configured, configure
from txtuntap.device.linux import LinuxDevice, linkmessages
from txtuntap.device.monitor import ADDRESS_ADDED, ADDRESS_REMOVED, InterfaceEvent, InterfaceMonitor
from txtuntap.device.pieces import ITEMS_PER_TURN
from txtuntap.device.settings import InterfaceSettings
from txtuntap.device.state import read, readInterface

#: The numbers of routes, addresses or neighbours. Four times as many need four times the work. The smaller number does
#: not fit into one message of the kernel.
FEW, MANY = 300, 1200

#: The greatest number of messages in a turn: the last ones of one read, and the first ones of the next.
MOST = 2 * ITEMS_PER_TURN

ROUTES = [f"11.{number >> 8}.{number & 255}.0/24" for number in range(MANY)]
ADDRESSES = [f"fd09:{number:x}::1/64" for number in range(MANY)]
NEIGHBOURS = [f"10.9.{number >> 8}.{number & 255}" for number in range(1, MANY + 1)]

#: The link address of all neighbours.
STATION = "02:00:00:00:00:02"

Parts = Callable[[int], dict[str, Any]]


@attrs.frozen
class Work:
    """
    The work of a reactor.

    @ivar calls: the number of calls of Python functions, in each turn.
    @ivar messages: the number of netlink messages parsed, in each turn.
    """

    calls: list[int]
    messages: list[int]


def worked(begin: Callable[[Any], Deferred[Any]]) -> tuple[Any, Work]:
    """
    Run a reactor until a Deferred fires, and measure the work.

    @param begin: a function that takes the reactor and returns the Deferred.

    @return: the result of the Deferred, and the work.
    """
    reactor: Any = SelectReactor()
    work = Work([], [])
    # These parse the messages about links and addresses, and all other messages.
    parsers = linkmessages._decode.__code__, MarshalRtnl.parse_one_message.__code__

    def called(frame: FrameType, event: str, _: object) -> None:
        if event in ("call", "c_call"):
            work.calls[-1] += 1
        if event == "call" and frame.f_code in parsers:
            work.messages[-1] += 1

    def turn(do: Callable[[], Any]) -> Any:
        work.calls.append(0)
        work.messages.append(0)
        sys.setprofile(called)
        try:
            return do()
        finally:
            sys.setprofile(None)

    try:
        done: Deferred[Any] = turn(lambda: begin(reactor))
        return resultOf(done, lambda: turn(lambda: reactor.iterate(0.005))), work
    finally:
        reactor.waker.connectionLost(None)


def checkProportion(few: Work, many: Work) -> None:
    """
    Check that four times as many need four times the work, plus a tenth at most, and that each turn is within L{MOST}.
    """
    assert max(many.messages) <= MOST
    assert sum(many.calls) < 4.4 * sum(few.calls)
    assert max(many.calls) <= MOST * sum(many.calls) / MANY


def make(parts: dict[str, Any]) -> None:
    """
    Let C{ip} make the settings that L{configure} would make.
    """
    lines = [f"address add {each} dev tt0 nodad" for each in parts.get("addresses", ())]
    lines += [f"route add {each} dev tt0 proto static" for each in parts.get("routes", ())]
    lines += [f"neighbour add {each} lladdr {STATION} dev tt0" for each in parts.get("neighbours", ())]
    text = "".join(f"{line}\n" for line in lines)
    subprocess.run([tool("ip"), "-batch", "-"], input=text, text=True, check=True)


def routes(count: int) -> dict[str, Any]:
    return {"routes": ROUTES[:count]}


def addresses(count: int) -> dict[str, Any]:
    return {"addresses": ADDRESSES[:count]}


def neighbours(count: int) -> dict[str, Any]:
    return {"neighbours": dict.fromkeys(NEIGHBOURS[:count], STATION)}


def alike(count: int) -> dict[str, Any]:
    """
    Make routes to one network, which differ only in their metrics.
    """
    return {"routes": [f"11.0.0.0/24 metric {number}" for number in range(1, count + 1)]}


def configuredAgain(parts: Parts, count: int) -> Work:
    """
    Measure the work of finding that all settings are right already.
    """
    with LinuxDevice("tt0", TAP):
        ip("link", "set", "tt0", "up")
        make(parts(count))
        settings = InterfaceSettings(**parts(count))
        configured, work = worked(lambda reactor: configure("tt0", settings, reactor=reactor))
        assert configured.changes == []
    return work


@pytest.mark.parametrize("parts", [routes, addresses, neighbours, alike])
def test_configuringAgainIsProportional(namespace: Namespace, parts: Parts) -> None:
    checkProportion(configuredAgain(parts, FEW), configuredAgain(parts, MANY))


def configuredWithTheirNetworks(count: int) -> Work:
    """
    Measure the work for routes that the kernel has already made together with the addresses.
    """
    with LinuxDevice("tt0", TAP):
        own = [each.replace(".0/", ".1/") for each in ROUTES[:count]]
        settings = InterfaceSettings(addresses=own, routes=ROUTES[:count])
        configured, work = worked(lambda reactor: configure("tt0", settings, reactor=reactor))
        assert len(configured.changes) == count + 1
    return work


def test_routesOfAddressesAreProportional(namespace: Namespace) -> None:
    few, many = configuredWithTheirNetworks(FEW), configuredWithTheirNetworks(MANY)
    checkProportion(few, many)


def setDown(count: int) -> tuple[Work, Work]:
    """
    Measure the work of setting an interface down, and of undoing that.
    """
    with LinuxDevice("tt0", TAP):
        ip("link", "set", "tt0", "up")
        make({**routes(count), **addresses(count), **neighbours(count)})
        settings = InterfaceSettings(up=False)
        configured, work = worked(lambda reactor: configure("tt0", settings, reactor=reactor))
        assert isinstance(configured, Configured)
        _, undone = worked(configured.restore)
        assert len([each for each in readInterface("tt0").addresses if ":" in str(each)]) >= count
        found = ip("-4", "route", "show", "dev", "tt0").splitlines()
        assert len(found) == count
    return work, undone


def test_settingDownAndUndoingAreProportional(namespace: Namespace) -> None:
    for few, many in zip(setDown(FEW), setDown(MANY), strict=True):
        checkProportion(few, many)


def readAnew(count: int) -> Work:
    """
    Measure the work of a monitor that has lost an event: it reads the state again, and reports the differences.
    """
    with LinuxDevice("tt0", TAP):
        ip("link", "set", "tt0", "up")
        make(addresses(count))
        # The kernel reports a new link again within a second. A report during the reading makes the monitor read more.
        time.sleep(1.2)
        events: list[InterfaceEvent] = []

        def began(reactor: Any) -> Deferred[None]:
            monitor = InterfaceMonitor(reactor)
            monitor.subscribe(events.append)

            def again(_: object) -> Deferred[None]:
                ip("address", "del", ADDRESSES[1], "dev", "tt0")
                return watchOf(monitor)._readAll()

            def stop(result: Any) -> Any:
                monitor.stop()
                return result

            return monitor.start().addCallback(again).addBoth(stop)

        _, work = worked(began)
        assert [(event.kind, str(event.address)) for event in events] == [(ADDRESS_REMOVED, ADDRESSES[1])]
    return work


def test_readingTheStateAgainIsProportional(namespace: Namespace) -> None:
    checkProportion(readAnew(FEW), readAnew(MANY))


def heard(count: int) -> Work:
    """
    Measure the work of a monitor that receives one address after another.
    """
    with LinuxDevice("tt0", TAP):
        ip("link", "set", "tt0", "up")
        added: list[str] = []

        def happened(event: InterfaceEvent) -> None:
            if event.kind == ADDRESS_ADDED and str(event.address).startswith("fd09:"):
                added.append(str(event.address))

        async def hear(reactor: Any) -> None:
            monitor = InterfaceMonitor(reactor)
            monitor.subscribe(happened)
            await monitor.start()
            try:
                for at in range(0, count, ITEMS_PER_TURN):
                    some = ADDRESSES[at : at + ITEMS_PER_TURN]
                    make({"addresses": some})
                    while len(added) < at + len(some):
                        await deferLater(reactor, 0)
            finally:
                monitor.stop()

        _, work = worked(lambda reactor: Deferred.fromCoroutine(hear(reactor)))
        assert len(set(added)) == len(added) == count
    return work


def test_receivingEventsIsProportional(namespace: Namespace) -> None:
    assert sum(heard(MANY).calls) < 4.4 * sum(heard(FEW).calls)


def readBack(count: int) -> Work:
    with LinuxDevice("tt0", TAP):
        ip("link", "set", "tt0", "up")
        make(addresses(count))
        state, work = worked(lambda reactor: read("tt0", reactor))
        assert len(state.addresses) >= count
    return work


def test_readingAnInterfaceIsProportional(namespace: Namespace) -> None:
    checkProportion(readBack(FEW), readBack(MANY))
