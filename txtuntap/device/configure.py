"""
The configuration of interfaces: apply settings to an interface, and restore its former settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred

from txtuntap.device.platform import importEarly, platformModule
from txtuntap.device.settings import InterfaceAddress, InterfaceSettings
from txtuntap.mistakes import checkKind

if TYPE_CHECKING:
    from txtuntap.device.interfaces import IChange, IConfiguration
    from txtuntap.device.linux.namespace import Namespace
    from txtuntap.interfaces import IDevice

importEarly("configure")


def _platform() -> IConfiguration:
    platform: IConfiguration = platformModule("configure")
    return platform


@attrs.frozen
class Configured:
    """
    A record of the changes that were made to an interface, with which they can be undone.

    @ivar name: the interface's name.
    @ivar index: the interface's index.
    @ivar namespace: the network namespace of the interface; C{None}: the namespace of this process.
    """

    name: str
    index: int
    namespace: Namespace | None
    _changes: tuple[IChange, ...]

    @property
    def changes(self) -> list[str]:
        """
        A description of each change in words, in the order in which they were made.
        """
        return [change.what for change in self._changes]

    def restore(self, reactor: Any = None, staysHardened: bool = False) -> Deferred[None]:
        """
        Remove what was added to the interface, and set each changed setting to its former value. Things that are gone
        by now are skipped. If the interface was set down, its IPv6 addresses, routes and neighbours are added again.
        Entries that the kernel had learnt, and routes with several gateways, are not added again.

        @param reactor: the reactor; C{None}: the installed one.
        @param staysHardened: whether the interface stays hardened, because a program may still write packets into it.

        @return: fires when all changes are undone; fails with what L{restoreNow} raises.
        """
        changes = [each for each in self._changes if not (staysHardened and each.hardens)]
        platform = _platform()
        return platform.ask(reactor, platform.restoring(self.index, changes), self.namespace)

    def restoreNow(self) -> None:
        """
        Do what L{restore} does, and block until the kernel has answered.

        @raise OSError: the kernel refused to undo some changes, for example because the process has dropped its
            privileges. The text names each of these changes. The other changes were undone.
        """
        platform = _platform()
        platform.askNow(platform.restoring(self.index, self._changes), self.namespace)


def configureInterface(
    name: str,
    addresses: Iterable[str | InterfaceAddress] = (),
    neighbours: Mapping[str, str | bytes] | None = None,
    device: IDevice | None = None,
    namespace: Namespace | None = None,
    **settings: Any,
) -> Configured:
    """
    Call L{configureNow} with settings made from the arguments. The arguments other than C{name}, C{device} and
    C{namespace} are fields of L{InterfaceSettings}.

    @raise ValueError: a setting is not valid, or does not suit the interface.
    @raise OSError: the kernel refused a change: see L{configureNow}.
    """
    try:
        asked = InterfaceSettings(addresses=addresses, neighbours=neighbours or {}, **settings)
    except ValueError as e:
        raise ValueError(f"{name}: {e}") from e
    return configureNow(name, asked, device, namespace)


def configureNow(
    name: str, settings: InterfaceSettings, device: IDevice | None = None, namespace: Namespace | None = None
) -> Configured:
    """
    Apply settings to an interface, and block until the kernel has answered. A setting that has its value already is
    left alone, and needs no privilege. If the kernel refuses a change, the changes before it are undone.

    Use this before the reactor runs (in C{privilegedStartService}), and L{configure} afterwards.

    @param name: the interface's name.
    @param device: the interface's device, if this process has it open; its interface is configured even if it was
        renamed. Owner, group, persistence and carrier are set through its descriptor. A device made without
        C{multiQueue} cannot be opened a second time for that.
    @param namespace: the network namespace of the interface; C{None}: the namespace of C{device}, or else of this
        process.

    @return: the changes that were made.

    @raise ValueError: a setting does not suit the interface, such as neighbours on a tun.
    @raise OSError: the kernel refused a change; the text names the interface, the setting and the reason. Or interfaces
        cannot be configured on this platform (C{ENOTSUP}).
    """
    namespace = _checked(settings, device, namespace)
    platform = _platform()
    found = platform.askNow(platform.configuring(name, settings, device, namespace), namespace)
    return _configured(found, namespace)


def configure(
    name: str,
    settings: InterfaceSettings,
    device: IDevice | None = None,
    reactor: Any = None,
    namespace: Namespace | None = None,
) -> Deferred[Configured]:
    """
    Apply settings to an interface as L{configureNow} does, without blocking. This works on every reactor.

    @param reactor: the reactor; C{None}: the installed one.

    @return: fires with a L{Configured}; fails with what L{configureNow} raises.
    """
    namespace = _checked(settings, device, namespace)
    platform = _platform()
    asked = platform.ask(reactor, platform.configuring(name, settings, device, namespace), namespace)
    return asked.addCallback(_configured, namespace)


def _checked(settings: object, device: IDevice | None, namespace: Namespace | None) -> Namespace | None:
    """
    Check the settings' type, and return the network namespace of the interface.
    """
    checkKind(settings, InterfaceSettings, "settings", "InterfaceSettings(addresses=['10.0.0.1/24'])")
    return getattr(device, "namespace", None) if namespace is None else namespace


def _configured(found: tuple[str, int, tuple[IChange, ...]], namespace: Namespace | None) -> Configured:
    name, index, changes = found
    return Configured(name, index, namespace, changes)


def moveInterface(name: str, to: Namespace, namespace: Namespace | None = None) -> None:
    """
    Move an interface to another network namespace, and block until the kernel has answered. The move sets the interface
    down and removes its addresses and routes. A program that has the device open can use it as before.

    @param to: the namespace to move the interface to.
    @param namespace: the namespace that the interface is in; C{None}: the namespace of this process.

    @raise OSError: the kernel refused, or there is no such interface or namespace.
    """
    platform = _platform()
    platform.askNow(platform.moving(name, to), namespace)


def move(name: str, to: Namespace, reactor: Any = None, namespace: Namespace | None = None) -> Deferred[None]:
    """
    Move an interface as L{moveInterface} does, without blocking.

    @return: fires when the interface has moved; fails with what L{moveInterface} raises.
    """
    platform = _platform()
    return platform.ask(reactor, platform.moving(name, to), namespace)
