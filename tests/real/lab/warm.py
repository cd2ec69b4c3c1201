"""
Python programs without the wait for their imports.

A new interpreter takes half a second to import Twisted and this package. So each process that runs tests has one warm
interpreter beside it. It imports once what most programs need, and forks for every program: a fork takes a hundredth of
that time, and is a process as any other, with descriptors, a directory, an environment and a network namespace of its
own. The warm interpreter itself never imports a reactor, so that each program can install one.

C{python -m tests.real.lab.warm DESCRIPTOR} is the warm interpreter: it reads requests from that socket.
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

#: The modules that are imported once.
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

#: The largest request: arguments and environment, as JSON.
_MAX_REQUEST = 1 << 17


class Program:
    """
    A program in a process of its own: the part of L{subprocess.Popen} that the tests use.

    @ivar pid: the process.
    @ivar returncode: the exit status, or the negative number of the signal that ended it; L{None} while it runs.
    @ivar stdin: where it reads, if that is a pipe.
    @ivar stdout: what it writes, if that is a pipe.
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
        Start the program, in the network namespace of this thread. Its standard error is its standard output.

        @param call: what it does, C{module:function}. What that returns is the exit status, as in L{sys.exit}.
        @param arguments: C{sys.argv}, the name of the program first.
        @param stdin: C{subprocess.PIPE} or C{subprocess.DEVNULL}.
        @param stdout: a file, C{subprocess.PIPE}, or L{None} for that of the tests.
        @param environment: variables beside those of the tests.
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
        The exit status, if it has ended.
        """
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """
        Wait for the end.

        @param timeout: at most so many seconds.

        @return: the exit status.

        @raise subprocess.TimeoutExpired: it still runs.
        """
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            self.returncode = self._readNumber()
            self._closeStatus()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """
        Send a signal, if it still runs.
        """
        if self.poll() is None:
            # It may have ended since.
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """
        Send SIGTERM.
        """
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """
        Send SIGKILL.
        """
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """
        Close the pipes to it. Its end is not noticed any more.
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
        The next number in the pipe: first the process, from itself, then its exit status, from the warm interpreter.
        """
        data = os.read(self._status, 4)
        if len(data) < 4:
            raise RuntimeError("the warm interpreter has ended: it says why on its standard error")
        return int.from_bytes(data, sys.byteorder, signed=True)


@cache
def _warm() -> socket.socket:
    """
    The socket to the warm interpreter of this process.
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
    Start the warm interpreter: in the network namespace where it is to stay.
    """
    _warm()


def end() -> int:
    """
    End the warm interpreter, if there is one, and its programs.

    @return: how many programs still ran.
    """
    if not _interpreters:
        return 0
    _warm().close()
    _warm.cache_clear()
    return _interpreters.pop().wait()


class _Nursery:
    """
    The warm interpreter: it forks for each request, and tells of the end of each fork.
    """

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._running: set[int] = set()
        self._selector = selectors.DefaultSelector()
        self._selector.register(requests, selectors.EVENT_READ)

    def serve(self) -> Callable[[], object]:
        """
        Serve requests until there are no more.

        @return: what this process is to do now. It may be a fork.
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
        # The test that started the program has ended, and left it.
        return


def main() -> NoReturn:
    """
    Be the warm interpreter.
    """
    # An interrupt from the keyboard ends the tests, and those end this.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in _IMPORTS:
        importlib.import_module(name)
    assert "twisted.internet.reactor" not in sys.modules, "a module that is imported once imports a reactor"
    call = _Nursery(socket.socket(fileno=int(sys.argv[1]))).serve()
    sys.exit(call())  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
