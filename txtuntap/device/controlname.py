"""
The names of the control sockets of running services. A command finds a service by them, and does not wait for the
imports of the services: see L{txtuntap.service.observe.control}.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from txtuntap.device import printable
from txtuntap.device.helper.credentials import thisUser
from txtuntap.device.platform import platformModule, platformName, requireLinux, requireUNIX, runDirectory

if TYPE_CHECKING:
    from txtuntap.device.linux.namespace import Namespace

#: The subject and the advice of the error on a platform without UNIX sockets.
WITHOUT = "a control socket", "use --prometheus for the counters of a service, and Wireshark for its packets"


def directories() -> list[str]:
    """
    Return the directories that may contain control sockets. The first is the directory of this user, in which a service
    makes its own socket.

    @raise OSError: this platform has no UNIX sockets (C{ENOTSUP}).
    """
    requireUNIX(*WITHOUT)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    ours = [f"{runtime}/txtuntap"] if runtime else []
    return [f"{runDirectory()}/txtuntap", *ours] if thisUser() == 0 else ours


def fileName(namespace: int, name: str) -> str:
    """
    Return the file name of a control socket.

    @param namespace: the number of the network namespace, as L{namespaceNumber} returns it.
    @param name: the name of the interface.
    """
    return f"{namespace}.{printable(name)}.socket"


def namespaceNumber(namespace: Namespace | None = None) -> int:
    """
    Return the number of a network namespace, which is its inode number: C{net:[4026531840]}; 0 on a platform without
    network namespaces.

    @param namespace: the namespace; C{None}: that of this process.

    @raise OSError: the namespace does not exist, or this platform has none (C{ENOTSUP}).
    """
    if namespace is None and platformName() != "linux":
        return 0
    requireLinux("a network namespace", "leave it out")
    descriptor = platformModule("namespace").openNamespace(namespace)
    try:
        return os.fstat(descriptor).st_ino
    finally:
        os.close(descriptor)
