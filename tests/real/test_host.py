"""
A whole host as the usual tools meet it, on a tun and on a tap.
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

#: Of the payload: around what fits into 1500 octets, and the most that IPv4 carries.
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
def test_noSizeIsLeftOut(machine: Machine, address: str, step: int) -> None:
    # With a step of 4, each version on each device has another quarter of all sizes.
    first = (2 * (machine.mode == "tap") + (":" in address)) % step
    data = random.Random(1).randbytes(65507 + 256)
    with connected(address) as client:
        for size in range(first, 65508, step):
            # Where it begins tells one from the next.
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


def test_addressesNobodyElseHasAreClaimed(machine: Machine) -> None:
    # And the link-local one that it has by itself; where there is no link, there is nobody to claim them from.
    count = 3 if machine.mode == "tap" else 0
    until(lambda: len(machine.state()["claimed"]) == count, "all to be announced")
    assert machine.state()["lost"] == []


def test_arpingIsAnswered(namespace: Namespace, tmp_path: Path) -> None:
    with Machine(tmp_path, "tap") as machine:
        before = machine.state()["counters"]["arp"].get("outReplies", 0)
        said = run("arping", "-i", INTERFACE, "-W", "0.01", "-C", "5", "10.9.0.2")
        assert "5 packets received" in said
        assert said.count(STATION) == 5
        # An answer may come after another question, but there is one to each.
        (asked,) = re.findall(r"(\d+) packets transmitted", said)
        until(lambda: machine.state()["counters"]["arp"]["outReplies"] - before >= int(asked), "an answer to each")
        # An ARP probe, as a host sends one before it takes an address.
        assert STATION in run("arping", "-0", "-i", INTERFACE, "-C", "1", "10.9.0.2")
        run("arping", "-0", "-i", INTERFACE, "-c", "1", "-w", "0.2", "10.9.0.3", status=1)


def test_theKernelFindsTheStation(namespace: Namespace, tmp_path: Path) -> None:
    with Machine(tmp_path, "tap"):
        for address in "10.9.0.2", "fd09::2":
            assert ping(address, "-c", "1") == 1
            (found,) = json.loads(ip("-json", "neighbour", "show", address, "dev", INTERFACE))
            assert found["lladdr"] == STATION
            assert found["state"] == ["REACHABLE"]


def test_theKernelIsToldThatOurAddressIsTaken(namespace: Namespace, tmp_path: Path) -> None:
    with Machine(tmp_path, "tap") as machine:
        until(lambda: len(machine.state()["claimed"]) == 3, "it to be ours")
        ip("address", "add", "fd09::2/64", "dev", INTERFACE)
        until(lambda: "dadfailed" in addressFlags("fd09::2"), "the kernel to give the address up")
        ip("address", "delete", "fd09::2/64", "dev", INTERFACE)
        # That was not the kernel's saying that it has the address.
        assert ping("fd09::2", "-c", "1") == 1
        assert machine.state()["lost"] == []


def test_theKernelMayHaveAnAddressThatIsNotOurs(namespace: Namespace, tmp_path: Path) -> None:
    with Machine(tmp_path, "tap", anyAddresses=("fd09::/64",)):
        ip("address", "add", "fd09::3/64", "dev", INTERFACE)
        until(lambda: "tentative" not in addressFlags("fd09::3"), "the kernel to take the address")
        assert "dadfailed" not in addressFlags("fd09::3")


@pytest.mark.parametrize("taken", KERNEL_ADDRESSES)
def test_anAddressOfTheKernelsIsLostToIt(namespace: Namespace, tmp_path: Path, taken: str) -> None:
    with Machine(tmp_path, "tap", ("10.9.0.2/24", "fd09::2/64", taken)) as machine:
        (link,) = json.loads(ip("-json", "link", "show", INTERFACE))
        lost = until(lambda: machine.state()["lost"], "the address to be lost")
        assert lost == [[taken.split("/")[0], link["address"]]]
        state = machine.state()
        assert taken not in state["addresses"]
        # The others stay, and so does the way to their networks.
        for address in "10.9.0.2", "fd09::2":
            assert ping(address, "-c", "1") == 1
            assert ask(address, bytes(3000)) == bytes(3000)
        assert len(machine.state()["lost"]) == 1


@pytest.mark.parametrize("taken", KERNEL_ADDRESSES)
def test_anAddressThatTheKernelLeavesIsOurs(namespace: Namespace, tmp_path: Path, taken: str) -> None:
    address = taken.partition("/")[0]
    with Machine(tmp_path, "tap", ("10.9.0.2/24", "fd09::2/64", taken)) as machine:
        until(lambda: machine.state()["lost"], "the address to be lost")
        ip("address", "delete", taken, "dev", INTERFACE)
        # The host asks for it within ten seconds, and has it within four more.
        until(lambda: address in machine.state()["asked"], "it to be asked for")
        until(lambda: taken in machine.state()["addresses"], "it to be ours")


def test_nobodyIsToldOfANetworkBehindARoute(namespace: Namespace, tmp_path: Path) -> None:
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
    The lines that C{dig} writes.
    """
    return run("dig", *options, "+tries=1", f"+time={PATIENCE:.0f}", f"@{address}", f"{name}.{ZONE}", kind).splitlines()


def _answered(client: socket.socket) -> int:
    """
    Wait for an answer of a name server, with an address in it, and return its number.
    """
    answer = client.recv(2000)
    assert answer[3] & 0x0F == 0
    assert packAddress("192.0.2.7") in answer
    return int.from_bytes(answer[:2], "big")
