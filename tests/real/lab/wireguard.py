"""
WireGuard between two network namespaces: a C{twistd tuntap wireguard} in this one, and wireguard-go in the other.

Programs of all namespaces have their sockets for C{wg} in one directory, so each interface has a name of its own.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from random import SystemRandom
from typing import Final

from tests.real.lab.asking import pingUntilAnswered
from tests.real.lab.link import PacketSocket, show
from tests.real.lab.namespace import PATIENCE, needRoot, tool, until
from tests.real.lab.tunnel import Place, Service, joined
from txtuntap.device import TAP
from txtuntap.wire import ethernet, udp
from txtuntap.wire.wireguard import DATA, DATA_LENGTH, INITIATION
from txtuntap.wireguard.keys import PrivateKey, keyText

#: The port of both ends.
PORT: Final = 51820

#: The addresses of the link by IPv6, and those inside, of this end and of the other.
SIX: Final = "2001:db8::1", "2001:db8::2"
INNER_SIX: Final = "fd09::1", "fd09::2"

#: The interfaces of the link, here and in the other namespace.
LINK: Final = "ttv", "ttw"

#: The directory of the sockets for C{wg}.
SOCKETS: Final = Path("/var/run/wireguard")

_numbers = count()


def newName() -> str:
    """
    A name for an interface that no other one on this machine has.
    """
    return f"tt{os.getpid():x}n{next(_numbers):x}"


def newKey() -> PrivateKey:
    """
    A new private key.
    """
    return PrivateKey.generate(SystemRandom())


class End:
    """
    One end: an interface of WireGuard, its key, and what it knows of the other end.

    @ivar place: its namespace.
    @ivar name: the name of the interface.
    @ivar key: its private key.
    @ivar outer: its addresses on the link, of IPv4 and of IPv6.
    @ivar inner: the addresses of the interface.
    @ivar peer: the settings of the peer, as in the file, without its key.
    @ivar device: more settings of the interface itself.
    """

    def __init__(self, place: Place, number: int, directory: Path) -> None:
        """
        @param number: 0: the end in this namespace; 1: the other.
        """
        self.place = place
        self.name = newName()
        self.key = newKey()
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self.outer = place.address, SIX[number]
        self.inner = place.inner, INNER_SIX[number]
        self.peer: dict[str, str] = {}
        self.device: dict[str, str] = {"ListenPort": str(PORT)}

    @property
    def public(self) -> str:
        """
        The public key in base64.
        """
        return keyText(self.key.public)

    @property
    def socketFile(self) -> Path:
        """
        The socket for C{wg}.
        """
        return SOCKETS / f"{self.name}.sock"

    def knows(self, other: End, version: int | None = None, **settings: str) -> None:
        """
        Have this end know the other one.

        @param version: the version of IP outside, if this end knows the endpoint of the other.
        @param settings: more settings of the peer.
        """
        networks = (f"{address}/{128 if ':' in address else 32}" for address in other.inner)
        self.peer = {"PublicKey": other.public, "AllowedIPs": ",".join(networks)}
        if version is not None:
            self.peer["Endpoint"] = other.endpoint(version)
        self.peer.update(settings)

    def endpoint(self, version: int = 4) -> str:
        """
        The address and port outside.
        """
        four, six = self.outer
        return f"[{six}]:{PORT}" if version == 6 else f"{four}:{PORT}"

    def file(self, **device: str) -> Path:
        """
        Write the configuration file.
        """
        lines = ["[Interface]", f"PrivateKey = {keyText(self.key.secret())}"]
        lines += [f"{name} = {value}" for name, value in {**self.device, **device}.items()]
        if self.peer:
            lines += ["[Peer]", *(f"{name} = {value}" for name, value in self.peer.items())]
        path = self.directory / f"{self.name}.conf"
        path.touch(0o600)
        path.write_text("\n".join([*lines, ""]))
        return path

    def wg(self, command: str, *arguments: str) -> str:
        """
        Run C{wg} on this interface, and return its output.
        """
        return self.place.run("wg", command, self.name, *arguments)

    def set(self, *arguments: str) -> None:
        """
        Change the peer by C{wg set}.
        """
        self.wg("set", "peer", self.peer["PublicKey"], *arguments)

    def shown(self, what: str) -> str:
        """
        The value that C{wg show} has of the only peer, such as C{"endpoints"}.
        """
        (line,) = self.wg("show", what).splitlines()
        return line.partition("\t")[2]

    @property
    def lastHandshake(self) -> int:
        """
        When the last handshake was done, in seconds of the wall clock; 0: never.
        """
        return int(self.shown("latest-handshakes"))

    @property
    def delivered(self) -> int:
        """
        The packets that WireGuard has delivered to the interface.
        """
        return int(self.place.call(lambda: show(self.name))["stats64"]["rx"]["packets"])

    def pings(self, other: End, version: int = 4) -> None:
        """
        Ping the other end once, and check that the ping is answered.
        """
        self.place.pings(other.inner[0 if version == 4 else 1], 1)

    def reaches(self, other: End, version: int = 4) -> bool:
        """
        Whether one ping is answered within a second. A busy machine may need longer: see L{pings}.
        """
        address = other.inner[0 if version == 4 else 1]
        command = [tool("ping"), "-n", "-c", "1", "-W", "1", address]
        return self.place.call(lambda: subprocess.run(command, capture_output=True, check=False).returncode == 0)

    def untilReaches(self, other: End, version: int = 4) -> None:
        """
        Ping the other end until it answers.
        """
        address = other.inner[0 if version == 4 else 1]
        self.place.call(lambda: pingUntilAnswered(address, self.check))

    def check(self) -> None:
        """
        Fail if the process has ended.
        """
        raise NotImplementedError

    def start(self) -> None:
        """
        Start the process, and wait until the interface is up.
        """
        raise NotImplementedError

    def stop(self) -> None:
        """
        End the process by SIGTERM.
        """
        raise NotImplementedError

    def kill(self) -> None:
        """
        Kill the process, so that it cannot tell its peer.
        """
        raise NotImplementedError

    def log(self) -> str:
        """
        The text of its log so far.
        """
        raise NotImplementedError


class Ours(End):
    """
    A C{twistd tuntap wireguard}.

    @ivar options: more options of the service.
    """

    options: tuple[str, ...] = ()
    _service: Service | None = None

    def start(self) -> None:
        """
        Start the process as L{End.start} says.
        """
        addresses = ", ".join(f"{address}/{64 if ':' in address else 24}" for address in self.inner)
        path = self.file(Address=addresses)
        if self._service is None:
            arguments = "--tun", self.name, "--config", str(path), *self.options
            self._service = Service(self.place, self.directory, "wireguard", *arguments)
        else:
            self._service.start()

        def isReady() -> bool:
            self.check()
            return " is ready: " in (self.directory / "twistd.log").read_text()

        until(isReady, "the interface of this end")

    @property
    def service(self) -> Service:
        """
        The service of the interface.
        """
        assert self._service is not None
        return self._service

    def check(self) -> None:
        """
        Fail as L{End.check} says.
        """
        assert self.service.process.poll() is None, self.log()

    def stop(self) -> None:
        """
        End the process as L{End.stop} says.
        """
        if self._service is not None:
            self._service.stop()

    def kill(self) -> None:
        """
        Kill the process as L{End.kill} says.
        """
        self.service.kill()

    def log(self) -> str:
        """
        Return the text of the log.
        """
        return self.service.log()

    def counter(self, name: str) -> int:
        """
        A counter of WireGuard; 0 if it has not counted yet.
        """
        return self.service.counters("wireguard").get(name, 0)


class Theirs(End):
    """
    A wireguard-go as the other end.
    """

    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """
        Start the process as L{End.start} says.
        """
        command = [tool("wireguard-go"), "--foreground", self.name]
        environment = {**os.environ, "LOG_LEVEL": "verbose"}
        with open(self._logFile, "ab") as log:
            self.process = self.place.call(
                lambda: subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
            )

        def isReady() -> bool:
            self.check()
            return self.socketFile.exists() and bool(self.place.call(lambda: show(self.name)))

        until(isReady, "the interface of wireguard-go")
        self.wg("setconf", str(self.file()))
        for address in self.inner:
            more = ["nodad"] if ":" in address else []
            self._ip("address", "add", f"{address}/{64 if ':' in address else 24}", "dev", self.name, *more)
        self._ip("link", "set", self.name, "up")

    @property
    def _logFile(self) -> Path:
        return self.directory / "wireguard-go.log"

    def _ip(self, *arguments: str) -> None:
        self.place.run("ip", *arguments)

    def check(self) -> None:
        """
        Fail as L{End.check} says.
        """
        assert self.process is not None and self.process.poll() is None, self.log()

    def stop(self) -> None:
        """
        End the process as L{End.stop} says.
        """
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)

    def kill(self) -> None:
        """
        Kill the process as L{End.kill} says.
        """
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        # It takes any file there for the socket of a program that runs.
        self.socketFile.unlink()

    def log(self) -> str:
        """
        Return the text of the log.
        """
        return self._logFile.read_text()


class Pair:
    """
    Both ends, which a test configures and starts.
    """

    def __init__(self, places: tuple[Place, Place], directory: Path) -> None:
        self.places = places
        self.ours = Ours(places[0], 0, directory / "ours")
        self.theirs = Theirs(places[1], 1, directory / "theirs")

    @property
    def both(self) -> tuple[Ours, Theirs]:
        """
        The pair of both ends, ours first.
        """
        return self.ours, self.theirs

    def other(self, end: End) -> End:
        """
        The other end than C{end}.
        """
        return self.theirs if end is self.ours else self.ours

    def start(self, beginner: End | None = None, version: int = 4, **settings: str) -> None:
        """
        Have both know each other, and start them.

        @param beginner: the only end that knows the endpoint of the other; L{None}: both do.
        @param version: the version of IP outside.
        @param settings: more settings of the peer, in both files.
        """
        for end in self.both:
            end.knows(self.other(end), version if beginner in (None, end) else None, **settings)
        for end in self.both:
            end.start()

    def begin(self, beginner: End | None = None, version: int = 4, **settings: str) -> None:
        """
        Start both, and wait until they have a session and reach each other.
        """
        self.start(beginner, version, **settings)
        first = beginner or self.ours
        first.untilReaches(self.other(first))
        self.other(first).untilReaches(first)


@contextmanager
def outside() -> Iterator[tuple[Place, Place]]:
    """
    Make another namespace within a context manager, and a link to it that has addresses of both versions of IP.
    """
    needRoot()
    with joined() as places:
        for place, name, address in zip(places, LINK, SIX, strict=True):
            place.run("ip", "address", "add", f"{address}/64", "dev", name, "nodad")
        yield places


@contextmanager
def pair(places: tuple[Place, Place], directory: Path) -> Iterator[Pair]:
    """
    Make both ends within a context manager, which stops them.
    """
    made = Pair(places, directory)
    try:
        yield made
    finally:
        # One that cannot be stopped leaves the other one behind, unless that is stopped first.
        made.theirs.stop()
        made.ours.stop()
        assert not any(end.socketFile.exists() for end in made.both)


def message(frame: bytes) -> bytes:
    """
    The message of WireGuard in a frame of IPv4 on the link; empty: there is none.
    """
    start = ethernet.HEADER_LENGTH
    if frame[12:14] != b"\x08\x00" or frame[start + 9] != udp.PROTOCOL:
        return b""
    start += (frame[start] & 15) * 4
    if PORT not in (
        int.from_bytes(frame[start : start + 2], "big"),
        int.from_bytes(frame[start + 2 : start + 4], "big"),
    ):
        return b""
    return frame[start + 8 :]


def isInitiation(frame: bytes) -> bool:
    """
    Whether a frame has an initiation.
    """
    return message(frame)[:1] == bytes([INITIATION])


def isData(frame: bytes) -> bool:
    """
    Whether a frame has a data message with a packet.
    """
    found = message(frame)
    return found[:1] == bytes([DATA]) and len(found) > DATA_LENGTH


class Wire:
    """
    The link between both ends: it hears what arrives at each end, and can send that again.
    """

    def __init__(self, places: tuple[Place, Place]) -> None:
        self._sockets = [
            place.call(lambda name=name: PacketSocket(name, TAP))  # type: ignore[misc]
            for place, name in zip(places, LINK, strict=True)
        ]

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *ignored: object) -> None:
        for each in self._sockets:
            each.close()

    def heard(self, number: int) -> list[bytes]:
        """
        The frames that have arrived at an end since the last call: 0: at ours; 1: at the other.
        """
        return self._sockets[number].received()

    def send(self, number: int, frame: bytes) -> None:
        """
        Send a frame to an end, as the other end does.
        """
        self._sockets[1 - number].send(frame)
