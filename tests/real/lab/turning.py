"""
A host in the process of the tests. Its reactor runs only while a test waits for an event.
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

#: The number of reactor turns until a request is repeated. A turn takes 5 ms if no event happens.
_TURNS = 50

#: The largest number of seconds that a program may take to transfer much data.
LONG = 120.0

_T = TypeVar("_T")


class Turning:
    """
    A reactor that runs only while a test waits for an event.
    """

    def __init__(self) -> None:
        self.reactor: Any = SelectReactor()

    def turn(self) -> None:
        """
        Run one turn of the reactor.
        """
        self.reactor.iterate(0.005)

    def until(self, condition: Callable[[], _T], what: str, patience: float = PATIENCE) -> _T:
        """
        Run the reactor until C{condition} returns a true value, and return that value.
        """
        return until(condition, what, self.turn, patience)

    def wait(self, waited: Deferred[Any]) -> Any:
        """
        Run the reactor until a Deferred fires.

        @return: the result of the Deferred.

        @raise Exception: the Deferred fails.
        """
        results: list[Any] = []
        waited.addBoth(results.append)
        (result,) = self.until(lambda: results, "a Deferred to fire", LONG)
        if isinstance(result, Failure):
            result.raiseException()
        return result

    def run(self, *command: str, data: Iterable[bytes] = (), patience: float = LONG) -> tuple[int, str]:
        """
        Run a program to its end, and the reactor meanwhile.

        @param data: the octets of the program's standard input, in pieces.
        @param patience: the number of seconds after which the test fails.

        @return: the program's exit status, and its output and errors.
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
        Run a program as L{run} does, check that it succeeds, and return its output and errors.
        """
        status, said = self.run(*command, data=data, patience=patience)
        assert status == 0, f"{command}: {status}, {said}"
        return said

    def stop(self) -> None:
        """
        Close the descriptors of the reactor.
        """
        self.reactor.waker.connectionLost(None)


class TurningHost(Turning):
    """
    A host on a kernel device, and the reactor that it runs on.

    @ivar host: the host.
    @ivar port: the port of the device.
    @ivar echo: the echo service on UDP port 7.
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
        @param addresses: the addresses of the host.
        @param kernelAddresses: the kernel's addresses on the interface.
        @param offload: see L{TuntapPort}.
        @param around: a function that puts middleware around the host's protocol.
        @param hostOptions: more arguments of the host.
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
        Send datagrams to an address of the host until it answers. The kernel drops packets until the interface's queue
        has started, which is some time after the carrier.
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
        Stop the port, and close the descriptors of the reactor.
        """
        self.wait(maybeDeferred(self.port.stopListening))
        super().stop()
