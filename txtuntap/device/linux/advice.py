"""
Advice about errors of C{/dev/net/tun}, whose numbers say little.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import socket
import struct

from txtuntap.device import TAP, printable
from txtuntap.device.linux.ioctl import ETHTOOL_GDRVINFO, SIOCETHTOOL


def _driver(name: bytes) -> tuple[bytes, bytes]:
    """
    Driver and bus of an interface as ethtool tells them: those of our kind have the driver C{tun} and, for a bus,
    C{tun} or C{tap}. Empty where there is nothing to tell.
    """
    information = array.array("B", struct.pack("I", ETHTOOL_GDRVINFO).ljust(196, b"\0"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as query:
        try:
            fcntl.ioctl(query, SIOCETHTOOL, struct.pack("16sP16x", name, information.buffer_info()[0]))
        except OSError:
            return b"", b""
    answer = information.tobytes()
    return answer[4:36].rstrip(b"\0"), answer[100:132].rstrip(b"\0")


def exists(name: bytes) -> bool:
    """
    Whether there is an interface of this name.
    """
    try:
        return bool(socket.if_nametoindex(os.fsdecode(name)))
    except (OSError, ValueError):
        return False


def explained(error: OSError, name: bytes, mode: int, call: str) -> OSError:
    """
    The same error, saying what to do.
    """
    kind, other = ("tap", "tun") if mode == TAP else ("tun", "tap")
    interface = printable(os.fsdecode(name)) or f"a new {kind}"
    if error.errno == errno.ENOENT:
        advice = "there is no such node: load the module ('modprobe tun'), or make it ('mknod /dev/net/tun c 10 200')"
    elif error.errno in (errno.ENODEV, errno.ENXIO):
        advice = "the kernel has no driver for it: load the module ('modprobe tun'), or in a container allow the device"
    elif error.errno == errno.EACCES:
        advice = "the node may not be opened: run as root, or allow this user to read and write it"
    elif error.errno == errno.EPERM:
        advice = (
            f"making {interface} takes CAP_NET_ADMIN: run as root, in a namespace ('unshare -rn'), or have an"
            f" administrator make it ('ip tuntap add mode {kind} {interface} user NAME')"
        )
    elif error.errno == errno.EBUSY:
        advice = f"{interface} is in use (or there, and was to be made): stop that program, or name another interface"
    elif error.errno == errno.EINVAL:
        driver, bus = _driver(name)
        if driver != b"tun" and exists(name):
            advice = f"{interface} is no TUN/TAP interface: name another"
        elif bus == other.encode():
            advice = f"{interface} is a {other}, not a {kind}: name another, or give a protocol for a {other}"
        elif driver:
            advice = f"{interface} was made with other flags: delete it, or name another"
        else:
            advice = f"the kernel does not take {interface!r} for the name of a {kind}"
    elif error.errno == errno.ENOTTY:
        advice = "that is no descriptor of /dev/net/tun, attached or not"
    else:
        advice = os.strerror(error.errno or 0)
    return OSError(error.errno, f"{call}: {advice}")
