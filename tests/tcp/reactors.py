"""
Twisted's tests of its reactors, with the TCP of hosts in place of the reactor's TCP.
"""

from __future__ import annotations

import gc
import importlib
import unittest
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest import mock

from twisted.internet.test.reactormixins import ReactorBuilder
from twisted.internet.test.test_tcp import getLinkLocalIPv6Address

from txtuntap.layer.timer import Timer
from txtuntap.network.link import Link
from txtuntap.stack.host import Host

#: The reactor that the tests are run on. Every platform has it.
REACTOR = "SelectReactor"

#: The tests of C{IReactorSocket}, which a host does not provide because it has no sockets.
_SOCKETS = "TCPFDPort", "AdoptStreamConnection"

#: A test that uses up all file descriptors of the process. A host's connection needs none.
_HARMFUL = ("test_closePeerOnEMFILE",)

#: The names that the tests use for the listening host.
_LOOPBACK = {"127.0.0.1": 0, "::1": 1, "localhost": 0}


def _linkLocal() -> list[str]:
    """
    Return the link-local address that the tests find on this machine. The listening host has it, too.
    """
    address = getLinkLocalIPv6Address()
    return [f"{address.partition('%')[0]}/64"] if address else []


class Alone:
    """
    The TCP of one host that connects to itself.
    """

    def __init__(self, reactor: Any) -> None:
        self.near = self.far = Host(["10.0.0.1/24", "fd00::1/64", *_linkLocal()], reactor)
        self.link = Link(self.near.ip, Host(["10.0.0.2/24"], reactor).ip, reactor)
        self.link.start()
        self._reactor = reactor

    def stop(self) -> None:
        """
        Stop the link, so that no call is left in the reactor.
        """
        self.link.stop()

    def listening(self, address: Any) -> Any:
        """
        Translate the address to listen on or to connect to.
        """
        return address

    def leaving(self, address: Any) -> Any:
        """
        Translate the address to connect from.
        """
        return address

    def listenTCP(self, port: Any, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        return self.far.listenTCP(port, factory, backlog, self.listening(interface))

    def listenSSL(self, port: Any, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = "") -> Any:
        return self.far.listenSSL(port, factory, contextFactory, backlog, self.listening(interface))

    def connectTCP(self, host: str, port: Any, factory: Any, timeout: Any = 30, bindAddress: Any = None) -> Any:
        return self.near.connectTCP(self.listening(host), port, factory, timeout, self.leaving(bindAddress))

    def connectSSL(
        self, host: str, port: Any, factory: Any, contextFactory: Any, timeout: Any = 30, bindAddress: Any = None
    ) -> Any:
        return self.near.connectSSL(
            self.listening(host), port, factory, contextFactory, timeout, self.leaving(bindAddress)
        )

    def installResolver(self, resolver: Any) -> Any:
        return self.near.installNameResolver(resolver)

    def getDelayedCalls(self) -> Any:
        """
        Return the delayed calls of the tests, without the timers of the hosts. The timers of a host run on after a
        connection is closed, as those of a kernel do.
        """
        calls = type(self._reactor).getDelayedCalls(self._reactor)
        return [call for call in calls if not isinstance(getattr(call.func, "__self__", None), Timer)]

    def getReaders(self) -> Any:
        """
        Return the readers of the reactor, and the transports that are reading.
        """
        readers = type(self._reactor).getReaders(self._reactor)
        for host in {self.near, self.far}:
            readers += [transport for transport in host.tcp.transports if transport.reading]
        return readers

    def install(self) -> None:
        """
        Replace the reactor's methods for TCP by those of the hosts.
        """
        for name in (
            "listenTCP",
            "listenSSL",
            "connectTCP",
            "connectSSL",
            "installResolver",
            "getDelayedCalls",
            "getReaders",
        ):
            setattr(self._reactor, name, getattr(self, name))


class Linked(Alone):
    """
    The TCP of two hosts on a link. One listens, and the other connects.
    """

    def __init__(self, reactor: Any) -> None:
        self.near = Host(["10.0.0.1/24", "fd00::1/64", "fe80::1/64"], reactor)
        self.far = Host(["10.0.0.2/24", "fd00::2/64", *_linkLocal()], reactor)
        self.link = Link(self.near.ip, self.far.ip, reactor)
        self.link.start()
        self._reactor = reactor

    def listening(self, address: Any) -> Any:
        number = _LOOPBACK.get(address)
        return address if number is None else ("10.0.0.2", "fd00::2")[number]

    def leaving(self, address: Any) -> Any:
        if isinstance(address, tuple) and address[0] in _LOOPBACK:
            return (("10.0.0.1", "fd00::1")[_LOOPBACK[address[0]]], *address[1:])
        return address


@contextmanager
def replaced(kind: Callable[[Any], Alone]) -> Iterator[None]:
    """
    Make each reactor that a test builds use the TCP of hosts.
    """
    original: Any = ReactorBuilder.buildReactor

    def buildReactor(case: Any) -> Any:
        reactor = original(case)
        hosts = kind(reactor)
        hosts.install()
        case.addCleanup(hosts.stop)
        return reactor

    with mock.patch.object(ReactorBuilder, "buildReactor", buildReactor):
        yield


def casesOf(module: ModuleType) -> Iterator[Any]:
    """
    Return the tests in a module that build a reactor, except those about kernel sockets.
    """
    loader = unittest.TestLoader()
    cls: Any
    for name, cls in sorted(vars(module).items()):
        if (
            isinstance(cls, type)
            and issubclass(cls, ReactorBuilder)
            and issubclass(cls, unittest.TestCase)
            and name.endswith(f"_{REACTOR}Tests")
            and not name.startswith(_SOCKETS)
        ):
            yield from (cls(method) for method in loader.getTestCaseNames(cls) if method not in _HARMFUL)


def runModule(name: str, kind: Callable[[Any], Alone], failing: Container[str]) -> tuple[set[str], dict[str, str]]:
    """
    Run the tests in a module of Twisted that build a reactor.

    @param failing: the tests that are expected to fail. Some of them never end.

    @return: the tests that were run, and the tracebacks of those that failed, by the names of class and method.
    """
    result = unittest.TestResult()
    ran = set()

    def getTimeout(case: Any) -> float:
        return 0.1 if identity(case) in failing else 10.0

    with replaced(kind), mock.patch.object(ReactorBuilder, "getTimeout", getTimeout):
        for case in casesOf(importlib.import_module(name)):
            ran.add(identity(case))
            case.run(result)
            if identity(case) in failing:
                # Collect garbage, so that errors of this test are logged now and not during another test.
                gc.collect()
                case.flushLoggedErrors()
    skipped = {identity(case) for case, _ in result.skipped}
    return ran - skipped, {identity(case): text for case, text in [*result.errors, *result.failures]}


def identity(case: unittest.TestCase) -> str:
    """
    Return the name of a test, which is its class in Twisted and its method.
    """
    return f"{type(case).__name__.removesuffix(f'_{REACTOR}Tests')}.{case.id().rpartition('.')[2]}"
