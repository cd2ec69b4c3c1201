"""
The sessions of C{make quick}, C{make test} and C{make test-long}.

C{check} runs all but the long tests and those that measure, in the environment it is started from. C{units} repeats
the tests that need no kernel on every other Python that is found: on PATH, and among those of pyenv. The fast path is
forced on for one of these, off for the next, and so on; C{forced} runs what is missing then. C{oldest} repeats them
with the oldest dependencies. C{docs} builds the site.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import nox

nox.options.default_venv_backend = "venv"

VERSIONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]


def interpreters() -> dict[str, str]:
    """
    The supported interpreters that can be run here, by version, but for the one that runs this.
    """
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv")) / "versions"
    found = {}
    for version in VERSIONS:
        candidates = [shutil.which(f"python{version}"), *map(str, sorted(pyenv.glob(f"{version}.*/bin/python")))]
        for candidate in candidates:
            # A shim of pyenv's may stand for a version that is not there.
            if candidate and subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
                found[version] = candidate
                break
    found.pop(f"{sys.version_info.major}.{sys.version_info.minor}", None)
    return found


#: The modes of the fast path that the tests without the kernel run in: see C{--fast-path} of tests/conftest.py.
MODES = ["on", "off"]

#: The platforms beside Linux whose types are checked, each with the folders of its own tests, and the parts that are
#: checked for all of them. The other tests need Linux.
PLATFORMS = {"darwin": "tests/device/unix", "freebsd": "tests/device/unix", "win32": "tests/device/windows"}
PORTABLE = ["txtuntap", "twisted/plugins", "examples", "tests/device/contract.py"]

#: The other interpreters by version, and the mode of each. The interpreter that runs this takes the modes of no other.
OTHERS = interpreters()
MODE_OF = dict(zip(OTHERS, MODES * len(VERSIONS), strict=False))


@nox.session
def quick(session: nox.Session) -> None:
    """
    Formatting, lint, types, and the tests that need no kernel.
    """
    static(session)
    session.run("pytest", "-q", "-n", "auto", "--ignore=tests/real", *session.posargs)


@nox.session
def check(session: nox.Session) -> None:
    """
    Formatting, lint, types, and all tests but the long ones and those that measure.
    """
    static(session)
    session.run("pytest", "-n", "auto", "-m", "not measures", *session.posargs)


@nox.session
def measures(session: nox.Session) -> None:
    """
    The tests that measure memory or rates, with nothing beside them.
    """
    session.run("pytest", "-m", "measures", *session.posargs)


@nox.session
def long(session: nox.Session) -> None:
    """
    The tests that take too long to be run each time: all of them, or those of C{--part=NAME}. The part C{fastpath} has
    the tests with the kernel, in both modes of the fast path, and the part C{windows} those of L{windows}.
    """
    part = [argument.removeprefix("--part=") for argument in session.posargs]
    if part in ([], ["fastpath"]):
        for mode in MODES:
            session.run("pytest", "-n", "auto", "-m", "not measures", f"--fast-path={mode}", "tests/real")
    if part in ([], ["windows"]):
        onWindows(session)
    if part not in (["fastpath"], ["windows"]):
        session.run("pytest", "-v", "--durations=0", "--long", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """
    The site of the documentation and of the API, in C{docs/_build}. Each warning is an error, and so is a link without
    its page or anchor, and a page that loads anything from another host.
    """
    if sys.version_info < (3, 11):
        session.skip("Sphinx 9 needs Python 3.11")
    session.install("-q", ".[docs]")
    # A page that no longer has a source would stay.
    shutil.rmtree("docs/_build", ignore_errors=True)
    session.run("sphinx-build", "-q", "--fail-on-warning", "--keep-going", "-b", "html", "docs", "docs/_build")
    session.run("python", "-m", "docs.check", "docs/_build")


@nox.session
def windows(session: nox.Session) -> None:
    """
    The tests that need no kernel, and those of the devices of Windows, on CPython for Windows under Wine.
    """
    onWindows(session, *session.posargs)


@nox.session
@nox.parametrize("python, mode", [(path, MODE_OF[version]) for version, path in OTHERS.items()], ids=list(OTHERS))
def units(session: nox.Session, mode: str) -> None:
    """
    The tests that need no kernel, on another interpreter, in one mode of the fast path.
    """
    session.install("-q", ".[test]")
    withoutKernel(session, mode)


@nox.session(python=next(iter(OTHERS.values()), None))
def oldest(session: nox.Session) -> None:
    """
    The tests that need no kernel, with the oldest versions of all dependencies, on the oldest Python that is found.
    """
    session.install("-q", "--constraint", "tests/oldest.txt", ".[test]")
    session.run("pytest", "-q", "-n", "2", "--ignore=tests/real", *session.posargs)


@nox.session
def forced(session: nox.Session) -> None:
    """
    The tests that need no kernel, on this interpreter, in the modes of the fast path that no other takes.
    """
    for mode in MODES:
        if mode not in MODE_OF.values():
            withoutKernel(session, mode)


def onWindows(session: nox.Session, *arguments: str) -> None:
    """
    Install what is missing of CPython for Windows, and run the tests there.
    """
    # A test that hangs fails, because a person who waits for it cannot see which one it is.
    limits = ["-o", "faulthandler_timeout=300", "-o", "faulthandler_exit_on_timeout=true"]
    pytest = ["python", "-m", "tests.windows", "-m", "pytest", "-m", "not measures", *limits]
    devices = "tests/device/windows"
    if arguments:
        session.run(*pytest, *arguments)
        return
    session.run(*pytest, "-n", "2", f"--ignore={devices}")
    # Alone, because the adapters that these tests register are there for all processes.
    session.run(*pytest, devices)


def withoutKernel(session: nox.Session, mode: str) -> None:
    """
    The tests that need no kernel.
    """
    session.run("pytest", "-q", "-n", "2", "--ignore=tests/real", f"--fast-path={mode}", *session.posargs)


def static(session: nox.Session) -> None:
    """
    Formatting, lint and types.
    """
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy", "--platform=linux")
    for platform, tests in PLATFORMS.items():
        # With a cache of its own, because the cache of mypy is for one platform.
        session.run("mypy", f"--platform={platform}", f"--cache-dir=.mypy_cache/{platform}", *PORTABLE, tests)
