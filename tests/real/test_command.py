"""
Tests for the C{txtuntap} command, whose effects C{ip} shows.
"""

from __future__ import annotations

import io
import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.real.lab.capturing import COMMAND, ENVIRONMENT
from tests.real.lab.link import show
from tests.real.lab.namespace import PATIENCE, Namespace, another, interfaces, ip, names, until
from txtuntap.command import main
from txtuntap.device import TAP, TUN
from txtuntap.device.linux import LinuxDevice


def runCommand(*arguments: str) -> str:
    """
    Run the command, which must succeed.

    @return: the text that it prints.
    """
    out = io.StringIO()
    assert main(arguments, out) == 0
    return out.getvalue()


def refusalOf(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """
    Run the command, which must fail with an error of one line.

    @return: the line.
    """
    assert main(arguments, io.StringIO()) == 1
    text = capsys.readouterr().err
    assert text.startswith("txtuntap: ")
    assert text.count("\n") == 1
    return text


def test_addMakesADeviceWithAllSettings(namespace: Namespace) -> None:
    printed = runCommand(
        *("add", "tt0", "--mode", "tap", "--user", "nobody", "--group", "12", "--multi-queue", "--mtu", "1400"),
        *("--address", "10.9.0.1/24", "--broadcast", "10.9.0.255", "--address", "10.9.1.1/32", "--peer", "10.9.1.2"),
        *("--route", "10.1.0.0/16 via 10.9.0.2", "--lladdr", "02:00:00:00:00:09", "--txqueuelen", "77"),
    )
    assert printed == "tt0\n"
    link = show("tt0")
    data = link["linkinfo"]["info_data"]
    assert (link["mtu"], link["address"], link["txqlen"]) == (1400, "02:00:00:00:00:09", 77)
    assert (data["type"], data["user"], data["persist"], data["multi_queue"]) == ("tap", "nobody", True, True)
    text = ip("address", "show", "tt0") + ip("route")
    for words in "inet 10.9.0.1/24 brd 10.9.0.255", "inet 10.9.1.1 peer 10.9.1.2/32", "10.1.0.0/16 via 10.9.0.2":
        assert words in text


def test_addTakesARouteThatTheAddressHasMadeAlready(namespace: Namespace) -> None:
    assert runCommand("add", "tt0", "--mode", "tun", "--address", "10.9.0.1/24", "--route", "10.9.0.0/24") == "tt0\n"


def test_addTakesTheNextFreeNumber(namespace: Namespace) -> None:
    assert [runCommand("add", "tt%d", "--mode", "tun", "--down") for _ in range(2)] == ["tt0\n", "tt1\n"]
    assert "UP" not in show("tt0")["flags"]


def test_aFailedAddLeavesNoDevice(namespace: Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, word in (
        (["--route", "10.1.0.0/16 via 192.0.2.1"], "10.1.0.0/16 via 192.0.2.1"),
        (["--mtu", "67"], "68"),
        (["--mtu", "1000", "--address", "fd09::1/64"], "disables IPv6"),
        (["--address", "10.9.0.1/33"], "10.9.0.1/33"),
        (["--lladdr", "02:00:00:00:00:09"], "without link addresses"),
        (["--user", "nobody at all"], "nobody at all"),
    ):
        assert word in refusalOf(capsys, "add", "tt0", "--mode", "tun", *arguments)
        assert "tt0" not in interfaces()
    assert "16 bytes" in refusalOf(capsys, "add", "sixteen-letters-", "--mode", "tun")


def test_addRefusesANameThatExists(namespace: Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    runCommand("add", "tt0", "--mode", "tun")
    assert "tt0 exists already: 'txtuntap set' changes it" in refusalOf(capsys, "add", "tt0", "--mode", "tun")


def test_errorsNameTheInterfaceTheSettingAndTheReason(namespace: Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    runCommand("add", "tt0", "--mode", "tun")
    for arguments, words in (
        (["--address", "10.9.0.1/33"], ["tt0: ", "10.9.0.1/33", "such as '10.0.0.1/24'"]),
        (["--address", "10.9.0.1/24", "--peer", "here"], ["tt0: ", "'here'"]),
        (["--mtu", "99999999999999"], ["tt0: --mtu: mtu is a number from 68 to 65535"]),
        (["--neighbour", "10.9.0.1"], ["tt0: ", "ADDRESS=LLADDR"]),
        (["--carrier", "on"], ["carrier setting of tt0", "a program that has the device open"]),
    ):
        text = refusalOf(capsys, "set", "tt0", *arguments)
        for word in words:
            assert word in text
    for command in "set", "show", "delete":
        assert "'sixteen-letters-' has 16 bytes" in refusalOf(capsys, command, "sixteen-letters-")


def test_deleteRemovesOnlyTUNAndTAPDevices(namespace: Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    runCommand("add", "tt0", "--mode", "tun")
    assert runCommand("delete", "tt0") == ""
    assert "tt0" not in interfaces()
    with LinuxDevice("tt1", TUN):
        runCommand("delete", "tt1")
        assert "tt1" not in interfaces()
    assert "tt0" in refusalOf(capsys, "delete", "tt0")
    assert "lo is no TUN or TAP device" in refusalOf(capsys, "delete", "lo")
    assert interfaces() == set()


def test_piTurnsProtocolInformationOn(namespace: Namespace) -> None:
    for options, isOn in ((), False), (("--pi",), True):
        runCommand("add", "tt0", "--mode", "tun", *options)
        assert show("tt0")["linkinfo"]["info_data"]["pi"] is isOn
        runCommand("delete", "tt0")


def test_setSwitchesCarrierAndPersistence(namespace: Namespace) -> None:
    with LinuxDevice("tt0", TUN, multiQueue=True):
        runCommand("set", "tt0", "--up", "--persistent")
        assert show("tt0")["operstate"] != "DOWN"
        assert runCommand("set", "tt0", "--carrier", "off") == "set the carrier setting of tt0 to False\n"
        until(lambda: "NO-CARRIER" in show("tt0")["flags"], "the carrier to go")
        runCommand("set", "tt0", "--carrier", "on")
        until(lambda: "NO-CARRIER" not in show("tt0")["flags"], "the carrier to come")
    assert interfaces() == {"tt0"}
    runCommand("set", "tt0", "--no-persistent")
    assert interfaces() == set()


def test_aNeighbourIsPermanent(namespace: Namespace) -> None:
    runCommand("add", "tt0", "--mode", "tap", "--address", "10.9.0.1/24", "--neighbour", "10.9.0.7=02:00:00:00:00:07")
    assert "lladdr 02:00:00:00:00:07 PERMANENT" in ip("neighbour", "show", "10.9.0.7")
    runCommand("delete", "tt0")


def test_netnsNamesAnotherNamespace(namespace: Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    with another() as there:
        path = f"/proc/self/fd/{there}"
        runCommand("-n", path, "add", "tt0", "--mode", "tun", "--address", "10.9.0.1/24")
        assert (names(there), interfaces()) == ({"tt0"}, set())
        assert "10.9.0.1/24" in runCommand("-n", path, "show", "tt0")
        assert "tt0" in runCommand("--netns", path, "list")
        assert "tt0" not in runCommand("list")
        here = f"/proc/{os.getpid()}/ns/net"
        printed = runCommand("-n", path, "set", "tt0", "--mtu", "1400", "--netns", here)
        assert printed.splitlines() == [f"move tt0 to the network namespace {here}", "set the MTU of tt0 to 1400"]
        assert (names(there), interfaces(), show("tt0")["mtu"]) == (set(), {"tt0"}, 1400)
        runCommand("set", "tt0", "--netns", path)
        runCommand("-n", path, "delete", "tt0")
        assert names(there) == set()
    assert "make it ('ip netns add none')" in refusalOf(capsys, "-n", "none", "list")


def test_aMovedInterfaceIsConfiguredAfterTheMove(namespace: Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    with another() as there:
        path = f"/proc/self/fd/{there}"
        runCommand("add", "tt0", "--mode", "tun")
        assert "none" in refusalOf(capsys, "set", "tt0", "--mtu", "1300", "--netns", "none")
        assert (interfaces(), show("tt0")["mtu"]) == ({"tt0"}, 1500)
        refusalOf(capsys, "set", "tt0", "--mtu", "1300", "--route", "10.1.0.0/16 via 10.9.9.9", "--netns", path)
        assert (interfaces(), show("tt0")["mtu"], names(there)) == ({"tt0"}, 1500, set())
        runCommand("set", "tt0", "--address", "10.9.0.1/24", "--up", "--user", "7", "--netns", path)
        shown: dict[str, Any] = json.loads(runCommand("-n", path, "show", "tt0", "--json"))
        assert (shown["up"], shown["owner"], shown["addresses"][0]["address"]) == (True, 7, "10.9.0.1/24")
        runCommand("-n", path, "delete", "tt0")


def test_persistenceIsClearedLast(namespace: Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    for more in ["--user", "nobody"], ["--mtu", "1350"], ["--address", "10.9.0.1/24", "--up"]:
        runCommand("add", "tt0", "--mode", "tun", "--down")
        changes = runCommand("set", "tt0", "--no-persistent", *more).splitlines()
        assert (len(changes), changes[-1]) == (
            len(more) // 2 + (len(more) > 2) + 1,
            "set the persistent setting of tt0 to False",
        )
        assert interfaces() == set()
    runCommand("add", "tt0", "--mode", "tun")
    refusalOf(capsys, "set", "tt0", "--no-persistent", "--route", "10.1.0.0/16 via 10.9.9.9")
    assert show("tt0")["linkinfo"]["info_data"]["persist"]


def test_setPrintsItsChanges(namespace: Namespace) -> None:
    ip("tuntap", "add", "mode", "tun", "name", "tt0")
    assert runCommand("set", "tt0", "--mtu", "1400", "--up").splitlines() == [
        "set the MTU of tt0 to 1400",
        "set tt0 up",
    ]
    assert runCommand("set", "tt0", "--mtu", "1400", "--up") == ""
    assert runCommand("set", "tt0", "--address", "10.9.0.1/24") == "add the address 10.9.0.1/24 to tt0\n"
    assert runCommand("set", "tt0", "--down") == "set tt0 down\n"


def test_listAndShowPrintTheStateOfInterfaces(namespace: Namespace) -> None:
    runCommand("add", "tt0", "--mode", "tun", "--address", "10.9.0.1/24", "--user", "7")
    runCommand("add", "tt1", "--mode", "tap", "--down")
    head, *rows = (line.split() for line in runCommand("list").splitlines())
    assert head == ["NAME", "KIND", "STATE", "MTU", "OWNER", "ADDRESSES"]
    assert [row[:2] for row in rows] == [["tt0", "tun"], ["tt1", "tap"]]
    assert "10.9.0.1/24" in rows[0]
    assert rows[1] == ["tt1", "tap", "down", "1500", "-", "-"]
    assert {each["name"] for each in json.loads(runCommand("list", "--json", "--all"))} == {"lo", "tt0", "tt1"}
    shown: dict[str, Any] = json.loads(runCommand("show", "tt0", "--json"))
    assert (shown["kind"], shown["owner"], shown["persistent"], shown["mtu"]) == ("tun", 7, True, 1500)
    assert {"address": "10.9.0.1/24", "peer": None, "broadcast": None} in shown["addresses"]
    lines = dict(line.split(None, 1) for line in runCommand("show", "tt0").splitlines())
    assert (lines["kind"], lines["owner"], lines["persistent"], lines["group"]) == (
        "tun",
        pwd.getpwuid(7).pw_name,
        "yes",
        "-",
    )


def test_ownersAndFlagsHaveNamesInText(namespace: Namespace) -> None:
    runCommand("add", "tt0", "--mode", "tun", "--user", "nobody", "--group", "nogroup", "--down")
    runCommand("add", "tt1", "--mode", "tap", "--group", "12")
    runCommand("add", "tt2", "--mode", "tap", "--user", "4000000000", "--group", "4000000001")
    rows = [line.split() for line in runCommand("list").splitlines()]
    assert [row[-2] for row in rows[1:]] == ["nobody:nogroup", ":man", "4000000000:4000000001"]
    shown = dict(line.split(None, 1) for line in runCommand("show", "tt0").splitlines())
    assert (shown["owner"], shown["group"]) == ("nobody", "nogroup")
    for name in "tt0", "tt1":
        shown = dict(line.split(None, 1) for line in runCommand("show", name).splitlines())
        # The link is not open, so "ip" says NO-CARRIER, which is the lack of LOWER_UP.
        assert set(shown["flags"].split(", ")) == set(show(name)["flags"]) - {"NO-CARRIER"}
    record = json.loads(runCommand("show", "tt2", "--json"))
    assert (record["owner"], record["group"]) == (4000000000, 4000000001)
    assert isinstance(record["flags"], int)


@pytest.mark.parametrize("line", ["list --all", "--json list", "show lo", "--help", "--version"])
def test_aClosedOutputIsNoError(line: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    finished = subprocess.run(
        [*COMMAND, *line.split()], stdout=writing, stderr=subprocess.PIPE, check=False, env=ENVIRONMENT
    )
    os.close(writing)
    assert (finished.returncode, finished.stderr) == (0, b"")


def test_anAbsentOutputIsNoError() -> None:
    command = f'exec "{sys.executable}" -m txtuntap.command list >&-'
    finished = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, check=False, env=ENVIRONMENT)
    assert (finished.returncode, finished.stderr) == (0, b"")


def test_aFullDiskIsAnError(capsys: pytest.CaptureFixture[str]) -> None:
    with open("/dev/full", "w") as full:
        assert main(["list", "--all"], full) == 1
        # The text that could not be written is still there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())
    assert capsys.readouterr().err == "txtuntap: No space left on device\n"


def test_anErrorNamesItsFile(namespace: Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    ip("tuntap", "add", "tt0", "mode", "tap")
    assert main(["capture", "tt0", "-w", "/nonexistent/trace.pcapng"]) == 1
    assert capsys.readouterr().err == "txtuntap: /nonexistent/trace.pcapng: No such file or directory\n"


def test_everySubcommandPrintsJSON(namespace: Namespace) -> None:
    for before, after in (["--json"], []), ([], ["--json"]):
        made = json.loads(runCommand(*before, "add", "tt0", "--mode", "tun", "--address", "10.9.0.1/24", *after))
        assert (made["name"], made["kind"], made["addresses"][0]["address"]) == ("tt0", "tun", "10.9.0.1/24")
        assert json.loads(runCommand(*before, "set", "tt0", "--mtu", "1400", *after))["mtu"] == 1400
        assert json.loads(runCommand(*before, "show", "tt0", *after))["mtu"] == 1400
        assert [each["name"] for each in json.loads(runCommand(*before, "list", *after))] == ["tt0"]
        assert json.loads(runCommand(*before, "delete", "tt0", *after))["mtu"] == 1400
    runCommand("add", "tt0", "--mode", "tun")
    assert json.loads(runCommand("set", "tt0", "--no-persistent", "--json")) is None


def test_aRouteIsGivenInTheWordsOfIPRoute(namespace: Namespace) -> None:
    route = "10.1.0.0/16 via 10.9.0.2 metric 5 src 10.9.0.1"
    runCommand("add", "tt0", "--mode", "tun", "--address", "10.9.0.1/24", "--route", route)
    text = ip("route", "show", "10.1.0.0/16")
    for words in "via 10.9.0.2", "metric 5", "src 10.9.0.1":
        assert words in text
    assert runCommand("set", "tt0", "--route", route) == ""


def test_namesThatAreNotUTF8AreEscaped(namespace: Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    # Another program, in a container say, can make an interface whose name would clear the screen of a terminal.
    with LinuxDevice(b"tt\xff\x1b[2J", TAP):
        listed = runCommand("list", "--all")
        assert r"tt\xff\x1b[2J" in listed
        assert "\x1b" not in listed
        (found,) = (each for each in json.loads(runCommand("--json", "list", "--all")) if each["kind"] == "tap")
        assert found["name"] == r"tt\xff\x1b[2J"
        # Python decodes an argument of other octets in this way.
        name = "tt\udcfe"
        assert runCommand("add", name, "--mode", "tun", "--address", "10.9.0.1/24") == "tt\\xfe\n"
        printed = runCommand("set", name, "--mtu", "1400", "--address", "10.9.1.1/24", "--route", "10.8.0.0/16")
        assert printed.splitlines() == [
            r"set the MTU of tt\xfe to 1400",
            r"add the address 10.9.1.1/24 to tt\xfe",
            r"add the route 10.8.0.0/16 through tt\xfe",
        ]
        assert runCommand("show", name).splitlines()[0].split() == ["name", r"tt\xfe"]
        assert json.loads(runCommand("--json", "show", name))["mtu"] == 1400
        assert r"tt\xfe" in refusalOf(capsys, "set", name, "--route", "10.7.0.0/16 via 192.0.2.1")
        assert r"tt\xfe" in refusalOf(capsys, "add", name, "--mode", "tap")
        assert r"tt\xfe" in refusalOf(capsys, "capture", name, "-w", os.devnull)
        runCommand("delete", name)
        assert interfaces() == {"tt\udcff\x1b[2J"}


def test_aMulticastAddressIsShown(namespace: Namespace) -> None:
    runCommand("add", "tt0", "--mode", "tun")
    ip("address", "add", "224.1.1.1/32", "dev", "tt0", "autojoin")
    assert "224.1.1.1/32" in runCommand("list")
    assert "224.1.1.1/32" in runCommand("show", "tt0")
    assert "224.1.1.1/32" in runCommand("show", "tt0", "--json")


@pytest.mark.parametrize(
    ("options", "expected"), [([], "tt0              MTU              1400"), (["--json"], '"event": "MTU"')]
)
def test_theMonitorPrintsEvents(namespace: Namespace, tmp_path: Path, options: list[str], expected: str) -> None:
    output = tmp_path / "output"
    with output.open("wb") as file:
        process = subprocess.Popen([*COMMAND, "monitor", *options], stdout=file, stderr=file)

    def causesAnEvent() -> bool:
        # This is repeated, because the monitor misses the events before its start.
        ip("tuntap", "add", "mode", "tun", "name", "tt0")
        ip("link", "set", "tt0", "mtu", "1400")
        ip("link", "delete", "tt0")
        return expected in output.read_text()

    try:
        until(causesAnEvent, f"a line with {expected!r}")
    finally:
        process.terminate()
        process.wait(PATIENCE)
    assert "Traceback" not in output.read_text()


def test_theMonitorEndsWhenItsOutputIsClosed(namespace: Namespace) -> None:
    command = [*COMMAND, "monitor"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        try:
            until(lambda: process.poll() is not None, "the monitor to end without an event")
        finally:
            process.kill()
        assert process.stderr.read() == b""
        assert process.returncode == 0


def test_anErrorOfTheMonitorIsOneLine(namespace: Namespace) -> None:
    command = [*COMMAND, "-n", "none", "monitor"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stdout, finished.stderr.count("\n")) == (1, "", 1), finished.stderr
    assert "ip netns add none" in finished.stderr


def test_theCommandIsInstalled() -> None:
    program = Path(sys.executable).with_name("txtuntap")
    finished = subprocess.run([program, "--help"], capture_output=True, text=True, check=True)
    assert "monitor" in finished.stdout
