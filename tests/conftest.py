"""
The pytest configuration of all tests.

C{pytest -n auto} runs the tests in several processes, by scope. A scope is a module, a class in a module, or the tests
of a module that share a host on one kind of device. Tests marked C{long} run only with C{--long}, and then no others.

Tests that need Linux are skipped elsewhere: those in L{LINUX_FOLDERS}, which are not even imported, and those marked
C{linux}.
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

_NEEDS_LINUX = "needs Linux"


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


class _Absent(pytest.Item):
    """
    A test that is skipped in place of all tests of a folder.
    """

    def runtest(self) -> None:
        """
        Skip this test, and with it all others.
        """
        pytest.skip(_NEEDS_LINUX)


class _AbsentFolder(pytest.Directory):
    """
    A folder whose tests need Linux.
    """

    def collect(self) -> Iterator[pytest.Item]:
        """
        Find one test that is skipped, and import nothing.
        """
        yield _Absent.from_parent(self, name="all")


def _isLinux() -> bool:
    return sys.platform.startswith("linux")


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """
    Skip the folders whose tests need Linux.
    """
    if _isLinux() or not path.as_posix().endswith(LINUX_FOLDERS):
        return None
    return _AbsentFolder.from_parent(parent, path=path)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """
    Select the long tests or all others, and skip those that need Linux elsewhere.
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
