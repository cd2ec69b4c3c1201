"""
Network namespaces of Linux for tests, and TUN and TAP interfaces of the kernel in them::

    with RealInterface(TUN) as interface:
        port = TuntapPort(interface.name, protocol)

A test enters a namespace, in which it sees no interface of the machine, and leaves nothing behind. It is skipped, with
the reason, on a machine where that is not possible. L{txtuntap.testing.fixtures} has fixtures for pytest.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from unittest import SkipTest

from txtuntap.device import TAP, TUN
from txtuntap.device.platform import platformModule

_N = TypeVar("_N", bound="NetworkNamespace")

#: The file that stands for the network namespace of this thread.
THIS = "/proc/thread-self/ns/net"

#: C{linux/sched.h}
CLONE_NEWNET = 0x40000000

#: The addresses of the kernel's end of a L{RealInterface}. The test can use all others of the two networks.
ADDRESSES = ("10.0.0.1/24", "fd00::1/64")

#: The setting whose value is C{0} where a new namespace has IPv6.
_NO_IPV6 = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")


def lackingDevice() -> str | None:
    """
    Find out why this process cannot open TUN and TAP devices of the kernel.

    @return: the reason, and what to do; C{None}: it can open them.
    """
    if not sys.platform.startswith("linux"):
        return f"a real interface in a network namespace needs Linux, and this is {sys.platform}"
    node = platformModule("device").NODE
    try:
        os.close(os.open(node, os.O_RDWR | os.O_CLOEXEC))
    except OSError as e:
        return f"{os.fsdecode(node)} cannot be opened ({e.strerror}): 'modprobe tun', or run as root"
    return None


def lacking() -> str | None:
    """
    Find out why this process cannot make a network namespace with a TUN or TAP interface in it.

    @return: the reason, and what to do; C{None}: it can make one.
    """
    reason = lackingDevice()
    if reason is None:
        try:
            with NetworkNamespace():
                pass
        except PermissionError as e:
            return (
                f"no network namespace: {e.strerror}: run as root (CAP_SYS_ADMIN, CAP_NET_ADMIN), or by 'unshare -rn'"
            )
    return reason


def unshare(flags: int) -> None:
    """
    Move this thread to new namespaces (C{unshare(2)}). This uses ctypes, because C{os.unshare} needs Python 3.12.

    @param flags: the kinds of namespaces, such as L{CLONE_NEWNET}.

    @raise OSError: the kernel refused.
    """
    if ctypes.CDLL(None, use_errno=True).unshare(flags):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


class NetworkNamespace:
    """
    A context manager that moves this thread to a new network namespace, in which only the loopback is up. Programs and
    threads that this thread starts there are in the namespace, too. The kernel deletes the namespace when the last
    thread, process, socket and descriptor of it is gone.

    @ivar outside: a descriptor of the namespace that the thread was in before.
    """

    def open(self) -> None:
        """
        Make the namespace, and enter it.

        @raise PermissionError: the process lacks C{CAP_SYS_ADMIN} or C{CAP_NET_ADMIN}.
        """
        from txtuntap.device.configure import configureInterface

        self.outside = os.open(THIS, os.O_RDONLY | os.O_CLOEXEC)
        try:
            unshare(CLONE_NEWNET)
            try:
                _renewThreads()
                configureInterface("lo", up=True)
            except BaseException:
                _enter(self.outside)
                raise
        except BaseException:
            os.close(self.outside)
            raise

    def close(self) -> None:
        """
        Return to the namespace that the thread was in before.
        """
        _enter(self.outside)
        os.close(self.outside)
        _renewThreads()

    def __enter__(self: _N) -> _N:
        """
        Do what L{open} does.
        """
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """
        Do what L{close} does.
        """
        self.close()

    @contextmanager
    def stepOut(self) -> Iterator[None]:
        """
        Return to the former namespace within a context manager.
        """
        here = os.open(THIS, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(self.outside)
            yield
        finally:
            _enter(here)
            os.close(here)


class RealInterface(NetworkNamespace):
    """
    A TUN or TAP interface of the kernel, in a network namespace of its own, which the test is in while the interface
    exists. No program has the device open yet: the test gives the name to a port or to a program.

    @ivar name: the interface's name, C{tun0} or C{tap0}.
    @ivar mode: C{TUN} or C{TAP}.
    @ivar addresses: the addresses of the kernel's end: C{ADDRESSES}, or those of IPv4 if the kernel has no IPv6.
    """

    def __init__(self, mode: int) -> None:
        """
        @param mode: C{TUN} or C{TAP}.
        """
        if mode not in (TUN, TAP):
            raise ValueError(f"the mode of an interface must be TUN (1) or TAP (2), not {mode!r}")
        self.mode = mode
        self.name = "tap0" if mode == TAP else "tun0"
        self.addresses: tuple[str, ...] = ADDRESSES

    def open(self) -> None:
        """
        Enter a new network namespace, make the interface in it, and set it up with the addresses of the kernel's end.

        @raise SkipTest: (of the module C{unittest}) that is not possible here; the text says why.
        """
        reason = lacking()
        if reason is not None:
            raise SkipTest(reason)
        super().open()
        try:
            self._make()
        except BaseException:
            super().close()
            raise

    def close(self) -> None:
        """
        Delete the interface, and return to the former namespace. A port that still listens on the interface ends with
        L{InterfaceLost<txtuntap.device.lost.InterfaceLost>}.
        """
        netlink = platformModule("netlink")

        def deleting() -> Any:
            yield netlink.delete("link", f"delete {self.name}", IFLA_IFNAME=self.name)

        try:
            # The test may have deleted the interface itself.
            if self.name in (name for _, name in socket.if_nameindex()):
                netlink.askNow(deleting())
        finally:
            super().close()

    def _make(self) -> None:
        from txtuntap.device.configure import configureInterface

        six = _NO_IPV6.exists() and _NO_IPV6.read_text().strip() == "0"
        self.addresses = tuple(each for each in ADDRESSES if six or ":" not in each)
        with platformModule("device").LinuxDevice(self.name, self.mode) as device:
            configureInterface(self.name, self.addresses, device=device, persistent=True)


def _enter(descriptor: int) -> None:
    platformModule("namespace").enterNamespace(descriptor, descriptor)


def _renewThreads() -> None:
    """
    End the threads in the pool of the reactor, if it is installed. A thread stays in the namespace in which it was
    started, so C{deferToThread} would call a function in the namespace of an earlier test.
    """
    reactor: Any = sys.modules.get("twisted.internet.reactor")
    pool = getattr(reactor, "threadpool", None)
    if pool is not None:
        least, most = pool.min, pool.max
        pool.adjustPoolsize(0, 0)
        pool.adjustPoolsize(least, most)
