"""
Machines joined by a switch: network namespaces of the kernel, and a host in memory.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any
from urllib.request import urlopen

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from tests.real.lab.asking import pingUntilAnswered
from tests.real.lab.link import PacketSocket, delete
from tests.real.lab.namespace import PATIENCE, Namespace, needRoot, tool, until
from tests.real.lab.switch import INTERFACE, Machine, RunningSwitch, machines
from txtuntap.device.settings import InterfaceSettings
from txtuntap.network import Network
from txtuntap.stack.host import Host
from txtuntap.testing import ethernetFrame

FORGED, ALL = bytes.fromhex("0200000000 01"), b"\xff" * 6
TYPE = 0x88B5


def frame(source: bytes, dest: bytes, payload: bytes, vlan: int | None = None) -> bytes:
    """
    Make a frame of an EtherType that no kernel uses.
    """
    return ethernetFrame(source, dest, TYPE, payload.ljust(46, b"."), vlan)


def texts(frames: list[bytes]) -> list[bytes]:
    """
    Return the texts of those frames among C{frames} that L{frame} has made.
    """
    return [each[14:].rstrip(b".") for each in frames if each[12:14] == TYPE.to_bytes(2, "big")]


def untilText(listener: PacketSocket, last: bytes) -> list[bytes]:
    """
    Return the texts of the frames up to one with this text. Frames of one sender arrive in order.
    """
    return texts(listener.receivedUntil(lambda each: texts([each]) == [last]))


@pytest.fixture(autouse=True)
def _root() -> None:
    # The switch enters the namespaces, which needs root.
    needRoot()


def test_allMachinesReachEachOther(namespace: Namespace, tmp_path: Path) -> None:
    with machines(3) as members, RunningSwitch(tmp_path, members, six=True) as switch:
        for one in members:
            for other in members:
                if one is not other:
                    assert one.pings(other.address)
                    assert one.pings(f"fd09::{other.number}")
        assert switch.counters(members[0])["inFrames"] > 10
        assert "Traceback" not in switch.log()


def _measured(server: subprocess.Popen[str], near: Machine, far: Machine, *arguments: str) -> Any:
    """
    Run an iperf3 test between two machines, and return its totals.

    @param server: the iperf3 server that runs at C{far}.
    """
    assert server.stdout is not None
    # iperf3 prints this before each test. A client that connects too early gets "busy", with exit status 0.
    until(lambda: "listening" in server.stdout.readline(), "the server")  # type: ignore[union-attr]
    return json.loads(near.run("iperf3", "-c", far.address, "-J", *arguments))["end"]


@pytest.mark.measures
@pytest.mark.parametrize("more", [[], ["--no-offload"]], ids=["offload", "no-offload"])
def test_iperfMovesDataThroughTheSwitch(namespace: Namespace, tmp_path: Path, more: list[str]) -> None:
    with machines(2) as members, RunningSwitch(tmp_path, members, more=more) as switch:
        near, far = members
        with far.running(tool("iperf3"), "-s", "--forceflush") as server:
            for way in [], ["-R"]:
                end = _measured(server, near, far, "-n", "30M", *way)
                # Octets under way at the end may be missing.
                assert end["sum_received"]["bytes"] > 20_000_000
                end = _measured(server, near, far, "-u", "-b", "20M", "-n", "1M", *way)
                assert end["sum"]["bytes"] > 900_000
                assert end["sum"]["lost_percent"] < 20
        counters = switch.counters(near)
        assert set(counters) <= {"inFrames", "outFrames", "flooded", "inReserved"}, counters


def test_framesToAKnownStationReachOnlyItsPort(namespace: Namespace, tmp_path: Path) -> None:
    with machines(3) as members, RunningSwitch(tmp_path, members):
        near, far, third = members
        assert near.pings(far.address)
        with third.socket() as listener:
            assert near.pings(far.address)
            with near.socket() as sender:
                sender.send(frame(near.station, ALL, b"last"))
            frames = listener.receivedUntil(lambda each: texts([each]) == [b"last"])
        pair = {near.station, far.station}
        assert [each for each in frames if {each[:6], each[6:12]} == pair] == []


def test_vlansAreSeparated(namespace: Namespace, tmp_path: Path) -> None:
    ports = ["vlan=10", "vlan=20", "trunk=10+20"]
    with machines(3) as members, RunningSwitch(tmp_path, members, ports) as switch:
        ten, twenty, trunk = members
        assert ten.isSilent(twenty.address)
        with ten.socket() as atTen, twenty.socket() as atTwenty, trunk.socket() as atTrunk:
            for vlan in 10, 20, 30:
                atTrunk.send(frame(trunk.station, ALL, b"for %d" % vlan, vlan))
            for vlan in 10, 20:
                atTrunk.send(frame(trunk.station, ALL, b"last", vlan))
            assert untilText(atTen, b"last") == [b"for 10", b"last"]
            assert untilText(atTwenty, b"last") == [b"for 20", b"last"]
            # The kernel removes the tag before a packet socket receives the frame, but tcpdump shows it.
            only = f"ether dst {trunk.station.hex(':')} and vlan"
            with trunk.running(tool("tcpdump"), "-i", INTERFACE, "-e", "-n", "-q", "-l", "-c", "2", only) as watching:
                assert watching.stdout is not None
                until(lambda: "listening" in watching.stdout.readline(), "tcpdump")  # type: ignore[union-attr]
                # A port without a trunk drops tagged frames.
                atTen.send(frame(ten.station, ALL, b"tagged", 20))
                atTen.send(frame(ten.station, trunk.station, b"ten"))
                atTwenty.send(frame(twenty.station, trunk.station, b"twenty"))
                shown = watching.communicate(timeout=PATIENCE)[0]
        assert re.findall(r"vlan (\d+)", shown) == ["10", "20"], shown
        assert switch.counters(ten)["inVlans"] >= 1
        assert switch.counters(trunk)["inVlans"] >= 1


def test_isolatedPortsDoNotReachEachOther(namespace: Namespace, tmp_path: Path) -> None:
    with machines(3) as members, RunningSwitch(tmp_path, members, ["isolated", "isolated"]):
        one, other, server = members
        assert one.pings(server.address)
        assert server.pings(other.address)
        with one.socket() as sender, other.socket() as listener, server.socket() as also:
            for dest in ALL, other.station:
                sender.send(frame(one.station, dest, b"secret"))
            also.send(frame(server.station, ALL, b"last"))
            sender.send(frame(one.station, ALL, b"last"))
            assert untilText(listener, b"last") == [b"last"]
            assert b"secret" in untilText(also, b"last")
        assert one.isSilent(other.address)


def test_aForgedStationIsDropped(namespace: Namespace, tmp_path: Path) -> None:
    with machines(3) as members, RunningSwitch(tmp_path, members, [f"stations={FORGED.hex(':')}"]) as switch:
        bound, liar, third = members
        with bound.socket() as atBound, liar.socket() as atLiar, third.socket() as listener:
            # Send from the permitted station, from another one, and from one that forges the permitted address.
            atBound.send(frame(FORGED, ALL, b"true"))
            untilText(listener, b"true")
            atBound.send(frame(bound.station, ALL, b"false"))
            atBound.send(frame(FORGED, ALL, b"true again"))
            assert untilText(listener, b"true again") == [b"true again"]
            atLiar.send(frame(FORGED, ALL, b"forged"))
            atLiar.send(frame(liar.station, ALL, b"honest"))
            assert untilText(listener, b"honest") == [b"honest"]
            # Frames to the permitted station do not reach the forger.
            listener.send(frame(third.station, FORGED, b"private"))
            listener.send(frame(third.station, ALL, b"last"))
            assert b"private" in untilText(atBound, b"last")
            assert b"private" not in untilText(atLiar, b"last")
        assert switch.counters(bound)["inForbiddenSources"] >= 1
        assert switch.counters(liar)["inForbiddenSources"] == 1


def test_noFrameStopsTheSwitch(namespace: Namespace, tmp_path: Path) -> None:
    random = Random(1)
    addresses = [FORGED, ALL, bytes(6), bytes.fromhex("0180c2000000"), bytes.fromhex("01005e000001")]
    types = [b"\x81\0", b"\x88\xa8", b"\x08\0", b"\x86\xdd", b"\0\x10", b"\xff\xff"]
    with machines(3) as members, RunningSwitch(tmp_path, members, ["", "trunk=10-20,vlan=1"]) as switch:
        near, trunk, third = members
        with third.socket() as listener:
            for sender in near, trunk:
                with sender.socket() as socket:
                    known = [*addresses, near.station, trunk.station, third.station]
                    for turn in range(10):
                        for _ in range(100):
                            dest, source = random.choice(known), random.choice([*known, random.randbytes(6)])
                            headers = b"".join(random.choices(types, k=random.randrange(1, 5)))
                            rest = random.randbytes(random.choice([0, 1, 2, 3, 46, 1400]))
                            socket.send((dest + source + headers + rest)[:1514])
                        last = b"last of %d, %d" % (sender.number, turn)
                        socket.send(frame(sender.station, ALL, last))
                        untilText(listener, last)
        assert near.pings(third.address)
        assert trunk.pings(near.address)
        assert {"inSourceErrors", "inReserved", "inVlans"} <= switch.counters(near).keys()
        assert "Traceback" not in switch.log()
        # A line for each frame would fill the disk.
        assert len(switch.log().splitlines()) < 200


def test_framesAboveTheMTUAreDropped(namespace: Namespace, tmp_path: Path) -> None:
    with machines(3) as members, RunningSwitch(tmp_path, members, ["mtu=9000", "mtu=9000"]) as switch:
        near, far, small = members
        assert near.pings(far.address)
        assert near.pings(small.address)
        whole = "-c", "1", "-w", f"{PATIENCE:.0f}", "-i", "0.2", "-M", "do", "-s", str(9000 - 28)
        near.run("ping", *whole, far.address)
        # A switch drops a frame that is too long, and counts it. It does not send an error.
        near.run("ping", "-c", "1", "-W", "0.3", "-M", "do", "-s", str(9000 - 28), small.address, status=1)
        until(lambda: "mtuExceededDiscards" in switch.counters(small), "the frame to be counted")
        assert switch.counters(small)["mtuExceededDiscards"] == 1


def test_trafficOfEachPortIsMeasured(namespace: Namespace, tmp_path: Path) -> None:
    with machines(2) as members:
        endpoint = "tcp:9100:interface=127.0.0.1"
        with RunningSwitch(tmp_path, members, more=["--prometheus", endpoint]):
            assert members[0].pings(members[1].address)
            with urlopen("http://127.0.0.1:9100/metrics", timeout=PATIENCE) as answer:
                told = answer.read().decode()
    for machine in members:
        name = f"{INTERFACE}@{machine.path}"
        assert re.search(rf'txtuntap_packets_total\{{direction="in",interface="{name}"\}} [1-9]', told), told
        assert f'event="inFrames",interface="{name}",part="switch"' in told, told


def test_theSwitchContinuesWithoutADeletedInterface(namespace: Namespace, tmp_path: Path) -> None:
    with machines(3) as members, RunningSwitch(tmp_path, members) as switch:
        first, *rest = members
        first.do(lambda: delete(INTERFACE))
        until(lambda: "continues with the others" in switch.log(), "a log line about the interface")
        assert rest[0].pings(rest[1].address)
        for each in rest:
            each.do(lambda: delete(INTERFACE))
        assert switch.process.wait(PATIENCE) == 0
        assert "nothing to do: stopping" in switch.log()
        assert "Traceback" not in switch.log()


def test_aTunnelJoinsTwoSwitches(namespace: Namespace, tmp_path: Path) -> None:
    near, far = tmp_path / "near", tmp_path / "far"
    socket = f"unix:{tmp_path / 'tunnel'}"
    for each in near, far:
        each.mkdir()
    with machines(4) as members:
        here, there = members[:2], members[2:]
        ports = ["vlan=10", "vlan=20"]
        listening = ["--tunnel", f"listen={socket},trunk=10+20"]
        connecting = ["--tunnel", f"connect={socket},trunk=10+20"]
        with (
            RunningSwitch(near, here, ports, listening) as switch,
            RunningSwitch(far, there, ports, connecting) as other,
        ):
            until(lambda: "is up" in other.log(), "the tunnel")
            for one, peer, stranger in zip(here, there, reversed(there), strict=True):
                assert one.pings(peer.address)
                assert one.isSilent(stranger.address)
            # Transfer tagged superpackets.
            with there[0].running(tool("iperf3"), "-s", "--forceflush") as server:
                for way in [], ["-R"]:
                    end = _measured(server, here[0], there[0], "-n", "20M", *way)
                    assert end["sum_received"]["bytes"] > 10_000_000
            switch.counters(here[0])
            assert f"unix:{tmp_path / 'tunnel'}, tunnel: carriers 1" in switch.log()
        assert "Traceback" not in switch.log() + other.log()


def test_aTapThatCannotBeOpenedIsAnErrorInOneLine(namespace: Namespace, tmp_path: Path) -> None:
    with machines(1) as members:
        switch = RunningSwitch(tmp_path, members, more=["--tap", "tt9,netns=no-one-has-made-this"])
        with pytest.raises(AssertionError), switch:
            pass
        assert switch.process.wait(PATIENCE) == 1
        assert "no-one-has-made-this" in switch.log()
        assert "Traceback" not in switch.log().partition("twistd tuntap:")[2]


@pytest.fixture
def pair(namespace: Namespace) -> Iterator[list[Machine]]:
    """
    Make two machines, for a network that ends before them.
    """
    with machines(2) as members:
        yield members


def _fill(network: Network, members: list[Machine], netem: str | None = None) -> Host:
    """
    Add a switch to a network, with a host in memory, 10.9.0.9, and with taps in the machines' namespaces. C{netem} is
    on the link of the first tap.

    @return: the host.
    """
    switch = network.switch()
    for machine in members:
        settings = InterfaceSettings(addresses=[f"{machine.address}/24"])
        own = netem if machine is members[0] else None
        network.tap(INTERFACE, switch, own, namespace=machine.namespace, settings=settings)
    return network.host(["10.9.0.9/24", "fd09::9/64"], switch)


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_aHostInMemoryReachesTheMachines(pair: list[Machine], realtimeNetwork: Network) -> None:
    host = _fill(realtimeNetwork, pair)
    for machine in pair:
        assert await deferToThread(machine.pings, "10.9.0.9")
        pong = await host.ping(machine.address)
        assert pong.source == machine.address
    assert await deferToThread(pair[0].pings, pair[1].address)


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_anImpairmentLosesPacketsInBothDirections(
    pair: list[Machine], realtimeNetwork: Network, tmp_path: Path
) -> None:
    sent, arrived = tmp_path / "sent", tmp_path / "arrived"
    sent.write_bytes(os.urandom(200_000))
    _fill(realtimeNetwork, pair, "loss 10%")
    near, far = pair
    # Ping until both machines have resolved each other.
    await deferToThread(near.do, lambda: pingUntilAnswered(far.address))
    arguments = "-q", "-c", "200", "-i", "0.01", "-W", "1", far.address
    said = await deferToThread(near.run, "ping", *arguments)
    (lost,) = re.findall(r"([\d.]+)% packet loss", said)
    # The expected number is 19 of 100.
    assert 5 < float(lost) < 40, said
    with far.running(tool("socat"), "-u", "TCP-LISTEN:7,reuseaddr", f"CREATE:{arrived}") as server:
        target = f"TCP:{far.address}:7,retry={PATIENCE * 5:.0f},interval=0.2"
        await deferToThread(near.run, "socat", "-u", f"OPEN:{sent}", target)
        await deferToThread(server.wait, PATIENCE)
    assert arrived.read_bytes() == sent.read_bytes()
