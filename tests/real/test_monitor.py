"""
What C{ip} does to interfaces is told as it happens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.internet.selectreactor import SelectReactor
from twisted.python.failure import Failure

from tests.conversation import resultOf
from tests.real.namespace import PATIENCE, Namespace, ip
from txtuntap import IPProtocol, TuntapPort
from txtuntap.device import monitor as events
from txtuntap.device.monitor import InterfaceEvent, InterfaceMonitor


class Watched:
    """
    A monitor, and what it has told.
    """

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.events: list[InterfaceEvent] = []
        self.monitor = InterfaceMonitor(reactor)
        self.unsubscribe = self.monitor.subscribe(self.events.append)
        resultOf(self.monitor.start(), self.turn)

    def turn(self) -> None:
        self.reactor.iterate(0.005)

    def after(self, *command: str, kind: str, name: str = "tt0") -> InterfaceEvent:
        """
        Run C{ip}, and wait for what it is to lead to.
        """
        del self.events[:]
        ip(*command)
        begin = self.reactor.seconds()
        while True:
            for event in self.events:
                if (event.kind, event.name) == (kind, name):
                    return event
            assert self.reactor.seconds() - begin < PATIENCE, f"no {kind!r} after {command}: {self.events}"
            self.turn()


@contextmanager
def watched() -> Iterator[Watched]:
    reactor: Any = SelectReactor()
    watching = Watched(reactor)
    try:
        yield watching
    finally:
        watching.monitor.stop()
        assert not reactor.getReaders() or reactor.getReaders() == [reactor.waker]
        reactor.waker.connectionLost(None)


def test_everythingThatHappens(namespace: Namespace) -> None:
    with watched() as watching:
        assert watching.events == []
        after = watching.after
        added = after("tuntap", "add", "mode", "tap", "name", "tt0", kind=events.ADDED)
        assert (added.state.kind, added.state.up, added.before) == ("tap", False, None)
        assert after("link", "set", "tt0", "up", kind=events.UP).state.up
        assert after("link", "set", "tt0", "mtu", "1400", kind=events.MTU).state.mtu == 1400
        moved = after("link", "set", "tt0", "address", "02:00:00:00:00:09", kind=events.LINK_ADDRESS)
        assert moved.state.linkAddress == b"\x02\0\0\0\0\x09"
        for address in "10.9.0.1/24", "fd09::1/64":
            given = after("address", "add", address, "dev", "tt0", kind=events.ADDRESS_ADDED)
            assert given.address is not None
            assert (str(given.address), given.address in given.state.addresses) == (address, True)
            taken = after("address", "del", address, "dev", "tt0", kind=events.ADDRESS_REMOVED)
            assert (taken.address, given.address in taken.state.addresses) == (given.address, False)
        assert after("link", "set", "tt0", "down", kind=events.DOWN).before is not None
        renamed = after("link", "set", "tt0", "name", "tt7", kind=events.RENAMED, name="tt7")
        assert renamed.before is not None
        assert renamed.before.name == "tt0"
        after("link", "delete", "tt7", kind=events.REMOVED, name="tt7")
        assert {state.name for state in watching.monitor.interfaces.values()} == {"lo"}


def test_subscriptionsEnd(namespace: Namespace) -> None:
    with watched() as watching:
        others: list[InterfaceEvent] = []
        watching.monitor.subscribe(others.append)
        watching.after("tuntap", "add", "mode", "tun", "name", "tt0", kind=events.ADDED)
        watching.unsubscribe()
        watching.monitor.subscribe(watching.events.append)
        watching.after("link", "set", "tt0", "up", kind=events.UP)
        assert len([event for event in watching.events if event.kind == events.UP]) == 1
        assert {event.kind for event in others} >= {events.ADDED, events.UP}


def test_stoppedBeforeItKnows(namespace: Namespace) -> None:
    reactor: Any = SelectReactor()
    monitor = InterfaceMonitor(reactor)
    started = monitor.start()
    monitor.stop()
    for reader in reactor.removeAll():
        if reader is not reactor.waker:
            reader.connectionLost(Failure(ConnectionLost()))
    assert resultOf(started, lambda: None) is None
    assert monitor.interfaces == {}
    reactor.waker.connectionLost(None)


def test_whatTheKernelCouldNotKeepIsReadAnew(namespace: Namespace) -> None:
    with watched() as watching:
        watching.monitor._netlink.setsockopt(1, 33, 2304)  # SO_RCVBUFFORCE
        for number in range(20):
            ip("tuntap", "add", "mode", "tun", "name", f"tt{number}")
        ip("tuntap", "del", "mode", "tun", "name", "tt0")
        watching.after("link", "set", "tt19", "mtu", "1400", kind=events.ADDED, name="tt19")
        for _ in range(20):
            watching.turn()
        names = {state.name for state in watching.monitor.interfaces.values()}
        assert names == {"lo", *(f"tt{number}" for number in range(1, 20))}
        (last,) = (state for state in watching.monitor.interfaces.values() if state.name == "tt19")
        assert last.mtu == 1400


class Follower(IPProtocol):
    """
    Keeps what it is told.
    """

    def __init__(self) -> None:
        super().__init__(["10.9.0.2/24"])
        self.told: list[str] = []

    def mtuChanged(self) -> None:
        super().mtuChanged()
        self.told.append(f"MTU {self.mtu}")

    def linkUp(self) -> None:
        super().linkUp()
        self.told.append("up")


def test_aPortFollowsItsInterface(namespace: Namespace) -> None:
    with watched() as watching:
        protocol = Follower()
        port = TuntapPort("tt0", protocol, reactor=watching.reactor, monitor=watching.monitor)
        port.startListening()
        ip("tuntap", "add", "mode", "tun", "name", "tt5")
        watching.after("link", "set", "tt5", "mtu", "1300", kind=events.MTU, name="tt5")
        watching.after("link", "set", "tt0", "mtu", "1400", kind=events.MTU)
        watching.after("link", "set", "tt0", "up", kind=events.UP)
        assert (protocol.told, port.mtu) == (["MTU 1400", "up"], 1400)
        watching.after("link", "set", "tt0", "down", kind=events.DOWN)
        watching.after("link", "set", "tt0", "name", "tt1", kind=events.RENAMED, name="tt1")
        assert (port.interface, port.getHost().name) == (b"tt1", b"tt1")
        watching.after("link", "set", "tt1", "mtu", "1500", kind=events.MTU, name="tt1")
        assert protocol.told[-1] == "MTU 1500"
        resultOf(port.stopListening(), watching.turn)
        assert watching.monitor._subscribers == [watching.events.append]
