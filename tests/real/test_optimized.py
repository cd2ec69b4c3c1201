"""
All commands and services run with C{python -OO}, which removes docstrings and assertions.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.paths import CHECKOUT
from tests.real.lab.asking import untilEchoed
from tests.real.lab.helper import listening
from tests.real.lab.host import options
from tests.real.lab.namespace import PATIENCE, Namespace, interfaces, ip, run, until

_PYTHON = [sys.executable, "-OO"]
_COMMAND = [*_PYTHON, "-c", "import sys; from txtuntap.command import main; sys.exit(main())"]
_ENVIRONMENT = {**os.environ, "PYTHONPATH": str(CHECKOUT)}


def succeeds(*commands: list[str]) -> list[str]:
    """
    Run C{txtuntap} commands in one process, because Python starts slowly with C{-OO}. Return their output.
    """
    program = (
        "import io, json, sys; from txtuntap.command import main\n"
        "said = []\n"
        "for each in json.loads(sys.argv[1]):\n"
        "    out = io.StringIO()\n"
        "    said.append([main(each, out), out.getvalue()])\n"
        "print(json.dumps(said))"
    )
    done = subprocess.run(
        [*_PYTHON, "-c", program, json.dumps(commands)],
        capture_output=True,
        text=True,
        env=_ENVIRONMENT,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert [status for status, _ in said] == [0] * len(commands)
    return [text for _, text in said]


@contextmanager
def running(log: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """
    Run a program until the block ends, then end it by SIGTERM, and check that it has reported no error.
    """
    with log.open("wb") as output:
        process = subprocess.Popen([*_PYTHON, *command], stdout=output, stderr=output, env=_ENVIRONMENT)
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text(), log.read_text()


def twist(*arguments: str) -> list[str]:
    return ["-m", "twisted", "--log-format=text", "tuntap", *arguments]


def test_commandsRunWithoutAssertions(namespace: Namespace, tmp_path: Path) -> None:
    added, listed, shown, changed = succeeds(
        ["add", "tt0", "--mode", "tap", "--address", "10.9.0.1/24"],
        ["list"],
        ["show", "tt0", "--json"],
        ["set", "tt0", "--mtu", "1400"],
    )
    assert (added, json.loads(shown)["name"], changed) == ("tt0\n", "tt0", "set the MTU of tt0 to 1400\n")
    assert "10.9.0.1/24" in listed
    monitored = tmp_path / "monitor"

    def happens() -> bool:
        for state in "down", "up":
            ip("link", "set", "tt0", state)
        return "tt0" in monitored.read_text()

    with running(monitored, *_COMMAND[2:], "monitor"):
        until(happens, "the monitor to tell of it")
    succeeds(["delete", "tt0"])
    assert "tt0" not in interfaces()


def test_aHostAndItsCaptureRunWithoutAssertions(namespace: Namespace, tmp_path: Path) -> None:
    captured, log = tmp_path / "trace.pcapng", tmp_path / "log"
    # With IPv6, the kernel would send router solicitations at any time.
    Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
    four = options(addresses=("10.9.0.2/24",), kernelAddresses=("10.9.0.1/24",))
    with running(log, *twist("host", *four)):
        untilEchoed("10.9.0.2")
        with running(tmp_path / "capture", *_COMMAND[2:], "capture", "tt0", "-w", str(captured)):
            until(lambda: captured.exists() and captured.stat().st_size > 0, "the capture to begin")
            run("ping", "-c1", "10.9.0.2")
    assert "2 packets captured" in (tmp_path / "capture").read_text()


def test_aSwitchAndATunnelRunWithoutAssertions(namespace: Namespace, tmp_path: Path) -> None:
    for log, arguments in (
        ("switch", ["switch", "--tap", "tt0", "--tap", "tt1"]),
        ("tunnel", ["tunnel", "--tun", "tt2", "--listen", "tcp:4000:interface=127.0.0.1", "--insecure"]),
    ):
        with running(tmp_path / log, *twist(*arguments)):
            until(lambda: interfaces() >= ({"tt0", "tt1"} if log == "switch" else {"tt2"}), "the interfaces")  # noqa: B023


def test_aHelperRunsWithoutAssertions(namespace: Namespace, tmp_path: Path) -> None:
    path, log = tmp_path / "socket", tmp_path / "log"
    rule = f"{os.getuid()}:tt*:10.9.0.0/24,fd09::/64"
    with running(log, "-m", "txtuntap.device.helper", "--allow", rule, "--listen", f"unix:{path}"):
        until(lambda: str(path) in listening(), "the helper")
        with running(tmp_path / "host", *twist("host", *options(), "--helper", str(path))):
            untilEchoed("10.9.0.2")
