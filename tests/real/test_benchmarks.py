"""
The benchmarks against the kernel and other programs, each for one round.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.__main__ import SHORT
from tests.paths import CHECKOUT
from tests.real.lab.namespace import needRoot


@pytest.mark.long("benchmarks")
@pytest.mark.parametrize("name", SHORT)
def test_aBenchmarkRunsToItsEnd(name: str) -> None:
    """
    A child of one benchmark is used by others, so that a change for one can break another.
    """
    needRoot()
    command = [sys.executable, "-m", "benchmarks", name, "--rounds", "1"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"## {name}" in done.stdout
    _, isMissing, lacking = done.stdout.partition("Not run. ")
    if isMissing:
        pytest.skip(lacking)
