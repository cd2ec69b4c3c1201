"""
Tests for C{txtuntap connections}, compared with what C{ss} shows of the peers of the same connections.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.real.lab.asking import untilEchoed
from tests.real.lab.capturing import COMMAND, ENVIRONMENT
from tests.real.lab.guest import unprivileged
from tests.real.lab.host import Host, endProcess, twistd
from tests.real.lab.link import setUp, untilHas
from tests.real.lab.namespace import PATIENCE, Namespace, ip, tool, until
from tests.real.test_command import refusalOf, runCommand
from tests.real.test_control import pathIn, place
from tests.real.test_service import nobodysDirectory
from txtuntap.device import TUN
from txtuntap.device.controlname import namespaceNumber
from txtuntap.device.linux import LinuxDevice

__all__ = ["nobodysDirectory", "place"]

#: A program with a host that echoes on two TCP ports. The host closes a connection after an exclamation mark.
_PROGRAM = """
from twisted.application.service import Application
from twisted.internet.protocol import Factory, Protocol

from txtuntap.device import TUN
from txtuntap.device.linux import LinuxDevice
from txtuntap.device.settings import InterfaceSettings
from txtuntap.service import HostService, HostServiceSettings, InterfaceServiceSettings
from txtuntap.udp.echo import Echo


class Echoes(Protocol):
    def dataReceived(self, data):
        self.transport.write(data)
        if b"!" in data:
            self.transport.loseConnection()


kernelEnd = InterfaceSettings(addresses=["10.9.0.1/24", "fd09::1/64"])
interface = InterfaceServiceSettings(device=LinuxDevice("tt0", TUN), kernelEnd=kernelEnd)
service = HostService(
    HostServiceSettings(interface=interface, addresses=["10.9.0.2/24", "fd09::2/64"], protocols=[(7, Echo())])
)
service.host.listenTCP(80, Factory.forProtocol(Echoes))
service.host.listenTCP(81, Factory.forProtocol(Echoes), backlog=7, interface="fd09::2")
application = Application("echoes")
service.setServiceParent(application)
"""

#: The pattern of a row, with columns of any width.
_ROW = re.compile(r"(\S+) +(\d+) +(\d+) +(\S+):(\S+) +(\S+):(\S+)")


@contextmanager
def _served(directory: Path) -> Iterator[Path]:
    """
    Run L{_PROGRAM} in a process of its own within a C{with} statement, which is entered once the host answers.

    @return: the path of the program's log.
    """
    (directory / "echoes.tac").write_text(_PROGRAM)
    process = twistd("-n", "--pidfile=", "-y", "echoes.tac", cwd=directory)
    log = directory / "twistd.log"

    def checkIsRunning() -> None:
        assert process.poll() is None, f"the program has ended early: {log.read_text()}"

    try:
        untilEchoed("10.9.0.2", checkIsRunning)
        untilHas("tt0", "10.9.0.1/24", "fd09::1/64")
        yield log
    finally:
        endProcess(process)
    assert "Traceback" not in log.read_text()


def _echo(client: socket.socket, data: bytes) -> None:
    """
    Send data, and wait until all of it is echoed.
    """
    client.settimeout(PATIENCE)
    echoed = 0
    client.sendall(data)
    while echoed < len(data):
        echoed += len(client.recv(1 << 16))


def _listed(*options: str) -> list[dict[str, Any]]:
    """
    Return the records that C{txtuntap connections --json} prints.
    """
    records = json.loads(runCommand("connections", "tt0", "--json", *options))
    assert isinstance(records, list)
    return records


def _kernels(client: socket.socket) -> dict[str, str]:
    """
    Return the details that C{ss} prints for a socket of the kernel: the values of words with a colon, by name.
    """
    port = client.getsockname()[1]
    command = [tool("ss"), "-tinH", f"sport = :{port}"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    return dict(word.split(":", 1) for word in said.splitlines()[1].split() if ":" in word)


@pytest.mark.parametrize(("address", "port"), [("10.9.0.2", 80), ("fd09::2", 81)])
def test_theHostAndTheKernelShowTheSame(
    place: Path, namespace: Namespace, tmp_path: Path, address: str, port: int
) -> None:
    size = 100_000
    with _served(tmp_path), closing(socket.create_connection((address, port), PATIENCE)) as client:
        _echo(client, bytes(size))
        # The kernel may delay its last acknowledgment.
        (record,) = until(
            lambda: [each for each in _listed() if each["octetsAcknowledged"] == size], "an acknowledgment"
        )
        kernels = _kernels(client)
        text = runCommand("connections", "tt0")
        peer, peerPort = client.getsockname()[:2]
    assert record["state"] == "ESTABLISHED"
    assert record["host"] == {"host": address, "port": port}
    assert record["peer"] == {"host": peer, "port": peerPort}
    # The end of the data may be retransmitted before the kernel acknowledges it.
    assert (record["octetsIn"], record["octetsOut"] - record["octetsAgain"]) == (size, size)
    assert int(kernels["bytes_received"]) == size
    # The kernel counts its SYN as one octet.
    assert int(kernels["bytes_acked"]) - 1 == record["octetsIn"]
    assert int(kernels["mss"]) == record["segmentSize"]
    ours, theirs = map(int, kernels["wscale"].split(","))
    assert (record["agreement"]["scale"], record["agreement"]["ownScale"]) == (theirs, ours)
    # A window in a header loses its last bits, by the scale.
    assert int(kernels["snd_wnd"]) == record["receiveWindow"] >> ours << ours
    header, row, details, *more = text.splitlines()
    assert not more
    assert header.split() == ["State", "Recv-Q", "Send-Q", "Local", "Address:Port", "Peer", "Address:Port"]
    matched = _ROW.fullmatch(row)
    assert matched, row
    written = (f"[{address}]", f"[{peer}]") if ":" in address else (address, peer)
    assert matched.groups() == ("ESTAB", "0", "0", written[0], str(port), written[1], str(peerPort))
    assert details.startswith("\t ts sack cubic wscale:")
    words = dict(word.split(":", 1) for word in details.split() if ":" in word)
    assert words["mss"] == kernels["mss"]
    assert words["bytes_received"] == words["bytes_acked"] == str(size)
    # ss prints these words only for a connection with losses, or in a newer version.
    assert words.keys() - kernels.keys() <= {"bytes_retrans", "retrans", "ssthresh", "rcv_wnd"}


def test_columnsAreAligned(place: Path, namespace: Namespace, tmp_path: Path) -> None:
    with _served(tmp_path), ExitStack() as stack:
        for address, port in ("10.9.0.2", 80), ("fd09::2", 81), ("fd09::2", 80):
            client = stack.enter_context(closing(socket.create_connection((address, port), PATIENCE)))
            _echo(client, b"hello")
        rows = [line for line in runCommand("connections", "tt0", "--all").splitlines() if not line.startswith("\t")]
    assert [row.split()[0] for row in rows] == ["State", "LISTEN", "LISTEN", "ESTAB", "ESTAB", "ESTAB"]
    # The colons before the ports and the first digits of the queues are in the columns of the header.
    header = rows[0]
    for row in rows[1:]:
        assert row[header.index("Recv-Q")].isdigit() and row[header.index("Send-Q")].isdigit(), rows
        assert row[header.index(":Port")] == row[header.rindex(":Port")] == ":", rows


def test_listeningPortsAreShown(place: Path, namespace: Namespace, tmp_path: Path) -> None:
    with _served(tmp_path), closing(socket.create_connection(("10.9.0.2", 80), PATIENCE)) as client:
        _echo(client, b"hello")
        every, six = _listed("--listening")
        assert (every["state"], every["host"], every["connections"]) == ("LISTEN", {"host": "", "port": 80}, 1)
        assert (six["host"], six["backlog"], six["halfOpen"]) == ({"host": "fd09::2", "port": 81}, 7, 0)
        assert [each["state"] for each in _listed("-a")] == ["LISTEN", "LISTEN", "ESTABLISHED"]
        assert "LISTEN" not in runCommand("connections", "tt0")
        lines = runCommand("connections", "tt0", "-l").splitlines()
    rows = [_ROW.fullmatch(line) for line in (lines[1], lines[3])]
    assert [row and row.groups() for row in rows] == [
        ("LISTEN", "0", "50", "*", "80", "*", "*"),
        ("LISTEN", "0", "7", "[fd09::2]", "81", "*", "*"),
    ]


def test_aConnectionInTimeWaitIsShown(place: Path, namespace: Namespace, tmp_path: Path) -> None:
    with _served(tmp_path):
        with closing(socket.create_connection(("10.9.0.2", 80), PATIENCE)) as client:
            _echo(client, b"bye!")
            assert client.recv(1) == b""
            until(lambda: [each["state"] for each in _listed()] == ["FIN-WAIT-2"], "an acknowledgment of the FIN")
        (record,) = until(lambda: [each for each in _listed() if each["state"] == "TIME-WAIT"], "the end")
        assert (record["control"], record["agreement"], record["options"]) == (None, None, None)
        _, row, details = runCommand("connections", "tt0").splitlines()
    assert row.startswith("TIME-WAIT 0 ")
    assert re.fullmatch(r"\t snd_wnd:0 rcv_wnd:\d+", details)


def test_unsentOctetsAreShown(place: Path, namespace: Namespace, tmp_path: Path) -> None:
    size = 1 << 20
    with _served(tmp_path), closing(socket.socket()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        client.settimeout(PATIENCE)
        client.connect(("10.9.0.2", 80))
        # The client does not read the echo, and the kernel's receive buffer is too small for it.
        client.sendall(bytes(size))
        (record,) = until(
            lambda: [each for each in _listed() if each["octetsIn"] == size and not each["underWay"]],
            "all data to be received, and no echo in flight",
        )
        assert record["toSend"] == size - record["octetsAcknowledged"] > size // 2
        _, row, details = runCommand("connections", "tt0").splitlines()
    assert f" notsent:{record['toSend']} " in details
    matched = _ROW.fullmatch(row)
    assert matched and int(matched[3]) == record["toSend"]


def test_aHostWithoutConnectionsHasAnEmptyTable(place: Path, namespace: Namespace, tmp_path: Path) -> None:
    with Host(tmp_path):
        assert runCommand("connections", "tt0", "--json") == "[]\n"
        for options in (), ("--all",), ("--listening",):
            assert runCommand("connections", "tt0", *options).splitlines() == [
                "State Recv-Q Send-Q Local Address:Port Peer Address:Port"
            ]


def test_aSwitchRefuses(place: Path, namespace: Namespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    process = twistd("-n", "--pidfile=", "tuntap", "switch", "--tap", "tt0", cwd=tmp_path)
    try:
        until(lambda: "ControlFactory starting on" in (tmp_path / "twistd.log").read_text(), "the control socket")
        error = refusalOf(capsys, "connections", "tt0")
        assert error == (
            "txtuntap: the service that holds tt0 refuses: it has no host, and so no TCP connections: 'ss -ti' shows"
            " the kernel's\n"
        )
    finally:
        endProcess(process)


def test_anInterfaceWithoutAServiceIsAnError(
    place: Path, namespace: Namespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "tt0" in refusalOf(capsys, "connections", "tt0")
    assert "lo is no TUN or TAP device: 'ss -ti'" in refusalOf(capsys, "connections", "lo")
    with Host(tmp_path, more=("--no-control",)):
        for options in (), ("--json",):
            error = refusalOf(capsys, "connections", "tt0", *options)
            assert error.startswith("txtuntap: no service of this user's holds tt0: run 'twistd tuntap host'")


def test_aServiceOfAnotherUserIsNotAsked(place: Path, namespace: Namespace, tmp_path: Path) -> None:
    with Host(tmp_path):
        command = [*unprivileged(), *COMMAND, "connections", "tt0"]
        finished = subprocess.run(
            command, capture_output=True, text=True, env=ENVIRONMENT, timeout=PATIENCE, check=False
        )
    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr.startswith("txtuntap: no service of this user's holds tt0")


def test_aRenamedInterfaceIsAnError(
    place: Path, namespace: Namespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Host(tmp_path):
        ip("link", "set", "tt0", "name", "tt1")
        assert "tt0 was renamed, moved or replaced" in refusalOf(capsys, "connections", "tt0")
        assert "no service of this user's holds tt1" in refusalOf(capsys, "connections", "tt1")


@contextmanager
def _fakeService(place: Path, *octets: bytes) -> Iterator[None]:
    """
    Run a fake service on C{tt0}, which answers its first request with the given octets and ends.
    """
    place.mkdir(mode=0o700, exist_ok=True)
    path = pathIn(place)
    agrees = json.dumps({"interface": "tt0", "namespace": namespaceNumber()}).encode() + b"\n"

    def serve() -> None:
        # Any service that starts on this machine connects to find out whether this one still runs, and asks for
        # nothing. An OSError is expected at the end of the test, and from a client that closes early.
        with suppress(OSError):
            asked = b""
            while not asked:
                client, _ = service.accept()
                with client:
                    asked = client.recv(1000)
                    if asked:
                        for each in (agrees, *octets):
                            client.sendall(each)

    with LinuxDevice("tt0", TUN), socket.socket(socket.AF_UNIX) as service:
        setUp("tt0", "10.9.0.1/24")
        service.bind(str(path))
        service.listen()
        thread = Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            service.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE)
            path.unlink()
    assert not thread.is_alive()


_LISTENING = {"state": "LISTEN", "connections": 0, "maxConnections": 9, "halfOpen": 0, "backlog": 5}


def _ports(*numbers: int) -> list[bytes]:
    """
    Make a record for each of some listening ports. The addresses grow longer with the number.
    """
    records = [{**_LISTENING, "host": {"host": f"10.9.0.{number}", "port": number}} for number in numbers]
    return [json.dumps(record).encode() + b"\n" for record in records]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_anIncompleteAnswerIsAnError(
    place: Path, namespace: Namespace, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    for octets in _ports(1, 2), [b"{"], [b"x" * (1 << 20)]:
        with _fakeService(place, *octets):
            error = refusalOf(capsys, "connections", "tt0", *options)
            assert error == "txtuntap: the service that holds tt0 has ended before the end of its answer\n"


def test_manyConnectionsAreShownInGroups(place: Path, namespace: Namespace) -> None:
    numbers = range(1, 2501)
    with _fakeService(place, *_ports(*numbers), b'{"end": 2500}\n'):
        lines = runCommand("connections", "tt0").splitlines()
    assert len(lines) == 1 + 2 * 2500
    rows = [_ROW.fullmatch(line) for line in lines[1::2]]
    assert [row and row[4] for row in rows] == [f"10.9.0.{number}" for number in numbers]
    with _fakeService(place, *_ports(*numbers), b'{"end": 2500}\n'):
        assert [each["host"]["port"] for each in _listed()] == list(numbers)


@pytest.mark.parametrize("options", ["", "--json"])
def test_aReaderOfOnlyTheFirstLineIsNoError(place: Path, namespace: Namespace, options: str) -> None:
    with _fakeService(place, *_ports(*range(1, 2501)), b'{"end": 2500}\n'):
        command = f"{' '.join(COMMAND)} connections tt0 {options} | head -1"
        finished = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            capture_output=True,
            text=True,
            env=ENVIRONMENT,
            timeout=PATIENCE,
            check=False,
        )
    assert (finished.returncode, finished.stderr, finished.stdout.count("\n")) == (0, "", 1)


def test_rootMayAskAServiceThatHasDroppedPrivileges(place: Path, namespace: Namespace, nobodysDirectory: Path) -> None:
    dropped = "--uid", "65534", "--gid", "65534"
    with Host(nobodysDirectory, twistdOptions=dropped):
        assert runCommand("connections", "tt0", "--json") == "[]\n"
        assert os.stat(pathIn(place)).st_uid == 0
