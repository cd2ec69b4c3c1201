"""
The monitor reports each change that C{ip} makes to interfaces.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.selectreactor import SelectReactor
from twisted.python.failure import Failure

from tests.conversation import resultOf
from tests.real.lab.link import setDown, setUp
from tests.real.lab.namespace import PATIENCE, Namespace, ip, until
from tests.real.lab.reactors import Run, descriptors, onEachReactor
from tests.real.lab.watch import watchOf
from txtuntap import IPProtocol, TuntapPort
from txtuntap.device import TAP, TUN
from txtuntap.device import monitor as events
from txtuntap.device.configure import configureInterface
from txtuntap.device.linux import LinuxDevice
from txtuntap.device.linux.monitor import InterfaceWatch
from txtuntap.device.linux.netlink import askNow
from txtuntap.device.monitor import InterfaceEvent, InterfaceMonitor
from txtuntap.device.settings import InterfaceState
from txtuntap.device.state import readInterface, readInterfaces


class Watched:
    """
    A monitor, and the events that it has reported.
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
        Run C{ip}, and wait for the event that follows.
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


def test_eachChangeIsReported(namespace: Namespace) -> None:
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


def test_unusualAddressesAreReported(namespace: Namespace) -> None:
    ip("tuntap", "add", "mode", "tun", "name", "tt0")
    ip("address", "add", "224.1.1.1/32", "dev", "tt0", "autojoin")
    with watched() as watching:
        for words in ["224.1.1.2/32"], ["10.9.0.1", "peer", "0.0.0.0"], ["ff05::99/128", "autojoin"]:
            given = watching.after("address", "add", *words, "dev", "tt0", kind=events.ADDRESS_ADDED)
            assert given.address is not None
            assert given.address.address.partition("/")[0] == words[0].partition("/")[0]
        (state,) = (each for each in readInterfaces() if each.name == "tt0")
        assert {"224.1.1.1/32", "224.1.1.2/32", "10.9.0.1 peer 0.0.0.0/32"} <= set(map(str, state.addresses))
        assert watching.after("link", "set", "tt0", "mtu", "1400", kind=events.MTU).state.mtu == 1400


def test_addressesAreIdentifiedAsInTheKernel(namespace: Namespace) -> None:
    ip("tuntap", "add", "mode", "tun", "name", "tt0")
    ip("link", "set", "tt0", "up")
    with watched() as watching:

        def given() -> set[str]:
            (state,) = (each for each in watching.monitor.interfaces.values() if each.name == "tt0")
            return {str(each) for each in state.addresses if not each.interface.is_link_local}

        for one, other in (
            (["fd09::1", "peer", "fd09::2/128"], ["fd09::1", "peer", "fd09::3/128"]),
            (["10.9.0.1", "peer", "10.9.0.2/24"], ["10.9.0.1", "peer", "10.9.0.3/24"]),
            (["10.9.0.1/24"], ["10.9.0.1/24", "broadcast", "10.9.0.7"]),
        ):
            watching.after("address", "add", *one, "dev", "tt0", kind=events.ADDRESS_ADDED)
            ip("address", "change", *other, "dev", "tt0")
            # The kernel keeps the old peer of an IPv4 address. In any case, one address exists.
            there = {str(each) for each in readInterface("tt0").addresses if not each.interface.is_link_local}
            assert len(there) == 1
            until(lambda there=there: given() == there, "the change", watching.turn)  # type: ignore[misc]
            # Each address is removed once, by the record that the kernel has at that time.
            ip("address", "flush", "dev", "tt0", "scope", "global")
            until(lambda: not given(), "all to be gone", watching.turn)
        # These are two different addresses for the kernel.
        for address in "10.9.0.1/24", "10.9.0.1/32":
            watching.after("address", "add", address, "dev", "tt0", kind=events.ADDRESS_ADDED)
        assert given() == {"10.9.0.1/24", "10.9.0.1/32"}


def test_namesWithInvalidUTF8AreReported(namespace: Namespace) -> None:
    with watched() as watching, LinuxDevice(b"tt\xff", TAP):
        until(lambda: [event.name for event in watching.events][:1] == ["tt\udcff"], "its event", watching.turn)
        protocol = Follower()
        port = TuntapPort(b"tt\xfe", protocol, reactor=watching.reactor, monitor=watching.monitor)
        port.startListening()
        configureInterface("tt\udcfe", ["10.9.0.1/24"], mtu=1400)
        until(lambda: protocol.told == ["MTU 1400", "up"], "the MTU", watching.turn)
        ip("link", "set", "tt\udcfe", "down")
        ip("link", "set", "tt\udcfe", "name", "tt\udcfd")
        until(lambda: port.interface == b"tt\xfd", "the name", watching.turn)
        resultOf(port.stopListening(), watching.turn)


def test_afterAnInvalidMessageTheStateIsReadAndOneLineLogged(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def puzzle(message: object) -> None:
        raise KeyError("IFLA_SOMETHING")

    logged: list[Any] = []
    with watched() as watching:
        monkeypatch.setattr(InterfaceWatch, "_apply", lambda self, message: puzzle(message))
        monkeypatch.setattr(InterfaceWatch, "_log", SimpleNamespace(failure=logged.append))
        watching.after("tuntap", "add", "mode", "tun", "name", "tt0", kind=events.ADDED)
        watching.after("link", "set", "tt0", "mtu", "1400", kind=events.MTU)
        monkeypatch.undo()
        watching.after("link", "set", "tt0", "mtu", "1300", kind=events.MTU)
        assert len(logged) == 1


def test_anEndedSubscriptionReceivesNoEvents(namespace: Namespace) -> None:
    with watched() as watching:
        others: list[InterfaceEvent] = []
        watching.monitor.subscribe(others.append)
        watching.after("tuntap", "add", "mode", "tun", "name", "tt0", kind=events.ADDED)
        watching.unsubscribe()
        watching.monitor.subscribe(watching.events.append)
        watching.after("link", "set", "tt0", "up", kind=events.UP)
        assert len([event for event in watching.events if event.kind == events.UP]) == 1
        assert {event.kind for event in others} >= {events.ADDED, events.UP}


def test_aMonitorCanBeStoppedBeforeItHasReadTheState(namespace: Namespace) -> None:
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


def test_aNamespaceThatCannotBeEnteredIsAFailure(namespace: Namespace) -> None:
    reactor: Any = SelectReactor()
    monitor = InterfaceMonitor(reactor, "no-one-has-made-this")
    with pytest.raises(OSError, match="no-one-has-made-this"):
        resultOf(monitor.start(), lambda: None)
    monitor.stop()
    reactor.waker.connectionLost(None)


def test_aMonitorCanBeOpenedBeforeItStarts(namespace: Namespace) -> None:
    reactor: Any = SelectReactor()
    before = descriptors()
    for starts in True, False:
        monitor = InterfaceMonitor(reactor)
        monitor.open()
        opened = descriptors()
        if starts:
            resultOf(monitor.start(), lambda: reactor.iterate(0.005))
            assert descriptors() == opened
        monitor.stop()
        assert descriptors() == before
    reactor.waker.connectionLost(None)


def test_afterAnOverflowTheStateIsRead(namespace: Namespace) -> None:
    with watched() as watching:
        watchOf(watching.monitor)._socket.setsockopt(1, 33, 2304)  # SO_RCVBUFFORCE
        for number in range(20):
            ip("tuntap", "add", "mode", "tun", "name", f"tt{number}")
        ip("tuntap", "del", "mode", "tun", "name", "tt0")
        watching.after("link", "set", "tt19", "mtu", "1400", kind=events.ADDED, name="tt19")
        mtus = {**{f"tt{number}": 1500 for number in range(1, 19)}, "tt19": 1400}

        def known() -> dict[str, int]:
            return {state.name: state.mtu for state in watching.monitor.interfaces.values() if state.name != "lo"}

        until(lambda: known() == mtus, "the monitor to know all MTUs", watching.turn)
        assert "lo" in {state.name for state in watching.monitor.interfaces.values()}


def test_afterAnOverflowDuringTheReadTheStateIsReadAgain(namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Deferred[Any], Any]] = []

    def ask(reactor: Any, conversation: Any, by: Any) -> Deferred[Any]:
        # Ask the kernel now, but deliver the answer later.
        asked.append((Deferred(), askNow(conversation)))
        return asked[-1][0]

    with watched() as watching:
        monkeypatch.setattr("txtuntap.device.linux.monitor.ask", ask)
        watch = watchOf(watching.monitor)
        netlink = watch._socket

        class Full:
            fileno = netlink.fileno
            full = 1

            def recv(self, size: int) -> bytes:
                self.full -= 1
                if self.full >= 0:
                    raise OSError(errno.ENOBUFS, "full")
                return bytes(netlink.recv(size))

            def close(self) -> None:
                netlink.close()

        for _ in range(2):
            watch._socket = Full()
            watch.doRead()
        ip("tuntap", "add", "mode", "tun", "name", "tt0")
        watch.doRead()
        ((first, before),) = asked
        # This state is older than the last lost event.
        first.callback(before)
        second, after = asked[1]
        second.callback(after)
        watch.doRead()
        assert {state.name for state in watching.monitor.interfaces.values()} == {"lo", "tt0"}
        assert [event.kind for event in watching.events if event.name == "tt0"][:1] == [events.ADDED]
        assert events.REMOVED not in [event.kind for event in watching.events]
        assert len(asked) == 2


class Follower(IPProtocol):
    """
    A protocol that records the calls it receives.
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
        assert watching.monitor._table._subscribers == [watching.events.append]


class Told:
    """
    A monitor on a running reactor, and the events that it has reported.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self.events: list[InterfaceEvent] = []
        self.monitor = InterfaceMonitor(run.reactor)
        self.monitor.subscribe(self.events.append)

    async def after(self, *command: str, kind: str, address: str | None = None) -> InterfaceEvent:
        """
        Run C{ip}, and wait for the event that follows. (The kernel may add addresses of its own at any time.)
        """
        del self.events[:]
        ip(*command)
        return await self.event(kind, address)

    async def event(self, kind: str, address: str | None = None) -> InterfaceEvent:
        """
        Wait for an event of a kind about C{tt0}, since the last command.
        """
        found: list[InterfaceEvent] = []

        def come() -> bool:
            found[:] = [
                event
                for event in self.events
                if (event.name, event.kind) == ("tt0", kind) and address in (None, str(event.address))
            ]
            return bool(found)

        await self._run.until(come, f"{kind} {address or ''}")
        assert len(found) == 1, found
        return found[0]

    async def agrees(self) -> None:
        """
        Wait until the state that the monitor knows is the real one.
        """
        await self._run.until(lambda: known(self.monitor.interfaces.values()) == known(readInterfaces()), "the state")


def known(states: Iterable[InterfaceState]) -> dict[str, InterfaceState]:
    """
    Map the names of interfaces to their states, without values that change all the time and the order of addresses.
    """
    return {
        state.name: attrs.evolve(state, statistics={}, addresses=tuple(sorted(state.addresses, key=str)))
        for state in states
    }


@onEachReactor
async def test_eachChangeIsReportedOnARunningReactor(run: Run) -> None:
    before = descriptors(), len(run.reactor.getReaders())
    for mode in TUN, TAP:
        told = Told(run)
        with LinuxDevice("tt0", mode):
            await told.monitor.start()
            await told.agrees()
            assert told.events == []
            up = await told.after("link", "set", "tt0", "up", kind=events.UP)
            assert up.before is not None
            assert (up.before.up, up.state.up) == (False, True)
            assert (await told.after("link", "set", "tt0", "mtu", "1400", kind=events.MTU)).state.mtu == 1400
            for address in "10.9.0.1/24", "fd09::1/64":
                change = address, "dev", "tt0"
                given = await told.after("address", "add", *change, kind=events.ADDRESS_ADDED, address=address)
                assert given.address in given.state.addresses
                taken = await told.after("address", "del", *change, kind=events.ADDRESS_REMOVED, address=address)
                assert taken.address not in taken.state.addresses
                await told.after("address", "add", *change, kind=events.ADDRESS_ADDED, address=address)
            await told.agrees()
            # When the link goes down, the kernel removes its IPv6 addresses, and only those.
            down = await told.after("link", "set", "tt0", "down", kind=events.DOWN)
            assert not down.state.up
            await told.event(events.ADDRESS_REMOVED, "fd09::1/64")
            await told.agrees()
            assert "10.9.0.1/24" not in [str(event.address) for event in told.events]
        await told.event(events.REMOVED)
        told.monitor.stop()
        assert (descriptors(), len(run.reactor.getReaders())) == before


@onEachReactor
async def test_aStoppedMonitorReportsNothingAndCanStartAgain(run: Run) -> None:
    told = Told(run)
    with LinuxDevice("tt0", TUN):
        for _ in range(2):
            await told.monitor.start()
            await told.after("link", "set", "tt0", "up", kind=events.UP)
            told.monitor.stop()
            del told.events[:]
            setDown("tt0")
            await run.turns()
            assert told.events == []


@onEachReactor
async def test_afterAnOverflowTheKnownStateIsTheRealOne(run: Run) -> None:
    told = Told(run)
    with LinuxDevice("tt0", TUN):
        setUp("tt0")
        await told.monitor.start()
        watchOf(told.monitor)._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
        for number in range(5):
            done = configureInterface("tt0", [f"10.{number}.{each}.1/24" for each in range(50)])
            await run.turns()
            done.restoreNow()
            configureInterface("tt0", [f"10.9.{number}.1/24"], mtu=1400 + number)
            await run.turns()
        await told.agrees()
        assert {event.state.mtu for event in told.events if event.kind == events.MTU} >= {1404}
        (state,) = (state for state in told.monitor.interfaces.values() if state.name == "tt0")
        assert {str(each) for each in state.addresses} >= {f"10.9.{number}.1/24" for number in range(5)}
    told.monitor.stop()
