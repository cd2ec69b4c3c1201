"""
The configuration file of WireGuard as the value of an option.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import attrs
from twisted.python.usage import UsageError

from txtuntap.layer.prefixes import Network

if TYPE_CHECKING:
    from txtuntap.wireguard.configuration import Configuration

#: The MTU of an interface whose file sets none: that of Ethernet, less the headers of IPv6, UDP and WireGuard.
DEFAULT_MTU = 1420

#: The value of C{Table} with which the service chooses the tables of routes.
AUTO: Final = "auto"

#: The row of C{optFlags} for the option about commands in the file.
IGNORE_HOOKS: Final = ["ignore-hooks", None, "Take a file with PreUp, PostUp, PreDown or PostDown. They are not run."]


@attrs.frozen(kw_only=True)
class WireGuardSettings:
    """
    The settings of WireGuard in a service.

    @ivar configuration: the contents of the file.
    @ivar path: the absolute path of the file; C{None}: there is none.
    @ivar warnings: sentences about the file, which the service logs.
    """

    configuration: Configuration
    path: str | None = None
    warnings: tuple[str, ...] = ()


def requireWireGuard() -> None:
    """
    Check that the packages are installed that WireGuard needs and other services do not need.

    @raise UsageError: one is missing. The text says how to install it.
    """
    try:
        import txtuntap.wireguard.needs  # noqa: F401
    except ImportError as e:
        raise UsageError(str(e)) from e


def readConfiguration(path: str, ignoresHooks: bool) -> WireGuardSettings:
    """
    Read a configuration file.

    @param ignoresHooks: whether a file with commands to run is taken. They are never run.

    @raise UsageError: the file cannot be read, is wrong, or has commands to run and C{ignoresHooks} is false.
    """
    from txtuntap.wireguard.configuration import Configuration, ConfigurationError

    # The service may have another working directory when it writes the file.
    path = os.path.abspath(path)
    warnings = []
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            if _othersMayRead(file.fileno(), path):
                warnings.append(f"{path} has a private key, and every user may read it: chmod o-rwx {path}")
            configuration = Configuration.of(file.read())
    except OSError as e:
        raise UsageError(f"{path}: {e.strerror}") from e
    except ConfigurationError as e:
        raise UsageError(f"{path}, {e}") from e
    if configuration.hooks:
        hooks = ", ".join(dict.fromkeys(configuration.hooks))
        if not ignoresHooks:
            text = f"{path} has commands to run ({hooks}), which are never run here"
            raise UsageError(f"{text}: take them out, or give --ignore-hooks")
        warnings.append(f"{path} has commands that were not run: {hooks}")
        if configuration.saveConfig:
            configuration.saveConfig = False
            warnings.append(f"{path}: SaveConfig is ignored, because the file would lose its commands")
    return WireGuardSettings(configuration=configuration, path=path, warnings=tuple(warnings))


def _othersMayRead(descriptor: int, path: str) -> bool:
    """
    Whether every user may open a file: both the file and its directory permit it.
    """
    if sys.platform == "win32":
        # The mode of a file says nothing about its users there.
        return False
    file, directory = os.fstat(descriptor).st_mode, os.stat(os.path.dirname(path)).st_mode
    return bool(file & stat.S_IROTH and directory & stat.S_IXOTH)


def allowedNetworks(configuration: Configuration) -> Iterator[Network]:
    """
    Yield the networks of all peers, each once.
    """
    yield from dict.fromkeys(network for peer in configuration.peers for network in peer.allowed)
