"""
Fixtures of the tests against the kernel, and checks that a test leaves nothing behind.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.lab import warm
from tests.real.lab.beyond import Beyond, linked
from tests.real.lab.helper import Helper
from tests.real.lab.machine import ANY_ADDRESSES, ZONE, Machine
from tests.real.lab.namespace import Namespace, interfaces, lacking, need, until
from tests.real.lab.wireguard import Pair, outside, pair

_HERE = Path(__file__).parent


def pytest_collection_finish(session: pytest.Session) -> None:
    """
    Enter a user namespace, if one is needed, before any thread starts: the kernel refuses it to a process with threads.
    """
    if any(_HERE in item.path.parents for item in session.items):
        lacking()


def _children() -> set[str]:
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The field before it is the program's name, which may contain anything. It ends with the last bracket.
            parent = status.read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if int(parent) == os.getpid():
            found.add(status.parent.name)
    return found


def _interfaces() -> set[str]:
    # Interfaces of other programs, such as containers, appear and vanish. The names of the tests' own begin with "tt".
    return {name for _, name in socket.if_nameindex() if name.startswith("tt")}


def _namespaces() -> set[str]:
    found = {os.readlink("/proc/self/ns/net")}
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            continue
        if target.startswith("net:"):
            found.add(target)
    return found


@pytest.fixture(scope="session", autouse=True)
def nothingLeft() -> Iterator[None]:
    """
    Check that no namespace, interface or process of the tests is left at their end.
    """
    if lacking() is None:
        # The network namespace of a test ends with the test. The warm interpreter stays, so it begins before.
        warm.begin()
    before = _namespaces(), _interfaces(), _children()
    yield
    assert not warm.end(), "programs left behind: see what the warm interpreter says"
    after = _namespaces(), _interfaces(), _children()
    for what, old, new in zip(("namespaces", "interfaces", "processes"), before, after, strict=True):
        assert not new - old, f"{what} left behind: {new - old}"


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """
    Run the test in a network namespace of its own.
    """
    need()
    with Namespace() as made:
        yield made


@pytest.fixture(scope="module", params=["tun", "tap"])
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """
    Start a host that the tests of a module share, in a namespace of theirs. The tests must not change the host.
    """
    need()
    directory = tmp_path_factory.mktemp("machine")
    with Namespace(), Machine(directory, request.param, anyAddresses=ANY_ADDRESSES, zone=ZONE) as made:
        yield made


@pytest.fixture
def beyond(namespace: Namespace) -> Iterator[Beyond]:
    """
    Make a second namespace that has the address C{FAR}. The test's own namespace has C{NEAR}.
    """
    with linked() as made:
        yield made


@pytest.fixture
def wireguards(namespace: Namespace, tmp_path: Path) -> Iterator[Pair]:
    """
    Make a WireGuard of this package and wireguard-go, each in its namespace. The test starts them.
    """
    with outside() as places, pair(places, tmp_path) as made:
        yield made


@pytest.fixture
def helper(namespace: Namespace, tmp_path: Path) -> Iterator[Helper]:
    """
    A helper that runs, with the rules of the tests. Its interfaces are deleted afterwards.
    """
    with Helper(tmp_path) as made:
        yield made
        until(lambda: not interfaces(), "the interfaces to be deleted")
