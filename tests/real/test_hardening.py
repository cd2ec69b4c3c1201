"""
Packets that would change the kernel's configuration, written by a program that has only the descriptor of a device.
"""

from __future__ import annotations

import errno
import io
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.paths import CHECKOUT
from tests.real.lab.helper import Helper
from tests.real.lab.link import setUp
from tests.real.lab.namespace import Namespace, another, interfaces, ip, needRoot, until
from txtuntap.command import main
from txtuntap.device import TAP, TUN
from txtuntap.device.configure import configureInterface, configureNow, moveInterface
from txtuntap.device.helper.device import HelpedDevice
from txtuntap.device.linux import LinuxDevice, hardening
from txtuntap.device.linux.hardening import TRUST_SETTINGS, trustSettings
from txtuntap.device.linux.namespace import inNamespace
from txtuntap.device.settings import InterfaceSettings
from txtuntap.device.state import readInterface
from txtuntap.testing import ethernetFrame, ipPacket
from txtuntap.wire import icmp, ndp
from txtuntap.wire.address import packAddress

KINDS = pytest.mark.parametrize("mode", [TUN, TAP])

#: All effects that a packet can have on the configuration.
ALL = {"default route", "prefix", "MTU", "hop limit", "IPv6 redirect", "IPv4 redirect"}

_HARDENED = InterfaceSettings(up=True, hardened=True)
_ROUTER, _OTHER = "fe80::bad", "fe80::2"
_STATION = "02:00:00:00:00:99"


def setting(name: str, value: int | None = None) -> str:
    """
    Return a setting of this namespace, by its path below C{/proc/sys/net}. If there is a C{value}, set it first.
    """
    path = Path("/proc/sys/net", name)
    if value is not None:
        path.write_text(str(value))
    return path.read_text().strip()


def trustAll() -> None:
    """
    Let interfaces accept all such packets by default.
    """
    for where in "all", "default":
        for version, names in TRUST_SETTINGS.items():
            for name in names:
                setting(f"{version}/conf/{where}/{name}", 2 if name == "accept_ra" else 1)
        setting(f"ipv4/conf/{where}/rp_filter", 0)


def _advertisement() -> bytes:
    prefix = struct.pack("!BBBBIII", 3, 4, 64, ndp.ON_LINK | ndp.AUTONOMOUS, 7200, 3600, 0) + packAddress(
        "2001:db8:1::"
    )
    body = struct.pack("!II", 0, 0) + prefix + struct.pack("!BBHI", 5, 1, 0, 1290)
    # The hop limit is 77, the preference is high, the lifetime is 1800 seconds.
    return _six(_ROUTER, "ff02::1", ndp.ROUTER_ADVERTISEMENT, 77 << 24 | 0x08 << 16 | 1800, body)


def _six(source: str, dest: str, kind: int, rest: int, body: bytes) -> bytes:
    message = icmp.pack(kind, 0, rest, body, packAddress(source), packAddress(dest))
    return ipPacket(source, dest, icmp.PROTOCOL[6], message, ndp.HOP_LIMIT)


def _redirects() -> Iterator[bytes]:
    yield _six(_OTHER, "fe80::1", 137, 0, packAddress("fe80::3") + packAddress("2001:db8:9::1"))
    # The quoted packet is one that the machine would have sent to 198.51.100.1 by the router of another interface.
    quoted = ipPacket("192.0.2.2", "198.51.100.1", icmp.PROTOCOL[4], icmp.pack(0, 0, 1, b""))
    message = icmp.pack(5, 1, int.from_bytes(packAddress("192.0.2.66"), "big"), quoted)
    yield ipPacket("192.0.2.1", "192.0.2.2", icmp.PROTOCOL[4], message)


@contextmanager
def otherInterface() -> Iterator[None]:
    """
    Make an interface that has the IPv4 default route.
    """
    with LinuxDevice("other0", TUN):
        ip("address", "add", "192.0.2.2/24", "dev", "other0")
        ip("link", "set", "other0", "up")
        ip("route", "add", "default", "via", "192.0.2.1")
        yield


def attack(device: LinuxDevice | HelpedDevice, name: str) -> None:
    """
    Write all such packets to a device. The kernel has processed them when this returns.
    """
    setUp(name, "fe80::1/64")
    index = readInterface(name).index
    ip("-6", "route", "replace", "2001:db8:9::/64", "via", _OTHER, "dev", name, "metric", f"{index}")
    sendAll(device, name)


def sendAll(device: LinuxDevice | HelpedDevice, name: str) -> None:
    """
    Write all such packets to a device that is set up.
    """
    mine = readInterface(name).linkAddress
    for packet in _advertisement(), *_redirects():
        version = 0x86DD if packet[0] >> 4 == 6 else 0x0800
        device.send([packet if mine is None else ethernetFrame(_STATION, mine, version, packet)])


def effects(name: str) -> set[str]:
    """
    Find the effects of the packets.
    """
    routes, addresses = ip("-6", "route", "show", "dev", name), ip("-6", "address", "show", "dev", name)
    found = {
        "default route": "default via fe80::bad" in routes,
        "prefix": "2001:db8:1:" in routes + addresses,
        "MTU": setting(f"ipv6/conf/{name}/mtu") == "1290",
        "hop limit": setting(f"ipv6/conf/{name}/hop_limit") == "77",
        "IPv6 redirect": "via fe80::3" in ip("-6", "route", "get", "2001:db8:9::1", "oif", name),
        "IPv4 redirect": "via 192.0.2.66" in ip("route", "get", "198.51.100.1"),
    }
    return {what for what, hasHappened in found.items() if hasHappened}


def assertUnhardenedDoes(mode: int) -> None:
    """
    Check that the same packets have all their effects on an interface that is not hardened.
    """
    with LinuxDevice("tt9", mode) as device:
        attack(device, "tt9")

        def areBelieved() -> bool:
            if effects("tt9") == ALL:
                return True
            # The kernel may drop an advertisement on an interface that has just been set up.
            sendAll(device, "tt9")
            return False

        until(areBelieved, f"the packets to be believed: {effects('tt9')}")


@KINDS
@pytest.mark.parametrize("wasThere", [False, True])
def test_packetsOfAHelpersProgramChangeNothing(namespace: Namespace, tmp_path: Path, mode: int, wasThere: bool) -> None:
    trustAll()
    if wasThere:
        kind = "tun" if mode == TUN else "tap"
        ip("tuntap", "add", "mode", kind, "name", "tt0")
        ip("link", "set", "tt0", "up")
    # A rule without networks permits an interface, but no settings.
    with otherInterface(), Helper(tmp_path, rules=(f"{os.getuid()}:tt0",)) as helper:
        settings = None if wasThere else InterfaceSettings(up=True)
        with HelpedDevice("tt0", mode, settings, helper.path) as device:
            attack(device, "tt0")
            assert effects("tt0") == set()
            assertUnhardenedDoes(mode)
            assert effects("tt0") - {"IPv4 redirect"} == set()
        if wasThere:
            ip("link", "delete", "tt0")
        until(lambda: "tt0" not in interfaces(), "the device to go")
        assert helper.log().count("net.ipv4.conf.all.accept_redirects from 1 to 0") == 1


@KINDS
def test_packetsInAnotherNamespaceChangeNothing(namespace: Namespace, mode: int) -> None:
    before = setting("ipv4/conf/all/accept_redirects", 1)
    with another() as there, LinuxDevice("tt0", mode, namespace=there) as device:
        inNamespace(there, trustAll)
        configureNow("tt0", _HARDENED, device)

        def attacked() -> set[str]:
            with otherInterface():
                attack(device, "tt0")
                return effects("tt0")

        assert inNamespace(there, attacked) == set()
    assert setting("ipv4/conf/all/accept_redirects") == before


def test_aHardenedInterfaceDoesNotProtectThePathMTU(namespace: Namespace) -> None:
    # No setting prevents this, as docs/privilege.md says.
    with otherInterface(), LinuxDevice("tt0", TUN) as device:
        configureNow("tt0", _HARDENED, device)
        quoted = ipPacket("192.0.2.2", "198.51.100.1", icmp.PROTOCOL[4], icmp.pack(0, 0, 1, b""))
        device.send([ipPacket("203.0.113.9", "192.0.2.2", icmp.PROTOCOL[4], icmp.pack(3, 4, 600, quoted))])
        assert "mtu 600" in ip("route", "get", "198.51.100.1")


def test_hardeningLastsThroughOtherChanges(namespace: Namespace) -> None:
    trustAll()
    with LinuxDevice("tt0", TUN) as device:
        configureNow("tt0", _HARDENED, device)
        index = readInterface("tt0").index
        for do in (
            lambda: ip("link", "set", "tt0", "name", "tt.1"),
            lambda: ip("link", "set", "tt.1", "down"),
            lambda: ip("link", "set", "tt.1", "up"),
            lambda: ip("link", "set", "tt.1", "mtu", "1280"),
            lambda: setting("ipv6/conf/all/accept_ra", 2),
            lambda: setting("ipv6/conf/all/accept_redirects", 1),
            lambda: setting("ipv4/conf/all/accept_source_route", 1),
            lambda: setting("ipv6/conf/all/forwarding", 1),
            lambda: device.setCarrier(False),
            lambda: device.setCarrier(True),
            lambda: device.setPersistent(True),
            lambda: device.close(),
            lambda: device.open(),
            lambda: device.setPersistent(False),
        ):
            do()
            assert trustSettings(index) == []
        # A smaller MTU ends IPv6 on the interface. A larger MTU starts it again, with the default settings.
        ip("link", "set", "tt.1", "mtu", "1279")
        assert trustSettings(index) == []
        ip("link", "set", "tt.1", "mtu", "1280")
        assert {each.name for each in trustSettings(index)} == set(TRUST_SETTINGS["ipv6"])


def test_hardeningIncludesIPv6ThatAnMTUStarts(namespace: Namespace) -> None:
    trustAll()
    with LinuxDevice("tt0", TUN) as device:
        ip("link", "set", "tt0", "mtu", "1000")
        configured = configureNow("tt0", InterfaceSettings(up=True, hardened=True, mtu=1400), device)
        assert trustSettings(readInterface("tt0").index) == []
        configured.restoreNow()
        assert readInterface("tt0").mtu == 1000


def test_hardeningIsUndone(namespace: Namespace) -> None:
    trustAll()
    names = {f"net.{version}.conf.tt0.{name}" for version, names in TRUST_SETTINGS.items() for name in names}
    with LinuxDevice("tt0", TUN) as device:
        index = readInterface("tt0").index
        configured = configureNow("tt0", InterfaceSettings(up=None, hardened=True), device)
        said = {change.split()[1] for change in configured.changes}
        assert said == {*names, "net.ipv4.conf.all.accept_redirects"}
        # Settings that are right already are not changed.
        assert configureNow("tt0", InterfaceSettings(up=None, hardened=True), device).changes == []
        ip("link", "set", "tt0", "name", "tt1")
        configured.restoreNow()
        assert {str(each) for each in trustSettings(index)} == {each.replace("tt0", "tt1") for each in names}
        assert setting("ipv6/conf/tt1/accept_ra") == "2"
        # The setting of all interfaces stays.
        assert setting("ipv4/conf/all/accept_redirects") == "0"


def test_aForwardingInterfaceChangesNoSettingOfAll(namespace: Namespace) -> None:
    with otherInterface(), LinuxDevice("tt0", TUN) as device:
        trustAll()
        setting("ipv4/conf/tt0/forwarding", 1)
        configureNow("tt0", _HARDENED, device)
        attack(device, "tt0")
        assert "IPv4 redirect" not in effects("tt0")
        assert setting("ipv4/conf/all/accept_redirects") == "1"


def test_anInterfaceIsNotHardenedByDefault(namespace: Namespace) -> None:
    trustAll()
    with LinuxDevice("tt0", TUN) as device:
        before = trustSettings(readInterface("tt0").index)
        configureInterface("tt0", ["10.9.0.1/24"], device=device)
        assert trustSettings(readInterface("tt0").index) == before
    with pytest.raises(ValueError, match="hardened must be True or None"):
        InterfaceSettings(hardened=False)


def test_theCommandHardens(namespace: Namespace) -> None:
    trustAll()
    assert main(["add", "tt0", "--mode", "tap", "--hardened"], io.StringIO()) == 0
    assert trustSettings(readInterface("tt0").index) == []
    ip("link", "delete", "tt0")


#: A program that hardens an interface where /proc/sys cannot be written, as in a container.
_READ_ONLY = """
set -e
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,ro,bind /proc/sys
exec "$@"
"""

_HARDEN = """
from txtuntap.device import TUN
from txtuntap.device.configure import configureNow
from txtuntap.device.linux import LinuxDevice
from txtuntap.device.settings import InterfaceSettings
with LinuxDevice("tt0", TUN) as device:
    try:
        configureNow("tt0", InterfaceSettings(up=True, hardened=True, mtu=1400), device)
    except OSError as e:
        print(e.errno, device.mtu, e.strerror)
    else:
        print("done")
"""


def test_hardeningFailsIfASettingCannotBeWritten(namespace: Namespace) -> None:
    needRoot()

    def harden() -> str:
        command = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", _READ_ONLY, "-", sys.executable, "-c", _HARDEN]
        return subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()

    for name, default in (
        ("ipv4/conf/default/accept_redirects", "net.ipv4.conf.default.accept_redirects"),
        ("ipv6/conf/default/accept_ra", "net.ipv6.conf.default.accept_ra"),
        ("ipv4/conf/all/accept_redirects", "net.ipv4.conf.all.accept_redirects"),
    ):
        for each in (
            *("ipv4/conf/all/accept_redirects", "ipv4/conf/default/accept_redirects"),
            *("ipv4/conf/default/accept_source_route", "ipv6/conf/default/accept_ra"),
            *("ipv6/conf/default/autoconf", "ipv6/conf/default/accept_redirects"),
        ):
            setting(each, int(each == name))
        said = harden()
        assert said.startswith(f"{errno.EROFS} 1500 cannot set net.ipv"), said
        assert f"Read-only file system: set {default} to 0 beforehand, or make /proc/sys writable" in said
        # Make the setting that the text of the error names.
        setting(name, 0)
        assert harden() == "done"
    assert interfaces() == set()


def test_anExistingDeviceIsHardenedUntilItsDescriptorIsClosed(namespace: Namespace, tmp_path: Path) -> None:
    trustAll()
    for keeps in False, True:
        ip("tuntap", "add", "mode", "tun", "name", "tt0")
        index = readInterface("tt0").index
        before = {str(each) for each in trustSettings(index) if each.index}
        with Helper(tmp_path, rules=(f"{os.getuid()}:tt0:10.9.0.0/24",)) as helper:
            device = HelpedDevice("tt0", TUN, InterfaceSettings(addresses=["10.9.0.1/24"]), helper.path)
            device.open()
            assert trustSettings(index) == []
            kept = os.dup(device.fileno())
            if not keeps:
                os.close(kept)
            device.close()
            until(lambda: not readInterface("tt0").addresses, "the settings to be undone")
            if keeps:
                # The program has closed the connection to the helper, but it can still write packets.
                assert trustSettings(index) == []
                os.close(kept)
            else:
                until(lambda: {str(each) for each in trustSettings(index)} == before, "it to be as it was")  # noqa: B023
        ip("link", "delete", "tt0")


def test_aRenamedInterfaceIsNotMistaken(namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    trustAll()
    with LinuxDevice("tt0", TUN) as device:
        (first, *_) = trustSettings(readInterface("tt0").index)
        ip("link", "set", "tt0", "name", "tt1")
        with LinuxDevice("tt0", TUN):
            first.clear()
            assert setting(f"{first.version}/conf/tt0/{first.name}") == "1"
            assert setting(f"{first.version}/conf/tt1/{first.name}") == "0"
        device.close()
        with pytest.raises(OSError, match=r"the interface with index \d+ was deleted") as raised:
            first.restore()
        assert raised.value.errno == errno.ENODEV
    monkeypatch.setattr(hardening, "ROOT", "/nowhere")
    with pytest.raises(OSError, match="cannot read which packets lo trusts: /nowhere is missing"):
        trustSettings(socket.if_nametoindex("lo"))


def test_aMovedInterfaceHasTheDefaultsOfItsNewNamespace(namespace: Namespace) -> None:
    # As docs/privilege.md says, moving an interface ends its hardening.
    with another() as there, LinuxDevice("tt0", TUN) as device:
        configureNow("tt0", InterfaceSettings(up=None, hardened=True), device)
        moveInterface("tt0", there)
        assert trustSettings(readInterface("tt0", there).index, there) != []
