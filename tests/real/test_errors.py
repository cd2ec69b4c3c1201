"""
ICMP errors that the kernel sends to a host, about closed ports and narrow paths.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.real.lab.asking import asking
from tests.real.lab.host import ask, connected
from tests.real.lab.link import setUp, untilQueueStarted
from tests.real.lab.machine import KNOCK, Machine
from tests.real.lab.namespace import PATIENCE, Namespace, ip, until

KINDS = pytest.mark.parametrize("mode", ["tun", "tap"])

#: The addresses of the kernel and of the host, for each IP version.
ADDRESSES = pytest.mark.parametrize(("kernel", "ours"), [("10.9.0.1", "10.9.0.2"), ("fd09::1", "fd09::2")])

NARROW = 1300


@ADDRESSES
def test_aClosedPortOfTheKernelIsReported(machine: Machine, kernel: str, ours: str) -> None:
    with connected(ours, KNOCK) as client:
        client.send(kernel.encode())
    until(lambda: kernel in machine.state()["refused"], "the port unreachable error")
    assert machine.state()["counters"]["icmp"].get("inDisbelieved", 0) == 0


@ADDRESSES
def test_anOpenPortOfTheKernelIsNotReported(namespace: Namespace, tmp_path: Path, kernel: str, ours: str) -> None:
    family = socket.AF_INET6 if ":" in kernel else socket.AF_INET
    with Machine(tmp_path, "tun") as machine, socket.socket(family, socket.SOCK_DGRAM) as server:
        server.bind((kernel, 9))
        server.settimeout(PATIENCE)
        with connected(ours, KNOCK) as client:
            client.send(kernel.encode())
        assert server.recv(100) == b"knock"
        assert machine.state()["refused"] == []


@contextmanager
def narrowPath() -> Iterator[None]:
    """
    Enter a namespace behind the thread's namespace, joined to it by a link with an MTU of L{NARROW}.
    """
    forward = [f"/proc/sys/net/{version}/conf/all/forwarding" for version in ("ipv4", "ipv6")]
    for path in forward:
        Path(path).write_text("1")
    with Namespace() as behind:
        ip("link", "add", "tt1", "mtu", str(NARROW), "type", "veth", "peer", "name", "tt2", "mtu", str(NARROW))
        ip("link", "set", "tt2", "netns", f"/proc/{os.getpid()}/fd/{behind.outside}")
        with behind.stepOut():
            setUp("tt2", "192.0.2.1/24", "2001:db8::1/64")
        setUp("tt1", "192.0.2.2/24", "2001:db8::2/64")
        # The first end of a veth pair gets its carrier when the second end is set up.
        with behind.stepOut():
            untilQueueStarted("tt2")
        ip("route", "add", "default", "via", "192.0.2.1")
        ip("route", "add", "default", "via", "2001:db8::1")
        yield


@KINDS
@pytest.mark.parametrize("ours", ["10.9.0.2", "fd09::2"])
def test_answersFitThePathAfterARouterHasReportedItsMTU(
    namespace: Namespace, tmp_path: Path, mode: str, ours: str
) -> None:
    data = random.Random(1).randbytes(1400)
    gateways = ("10.9.0.1", "fd09::1")
    with Machine(tmp_path, mode, gateways=gateways) as machine, narrowPath():
        assert ask(ours, b"small") == b"small"
        assert machine.state()["paths"] == 0
        with asking(ours, data) as answer:
            until(lambda: answer() == data, "a large answer to get through")
        assert machine.state()["paths"] == 1
        assert machine.state()["counters"]["icmp"]["inPktTooBigs"] >= 1
        assert ask(ours, data) == data
