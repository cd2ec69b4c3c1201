"""
Helpers that run C{txtuntap capture} in a process of its own, and read its files by C{tshark}.
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

#: The options that let C{tshark} verify all checksums.
_CHECKSUMS = [argument for name in ("ip", "udp", "tcp") for argument in ("-o", f"{name}.check_checksum:TRUE")]


#: The fields of C{tshark} that mark a wrong packet, and the filters for it: a packet that is malformed, cut short, or
#: wrong in a checksum, or about which C{tshark} has an expert's remark of the severity error (8388608). C{tshark} takes
#: the TCP checksum 0xffff for a wrong one. In ones' complement it is the same as 0, and one of 65,536 segments of Linux
#: has it.
_WRONG = {
    "_ws.malformed": "_ws.malformed",
    "_ws.short": "_ws.short",
    "ip.checksum.status": "ip.checksum.status == 0",
    "udp.checksum.status": "udp.checksum.status == 0",
    "tcp.checksum.status": "(tcp.checksum.status == 0 && tcp.checksum != 0xffff)",
    "_ws.expert.severity": "_ws.expert.severity >= 8388608",
}


class Running:
    """
    The command in a forked copy of this process. A new process would need most of a second for the imports.
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
            # Close the descriptors of the test, so that closing them in the test has an effect. The garbage collector
            # is off, because the copied objects of these descriptors must not close others that are opened here.
            gc.disable()
            os.closerange(3, 1 << 16)
            # Undo the signal handling of a reactor that the test may have used.
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
        Return the text that the command has written to standard error so far.
        """
        return os.pread(self._said.fileno(), 1 << 20, 0).decode()

    def end(self) -> None:
        """
        Kill the process, and wait for its end.
        """
        self.send_signal(signal.SIGKILL)
        until(lambda: self.poll() is not None, "the end of a process")
        self._said.close()


class Capturing:
    """
    A running C{txtuntap capture} as a context manager. The capture has begun once the context is entered.
    """

    def __init__(self, path: Path, *arguments: str, before: tuple[str, ...] = ()) -> None:
        """
        @param path: the file to write.
        @param arguments: arguments behind those for the interface C{tt0} and the file.
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
        End the command by a signal. It must succeed.

        @return: the lines that it has written to standard error.
        """
        self.process.send_signal(number)
        return self.ended(0)

    def ended(self, status: int) -> list[str]:
        """
        Wait for the end of the command.

        @param status: the expected exit status.

        @return: the lines that it has written to standard error.
        """
        until(lambda: self.process.poll() is not None, f"the end; {self.process.said()}")
        said = self.process.said()
        assert self.process.returncode == status, said
        return said.splitlines()

    def _hasBegun(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the command has ended early: {self.process.said()}")
        return self.path.exists() and self.path.stat().st_size > 0


def runCapture(*arguments: str) -> tuple[int | None, str]:
    """
    Run C{txtuntap capture} to its end.

    @return: its exit status, and the text that it has written to standard error.
    """
    process = Running(["capture", *arguments])
    try:
        until(lambda: process.poll() is not None, "the end of a capture")
        return process.returncode, process.said()
    finally:
        process.end()


def tshark(path: Path, *arguments: str) -> list[str]:
    """
    Read a capture file by C{tshark}, which must not complain.

    @return: the lines that it prints, one for each packet.
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
    Read some fields of the packets in a capture file.

    @param wanted: the display filter of C{tshark} that selects the packets.
    @param names: the names of the fields.

    @return: the values of the fields, for each selected packet.
    """
    lines = tshark(path, "-Y", wanted, "-T", "fields", *(argument for name in names for argument in ("-e", name)))
    return [line.split("\t") for line in lines]


def cleanFields(path: Path, wanted: str, *names: str) -> list[list[str]]:
    """
    Read some fields as L{fields} does, and check that no packet in the file is wrong. One run of C{tshark} does both,
    because its start is slow.
    """
    wrong = " || ".join(_WRONG.values())
    found = fields(path, f"({wrong}) || ({wanted})", *names, *_WRONG, "tcp.checksum")
    for row in found:
        malformed, short, ip, udp, tcp, severity, checksum = row[len(names) :]
        sums = [status for each in (ip, udp, tcp if checksum != "0xffff" else "") for status in each.split(",")]
        levels = [int(level) for level in severity.split(",") if level]
        assert not malformed and not short and "0" not in sums and all(level < 8388608 for level in levels), row
    return [row[: len(names)] for row in found]


def assertClean(path: Path, hasOpen: bool = False) -> None:
    """
    Check that no packet in a capture file is wrong.

    @param hasOpen: whether the file may have open checksums, which a device would have computed.
    """
    unchecked = [argument for name in ("udp", "tcp") for argument in ("-o", f"{name}.check_checksum:FALSE")]
    wrong = tshark(path, *(unchecked if hasOpen else []), "-Y", " || ".join(_WRONG.values()))
    # A plain assertion of this module would not show the packets.
    assert not wrong, "\n".join(wrong)


def about(path: Path) -> str:
    """
    Return the text that C{capinfos} prints about a capture file.
    """
    finished = subprocess.run(
        [tool("capinfos"), str(path)], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert finished.returncode == 0 and not finished.stderr, finished.stderr
    return finished.stdout
