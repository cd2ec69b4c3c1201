"""
The adapters of tap-windows6 in Windows' registry. Run under Wine with fake drivers, not on a real Windows yet.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any

import attrs

#: The class of network adapters (C{GUID_DEVCLASS_NET}).
NETWORK_CLASS = "{4D36E972-E325-11CE-BFC1-08002BE10318}"

#: The keys of the drivers' instances, and of the connections by the identity of their adapters.
DRIVERS = rf"SYSTEM\CurrentControlSet\Control\Class\{NETWORK_CLASS}"
CONNECTIONS = rf"SYSTEM\CurrentControlSet\Control\Network\{NETWORK_CLASS}"

#: The driver's names: that of tap-windows6 in both of its forms, and that of version 8.
COMPONENTS = frozenset(("tap0901", "root\\tap0901", "tap0801", "root\\tap0801"))

#: The most instances of drivers that are read.
MAX_INSTANCES = 4096

_GUID = re.compile(r"\{[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\}")


@attrs.frozen
class TapAdapter:
    """
    An adapter of tap-windows6.

    @ivar name: the name of its interface, which the user may change.
    @ivar guid: the text of its identity, in braces.
    @ivar component: the name of its driver.
    """

    name: str
    guid: str
    component: str

    @property
    def path(self) -> str:
        """
        The path of the adapter's device.
        """
        return rf"\\.\Global\{self.guid}.tap"


def realRegistry() -> Any:
    """
    Return the module C{winreg}.

    @raise OSError: this is not Windows.
    """
    try:
        return import_module("winreg")
    except ModuleNotFoundError as e:
        raise OSError(errno.ENOTSUP, "only Windows has a registry") from e


def tapAdapters(registry: Any) -> list[TapAdapter]:
    """
    List the adapters of tap-windows6, in the order of the registry. Keys that this user may not read are skipped.

    @param registry: the module C{winreg}, or a replacement.
    """
    found = []
    for instance in _subkeys(registry, DRIVERS):
        path = rf"{DRIVERS}\{instance}"
        component = _text(registry, path, "ComponentId")
        guid = _text(registry, path, "NetCfgInstanceId")
        if component is None or component.lower() not in COMPONENTS or guid is None or not _GUID.fullmatch(guid):
            continue
        name = _text(registry, rf"{CONNECTIONS}\{guid}\Connection", "Name")
        if name:
            found.append(TapAdapter(name, guid, component.lower().removeprefix("root\\")))
    return found


def _subkeys(registry: Any, path: str) -> Iterator[str]:
    """
    Find the names of the keys below a key.
    """
    with suppress(OSError), registry.OpenKey(registry.HKEY_LOCAL_MACHINE, path) as key:
        for number in range(MAX_INSTANCES):
            # After the last key, this raises an OSError.
            yield registry.EnumKey(key, number)


def _text(registry: Any, path: str, name: str) -> str | None:
    """
    Read a text; C{None}: there is none, or this user may not read it.
    """
    try:
        with registry.OpenKey(registry.HKEY_LOCAL_MACHINE, path) as key:
            value, _ = registry.QueryValueEx(key, name)
    except OSError:
        return None
    return value if isinstance(value, str) else None
