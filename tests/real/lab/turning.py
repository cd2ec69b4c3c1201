"""
A host in the process of the tests, on a reactor that turns while something is waited for.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterable
from contextlib import suppress
from tempfile import TemporaryFile
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.selectreactor import SelectReactor
from twisted.python.failure import Failure

from tests.real.lab.link import setUp as setLinkUp
from tests.real.lab.namespace import PATIENCE, tool, until
from tests.recorders import Echo
from txtuntap import Host, TuntapPort

INTERFACE = "tt0"

#: Turns of the reactor until a question is asked again: 5 ms each, where nothing happens.
_TURNS = 50

#: Seconds that a program may take that moves much data.
LONG = 120.0

_T = TypeVar("_T")


class Turning:
    """
    A reactor that turns while something is waited for.
    """

    def __init__(self) -> None:
        self.reactor: Any = SelectReactor()

    def turn(self) -> None:
        """
        Have the reactor turn once.
        """
        self.reactor.iterate(0.005)

    def until(self, condition: Callable[[], _T], what: str, patience: float = PATIENCE) -> _T:
        """
        Turn until C{condition} holds, and return what it gives.
        """
        return until(condition, what, self.turn, patience)

    def wait(self, waited: Deferred[Any]) -> Any:
        """
        Turn until a Deferred fires.

        @return: what it fires with.

        @raise Exception: what it fails with.
        """
        results: list[Any] = []
        waited.addBoth(results.append)
        (result,) = self.until(lambda: results, "a Deferred to fire", LONG)
        if isinstance(result, Failure):
            result.raiseException()
        return result

    def run(self, *command: str, data: Iterable[bytes] = (), patience: float = LONG) -> tuple[int, str]:
        """
        Run a program to its end.

        @param data: pieces of what it reads from its standard input, which then ends.
        @param patience: seconds after which it will never end.

        @return: its status, and all it says on standard output and standard error.
        """
        with TemporaryFile() as given, TemporaryFile() as said:
            given.writelines(data)
            given.seek(0)
            process = subprocess.Popen(
                [tool(command[0]), *command[1:]], stdin=given, stdout=said, stderr=subprocess.STDOUT
            )
            try:
                self.until(lambda: process.poll() is not None, f"{command} to end", patience)
            finally:
                process.kill()
                process.wait()
            said.seek(0)
            return process.returncode, said.read().decode(errors="replace")

    def succeeds(self, *command: str, data: Iterable[bytes] = (), patience: float = LONG) -> str:
        """
        Run a program to its end, which is a success, and return what it says.
        """
        status, said = self.run(*command, data=data, patience=patience)
        assert status == 0, f"{command}: {status}, {said}"
        return said

    def stop(self) -> None:
        """
        Have no reactor any more.
        """
        self.reactor.waker.connectionLost(None)


class TurningHost(Turning):
    """
    A host on a device, with the kernel at the other end of it.

    @ivar host: the host.
    @ivar port: the port of its device.
    @ivar echo: echoes on UDP port 7.
    """

    def __init__(
        self,
        mode: str,
        addresses: tuple[str, ...] = ("10.9.0.2/24", "fd09::2/64"),
        kernelAddresses: tuple[str, ...] = ("10.9.0.1/24", "fd09::1/64"),
        offload: bool | None = None,
        around: Callable[[Any], Any] = lambda proto: proto,
        **hostOptions: Any,
    ) -> None:
        """
        @param mode: C{"tun"} or C{"tap"}.
        @param around: makes the middleware that the device is given, of a protocol.
        @param hostOptions: other arguments of the host.
        """
        super().__init__()
        self.host = Host(addresses, self.reactor, **hostOptions)
        proto = around(self.host.ethernet if mode == "tap" else self.host.ip)
        self.port = TuntapPort(INTERFACE, proto, reactor=self.reactor, offload=offload)
        self.port.startListening()
        self.echo = Echo()
        self.host.listenUDP(7, self.echo)
        setLinkUp(INTERFACE, *kernelAddresses)
        for address in addresses:
            self._reach(address.partition("/")[0])

    def _reach(self, address: str) -> None:
        """
        Ask an address of the host until it has answered each question. The kernel drops what is sent through an
        interface whose carrier has just come.
        """
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)

            def answer() -> bytes:
                with suppress(OSError):
                    client.sendto(b"there?", (address, 7))
                    for _ in range(_TURNS):
                        with suppress(BlockingIOError):
                            return client.recv(100)
                        self.turn()
                return b""

            self.until(answer, f"an answer from {address}")

    def stop(self) -> None:
        """
        Leave nothing behind.
        """
        self.wait(maybeDeferred(self.port.stopListening))
        super().stop()
