"""
Ordinary programs use the TCP of a host, on a tun and on a tap, over both IP versions, with and without offload.
"""

from __future__ import annotations

import re
import select
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path

import pytest

from tests.real.lab.asking import askUntilAnswered
from tests.real.lab.capturing import assertClean
from tests.real.lab.machine import INTERFACE, Machine
from tests.real.lab.namespace import Namespace, need, tool, until
from tests.real.lab.streams import (
    CERTIFICATE,
    ECHO,
    IDENTITY,
    LARGE,
    NAME,
    SINK,
    SMALL,
    SOURCE,
    TLS,
    much,
)
from tests.real.lab.tcpdump import captured

#: The exit status of curl if the connection is refused.
REFUSED = 7

VERSIONS = pytest.mark.parametrize("address", ["10.9.0.2", "fd09::2"])


class Server(Machine):
    """
    A host with all services, in a process of its own.

    @ivar octets: the number of octets in a large transfer.
    @ivar some: the options of C{curl} that fetch this number of octets of the large page.
    """

    def __init__(self, directory: Path, mode: str, offload: bool) -> None:
        super().__init__(directory, mode, offload=offload, streams=directory)
        self.directory = directory
        self.hasOffload = offload
        # Without offload, each segment is a packet, and the transfer takes longer.
        self.octets = LARGE if offload else LARGE // 10
        self.some = [] if offload else ["-r", f"0-{self.octets - 1}"]

    def __enter__(self) -> Server:
        super().__enter__()
        for address in "10.9.0.2", "fd09::2":
            askUntilAnswered(address, b"there?")
        return self

    def __exit__(self, *ignored: object) -> None:
        super().__exit__(*ignored)
        assert "Traceback" not in self.log(), self.log()

    def curl(self, address: str, page: str, *options: str, scheme: str = "http") -> str:
        """
        Fetch a page with C{curl}, with more options.
        """
        return succeeds("curl", "-sS", "-g", *options, f"{scheme}://{bracketed(address)}/{page}")

    def ssh(self, address: str, command: str, data: bytes = b"") -> str:
        """
        Run a command through C{ssh}.
        """
        options = {
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
            "LogLevel": "ERROR",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
        }
        given = [argument for name, value in options.items() for argument in ("-o", f"{name}={value}")]
        given += ["-F", "/dev/null", "-i", str(self.directory / IDENTITY)]
        return succeeds("ssh", *given, f"somebody@{address}", command, data=data)

    def settled(self) -> None:
        """
        Wait until no connection is left.
        """
        until(lambda: not self.state()["connections"], "connections to end")


def succeeds(*command: str, data: bytes = b"") -> str:
    """
    Run a program that must succeed, and return its output.

    @param data: the standard input of the program.
    """
    finished = subprocess.run([tool(command[0]), *command[1:]], input=data, capture_output=True, check=False)
    assert finished.returncode == 0, f"{command}: {finished}"
    return finished.stdout.decode()


def bracketed(address: str) -> str:
    """
    Return an address in the form that precedes a port.
    """
    return f"[{address}]" if ":" in address else address


def socatAddress(address: str, port: int) -> str:
    """
    Return an address for C{socat} to connect to.
    """
    return f"TCP{6 if ':' in address else 4}:{bracketed(address)}:{port}"


@pytest.fixture(
    scope="module",
    params=[(mode, offload) for mode in ("tun", "tap") for offload in (True, False)],
    ids=lambda each: f"{each[0]}{'' if each[1] else '-without-offload'}",
)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """
    Start the host that the tests of this module share. Each test must end its connections.
    """
    need()
    with Namespace(), Server(tmp_path_factory.mktemp("services"), *request.param) as made:
        yield made


@VERSIONS
def test_curlFetchesPages(server: Server, address: str, tmp_path: Path) -> None:
    assert server.curl(address, "small").encode() == SMALL
    server.curl(address, "large", *server.some, "-o", str(tmp_path / "large"))
    assert (tmp_path / "large").read_bytes() == much(LARGE)[: server.octets]
    server.settled()


@VERSIONS
def test_curlSendsAFile(server: Server, address: str, tmp_path: Path) -> None:
    data = much(LARGE)[: server.octets]
    (tmp_path / "large").write_bytes(data)
    said = server.curl(address, "upload", "-T", str(tmp_path / "large"))
    assert said == sha256(data).hexdigest()
    server.settled()


@VERSIONS
def test_curlOverTLS(server: Server, address: str, tmp_path: Path) -> None:
    options = ["--cacert", str(server.directory / CERTIFICATE), "--connect-to", f"{NAME}:443:{bracketed(address)}:443"]
    assert server.curl(NAME, "small", *options, scheme="https").encode() == SMALL
    server.curl(NAME, "large", *options, *server.some, "-o", str(tmp_path / "large"), scheme="https")
    assert (tmp_path / "large").read_bytes() == much(LARGE)[: server.octets]
    server.settled()


@VERSIONS
def test_wrkSeesNoErrors(server: Server, address: str) -> None:
    said = succeeds("wrk", "-c", "20", "-t", "2", "-d", "1s", f"http://{bracketed(address)}/small")
    found = re.search(r"(\d+) requests in", said)
    assert found is not None and int(found.group(1)) > 20, said
    for fault in "Socket errors", "Non-2xx":
        assert fault not in said, said
    server.settled()


@VERSIONS
def test_opensslSpeaksTLS(server: Server, address: str) -> None:
    question = b"GET /small HTTP/1.0\r\n\r\n"
    said = succeeds(
        "openssl",
        "s_client",
        "-connect",
        f"{bracketed(address)}:{TLS}",
        "-CAfile",
        str(server.directory / CERTIFICATE),
        "-verify_return_error",
        "-ign_eof",
        data=question,
    )
    assert "Verify return code: 0 (ok)" in said
    assert SMALL.decode() in said
    server.settled()


@VERSIONS
def test_sshRunsACommand(server: Server, address: str) -> None:
    data = much(2_000_000)
    said = server.ssh(address, "count this", data)
    assert said == f"count this {sha256(data).hexdigest()}\n"
    server.settled()


@VERSIONS
def test_socatMovesDataBothWays(server: Server, address: str) -> None:
    data = much()
    said = succeeds("socat", "-t60", "-", socatAddress(address, SINK), data=data)
    assert said == sha256(data).hexdigest()
    said = succeeds("sh", "-c", f"socat -u {socatAddress(address, SOURCE)} - | sha256sum")
    assert said.split()[0] == sha256(data).hexdigest()
    server.settled()


@VERSIONS
def test_manyConnectionsAtOnce(server: Server, address: str) -> None:
    count = 200
    with ExitStack() as stack:
        clients = []
        for _ in range(count):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            client = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            client.setblocking(False)
            client.connect_ex((address, ECHO))
            clients.append(client)
        until(lambda: server.state()["connections"] == count, "all connections")
        for number, client in enumerate(clients):
            until(lambda client=client: select.select([], [client], [], 0)[1], "a connection")  # type: ignore[misc]
            client.sendall(b"%d" % number)
        for number, client in enumerate(clients):
            until(lambda client=client: select.select([client], [], [], 0)[0], "an answer")  # type: ignore[misc]
            assert client.recv(100) == b"%d" % number
    server.settled()


def test_nothingInACaptureIsWrong(server: Server, tmp_path: Path) -> None:
    capture = tmp_path / "capture.pcap"
    with captured(capture, INTERFACE, "tcp"):
        for address in "10.9.0.2", "fd09::2":
            server.curl(address, "small")
            server.curl(address, "upload", "--data-binary", "@/usr/bin/env")
            server.curl(address, "small", "-k", scheme="https")
            server.ssh(address, "this")
            succeeds("socat", "-t60", "-", socatAddress(address, SINK), data=much(1_000_000))
            succeeds("sh", "-c", f"socat -u {socatAddress(address, SOURCE)} - | head -c 1000000 > /dev/null")
            refused = [tool("curl"), "-sSg", f"http://{bracketed(address)}:81/"]
            assert subprocess.run(refused, check=False).returncode == REFUSED
        server.settled()
    assertClean(capture, server.hasOffload)
