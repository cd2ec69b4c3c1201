"""
Interfaces in another network namespace than the process's: they are made, moved, configured and monitored there.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from tests.real.lab.link import untilHas
from tests.real.lab.namespace import Namespace, another, interfaces, ip, names, needRoot
from tests.real.lab.reactors import Run, onEachReactor
from txtuntap import Host, TuntapPort
from txtuntap.device import TAP, TUN
from txtuntap.device.configure import configure, configureInterface, move, moveInterface
from txtuntap.device.linux import LinuxDevice, link
from txtuntap.device.linux.namespace import DIRECTORY, inNamespace
from txtuntap.device.monitor import InterfaceMonitor
from txtuntap.device.settings import InterfaceSettings
from txtuntap.device.state import read, readInterface, readInterfaces
from txtuntap.udp.echo import Echo

SETTINGS = InterfaceSettings(addresses=["10.9.0.1/24", "fd09::1/64"], mtu=1400)


async def assertEchoes(run: Run, namespace: int) -> None:
    """
    Send datagrams to the host at 10.9.0.2 and fd09::2 from C{namespace}, repeatedly, until the link has come up.
    """
    # A socket keeps its first source address. So wait until the interface has its addresses.
    inNamespace(namespace, lambda: untilHas("tt0", *map(str, SETTINGS.addresses)))
    for family, address in (socket.AF_INET, "10.9.0.2"), (socket.AF_INET6, "fd09::2"):
        with inNamespace(namespace, lambda family=family: socket.socket(family, socket.SOCK_DGRAM)) as client:  # type: ignore[misc]
            client.setblocking(False)
            client.connect((address, 7))
            answers: list[bytes] = []

            def come(client: socket.socket = client, answers: list[bytes] = answers) -> bool:
                try:
                    client.send(b"hello")
                    answers.append(client.recv(100))
                except BlockingIOError:
                    return False
                return True

            await run.until(come, f"an answer of {address}")
            assert answers == [b"hello"]


def port(run: Run, mode: int, device: LinuxDevice) -> TuntapPort:
    """
    Make a port with an echo host on a device.
    """
    host = Host(["10.9.0.2/24", "fd09::2/64"], run.reactor)
    host.listenUDP(7, Echo())
    made = TuntapPort("", host.ethernet if mode == TAP else host.ip, reactor=run.reactor, device=device)
    made.startListening()
    return made


@onEachReactor
async def test_aPortIsMadeInAnotherNamespace(run: Run) -> None:
    for mode in TUN, TAP:
        with another() as there:
            device = LinuxDevice("tt0", mode, namespace=there)
            listening = port(run, mode, device)
            assert names(there) == {"tt0"}
            assert interfaces() == set()
            # The device knows its namespace, so configure needs no other argument for it.
            configured = await configure("tt0", SETTINGS, device, run.reactor)
            assert (device.mtu, readInterface("tt0", there).mtu) == (1400, 1400)
            await assertEchoes(run, there)
            await configured.restore(run.reactor)
            state = await read("tt0", run.reactor, there)
            assert (state.mtu, state.up) == (1500, False)
            await listening.stopListening()
            assert names(there) == set()


@onEachReactor
async def test_aPortIsMovedToAnotherNamespace(run: Run) -> None:
    for mode in TUN, TAP:
        with another() as there:
            listening = port(run, mode, LinuxDevice("tt0", mode))
            await configure("tt0", SETTINGS, reactor=run.reactor)
            await move("tt0", there, run.reactor)
            assert (interfaces(), names(there)) == (set(), {"tt0"})
            # The move keeps only the device and its MTU.
            state = await read("tt0", run.reactor, there)
            assert (state.up, state.mtu, state.addresses) == (False, 1400, ())
            await configure("tt0", SETTINGS, reactor=run.reactor, namespace=there)
            await assertEchoes(run, there)
            assert listening.connected
            await listening.stopListening()
            assert names(there) == set()


@onEachReactor
async def test_anotherNamespaceIsMonitored(run: Run) -> None:
    with another() as there:
        told: list[tuple[str, str]] = []
        monitor = InterfaceMonitor(run.reactor, there)
        monitor.subscribe(lambda event: told.append((event.name, event.kind)))
        await monitor.start()
        with LinuxDevice("tt0", TAP), LinuxDevice("tt1", TAP, namespace=there):
            await run.until(lambda: ("tt1", "added") in told, "an event of the other namespace")
            inNamespace(there, lambda: ip("link", "set", "tt1", "up"))
            await run.until(lambda: ("tt1", "up") in told, "an event of the other namespace")
        await run.until(lambda: ("tt1", "removed") in told, "an event of the other namespace")
        assert {name for name, _ in told} == {"tt1"}
        monitor.stop()


def test_theStateIsReadInTheOtherNamespace(namespace: Namespace) -> None:
    with another() as there, LinuxDevice("tt0", TUN), LinuxDevice("tt1", TAP, namespace=there):
        configureInterface("tt1", ["10.9.1.1/24"], routes=["10.8.0.0/16"], namespace=there)
        (found,) = json.loads(inNamespace(there, lambda: ip("-json", "route", "show", "10.8.0.0/16")))
        assert found["dev"] == "tt1"
        assert {state.name for state in readInterfaces(there)} == {"lo", "tt1"}
        assert {state.name for state in readInterfaces()} == {"lo", "tt0"}
        with pytest.raises(OSError, match="find tt1"):
            readInterface("tt1")


def test_anInterfaceIsMovedByPathAndBack(namespace: Namespace) -> None:
    here = f"/proc/{os.getpid()}/ns/net"
    with another() as there, LinuxDevice("tt0", TUN):
        path = f"/proc/self/fd/{there}"
        moveInterface("tt0", path)
        assert names(there) == {"tt0"}
        # The name is in use in the other namespace, so the interface stays.
        with LinuxDevice("tt0", TUN):
            with pytest.raises(OSError, match=r"cannot move tt0 to the network namespace .*: .*exists"):
                moveInterface("tt0", path)
            assert interfaces() == {"tt0"}
        moveInterface("tt0", here, path)
        assert (interfaces(), names(there)) == ({"tt0"}, set())


def test_aNamespaceIsFoundByItsName(namespace: Namespace) -> None:
    needRoot()
    name = f"tt-{os.getpid()}"
    ip("netns", "add", name)
    try:
        with LinuxDevice("tt0", TUN, namespace=name):
            assert [each["ifname"] for each in json.loads(ip("-json", "-netns", name, "link", "show"))] == ["lo", "tt0"]
    finally:
        ip("netns", "delete", name)


def test_invalidNamespacesAreErrors(namespace: Namespace, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match=rf"{DIRECTORY}/none: No such file or directory: make it \('ip netns add none'\)"):
        LinuxDevice("tt0", TUN, namespace="none").open()
    other = tmp_path / "file"
    other.touch()
    for call in (lambda: readInterface("lo", str(other)), lambda: configureInterface("lo", namespace=str(other))):
        with pytest.raises(OSError, match=r"cannot enter .*/file: it is not a network namespace"):
            call()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=r"cannot enter .*/pipe: it is not a network namespace"):
        readInterface("lo", str(tmp_path / "pipe"))
    with pytest.raises(OSError, match="cannot find tt0"):
        moveInterface("tt0", "none")
    with LinuxDevice("tt0", TUN), pytest.raises(OSError, match="none: No such file"):
        moveInterface("tt0", "none")
    assert len(os.listdir("/proc/self/fd")) == before


def test_anotherInterfaceOfTheSameNameIsNotUsed(namespace: Namespace) -> None:
    for mode, kind in (TUN, "tun"), (TAP, "tap"):
        with another() as there, LinuxDevice("tt0", mode, namespace=there) as device:
            ip("tuntap", "add", "mode", kind, "name", "tt0")
            ip("link", "set", "tt0", "mtu", "1300")
            with LinuxDevice("", mode, descriptor=os.dup(device.fileno())) as adopted:
                assert (adopted.name, adopted.mtu, adopted.linkAddress) == ("tt0", 1500, device.linkAddress)
            # Without permission to ask for the namespace, only a tap can be told apart.
            if mode == TAP:
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(link, "TUNGETDEVNETNS", 0)
                    with LinuxDevice("", mode, descriptor=os.dup(device.fileno())) as adopted:
                        assert (adopted.mtu, adopted.linkAddress) == (1500, device.linkAddress)
            inside = LinuxDevice("", mode, descriptor=os.dup(device.fileno()), namespace=there)
            configureInterface("tt0", namespace=there, mtu=1400)
            with inside:
                assert (inside.mtu, inside.linkAddress) == (1400, device.linkAddress)
            ip("link", "delete", "tt0")
