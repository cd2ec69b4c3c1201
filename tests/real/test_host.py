"""
A whole host on a tun and on a tap, used by ordinary network tools.
"""

from __future__ import annotations

import json
import random
import re
import socket
from pathlib import Path

import pytest

from tests.long import lengths
from tests.real.lab.asking import addressFlags, ping, tells, whoHas
from tests.real.lab.host import ask, connected
from tests.real.lab.link import PacketSocket
from tests.real.lab.machine import ANY_ADDRESSES, INTERFACE, KERNEL_ADDRESSES, STATION, ZONE, Machine
from tests.real.lab.namespace import PATIENCE, Namespace, ip, run, until
from txtuntap.device import TAP
from txtuntap.wire.address import packAddress

VERSIONS = pytest.mark.parametrize("address", ["10.9.0.2", "fd09::2"])

#: The payload sizes in octets: around the size that fits into a packet of 1500, and the greatest of IPv4.
SIZES = (0, 1, 56, 1472, 1473, 8000, 65507)


@VERSIONS
def test_pingsOfEverySizeAreAnswered(machine: Machine, address: str) -> None:
    for size in SIZES:
        assert ping(address, "-c", "1", "-s", str(size)) == 1, f"{size} octets"


@VERSIONS
def test_aFloodPingLosesNothing(machine: Machine, address: str) -> None:
    assert ping(address, "-f", "-c", "20000") == 20000


@VERSIONS
def test_datagramsOfEverySizeComeBack(machine: Machine, address: str) -> None:
    largest = 65507 if address == "10.9.0.2" else 65527
    for size in *SIZES, 1452, 1453, 2952, 30000, largest:
        data = random.Random(size).randbytes(size)
        assert ask(address, data) == data, f"{size} octets"


@lengths("step", 4, 1, "sizes")
@VERSIONS
def test_datagramsOfAllSizesComeBack(machine: Machine, address: str, step: int) -> None:
    # With a step of 4, each combination of version and device tests another quarter of all sizes.
    first = (2 * (machine.mode == "tap") + (":" in address)) % step
    data = random.Random(1).randbytes(65507 + 256)
    with connected(address) as client:
        for size in range(first, 65508, step):
            # The first octet differs between consecutive sizes.
            sent = data[size & 0xFF :][:size]
            client.send(sent)
            assert client.recv(65535) == sent, f"{size} octets"


@VERSIONS
@pytest.mark.parametrize("probe", ["udp", "icmp"])
def test_traceroutesLastHopIsTheHost(machine: Machine, address: str, probe: str) -> None:
    version = "-6" if ":" in address else "-4"
    way = ["-I"] if probe == "icmp" else []
    said = run("traceroute", version, "-n", "-q", "1", "-w", f"{PATIENCE:.0f}", *way, address)
    (hop,) = said.splitlines()[1:]
    assert hop.split()[:2] == ["1", address]
    assert hop.split()[3:] == ["ms"]


@VERSIONS
def test_nmapTellsOpenPortsFromClosedOnes(machine: Machine, address: str) -> None:
    version = ["-6"] if ":" in address else []
    said = run("nmap", *version, "-sU", "-n", "-Pn", "--reason", "-p", "7,9,53,33434", address)
    ports = {line.split()[0]: line.split()[1:] for line in said.splitlines() if "/udp" in line}
    found = {port: (state, reason) for port, (state, _, reason, *_) in ports.items()}
    assert found == {
        "7/udp": ("open", "udp-response"),
        "9/udp": ("closed", "port-unreach"),
        "53/udp": ("open", "udp-response"),
        "33434/udp": ("closed", "port-unreach"),
    }


@VERSIONS
def test_digAsksTwistedNames(machine: Machine, address: str) -> None:
    for kind, wanted in ("A", "192.0.2.7"), ("AAAA", "2001:db8::7"):
        assert _dig(address, kind, "+short") == [wanted]
    assert "status: NXDOMAIN" in " ".join(_dig(address, "A", name="nobody"))


@VERSIONS
def test_aLoadOfQueriesIsAnswered(machine: Machine, address: str) -> None:
    question = b"".join(bytes([len(part)]) + part.encode() for part in f"www.{ZONE}".split(".")) + b"\0\0\1\0\1"
    with connected(address, 53) as client:
        unanswered: set[int] = set()
        for number in range(1000):
            client.send(number.to_bytes(2, "big") + b"\0\0\0\1\0\0\0\0\0\0" + question)
            unanswered.add(number)
            if len(unanswered) == 32:
                unanswered.remove(_answered(client))
        while unanswered:
            unanswered.remove(_answered(client))


def test_everyAddressOfANetworkBehindARouteAnswers(machine: Machine) -> None:
    for network in ANY_ADDRESSES:
        hop = "fd09::2" if ":" in network else "10.9.0.2"
        ip("route", "replace", network, *(["via", hop] if machine.mode == "tap" else []), "dev", INTERFACE)
    for address in "10.77.0.1", "10.77.3.4", "10.77.255.254", "fd77::1", "fd77:0:0:ffff::1:2":
        assert ping(address, "-c", "1") == 1
        assert ping(address, "-c", "1", "-s", "4000") == 1
        assert ask(address, b"who is there?") == b"who is there?"
    for address in "10.78.0.1", "10.9.0.3":
        ip("route", "replace", address, "dev", INTERFACE)
        assert ping(address, "-c", "1", "-W", "0.1") == 0


def test_addressesWithoutAConflictAreAnnounced(machine: Machine) -> None:
    # On a tap, the link-local address is announced, too. On a tun, no address is announced.
    count = 3 if machine.mode == "tap" else 0
    until(lambda: len(machine.state()["claimed"]) == count, "all to be announced")
    assert machine.state()["lost"] == []


def test_arpingIsAnswered(namespace: Namespace, tmp_path: Path) -> None:
    with Machine(tmp_path, "tap") as machine:
        before = machine.state()["counters"]["arp"].get("outReplies", 0)
        said = run("arping", "-i", INTERFACE, "-W", "0.01", "-C", "5", "10.9.0.2")
        assert "5 packets received" in said
        assert said.count(STATION) == 5
        # arping may send another request before it has received an answer, but each request is answered.
        (asked,) = re.findall(r"(\d+) packets transmitted", said)
        until(lambda: machine.state()["counters"]["arp"]["outReplies"] - before >= int(asked), "an answer to each")
        # Also answer an ARP probe, which a host sends before it uses an address.
        assert STATION in run("arping", "-0", "-i", INTERFACE, "-C", "1", "10.9.0.2")
        run("arping", "-0", "-i", INTERFACE, "-c", "1", "-w", "0.2", "10.9.0.3", status=1)


def test_theKernelResolvesTheHostsAddresses(namespace: Namespace, tmp_path: Path) -> None:
    with Machine(tmp_path, "tap"):
        for address in "10.9.0.2", "fd09::2":
            assert ping(address, "-c", "1") == 1
            (found,) = json.loads(ip("-json", "neighbour", "show", address, "dev", INTERFACE))
            assert found["lladdr"] == STATION
            assert found["state"] == ["REACHABLE"]


def test_anAddressIsDefendedAgainstTheKernel(namespace: Namespace, tmp_path: Path) -> None:
    with Machine(tmp_path, "tap") as machine:
        until(lambda: len(machine.state()["claimed"]) == 3, "the addresses to be claimed")
        ip("address", "add", "fd09::2/64", "dev", INTERFACE)
        until(lambda: "dadfailed" in addressFlags("fd09::2"), "the kernel to give the address up")
        ip("address", "delete", "fd09::2/64", "dev", INTERFACE)
        # The failed attempt of the kernel does not count as a claim of the address.
        assert ping("fd09::2", "-c", "1") == 1
        assert machine.state()["lost"] == []


def test_anAddressOfTheHostsNetworkIsNotDefended(namespace: Namespace, tmp_path: Path) -> None:
    with Machine(tmp_path, "tap", anyAddresses=("fd09::/64",)):
        ip("address", "add", "fd09::3/64", "dev", INTERFACE)
        until(lambda: "tentative" not in addressFlags("fd09::3"), "the kernel to take the address")
        assert "dadfailed" not in addressFlags("fd09::3")


@pytest.mark.parametrize("taken", KERNEL_ADDRESSES)
def test_anAddressThatTheKernelHasIsLost(namespace: Namespace, tmp_path: Path, taken: str) -> None:
    with Machine(tmp_path, "tap", ("10.9.0.2/24", "fd09::2/64", taken)) as machine:
        (link,) = json.loads(ip("-json", "link", "show", INTERFACE))
        lost = until(lambda: machine.state()["lost"], "the address to be lost")
        assert lost == [[taken.split("/")[0], link["address"]]]
        state = machine.state()
        assert taken not in state["addresses"]
        # The host keeps its other addresses and their networks.
        for address in "10.9.0.2", "fd09::2":
            assert ping(address, "-c", "1") == 1
            assert ask(address, bytes(3000)) == bytes(3000)
        assert len(machine.state()["lost"]) == 1


@pytest.mark.parametrize("taken", KERNEL_ADDRESSES)
def test_anAddressThatTheKernelGivesUpIsRegained(namespace: Namespace, tmp_path: Path, taken: str) -> None:
    address = taken.partition("/")[0]
    with Machine(tmp_path, "tap", ("10.9.0.2/24", "fd09::2/64", taken)) as machine:
        until(lambda: machine.state()["lost"], "the address to be lost")
        ip("address", "delete", taken, "dev", INTERFACE)
        # The host probes for the address within ten seconds, and uses it within four more.
        until(lambda: address in machine.state()["asked"], "a probe for the address")
        until(lambda: taken in machine.state()["addresses"], "the address to be regained")


def test_anAddressOfARoutedNetworkIsNotResolved(namespace: Namespace, tmp_path: Path) -> None:
    with (
        Machine(tmp_path, "tap", anyAddresses=("10.9.0.0/24", "10.77.0.0/16", "fd09::/64", "fd77::/48")),
        PacketSocket(INTERFACE, TAP) as network,
    ):
        for address in "10.77.3.4", "10.9.0.3", "10.9.0.2", "fd77::1", "fd09::3", "fd09::2":
            network.send(whoHas(address))
        told = {tells(frame) for frame in network.receivedUntil(lambda frame: tells(frame) == "fd09::2")}
        assert told - {""} == {"10.9.0.2", "fd09::2"}


def _dig(address: str, kind: str, *options: str, name: str = "www") -> list[str]:
    """
    Return the lines that C{dig} prints.
    """
    return run("dig", *options, "+tries=1", f"+time={PATIENCE:.0f}", f"@{address}", f"{name}.{ZONE}", kind).splitlines()


def _answered(client: socket.socket) -> int:
    """
    Wait for the answer of a name server that has an address, and return its query number.
    """
    answer = client.recv(2000)
    assert answer[3] & 0x0F == 0
    assert packAddress("192.0.2.7") in answer
    return int.from_bytes(answer[:2], "big")
