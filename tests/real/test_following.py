"""
A port, its layers and its service always agree with the kernel about their interface, in any order of the changes to
it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import Deferred, fail
from twisted.internet.selectreactor import SelectReactor
from twisted.logger import ILogObserver, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from tests.conversation import resultOf
from tests.long import lengths
from tests.real.lab.namespace import Namespace, another, until
from tests.real.lab.watch import watchOf
from txtuntap import IPProtocol, TuntapPort
from txtuntap.device import TAP, TUN
from txtuntap.device.configure import configureInterface, moveInterface
from txtuntap.device.linux import LinuxDevice
from txtuntap.device.linux.linkmessages import decode
from txtuntap.device.linux.monitor import InterfaceWatch
from txtuntap.device.linux.namespace import inNamespace
from txtuntap.device.monitor import InterfaceMonitor, SharedMonitor
from txtuntap.device.settings import InterfaceSettings
from txtuntap.ethernet import EthernetProtocol
from txtuntap.service import InterfaceService, InterfaceServiceSettings

#: Numbers of C{bits/ioctls.h}
_SIOCSIFFLAGS, _SIOCSIFMTU, _SIOCSIFNAME, _SIOCSIFHWADDR = 0x8914, 0x8922, 0x8923, 0x8924

NAMES = ("tt0", "tt1", "tt2")


class Layer(IPProtocol):
    """
    A layer that records the calls it receives.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mtus: list[int] = []
        self.ups = 0

    def mtuChanged(self) -> None:
        super().mtuChanged()
        self.mtus.append(self.mtu)

    def linkUp(self) -> None:
        super().linkUp()
        self.ups += 1


class Place:
    """
    A network namespace, with calls that change its interfaces without the help of the monitor.
    """

    def __init__(self, namespace: int | None) -> None:
        self.namespace = namespace
        self._query = inNamespace(namespace, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    def close(self) -> None:
        self._query.close()

    def call(self, request: int, name: str, packed: bytes) -> bytes:
        """
        Make a call of C{netdevice(7)}.
        """
        return fcntl.ioctl(self._query, request, struct.pack("16s24s", name.encode(), packed))[16:]

    def mtu(self, name: str) -> int:
        return int(struct.unpack_from("i", self.call(0x8921, name, b""))[0])

    def isUp(self, name: str) -> bool:
        return bool(struct.unpack_from("h", self.call(0x8913, name, b""))[0] & 1)

    def setUp(self, name: str, up: bool) -> None:
        (flags,) = struct.unpack_from("h", self.call(0x8913, name, b""))
        self.call(_SIOCSIFFLAGS, name, struct.pack("h", flags & ~1 | up))

    def linkAddress(self, name: str) -> bytes:
        return self.call(0x8927, name, b"")[2:8]


class Interface(RuleBasedStateMachine):
    """
    A service on a device in one of two network namespaces, and all changes that can happen while the service's reactor
    has no turn, or a few.
    """

    #: The descriptors of both namespaces during the test.
    namespaces: ClassVar[tuple[int | None, int]]

    @initialize(mode=st.sampled_from([TUN, TAP]), before=st.booleans(), elsewhere=st.booleans(), starts=st.booleans())
    def make(self, mode: int, before: bool, elsewhere: bool, starts: bool) -> None:
        self.reactor: Any = SelectReactor()
        self.places = [Place(each) for each in self.namespaces]
        self.at = int(elsewhere)
        self.mode = mode
        self.strangers: list[tuple[LinuxDevice, int]] = []
        self.watching = False
        self.others: list[SharedMonitor] = []
        if before:
            # Other parts of this process have monitors in both namespaces already.
            for namespace in self.namespaces:
                other = SharedMonitor(self.reactor, namespace)
                other.start()
                self.others.append(other)
        self.device = LinuxDevice("tt0", mode, namespace=self.namespaces[self.at])
        self.layer = Layer()
        top: Any = self.layer
        if mode == TAP:
            top = EthernetProtocol()
            top.addProto(0x0800, self.layer)
        settings = InterfaceServiceSettings(device=self.device, control=False)
        self.service = InterfaceService(settings, top, self.reactor)
        self.service.privilegedStartService()
        self.wasUp, self.ups = self.isUp, 0
        if starts:
            self.start()

    @property
    def name(self) -> str:
        # Ask the kernel by the descriptor (TUNGETIFF), so that the answer does not depend on a monitor.
        packed = fcntl.ioctl(self.device.fileno(), 0x800454D2, bytes(40))
        return packed[:16].rstrip(b"\0").decode()

    @property
    def place(self) -> Place:
        return self.places[self.at]

    @property
    def isUp(self) -> bool:
        return self.place.isUp(self.name)

    @precondition(lambda self: not self.watching)
    @rule()
    def start(self) -> None:
        self.service.startService()
        self.watching = True

    @rule(name=st.sampled_from(NAMES))
    def rename(self, name: str) -> None:
        # Some kernels do not rename an interface that is up, and the name may be in use.
        with suppress(OSError):
            self.place.call(_SIOCSIFNAME, self.name, name.encode())

    @rule(mtu=st.sampled_from([68, 1280, 1500, 9000, 65521]))
    def changeMTU(self, mtu: int) -> None:
        self.place.call(_SIOCSIFMTU, self.name, struct.pack("i", mtu))

    @rule(up=st.booleans())
    def setUp(self, up: bool) -> None:
        self.place.setUp(self.name, up)

    @precondition(lambda self: self.mode == TAP)
    @rule(last=st.integers(1, 3))
    def changeLinkAddress(self, last: int) -> None:
        self.place.call(_SIOCSIFHWADDR, self.name, struct.pack("H6B", 1, 2, 0, 0, 0, 0, last))

    @rule()
    def move(self) -> None:
        try:
            moveInterface(self.name, self._path(1 - self.at), self.namespaces[self.at])
        except FileExistsError:
            # An interface of the same name is in the other namespace.
            return
        self.at = 1 - self.at

    @rule(name=st.sampled_from(NAMES), at=st.integers(0, 1), mode=st.sampled_from([TUN, TAP]))
    def stranger(self, name: str, at: int, mode: int) -> None:
        device = LinuxDevice(name, mode, exclusive=True, namespace=self.namespaces[at])
        with suppress(OSError):
            device.open()
            self.places[at].call(_SIOCSIFMTU, name, struct.pack("i", 777))
            self.strangers.append((device, at))

    @precondition(lambda self: self.strangers)
    @rule(renamed=st.booleans(), name=st.sampled_from(NAMES))
    def strangerChanges(self, renamed: bool, name: str) -> None:
        device, at = self.strangers.pop()
        if renamed:
            with suppress(OSError):
                self.places[at].call(_SIOCSIFNAME, device.name, name.encode())
                device.name = name
            self.strangers.append((device, at))
        else:
            device.close()

    @rule()
    def overflow(self) -> None:
        for shared in SharedMonitor._all.values():
            watchOf(shared.monitor)._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
        before = self.isUp
        for up in (not before, before) * 4:
            self.place.setUp(self.name, up)

    @rule(turns=st.integers(1, 3))
    def turn(self, turns: int) -> None:
        for _ in range(turns):
            self.reactor.iterate(0)

    @rule()
    def settle(self) -> None:
        if not self.watching:
            return
        known = self._actual()
        until(
            lambda: self._allIsHeard() and self._known() == known,
            f"{known} to be known",
            lambda: self.reactor.iterate(0.005),
        )
        assert not self.layer.mtus or self.layer.mtus[-1] == self.layer.mtu
        if self.isUp and not self.wasUp:
            assert self.layer.ups > self.ups
        self.wasUp, self.ups = self.isUp, self.layer.ups

    @invariant()
    def goesOn(self) -> None:
        if hasattr(self, "service"):
            assert self.service.port.connected

    def _allIsHeard(self) -> bool:
        # The monitors may still report former states, so wait until they have read all.
        watches = [
            watchOf(each.monitor) for (reactor, _), each in SharedMonitor._all.items() if reactor is self.reactor
        ]
        return not any(each._reading for each in watches) and not select.select(watches, [], [], 0)[0]

    def _actual(self) -> tuple[object, ...]:
        name = self.name
        link = self.place.linkAddress(name) if self.mode == TAP else None
        mtu = self.place.mtu(name)
        return name, name.encode(), name.encode(), mtu, mtu, mtu, link, self.isUp

    def _known(self) -> tuple[object, ...]:
        port = self.service.port
        following = port._following
        assert following is not None
        interface = port.interface
        return (
            *(self.service.interface(), interface, port.getHost().name),
            *(self.device.mtu, port.mtu, self.layer.mtu, port.linkAddress, following._isUp),
        )

    def _path(self, at: int) -> Any:
        namespace = self.namespaces[at]
        return "/proc/thread-self/ns/net" if namespace is None else namespace

    def teardown(self) -> None:
        if not hasattr(self, "service"):
            return
        try:
            self.settle()
        finally:
            for other in self.others:
                other.stop()
            if not self.watching:
                self.service.startService()
            self.service.stopService()
            until(lambda: not self.service.port.connected, "the end", lambda: self.reactor.iterate(0.005))
            for device, _ in self.strangers:
                device.close()
            for place in self.places:
                place.close()
            # A cancelled conversation keeps its reader until the answer has come.
            mine = [self.reactor.waker]
            until(
                lambda: self.reactor.getReaders() == mine,
                "the readers to be removed",
                lambda: self.reactor.iterate(0.005),
            )
            self.reactor.waker.connectionLost(None)
        assert not any(reactor is self.reactor for reactor, _ in SharedMonitor._all)


@lengths("examples", 40, 1000, "following")
def test_aPortAndItsLayersAgreeWithTheKernel(namespace: Namespace, examples: int) -> None:
    with another() as there:
        Interface.namespaces = None, there
        run_state_machine_as_test(
            Interface,
            settings=settings(
                max_examples=examples,
                # Hypothesis would shrink a failing example for hours, since each try waits PATIENCE seconds.
                phases=[Phase.explicit, Phase.generate],
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )


def test_anInterfaceMayMoveAgainBeforeItsArrivalIsReported(namespace: Namespace) -> None:
    with another() as there:
        Interface.namespaces = None, there
        state = Interface()
        state.make(mode=TAP, before=True, elsewhere=True, starts=False)
        try:
            # Another interface gets the number that the moved one would have there.
            state.stranger(name="tt2", at=0, mode=TUN)
            state.start()
            state.changeLinkAddress(last=2)
            state.turn(turns=3)
            state.changeMTU(mtu=68)
            state.move()
            state.setUp(up=False)
            state.rename(name="tt1")
            for _ in range(4):
                state.move()
            state.turn(turns=1)
            state.move()
            state.turn(turns=1)
            state.move()
        finally:
            state.teardown()


def served(reactor: Any, name: str, namespace: int | None = None) -> InterfaceService:
    """
    Start a service on a tun.
    """
    device = LinuxDevice(name, TUN, namespace=namespace)
    service = InterfaceService(InterfaceServiceSettings(device=device, control=False), Layer(), reactor)
    service.privilegedStartService()
    return service


@contextmanager
def running() -> Iterator[Any]:
    """
    Make a reactor, and check that it has no readers at the end.
    """
    reactor: Any = SelectReactor()
    yield reactor
    until(lambda: reactor.getReaders() == [reactor.waker], "the readers to be removed", lambda: reactor.iterate(0.005))
    reactor.waker.connectionLost(None)


@contextmanager
def warned() -> Iterator[list[str]]:
    """
    Collect the log lines at level warn and above.
    """
    said: list[str] = []

    @implementer(ILogObserver)
    def hear(event: Any) -> None:
        if event["log_level"] >= LogLevel.warn:
            said.append(formatEvent(event))

    globalLogPublisher.addObserver(hear)
    try:
        yield said
    finally:
        globalLogPublisher.removeObserver(hear)


def test_servicesOfANamespaceHaveOneMonitor(namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []

    def parse(kind: int, message: bytes) -> Any:
        parsed.append(kind)
        return decode(kind, message)

    with another() as there, running() as reactor, LinuxDevice("tt99", TUN):
        services = [served(reactor, f"tt{number}") for number in range(10)]
        elsewhere = served(reactor, "tt0", there)
        for service in [*services, elsewhere]:
            service.startService()
        monitors = [each.monitor for each in SharedMonitor._all.values()]
        assert len(monitors) == 2
        assert sum(isinstance(each, InterfaceWatch) for each in reactor.getReaders()) == 2
        here = Place(None)
        here.call(_SIOCSIFMTU, "tt0", struct.pack("i", 1400))
        port = services[0].port
        until(lambda: port.mtu == 1400, "the MTU", lambda: reactor.iterate(0.005))
        monkeypatch.setattr("txtuntap.device.linux.monitor.decode", parse)
        for mtu in range(1301, 1311):
            here.call(_SIOCSIFMTU, "tt99", struct.pack("i", mtu))
        known = monitors[0].interfaces
        index = socket.if_nametoindex("tt99")
        until(lambda: known[index].mtu == 1310, "the events", lambda: reactor.iterate(0.005))
        # Each event is parsed once, however many ports there are. (The kernel may report some events twice.)
        assert 10 <= len(parsed) <= 30
        # The monitor stops with the last service.
        services[0].stopService()
        assert len(SharedMonitor._all) == 2
        here.call(_SIOCSIFMTU, "tt1", struct.pack("i", 1500 - 77))
        until(lambda: services[1].port.mtu == 1500 - 77, "the MTU", lambda: reactor.iterate(0.005))
        for service in [*services[1:], elsewhere]:
            service.stopService()
        assert SharedMonitor._all == {}
        here.close()


def test_aMonitorThatIsStartedLastKnowsTheState(namespace: Namespace) -> None:
    # The order is that of README: start the port, configure the interface, run the reactor, which starts the monitor.
    with running() as reactor:
        monitors: list[Any] = [InterfaceMonitor(reactor), SharedMonitor(reactor)]
        for number, monitor in enumerate(monitors):
            layer = Layer()
            port = TuntapPort(f"tt{number}", layer, reactor=reactor, monitor=monitor)
            port.startListening()
            configureInterface(f"tt{number}", ["10.9.0.1/24"], mtu=9000)
            started = monitor.start()
            resultOf(started, lambda: reactor.iterate(0.005))
            assert (port.mtu, layer.mtu, layer.mtus, layer.ups) == (9000, 9000, [9000], 1)
            monitor.stop()
            resultOf(port.stopListening(), lambda: reactor.iterate(0.005))


def test_aServiceStartsWithoutNetlink(namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(socket.socket):
        def __init__(self, family: int = -1, *arguments: Any, **keywords: Any) -> None:
            if family == socket.AF_NETLINK:
                raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
            super().__init__(family, *arguments, **keywords)

    with warned() as said, running() as reactor, monkeypatch.context() as patch:
        patch.setattr("socket.socket", Refusing)
        service = served(reactor, "tt0")
        service.startService()
        assert service.port.connected
        (line,) = said
        assert line.startswith("tt0 is not watched")
        assert "netlink" in line
        assert line.endswith("Address family not supported by protocol")
        service.stopService()
        until(lambda: not service.port.connected, "the end", lambda: reactor.iterate(0.005))
        # A service that configures its interface needs netlink.
        settings = InterfaceServiceSettings(
            device=LinuxDevice("tt0", TUN), kernelEnd=InterfaceSettings(mtu=1400), control=False
        )
        service = InterfaceService(settings, Layer(), reactor)
        with pytest.raises(OSError, match=r"cannot open a netlink socket .*: Address family not supported"):
            service.privilegedStartService()
        resultOf(service.port.stopListening(), lambda: reactor.iterate(0.005))


def test_aServiceContinuesIfTheMonitorFails(namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    # A sandbox may permit the netlink socket, but not the requests.
    def ask(*arguments: Any, **keywords: Any) -> Deferred[Any]:
        return fail(OSError(errno.EOPNOTSUPP, "cannot read the interfaces: Operation not supported"))

    monkeypatch.setattr("txtuntap.device.linux.monitor.ask", ask)
    with warned() as said, running() as reactor:
        service = served(reactor, "tt0")
        service.startService()
        (line,) = said
        assert line.endswith("cannot read the interfaces: Operation not supported")
        assert service.port.connected
        service.stopService()
        until(lambda: not service.port.connected, "the end", lambda: reactor.iterate(0.005))
