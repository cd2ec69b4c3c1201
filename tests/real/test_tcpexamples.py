"""
The examples that use TCP do what their docstrings say, in a network namespace of their own.
"""

from __future__ import annotations

import fcntl
import re
import shlex
import socket
import struct
import subprocess
import sys
import termios
from pathlib import Path

from tests.paths import EXAMPLES
from tests.real.lab.examples import docstring, run, running
from tests.real.lab.link import untilHas
from tests.real.lab.namespace import PATIENCE, Namespace, ip, tool, until
from tests.real.lab.web import fetch


def commands(name: str) -> list[list[str]]:
    """
    Return the words of each command in the docstring of an example.
    """
    return [shlex.split(line) for line in re.findall(r"^ +\$ (.*)$", docstring(name), re.MULTILINE)]


def test_theWebServerServesADirectory(namespace: Namespace, tmp_path: Path) -> None:
    (directory := tmp_path / "site").mkdir()
    (directory / "index.html").write_text("<h1>It is here</h1>")
    with running(tmp_path, "web_server.py", str(directory)) as example:
        example.untilPrinted(r"\]/$")
        (line,) = example.printed().splitlines()
        assert line == docstring("web_server.py").splitlines()[-1].strip()
        urls = line.removeprefix("ready: ").split()
        assert len(urls) == 2
        for url in urls:
            until(lambda url=url: fetch(url) == "<h1>It is here</h1>", f"the page at {url}")  # type: ignore[misc]


def test_theWebServerShowsTheExamples(namespace: Namespace, tmp_path: Path) -> None:
    with running(tmp_path, "web_server.py"):
        until(lambda: "web_server.py" in fetch("http://10.0.0.2/"), "the list of files")
        assert fetch("http://10.0.0.2/web_server.py") == (EXAMPLES / "web_server.py").read_text()
        head = run(tool("curl"), "-sSI", "http://10.0.0.2/web_server.py")
        assert re.search(r"^Content-Type: text/plain", head, re.MULTILINE)


def test_theTLSServerShowsItsCertificate(namespace: Namespace, tmp_path: Path) -> None:
    file = tmp_path / "certificate"
    with running(tmp_path, "tls_server.py", str(file)) as example:
        example.untilPrinted("^SHA-256")
        for command in commands("tls_server.py"):
            assert command[0] == "curl"
            words = [tool("curl"), "-sSg", *(str(file) if word == "FILE" else word for word in command[1:])]
            until(lambda words=words: succeeds(words) == "This page came over TLS.\n", "the page")  # type: ignore[misc]
        assert "self-signed certificate" in run(tool("curl"), "-sS", "https://10.0.0.2/", status=60)
        client = "s_client", "-connect", "10.0.0.2:443", "-verify_return_error", "-CAfile", file
        assert "Verification: OK" in run(tool("sh"), "-c", 'exec "$@" < /dev/null', "sh", tool("openssl"), *client)
        digest = run(tool("openssl"), "x509", "-noout", "-fingerprint", "-sha256", "-in", file)
        assert digest.strip().rpartition("=")[2].lower() in example.printed()


def succeeds(command: list[str]) -> str:
    """
    Run a command that must succeed, and return its output.
    """
    finished = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return finished.stdout if finished.returncode == 0 else ""


def test_theWebClientAsksFromItsOwnAddress(namespace: Namespace, tmp_path: Path) -> None:
    server, client = (command[1:] for command in commands("web_client.py"))
    assert (server, client) == (["-m", "http.server", "&"], ["examples/web_client.py", "[URL]"])
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-u", *server[:2]], cwd=tmp_path, stdout=file, stderr=file)
    try:
        until(lambda: "Serving HTTP" in log.read_text(), "the server")
        said = run(sys.executable, EXAMPLES / "web_client.py")
        assert re.fullmatch(r"http://kernel\.example:8000/: 200 OK, \d+ octets\n", said)
        nothing = run(sys.executable, EXAMPLES / "web_client.py", "http://10.0.0.1:8000/nothing")
        assert nothing.startswith("http://10.0.0.1:8000/nothing: 404 ")
        asked = [line.partition(" - - ")[0] for line in log.read_text().splitlines() if "GET" in line]
        assert asked == ["10.0.0.2", "10.0.0.2"]
        assert "no results for hostname lookup: nobody.example" in run(
            sys.executable, EXAMPLES / "web_client.py", "http://nobody.example/", status=1
        )
    finally:
        process.kill()
        process.wait(PATIENCE)


def test_theHoneypotSpeaksTCPAtEveryAddress(namespace: Namespace, tmp_path: Path) -> None:
    with running(tmp_path, "tcp_honeypot.py") as example:
        route, hello, scan = commands("tcp_honeypot.py")
        untilHas("tap0", "10.0.0.1")
        ip(*route[1:])
        for address in "10.77.1.2", "10.77.255.254":
            with socket.create_connection((address, 25), PATIENCE) as client:
                assert client.recv(1) == b"2"
                client.sendall(b"hello\n")
                example.untilPrinted(rf"^10\.0\.0\.1 > {address} port 25: connects$")
                example.untilPrinted(rf"^10\.0\.0\.1 > {address} port 25: says b'hello\\n'$")
        assert hello[:2] == ["echo", "hello"]
        found = run(tool(scan[0]), *scan[1:])
        states = dict(re.findall(r"^(\d+)/tcp +(\w+)", found, re.MULTILINE))
        assert states == {"20": "closed", "21": "closed", "22": "open", "23": "open", "24": "closed", "25": "open"}
        example.untilPrinted(r"^10\.0\.0\.1 > 10\.77\.200\.201 port 20: is refused$")


def test_theHoneypotIsATarpit(namespace: Namespace, tmp_path: Path) -> None:
    with running(tmp_path, "tcp_honeypot.py", "fd77::/48"):
        untilHas("tap0", "fd00::1")
        ip("address", "add", "2001:db8::1/128", "dev", "tap0", "nodad")
        ip("route", "add", "fd77::/48", "via", "fd00::2", "src", "2001:db8::1")
        with socket.create_connection(("fd77::1:2", 22), PATIENCE) as client:
            client.setblocking(False)
            sent = client.send(bytes(30_000))
            client.settimeout(PATIENCE)

            def taken() -> int:
                (left,) = struct.unpack("i", fcntl.ioctl(client, termios.TIOCOUTQ, bytes(4)))
                return int(sent - left)

            # The first octet of the greeting is sent at once. Before the second, the receive windows are full.
            assert [client.recv(1) for _ in range(2)] == [b"W", b"e"]
            assert 0 < until(taken, "an acknowledgment") <= 1024
