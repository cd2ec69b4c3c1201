"""
What all tests have in common.

C{pytest -n auto} runs them side by side, by scope: a module, a class in it, or those of a module's tests that share a
host on one kind of device. Tests marked C{long} are left out unless C{--long} asks for them, and then only those run.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from xdist.scheduler.loadscope import LoadScopeScheduling

#: The file, the class if there is one, and the kind of device that the test is for.
_SCOPE = re.compile(r"(.*?\.py(?:::\w+(?=::))?)::\w+(?:\[(tun|tap)\b)?")

#: Where the tests against the kernel are.
_REAL = "tests/real"


def scope(test: str) -> str:
    """
    The scope of a test: the tests of one scope run in one process, one after the other.
    """
    found = _SCOPE.match(test)
    return " ".join(filter(None, found.groups())) if found else test


def pytest_addoption(parser: pytest.Parser) -> None:
    """
    Options of the long tests.
    """
    parser.addoption("--long", action="store_true", help="run the tests that take long, and no others")
    parser.addoption("--part", help="with --long: the part of them to run, such as 'floods'")


def pytest_configure(config: pytest.Config) -> None:
    """
    Say what the marks mean.
    """
    config.addinivalue_line("markers", "long(part): takes too long to be run each time; see --long and --part")
    config.addinivalue_line("markers", "measures: measures memory or rates, so nothing else runs beside it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """
    Choose between the long tests and the others.
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
        wanted = bool(mark) == config.getoption("long") and config.getoption("part") in (None, part)
        (chosen if wanted else others).append(item)
    if config.getoption("part") and not chosen:
        names = ", ".join(sorted(part for part in parts if part))
        raise pytest.UsageError(f"--part: there is no {config.getoption('part')!r} among {names}")
    config.hook.pytest_deselected(items=others)
    items[:] = chosen


def _runsReal(config: pytest.Config) -> bool:
    return not any(str(path).endswith(_REAL) for path in config.getoption("ignore") or ())


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """
    One process for each processor; two where the kernel's tests run, since those wait for half of their time.
    """
    return len(os.sched_getaffinity(0)) * (2 if _runsReal(config) else 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """
    Enter a user namespace, where the tests need one, before there are workers: those have threads, and a process with
    threads cannot enter one.
    """
    if _runsReal(config):
        from tests.real.lab.namespace import lacking

        lacking()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """
    Hand out the tests by scope.
    """
    from xdist.scheduler.loadscope import LoadScopeScheduling

    scheduler = LoadScopeScheduling(config, log)
    # Its own takes the last "::" in a test's name, which may be that of an IPv6 address.
    scheduler._split_scope = scope
    return scheduler


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """
    Say how many tests were skipped, and for which reasons.
    """
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        if isinstance(report.longrepr, tuple):
            reasons[report.longrepr[2].removeprefix("Skipped: ")] += 1
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped: {reason}")
