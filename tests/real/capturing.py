"""
The C{txtuntap capture} command in a process of its own, and what C{tshark} reads of what it wrote.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.real.namespace import PATIENCE, tool, until

_ROOT = Path(__file__).parents[2]

COMMAND = [sys.executable, "-c", "import sys; from txtuntap.command import main; sys.exit(main())", "capture"]

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(_ROOT)}

#: What makes C{tshark} look at every checksum.
_CHECKSUMS = [argument for name in ("ip", "udp", "tcp") for argument in ("-o", f"{name}.check_checksum:TRUE")]


class Capturing:
    """
    The command while it runs, as a context manager: it has begun to capture once it is entered.
    """

    def __init__(self, path: Path, *arguments: str, before: tuple[str, ...] = ()) -> None:
        """
        @param before: arguments before C{capture}.
        """
        self.path = path
        command = [*COMMAND[:-1], *before, COMMAND[-1]]
        self._command = [*command, "tt0", "-w", str(path), *arguments]

    def __enter__(self) -> Capturing:
        self.process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
        )
        try:
            until(self._hasBegun, "the capture to begin")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *ignored: object) -> None:
        self.process.kill()
        self.process.communicate()

    def stop(self, number: int = signal.SIGINT) -> list[str]:
        """
        End it.

        @return: the lines that it says at the end.
        """
        self.process.send_signal(number)
        return self.ended(0)

    def ended(self, status: int) -> list[str]:
        """
        Wait for its end.
        """
        _, said = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == status, said
        return said.splitlines()

    def _hasBegun(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"it did not stay: {self.process.communicate()[1]}")
        return self.path.exists() and self.path.stat().st_size > 0


def tshark(path: Path, *arguments: str) -> list[str]:
    """
    What C{tshark} reads in a capture file, without a complaint; a line for each packet.
    """
    finished = subprocess.run(
        [tool("tshark"), "-r", str(path), *_CHECKSUMS, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    complaints = [line for line in finished.stderr.splitlines() if not line.startswith("Running as user")]
    assert finished.returncode == 0 and not complaints, finished.stderr
    return finished.stdout.splitlines()


def fields(path: Path, wanted: str, *names: str) -> list[list[str]]:
    """
    Some fields of the packets that are C{wanted}.
    """
    lines = tshark(path, "-Y", wanted, "-T", "fields", *(argument for name in names for argument in ("-e", name)))
    return [line.split("\t") for line in lines]


def assertClean(path: Path) -> None:
    """
    In every packet all is as it should be.
    """
    wrong = "_ws.malformed || ip.checksum.status == 0 || udp.checksum.status == 0 || tcp.checksum.status == 0"
    # 8388608: errors.
    assert tshark(path, "-Y", f"{wrong} || _ws.expert.severity >= 8388608 || _ws.short") == []


def about(path: Path) -> str:
    """
    What C{capinfos} says of a file.
    """
    finished = subprocess.run([tool("capinfos"), str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert finished.returncode == 0 and not finished.stderr, finished.stderr
    return finished.stdout
