"""
Programs that start in forks of the warm interpreter behave as programs that start in a new interpreter.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from tests.real.lab import warm
from tests.real.lab.namespace import Namespace, interfaces, ip, until
from tests.real.lab.warm import Program


def tells() -> int:
    """
    Print the arguments, the environment and the input of a program.
    """
    print(sys.argv[1:], os.getcwd(), os.environ["WORD"], sorted(interfaces()))
    print(sys.stdin.read(), file=sys.stderr)
    return 7


def ends() -> None:
    """
    Raise an exception in a program.
    """
    raise ZeroDivisionError


def waits() -> None:
    """
    Run until the program is told to end.
    """
    print("here", flush=True)
    while True:
        time.sleep(60)


def descriptors() -> None:
    """
    Print the descriptors of a program.
    """
    print(sorted(os.listdir("/proc/self/fd")))


def _output(program: Program) -> str:
    assert program.stdout is not None
    return program.stdout.read()


def test_aProgramGetsItsArgumentsAndStreams(namespace: Namespace, tmp_path: Path) -> None:
    ip("tuntap", "add", "mode", "tun", "name", "tt0")
    with Program(
        f"{__name__}:tells",
        ["tells", "this", "that"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        environment={"WORD": "hello"},
    ) as program:
        assert program.stdin is not None
        program.stdin.write("read this")
        program.stdin.close()
        said = _output(program)
    assert said == f"['this', 'that'] {tmp_path} hello ['tt0']\nread this\n"
    assert program.returncode == 7


def test_anExceptionIsATracebackAndAStatus(namespace: Namespace) -> None:
    with Program(f"{__name__}:ends", ["ends"], stdout=subprocess.PIPE) as program:
        said = _output(program)
    assert said.startswith("Traceback") and said.endswith("ZeroDivisionError\n")
    assert program.returncode == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_aSignalEndsAProgram(namespace: Namespace, number: int) -> None:
    with TemporaryFile() as output:
        program = Program(f"{__name__}:waits", ["waits"], stdout=output)
        until(lambda: os.pread(output.fileno(), 4, 0) == b"here", "the program to run")
        assert program.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            program.wait(0)
        program.send_signal(number)
        # Python raises KeyboardInterrupt at SIGINT, and then ends by the signal.
        assert program.wait() == -number
        program.send_signal(number)


def test_aFailedImportEndsTheProgram(namespace: Namespace) -> None:
    with Program("tests.real.nowhere:main", ["nowhere"], stdout=subprocess.PIPE) as program:
        said = _output(program)
    assert said.endswith("ModuleNotFoundError: No module named 'tests.real.nowhere'\n")
    assert program.returncode == 1


def test_programsFailWhenTheWarmInterpreterEnds(namespace: Namespace) -> None:
    with TemporaryFile() as output:
        program = Program(f"{__name__}:waits", ["waits"], stdout=output)
        try:
            with namespace.stepOut():
                # The warm interpreter ends its programs, and returns how many there were.
                assert warm.end() == 1
                warm.begin()
            with pytest.raises(RuntimeError, match="has ended"):
                program.wait()
            until(lambda: not Path(f"/proc/{program.pid}").exists(), "the program to end")
        finally:
            program.close()


def test_onlyTheStandardStreamsAreInherited(namespace: Namespace) -> None:
    with Program(f"{__name__}:descriptors", ["descriptors"], stdout=subprocess.PIPE) as program:
        said = _output(program)
    # The fourth descriptor is the one by which the directory is read.
    assert said == "['0', '1', '2', '3']\n"
