"""
The sessions of C{make quick}, C{make test} and C{make test-long}.

C{check} runs all but the long tests and those that measure, in the environment it is started from. C{units} repeats
the tests that need no kernel on every other Python that is found: on PATH, and among those of pyenv.
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
    The tests that take too long to be run each time: all of them, or those of C{--part=NAME}.
    """
    session.run("pytest", "-v", "--durations=0", "--long", *session.posargs)


@nox.session
@nox.parametrize("python", list(interpreters().values()), ids=list(interpreters()))
def units(session: nox.Session) -> None:
    """
    The tests that need no kernel, on another interpreter.
    """
    session.install("-q", ".[test]")
    session.run("pytest", "-q", "-n", "2", "--ignore=tests/real", *session.posargs)


def static(session: nox.Session) -> None:
    """
    Formatting, lint and types.
    """
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy")
