"""
Tests for the monitors of interfaces on Windows on running reactors, over fakes of its DLL.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.paths import CHECKOUT

#: The modules of the reactors. Elsewhere than on Windows, the fake in Python notifies by threads, too.
REACTORS = ["selectreactor"]
if sys.platform == "win32":
    REACTORS += ["iocpreactor.reactor", "win32eventreactor"]


@pytest.mark.parametrize("reactor", REACTORS)
def test_eventsComeOnTheReactorsThread(reactor: str) -> None:
    command = [sys.executable, "-m", "tests.device.windows.watcher", reactor]
    done = subprocess.run(command, capture_output=True, text=True, input="", cwd=CHECKOUT, check=True)
    assert (done.stdout.splitlines(), done.stderr) == (["MTU True", "0"], "")
