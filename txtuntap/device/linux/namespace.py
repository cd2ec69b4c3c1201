"""
Calls in another network namespace than that of the process (C{network_namespaces(7)}).

A descriptor of a device, or a netlink socket, works in every namespace after it was opened. So a thread enters the
namespace, opens the descriptor or the socket, and ends. The other threads of the process do not enter the namespace.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

if sys.platform == "win32":
    raise ImportError("this module is for Linux")

_T = TypeVar("_T")

#: A network namespace: a name for C{ip netns}, a path such as C{/proc/1234/ns/net}, or a descriptor.
Namespace = str | int

#: The directory in which C{ip netns} mounts its namespaces (C{ip-netns(8)}).
DIRECTORY = "/run/netns"

#: C{linux/sched.h}
CLONE_NEWNET = 0x40000000

#: C{linux/sockios.h}
SIOCGSKNS = 0x894C


def openNamespace(namespace: Namespace | None) -> int:
    """
    Open a network namespace.

    @param namespace: the namespace; C{None}: that of this thread.

    @return: a descriptor of the namespace, which the caller has to close.

    @raise OSError: there is no such namespace, or the process may not open it.
    """
    if namespace is None:
        return _openThis()
    if isinstance(namespace, int):
        return os.dup(namespace)
    path = namespace if "/" in namespace else f"{DIRECTORY}/{namespace}"
    try:
        # O_NONBLOCK, because opening a named pipe by mistake would block.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as e:
        advice = f": make it ('ip netns add {namespace}'), or give a path" if path != namespace else ""
        raise OSError(e.errno, f"cannot open the network namespace {path}: {e.strerror}{advice}") from e


def _openThis() -> int:
    # The import is here, because other platforms may not have fcntl.
    import fcntl

    try:
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as e:
        # In a sandbox, /proc may not be mounted. A socket's namespace can be opened instead, but that needs privilege.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
            try:
                return fcntl.ioctl(opened, SIOCGSKNS)
            except OSError:
                text = f"cannot find this process's network namespace: {e.strerror}: mount /proc, or have CAP_NET_ADMIN"
                raise OSError(e.errno, text) from e


#: The device number and the inode number of a network namespace's file. They identify the namespace, whatever path was
#: used to open it.
NamespaceIdentity = tuple[int, int]


def identify(namespace: Namespace | None) -> NamespaceIdentity | None:
    """
    Find the identity of a network namespace.

    @param namespace: the namespace; C{None}: that of this thread.

    @return: the identity; C{None}: the identity of this thread's namespace cannot be found, because C{/proc} is not
        mounted and the process has no privilege.

    @raise OSError: there is no such namespace, or the process may not open it.
    """
    try:
        descriptor = openNamespace(namespace)
    except OSError:
        if namespace is None:
            return None
        raise
    try:
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return found.st_dev, found.st_ino


def inNamespace(namespace: Namespace | None, call: Callable[[], _T]) -> _T:
    """
    Call a function in a network namespace, and block until it has returned.

    @param namespace: the namespace; C{None}: that of this thread.
    @param call: the function. It runs in a new thread, unless C{namespace} is C{None}.

    @return: the value that the function returns.

    @raise OSError: the namespace cannot be entered. Exceptions of the function are raised, too.
    """
    if namespace is None:
        return call()
    results: list[_T] = []
    errors: list[BaseException] = []
    descriptor = openNamespace(namespace)

    def callInside() -> None:
        try:
            enterNamespace(descriptor, namespace)
            results.append(call())
        except BaseException as e:
            errors.append(e)

    try:
        thread = threading.Thread(target=callInside, name=f"network namespace {namespace}")
        thread.start()
        thread.join()
    finally:
        os.close(descriptor)
    if errors:
        raise errors[0]
    return results[0]


def enterNamespace(descriptor: int, namespace: Namespace) -> None:
    """
    Move this thread into a namespace. This uses ctypes, because C{os.setns} needs Python 3.12.

    @param descriptor: a descriptor of the namespace.
    @param namespace: the namespace, as the text of the error names it.

    @raise OSError: the namespace cannot be entered.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET):
        error = ctypes.get_errno()
        reasons = {
            errno.EPERM: "this needs CAP_SYS_ADMIN here and in the user namespace that owns it",
            errno.EINVAL: "it is not a network namespace",
        }
        raise OSError(
            error, f"cannot enter the network namespace {namespace}: {reasons.get(error, os.strerror(error))}"
        )
