"""
Tests of the examples that need no kernel. L{tests.real.test_examples} has the others.
"""

from __future__ import annotations

import ast
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from twisted.internet.address import IPv4Address

from tests.paths import EXAMPLES
from txtuntap import Packet
from txtuntap.tcp import Answer, UnclaimedSYN
from txtuntap.wire import arp
from txtuntap.wire.capturefile import readCapture
from txtuntap.wire.tcp import Options

each = pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)


def run(directory: Path, *command: str | Path, status: int = 0, **environment: str) -> str:
    """
    Run a command in a directory, check its exit status, and return its output.
    """
    finished = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert finished.returncode == status, finished.stdout
    return finished.stdout


@each
def test_eachExampleHasFewerThanAHundredLines(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 100


@each
def test_eachExampleHasADocstring(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("test_with_memory.py", 3),
        ("test_lossy_network.py", 2),
        ("test_lossy_tcp.py", 2),
        ("test_lossy_wireguard.py", 2),
    ],
)
@pytest.mark.parametrize(
    ("runner", "summary"),
    [(["-m", "twisted.trial"], "PASSED (successes={})"), (["-m", "pytest"], "{} passed"), ([], "\nOK\n")],
    ids=["trial", "pytest", "unittest"],
)
def test_theTestCaseRunsUnder(runner: list[str], summary: str, name: str, count: int, tmp_path: Path) -> None:
    assert summary.format(count) in run(tmp_path, sys.executable, *runner, EXAMPLES / name)


def test_theDemoWithoutUnshareRunsInMemory(tmp_path: Path) -> None:
    output = run(tmp_path, sys.executable, EXAMPLES / "demo.py", PATH=str(tmp_path))
    assert "there is no 'unshare'" in output
    assert "apt-get install util-linux" in output
    titles = [line for line in output.splitlines() if ", IPv" in line]
    assert titles == ["tun, IPv4", "tun, IPv6", "tap, IPv4", "tap, IPv6"]
    assert output.endswith("Four conversations, four answers.\n")


def test_theTwoHostsPrintTheLinesOfTheirDocstring(tmp_path: Path) -> None:
    docstring = ast.get_docstring(ast.parse((EXAMPLES / "two_hosts.py").read_text())) or ""
    expected = docstring.partition("two_hosts.py\n")[2]
    printed = run(tmp_path, sys.executable, EXAMPLES / "two_hosts.py")
    assert printed.split("\n")[:3] == [line.strip() for line in expected.split("\n")][:3]


@pytest.mark.parametrize(
    "command",
    [
        "hub.py",
        pytest.param("owned_tap.py make", marks=pytest.mark.linux),
        "qemu_client.py tcp:127.0.0.1:5000",
        pytest.param("queues.py 0", marks=pytest.mark.linux),
        pytest.param("queues.py many", marks=pytest.mark.linux),
        "tap_over_tcp.py tap0 10.9.0.1/24 hear tcp:4000",
        "tun_over_tcp.py",
        "vxlan_to_kernel.py udp:192.0.2.2:4789 x 10.0.0.1/24 10.0.0.2",
        "wireguard_host.py",
    ],
)
def test_anExampleWithWrongArgumentsPrintsItsUsage(command: str, tmp_path: Path) -> None:
    name, *arguments = command.split()
    printed = run(tmp_path, sys.executable, EXAMPLES / name, *arguments, status=1)
    assert printed.splitlines()[-1].startswith(f"usage: python examples/{name} ")
    assert "Traceback" not in printed


@pytest.mark.parametrize("name", ["wireguard_mesh.py", "wireguard_roaming.py"])
def test_theWireGuardExamplePrintsTheLinesOfItsDocstring(name: str, tmp_path: Path) -> None:
    docstring = ast.get_docstring(ast.parse((EXAMPLES / name).read_text())) or ""
    expected = docstring.partition(f"{name}\n")[2].partition("\n\n")[0]
    printed = run(tmp_path, sys.executable, EXAMPLES / name)
    assert printed.splitlines() == [line.strip() for line in expected.splitlines()]


def test_theARPWatcherEvictsTheStationHeardLeastRecently(capsys: pytest.CaptureFixture[str]) -> None:
    names = runpy.run_path(str(EXAMPLES / "arp_watcher.py"))
    watcher = names["ARPWatcher"]()

    def heard(host: int, station: int = 1) -> str:
        sender = bytes((10, 0)) + host.to_bytes(2, "big")
        message = arp.ARP(arp.REQUEST, bytes((2, 0, 0, 0, 0, station)), sender, bytes(6), bytes(4))
        watcher.packetReceived(Packet(message.pack()))
        return capsys.readouterr().out

    for host in range(names["MAX_STATIONS"]):
        assert "is at" in heard(host)
    assert heard(0) == ""
    # One more station evicts the second one, because the first one was heard again.
    heard(5000)
    assert "has moved to 02:00:00:00:00:02 from 02:00:00:00:00:01" in heard(0, station=2)
    assert "is at   02:00:00:00:00:02" in heard(1, station=2)


def test_theCapturePrintsTheLinesOfItsDocstring(tmp_path: Path) -> None:
    docstring = ast.get_docstring(ast.parse((EXAMPLES / "capture.py").read_text())) or ""
    expected = [line.strip() for line in docstring.partition("capture.py hour.pcapng\n")[2].split("\n")][:2]
    path = str(EXAMPLES.parent)
    printed = run(tmp_path, sys.executable, EXAMPLES / "capture.py", "hour.pcapng", PYTHONPATH=path)
    assert printed.splitlines() == expected
    with (tmp_path / "hour.pcapng").open("rb") as file:
        packets = list(readCapture(file))
    assert packets[-2].comments == ("minute 59",)
    assert packets[-1].time == 59 * 60 * 1_000_000_000


def test_theTCPHoneypotPrintsAFewLinesASecond(capsys: pytest.CaptureFixture[str]) -> None:
    names = runpy.run_path(str(EXAMPLES / "tcp_honeypot.py"))
    honeypot = names["Honeypot"]()
    end = IPv4Address("TCP", "10.77.0.9", 24)
    for _ in range(2):
        for _ in range(500):
            assert honeypot.unclaimed(UnclaimedSYN(end, end, Options(), False)) is Answer.REFUSE
        honeypot.everySecond()
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == names["MAX_LINES"] + 1
        assert lines[0] == "10.77.0.9 > 10.77.0.9 port 24: is refused"
        assert lines[-1] == f"... and {500 - names['MAX_LINES']} more"
    honeypot.everySecond()
    assert capsys.readouterr().out == ""
