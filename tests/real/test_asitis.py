"""
Devices that txtuntap attaches to only to change their settings. Nothing else of them changes, and no device is made.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator

import attrs
import pytest

from tests.paths import CHECKOUT
from tests.real.lab.link import show
from tests.real.lab.namespace import NODE, Namespace, another, interfaces, ip, names, needRoot, tool
from txtuntap.device import TAP, TUN
from txtuntap.device.configure import configureInterface
from txtuntap.device.linux import LinuxDevice
from txtuntap.device.linux.ioctl import (
    IFF_MULTI_QUEUE,
    IFF_NAPI,
    IFF_NO_PI,
    IFF_TAP,
    IFF_VNET_HDR,
    SIOCETHTOOL,
    TUNSETIFF,
    TUNSETOFFLOAD,
    TUNSETVNETHDRSZ,
    number,
)
from txtuntap.device.state import readInterface
from txtuntap.wire.offload import CSUM, TSO4

_TUNGETVNETHDRSZ = number("read", "T", 215, 4, os.uname().machine)

#: A constant of C{linux/ethtool.h}: query TCP segmentation offload.
_ETHTOOL_GTSO = 0x1E


@pytest.fixture
def machine(namespace: Namespace) -> Iterator[int]:
    """
    Open a device as a virtual machine does: tt0, a tap with several queues, a longer offload header and offload.
    """
    descriptor = os.open(NODE, os.O_RDWR | os.O_NONBLOCK)
    try:
        flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", b"tt0", flags))
        fcntl.ioctl(descriptor, TUNSETVNETHDRSZ, struct.pack("i", 12))
        fcntl.ioctl(descriptor, TUNSETOFFLOAD, CSUM | TSO4)
        yield descriptor
    finally:
        os.close(descriptor)


def headerSize(descriptor: int) -> int:
    """
    Return the octets of the offload header before each packet.
    """
    (size,) = struct.unpack("i", fcntl.ioctl(descriptor, _TUNGETVNETHDRSZ, bytes(4)))
    return int(size)


def segments(name: str) -> bool:
    """
    Return whether the kernel leaves TCP segmentation to the device (C{ethtool -k}: tcp-segmentation-offload).
    """
    value = array.array("I", [_ETHTOOL_GTSO, 0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as query:
        fcntl.ioctl(query, SIOCETHTOOL, struct.pack("16sP16x", name.encode(), value.buffer_info()[0]))
    return bool(value[1])


def test_aDeviceInUseIsNotDisturbed(machine: int) -> None:
    ip("link", "set", "tt0", "up")
    assert segments("tt0")
    configureInterface("tt0", owner=65534, group=12, persistent=True)
    state = readInterface("tt0")
    assert (state.owner, state.group, state.persistent, state.vnetHeader, state.carrier) == (
        65534,
        12,
        True,
        True,
        True,
    )
    assert headerSize(machine) == 12
    assert segments("tt0")
    ip("link", "delete", "tt0")


@pytest.mark.parametrize("flags", [[], ["pi"], ["vnet_hdr"], ["multi_queue", "vnet_hdr"], ["pi", "vnet_hdr"]])
@pytest.mark.parametrize("mode", ["tun", "tap"])
def test_aDeviceThatIsNotInUseKeepsItsFlags(namespace: Namespace, mode: str, flags: list[str]) -> None:
    ip("tuntap", "add", "mode", mode, "name", "tt0", *flags)
    before = show("tt0")["linkinfo"]["info_data"]
    configureInterface("tt0", owner=65534, up=None)
    assert show("tt0")["linkinfo"]["info_data"] == {**before, "user": "nobody"}
    ip("link", "delete", "tt0")


#: A program that prints IFF_NAPI of a device. It needs a new sysfs, which shows the namespace it was mounted in.
_NAPI = f"""
import fcntl, os, struct
from txtuntap.device.configure import configureInterface
from txtuntap.device.linux import LinuxDevice
descriptor = os.open({NODE!r}, os.O_RDWR)
fcntl.ioctl(descriptor, {TUNSETIFF}, struct.pack("16sH22x", b"tt0", {IFF_TAP | IFF_NO_PI | IFF_NAPI}))
device = LinuxDevice("", {TAP}, descriptor=descriptor)
with device:
    device.setPersistent(True)
configureInterface("tt0", owner=65534, up=None)
print(int(open("/sys/class/net/tt0/tun_flags").read(), 16) & {IFF_NAPI})
configureInterface("tt0", persistent=False, up=None)
"""


def test_napiIsKept(namespace: Namespace) -> None:
    needRoot()
    command = [tool("unshare"), "-m", "sh", "-c", 'mount -t sysfs sysfs /sys && exec "$@"', "sh"]
    finished = subprocess.run(
        [*command, sys.executable, "-c", _NAPI], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert finished.stdout == f"{IFF_NAPI}\n", finished.stderr
    assert interfaces() == set()


def test_aDeletedDeviceIsNotMadeAgain(namespace: Namespace) -> None:
    for mode in TUN, TAP:
        with LinuxDevice("tt0", mode):
            state = readInterface("tt0")
        device = LinuxDevice("tt0", mode)
        # First the interface is deleted, then there is another one with its name.
        for there in False, True:
            if there:
                ip("tuntap", "add", "mode", state.kind, "name", "tt0")
            with pytest.raises(OSError, match="tt0 was deleted") as raised:
                device.openAsItIs(state)
            assert raised.value.errno == errno.ENODEV
            assert device.fileno() == -1
            assert interfaces() == ({"tt0"} if there else set())
        device.openAsItIs(readInterface("tt0"))
        with device, pytest.raises(OSError, match="is open already"):
            device.openAsItIs(state)
        ip("link", "delete", "tt0")


def test_aDeviceInAnotherNamespaceIsConfigured(namespace: Namespace) -> None:
    with another() as there:
        with LinuxDevice("tt0", TUN, namespace=there) as device:
            device.setPersistent(True)
        configureInterface("tt0", namespace=there, owner=65534, up=None)
        assert readInterface("tt0", there).owner == 65534
        configureInterface("tt0", namespace=there, persistent=False, up=None)
        gone = attrs.evolve(readInterface("lo", there), name="tt0", kind="tun")
        with pytest.raises(OSError, match="was deleted"):
            LinuxDevice("tt0", TUN, namespace=there).openAsItIs(gone)
        assert names(there) == set()
