"""
The part of demo.py that uses the kernel: twistd processes on devices, and sockets that write to them.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

#: The seconds in which the services must start and give all answers. Also the seconds in which each service must end.
PATIENCE = 30.0

#: The program twistd, which need not be beside this Python.
_TWISTD = "from twisted.scripts.twistd import run; run()"


class Kernel:
    """
    The twistd services on kernel devices. A C{with} block ends them.
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
        Return the log of all the services.
        """
        self._log.seek(0)
        return "\nThe services say:\n" + self._log.read().decode(errors="replace")

    def attach(self, device: str, prefixes: tuple[str, str]) -> None:
        """
        Start a service on a device.

        @param prefixes: the first octets of the device's IPv4 and IPv6 network, such as C{10.0.0.} and C{fd00::}.
        """
        four, six = prefixes
        host = [f"--{device[:3]}", device, "--udp", "7=witness.Witness"]
        host += ["--address", f"{four}2/24", "--address", f"{six}2/64"]
        kernel = ["--kernel-address", f"{four}1/24", "--kernel-address", f"{six}1/64"]
        print("\n$ twistd -n tuntap host", *host, "\\\n   ", *kernel)
        self._services[device] = subprocess.Popen(
            [sys.executable, "-c", _TWISTD, "-n", "--pidfile=", "tuntap", "host", *host, *kernel],
            cwd=Path(__file__).parent,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )

    def ask(self, device: str, host: str, text: bytes) -> tuple[str, int, bytes]:
        """
        Send a datagram to UDP port 7 of a host, and wait for the answer.

        @return: the source address and source port of the datagram, and the answer.

        @raise OSError: no answer came, and the time for all answers is over or the service has ended.
        """
        while True:
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(0.5)
                try:
                    client.connect((host, 7))
                    client.send(text)
                    answer = client.recv(4096)
                except OSError:
                    # The interface and its route do not exist before the service has started.
                    if time.monotonic() > self._deadline or self._services[device].poll() is not None:
                        raise
                    time.sleep(0.05)
                else:
                    address, port = client.getsockname()[:2]
                    return address, port, answer
