"""
Tests for the memory of simulated hosts.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc
from ipaddress import IPv4Address
from typing import Any

import pytest

from tests.paths import CHECKOUT
from txtuntap.network import Network

#: The number of hosts, and of hosts at one switch.
HOSTS, AT_ONE = 200, 20
FIRST = IPv4Address("10.0.0.1")

#: The most octets of a host, with its link and its port of a switch: when it was made, and when it has resolved the
#: addresses of two neighbours. The second number allows 100,000 hosts in 2.5 GB.
MADE, KNOWING = 14_000, 22_000

#: The same for Python 3.10, whose objects take more.
MADE_BEFORE, KNOWING_BEFORE = 17_000, 25_000


def network() -> Network:
    """
    Make a network with twenty hosts at each switch.
    """
    net = Network(seed=1)
    for number in range(HOSTS):
        switch = net.switches[-1] if number % AT_ONE else net.switch()
        net.host(f"{FIRST + number}/8", switch)
    return net


def pingAll(net: Network) -> list[Any]:
    """
    Let each host ping the next one at its switch.

    @return: the replies.
    """
    replies: list[Any] = []
    for number, host in enumerate(net.hosts):
        other = number - number % AT_ONE + (number + 1) % AT_ONE
        host.ping(str(FIRST + other)).addCallback(replies.append)
    net.run(2)
    return replies


def measured() -> tuple[float, float]:
    """
    Measure the octets of a host when it is made, and when it has resolved two neighbours.
    """
    # The first network fills the caches of the process.
    with network() as net:
        net.run(10)
        pingAll(net)
    gc.collect()
    tracemalloc.start()
    try:
        net = network()
        gc.collect()
        made, _ = tracemalloc.get_traced_memory()
        with net:
            net.run(10)
            assert len(pingAll(net)) == HOSTS
            gc.collect()
            knowing, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return made / HOSTS, knowing / HOSTS


@pytest.mark.measures
def test_aSimulatedHostTakesFewOctets() -> None:
    """
    A host takes at most 14,000 octets when it is made, and at most 22,000 when it has resolved two neighbours.
    """
    isOld = sys.version_info < (3, 11)
    most = (MADE_BEFORE, KNOWING_BEFORE) if isOld else (MADE, KNOWING)
    # Python keeps the names of attributes once for all objects of a class. The objects of earlier tests have other
    # names, which would leave no room for those of a host. So the process is a new one.
    program = "from tests.network.test_memory import measured; print(*measured())"
    done = subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    found = [float(each) for each in done.stdout.split()]
    assert (found[0] <= most[0], found[1] <= most[1]) == (True, True), found


def test_aHostThatOnlyPingsMakesNoOtherParts() -> None:
    """
    A host without ports makes neither the layers of UDP and TCP, nor the parts for fragments, loops and errors.
    """
    with network() as net:
        net.run(10)
        assert len(pingAll(net)) == HOSTS
        for host in net.hosts:
            ip: Any = host.ip
            unused = [host._udp, ip._reassemblerMade, ip._loopbackMade, ip._pathsMade, ip._askersMade]
            assert unused == [None] * 5
            assert not host.usesTCP
            assert host.counters["udp"] == {}
            assert "flows" in [state.name for state in host.tables()]
            assert host._udp is None
