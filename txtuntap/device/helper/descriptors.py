"""
Descriptors of devices that another process has opened. A program passes one to C{LinuxDevice(..., descriptor=...)} and
so needs no privilege itself.

This module receives descriptors from systemd and over UNIX sockets. A descriptor that a parent process leaves open for
its child needs no function: the child only has to know its number.
"""

from __future__ import annotations

import errno
import os
import socket
import struct

from twisted.python.systemd import ListenFDs

from txtuntap.device.platform import requireUNIX

_INT = struct.Struct("i")

#: The advice on Windows, where no process can pass an open device to another one.
_INSTEAD = "open the device in this program"

#: The flag with which the kernel marks received descriptors itself. macOS has no such flag.
_CLOSE_ON_EXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


def fromSystemd(name: str) -> int:
    """
    Find a descriptor that systemd has passed to this process (C{sd_listen_fds(3)}).

    @param name: the name of the descriptor in the unit: C{tun} for C{OpenFile=/dev/net/tun:tun}, or the C{FDNAME=} with
        which it was stored.

    @return: the number of the descriptor.

    @raise ValueError: systemd has passed no descriptor of this name.
    """
    # Twisted does not change the environment here, so this function can be called more than once.
    names = ListenFDs.fromEnvironment().inheritedNamedDescriptors()
    if name not in names:
        there = ", ".join(sorted(names)) or "none"
        raise ValueError(f"systemd has passed no descriptor {name!r} (LISTEN_FDNAMES): there is {there}")
    return names[name]


def sendDescriptor(to: socket.socket, descriptor: int, data: bytes = b"\0") -> None:
    """
    Send a descriptor over a UNIX socket (C{SCM_RIGHTS}, C{unix(7)}). The descriptor stays open in this process, too.

    @param to: the socket to send on.
    @param data: the octets that are sent along with the descriptor, at least one.

    @raise OSError: the descriptor cannot be sent.
    """
    requireUNIX("the descriptor of a device", _INSTEAD)
    socket.send_fds(to, [data], [descriptor])


def receiveDescriptor(of: socket.socket, size: int = 1) -> tuple[int, bytes]:
    """
    Receive one descriptor over a UNIX socket.

    @param of: the socket to receive from.
    @param size: the largest number of octets to read along with the descriptor.

    @return: the descriptor, and these octets.

    @raise OSError: the sender has closed the connection (C{ECONNRESET}), or has sent octets without a descriptor
        (C{EPROTO}).
    """
    data, descriptors = receiveDescriptors(of, size)
    if len(descriptors) != 1:
        error = errno.EPROTO if data else errno.ECONNRESET
        reason = "the sender has sent only data" if data else "the sender has closed the connection"
        raise OSError(error, f"no descriptor was received: {reason}")
    return descriptors[0], data


def receiveDescriptors(of: socket.socket, size: int) -> tuple[bytes, list[int]]:
    """
    Read octets and at most one descriptor from a UNIX socket. Child processes do not inherit the descriptor. Where the
    platform has C{MSG_CMSG_CLOEXEC}, this holds even for a child that is started at the same time.

    @param of: the socket to receive from.
    @param size: the largest number of octets to read.

    @return: the octets, and a list with the descriptor or an empty list.
    """
    requireUNIX("the descriptor of a device", _INSTEAD)
    data, ancillary, _, _ = of.recvmsg(size, socket.CMSG_LEN(_INT.size), _CLOSE_ON_EXEC)
    rights = [each for level, kind, each in ancillary if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)]
    descriptors = [number for packed in rights for (number,) in _INT.iter_unpack(packed)]
    for each in descriptors:
        os.set_inheritable(each, False)
    return data, descriptors
