"""
The service C{twistd web} on C{tuntap:} endpoints in its own process, and C{curl} to fetch pages through the kernel.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.real.lab.host import endProcess, twistd
from tests.real.lab.namespace import PATIENCE, interfaces, tool, until

PAGE = "It is here.\n"


def urlOf(address: str, port: int = 80) -> str:
    """
    The URL of the page on a server address.
    """
    return f"http://{f'[{address}]' if ':' in address else address}:{port}/page.txt"


def fetch(url: str) -> str:
    """
    Fetch a page with C{curl}.

    @return: the page; empty: C{curl} has failed.
    """
    command = [tool("curl"), "-sSgf", "--max-time", str(PATIENCE), url]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


class Web:
    """
    A context manager that runs a web server with one page.

    @ivar process: the process.
    """

    def __init__(
        self, directory: Path, strings: Sequence[str], urls: Sequence[str], twistdOptions: Sequence[str] = ()
    ) -> None:
        """
        @param directory: the directory for the page and the log.
        @param strings: the endpoints to listen on.
        @param urls: the URL of the page on each endpoint.
        @param twistdOptions: options of C{twistd}.
        """
        self._directory = directory
        self._urls = urls
        (directory / "page.txt").write_text(PAGE)
        listen = [word for string in strings for word in ("--listen", string)]
        self._arguments = ["-n", "--pidfile=", *twistdOptions, "web", "--path", ".", *listen]

    def __enter__(self) -> Web:
        self.process = twistd(*self._arguments, cwd=self._directory)
        try:
            for url in self._urls:
                until(lambda url=url: self._stays() and fetch(url), f"the page at {url}")  # type: ignore[misc]
        except BaseException:
            print(self.log())
            self.__exit__()
            raise
        return self

    def __exit__(self, *ignored: object) -> None:
        endProcess(self.process)

    def endOrderly(self) -> None:
        """
        Send SIGTERM, and check that the server ends without a traceback and leaves no interface.
        """
        self.process.terminate()
        assert self.process.wait(PATIENCE) == -signal.SIGTERM
        assert interfaces() == set()
        assert "Traceback" not in self.log()

    def log(self) -> str:
        """
        The text of its log so far.
        """
        return (self._directory / "twistd.log").read_text()

    def _stays(self) -> bool:
        assert self.process.poll() is None, f"the web server has ended: {self.log()}"
        return True


def failing(directory: Path, string: str, *before: str) -> list[str]:
    """
    Start a web server on an endpoint on which it cannot start, and check that it fails.

    @param before: a command that runs the server, whose command line is appended to its arguments.

    @return: the lines of its log.
    """
    arguments = ["-n", "--pidfile=", "web", "--path", ".", "--listen", string]
    if before:
        command = [*before, str(Path(sys.executable).with_name("twistd")), *arguments]
        finished = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert finished.returncode != 0
        return (finished.stdout + finished.stderr).strip().splitlines()
    process = twistd(*arguments, cwd=directory)
    try:
        assert process.wait(PATIENCE) != 0
    finally:
        process.kill()
        process.wait()
    return (directory / "twistd.log").read_text().strip().splitlines()
