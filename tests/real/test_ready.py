"""
Tests for the line in the log by which each service of C{twistd tuntap} says that it is ready.
"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.real.lab.host import endProcess, twistd
from tests.real.lab.link import show
from tests.real.lab.namespace import Namespace, until
from txtuntap.wireguard.keys import PrivateKey, keyText


def readyLine(directory: Path, *arguments: str) -> str:
    """
    Run a service until its log says that it is ready.

    @return: the line, from the name of the service on. There is only one.
    """
    process = twistd("-n", "--pidfile=", "tuntap", *arguments, cwd=directory)
    log = directory / "twistd.log"
    try:
        until(lambda: " is ready: " in log.read_text() or process.poll() is not None, "the line in the log")
        kernel = show("tt0") if "tt0" in "".join(arguments) else {}
    finally:
        endProcess(process)
    (line,) = [line for line in log.read_text().splitlines() if " is ready: " in line]
    mtu = f"MTU {kernel['mtu']}, " if kernel else ""
    assert mtu in line
    return line.partition("] ")[2]


@pytest.mark.parametrize(("options", "offload"), [((), "on"), (("--no-offload",), "off")])
def test_aHostSaysItsAddressesAndTheKernels(
    namespace: Namespace, tmp_path: Path, options: tuple[str, ...], offload: str
) -> None:
    words = ["--address", "10.9.0.2/24", "--address", "fd09::2/64", "--kernel-address", "10.9.0.1/24", "--mtu", "1400"]
    assert readyLine(tmp_path, "host", "--tun", "tt0", *words, *options) == (
        f"A host on tt0 is ready: addresses 10.9.0.2/24 and fd09::2/64, peer 10.9.0.1/24, MTU 1400, offload {offload}"
    )


def test_aHostOfSeveralProcessesSaysItOnce(namespace: Namespace, tmp_path: Path) -> None:
    words = ["--tun", "tt%d", "--any-address", "10.9.0.0/24", "--queues", "3"]
    line = readyLine(tmp_path, "host", *words)
    assert line == "A host on tt0 is ready: addresses any of 10.9.0.0/24, peer none, MTU 1500, offload on"


@pytest.mark.parametrize(
    ("end", "peer"),
    [
        (("--listen", "tcp:4000:interface=127.0.0.1"), "awaited at tcp:4000:interface=127.0.0.1"),
        (("--connect", "tcp:127.0.0.1:4000"), "at tcp:127.0.0.1:4000"),
        (("--connect", "udp:127.0.0.1:4000"), "at udp:127.0.0.1:4000"),
        (("--listen", "udp:4000:interface=127.0.0.1"), "awaited at udp:4000:interface=127.0.0.1"),
    ],
)
def test_aTunnelSaysItsPeer(namespace: Namespace, tmp_path: Path, end: tuple[str, ...], peer: str) -> None:
    line = readyLine(tmp_path, "tunnel", "--tun", "tt0", "--kernel-address", "10.9.0.1/24", *end)
    offload = "on" if "tcp" in peer else "off"
    assert line == f"A tunnel on tt0 is ready: addresses 10.9.0.1/24, peer {peer}, MTU 1500, offload {offload}"


def test_aSwitchSaysAllItsPortsInOneLine(namespace: Namespace, tmp_path: Path) -> None:
    tunnel = "listen=tcp:4000:interface=127.0.0.1,mtu=1400"
    taps = ["--tap", "tt0,address=10.9.0.1/24,mtu=1450", "--tap", "tt1"]
    line = readyLine(tmp_path, "switch", *taps, "--tunnel", tunnel)
    assert line == (
        "A switch is ready: ports tt0 (addresses 10.9.0.1/24, MTU 1450, offload on);"
        " tt1 (addresses none, MTU 1500, offload on); tcp:4000:interface=127.0.0.1"
        " (peer awaited at tcp:4000:interface=127.0.0.1, MTU 1400, offload on)"
    )


@pytest.mark.parametrize("isHost", [False, True])
def test_aWireGuardSaysItsPeersAndItsKey(namespace: Namespace, tmp_path: Path, isHost: bool) -> None:
    key, peer = PrivateKey.generate(), PrivateKey.generate()
    file = tmp_path / "tt0.conf"
    file.write_text(
        f"[Interface]\nPrivateKey = {keyText(key.secret())}\nAddress = 10.9.0.1/24\nListenPort = 51820\n"
        f"[Peer]\nPublicKey = {keyText(peer.public)}\nAllowedIPs = 10.9.0.2/32\n"
    )
    file.chmod(0o600)
    peers = f"peers 1, UDP port 51820, public key {keyText(key.public)}"
    if isHost:
        what, offload, arguments = "A host behind WireGuard wg0", "off", ["host", "--wireguard", "wg0.conf"]
        file.rename(tmp_path / "wg0.conf")
    else:
        what, offload, arguments = "A WireGuard on tt0", "on", ["wireguard", "--tun", "tt0", "--config", file.name]
    assert readyLine(tmp_path, *arguments) == (
        f"{what} is ready: addresses 10.9.0.1/24, {peers}, MTU 1420, offload {offload}"
    )


def test_theServiceManagerIsTold(namespace: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        readyLine(tmp_path, "host", "--tun", "tt0", "--address", "10.9.0.2/24")
        manager.setblocking(False)
        assert manager.recv(100) == b"READY=1"
