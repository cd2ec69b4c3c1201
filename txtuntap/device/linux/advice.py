"""
Texts for the errors of C{/dev/net/tun} that say what to do, because the kernel's error numbers say little.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import socket
import struct
import sys

from txtuntap.device import TAP, indexOf, printable
from txtuntap.device.advice import explained
from txtuntap.device.linux.ioctl import ETHTOOL_GDRVINFO, SIOCETHTOOL

if sys.platform == "win32":
    raise ImportError("this module is for Linux")


def _driver(name: bytes) -> tuple[bytes, bytes]:
    """
    Find the driver and the bus of an interface, as C{ethtool -i} shows them. A TUN or TAP device has the driver C{tun}
    and the bus C{tun} or C{tap}.

    @return: both names; empty if the kernel does not report them.
    """
    information = array.array("B", struct.pack("I", ETHTOOL_GDRVINFO).ljust(196, b"\0"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as query:
        try:
            fcntl.ioctl(query, SIOCETHTOOL, struct.pack("16sP16x", name, information.buffer_info()[0]))
        except OSError:
            return b"", b""
    answer = information.tobytes()
    return answer[4:36].rstrip(b"\0"), answer[100:132].rstrip(b"\0")


def attachingFailed(error: OSError, name: bytes, mode: int, call: str) -> OSError:
    """
    Replace the text of an error by one that says what to do.

    @param error: the kernel's error.
    @param name: the interface's name.
    @param mode: C{TUN} or C{TAP}.
    @param call: the system call or the file that has failed.

    @return: an error with the same number.
    """
    kind, other = ("tap", "tun") if mode == TAP else ("tun", "tap")
    interface = printable(os.fsdecode(name)) or f"a new {kind}"
    noDriver = "the kernel has no driver for it: load the module ('modprobe tun'); in a container, allow the device"
    advice = {
        errno.ENOENT: "there is no such node: load the module ('modprobe tun'), or make the node"
        " ('mknod /dev/net/tun c 10 200')",
        errno.ENODEV: noDriver,
        errno.ENXIO: noDriver,
        errno.EACCES: "this user may not open the node: run as root, or allow this user to read and write it",
        errno.EPERM: f"making {interface} needs CAP_NET_ADMIN: run as root, in a namespace ('unshare -rn'), or have an"
        f" administrator make it ('ip tuntap add mode {kind} {interface} user NAME')",
        errno.EBUSY: f"{interface} is in use, or exists and was to be made: stop the program that uses it, or name"
        " another",
        errno.ENOTTY: "the descriptor is not one of /dev/net/tun",
    }
    if error.errno == errno.EINVAL:
        driver, bus = _driver(name)
        if driver != b"tun" and indexOf(name):
            text = f"{interface} is not a TUN/TAP interface: name another"
        elif bus == other.encode():
            text = f"{interface} is a {other}, not a {kind}: name another, or give the mode or protocol of a {other}"
        elif driver:
            text = f"{interface} was made with other flags: delete it, or name another"
        else:
            text = f"the kernel does not accept {interface!r} as the name of a {kind}"
        advice[errno.EINVAL] = text
    return explained(error, call, advice)
