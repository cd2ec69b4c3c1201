"""
A host that gets its addresses from a router: radvd on the kernel's end of a tap.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.real.lab.asking import asking, ping, station
from tests.real.lab.host import Host, ask, connected
from tests.real.lab.link import PacketSocket, setUp
from tests.real.lab.machine import INTERFACE, RELAY, STATION, Machine
from tests.real.lab.namespace import PATIENCE, Namespace, ip, tool, until
from txtuntap.device import TAP
from txtuntap.wire.address import packAddress

ADDRESSES = ("10.9.0.2/24",)
KERNEL_ADDRESSES = ("10.9.0.1/24", "2001:db8:9::1/64")

#: The address that the host forms of the prefix and its link address 02:00:00:00:00:02.
FORMED = "2001:db8:9::ff:fe00:2"

#: Addresses of the kernel: one in an advertised prefix on the link, and one beyond the link.
ON_LINK = "2001:db8:a::1"
BEYOND = "2001:db8:77::1"

CONFIGURATION = """
interface tt0 {
    AdvSendAdvert on;
    MinRtrAdvInterval 3;
    MaxRtrAdvInterval 4;
    AdvDefaultLifetime 600;
    AdvLinkMTU 1400;
    prefix 2001:db8:9::/64 { AdvOnLink on; AdvAutonomous on; };
    prefix 2001:db8:a::/64 { AdvOnLink on; AdvAutonomous off; };
};
"""


@contextmanager
def router(directory: Path) -> Iterator[None]:
    """
    Let the kernel act as a router that advertises itself.
    """
    configuration = directory / "radvd.conf"
    configuration.write_text(CONFIGURATION)
    # radvd refuses a file that other users may write to.
    configuration.chmod(0o600)
    forwarding = Path("/proc/sys/net/ipv6/conf")
    for name in "all", INTERFACE:
        (forwarding / name / "forwarding").write_text("1")
    options = ["--nodaemon", "-m", "stderr", "-C", str(configuration), "-p", str(directory / "radvd.pid")]
    with open(directory / "radvd.log", "w") as log, subprocess.Popen([tool("radvd"), *options], stderr=log) as process:
        try:
            yield
            assert process.poll() is None, (directory / "radvd.log").read_text()
        finally:
            process.terminate()
            process.wait(PATIENCE)


@pytest.fixture
def machine(namespace: Namespace, tmp_path: Path) -> Iterator[Machine]:
    """
    Start a host that accepts router advertisements.
    """
    with Machine(tmp_path, "tap", ADDRESSES, KERNEL_ADDRESSES, autoconfigure=True) as made:
        yield made


def formed(machine: Machine) -> bool:
    return f"{FORMED}/64" in machine.state()["addresses"]


def test_theAddressAnswersTheKernel(machine: Machine, tmp_path: Path) -> None:
    with router(tmp_path):
        until(lambda: formed(machine), "an address")
        for size in "56", "4000":
            assert ping(FORMED, "-c", "1", "-s", size) == 1
        assert ask(FORMED, b"hello") == b"hello"
        assert station(FORMED) == STATION
        until(lambda: FORMED in machine.state()["claimed"], "it to be announced")
        assert machine.state()["lost"] == []


def test_theRouterIsTheGatewayUntilItsLastAdvertisement(machine: Machine, tmp_path: Path) -> None:
    with router(tmp_path):
        until(lambda: formed(machine), "an address")
        (gateway,) = machine.state()["gateways"]
        assert gateway.startswith("fe80::")
        setUp("lo", f"{BEYOND}/128")
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
            client.bind((BEYOND, RELAY))
            client.settimeout(PATIENCE)
            client.sendto(BEYOND.encode(), (FORMED, RELAY))
            assert client.recvfrom(100)[:2] == (b"relayed", (FORMED, RELAY, 0, 0))
    until(lambda: not machine.state()["gateways"], "the router to be forgotten")
    assert formed(machine)


def test_theAdvertisedMTULimitsIPv6Packets(machine: Machine, tmp_path: Path) -> None:
    with router(tmp_path):
        until(lambda: formed(machine), "an address")
        with PacketSocket(INTERFACE, TAP) as network:
            assert ping(FORMED, "-c", "1", "-s", "4000") == 1
            assert ping("10.9.0.2", "-c", "1", "-s", "4000") == 1
            lengths = {frame[12:14]: len(frame) - 14 for frame in sorted(network.received(), key=len)}
        assert 1392 < lengths[b"\x86\xdd"] <= 1400
        assert lengths[b"\x08\0"] == 1500


def test_anAddressInAnOnLinkPrefixIsResolvedOnTheLink(machine: Machine, tmp_path: Path) -> None:
    with router(tmp_path):
        until(lambda: formed(machine), "an address")
        ip("address", "add", f"{ON_LINK}/128", "dev", INTERFACE, "nodad")
        with PacketSocket(INTERFACE, TAP) as network, connected(FORMED, RELAY) as client:
            client.send(ON_LINK.encode())
            network.receivedUntil(lambda frame: frame[54:55] == b"\x87" and frame[62:78] == packAddress(ON_LINK))


def test_anAddressThatTheKernelHasIsLost(machine: Machine, tmp_path: Path) -> None:
    ip("address", "add", f"{FORMED}/128", "dev", INTERFACE, "nodad")
    with router(tmp_path):
        lost = until(lambda: machine.state()["lost"], "the address to be lost")
        assert [address for address, _ in lost] == [FORMED]
        heard = machine.state()["counters"]["ndp"]["inRouterAdvertisements"]
        until(lambda: machine.state()["counters"]["ndp"]["inRouterAdvertisements"] > heard, "the router to repeat it")
        assert not formed(machine)
        assert len(machine.state()["lost"]) == 1


def test_aServiceWithAutoconfigureAnswersTheKernel(namespace: Namespace, tmp_path: Path) -> None:
    more = "--autoconfigure", "--mac", STATION
    host = Host(tmp_path, "tap", ADDRESSES, KERNEL_ADDRESSES, more=more)
    with host, router(tmp_path), asking(FORMED, b"hello") as answer:
        assert until(answer, "an answer") == b"hello"
