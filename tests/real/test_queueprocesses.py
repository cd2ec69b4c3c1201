"""
C{twistd tuntap host --queues}: one device, several processes, each flow in one of them.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.protocol import DatagramProtocol

from tests.real.host import INTERFACE, options, twistd
from tests.real.namespace import PATIENCE, Namespace, interfaces, ip, until

#: Flows that are sent: all of them in one of three queues would be once in 3**39 times.
FLOWS = 40


class WhoAmI(DatagramProtocol):
    """
    Answers with the number of the process.
    """

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """
        A datagram has come.
        """
        transport: Any = self.transport
        transport.write(b"%d" % os.getpid(), addr)


@contextmanager
def running(tmp_path: Path, mode: str) -> Iterator[int]:
    """
    Three processes.

    @return: the number of the first, which has started the others.
    """
    udp = (f"7={__name__}.WhoAmI",)
    arguments = ["-n", "--pidfile=", "tuntap", "host", "--queues", "3", *options(mode, udp=udp)]
    if mode == "tap":
        arguments += ["--mac", "02:00:00:00:00:05"]
    process = twistd(*arguments, cwd=tmp_path)
    try:
        yield process.pid
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
    until(lambda: INTERFACE not in interfaces(), "the device to be gone")


def answer(asker: socket.socket) -> int | None:
    """
    Which process answers; L{None} if none does in time.
    """
    asker.settimeout(0)
    with suppress(OSError):
        # What came too late.
        while asker.recv(100):
            pass
    asker.settimeout(0.3)
    with suppress(OSError):
        asker.send(b"who?")
        return int(asker.recv(100))
    return None


@pytest.mark.parametrize("mode", ["tun", "tap"])
def test_aFlowStaysInOneProcess(namespace: Namespace, tmp_path: Path, mode: str) -> None:
    with running(tmp_path, mode) as parent, ExitStack() as stack:
        until(lambda: "10.9.0.1" in ip("address"), "the interface")
        askers = []
        for number in range(FLOWS):
            family, address = (socket.AF_INET, "10.9.0.2") if number % 2 else (socket.AF_INET6, "fd09::2")
            asker = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            asker.connect((address, 7))
            askers.append(asker)
        first: list[int] = []
        for asker in askers:
            until(lambda: answer(asker), "an answer")  # noqa: B023
            found = answer(asker)
            assert found is not None
            first.append(found)
        assert len(set(first)) == 3 and parent in first
        for _ in range(3):
            assert [answer(asker) for asker in askers] == first
        # One that ends is started again, and has its queue again.
        victim = next(process for process in first if process != parent)
        os.kill(victim, signal.SIGKILL)
        for asker, before in zip(askers, first, strict=True):
            now = until(lambda: answer(asker), "an answer")  # noqa: B023
            assert (now != before) == (before == victim)
        # None outlives the one that has started them.
        others = set(first) - {parent, victim}
        os.kill(parent, signal.SIGKILL)
        until(lambda: not any(Path(f"/proc/{process}").exists() for process in others), "the others to end")
        until(lambda: INTERFACE not in interfaces(), "the device to be gone")
    log = (tmp_path / "twistd.log").read_text()
    assert "Traceback" not in log
