"""
C{twistd tuntap host --queues} runs several processes on one device, and each flow stays in one process.
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

from tests.real.lab.host import INTERFACE, KERNEL_ADDRESSES, options, twistd
from tests.real.lab.link import untilHas
from tests.real.lab.namespace import PATIENCE, Namespace, interfaces, until

#: The number of flows. The probability that all are in one of three queues is 1 in 3**39.
FLOWS = 40


class WhoAmI(DatagramProtocol):
    """
    A protocol that answers with the number of its process.
    """

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """
        Answer a datagram with the process number.
        """
        transport: Any = self.transport
        transport.write(b"%d" % os.getpid(), addr)


@contextmanager
def running(tmp_path: Path, mode: str) -> Iterator[int]:
    """
    Run three processes on one device.

    @return: the number of the first process, which has started the others.
    """
    udp = (f"7={__name__}.WhoAmI",)
    arguments = ["-n", "--pidfile=", "tuntap", "host", "--queues", "3", *options(mode, udp=udp)]
    if mode == "tap":
        arguments += ["--mac", "02:00:00:00:00:05"]
    process = twistd(*arguments, cwd=tmp_path)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()
    until(lambda: INTERFACE not in interfaces(), "the device to be gone")


def flows(stack: ExitStack) -> Iterator[socket.socket]:
    """
    Open sockets of both IP versions, each of which is a flow.
    """
    for number in range(FLOWS):
        family, address = (socket.AF_INET, "10.9.0.2") if number % 2 else (socket.AF_INET6, "fd09::2")
        asker = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        asker.connect((address, 7))
        yield asker


def answer(asker: socket.socket) -> int:
    """
    Return the number of the process that answers. A datagram to a process that has just ended is lost, so repeat it.
    """
    asker.settimeout(0)
    with suppress(OSError):
        # Drop the answers to repeated datagrams.
        while asker.recv(100):
            pass
    asker.settimeout(0.3)

    def answered() -> int:
        with suppress(OSError):
            asker.send(b"who?")
            return int(asker.recv(100))
        return 0

    return until(answered, "an answer")


def _lives(process: int | None) -> bool:
    return Path(f"/proc/{process}").exists()


@pytest.mark.parametrize("mode", ["tun", "tap"])
def test_aFlowStaysInOneProcess(namespace: Namespace, tmp_path: Path, mode: str) -> None:
    with running(tmp_path, mode) as parent, ExitStack() as stack:
        untilHas(INTERFACE, *KERNEL_ADDRESSES)
        # The kernel assigns each new flow to one of the existing queues, so all processes must have started.
        log = tmp_path / "twistd.log"
        until(lambda: all(f"queue {number}" in log.read_text() for number in (1, 2)), "the other two processes")
        askers = list(flows(stack))
        first = [answer(asker) for asker in askers]
        assert len(set(first)) == 3 and parent in first
        for _ in range(3):
            assert [answer(asker) for asker in askers] == first
        # A process that ends is started again. Until then, the others answer.
        victim = next(process for process in first if process != parent)
        os.kill(victim, signal.SIGKILL)
        until(lambda: not _lives(victim), "the process to end")
        assert all(answer(asker) != victim for asker in askers)
        others = set(first) - {parent, victim}

        def answering() -> set[int]:
            # Flows stay in their process. Only new flows go to the new process.
            with ExitStack() as stack:
                return {answer(asker) for asker in flows(stack)}

        until(lambda: len(answering() - {parent, *others}) == 1, "a new process")
        others = answering() - {parent}
        assert len(others) == 2 and victim not in others
        # No process outlives the one that has started it.
        os.kill(parent, signal.SIGKILL)
        until(lambda: not any(map(_lives, others)), "the other processes to end")
        until(lambda: INTERFACE not in interfaces(), "the device to be gone")
    assert "Traceback" not in log.read_text()


def test_aNumberedExclusiveDeviceIsShared(namespace: Namespace, tmp_path: Path) -> None:
    arguments = ["--tun", "tt%d", "--exclusive", "--queues", "2", "--address", "10.9.0.2/24", "--udp", "7=echo"]
    process = twistd("-n", "--pidfile=", "tuntap", "host", *arguments, "--kernel-address", "10.9.0.1/24", cwd=tmp_path)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.settimeout(0.3)

            def answered() -> bool:
                with suppress(OSError):
                    asker.connect(("10.9.0.2", 7))
                    asker.send(b"hello")
                    return asker.recv(100) == b"hello"
                return False

            until(answered, "an answer")
        until(lambda: "queue 1" in (tmp_path / "twistd.log").read_text(), "the other process")
        assert interfaces() == {INTERFACE}
    finally:
        process.terminate()
        process.wait(PATIENCE)
