"""
Functions that capture with tcpdump, and read the captures with tshark.
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
    Capture the packets of an interface with tcpdump within a context manager.

    @param path: the file to write.
    @param interface: the interface's name.
    @param wanted: a filter in the language of C{pcap-filter(7)}.
    @param packets: the number of packets to wait for at the end; 0: end the capture without waiting.
    @param more: more options of tcpdump.
    """
    # The default buffer holds few packets, and on a busy machine tcpdump reads it late.
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
    Run tshark on a capture, with verification of checksums.

    @param capture: the file.
    @param wanted: a display filter that selects packets.
    @param isUnderWay: whether the capture is still running, so that the last packet may be cut short.

    @return: the lines that tshark prints, one for each packet.
    """
    command = [tool("tshark"), "-r", str(capture), *_CHECKS, "-Y", wanted]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0 or (isUnderWay and "cut short" in finished.stderr), finished.stderr
    return finished.stdout.splitlines()
