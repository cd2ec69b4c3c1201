"""
Network namespaces (C{network_namespaces(7)}): something done in another than that of the process.

Devices and netlink sockets belong to the namespace that they were opened in, for good, and serve from anywhere. So a
thread goes there, opens one, and ends; the process, and its reactor, stay outside.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")

#: A network namespace: a name that C{ip netns} gave it, a path such as C{/proc/1234/ns/net}, or a descriptor of one.
Namespace = str | int

#: Where C{ip netns} keeps its namespaces (C{ip-netns(8)}).
DIRECTORY = "/run/netns"

#: C{linux/sched.h}
CLONE_NEWNET = 0x40000000

#: C{linux/sockios.h}
SIOCGSKNS = 0x894C


def openNamespace(namespace: Namespace | None) -> int:
    """
    @param namespace: L{None}: the one this thread is in.

    @return: a descriptor of the namespace, for whoever calls to close.

    @raise OSError: there is none such, or it may not be opened.
    """
    if namespace is None:
        return _openThis()
    if isinstance(namespace, int):
        return os.dup(namespace)
    path = namespace if "/" in namespace else f"{DIRECTORY}/{namespace}"
    try:
        # Not to wait where the path is that of a pipe.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as e:
        advice = f": make it ('ip netns add {namespace}'), or give a path" if path != namespace else ""
        raise OSError(e.errno, f"cannot open the network namespace {path}: {e.strerror}{advice}") from e


def _openThis() -> int:
    # On other platforms there is no such module.
    import fcntl

    try:
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as e:
        # In a jail, /proc may not be mounted. A socket tells the same, if to the privileged alone.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
            try:
                return fcntl.ioctl(opened, SIOCGSKNS)
            except OSError:
                text = f"cannot tell which network namespace this is: {e.strerror}: mount /proc, or have CAP_NET_ADMIN"
                raise OSError(e.errno, text) from e


#: Device and inode of a network namespace's file: they tell it from others, whatever path leads to it.
NamespaceIdentity = tuple[int, int]


def identify(namespace: Namespace | None) -> NamespaceIdentity | None:
    """
    Which network namespace it is; L{None} if that cannot be known: C{/proc} is not mounted, and a socket tells only
    the privileged.

    @param namespace: L{None}: the one this thread is in.

    @raise OSError: there is none such, or it may not be opened.
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
    Call C{call} in a network namespace, and wait for it.

    @param namespace: L{None}: the one this thread is in.

    @return: what it returns.

    @raise OSError: the namespace cannot be entered; or what C{call} raises.
    """
    if namespace is None:
        return call()
    results: list[_T] = []
    errors: list[BaseException] = []
    descriptor = openNamespace(namespace)

    def inThere() -> None:
        try:
            _enter(descriptor, namespace)
            results.append(call())
        except BaseException as e:
            errors.append(e)

    try:
        thread = threading.Thread(target=inThere, name=f"network namespace {namespace}")
        thread.start()
        thread.join()
    finally:
        os.close(descriptor)
    if errors:
        raise errors[0]
    return results[0]


def _enter(descriptor: int, namespace: Namespace) -> None:
    """
    Have this thread be in a namespace. (C{os.setns} is there from Python 3.12 on.)
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET):
        error = ctypes.get_errno()
        reasons = {
            errno.EPERM: "that takes CAP_SYS_ADMIN, here and there",
            errno.EINVAL: "it is no network namespace",
        }
        raise OSError(
            error, f"cannot enter the network namespace {namespace}: {reasons.get(error, os.strerror(error))}"
        )
