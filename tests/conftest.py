"""
The pytest configuration of all tests.

C{pytest -n auto} runs the tests in several processes, by scope. A scope is a module, a class in a module, or the tests
of a module that share a host on one kind of device. Tests marked C{long} run only with C{--long}, and then no others.
"""

from __future__ import annotations

import os
import re
from collections import Counter
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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """
    Select the long tests or all others.
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
    Return one process for each processor, or two if the tests in C{real} run, because these wait half of their time.
    """
    return len(os.sched_getaffinity(0)) * (2 if _runsReal(config) else 1)


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
