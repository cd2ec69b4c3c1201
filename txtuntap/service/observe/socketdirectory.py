"""
The directory of the control sockets: its lock, and the sockets that are left in it.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

if sys.platform == "win32":
    raise ImportError("Python has no UNIX sockets on Windows")


@contextmanager
def locked(directory: str) -> Iterator[None]:
    """
    Lock the directory of control sockets exclusively, and create it first if it does not exist.

    @raise OSError: the directory cannot be created, or other users may enter it.
    """
    # Other platforms do not have this module.
    import fcntl

    with suppress(FileExistsError):
        os.mkdir(directory, 0o700)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise OSError(errno.EPERM, f"{directory} is not this user's alone (mode 700)")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def removeStaleSockets(directory: str) -> None:
    """
    Delete the sockets of services that have ended without deleting them. The directory is locked, so a socket that
    refuses connections is not one that is about to listen.
    """
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            if stat.S_ISSOCK(os.lstat(path).st_mode) and probe.connect_ex(path) == errno.ECONNREFUSED:
                os.unlink(path)
