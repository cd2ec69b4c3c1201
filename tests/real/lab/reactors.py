"""
Tests that run on each of Linux's reactors. Each run has its own process, a fork of the warm interpreter.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from tempfile import TemporaryFile
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, eventAsText, globalLogPublisher
from twisted.python.failure import Failure

from tests.real.lab.namespace import PATIENCE, Namespace
from tests.real.lab.warm import Program

REACTORS = ("select", "poll", "epoll", "asyncio")


class Run:
    """
    The reactor and the log of one test, which are the argument of its function.

    @ivar reactor: the running reactor.
    @ivar log: all log events so far.
    """

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.log: list[LogEvent] = []

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """
        Let the reactor run until C{condition} returns a true value.
        """
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"waited {PATIENCE:.0f} seconds in vain: {what}"
            await deferLater(self.reactor, 0.005)

    async def turns(self) -> None:
        """
        Let the reactor run for five turns.
        """
        for _ in range(5):
            await deferLater(self.reactor, 0)

    def failures(self) -> list[Failure]:
        """
        Return the failures that were logged since the last call. A test fails if some are left at its end.
        """
        found = [event["log_failure"] for event in self.log if "log_failure" in event]
        self.log[:] = [event for event in self.log if "log_failure" not in event]
        return found


Test = Callable[[Run], Coroutine[Deferred[Any], Any, None]]


def onEachReactor(test: Test, reactors: tuple[str, ...] = REACTORS) -> Callable[[str, Namespace], None]:
    """
    Make a test that pytest runs on each reactor, in a network namespace.

    @param test: the function of the test.
    @param reactors: the names of the reactors.
    """

    @pytest.mark.parametrize("reactorName", reactors)
    def inProcess(reactorName: str, namespace: Namespace) -> None:
        with TemporaryFile("w+") as output:
            arguments = [reactorName, test.__module__, test.__name__]
            program = Program(f"{__name__}:main", ["reactors", *arguments], stdout=output)
            try:
                status = program.wait(4 * PATIENCE)
            finally:
                program.kill()
                output.seek(0)
                said = output.read()
            assert status == 0, said

    inProcess.__name__ = test.__name__
    inProcess.__doc__ = test.__doc__
    inProcess.__dict__["test"] = test
    return inProcess


def onOneReactor(test: Test) -> Callable[[str, Namespace], None]:
    """
    Make a test that pytest runs on one reactor only, because the test does not depend on the reactor.
    """
    return onEachReactor(test, ("epoll",))


def descriptors() -> set[str]:
    """
    List the open descriptors of this process: number and file.
    """
    found = set()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{descriptor} {os.readlink(f'/proc/self/fd/{descriptor}')}")
        except OSError:
            # This is the descriptor of the directory itself, which is closed already.
            continue
    return found


async def outcome(lost: Awaitable[None]) -> type[BaseException]:
    """
    Wait until C{lost} fails, and return the type of the exception.
    """
    try:
        await lost
    except Exception as e:
        return type(e)
    raise AssertionError("it did not fail")


def main() -> int:
    """
    Run one test, and return the process's exit status.
    """
    reactorName, module, name = sys.argv[1:]
    importlib.import_module(f"twisted.internet.{reactorName}reactor").install()
    from twisted.internet import reactor

    test: Test = getattr(importlib.import_module(module), name).__dict__["test"]
    run = Run(reactor)
    globalLogPublisher.addObserver(cast(ILogObserver, run.log.append))
    failed: list[Failure] = []

    def start() -> None:
        done = Deferred.fromCoroutine(test(run))
        done.addErrback(failed.append)
        done.addBoth(lambda _: run.reactor.stop())

    run.reactor.callWhenRunning(start)
    run.reactor.run()
    for event in run.log:
        print(eventAsText(event))
    if not failed:
        failed = run.failures()
    for failure in failed:
        failure.printTraceback(sys.stdout)
    return len(failed) > 0
