"""
When a port cannot start, the error says what failed and what to do: one test for each of the kernel's reasons.
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
    Start a port that cannot start, and return what it says. It leaves no descriptor and no interface.
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
    It is one line, and has these words.
    """
    assert "\n" not in text
    for word in words:
        assert word in text, f"{word!r} is not in {text!r}"


def test_inUse(namespace: Namespace) -> None:
    for name, mode in ("tt0", TUN), ("tt1", TAP):
        with LinuxDevice(name, mode):
            assertSays(refusal(name, mode), "TUNSETIFF", f"{name} is in use", "name another")


def test_ofTheOtherKind(namespace: Namespace) -> None:
    ip("tuntap", "add", "mode", "tap", "name", "tt0")
    assertSays(refusal("tt0", TUN), "TUNSETIFF", "tt0 is a tap, not a tun", "name another")
    ip("tuntap", "add", "mode", "tun", "name", "tt1")
    assertSays(refusal("tt1", TAP), "TUNSETIFF", "tt1 is a tun, not a tap", "name another")


def test_neitherTunNorTap(namespace: Namespace) -> None:
    assertSays(refusal("lo"), "TUNSETIFF", "lo is not a TUN/TAP interface", "name another")


def test_aNameTheKernelDoesNotTake(namespace: Namespace) -> None:
    # The kernel takes octet 0xa0 for a blank, wherever in a character it stands.
    assertSays(refusal("tt\u00a0"), "TUNSETIFF", "name of a tun")


def test_aNameThatIsNone() -> None:
    for name in "sixteen-letters-", "a/b", "a b", "..", b"\xc3\xbc" * 8:
        with pytest.raises(ValueError, match="interface name"):
            TuntapPort(name, IPProtocol(), reactor=MemoryReactorClock())


# What depends on the node and the user: in a mount namespace with a node of its own.

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
    What a port says that starts where C{node}, a shell command, has made C{/dev/net/tun}; by C{user}'s rights, if it is
    not for root.
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


def test_whereAllIsWell(namespace: Namespace) -> None:
    assert started(f"mknod {NODE} c 10 200") == "listening"


def test_noNode(namespace: Namespace) -> None:
    assertSays(started("true"), NODE, "no such node", "modprobe tun", "mknod")


def test_noDriver(namespace: Namespace) -> None:
    # A number of the same kind that nobody has.
    assertSays(started(f"mknod {NODE} c 10 254"), NODE, "no driver", "modprobe tun")


def test_noDriverOfThatKind(namespace: Namespace) -> None:
    # The block of numbers that is kept for experiments.
    assertSays(started(f"mknod {NODE} c 120 200"), NODE, "no driver", "modprobe tun")


def test_mayNotOpenTheNode(namespace: Namespace) -> None:
    assertSays(started(f"mknod -m 0600 {NODE} c 10 200", user="nobody"), NODE, "may not open the node", "root")


def test_mayNotMakeAnInterface(namespace: Namespace) -> None:
    said = started(f"mknod {NODE} c 10 200 && chmod 0666 {NODE}", user="nobody")
    assertSays(said, "TUNSETIFF", "CAP_NET_ADMIN", "unshare -rn", "ip tuntap add mode tun tt0 user")


def test_rootWithoutTheCapability(namespace: Namespace) -> None:
    limits = "--bounding-set=-net_admin", "--inh-caps=-net_admin"
    assertSays(started(f"mknod {NODE} c 10 200", tool("setpriv"), *limits), "TUNSETIFF", "CAP_NET_ADMIN")


def test_aDeviceOfTheUsersOwnTakesNoCapability(namespace: Namespace) -> None:
    needRoot()
    ip("tuntap", "add", "mode", "tun", "name", "tt0", "user", "65534")
    assert started(f"mknod {NODE} c 10 200 && chmod 0666 {NODE}", user="nobody") == "listening"
