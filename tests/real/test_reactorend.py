"""
A program that ends by C{reactor.stop}, Ctrl-C or a signal ends cleanly, and logs no error.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.examples import examples
from tests.paths import CHECKOUT
from tests.real.lab.asking import asking
from tests.real.lab.helper import Helper
from tests.real.lab.host import Host, handles, twistd
from tests.real.lab.link import show
from tests.real.lab.namespace import PATIENCE, Namespace, interfaces, ip, until
from tests.real.lab.reactors import REACTORS
from tests.real.lab.warm import Program
from tests.real.lab.web import fetch

each = pytest.mark.parametrize("reactor", REACTORS)


def _program(words: str) -> str:
    """
    Find the program of README or of the documentation that contains these words.
    """
    return next(text for name, text in examples().items() if ".md " in name and words in text)


_SERIOUS = ("error", "critical")


class Ending:
    """
    A running program of L{tests.real.lab.reactorend}.
    """

    def __init__(self, directory: Path, *arguments: str) -> None:
        self._output = directory / "output"
        with open(self._output, "w") as file:
            self.process = Program(
                "tests.real.lab.reactorend:main",
                ["ending", *arguments],
                cwd=directory,
                stdout=file,
                environment={"PYTHONPATH": str(CHECKOUT)},
            )

    def said(self) -> Any:
        """
        Wait for the end, and read the output of the program.
        """
        try:
            status = self.process.wait(PATIENCE)
        finally:
            self.process.kill()
        text = self._output.read_text()
        assert status == 0, text
        return json.loads(text.splitlines()[-1])


def ended(directory: Path, *arguments: str) -> tuple[dict[str, str], list[str]]:
    """
    Run a program to its end.

    @return: the notes of the program, and the errors in its log.
    """
    said = Ending(directory, *arguments).said()
    assert interfaces() == set()
    return said["ends"], [text for level, text in said["log"] if level in _SERIOUS]


@each
def test_allPortsEndInOrderWithTheReactor(namespace: Namespace, tmp_path: Path, reactor: str) -> None:
    ends, errors = ended(tmp_path, reactor, "ports")
    assert errors == []
    stopped = "['start', 'stop']"
    assert ends == {**dict.fromkeys(("tun", "tap", "memory"), "ConnectionDone"), "stopped": stopped}


@each
def test_aPortThatIsBeingStoppedEndsWithTheReactor(namespace: Namespace, tmp_path: Path, reactor: str) -> None:
    expected = {"tun": "ConnectionDone", "stopped": "['start', 'stop']"}
    assert ended(tmp_path, reactor, "stopped") == (expected, [])


@each
def test_aDeletedInterfaceIsLostDuringTheShutdown(namespace: Namespace, tmp_path: Path, reactor: str) -> None:
    ends, errors = ended(tmp_path, reactor, "deleted")
    assert ends == {"tun": "InterfaceLost", "tap": "ConnectionDone"}
    (line,) = errors
    assert "tt0 was deleted" in line


@each
def test_aServiceEndsInOrderWithTheReactor(namespace: Namespace, tmp_path: Path, reactor: str) -> None:
    assert ended(tmp_path, reactor, "service") == ({"tun": "ConnectionDone"}, [])


def test_aServiceLogsOnlyThatItsInterfaceWasDeleted(namespace: Namespace, tmp_path: Path) -> None:
    ends, errors = ended(tmp_path, "epoll", "serviceDeleted")
    assert ends == {"tun": "InterfaceLost"}
    assert len(errors) == 2, errors
    assert all("tt0 was deleted" in line for line in errors)


@each
def test_tunnelsEndInOrder(namespace: Namespace, tmp_path: Path, reactor: str) -> None:
    said = Ending(tmp_path, reactor, "tunnels").said()
    assert said["ends"] == {"tun0": "ConnectionDone", "tun1": "ConnectionDone"}
    assert [text for level, text in said["log"] if level in _SERIOUS] == []
    # Either end may notice the end of the connection first.
    downs = [text for _, text in said["log"] if "is down" in text]
    assert downs and all("this end has been stopped" in text for text in downs), downs


def _page(ended: Callable[[], bool]) -> None:
    """
    Fetch the page of the program with a host.
    """
    for address, url in ("10.0.0.2", "http://10.0.0.2/"), ("fd00::2", "http://[fd00::2]/"):
        until(lambda url=url: ended() or fetch(url), f"the page at {url}")  # type: ignore[misc]
        assert f"<h1>{address}</h1>" in fetch(url)


def _echo(ended: Callable[[], bool]) -> None:
    """
    Send data to the echo server of the program with layers.
    """
    with asking("10.0.0.2", b"hello") as answer:
        until(lambda: ended() or answer(), "an answer")


@each
@pytest.mark.parametrize(
    ("words", "ask"), [("Site(Page())", _page), ("RawUDPProtocol()", _echo)], ids=["host", "layers"]
)
def test_anInterruptedProgramLogsNoError(
    namespace: Namespace, tmp_path: Path, words: str, ask: Callable[[Callable[[], bool]], None], reactor: str
) -> None:
    (tmp_path / "program.py").write_text(_program(words))
    program = Ending(tmp_path, reactor, "readme", "program.py")
    try:
        ask(lambda: program.process.poll() is not None)
    finally:
        program.process.send_signal(signal.SIGINT)
        said = program.said()
    assert [text for level, text in said["log"] if level in _SERIOUS] == []
    assert any("stopped on" in text for _, text in said["log"])
    assert interfaces() == set()


# Tests of SIGHUP.


def test_sighupEndsAHostAndUndoesItsSettings(namespace: Namespace, tmp_path: Path) -> None:
    ip("tuntap", "add", "mode", "tun", "name", "tt0")
    with Host(tmp_path, more=("--undo", "--mtu=1400")) as host:
        assert show("tt0")["mtu"] == 1400
        host.process.send_signal(signal.SIGHUP)
        assert host.process.wait(PATIENCE) == -signal.SIGTERM
        assert "SIGHUP ends this process as SIGTERM does" in host.log()
        assert "Traceback" not in host.log()
        assert not host.pidfile.exists()
    assert show("tt0")["mtu"] == 1500


@pytest.mark.parametrize(
    "arguments",
    [
        ["switch", "--tap=tt0"],
        ["tunnel", "--tun=tt0", "--listen=unix:tunnel", "--insecure"],
        ["host", "--tun=tt0", "--address=10.9.0.2/24"],
    ],
    ids=lambda arguments: arguments[0],
)
@pytest.mark.parametrize("foreground", [True, False], ids=["foreground", "daemon"])
def test_sighupEndsEachServiceInOrder(
    namespace: Namespace, tmp_path: Path, arguments: list[str], foreground: bool
) -> None:
    log, pidfile = tmp_path / "service.log", tmp_path / "service.pid"
    how = ["-n"] if foreground else []
    process = twistd(*how, f"--logfile={log}", f"--pidfile={pidfile}", "tuntap", *arguments, cwd=tmp_path)
    try:
        until(lambda: process.poll() is not None or (log.exists() and "starting on tt0" in log.read_text()), "the log")
        until(lambda: handles(_number(pidfile), signal.SIGTERM), "the reactor to run")
        os.kill(int(pidfile.read_text()), signal.SIGHUP)
        # This is the last line of the log.
        until(lambda: "Server Shut Down" in log.read_text(), "the last line")
        assert not pidfile.exists() and interfaces() == set()
    finally:
        process.kill()
    said = log.read_text()
    assert "stopped on tt0" in said
    assert "Traceback" not in said


def _number(pidfile: Path) -> int:
    """
    Return the number in a pid file, or 0 if the file does not exist yet.
    """
    try:
        return int(pidfile.read_text())
    except (OSError, ValueError):
        return 0


def test_sighupEndsTheHelperAsSigtermDoes(namespace: Namespace, tmp_path: Path) -> None:
    statuses = []
    for number in signal.SIGTERM, signal.SIGHUP:
        (directory := tmp_path / number.name).mkdir()
        with Helper(directory) as helper:
            # The helper listens by now, and its reactor is about to run.
            process = helper.process.pid
            until(partial(handles, process, signal.SIGTERM), "the reactor to run")
            helper.process.send_signal(number)
            statuses.append(helper.process.wait(PATIENCE))
            assert ("SIGHUP ends this process" in helper.log()) == (number is signal.SIGHUP)
    assert statuses[0] == statuses[1] == 0
