"""
Captures that tcpdump makes, and what tshark finds in them.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.real.lab.namespace import PATIENCE, tool

_CHECKS = [part for layer in ("ip", "udp", "tcp") for part in ("-o", f"{layer}.check_checksum:TRUE")]


@contextmanager
def captured(
    path: Path, interface: str, wanted: str = "", packets: int = 0, more: tuple[str, ...] = ()
) -> Iterator[None]:
    """
    Have tcpdump capture what passes an interface meanwhile.

    @param wanted: a filter, as C{pcap-filter} has it.
    @param packets: how many to wait for at the end. Without a number, the capture has what has been written by then.
    @param more: other options.
    """
    # In the buffer that it has by itself there is room for few packets, and on a busy machine it is not read at once.
    buffer = "-B", "32768"
    command = [
        tool("tcpdump"),
        "-i",
        interface,
        "-w",
        str(path),
        "-U",
        "--immediate-mode",
        "-Z",
        "root",
        *buffer,
        *more,
    ]
    command += ["-c", str(packets)] if packets else []
    with subprocess.Popen([*command, wanted], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            first = ""
            while "listening on" not in first:
                first = process.stderr.readline()
                assert first, "tcpdump ended"
            yield
            if packets:
                process.communicate(timeout=PATIENCE)
        finally:
            process.terminate()


def tshark(capture: Path, wanted: str, isUnderWay: bool = False) -> list[str]:
    """
    The lines that tshark prints for the packets that a display filter lets pass. It verifies checksums.

    @param isUnderWay: the last packet may be cut short, because the capture has not ended.
    """
    command = [tool("tshark"), "-r", str(capture), *_CHECKS, "-Y", wanted]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0 or (isUnderWay and "cut short" in finished.stderr), finished.stderr
    return finished.stdout.splitlines()
