"""
An interface brought to its settings, and restored to what it was before.
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
    from txtuntap.device.linux.device import LinuxDevice
    from txtuntap.device.linux.namespace import Namespace

importEarly("configure")


def _platform() -> IConfiguration:
    platform: IConfiguration = platformModule("configure")
    return platform


@attrs.frozen
class Configured:
    """
    The changes that were made to an interface, so that they can be restored.

    @ivar name: of the interface.
    @ivar index: its number.
    @ivar namespace: the network namespace that it is in; L{None}: this one.
    """

    name: str
    index: int
    namespace: Namespace | None
    _changes: tuple[IChange, ...]

    @property
    def changes(self) -> list[str]:
        """
        The changes in words, in the order in which they were made.
        """
        return [change.what for change in self._changes]

    def restore(self, reactor: Any = None, staysHardened: bool = False) -> Deferred[None]:
        """
        Take away what was added, and put back what was changed, as far as it is still there. If the interface was set
        down, its IPv6 addresses, routes and neighbours come back, but for those that it had learnt or that lead to
        several gateways.

        @param staysHardened: leave it hardened, because a program may still write packets into it.

        @return: fires when that is done; fails with what L{restoreNow} raises.
        """
        changes = [each for each in self._changes if not (staysHardened and each.hardens)]
        platform = _platform()
        return platform.ask(reactor, platform.restoring(self.index, changes), self.namespace)

    def restoreNow(self) -> None:
        """
        As L{restore}. Waits for the kernel's answers.

        @raise OSError: the kernel refused some of it, because privileges have been dropped, say; the text has all that
            was left as it is. The rest is restored.
        """
        platform = _platform()
        platform.askNow(platform.restoring(self.index, self._changes), self.namespace)


def configureInterface(
    name: str,
    addresses: Iterable[str | InterfaceAddress] = (),
    neighbours: Mapping[str, str | bytes] | None = None,
    device: LinuxDevice | None = None,
    namespace: Namespace | None = None,
    **settings: Any,
) -> Configured:
    """
    L{configureNow}, with the fields of an L{InterfaceSettings} for arguments.

    @raise ValueError: a setting cannot be.
    @raise OSError: the kernel refused.
    """
    try:
        asked = InterfaceSettings(addresses=addresses, neighbours=neighbours or {}, **settings)
    except ValueError as e:
        raise ValueError(f"{name}: {e}") from e
    return configureNow(name, asked, device, namespace)


def configureNow(
    name: str, settings: InterfaceSettings, device: LinuxDevice | None = None, namespace: Namespace | None = None
) -> Configured:
    """
    Bring an interface to its settings. A setting that it has already is left alone, and takes no privilege. If
    something is refused, what was changed before is restored.

    Waits for the kernel's answers: for where no reactor runs yet (C{privilegedStartService}). L{configure} does not.

    @param device: the device, where it is open here: owner, group, persistence and carrier are set by its descriptor,
        and nobody else can open one that was not made with C{multiQueue}. Its interface counts, whatever that is called
        now.
    @param namespace: the network namespace that the interface is in; L{None}: that of the device, or else this one.

    @raise ValueError: a setting does not go with the interface.
    @raise OSError: the kernel refused; the text names the interface, the setting and the reason. Or this platform's
        interfaces cannot be configured (C{ENOTSUP}).
    """
    namespace = _checked(settings, device, namespace)
    platform = _platform()
    found = platform.askNow(platform.configuring(name, settings, device, namespace), namespace)
    return _configured(found, namespace)


def configure(
    name: str,
    settings: InterfaceSettings,
    device: LinuxDevice | None = None,
    reactor: Any = None,
    namespace: Namespace | None = None,
) -> Deferred[Configured]:
    """
    As L{configureNow}, without waiting, on every reactor.

    @return: fires with a L{Configured}; fails with what L{configureNow} raises.
    """
    namespace = _checked(settings, device, namespace)
    platform = _platform()
    asked = platform.ask(reactor, platform.configuring(name, settings, device, namespace), namespace)
    return asked.addCallback(_configured, namespace)


def _checked(settings: object, device: LinuxDevice | None, namespace: Namespace | None) -> Namespace | None:
    """
    Check the settings, and tell which network namespace the interface is in.
    """
    checkKind(settings, InterfaceSettings, "settings", "InterfaceSettings(addresses=['10.0.0.1/24'])")
    return device.namespace if namespace is None and device is not None else namespace


def _configured(found: tuple[str, int, tuple[IChange, ...]], namespace: Namespace | None) -> Configured:
    name, index, changes = found
    return Configured(name, index, namespace, changes)


def moveInterface(name: str, to: Namespace, namespace: Namespace | None = None) -> None:
    """
    Move an interface to another network namespace. There it is down, and without addresses and routes; whoever has the
    device open goes on with it.

    @param to: where to.
    @param namespace: where it is; L{None}: here.

    @raise OSError: the kernel refused, or there is no such interface or namespace.
    """
    platform = _platform()
    platform.askNow(platform.moving(name, to), namespace)


def move(name: str, to: Namespace, reactor: Any = None, namespace: Namespace | None = None) -> Deferred[None]:
    """
    As L{moveInterface}, without waiting.
    """
    platform = _platform()
    return platform.ask(reactor, platform.moving(name, to), namespace)
