"""
A host that answers for a whole network on the link, with the kernel as its neighbour.
"""

from __future__ import annotations

from pathlib import Path

from tests.real.lab.asking import addressFlags, askForNeighboursOnce, ping, station, tells, whoHas
from tests.real.lab.link import PacketSocket, setUp, untilQueueStarted
from tests.real.lab.machine import INTERFACE, STATION, Machine
from tests.real.lab.namespace import Namespace, ip, run, until
from txtuntap.device import TAP

OWN = ("10.9.0.2/16", "fd09::2/64")
KERNEL = ("10.9.0.1/16", "fd09::1/64")
NETWORKS = ("10.9.0.0/16", "fd09::/64")

OTHER_STATION = "02:00:00:00:00:03"
BRIDGE = "ttb0"


def machine(directory: Path, kernelAddresses: tuple[str, ...] = KERNEL) -> Machine:
    return Machine(directory, "tap", OWN, kernelAddresses, NETWORKS, answerFor=NETWORKS, answerExcept=["10.9.0.7"])


def test_everyAddressOnTheLinkIsFoundAndAnswers(namespace: Namespace, tmp_path: Path) -> None:
    with machine(tmp_path) as made:
        askForNeighboursOnce(INTERFACE)
        for address in "10.9.0.77", "10.9.200.1", "10.9.255.254", "fd09::77", "fd09::1:2:3", "10.9.0.2", "fd09::2":
            assert ping(address, "-c", "1") == 1
            assert station(address) == STATION
        assert ping("10.9.0.7", "-c", "1", "-W", "0.5") == 0
        counters = made.state()["counters"]
        assert (counters["arp"]["outAnyReplies"], counters["ndp"]["outAnyAdvertisements"]) == (3, 2)


def test_aStationThatProbesForAnAddressGetsIt(namespace: Namespace, tmp_path: Path) -> None:
    with machine(tmp_path):
        run("arping", "-0", "-i", INTERFACE, "-c", "1", "-w", "0.2", "10.9.0.55", status=1)
        ip("address", "add", "10.9.0.55/16", "dev", INTERFACE)
        ip("address", "add", "fd09::55/64", "dev", INTERFACE)
        until(lambda: "tentative" not in addressFlags("fd09::55"), "the kernel to take the address")
        assert "dadfailed" not in addressFlags("fd09::55")
        # The station also keeps the address: the host no longer answers for it.
        with PacketSocket(INTERFACE, TAP) as network:
            for address in "10.9.0.55", "fd09::55", "10.9.0.56", "fd09::56":
                network.send(whoHas(address))
            told = {tells(frame) for frame in network.receivedUntil(lambda frame: tells(frame) == "fd09::56")}
        assert told - {""} == {"10.9.0.56", "fd09::56"}


def test_addressesThatAnotherStationHasAreLeftAlone(namespace: Namespace, tmp_path: Path) -> None:
    ip("link", "add", BRIDGE, "type", "bridge")
    setUp(BRIDGE, *KERNEL)
    other = Machine(tmp_path, "tap", ("10.9.0.3/16", "fd09::3/64"), (), interface="tt1", station=OTHER_STATION)
    with machine(tmp_path, ()) as one:
        ip("link", "set", INTERFACE, "master", BRIDGE)
        with other as two:
            ip("link", "set", "tt1", "master", BRIDGE)
            until(lambda: len(two.state()["claimed"]) == 3, "the other machine to claim its addresses")
            untilQueueStarted(BRIDGE)
            askForNeighboursOnce(BRIDGE)
            for address in "10.9.0.3", "fd09::3":
                assert ping(address, "-c", "1") == 1
                assert station(address, BRIDGE) == OTHER_STATION
            said = run("arping", "-i", BRIDGE, "-W", "0.01", "-C", "5", "10.9.0.3")
            assert said.count(OTHER_STATION) == 5
            assert STATION not in said
            for address in "10.9.0.4", "fd09::4":
                assert ping(address, "-c", "1") == 1
                assert station(address, BRIDGE) == STATION
            counters = one.state()["counters"]
            assert (counters["arp"]["outAnyReplies"], counters["ndp"]["outAnyAdvertisements"]) == (1, 1)
            assert one.state()["lost"] == two.state()["lost"] == []
    ip("link", "delete", BRIDGE)
