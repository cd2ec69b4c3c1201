"""
Two network namespaces that are connected by C{veth}, with a C{twistd tuntap tunnel} in each.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.real.lab.asking import ping, pingUntilAnswered
from tests.real.lab.host import endProcess, twistd
from tests.real.lab.namespace import another, ip, run, tool, until
from txtuntap.device.linux.namespace import inNamespace

_T = TypeVar("_T")

#: The addresses of the link between both namespaces, in this one and in the other.
HERE, THERE = "192.0.2.1", "192.0.2.2"

#: The addresses of the tunnel's interfaces, in this namespace and in the other.
INNER_HERE, INNER_THERE = "10.9.0.1", "10.9.0.2"

PORT = 4000


class Service:
    """
    A C{twistd tuntap} process in one of the two namespaces.

    @cvar twistd: starts C{twistd}, with its arguments and its working directory.
    """

    twistd: Callable[..., Any] = staticmethod(twistd)

    def __init__(self, place: Place, directory: Path, *arguments: str) -> None:
        """
        @param directory: the directory of its log, which is made if need be.
        @param arguments: the name of the service, and its options.
        """
        self.place = place
        self._directory = directory
        directory.mkdir(exist_ok=True)
        self._arguments = arguments
        self._said = ""
        self.start()

    def start(self) -> None:
        """
        Start the process, for the first time or again.
        """
        command = ["-n", "--pidfile=", "tuntap", *self._arguments]
        self.process = self.place.call(lambda: self.twistd(*command, cwd=self._directory))

    def kill(self) -> None:
        """
        Kill the process, so that it cannot tell its peer.
        """
        self.process.kill()
        self.process.wait()
        self._said = self.log()

    def stop(self) -> None:
        """
        End the process by SIGTERM, and check that its log has no traceback.
        """
        endProcess(self.process)
        assert "Traceback" not in self.log(), self.log()

    def log(self) -> str:
        """
        The text of its log so far.
        """
        return self._said + (self._directory / "twistd.log").read_text()

    def counters(self, part: str) -> dict[str, int]:
        """
        The counters of a part, read from the log.
        """
        pattern = re.compile(rf"\] {part}: (.*)\n")
        before = len(pattern.findall(self.log()))
        self.process.send_signal(signal.SIGUSR2)
        said = until(lambda: pattern.findall(self.log())[before:], "counters in the log")[0]
        counts = () if said == "nothing" else (each.split() for each in said.split(", "))
        return {name: int(count) for name, count in counts}


class End(Service):
    """
    One end of a tunnel, a C{twistd} process in one of the two namespaces.
    """

    def __init__(self, place: Place, mode: str, directory: Path, arguments: tuple[str, ...]) -> None:
        interface = f"--{mode}", "tt0", "--kernel-address", f"{place.inner}/24"
        super().__init__(place, directory, "tunnel", *interface, *arguments)

    def counters(self, part: str = "tunnel") -> dict[str, int]:
        """
        The counters of the tunnel, or of another part, read from the log.
        """
        return super().counters(part)


class Place:
    """
    One of the two network namespaces.

    @ivar address: the address on the link between them.
    @ivar inner: the address of the tunnel's interface.
    """

    def __init__(self, namespace: int | None, address: str, inner: str) -> None:
        self._namespace = namespace
        self.address = address
        self.inner = inner

    def call(self, call: Callable[[], _T]) -> _T:
        """
        Call a function in this namespace.
        """
        return inNamespace(self._namespace, call)

    def run(self, name: str, *arguments: str, status: int = 0) -> str:
        """
        Run a program to its end in this namespace, and return its output.
        """
        return self.call(lambda: run(name, *arguments, status=status))

    @contextmanager
    def running(self, name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """
        Run a program in this namespace within a context manager.
        """
        command = [tool(name), *arguments]
        process = self.call(
            lambda: subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def pings(self, address: str, count: int, *options: str) -> None:
        """
        Ping an address from this namespace C{count} times, and check that each ping is answered. Each ping is a run of
        the program, because C{ping} waits for the last of several answers only twice as long as the others have taken.
        """
        for _ in range(count):
            assert self.call(lambda: ping(address, "-c", "1", *options)) == 1


@contextmanager
def joined() -> Iterator[tuple[Place, Place]]:
    """
    Make another namespace and a link between it and this one, in a context manager.
    """
    with another() as there:
        ip("link", "add", "ttv", "type", "veth", "peer", "name", "ttw")
        ip("link", "set", "ttw", "netns", f"/proc/{os.getpid()}/fd/{there}")
        places = Place(None, HERE, INNER_HERE), Place(there, THERE, INNER_THERE)
        for place, name in zip(places, ("ttv", "ttw"), strict=True):
            place.run("ip", "address", "add", f"{place.address}/24", "dev", name)
            place.run("ip", "link", "set", name, "up")
        pingUntilAnswered(THERE)
        try:
            yield places
        finally:
            ip("link", "delete", "ttv")


@contextmanager
def tunnel(
    places: tuple[Place, Place],
    directory: Path,
    mode: str = "tun",
    listening: tuple[str, ...] = ("--insecure",),
    connecting: tuple[str, ...] = ("--insecure",),
) -> Iterator[tuple[End, End]]:
    """
    Run a tunnel between two namespaces in a context manager. The first end listens, and the second connects.
    """
    ends: list[End] = []
    try:
        ends.append(End(places[0], mode, directory / "here", ("--listen", f"tcp:{PORT}", *listening)))
        until(lambda: _isListening(ends[0]), "a listener")
        connect = "--connect", f"tcp:{places[0].address}:{PORT}"
        ends.append(End(places[1], mode, directory / "there", (*connect, *connecting)))
        yield ends[0], ends[1]
    finally:
        for end in ends:
            end.stop()


def _isListening(end: End) -> bool:
    assert end.process.poll() is None, end.log()

    def connects() -> bool:
        with socket.socket() as tried:
            return tried.connect_ex(("127.0.0.1", PORT)) == 0

    return end.place.call(connects)


def untilUp(ends: tuple[End, End]) -> None:
    """
    Wait until packets pass through a tunnel.
    """

    def stay() -> None:
        for end in ends:
            assert end.process.poll() is None, end.log()

    ends[1].place.call(lambda: pingUntilAnswered(INNER_HERE, stay))
