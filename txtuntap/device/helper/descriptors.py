"""
Descriptors of devices that somebody else has opened, for C{LinuxDevice(..., descriptor=...)}: so the program itself
needs no privilege.

One that a parent leaves open for its child is just a number. The others come from here.
"""

from __future__ import annotations

import errno
import socket
import struct

from twisted.python.systemd import ListenFDs

_INT = struct.Struct("i")


def fromSystemd(name: str) -> int:
    """
    A descriptor that systemd has handed to this process (C{sd_listen_fds(3)}).

    @param name: as the unit has it: C{tun} of C{OpenFile=/dev/net/tun:tun}, or C{FDNAME=} of what was stored.

    @raise ValueError: there is none of this name.
    """
    # Twisted leaves the environment as it is, so this can be asked again.
    names = ListenFDs.fromEnvironment().inheritedNamedDescriptors()
    if name not in names:
        there = ", ".join(sorted(names)) or "none"
        raise ValueError(f"systemd has handed over no descriptor {name!r} (LISTEN_FDNAMES): there is {there}")
    return names[name]


def sendDescriptor(to: socket.socket, descriptor: int, data: bytes = b"\0") -> None:
    """
    Send a descriptor over a UNIX socket (C{SCM_RIGHTS}, C{unix(7)}). It stays open here, too.

    @param data: what goes with it, at least one octet.

    @raise OSError: it cannot be sent.
    """
    socket.send_fds(to, [data], [descriptor])


def receiveDescriptor(of: socket.socket, size: int = 1) -> tuple[int, bytes]:
    """
    Receive a descriptor over a UNIX socket.

    @param size: octets to read of what goes with it.

    @return: the descriptor; and these octets.

    @raise OSError: the other end has closed (C{ECONNRESET}), or has sent something else (C{EPROTO}).
    """
    data, descriptors = receiveDescriptors(of, size)
    if len(descriptors) != 1:
        error = errno.EPROTO if data else errno.ECONNRESET
        raise OSError(error, "no descriptor came: " + ("something else did" if data else "the other end has closed"))
    return descriptors[0], data


def receiveDescriptors(of: socket.socket, size: int) -> tuple[bytes, list[int]]:
    """
    Read from a UNIX socket, with a descriptor or without. No program that is started meanwhile has it, as it would have
    one of C{socket.recv_fds}.

    @param size: the most octets to read.

    @return: these octets; and at most one descriptor.
    """
    data, ancillary, _, _ = of.recvmsg(size, socket.CMSG_LEN(_INT.size), socket.MSG_CMSG_CLOEXEC)
    rights = [each for level, kind, each in ancillary if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)]
    return data, [number for packed in rights for (number,) in _INT.iter_unpack(packed)]
