"""
C{txtuntap connections}, beside what C{ss} says of the other ends.
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
from tests.real.test_command import does, refuses
from tests.real.test_control import pathIn, place
from tests.real.test_service import nobodysDirectory
from txtuntap.device import TUN
from txtuntap.device.linux import LinuxDevice
from txtuntap.service.observe.control import namespaceNumber

__all__ = ["nobodysDirectory", "place"]

#: A host that echoes on two ports. It is the first to close once it has echoed an exclamation mark.
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

#: A row, without its columns' widths.
_ROW = re.compile(r"(\S+) +(\d+) +(\d+) +(\S+):(\S+) +(\S+):(\S+)")


@contextmanager
def _served(directory: Path) -> Iterator[Path]:
    """
    The program in a process of its own, once it serves.

    @return: its log.
    """
    (directory / "echoes.tac").write_text(_PROGRAM)
    process = twistd("-n", "--pidfile=", "-y", "echoes.tac", cwd=directory)
    log = directory / "twistd.log"

    def stays() -> None:
        assert process.poll() is None, f"it did not stay: {log.read_text()}"

    try:
        untilEchoed("10.9.0.2", stays)
        untilHas("tt0", "10.9.0.1/24", "fd09::1/64")
        yield log
    finally:
        endProcess(process)
    assert "Traceback" not in log.read_text()


def _echo(client: socket.socket, data: bytes) -> None:
    """
    Send data, and wait until all of it has come back.
    """
    client.settimeout(PATIENCE)
    back = 0
    client.sendall(data)
    while back < len(data):
        back += len(client.recv(1 << 16))


def _listed(*options: str) -> list[dict[str, Any]]:
    """
    The records, as JSON has them.
    """
    records = json.loads(does("connections", "tt0", "--json", *options))
    assert isinstance(records, list)
    return records


def _kernels(client: socket.socket) -> dict[str, str]:
    """
    What C{ss} says of a socket of the kernel's: the words with a colon.
    """
    port = client.getsockname()[1]
    command = [tool("ss"), "-tinH", f"sport = :{port}"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    return dict(word.split(":", 1) for word in said.splitlines()[1].split() if ":" in word)


@pytest.mark.parametrize(("address", "port"), [("10.9.0.2", 80), ("fd09::2", 81)])
def test_bothEndsSayTheSame(place: Path, namespace: Namespace, tmp_path: Path, address: str, port: int) -> None:
    size = 100_000
    with _served(tmp_path), closing(socket.create_connection((address, port), PATIENCE)) as client:
        _echo(client, bytes(size))
        # The kernel may delay its last acknowledgment.
        (record,) = until(
            lambda: [each for each in _listed() if each["octetsAcknowledged"] == size], "an acknowledgment"
        )
        kernels = _kernels(client)
        text = does("connections", "tt0")
        peer, peerPort = client.getsockname()[:2]
    assert record["state"] == "ESTABLISHED"
    assert record["host"] == {"host": address, "port": port}
    assert record["peer"] == {"host": peer, "port": peerPort}
    # A tail may be sent again before the kernel acknowledges it.
    assert (record["octetsIn"], record["octetsOut"] - record["octetsAgain"]) == (size, size)
    assert int(kernels["bytes_received"]) == size
    # The kernel counts its SYN.
    assert int(kernels["bytes_acked"]) - 1 == record["octetsIn"]
    assert int(kernels["mss"]) == record["segmentSize"]
    ours, theirs = map(int, kernels["wscale"].split(","))
    assert (record["agreement"]["scale"], record["agreement"]["ownScale"]) == (theirs, ours)
    # The header has no room for the last bits.
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
    # These are words of ss, too, of a connection with losses, or of a newer version.
    assert words.keys() - kernels.keys() <= {"bytes_retrans", "retrans", "ssthresh", "rcv_wnd"}


def test_columnsAreAligned(place: Path, namespace: Namespace, tmp_path: Path) -> None:
    with _served(tmp_path), ExitStack() as stack:
        for address, port in ("10.9.0.2", 80), ("fd09::2", 81), ("fd09::2", 80):
            client = stack.enter_context(closing(socket.create_connection((address, port), PATIENCE)))
            _echo(client, b"hello")
        rows = [line for line in does("connections", "tt0", "--all").splitlines() if not line.startswith("\t")]
    assert [row.split()[0] for row in rows] == ["State", "LISTEN", "LISTEN", "ESTAB", "ESTAB", "ESTAB"]
    # The colon before a port, and the beginning of each queue's length.
    header = rows[0]
    for row in rows[1:]:
        assert row[header.index("Recv-Q")].isdigit() and row[header.index("Send-Q")].isdigit(), rows
        assert row[header.index(":Port")] == row[header.rindex(":Port")] == ":", rows


def test_portsThatListen(place: Path, namespace: Namespace, tmp_path: Path) -> None:
    with _served(tmp_path), closing(socket.create_connection(("10.9.0.2", 80), PATIENCE)) as client:
        _echo(client, b"hello")
        every, six = _listed("--listening")
        assert (every["state"], every["host"], every["connections"]) == ("LISTEN", {"host": "", "port": 80}, 1)
        assert (six["host"], six["backlog"], six["halfOpen"]) == ({"host": "fd09::2", "port": 81}, 7, 0)
        assert [each["state"] for each in _listed("-a")] == ["LISTEN", "LISTEN", "ESTABLISHED"]
        assert "LISTEN" not in does("connections", "tt0")
        lines = does("connections", "tt0", "-l").splitlines()
    rows = [_ROW.fullmatch(line) for line in (lines[1], lines[3])]
    assert [row and row.groups() for row in rows] == [
        ("LISTEN", "0", "50", "*", "80", "*", "*"),
        ("LISTEN", "0", "7", "[fd09::2]", "81", "*", "*"),
    ]


def test_aConnectionInTimeWait(place: Path, namespace: Namespace, tmp_path: Path) -> None:
    with _served(tmp_path):
        with closing(socket.create_connection(("10.9.0.2", 80), PATIENCE)) as client:
            _echo(client, b"bye!")
            assert client.recv(1) == b""
            until(lambda: [each["state"] for each in _listed()] == ["FIN-WAIT-2"], "an acknowledgment of the FIN")
        (record,) = until(lambda: [each for each in _listed() if each["state"] == "TIME-WAIT"], "the end")
        assert (record["control"], record["agreement"], record["options"]) == (None, None, None)
        _, row, details = does("connections", "tt0").splitlines()
    assert row.startswith("TIME-WAIT 0 ")
    assert re.fullmatch(r"\t snd_wnd:0 rcv_wnd:\d+", details)


def test_whatWaits(place: Path, namespace: Namespace, tmp_path: Path) -> None:
    size = 1 << 20
    with _served(tmp_path), closing(socket.socket()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        client.settimeout(PATIENCE)
        client.connect(("10.9.0.2", 80))
        # The client reads nothing of the echo, for which the kernel has no room.
        client.sendall(bytes(size))
        (record,) = until(
            lambda: [each for each in _listed() if each["octetsIn"] == size and not each["underWay"]],
            "all but the echo",
        )
        assert record["toSend"] == size - record["octetsAcknowledged"] > size // 2
        _, row, details = does("connections", "tt0").splitlines()
    assert f" notsent:{record['toSend']} " in details
    matched = _ROW.fullmatch(row)
    assert matched and int(matched[3]) == record["toSend"]


def test_noneAtAll(place: Path, namespace: Namespace, tmp_path: Path) -> None:
    with Host(tmp_path):
        assert does("connections", "tt0", "--json") == "[]\n"
        for options in (), ("--all",), ("--listening",):
            assert does("connections", "tt0", *options).splitlines() == [
                "State Recv-Q Send-Q Local Address:Port Peer Address:Port"
            ]


def test_otherServicesHaveNone(
    place: Path, namespace: Namespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = twistd("-n", "--pidfile=", "tuntap", "switch", "--tap", "tt0", cwd=tmp_path)
    try:
        until(lambda: "ControlFactory starting on" in (tmp_path / "twistd.log").read_text(), "the control socket")
        said = refuses(capsys, "connections", "tt0")
        assert said == (
            "txtuntap: the service that holds tt0 refuses: it has no host, and so no TCP connections: 'ss -ti' shows"
            " the kernel's\n"
        )
    finally:
        endProcess(process)


def test_whereThereIsNoService(
    place: Path, namespace: Namespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "tt0" in refuses(capsys, "connections", "tt0")
    assert "lo is no TUN or TAP device: 'ss -ti'" in refuses(capsys, "connections", "lo")
    with Host(tmp_path, more=("--no-control",)):
        for options in (), ("--json",):
            said = refuses(capsys, "connections", "tt0", *options)
            assert said.startswith("txtuntap: no service of this user's tells of tt0: run 'twistd tuntap host'")


def test_anotherUserIsTold(place: Path, namespace: Namespace, tmp_path: Path) -> None:
    with Host(tmp_path):
        command = [*unprivileged(), *COMMAND, "connections", "tt0"]
        finished = subprocess.run(
            command, capture_output=True, text=True, env=ENVIRONMENT, timeout=PATIENCE, check=False
        )
    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr.startswith("txtuntap: no service of this user's tells of tt0")


def test_anInterfaceThatWasRenamed(
    place: Path, namespace: Namespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Host(tmp_path):
        ip("link", "set", "tt0", "name", "tt1")
        assert "tt0 was renamed or moved" in refuses(capsys, "connections", "tt0")
        assert "no service of this user's tells of tt1" in refuses(capsys, "connections", "tt1")


@contextmanager
def _saying(place: Path, *octets: bytes) -> Iterator[None]:
    """
    A service of its own kind, which answers its first client with these octets, and goes.
    """
    place.mkdir(mode=0o700, exist_ok=True)
    path = pathIn(place)
    agrees = json.dumps({"interface": "tt0", "namespace": namespaceNumber()}).encode() + b"\n"

    def serve() -> None:
        # A service that starts anywhere on this machine connects, to know whether this one lives, and asks for nothing.
        # The end of the test, or a client that goes early, is an error here.
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
    Records of ports, whose addresses are longer from one to the next.
    """
    records = [{**_LISTENING, "host": {"host": f"10.9.0.{number}", "port": number}} for number in numbers]
    return [json.dumps(record).encode() + b"\n" for record in records]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_aServiceThatEndsMeanwhile(
    place: Path, namespace: Namespace, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    for octets in _ports(1, 2), [b"{"], [b"x" * (1 << 20)]:
        with _saying(place, *octets):
            said = refuses(capsys, "connections", "tt0", *options)
            assert said == "txtuntap: the service that holds tt0 has ended, and has not told all\n"


def test_manyAreShownAsTheyCome(place: Path, namespace: Namespace) -> None:
    numbers = range(1, 2501)
    with _saying(place, *_ports(*numbers), b'{"end": 2500}\n'):
        lines = does("connections", "tt0").splitlines()
    assert len(lines) == 1 + 2 * 2500
    rows = [_ROW.fullmatch(line) for line in lines[1::2]]
    assert [row and row[4] for row in rows] == [f"10.9.0.{number}" for number in numbers]
    with _saying(place, *_ports(*numbers), b'{"end": 2500}\n'):
        assert [each["host"]["port"] for each in _listed()] == list(numbers)


@pytest.mark.parametrize("options", ["", "--json"])
def test_oneWhoReadsTheBeginningOnly(place: Path, namespace: Namespace, options: str) -> None:
    with _saying(place, *_ports(*range(1, 2501)), b'{"end": 2500}\n'):
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


def test_aServiceThatHasDroppedPrivileges(place: Path, namespace: Namespace, nobodysDirectory: Path) -> None:
    dropped = "--uid", "65534", "--gid", "65534"
    with Host(nobodysDirectory, twistdOptions=dropped):
        assert does("connections", "tt0", "--json") == "[]\n"
        assert os.stat(pathIn(place)).st_uid == 0
