"""
The helper, started in its own process for a test.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.real.lab.guest import NOBODY
from tests.real.lab.namespace import PATIENCE, until
from tests.real.lab.warm import Program

NETWORKS = "10.9.0.0/24,fd09::/64"
RULES = (f"{NOBODY}:tt*:{NETWORKS}", "@4321:gg%d", f"{os.getuid()}:tt*:{NETWORKS}")


#: The flag of a listening socket: C{__SO_ACCEPTCON} (C{linux/net.h}).
_ACCEPTS = 0x10000


def listening() -> set[str]:
    """
    The paths of all listening UNIX sockets (C{proc(5)}). A socket has its path before it listens.
    """
    sockets = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    return {socket[7] for socket in sockets if len(socket) > 7 and int(socket[3], 16) & _ACCEPTS}


class Helper:
    """
    A context manager that runs the helper in its own process.

    @ivar path: the path of the helper's socket.
    @ivar process: the process.
    """

    def __init__(self, directory: Path, *options: str, rules: tuple[str, ...] = RULES) -> None:
        self.path = str(directory / "socket")
        self._log = directory / "helper.log"
        allow = [each for rule in rules for each in ("--allow", rule)]
        with open(self._log, "w") as log:
            self.process = Program(
                "txtuntap.device.helper.server:main",
                ["helper", *allow, "--listen", f"unix:{self.path}:mode=666", *options],
                stdout=log,
            )
        until(lambda: "Listening" in self.log() or self.process.poll() is not None, "the helper to listen")
        assert self.process.poll() is None, self.log()

    def __enter__(self) -> Helper:
        return self

    def __exit__(self, *ignored: object) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE)
        assert "Traceback" not in self.log(), self.log()

    def log(self) -> str:
        return self._log.read_text()

    def connected(self) -> socket.socket:
        """
        Connect to the helper.
        """
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(PATIENCE)
        client.connect(self.path)
        return client

    def answer(self, request: bytes) -> Any:
        """
        Send a request that the helper refuses, and return its answer.
        """
        with self.connected() as client:
            with suppress(ConnectionError):
                # The helper may have answered and closed the connection already.
                client.sendall(request)
            return json.loads(client.makefile().readline())


def request(**settings: Any) -> bytes:
    """
    Write the request for a tun of the name C{tt0}.

    @param settings: the settings of the interface.
    """
    return requestFor("tt0", "tun", settings or None)


def requestFor(name: str, mode: str = "tun", settings: dict[str, Any] | None = None) -> bytes:
    """
    Write the request of a program for a device.
    """
    return json.dumps({"name": name, "mode": mode, "settings": settings}).encode() + b"\n"
