"""
A port that cannot start raises an error that says what has failed and what to do. Each test has another reason.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock

from tests.paths import CHECKOUT
from tests.real.lab.namespace import NODE, Namespace, interfaces, ip, needRoot, tool
from txtuntap import EthernetProtocol, IPProtocol, TuntapPort
from txtuntap.device import TAP, TUN
from txtuntap.device.linux import LinuxDevice


def refusal(name: str, mode: int = TUN) -> str:
    """
    Start a port that cannot start, and return the text of the error. Check that no descriptor and no interface is left.
    """
    before = os.listdir("/proc/self/fd"), interfaces()
    port = TuntapPort(name, EthernetProtocol() if mode == TAP else IPProtocol(), reactor=MemoryReactorClock())
    with pytest.raises(CannotListenError) as raised:
        port.startListening()
    assert (os.listdir("/proc/self/fd"), interfaces()) == before
    assert not port.connected
    return str(raised.value)


def assertSays(text: str, *words: str) -> None:
    """
    Check that a text is one line, and contains some words.
    """
    assert "\n" not in text
    for word in words:
        assert word in text, f"{word!r} is not in {text!r}"


def test_aDeviceInUseIsRefused(namespace: Namespace) -> None:
    for name, mode in ("tt0", TUN), ("tt1", TAP):
        with LinuxDevice(name, mode):
            assertSays(refusal(name, mode), "TUNSETIFF", f"{name} is in use", "name another")


def test_aDeviceOfTheOtherKindIsRefused(namespace: Namespace) -> None:
    ip("tuntap", "add", "mode", "tap", "name", "tt0")
    assertSays(refusal("tt0", TUN), "TUNSETIFF", "tt0 is a tap, not a tun", "name another")
    ip("tuntap", "add", "mode", "tun", "name", "tt1")
    assertSays(refusal("tt1", TAP), "TUNSETIFF", "tt1 is a tun, not a tap", "name another")


def test_anotherKindOfInterfaceIsRefused(namespace: Namespace) -> None:
    assertSays(refusal("lo"), "TUNSETIFF", "lo is not a TUN/TAP interface", "name another")


def test_aNameThatTheKernelRefusesIsRefused(namespace: Namespace) -> None:
    # The kernel treats the octet 0xa0 as a blank, even within a character of UTF-8.
    assertSays(refusal("tt\u00a0"), "TUNSETIFF", "name of a tun")


def test_invalidNamesAreRefused() -> None:
    for name in "sixteen-letters-", "a/b", "a b", "..", b"\xc3\xbc" * 8:
        with pytest.raises(ValueError, match="interface name"):
            TuntapPort(name, IPProtocol(), reactor=MemoryReactorClock())


# The following tests depend on the node and the user. They run in a mount namespace with a device node of its own.

_START = """
import os, sys
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from txtuntap import IPProtocol, TuntapPort
port = TuntapPort("tt0", IPProtocol(), reactor=MemoryReactorClock())
if len(sys.argv) > 1:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
before = os.listdir("/proc/self/fd")
try:
    port.startListening()
except CannotListenError as e:
    print(e)
    assert os.listdir("/proc/self/fd") == before
else:
    print("listening")
"""


def started(node: str, *command: str, user: str = "") -> str:
    """
    Start a port where the shell command C{node} has made C{/dev/net/tun}, and return its output. It runs as C{user}, or
    as root.
    """
    needRoot()
    shell = f'mount -t tmpfs none /dev/net && {{ {node}; }} && exec "$@"'
    finished = subprocess.run(
        [tool("unshare"), "--mount", "sh", "-c", shell, "sh", *command, sys.executable, "-c", _START, *user.split()],
        capture_output=True,
        text=True,
        check=False,
        cwd=CHECKOUT,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


def test_aPortStartsOnAGoodNode(namespace: Namespace) -> None:
    assert started(f"mknod {NODE} c 10 200") == "listening"


def test_aMissingNodeIsAnError(namespace: Namespace) -> None:
    assertSays(started("true"), NODE, "no such node", "modprobe tun", "mknod")


def test_aNodeWithoutADriverIsAnError(namespace: Namespace) -> None:
    # No driver has this minor number.
    assertSays(started(f"mknod {NODE} c 10 254"), NODE, "no driver", "modprobe tun")


def test_aNodeOfAnUnknownMajorNumberIsAnError(namespace: Namespace) -> None:
    # This range of major numbers is reserved for experiments.
    assertSays(started(f"mknod {NODE} c 120 200"), NODE, "no driver", "modprobe tun")


def test_aNodeWithoutPermissionIsAnError(namespace: Namespace) -> None:
    assertSays(started(f"mknod -m 0600 {NODE} c 10 200", user="nobody"), NODE, "may not open the node", "root")


def test_aMissingCapabilityIsAnError(namespace: Namespace) -> None:
    said = started(f"mknod {NODE} c 10 200 && chmod 0666 {NODE}", user="nobody")
    assertSays(said, "TUNSETIFF", "CAP_NET_ADMIN", "unshare -rn", "ip tuntap add mode tun tt0 user")


def test_rootWithoutTheCapabilityIsAnError(namespace: Namespace) -> None:
    limits = "--bounding-set=-net_admin", "--inh-caps=-net_admin"
    assertSays(started(f"mknod {NODE} c 10 200", tool("setpriv"), *limits), "TUNSETIFF", "CAP_NET_ADMIN")


def test_aDeviceOfTheUserNeedsNoCapability(namespace: Namespace) -> None:
    needRoot()
    ip("tuntap", "add", "mode", "tun", "name", "tt0", "user", "65534")
    assert started(f"mknod {NODE} c 10 200 && chmod 0666 {NODE}", user="nobody") == "listening"
