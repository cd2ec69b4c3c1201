"""
What Linux does with the rows of L{tests.real.test_input}: the same, but for what C{docs/input.md} tells of.
"""

from __future__ import annotations

import array
import fcntl
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, cast

import pytest

from tests.real.machine import ADDRESSES, INTERFACE, STATION, Machine
from tests.real.namespace import Namespace, ip, need, tool
from tests.real.test_input import (
    ROWS_4,
    ROWS_6,
    ROWS_FRAMES_4,
    ROWS_FRAMES_6,
    SENDER,
    SILENT,
    Row,
    Wire,
    described,
)
from txtuntap.device.ioctl import SIOCETHTOOL

#: What Linux does otherwise, by the row's name.
DIFFERENCES: dict[tuple[int, str], list[str]] = {
    (4, "truncated-timestamp-request"): ["icmp 14/0"],
    (4, "TCP"): ["tcp"],
    (4, "ARP-for-other-hardware"): ["arp reply"],
    (6, "echo-to-a-group"): ["icmp6 129/0"],
    (6, "TCP"): ["tcp"],
    (6, "nine-extension-headers"): ["icmp6 129/0"],
}

#: C{linux/ethtool.h}: ETHTOOL_STXCSUM.
_ETHTOOL_STXCSUM = 0x17

PAGE = Path(__file__).parents[2] / "docs" / "input.md"


@contextmanager
def linux() -> Iterator[None]:
    """
    Linux behind the interface, in place of a machine of ours: a virtual cable to a namespace of its own, with an echo
    on UDP port 7. The thread stays on this side of the cable.
    """
    with Namespace() as behind:
        ip("link", "add", "tt1", "address", STATION, "type", "veth", "peer", "name", INTERFACE)
        ip("link", "set", INTERFACE, "netns", f"/proc/{os.getpid()}/fd/{behind.outside}")
        for address in ADDRESSES:
            ip("address", "add", address, "dev", "tt1", *(["nodad"] if ":" in address else []))
        sumUp("tt1")
        ip("link", "set", "tt1", "up")
        # It would ask for each sender before it answers.
        senders = [f"10.9.0.{number}" for number in range(19, 255)] + [f"fd09::1:{number:x}" for number in range(256)]
        batch = "".join(f"neigh replace {sender} lladdr {SENDER} dev tt1\n" for sender in senders)
        subprocess.run([tool("ip"), "-batch", "-"], input=batch.encode(), check=True)
        echoes = [_Echo(family) for family in (socket.AF_INET, socket.AF_INET6)]
        try:
            with behind.stepOut():
                ip("link", "set", INTERFACE, "up")
                yield
        finally:
            for echo in echoes:
                echo.end()


def sumUp(name: str) -> None:
    """
    Have Linux compute the checksums of what it sends by an interface (C{ethtool -K NAME tx off}): a virtual cable
    carries packets without.
    """
    value = array.array("I", [_ETHTOOL_STXCSUM, 0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as query:
        fcntl.ioctl(query, SIOCETHTOOL, struct.pack("16sP16x", name.encode(), value.buffer_info()[0]))


class _Side:
    """
    What the wire asks of a machine.
    """

    mode = "tap"


class _Echo:
    """
    Sends back what comes to UDP port 7, until a datagram comes from the loopback.
    """

    def __init__(self, family: int) -> None:
        self._address = "127.0.0.1" if family == socket.AF_INET else "::1"
        self._server = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            self._server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        self._server.bind(("", 7))
        self._thread = Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with self._server as server:
            while True:
                data, peer = server.recvfrom(65536)
                if peer[0] == self._address:
                    return
                server.sendto(data, peer)

    def end(self) -> None:
        """
        Call in the namespace of the server.
        """
        with socket.socket(self._server.family, socket.SOCK_DGRAM) as client:
            client.sendto(b"", (self._address, 7))
        self._thread.join()


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    """
    A wire with Linux behind it.
    """
    need()
    with Namespace(), linux():
        yield Wire(cast(Machine, _Side))


def rows(version: int, *tables: tuple[list[Any], bool]) -> list[Any]:
    """
    Rows with what Linux answers.

    @param tables: rows, and whether they are packets and not frames.
    """
    found = []
    for table, packet in tables:
        for each in table:
            make, answer = each.values
            expected = DIFFERENCES.get((version, each.id), [] if answer == SILENT else [answer])
            found.append(pytest.param(make, expected, packet, id=each.id))
    return found


@pytest.mark.parametrize(("make", "expected", "packet"), rows(4, (ROWS_4, True), (ROWS_FRAMES_4, False)))
def test_IPv4(wire: Wire, make: Row, expected: list[str], packet: bool) -> None:
    _, came = wire.answers(4, make, packet)
    assert [described(each) for each in came] == expected


@pytest.mark.parametrize(("make", "expected", "packet"), rows(6, (ROWS_6, True), (ROWS_FRAMES_6, False)))
def test_IPv6(wire: Wire, make: Row, expected: list[str], packet: bool) -> None:
    _, came = wire.answers(6, make, packet)
    assert [described(each) for each in came] == expected


def test_thePageTellsOfEveryDifference() -> None:
    text = PAGE.read_text()
    for version, name in DIFFERENCES:
        assert f"| IPv{version}: {name.replace('-', ' ')} |" in text
