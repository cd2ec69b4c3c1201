"""
The choice of the platform's modules that open, configure, read and watch interfaces. Modules outside a platform's
folder import those within by L{platformModule}. They look at the platform only to tell Windows from UNIX, by
C{sys.platform}, because the type checker understands that.

The folders of each platform have up to six modules, and the modules of the same names beside this one call them.
C{choice} makes a device by its name. C{configure} provides
L{IConfiguration<txtuntap.device.interfaces.IConfiguration>}, C{state} provides
L{IReading<txtuntap.device.interfaces.IReading>}, and C{monitor} provides
L{IWatching<txtuntap.device.interfaces.IWatching>}. C{clockstep} corrects timers when the wall clock is set. C{leasing}
opens and deletes the devices of the helper.
"""

from __future__ import annotations

import errno
import sys
from importlib import import_module
from typing import Any, NoReturn

#: The names of the folders beside this module, for each C{sys.platform} without the version that some platforms append.
#: A module is looked for in each folder, in this order.
FOLDERS: dict[str, tuple[str, ...]] = {
    "linux": ("linux",),
    "darwin": ("darwin", "unix"),
    "freebsd": ("bsd", "unix"),
    "openbsd": ("bsd", "unix"),
    "netbsd": ("bsd", "unix"),
    "win32": ("windows",),
}

#: The error of a platform without each module.
_ABILITIES = {
    "leasing": "there is no helper on {platform}, only on {others}: give the program a descriptor in place of it",
    "choice": "TUN and TAP devices cannot be opened by name on {platform}, only on {others}: give a device of your own",
    "clockstep": "timers are not corrected on {platform} after the wall clock was set",
}
_CONFIGURATION = "interfaces cannot be configured, read or watched on {platform} yet, only on {others}"


def platformName() -> str:
    """
    The name of this platform: C{sys.platform} without the version that FreeBSD, OpenBSD and NetBSD append.
    """
    return next((name for name in FOLDERS if sys.platform.startswith(name)), sys.platform)


def platformModule(name: str) -> Any:
    """
    Import a module from the folders of this platform, unless it is imported already.

    @param name: C{"choice"}, C{"configure"}, C{"state"}, C{"monitor"}, C{"clockstep"} or C{"leasing"}; after
        L{requireLinux}, also another module of Linux's folder.

    @raise OSError: this platform has no folder with such a module (C{ENOTSUP}).
    """
    platform = platformName()
    for folder in FOLDERS.get(platform, ()):
        path = f"{__package__}.{folder}.{name}"
        try:
            return import_module(path)
        except ModuleNotFoundError as e:
            # Another missing module is a defect, or a dependency that is not installed.
            if e.name not in (path, f"{__package__}.{folder}"):
                raise
    others = ", ".join(each for each in FOLDERS if each != platform)
    text = _ABILITIES.get(name, _CONFIGURATION).format(platform=platform, others=others)
    raise OSError(errno.ENOTSUP, text)


def importEarly(name: str) -> None:
    """
    Import a module from the folders of this platform before the reactor runs, if there is such a module. The import can
    block the process for longer than a running reactor may wait: on Linux, it imports pyroute2.

    @param name: C{"configure"}, C{"state"} or C{"monitor"}.
    """
    try:
        platformModule(name)
    except OSError:
        # The error is raised again when the module is used.
        return


def requireLinux(what: str, instead: str) -> None:
    """
    Check that this platform is Linux, because a thing exists nowhere else.

    @param what: the subject of the error's text, such as C{"--netns"}.
    @param instead: the advice on other platforms.

    @raise OSError: this is another platform (C{ENOTSUP}).
    """
    requirePlatform("linux", what, instead)


def requirePlatform(platform: str, what: str, instead: str) -> None:
    """
    Check that this is a certain platform, because a thing exists nowhere else.

    @param platform: C{"linux"} or C{"win32"}.
    @param what: the subject of the error's text.
    @param instead: the advice on other platforms.

    @raise OSError: this is another platform (C{ENOTSUP}).
    """
    if platformName() != platform:
        only = {"linux": "Linux", "win32": "Windows"}[platform]
        raise OSError(errno.ENOTSUP, f"{what}: only {only} has that, and this is {platformName()}: {instead}")


if sys.platform == "win32":
    # The type checker takes the code behind a call of this function as unreachable on Windows.
    def requireUNIX(what: str, instead: str) -> NoReturn:
        """
        Refuse a thing that Windows, or Python on Windows, does not have.
        """
        raise OSError(errno.ENOTSUP, f"{what}: Windows has no such thing: {instead}")
else:

    def requireUNIX(what: str, instead: str) -> None:
        """
        Check that this platform is not Windows, because Windows, or Python on Windows, lacks a thing.

        @param what: the subject of the error's text, such as C{"a control socket"}.
        @param instead: the advice on Windows.

        @raise OSError: this is Windows (C{ENOTSUP}).
        """


def runDirectory() -> str:
    """
    The directory of sockets that belong to the system's services.
    """
    return "/run" if platformName() == "linux" else "/var/run"
