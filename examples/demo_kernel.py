"""
The kernel's part of demo.py: twistd on a device, and sockets to write to it with.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

#: Seconds to wait for answers: the services have to start first.
PATIENCE = 30.0


class Kernel:
    """
    Services on devices, for as long as the C{with} lasts.
    """

    name = "kernel"

    def __enter__(self) -> None:
        self._deadline = time.monotonic() + PATIENCE
        self._log = tempfile.TemporaryFile()
        self._services: dict[str, subprocess.Popen[bytes]] = {}

    def __exit__(self, *ignored: object) -> None:
        for service in self._services.values():
            service.terminate()
        for service in self._services.values():
            try:
                service.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                for each in self._services.values():
                    each.kill()
                raise

    def log(self) -> str:
        """
        What the services have to say.
        """
        self._log.seek(0)
        return "\nThe services say:\n" + self._log.read().decode(errors="replace")

    def attach(self, device: str, prefixes: tuple[str, str]) -> None:
        """
        Start a service.
        """
        four, six = prefixes
        host = [f"--{device[:3]}", device, "--udp", "7=witness.Witness"]
        host += ["--address", f"{four}2/24", "--address", f"{six}2/64"]
        kernel = ["--kernel-address", f"{four}1/24", "--kernel-address", f"{six}1/64"]
        print("\n$ twistd -n tuntap host", *host, "\\\n   ", *kernel)
        self._services[device] = subprocess.Popen(
            [Path(sys.executable).parent / "twistd", "-n", "--pidfile=", "tuntap", "host", *host, *kernel],
            cwd=Path(__file__).parent,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )

    def ask(self, device: str, host: str, text: bytes) -> tuple[str, int, bytes]:
        """
        Write to port 7 of a host.

        @return: the address and port that it was written from, and the answer.

        @raise OSError: there is none.
        """
        while True:
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(0.5)
                try:
                    client.connect((host, 7))
                    client.send(text)
                    answer = client.recv(4096)
                except OSError:
                    # Until the service is there, there is no such network.
                    if time.monotonic() > self._deadline or self._services[device].poll() is not None:
                        raise
                    time.sleep(0.05)
                else:
                    address, port = client.getsockname()[:2]
                    return address, port, answer
