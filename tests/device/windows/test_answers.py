"""
Tests that a host answers through each device of Windows, on each reactor of the platform.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.device.windows.answers import DATAGRAMS, KINDS, PINGS
from tests.paths import CHECKOUT

REACTORS = ["select", "iocp", "win32"] if sys.platform == "win32" else ["select", "poll"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reactor", REACTORS)
def test_aHostAnswers(reactor: str, kind: str) -> None:
    command = [sys.executable, "-m", "tests.device.windows.answers", reactor, kind]
    # Under Wine, an interactive terminal or a file is no standard input.
    ran = subprocess.run(command, input="", capture_output=True, text=True, cwd=CHECKOUT)
    assert ran.returncode == 0, ran.stderr
    answered, closed, lost = ran.stdout.splitlines()
    assert answered.startswith(f"{PINGS} pings, {DATAGRAMS} echoes, ")
    assert closed.endswith(" closed>, []")
    assert "its adapter was removed" in lost and lost.endswith(" closed>")
