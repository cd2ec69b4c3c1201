"""
Hardening: no packet that comes in by an interface changes how the machine is configured
(C{Documentation/networking/ip-sysctl.rst}).

The kernel believes router advertisements and redirects from any interface unless it is told otherwise. A program that
can write packets into an interface could so draw the machine's default route to itself, give it addresses and an MTU,
and, by a redirect that names the router of another interface as its source, send that interface's traffic elsewhere.

Rtnetlink cannot set this for IPv6, and shows nothing of C{conf/all}: so it is read and written in C{/proc/sys}.
"""

from __future__ import annotations

import errno
import os
import socket

import attrs

from txtuntap.device.linux.namespace import Namespace, inNamespace

ROOT = "/proc/sys/net"

#: The settings that are to be 0 for an interface. C{seg6_enabled} and C{rpl_seg_enabled} let packets carry a route of
#: their own, as C{accept_source_route} does.
BELIEFS = {
    "ipv4": ("accept_redirects", "accept_source_route"),
    "ipv6": (
        *("accept_ra", "autoconf", "accept_redirects"),
        *("accept_source_route", "seg6_enabled", "rpl_seg_enabled"),
    ),
}


@attrs.frozen
class Belief:
    """
    One setting that has the kernel believe packets.

    @ivar version: C{"ipv4"} or C{"ipv6"}.
    @ivar name: of the setting.
    @ivar value: what it is.
    @ivar index: the number of the interface; L{None}: it is that of C{conf/all}.
    @ivar interface: what that was called when this was read.
    @ivar namespace: the network namespace of the interface; L{None}: this one.
    """

    version: str
    name: str
    value: str
    index: int | None
    interface: str
    namespace: Namespace | None

    def __str__(self) -> str:
        return f"net.{self.version}.conf.{self.interface}.{self.name}"

    def end(self) -> None:
        """
        Set it to 0.

        @raise OSError: it cannot be set; the text says what to do.
        """
        try:
            self._set("0")
        except OSError as e:
            default = "all" if self.index is None else "default"
            advice = f"set net.{self.version}.conf.{default}.{self.name} to 0 beforehand, or make /proc/sys writable"
            raise OSError(e.errno, f"{e.strerror}: {advice}") from e

    def restore(self) -> None:
        """
        Set it to what it was. A setting of all interfaces stays, because others may have come to rely on it.

        @raise OSError: it cannot be set, or the interface has gone (C{ENODEV}).
        """
        if self.index is not None:
            self._set(self.value)

    def _set(self, value: str) -> None:
        def write() -> None:
            # The interface may have been renamed.
            interface = "all" if self.index is None else _nameOf(self.index)
            with open(_path(self.version, interface, self.name), "w") as file:
                file.write(value)

        inNamespace(self.namespace, write)


def beliefs(index: int, namespace: Namespace | None = None) -> list[Belief]:
    """
    Find what the kernel believes of packets that come in by an interface.

    @param index: the number of the interface.
    @param namespace: the network namespace that it is in; L{None}: this one.

    @raise OSError: there is no such interface (C{ENODEV}), or it cannot be found out, since C{/proc/sys} is not there.
    """
    return inNamespace(namespace, lambda: _beliefs(index, namespace))


def _beliefs(index: int, namespace: Namespace | None) -> list[Belief]:
    interface = _nameOf(index)
    forwards = _read("ipv4", interface, "forwarding")
    if forwards is None:
        # Each interface has it. With IPv6's missing alone, the interface has no IPv6, because of its MTU for one.
        raise OSError(errno.ENOENT, f"cannot tell what {interface} believes of packets: {ROOT} is not there")
    found = []
    for version, names in BELIEFS.items():
        for name in names:
            value = _read(version, interface, name)
            if value is not None and int(value) > 0:
                found.append(Belief(version, name, value, index, interface, namespace))
    if forwards == "0":
        # An interface that does not forward believes a redirect if either says so, and one that does if both do.
        value = _read("ipv4", "all", "accept_redirects")
        if value != "0":
            found.append(Belief("ipv4", "accept_redirects", str(value), None, "all", namespace))
    return found


def _read(version: str, interface: str, name: str) -> str | None:
    """
    A setting; L{None} where the kernel does not have it.
    """
    try:
        with open(_path(version, interface, name)) as file:
            return file.read().strip()
    except FileNotFoundError:
        return None


def _path(version: str, interface: str, name: str) -> str:
    return os.path.join(ROOT, version, "conf", interface, name)


def _nameOf(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError as e:
        raise OSError(errno.ENODEV, f"there is no interface {index} any more") from e
