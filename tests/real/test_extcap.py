"""
Tests for C{txtuntap extcap}: C{tshark} lists the interfaces, and captures them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.real.lab.capturing import ENVIRONMENT
from tests.real.lab.host import Host
from tests.real.lab.link import delete
from tests.real.lab.namespace import PATIENCE, Namespace, ip, tool, until
from txtuntap.command import extcap, main
from txtuntap.device import TAP, TUN
from txtuntap.device.linux import LinuxDevice


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """
    A home directory of the test's own, into which the program is installed.
    """
    tool("tshark")
    for variable in "XDG_CONFIG_HOME", "XDG_DATA_HOME", "WIRESHARK_CONFIG_DIR", "WIRESHARK_EXTCAP_DIR":
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["extcap", "install"]) == 0
    return tmp_path


def tshark(*arguments: str) -> list[str]:
    """
    Run C{tshark}, and return the lines of its output.
    """
    command = [tool("tshark"), *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert finished.returncode == 0, finished.stderr
    assert "txtuntap:" not in finished.stderr
    return finished.stdout.splitlines()


def listed() -> dict[str, str]:
    """
    Return the interfaces of this package in the list of C{tshark}, with their descriptions.
    """
    names = (line.split(". ", 1)[1] for line in tshark("-D"))
    return {name.split()[0]: name.partition(" ")[2] for name in names if name.startswith("txtuntap-")}


@contextmanager
def pinging(address: str) -> Iterator[None]:
    """
    Ping an address within a C{with} statement, ten times a second.
    """
    with subprocess.Popen([tool("ping"), "-i", "0.1", address], stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


def answered(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """
    Ask as Wireshark does. Nothing is written to standard error, because Wireshark would show it as an error.
    """
    assert main(["extcap", *arguments]) == 0
    answer = capsys.readouterr()
    assert answer.err == ""
    return answer.out.splitlines()


def test_tsharkListsTheInterfaces(namespace: Namespace, home: Path) -> None:
    assert listed() == {}
    ip("link", "add", "veth0", "type", "veth", "peer", "veth1")
    with LinuxDevice("tt1", TUN), LinuxDevice("tt{2", TAP), LinuxDevice("tt\x1b3", TAP), Host(home, "tap"):
        assert listed() == {
            "txtuntap-tt0": "(tt0, TAP interface, by its service)",
            "txtuntap-tt1": "(tt1, TUN interface, by a packet socket)",
        }
    assert main(["extcap", "uninstall"]) == 0
    with LinuxDevice("tt1", TUN):
        assert listed() == {}


@pytest.mark.parametrize("mode", ["tun", "tap"])
def test_tsharkCapturesThroughTheService(namespace: Namespace, home: Path, mode: str) -> None:
    fields = "-T", "fields", "-e", "frame.protocols", "-e", "icmp.type"
    with Host(home, mode), pinging("10.9.0.2"):
        lines = tshark("-i", "txtuntap-tt0", "-c", "8", "-Y", "icmp", *fields)
    link = "eth:ethertype" if mode == "tap" else "raw"
    # Requests have the type 8, and answers 0.
    assert {tuple(line.split("\t")) for line in lines} == {(f"{link}:ip:icmp:data", kind) for kind in "80"}


def test_tsharkCapturesByAPacketSocket(namespace: Namespace, home: Path) -> None:
    with Host(home, more=("--no-control",)), pinging("10.9.0.2"):
        assert listed() == {"txtuntap-tt0": "(tt0, TUN interface, by a packet socket)"}
        lines = tshark("-i", "txtuntap-tt0", "-c", "8", "-Y", "icmp")
    assert len(lines) >= 2


def test_theDirectionIsAnOptionOfTheInterface(
    namespace: Namespace, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = answered(capsys, "--extcap-config", "--extcap-interface", "txtuntap-tt0")
    assert lines[0] == "arg {number=0}{call=--direction}{display=Direction}{type=selector}"
    assert [line.split("}")[1] for line in lines[1:]] == ["{value=both", "{value=in", "{value=out"]
    fifo = home / "fifo"
    os.mkfifo(fifo)
    with Host(home), pinging("10.9.0.2"):
        words = "--capture", "--extcap-interface", "txtuntap-tt0", "--fifo", str(fifo), "--direction", "out"
        program = Path(home, ".config/wireshark/extcap/txtuntap")
        with subprocess.Popen([program, *words], stderr=subprocess.PIPE) as process:
            capture = ["tshark", "-r", str(fifo), "-c", "3", "-T", "fields", "-e", "ip.src"]
            sources = subprocess.run(capture, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
            # The reader of the pipe has gone, which is the end of a capture.
            assert process.wait(PATIENCE) == 0
            assert process.stderr is not None
            assert process.stderr.read() == b""
    assert sources.split() == ["10.9.0.2"] * 3


def test_theDirectionIsAPreferenceOfTshark(namespace: Namespace, home: Path) -> None:
    with Host(home), pinging("10.9.0.2"):
        fields = "-T", "fields", "-e", "ip.src", "-Y", "icmp"
        lines = tshark("-o", "extcap.txtuntap_tt0.direction:in", "-i", "txtuntap-tt0", "-c", "4", *fields)
    assert set(lines) == {"10.9.0.1"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_aSignalEndsTheProgramSilentlyAtAnyTime(namespace: Namespace, home: Path, number: int) -> None:
    program = Path(home, ".config/wireshark/extcap/txtuntap")
    for seconds in 0.0, 0.2, 0.5:
        with subprocess.Popen([program, "--extcap-interfaces"], stdout=-1, stderr=-1) as process:
            assert process.stderr is not None
            time.sleep(seconds)
            process.send_signal(number)
            assert process.stderr.read() == b""


def test_aStoppedCaptureEndsSilently(namespace: Namespace, home: Path) -> None:
    fifo = home / "fifo"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    words = "extcap", "--capture", "--extcap-interface", "txtuntap-tt0", "--fifo", str(fifo)
    with LinuxDevice("tt0", TUN):
        command = [sys.executable, "-m", "txtuntap.command", *words]
        with subprocess.Popen(command, stderr=subprocess.PIPE, env=ENVIRONMENT) as process:
            octets = bytearray()

            def begins() -> bool:
                try:
                    octets.extend(os.read(reading, 1 << 16))
                except BlockingIOError:
                    return False
                return bool(octets)

            until(begins, "the beginning of the capture")
            process.terminate()
            assert process.wait(PATIENCE) == 0
            assert process.stderr is not None
            assert process.stderr.read() == b""
    assert octets[:4] == b"\x0a\x0d\x0d\x0a"
    os.close(reading)


def test_errorsAreForWiresharkToShow(namespace: Namespace, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    one = "--extcap-interface", "txtuntap-tt0"
    ip("link", "add", "tt1", "type", "veth", "peer", "tt2")
    for words, text in (
        ((*one, "--extcap-dlts"), "tt0"),
        (("--extcap-interface", "txtuntap-tt1", "--extcap-dlts"), "tt1 is no TUN or TAP device"),
        ((*one, "--capture"), "--capture: give --fifo"),
        ((*one, "--capture", "--fifo", "/nowhere", "--extcap-capture-filter", "udp"), "no capture filters"),
        ((), "give 'install'"),
    ):
        assert main(["extcap", *words]) == 1
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert text in said.err
    # Wireshark marks a filter as wrong if there is a text about it.
    assert answered(capsys, *one, "--extcap-capture-filter", "udp") == [extcap._NO_FILTER]
    assert answered(capsys, *one, "--extcap-capture-filter", "") == []


def test_linkTypesAreThoseOfTheCapture(namespace: Namespace, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    for mode, line in (TUN, "dlt {number=101}{name=RAW}"), (TAP, "dlt {number=1}{name=EN10MB}"):
        with LinuxDevice("tt0", mode):
            (dlt,) = answered(capsys, "--extcap-dlts", "--extcap-interface", "txtuntap-tt0")
        assert dlt.startswith(line)


def test_withoutThePrivilegeOnlyServicesAreListed(
    namespace: Namespace, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    monkeypatch.setattr(extcap, "_mayOpenPacketSocket", lambda: False)
    with LinuxDevice("tt1", TUN), Host(home):
        lines = answered(capsys, "--extcap-interfaces", "--extcap-version=4.0")
        assert [line.split("}")[0] for line in lines[1:]] == ["interface {value=txtuntap-tt0"]
        delete("tt0")


def test_thePrivilegeIsThatOfPacketSockets(namespace: Namespace) -> None:
    assert extcap._mayOpenPacketSocket()
    os.seteuid(65534)
    try:
        assert not extcap._mayOpenPacketSocket()
    finally:
        os.seteuid(0)
