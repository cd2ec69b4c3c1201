"""
A host behind a bad link, used by programs of the kernel. Random numbers come from a seed. Times are tested only for
their lower bound.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.real.lab.namespace import PATIENCE, Namespace
from tests.real.lab.turning import TurningHost
from txtuntap.middleware import Impairment, Netem


class BadLink(TurningHost):
    """
    A host at 10.9.0.2 behind an L{Impairment}.
    """

    impairment: Impairment

    def __init__(self, mode: str) -> None:
        super().__init__(mode, ("10.9.0.2/24",), ("10.9.0.1/24",), around=self._impaired)

    def _impaired(self, proto: Any) -> Impairment:
        self.impairment = Impairment(proto, random=Random(1))
        return self.impairment


@pytest.fixture(params=["tun", "tap"])
def link(request: pytest.FixtureRequest, namespace: Namespace) -> Iterator[BadLink]:
    """
    Make a host on a tun, then on a tap.
    """
    made = BadLink(request.param)
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def tun(namespace: Namespace) -> Iterator[BadLink]:
    """
    Make a host on a tun, where IP alone detects corruption, because a tap's Ethernet addresses may be corrupted, too.
    """
    made = BadLink("tun")
    try:
        yield made
    finally:
        made.stop()


def kernelCounts() -> dict[str, int]:
    """
    Return the kernel's counters, such as C{"Udp.InCsumErrors"}.
    """
    found = {}
    for name in "snmp", "netstat":
        lines = Path(f"/proc/thread-self/net/{name}").read_text().splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            part, _, rest = names.partition(":")
            counts = values.partition(":")[2].split()
            found.update({f"{part}.{each}": int(count) for each, count in zip(rest.split(), counts, strict=True)})
    return found


def test_aPingTakesAsLongAsBothDelays(link: BadLink) -> None:
    link.impairment.up = link.impairment.down = Netem(delay=0.05)
    times: list[float] = []
    for _ in range(3):
        # Send each ping alone, and wait for its answer.
        status, said = link.run("ping", "-c1", f"-W{PATIENCE:.0f}", "10.9.0.2")
        assert status == 0, said
        times += [float(found) for found in re.findall(r"time=([\d.]+) ms", said)]
    assert len(times) == 3
    # A delayed call of the reactor may be a microsecond early.
    assert min(times) > 99.9


def test_theImpairmentCanBeChangedWhileItRuns(link: BadLink) -> None:
    assert link.run("ping", "-c1", "10.9.0.2")[0] == 0
    for way, counter in ("up", "inLost"), ("down", "outLost"):
        setattr(link.impairment, way, Netem(loss=1))
        status, said = link.run("ping", "-c2", "-i0.2", "-W0.5", "10.9.0.2")
        assert (status, "100% packet loss" in said) == (1, True), said
        # ping may end before the host has read all requests.
        link.until(lambda: link.impairment.counters[counter] >= 2, "both packets to be lost")  # noqa: B023
        setattr(link.impairment, way, Netem())
        assert link.run("ping", "-c1", "10.9.0.2")[0] == 0


def test_pingSeesDuplicates(link: BadLink) -> None:
    link.impairment.down = Netem(duplicate=1)
    # ping ends after three replies, without waiting for the duplicate of the last.
    _, said = link.run("ping", "-c3", f"-w{PATIENCE:.0f}", "-i0.2", "10.9.0.2")
    assert re.search(r"\+[23] duplicates", said), said


def test_theKernelSeesReorderedDatagrams(tun: BadLink) -> None:
    tun.impairment.down = Netem(delay=0.3, reorder=1, gap=3)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        for number in range(6):
            client.sendto(bytes([number]), ("10.9.0.2", 7))
        came = received(tun, client, 6)
    assert [data[0] for data in came] == [2, 5, 0, 1, 3, 4]


def received(link: BadLink, client: socket.socket, count: int) -> list[bytes]:
    """
    Wait for a number of datagrams.
    """
    came: list[bytes] = []

    def all() -> bool:
        with suppress(BlockingIOError):
            came.append(client.recv(65536))
        return len(came) >= count

    link.until(all, f"{count} datagrams, not {len(came)}")
    return came


def test_theKernelCountsCorruptedPackets(tun: BadLink) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("10.9.0.1", 4000))
        client.setblocking(False)
        tun.until(lambda: tun.echo.transport is not None, "the host to be there")
        before = kernelCounts()
        tun.impairment.down = Netem(corrupt=1)
        transport: Any = tun.echo.transport
        for _ in range(100):
            transport.write(bytes(200), ("10.9.0.1", 4000))
        tun.impairment.down = Netem()
        transport.write(b"whole", ("10.9.0.1", 4000))
        assert received(tun, client, 1) == [b"whole"]
    assert tun.impairment.counters["outCorrupted"] == 100
    names = "Udp.InCsumErrors", "IpExt.InCsumErrors", "Ip.InHdrErrors"
    grown = {name: kernelCounts()[name] - before[name] for name in names}
    assert grown["Udp.InCsumErrors"] > 50
    assert grown["IpExt.InCsumErrors"] > 0
    # Other packets had an invalid IP version, which the device refuses, or another destination.
    assert sum(grown.values()) > 90


def test_theHostCountsCorruptedPackets(tun: BadLink) -> None:
    tun.impairment.up = Netem(corrupt=1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        for _ in range(100):
            client.sendto(bytes(200), ("10.9.0.2", 7))
        tun.until(lambda: tun.impairment.counters["inCorrupted"] >= 100, "all packets to be corrupted")
        tun.impairment.up = Netem()
        client.sendto(b"whole", ("10.9.0.2", 7))
        assert received(tun, client, 1) == [b"whole"]
    counters = tun.host.counters
    assert counters["udp"]["inCsumErrors"] > 50
    assert counters["ip"]["inCsumErrors"] > 0


def test_aRateIsNotExceeded(tun: BadLink) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        # A packet has 1028 octets with its headers. The first of twenty does not wait for others.
        tun.impairment.down = Netem(rate=20 * 8 * 1028 * 4, limit=20)
        began = time.monotonic()
        # Send more packets than the queue holds, even while some of them leave it.
        for _ in range(60):
            client.sendto(bytes(1000), ("10.9.0.2", 7))
        tun.until(lambda: tun.impairment.counters["outOverLimit"] >= 1, "a packet above the limit")
        assert len(received(tun, client, 20)) == 20
        assert time.monotonic() - began > 0.2499
