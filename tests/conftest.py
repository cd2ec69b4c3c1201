"""
The pytest configuration of all tests.

C{pytest -n auto} runs the tests in several processes, by scope. A scope is a module, a class in a module, or the tests
of a module that share a host on one kind of device. Tests marked C{long} run only with C{--long}, and then no others.

Tests that need Linux are skipped elsewhere: those in L{LINUX_FOLDERS}, which are not even imported, and those marked
C{linux}. Tests that need a thing that Windows lacks are skipped there: those in L{UNIX_TESTS}, and those marked
C{unix}.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from txtuntap.layer.fastpath import FastPath

if TYPE_CHECKING:
    from xdist.scheduler.loadscope import LoadScopeScheduling

pytest_plugins = ["txtuntap.testing.fixtures"]

#: The name of a test: the file, the class if there is one, and the kind of device if there is one.
_SCOPE = re.compile(r"(.*?\.py(?:::\w+(?=::))?)::\w+(?:\[(tun|tap)\b)?")

#: The folder of the tests that need the kernel.
_REAL = "tests/real"

#: The folders whose tests need Linux: its kernel, or the modules of its device.
LINUX_FOLDERS = (_REAL, "tests/device/linux")

#: The folders and files whose tests need modules that Python does not have on Windows.
UNIX_TESTS = (
    "tests/device/darwin",
    "tests/device/helper/test_platforms.py",
    "tests/device/unix",
    "tests/layer/test_fastport.py",
    "tests/tcp/test_memory.py",
)

_NEEDS_LINUX = "needs Linux"
_NEEDS_UNIX = "needs UNIX"


def scope(test: str) -> str:
    """
    Return the scope of a test. The tests of one scope run in one process, one after the other.
    """
    found = _SCOPE.match(test)
    return " ".join(filter(None, found.groups())) if found else test


def pytest_addoption(parser: pytest.Parser) -> None:
    """
    Add the options for the long tests.
    """
    parser.addoption("--long", action="store_true", help="run the tests that take long, and no others")
    parser.addoption("--part", help="with --long: the part of them to run, such as 'floods'")
    parser.addoption(
        "--fast-path",
        choices=("on", "off"),
        help="on: learn each flow from its first packet; off: learn none (default: learn from the second packet)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """
    Register the marks with their meaning, and force the fast path on or off if that is asked for.
    """
    forced = config.getoption("--fast-path")
    FastPath.atOnce, FastPath.never = forced == "on", forced == "off"
    config.addinivalue_line("markers", "long(part): takes too long to be run each time; see --long and --part")
    config.addinivalue_line("markers", "measures: measures memory or rates, so nothing else runs beside it")
    config.addinivalue_line("markers", "linux: needs Linux, and is skipped elsewhere")
    config.addinivalue_line("markers", "unix(what): needs a thing that Windows lacks, and is skipped there")


class _Absent(pytest.Item):
    """
    A test that is skipped in place of all tests of a folder or a file.
    """

    reason = ""

    def runtest(self) -> None:
        """
        Skip this test, and with it all others.
        """
        pytest.skip(self.reason)


class _AbsentFolder(pytest.Collector):
    """
    A folder whose tests need another platform. As it is no L{pytest.Directory}, its conftest.py is not imported.
    """

    def collect(self) -> Iterator[pytest.Item]:
        """
        Find one test that is skipped, and import nothing.
        """
        yield _absentTest(self, self.path)


class _AbsentModule(pytest.Module):
    """
    A file whose tests need another platform.
    """

    def collect(self) -> Iterator[pytest.Item]:
        """
        Find one test that is skipped, and import nothing.
        """
        yield _absentTest(self, self.path)


def _absentTest(parent: pytest.Collector, path: Path) -> pytest.Item:
    """
    Make the test that is skipped in place of those of a folder or a file.
    """
    test = _Absent.from_parent(parent, name="all")
    test.reason = reasonToSkip(path) or ""
    return test


def _isLinux() -> bool:
    return sys.platform.startswith("linux")


def reasonToSkip(tests: Path) -> str | None:
    """
    Return the reason to skip the tests of a folder or a file; L{None}: they can run here.
    """
    path = tests.as_posix()
    if not _isLinux() and path.endswith(LINUX_FOLDERS):
        return _NEEDS_LINUX
    return _NEEDS_UNIX if sys.platform == "win32" and path.endswith(UNIX_TESTS) else None


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """
    Skip the folders whose tests need another platform.
    """
    return None if reasonToSkip(path) is None else _AbsentFolder.from_parent(parent, name=path.name, path=path)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """
    Skip the files whose tests need another platform.
    """
    return None if reasonToSkip(module_path) is None else _AbsentModule.from_parent(parent, path=module_path)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """
    Select the long tests or all others, and skip those that need another platform.
    """
    if config.getoption("part") and not config.getoption("long"):
        raise pytest.UsageError("--part goes with --long")
    chosen: list[pytest.Item] = []
    others: list[pytest.Item] = []
    parts = set()
    for item in items:
        mark = item.get_closest_marker("long")
        (part,) = mark.args if mark is not None else (None,)
        parts.add(part)
        if not _isLinux() and item.get_closest_marker("linux") is not None:
            item.add_marker(pytest.mark.skip(_NEEDS_LINUX))
        unix = item.get_closest_marker("unix")
        if sys.platform == "win32" and unix is not None:
            item.add_marker(pytest.mark.skip(f"needs {unix.args[0]}"))
        wanted = bool(mark) == config.getoption("long") and config.getoption("part") in (None, part)
        (chosen if wanted else others).append(item)
    if config.getoption("part") and not chosen:
        names = ", ".join(sorted(part for part in parts if part))
        raise pytest.UsageError(f"--part: there is no {config.getoption('part')!r} among {names}")
    config.hook.pytest_deselected(items=others)
    items[:] = chosen


def _runsReal(config: pytest.Config) -> bool:
    return _isLinux() and not any(str(path).endswith(_REAL) for path in config.getoption("ignore") or ())


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """
    Return one process for each processor, or two if the tests in C{real} run, because these wait half of their time.
    """
    # Only Linux and FreeBSD tell the processors of this process.
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return processors * (2 if _runsReal(config) else 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """
    Enter a user namespace before the workers start, if the tests need one. The workers have threads, and a process with
    threads cannot enter a user namespace.
    """
    if _runsReal(config):
        from tests.real.lab.namespace import lacking

        lacking()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """
    Return a scheduler that distributes the tests by scope.
    """
    from xdist.scheduler.loadscope import LoadScopeScheduling

    scheduler = LoadScopeScheduling(config, log)
    # The scheduler's own function splits at the last "::" of a test's name, which may belong to an IPv6 address.
    scheduler._split_scope = scope
    return scheduler


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """
    Print how many tests were skipped for each reason.
    """
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        if isinstance(report.longrepr, tuple):
            reasons[report.longrepr[2].removeprefix("Skipped: ")] += 1
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped: {reason}")
