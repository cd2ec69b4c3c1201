"""
Programs without privilege: each alternative of docs/privilege.md, run as user 65534, and the power of an intruder.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.real.lab.asking import askUntilAnswered
from tests.real.lab.guest import NOBODY, Guest, openNode
from tests.real.lab.machine import KERNEL_ADDRESSES
from tests.real.lab.namespace import NODE, Namespace, interfaces, ip, needRoot, until
from txtuntap.device import TAP, TUN
from txtuntap.device.configure import configureInterface
from txtuntap.device.helper.descriptors import receiveDescriptor, sendDescriptor
from txtuntap.device.linux import LinuxDevice
from txtuntap.device.state import readInterface

MODES = {"tun": TUN, "tap": TAP}
KINDS = pytest.mark.parametrize("mode", MODES)


@pytest.fixture(autouse=True)
def root(namespace: Namespace) -> None:
    """
    Skip a test if only this user exists in the user namespace, that is, without real root.
    """
    needRoot()


def assertEchoes() -> None:
    for address in "10.9.0.2", "fd09::2":
        assert askUntilAnswered(address, b"hello") == b"hello"


def made(mode: str, **settings: Any) -> LinuxDevice:
    """
    Make and configure an open device.
    """
    device = LinuxDevice("tt0", MODES[mode])
    device.open()
    configureInterface("tt0", KERNEL_ADDRESSES, device=device, mtu=1400, **settings)
    return device


@KINDS
def test_aDescriptorOfAParentIsUsed(mode: str) -> None:
    with made(mode) as device, Guest(f"descriptor {device.fileno()}", "tt0", mode, descriptors=[device.fileno()]) as it:
        assert it.said == {"name": "tt0", "mtu": 1400, "user": NOBODY}
        device.close()
        assertEchoes()
    assert interfaces() == set()


@KINDS
def test_aDescriptorReceivedOverASocketIsUsed(mode: str) -> None:
    ours, its = socket.socketpair()
    with ours, its, made(mode) as device:
        guest = Guest(f"socket {its.fileno()}", "tt0", mode, descriptors=[its.fileno()])
        sendDescriptor(ours, device.fileno())
        device.close()
        with guest:
            assert guest.said["name"] == "tt0"
            assertEchoes()
    assert interfaces() == set()


def test_aReceivedDescriptorIsNotInherited() -> None:
    ours, its = socket.socketpair()
    with ours, its, made("tun") as device:
        sendDescriptor(ours, device.fileno())
        received, _ = receiveDescriptor(its)
        assert not os.get_inheritable(received)
        os.close(received)


def test_messagesWithoutOneDescriptorAreErrors() -> None:
    ours, its = socket.socketpair()
    with ours, its:
        ours.send(b"x")
        with pytest.raises(OSError, match="the sender has sent only data"):
            receiveDescriptor(its)
        ours.close()
        with pytest.raises(OSError, match="the sender has closed the connection"):
            receiveDescriptor(its)


#: A program that runs another one as systemd does (sd_listen_fds(3)).
_SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES=sys.argv[2])
os.execv(sys.argv[3], sys.argv[3:])
"""


@KINDS
def test_aDescriptorOfSystemdIsUsed(mode: str) -> None:
    with made(mode) as device:
        number = device.fileno()
        before = [sys.executable, "-c", _SYSTEMD, str(number), "vpn"]
        with Guest("systemd vpn", "tt0", mode, descriptors=[number], before=before) as guest:
            assert guest.said["name"] == "tt0"
            device.close()
            assertEchoes()
        assert interfaces() == set()


@KINDS
def test_aNodeThatSystemdHasOpenedIsUsed(mode: str) -> None:
    # With OpenFile=, the descriptor is not attached yet. The program attaches it to a device of its own user.
    with made(mode, owner=NOBODY, persistent=True):
        pass
    opened = os.open(NODE, os.O_RDWR)
    try:
        before = [sys.executable, "-c", _SYSTEMD, str(opened), "tun"]
        with Guest("systemd tun", "tt0", mode, descriptors=[opened], before=before) as guest:
            assert guest.said == {"name": "tt0", "mtu": 1400, "user": NOBODY}
            assertEchoes()
        with Guest("systemd tap", "tt0", mode, descriptors=[opened], before=before) as guest:
            assert guest.said.startswith("systemd has passed no descriptor 'tap' (LISTEN_FDNAMES): there is tun")
    finally:
        os.close(opened)


@KINDS
def test_aDeviceOfTheUserIsUsed(tmp_path: Path, mode: str) -> None:
    with made(mode, owner=NOBODY, persistent=True):
        pass
    ours = openNode(tmp_path)
    with Guest(f"node {ours}", "tt0", mode) as guest:
        assert guest.said == {"name": "tt0", "mtu": 1400, "user": NOBODY}
        assertEchoes()
        # Settings that are right already need no privilege.
        assert guest.tries("configure") == "done"
        assert guest.tries("up") == "cannot set the MTU of tt0 to 1300: Operation not permitted"
    assert readInterface("tt0").persistent
    with Guest(f"node {ours}", "tt1", mode) as guest:
        assert "making tt1 needs CAP_NET_ADMIN" in guest.said
    ip("tuntap", "delete", "mode", mode, "name", "tt0")
    with Guest(f"node {ours}", "tt0", mode) as guest:
        assert f"ip tuntap add mode {mode} tt0 user NAME" in guest.said


def test_onlyTheOwnerAndTheGroupMayAttach(tmp_path: Path) -> None:
    ours = openNode(tmp_path)
    ip("tuntap", "add", "mode", "tun", "name", "tt0", "user", "1234")
    with Guest(f"node {ours}", "tt0", "tun") as guest:
        assert "CAP_NET_ADMIN" in guest.said
    with Guest(f"node {ours}", "tt0", "tun", user=1234) as guest:
        assert guest.said["name"] == "tt0"
    ip("tuntap", "add", "mode", "tun", "name", "tt1", "group", "4321")
    with Guest(f"node {ours}", "tt1", "tun") as guest:
        assert "CAP_NET_ADMIN" in guest.said
    with Guest(f"node {ours}", "tt1", "tun", groups=[4321]) as guest:
        assert guest.said["name"] == "tt1"


def test_aNodeWithoutPermissionIsAnError(tmp_path: Path) -> None:
    ours = openNode(tmp_path)
    ours.chmod(0o600)
    with Guest(f"node {ours}", "tt0", "tun") as guest:
        assert "this user may not open the node: run as root, or allow this user" in guest.said


@KINDS
def test_aHeldDescriptorHasTheDocumentedPower(mode: str) -> None:
    # docs/privilege.md says this of an intruder.
    with made(mode) as device, Guest(f"descriptor {device.fileno()}", "tt0", mode, descriptors=[device.fileno()]) as it:
        device.close()
        assert it.tries("up") == "cannot set the MTU of tt0 to 1300: Operation not permitted"
        assert "may not open the node" in it.tries("another") or "CAP_NET_ADMIN" in it.tries("another")
        assert it.tries("MTU") == "Invalid argument"
        assert it.tries("namespace") == "Operation not permitted"
        assert it.tries("link type") == "Device or resource busy"
        assert it.tries("link address") == ("done" if mode == "tap" else "Operation not supported")
        ip("link", "set", "tt0", "down")
        assert it.tries("link type") == "done"
        assert it.tries("lose carrier") == "done"
        until(lambda: not readInterface("tt0").carrier, "the carrier to go")
        assert it.tries("own") == "done"
        assert readInterface("tt0").owner == NOBODY
        assert it.tries("persist") == "done"
    state = readInterface("tt0")
    assert (state.persistent, state.owner, state.mtu) == (True, NOBODY, 1400)
