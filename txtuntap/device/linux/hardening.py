"""
Hardening of interfaces: clear the settings that let received packets change the kernel's configuration
(C{Documentation/networking/ip-sysctl.rst}).

By default, the kernel accepts router advertisements and redirects from every interface. So a program that can write
packets into an interface could attract the machine's default route, and set addresses and an MTU. It could also
redirect the traffic of another interface, by forging that interface's router as the source of a redirect.

The settings are read and written in C{/proc/sys}. Rtnetlink cannot set those of IPv6, and does not show C{conf/all}.
"""

from __future__ import annotations

import errno
import os
import socket

import attrs

from txtuntap.device.linux.namespace import Namespace, inNamespace

ROOT = "/proc/sys/net"

#: The settings that hardening sets to 0 for an interface. C{seg6_enabled} and C{rpl_seg_enabled} let
#: a packet choose its own route, as C{accept_source_route} does.
TRUST_SETTINGS = {
    "ipv4": ("accept_redirects", "accept_source_route"),
    "ipv6": (
        *("accept_ra", "autoconf", "accept_redirects"),
        *("accept_source_route", "seg6_enabled", "rpl_seg_enabled"),
    ),
}


@attrs.frozen
class TrustSetting:
    """
    One setting with which the kernel trusts received packets.

    @ivar version: C{"ipv4"} or C{"ipv6"}.
    @ivar name: the setting's name.
    @ivar value: the setting's value when it was read.
    @ivar index: the interface's index; C{None}: the setting is that of C{conf/all}.
    @ivar interface: the interface's name when the setting was read; C{"all"} for C{conf/all}.
    @ivar namespace: the network namespace of the interface; C{None}: the namespace of this process.
    """

    version: str
    name: str
    value: str
    index: int | None
    interface: str
    namespace: Namespace | None

    def __str__(self) -> str:
        return f"net.{self.version}.conf.{self.interface}.{self.name}"

    def clear(self) -> None:
        """
        Set the setting to 0.

        @raise OSError: the setting cannot be changed; the text says what to do.
        """
        try:
            self._set("0")
        except OSError as e:
            default = "all" if self.index is None else "default"
            advice = f"set net.{self.version}.conf.{default}.{self.name} to 0 beforehand, or make /proc/sys writable"
            raise OSError(e.errno, f"{e.strerror}: {advice}") from e

    def restore(self) -> None:
        """
        Set the setting to its former value. A setting of C{conf/all} stays 0, because the hardening of other interfaces
        may depend on it.

        @raise OSError: the setting cannot be changed, or the interface was deleted (C{ENODEV}).
        """
        if self.index is not None:
            self._set(self.value)

    def _set(self, value: str) -> None:
        def write() -> None:
            # The name is read now, because the interface may have been renamed.
            interface = "all" if self.index is None else _nameOf(self.index)
            with open(_path(self.version, interface, self.name), "w") as file:
                file.write(value)

        inNamespace(self.namespace, write)


def trustSettings(index: int, namespace: Namespace | None = None) -> list[TrustSetting]:
    """
    Find the settings with which the kernel trusts packets that it receives on an interface.

    @param index: the interface's index.
    @param namespace: the network namespace of the interface; C{None}: the namespace of this process.

    @return: the settings whose value is above 0.

    @raise OSError: there is no such interface (C{ENODEV}), or C{/proc/sys} is not mounted (C{ENOENT}).
    """
    return inNamespace(namespace, lambda: _trustSettings(index, namespace))


def _trustSettings(index: int, namespace: Namespace | None) -> list[TrustSetting]:
    interface = _nameOf(index)
    forwards = _read("ipv4", interface, "forwarding")
    if forwards is None:
        # Every interface has this IPv4 setting. The IPv6 settings are missing if an interface has no IPv6, for example
        # because of its MTU.
        raise OSError(errno.ENOENT, f"cannot read which packets {interface} trusts: {ROOT} is missing, mount /proc")
    found = []
    for version, names in TRUST_SETTINGS.items():
        for name in names:
            value = _read(version, interface, name)
            if value is not None and int(value) > 0:
                found.append(TrustSetting(version, name, value, index, interface, namespace))
    if forwards == "0":
        # An interface that does not forward accepts redirects if its own setting or that of "all" is set. An interface
        # that forwards accepts them only if both are set.
        value = _read("ipv4", "all", "accept_redirects")
        if value != "0":
            found.append(TrustSetting("ipv4", "accept_redirects", str(value), None, "all", namespace))
    return found


def _read(version: str, interface: str, name: str) -> str | None:
    """
    Read the value of a setting.

    @return: the value; C{None}: the kernel has no such setting for the interface.
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
        raise OSError(errno.ENODEV, f"the interface with index {index} was deleted") from e
