"""
The user of the process at the other end of a UNIX socket, as the kernel reports it. Only Linux has run this so far: not
run on a real macOS, FreeBSD, OpenBSD or NetBSD yet.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable

from txtuntap.device.platform import platformName, requireUNIX

#: Process number, user number and group numbers.
Credentials = tuple[int, int, frozenset[int]]

#: C{asm-generic/socket.h} of Linux.
_SO_PEERCRED, _SO_PEERGROUPS = 17, 59

#: The largest number of octets that Python's C{getsockopt} returns: room for 256 groups.
_MAX_OPTION = 1024

#: The level of options of UNIX sockets, C{sys/un.h} of macOS, FreeBSD and NetBSD.
_SOL_LOCAL = 0

#: C{sys/un.h} and C{sys/ucred.h} of macOS and FreeBSD: an option whose value is C{struct xucred}, the version and the
#: size of that, and the positions of its groups and, on FreeBSD, of the process number.
_LOCAL_PEERCRED = 1
_XUCRED_VERSION = 0
_XUCRED = struct.Struct("=IIh")
_XUCRED_SIZES = {"darwin": 76, "freebsd": 88}
_CR_GROUPS, _CR_PID = 12, 80

#: The most groups in a C{struct xucred}.
_MAX_GROUPS = 16

#: C{sys/un.h} of macOS: an option whose value is the process number.
_LOCAL_PEERPID = 2

#: C{sys/socket.h} of OpenBSD, with C{struct sockpeercred}: user, group, process.
_SO_PEERCRED_OPENBSD = 0x1022
_SOCKPEERCRED = struct.Struct("=IIi")

#: C{sys/un.h} of NetBSD, with C{struct unpcbid}: process, user, group.
_LOCAL_PEEREID = 3
_UNPCBID = struct.Struct("=iII")


def thisUser() -> int:
    """
    Return the effective user number of this process.

    @raise OSError: this is Windows, whose users have no numbers (C{ENOTSUP}).
    """
    requireUNIX("the number of a user", "leave it out")
    return os.geteuid()


def peerCredentials(connection: socket.socket) -> Credentials:
    """
    Ask the kernel which process has called C{connect} (C{unix(7)}). Another process may have the socket by now.

    @return: the process number (0: the kernel does not report it), the user number, and the numbers of its groups. Some
        kernels report one group only.

    @raise OSError: this platform does not report the user (C{ENOTSUP}), or its answer is not what its headers say
        (C{EPROTO}).
    """
    platform = platformName()
    ask = _ASKING.get(platform)
    if ask is None:
        raise OSError(errno.ENOTSUP, f"{platform} does not report which user has connected to a UNIX socket")
    try:
        return ask(connection)
    except struct.error as e:
        raise OSError(errno.EPROTO, f"{platform} has reported the user of a UNIX socket in an unknown form") from e


def _ofLinux(connection: socket.socket) -> Credentials:
    process, user, group = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, _SO_PEERCRED, 12))
    try:
        packed = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MAX_OPTION)
    except OSError:
        # The user has more groups, or the option has another number on this machine. Then only the group that
        # SO_PEERCRED reports counts.
        packed = b""
    return process, user, frozenset((group, *struct.unpack(f"{len(packed) // 4}I", packed)))


def _ofDarwin(connection: socket.socket) -> Credentials:
    _, user, groups = _xucred(connection, "darwin")
    (process,) = struct.unpack("i", connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID, 4))
    return process, user, groups


def _ofFreeBSD(connection: socket.socket) -> Credentials:
    packed, user, groups = _xucred(connection, "freebsd")
    # Before FreeBSD 13 the kernel leaves this field 0.
    (process,) = struct.unpack_from("i", packed, _CR_PID)
    return process, user, groups


def _xucred(connection: socket.socket, platform: str) -> tuple[bytes, int, frozenset[int]]:
    packed = connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED_SIZES[platform])
    version, user, number = _XUCRED.unpack_from(packed)
    if version != _XUCRED_VERSION or not 0 <= number <= _MAX_GROUPS:
        raise struct.error("unknown version or number of groups")
    return packed, user, frozenset(struct.unpack_from(f"={number}I", packed, _CR_GROUPS))


def _ofOpenBSD(connection: socket.socket) -> Credentials:
    packed = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERCRED_OPENBSD, _SOCKPEERCRED.size)
    user, group, process = _SOCKPEERCRED.unpack(packed)
    return process, user, frozenset((group,))


def _ofNetBSD(connection: socket.socket) -> Credentials:
    process, user, group = _UNPCBID.unpack(connection.getsockopt(_SOL_LOCAL, _LOCAL_PEEREID, _UNPCBID.size))
    return process, user, frozenset((group,))


_ASKING: dict[str, Callable[[socket.socket], Credentials]] = {
    "linux": _ofLinux,
    "darwin": _ofDarwin,
    "freebsd": _ofFreeBSD,
    "openbsd": _ofOpenBSD,
    "netbsd": _ofNetBSD,
}
