"""
The C{txtuntap capture} command in a process of its own, and what C{tshark} reads of what it wrote.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from tempfile import TemporaryFile

from tests.paths import CHECKOUT
from tests.real.lab.namespace import PATIENCE, tool, until
from txtuntap.command import main

COMMAND = [sys.executable, "-m", "txtuntap.command"]

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(CHECKOUT)}

#: What makes C{tshark} look at every checksum.
_CHECKSUMS = [argument for name in ("ip", "udp", "tcp") for argument in ("-o", f"{name}.check_checksum:TRUE")]


#: What must not be found of a packet: that it is cut, malformed or wrong in a sum; or, of the last, 8388608: an error.
_WRONG = {
    "_ws.malformed": "_ws.malformed",
    "_ws.short": "_ws.short",
    **{f"{name}.checksum.status": f"{name}.checksum.status == 0" for name in ("ip", "udp", "tcp")},
    "_ws.expert.severity": "_ws.expert.severity >= 8388608",
}


class Running:
    """
    The command in a copy of this process, in which it is imported already: a new one takes most of a second to.
    """

    def __init__(self, arguments: list[str]) -> None:
        self.returncode: int | None = None
        self._said = TemporaryFile()  # noqa: SIM115
        sys.stdout.flush()
        self._pid = os.fork()
        if not self._pid:
            self._run(arguments)

    def _run(self, arguments: list[str]) -> None:
        status = 2
        try:
            os.dup2(self._said.fileno(), 2)
            sys.stderr = os.fdopen(2, "w", closefd=False)
            # Devices and sockets of the test's go when the test has them go. (What was made for them here stays.)
            gc.disable()
            os.closerange(3, 1 << 16)
            # A reactor may have been here.
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            status = main(arguments)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self._pid, number)

    def said(self) -> str:
        """
        What it has said on standard error.
        """
        return os.pread(self._said.fileno(), 1 << 20, 0).decode()

    def end(self) -> None:
        """
        Have it end, whatever it does.
        """
        self.send_signal(signal.SIGKILL)
        until(lambda: self.poll() is not None, "the end of a process")
        self._said.close()


class Capturing:
    """
    The command while it runs, as a context manager: it has begun to capture once it is entered.
    """

    def __init__(self, path: Path, *arguments: str, before: tuple[str, ...] = ()) -> None:
        """
        @param before: arguments before C{capture}.
        """
        self.path = path
        self._arguments = [*before, "capture", "tt0", "-w", str(path), *arguments]

    def __enter__(self) -> Capturing:
        self.process = Running(self._arguments)
        try:
            until(self._hasBegun, "the capture to begin")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *ignored: object) -> None:
        self.process.end()

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
        until(lambda: self.process.poll() is not None, f"the end; {self.process.said()}")
        said = self.process.said()
        assert self.process.returncode == status, said
        return said.splitlines()

    def _hasBegun(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"it did not stay: {self.process.said()}")
        return self.path.exists() and self.path.stat().st_size > 0


def runCapture(*arguments: str) -> tuple[int | None, str]:
    """
    Run the command to its end.

    @return: its exit status, and what it has said.
    """
    process = Running(["capture", *arguments])
    try:
        until(lambda: process.poll() is not None, "the end of a capture")
        return process.returncode, process.said()
    finally:
        process.end()


def tshark(path: Path, *arguments: str) -> list[str]:
    """
    What C{tshark} reads in a capture file, without a complaint; a line for each packet.
    """
    finished = subprocess.run(
        [tool("tshark"), "-r", str(path), *_CHECKSUMS, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
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


def cleanFields(path: Path, wanted: str, *names: str) -> list[list[str]]:
    """
    The same; and in every packet, wanted or not, all is as it should be. (Both at once, since C{tshark} takes its time
    to begin.)
    """
    wrong = " || ".join(_WRONG.values())
    found = fields(path, f"({wrong}) || ({wanted})", *names, *_WRONG)
    for row in found:
        malformed, short, ip, udp, tcp, severity = row[len(names) :]
        sums = [status for each in (ip, udp, tcp) for status in each.split(",")]
        levels = [int(level) for level in severity.split(",") if level]
        assert not malformed and not short and "0" not in sums and all(level < 8388608 for level in levels), row
    return [row[: len(names)] for row in found]


def assertClean(path: Path, hasOpen: bool = False) -> None:
    """
    In every packet all is as it should be.

    @param hasOpen: whether checksums in it may be open, as they are where a device finishes them.
    """
    unchecked = [argument for name in ("udp", "tcp") for argument in ("-o", f"{name}.check_checksum:FALSE")]
    assert tshark(path, *(unchecked if hasOpen else []), "-Y", " || ".join(_WRONG.values())) == []


def about(path: Path) -> str:
    """
    What C{capinfos} says of a file.
    """
    finished = subprocess.run(
        [tool("capinfos"), str(path)], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert finished.returncode == 0 and not finished.stderr, finished.stderr
    return finished.stdout
