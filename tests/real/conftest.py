"""
What the tests against the kernel have in common.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.lab import warm
from tests.real.lab.beyond import Beyond, linked
from tests.real.lab.machine import ANY_ADDRESSES, ZONE, Machine
from tests.real.lab.namespace import Namespace, lacking, need

_HERE = Path(__file__).parent


def pytest_collection_finish(session: pytest.Session) -> None:
    """
    A user namespace, where it takes one, can only be entered while there are no threads.
    """
    if any(_HERE in item.path.parents for item in session.items):
        lacking()


def _children() -> set[str]:
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name before may hold anything but ends with the last bracket.
            parent = status.read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if int(parent) == os.getpid():
            found.add(status.parent.name)
    return found


def _interfaces() -> set[str]:
    # Others' interfaces come and go (containers); ours, made by tests, are all called so.
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
    No namespace, interface or process of ours outlives the tests.
    """
    if lacking() is None:
        # A test's network namespace ends with the test, and the warm interpreter stays.
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
    The test runs in a network namespace of its own.
    """
    need()
    with Namespace() as made:
        yield made


@pytest.fixture(scope="module", params=["tun", "tap"])
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """
    A host that the tests of a module share, in a namespace of theirs: they leave it as it is.
    """
    need()
    directory = tmp_path_factory.mktemp("machine")
    with Namespace(), Machine(directory, request.param, anyAddresses=ANY_ADDRESSES, zone=ZONE) as made:
        yield made


@pytest.fixture
def beyond(namespace: Namespace) -> Iterator[Beyond]:
    """
    Another namespace, with C{FAR} in it; this one has C{NEAR}.
    """
    with linked() as made:
        yield made
