"""
Tests that a program ends silently when the reader of its output has closed it.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from txtuntap.output import endingSilently

#: The arguments of the interpreter for each command.
COMMANDS = {
    "txtuntap": ["-m", "txtuntap.command"],
    "txtuntap-wireguard": ["-c", "import sys; from txtuntap.command.wireguarddaemon import main; sys.exit(main())"],
    "helper": ["-m", "txtuntap.device.helper"],
    "twistd tuntap": ["-m", "twisted", "tuntap"],
    "twistd tuntap host": ["-m", "twisted", "tuntap", "host"],
}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows reports a closed pipe as another error")
@pytest.mark.parametrize("option", ["--help", "--version"])
@pytest.mark.parametrize("name", COMMANDS)
def test_noCommandComplainsOfAClosedOutput(name: str, option: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, *COMMANDS[name], option]
    finished = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (finished.returncode, finished.stderr) == (0, b"")


def test_theErrorOfAnotherPipeIsRaised() -> None:
    with open(os.devnull, "w") as out, pytest.raises(BrokenPipeError), endingSilently(out):
        raise BrokenPipeError
