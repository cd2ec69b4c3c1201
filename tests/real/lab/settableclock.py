"""
C{twistd} with a wall clock that a test sets. The clock of the machine stays as it is.

    python -m tests.real.lab.settableclock DIRECTORY ARGUMENTS

The file C{offset} in the directory has the seconds by which this process's clock is ahead. When its pipe C{steps} is
written to, the process learns that the clock was set, as from the kernel's timer.
"""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.paths import CHECKOUT

_seconds = struct.Struct("d")


class SettableClock:
    """
    The wall clock of one process, as the test sees it.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._offset = directory / "offset"
        self._steps = directory / "steps"
        self._offset.write_bytes(_seconds.pack(0.0))
        os.mkfifo(self._steps)

    def twistd(self, *arguments: str, cwd: Path) -> subprocess.Popen[bytes]:
        """
        Start C{twistd} with this clock, as L{tests.real.lab.host.twistd} does.
        """
        command = [sys.executable, "-m", "tests.real.lab.settableclock", str(self._directory), *arguments]
        with open(cwd / "twistd.log", "w") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            )

    def set(self, ahead: float) -> None:
        """
        Set the clock, and tell the process if it runs.

        @param ahead: the seconds by which it is ahead of the machine's clock; below 0: it is behind.
        """
        with open(self._offset, "r+b") as file:
            file.write(_seconds.pack(ahead))
        # A pipe that is open for reading, too, needs no process at its other end.
        descriptor = os.open(self._steps, os.O_RDWR | os.O_NONBLOCK)
        try:
            os.write(descriptor, b"1")
        finally:
            os.close(descriptor)


def shifted(directory: Path) -> Callable[[], float]:
    """
    Make the function that tells the time of the process.
    """
    with open(directory / "offset", "rb") as file:
        offset = mmap.mmap(file.fileno(), _seconds.size, access=mmap.ACCESS_READ)
    wall = time.time
    return lambda: wall() + _seconds.unpack(offset)[0]


def main(directory: str, *arguments: str) -> None:
    """
    Run C{twistd} with the clock of a directory.
    """
    # Twisted keeps the function when it is imported.
    time.time = shifted(Path(directory))
    from twisted.scripts.twistd import run

    from txtuntap.device.linux import clockstep

    clockstep.openTimer = lambda: os.open(Path(directory, "steps"), os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    sys.argv = ["twistd", *arguments]
    run()


if __name__ == "__main__":
    main(*sys.argv[1:])
