"""
Timeouts of a host in real time. The tests in memory check the same timeouts on a simulated clock.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.real.lab.link import PacketSocket
from tests.real.lab.machine import INTERFACE, Machine
from tests.real.lab.namespace import Namespace
from tests.real.test_input import HERE, described, framed
from txtuntap.device import TAP
from txtuntap.ip.fragments import TIMEOUT
from txtuntap.testing import ipPacket
from txtuntap.wire import ipv4, ipv6, udp
from txtuntap.wire.address import packAddress

FIRST = bytes(64)


#: The senders of fragments, by IP version.
SENDERS = {4: "10.9.0.20", 6: "fd09::1:20"}


def _firstFragment(version: int) -> bytes:
    source, dest = SENDERS[version], HERE[version]
    if version == 4:
        return ipPacket(source, dest, udp.PROTOCOL, FIRST, identification=7, fragment=ipv4.MORE_FRAGMENTS)
    return ipPacket(source, dest, ipv6.FRAGMENT, ipv6.FRAGMENT_HEADER.pack(udp.PROTOCOL, 1, 7) + FIRST)


@pytest.mark.long("realtime")
@pytest.mark.parametrize(("version", "error"), [(4, "icmp 11/1"), (6, "icmp6 3/1")])
def test_anIncompleteDatagramTimesOut(namespace: Namespace, tmp_path: Path, version: int, error: str) -> None:
    dest = slice(30, 34) if version == 4 else slice(38, 54)

    def isAnswer(frame: bytes) -> bool:
        return frame[dest] == packAddress(SENDERS[version]) and frame[12:14] != b"\x08\x06"

    with Machine(tmp_path, "tap") as machine, PacketSocket(INTERFACE, TAP) as network:
        began = time.monotonic()
        network.send(framed(_firstFragment(version)))
        # Stop looking some seconds before the timeout, because a busy machine may be late.
        while time.monotonic() < began + TIMEOUT[version] - 5:
            time.sleep(0.5)
            assert [frame for frame in network.received() if isAnswer(frame)] == []
            assert machine.state()["datagrams"] == 1
        answer = network.receivedUntil(isAnswer)[-1]
        assert described(answer[14:]) == error
        assert machine.state()["datagrams"] == 0
