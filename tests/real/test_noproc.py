"""
Programs that run where C{/proc} is not mounted, as in a chroot jail.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.paths import CHECKOUT
from tests.real.lab.guest import NOBODY
from tests.real.lab.namespace import Namespace, another, ip, needRoot
from txtuntap.device import TAP, TUN
from txtuntap.device.controlname import namespaceNumber
from txtuntap.device.linux import LinuxDevice, link
from txtuntap.device.linux.hardening import trustSettings
from txtuntap.device.state import readInterface

KINDS = pytest.mark.parametrize("mode", [TUN, TAP])

#: A program that enters a jail, adopts a descriptor, and prints what it knows of the device.
_JAILED = """
import json, os, sys
from txtuntap.device.configure import configureNow
from txtuntap.device.linux import LinuxDevice
from txtuntap.device.settings import InterfaceSettings
from txtuntap.device.controlname import namespaceNumber
jail, descriptor, mode, user = sys.argv[1], *map(int, sys.argv[2:])
os.chroot(jail)
os.chdir("/")
assert not os.path.exists("/proc")
os.setuid(user)
device = LinuxDevice("tt0", mode, descriptor=descriptor)
device.open()
def tried(call):
    try:
        return call()
    except OSError as e:
        return e.strerror
harden = lambda: configureNow("tt0", InterfaceSettings(up=None, hardened=True), device)
print(json.dumps([device.name, device.mtu, tried(namespaceNumber), tried(harden)]))
"""


def jailed(jail: Path, device: LinuxDevice, user: int = 0) -> Any:
    """
    Run that program with the descriptor of a device, and return its output.
    """
    number = device.fileno()
    command = [sys.executable, "-c", _JAILED, str(jail), str(number), str(device.mode), str(user)]
    said = subprocess.run(command, cwd=CHECKOUT, pass_fds=[number], stdout=subprocess.PIPE, check=True).stdout
    return json.loads(said)


@KINDS
def test_anAdoptedDescriptorIsOpened(namespace: Namespace, tmp_path: Path, mode: int) -> None:
    needRoot()
    with LinuxDevice("tt0", mode) as device:
        ip("link", "set", "tt0", "mtu", "1400")
        name, mtu, number, hardened = jailed(tmp_path, device)
        assert (name, mtu, number) == ("tt0", 1400, namespaceNumber())
        # Hardening that cannot be verified is an error.
        assert hardened == "cannot read which packets tt0 trusts: /proc/sys/net is missing, mount /proc"
        assert trustSettings(readInterface("tt0").index) != []
        name, mtu, number, _ = jailed(tmp_path, device, NOBODY)
        assert (name, mtu) == ("tt0", 1400)
        assert "mount /proc, or have CAP_NET_ADMIN" in number


def test_anAdoptedDescriptorOfAnotherNamespaceIsOpened(namespace: Namespace, tmp_path: Path) -> None:
    needRoot()
    with another() as there, LinuxDevice("tt0", TUN, namespace=there) as device, LinuxDevice("tt0", TUN):
        ip("link", "set", "tt0", "mtu", "1400")
        # The interface of that name in this namespace is another one.
        assert jailed(tmp_path, device)[:2] == ["tt0", 1500]


def test_anUnknownNamespaceIsNoError(namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    def openNamespace(namespace: object) -> int:
        raise PermissionError("no")

    monkeypatch.setattr(link, "openNamespace", openNamespace)
    with LinuxDevice("tt0", TUN) as device:
        ip("link", "set", "tt0", "mtu", "1400")
        with LinuxDevice("tt0", TUN, descriptor=os.dup(device.fileno())) as adopted:
            assert (adopted.name, adopted.mtu) == ("tt0", 1400)
