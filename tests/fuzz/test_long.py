"""
A long test that runs the fuzzer for as long as C{make fuzz} does.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.paths import CHECKOUT

SECONDS = 600


@pytest.mark.long("fuzz")
@pytest.mark.parametrize("target", ["ingress", "wireguard"])
def test_tenMinutesFindNothing(tmp_path: Path, target: str) -> None:
    if find_spec("atheris") is None:
        pytest.skip("atheris is missing: 'make fuzz PYTHON=python3.13' installs it (for Python 3.11 to 3.13)")
    command = [sys.executable, "-m", "tests.fuzz", target, str(SECONDS), f"-artifact_prefix={tmp_path}/"]
    fuzzing = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert fuzzing.returncode == 0, fuzzing.stdout
    assert list(tmp_path.iterdir()) == []
