"""
A fast way to start Python programs, by forks of a process that has imported most modules already.

A new interpreter takes half a second to import Twisted and this package. So each process that runs tests has one child,
called the warm interpreter. It imports the modules that most programs need, and forks for every program, which takes a
hundredth of that time. Each fork has its own descriptors, directory, environment and network namespace. The warm
interpreter itself never imports a reactor, so that each program can install one.

C{python -m tests.real.lab.warm DESCRIPTOR} runs the warm interpreter, which reads requests from that socket.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, NoReturn, TextIO

from tests.paths import CHECKOUT

_NAMESPACE = "/proc/thread-self/ns/net"
_CLONE_NEWNET = 0x40000000

#: The modules that the warm interpreter imports.
_IMPORTS = (
    "pyroute2",
    "pytest",
    "twisted.names.server",
    "twisted.scripts.twistd",
    "txtuntap",
    "txtuntap.device.helper.server",
    "txtuntap.service",
    "txtuntap.testing",
)

#: The largest number of octets in a request, which has the arguments and the environment as JSON.
_MAX_REQUEST = 1 << 17


class Program:
    """
    A program in its own process, with those methods of L{subprocess.Popen} that the tests use.

    @ivar pid: the process id.
    @ivar returncode: the exit status, or the negative number of the signal that has ended the process; L{None} while it
        runs.
    @ivar stdin: the writing end of its standard input, if that is a pipe.
    @ivar stdout: the reading end of its standard output, if that is a pipe.
    """

    def __init__(
        self,
        call: str,
        arguments: Sequence[str],
        cwd: Path = CHECKOUT,
        stdin: int = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """
        Start the program in the network namespace of this thread. Its standard error goes to its standard output.

        @param call: the function to call, as C{module:function}. Its result is the argument of L{sys.exit}.
        @param arguments: the program's C{sys.argv}, beginning with its name.
        @param cwd: the working directory.
        @param stdin: C{subprocess.PIPE} or C{subprocess.DEVNULL}.
        @param stdout: a file or C{subprocess.PIPE}; L{None}: the standard output of the tests.
        @param environment: environment variables in addition to those of the tests.
        """
        self.returncode: int | None = None
        self.stdin: TextIO | None = None
        self.stdout: TextIO | None = None
        request = {
            "call": call,
            "arguments": list(arguments),
            "cwd": str(cwd),
            "environment": {**os.environ, **(environment or {})},
        }
        self._status, told = os.pipe()
        opened = [told]
        try:
            opened.append(namespace := os.open(_NAMESPACE, os.O_RDONLY))
            if stdin == subprocess.PIPE:
                read, write = os.pipe()
                opened.append(read)
                self.stdin = os.fdopen(write, "w")
            else:
                opened.append(read := os.open(os.devnull, os.O_RDONLY))
            if stdout is None:
                output = 1
            elif stdout == subprocess.PIPE:
                written, output = os.pipe()
                opened.append(output)
                self.stdout = os.fdopen(written)
            else:
                output = stdout if isinstance(stdout, int) else stdout.fileno()
            socket.send_fds(_warm(), [json.dumps(request).encode()], [read, output, told, namespace])
        except BaseException:
            self.close()
            raise
        finally:
            for descriptor in opened:
                os.close(descriptor)
        self.pid = self._readNumber()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *ignored: object) -> None:
        if self.stdin is not None:
            self.stdin.close()
        self.wait()
        self.close()

    def poll(self) -> int | None:
        """
        The exit status, or L{None} if the program still runs.
        """
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """
        Wait for the end of the program.

        @param timeout: the largest number of seconds to wait; L{None}: no limit.

        @return: the exit status.

        @raise subprocess.TimeoutExpired: the program still runs.
        """
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            self.returncode = self._readNumber()
            self._closeStatus()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """
        Send a signal to the program, if it still runs.
        """
        if self.poll() is None:
            # The program may have ended since the poll.
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """
        Send SIGTERM to the program.
        """
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """
        Send SIGKILL to the program.
        """
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """
        Close all pipes to the program. L{poll} and L{wait} do not work after that.
        """
        self._closeStatus()
        for pipe in self.stdin, self.stdout:
            if pipe is not None:
                pipe.close()

    def _closeStatus(self) -> None:
        if self._status >= 0:
            os.close(self._status)
            self._status = -1

    def _readNumber(self) -> int:
        """
        Read the next number from the status pipe. The first is the process id, which the program writes. The second is
        the exit status, which the warm interpreter writes.
        """
        data = os.read(self._status, 4)
        if len(data) < 4:
            raise RuntimeError("the warm interpreter has ended: see its standard error")
        return int.from_bytes(data, sys.byteorder, signed=True)


@cache
def _warm() -> socket.socket:
    """
    Start the warm interpreter of this process, and return the socket for requests to it.
    """
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _MAX_REQUEST)
    with its:
        _interpreters.append(
            subprocess.Popen([sys.executable, "-m", __name__, str(its.fileno())], cwd=CHECKOUT, pass_fds=[its.fileno()])
        )
    return ours


_interpreters: list[subprocess.Popen[bytes]] = []


def begin() -> None:
    """
    Start the warm interpreter in the network namespace of this thread, unless it runs already.
    """
    _warm()


def end() -> int:
    """
    End the warm interpreter, if there is one, and its programs.

    @return: the number of programs that still ran.
    """
    if not _interpreters:
        return 0
    _warm().close()
    _warm.cache_clear()
    return _interpreters.pop().wait()


class _ForkServer:
    """
    The warm interpreter's loop, which forks for each request and reports the exit status of each fork.
    """

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._running: set[int] = set()
        self._selector = selectors.DefaultSelector()
        self._selector.register(requests, selectors.EVENT_READ)

    def serve(self) -> Callable[[], object]:
        """
        Serve requests until the socket is closed.

        @return: the function that this process has to call next. In a fork, that is the function of the program.
        """
        while True:
            for key, _ in self._selector.select():
                if key.data is not None:
                    self._ended(key.fd, *key.data)
                    continue
                data, descriptors, _, _ = socket.recv_fds(self._requests, _MAX_REQUEST, 4)
                if not data:
                    return self._ends
                call = self._started(json.loads(data), *descriptors)
                if call is not None:
                    return call

    def _started(self, request: Any, stdin: int, output: int, told: int, namespace: int) -> Callable[[], object] | None:
        pid = os.fork()
        if pid:
            self._running.add(pid)
            self._selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, told))
            for descriptor in stdin, output, namespace:
                os.close(descriptor)
            return None
        if ctypes.CDLL(None).setns(namespace, _CLONE_NEWNET):
            raise OSError("setns has failed")
        for number, descriptor in enumerate((stdin, output, output)):
            os.dup2(descriptor, number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _writeNumber(told, os.getpid())
        self._selector.close()
        self._requests.detach()
        os.closerange(3, 1 << 16)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.argv = request["arguments"]
        module, _, function = request["call"].partition(":")

        def call() -> object:
            return getattr(importlib.import_module(module), function)()

        return call

    def _ends(self) -> int:
        for pid in self._running:
            print(f"left behind: {Path(f'/proc/{pid}/comm').read_text()}", file=sys.stderr)
            os.kill(pid, signal.SIGKILL)
        return len(self._running)

    def _ended(self, descriptor: int, pid: int, told: int) -> None:
        self._selector.unregister(descriptor)
        os.close(descriptor)
        self._running.discard(pid)
        _writeNumber(told, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        os.close(told)


def _writeNumber(descriptor: int, number: int) -> None:
    try:
        os.write(descriptor, number.to_bytes(4, sys.byteorder, signed=True))
    except BrokenPipeError:
        # The test has closed the pipe, so nobody needs the number.
        return


def main() -> NoReturn:
    """
    Run the warm interpreter.
    """
    # Under nohup, the tests ignore SIGHUP, and their programs would, too.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # An interrupt from the keyboard ends the tests, and the tests end this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in _IMPORTS:
        importlib.import_module(name)
    assert "twisted.internet.reactor" not in sys.modules, "a module that is imported once imports a reactor"
    call = _ForkServer(socket.socket(fileno=int(sys.argv[1]))).serve()
    sys.exit(call())  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
