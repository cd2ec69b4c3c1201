"""
A process that runs test suites of Twisted, with the TCP of hosts in place of the reactor's TCP::

    python -m tests.tcp.classic Alone results.json twisted.test.test_tcp twisted.web.test
"""

from __future__ import annotations

import faulthandler
import json
import os
import pathlib
import signal
import subprocess
import sys
import unittest
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from typing import Any

from attrs import frozen
from twisted.trial import reporter, runner
from twisted.trial.unittest import TestCase

from tests.paths import CHECKOUT

from .reactors import Alone, Linked

#: The kinds of TCP that suites are run with. A test that fails with the kernel's TCP, too, fails because of the
#: machine.
KINDS: dict[str, type[Alone] | None] = {"Alone": Alone, "Linked": Linked, "Kernel": None}

#: The seconds after which a test that waits in vain fails.
TIMEOUT = 60.0

#: The seconds after which a test that is expected to fail is ended.
LITTLE = 1.0

#: The seconds after which a test blocks the reactor. Its C{setUp}, the test and its C{tearDown} may take L{TIMEOUT}
#: each.
STUCK = 600.0


def names(suite: Any) -> Iterator[str]:
    """
    Return the names of all tests in a suite.
    """
    if isinstance(suite, unittest.TestSuite):
        for each in suite:
            yield from names(each)
    else:
        yield suite.id()


@frozen
class Outcome:
    """
    The outcome of some suites.

    @ivar ran: the names of the tests that were run.
    @ivar failed: the tracebacks of the tests that failed, by name.
    @ivar opened: the number of connections that hosts have accepted.
    """

    ran: set[str]
    failed: dict[str, str]
    opened: int


def entryOf(name: str, failing: Container[str]) -> str | None:
    """
    Find the entry for a test: its own name or the name of its class, without the prefix C{twisted.}.
    """
    own = name.removeprefix("twisted.")
    return next((entry for entry in (own, own.rpartition(".")[0]) if entry in failing), None)


def runSuites(
    kind: str, suites: Iterable[str], directory: str, failing: Iterable[str] = (), stuck: float = STUCK
) -> Outcome:
    """
    Run suites of Twisted in a process of their own.

    @param kind: the name of one of L{KINDS}.
    @param suites: the names of packages, modules, classes or tests.
    @param directory: the directory for the files of the process.
    @param failing: the tests and test classes that are expected to fail. Some of them never end.
    @param stuck: the seconds after which a test that has not ended ends the process.

    @raise RuntimeError: the process has ended before its suites. The message ends with the test and its traceback.
    """
    results = pathlib.Path(directory, "results.json")
    results.parent.mkdir()
    # Output goes to a file, because processes that tests leave behind would keep a pipe open. They end with the
    # session.
    output = results.with_name("output")
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "tests.tcp.classic", kind, str(results), *suites],
            cwd=CHECKOUT,
            # Some suites start scripts of Twisted, and one sets a locale that not every machine has.
            env={
                **os.environ,
                "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]),
                "LC_ALL": "C",
            },
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            process.communicate(json.dumps({"failing": list(failing), "stuck": stuck}))
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if not results.exists():
        raise RuntimeError(f"the suites did not come to an end: {output.read_text(errors='replace')[-8000:]}")
    found = json.loads(results.read_text())
    return Outcome(set(found["ran"]), found["failed"], found["opened"])


def main(kind: str, results: str, *suites: str) -> None:
    """
    Run suites, and write the results to a file.
    """
    from twisted.internet import reactor

    asked = json.load(sys.stdin)
    failing = set(asked["failing"])

    class Watched(reporter.VerboseTextReporter):
        """
        A reporter that names each test when it begins, and ends the process if a test never ends.
        """

        def startTest(self, case: Any) -> None:
            # Write to descriptor 2, because some tests leave a log in place of sys.stderr.
            faulthandler.dump_traceback_later(asked["stuck"], exit=True, file=2)
            super().startTest(case)  # type: ignore[no-untyped-call]

    def getTimeout(case: Any) -> float:
        return LITTLE if entryOf(case.id(), failing) else TIMEOUT

    setattr(TestCase, "getTimeout", getTimeout)  # noqa: B010
    made = KINDS[kind]
    hosts = None if made is None else made(reactor)
    if hosts is not None:
        hosts.install()
    suite = runner.TestLoader().loadByNames(list(suites), recurse=True)
    ran = set(names(suite))
    directory = os.path.join(os.path.dirname(results), "trial")
    outcome: Any = runner.TrialRunner(Watched, workingDirectory=directory).run(suite)
    failed: dict[str, str] = {}
    for case, failure in [*outcome.errors, *outcome.failures]:
        name = case.id()
        failed[name] = failed.get(name, f"{name}\n") + failure.getTraceback()
    opened = 0 if hosts is None else hosts.far.tcp.counters["passiveOpens"]
    ran -= {case.id() for case, _ in outcome.skips}
    pathlib.Path(results).write_text(json.dumps({"ran": sorted(ran), "failed": failed, "opened": opened}))


if __name__ == "__main__":
    main(*sys.argv[1:])
