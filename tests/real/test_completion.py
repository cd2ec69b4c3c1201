"""
Tests for the completions of C{txtuntap} in bash and zsh, and of C{twistd tuntap} in zsh. The shells run on a terminal.
"""

from __future__ import annotations

import os
import pty
import re
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.real.lab.namespace import PATIENCE, Namespace, ip, tool
from txtuntap.device import TAP, TUN
from txtuntap.device.linux import LinuxDevice

#: The directory of the commands, which the shells need on their path.
_COMMANDS = str(Path(sys.executable).parent)

#: The command line of each shell, and the commands that make it complete.
_SHELLS = {
    "bash": (["--norc", "--noprofile", "-i"], 'eval "$(txtuntap completion bash)"'),
    "zsh": (["-f", "-i"], 'autoload -Uz compinit; compinit -u -D; eval "$(txtuntap completion zsh)"'),
}

shells = pytest.mark.parametrize("shell", list(_SHELLS))


class Shell:
    """
    A shell on a terminal.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, words: tuple[str, ...]) -> str:
        """
        Read the output until it has all of some words.

        @return: the output, without the control sequences of the terminal.
        """
        text, deadline = "", time.monotonic() + PATIENCE
        while not all(word in text for word in words):
            assert time.monotonic() < deadline, f"none of {words} in {text}"
            if select.select([self._descriptor], [], [], 0.1)[0]:
                octets = os.read(self._descriptor, 1 << 16)
                text += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", octets.decode(errors="replace"))
        return text

    def offers(self, line: str, *words: str) -> str:
        """
        Type a command line and two tabs, and wait until the shell shows some words. Then clear the line.
        """
        os.write(self._descriptor, line.encode() + b"\t\t")
        found = self.read(words)
        os.write(self._descriptor, b"\x15")
        return found


@contextmanager
def running(shell: str) -> Iterator[Shell]:
    """
    Run a shell within a C{with} statement.
    """
    arguments, setup = _SHELLS[shell]
    # The directory /sys shows the interfaces of the namespace in which it is mounted, so the shell has its own.
    mounting = f"mount -t sysfs none /sys && exec {tool(shell)} {' '.join(arguments)}"
    unshare = tool("unshare")
    process, descriptor = pty.fork()
    if not process:
        environment = {"TERM": "dumb", "PATH": f"{_COMMANDS}:{os.environ['PATH']}", "HOME": "/nowhere"}
        os.execve(unshare, ["unshare", "--mount", "sh", "-c", mounting], environment)
    try:
        started = Shell(descriptor)
        os.write(descriptor, f"stty cols 250 rows 50; PS1='> '; {setup}; echo set''up\n".encode())
        started.read(("setup",))
        yield started
    finally:
        os.close(descriptor)
        os.kill(process, 9)
        os.waitpid(process, 0)


@shells
def test_subcommandsAndOptionsAreOffered(namespace: Namespace, shell: str) -> None:
    with running(shell) as started:
        offered = started.offers("txtuntap ", "capture", "connections", "extcap", "monitor")
        assert "bogus" not in offered
        started.offers("txtuntap set tun0 --no", "-persistent ")
        started.offers("txtuntap add tun0 --mode ", "tap", "tun")
        offered = started.offers("txtuntap capture tun0 --", "--count", "--direction", "--snaplen", "--write")
        started.offers("txtuntap wireguard ", "genkey", "genpsk", "pubkey", "show")
        # Wireshark's options are no user's.
        assert "--fifo" not in started.offers("txtuntap extcap ", "install", "uninstall")


@shells
def test_interfacesUsersAndFilesAreOffered(namespace: Namespace, tmp_path: Path, shell: str) -> None:
    ip("link", "add", "tt7", "type", "veth", "peer", "tt8")
    (tmp_path / "trace-one.pcapng").touch()
    (tmp_path / "trace-two.pcapng").touch()
    with LinuxDevice("first-tt", TUN), LinuxDevice("second-tt", TAP), running(shell) as started:
        offered = started.offers("txtuntap capture ", "first-tt", "second-tt")
        assert "tt7" not in offered
        started.offers("txtuntap set first-tt --user nobo", "nobody ")
        started.offers("txtuntap set first-tt --group nogr", "nogroup ")
        started.offers(f"txtuntap capture first-tt -w {tmp_path}/trace-", "trace-one.pcapng", "trace-two.pcapng")


def test_twistdOffersTheSubcommandsAndTheirOptions(namespace: Namespace) -> None:
    with running("zsh") as started:
        started.offers("twistd tuntap ", "host", "switch", "tunnel", "wireguard")
        offered = started.offers(
            "twistd -n tuntap host --k", "--kernel-address", "--kernel-neighbour", "--kernel-route"
        )
        assert "repeated" in offered
        # An option that may not be repeated, and one that excludes another, are not offered again.
        offered = started.offers("twistd tuntap host --tun tun0 --address 10.0.0.2/24 --t", "--tcp", "--txqueuelen")
        assert "--tap" not in offered
        started.offers("twistd tuntap host --address 10.0.0.2/24 --addr", "ess=")
        started.offers("twistd tuntap tunnel --framing ", "bare", "qemu", "socat", "txtuntap", "vxlan")
        started.offers("twistd tuntap host --tun tun0 --user nobo", "nobody")
        assert "--queue=" not in started.offers("twistd tuntap host --que", "ues=")
