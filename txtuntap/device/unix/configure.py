"""
The configuration of interfaces on macOS and the BSDs: make the changes of a plan one after the other, and undo them.
Not run on a real macOS, FreeBSD, OpenBSD or NetBSD yet.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

from zope.interface import moduleProvides

from txtuntap.device.checks import checking
from txtuntap.device.interfaces import IConfiguration
from txtuntap.device.pieces import Pieces
from txtuntap.device.settings import InterfaceSettings
from txtuntap.device.unix.conversation import ask, askNow, refuseNamespaces
from txtuntap.device.unix.kernel import Kernel
from txtuntap.device.unix.plan import Change, addressChanges, checkPlatform, linkChanges, routeChanges, upOrDown
from txtuntap.device.unix.state import called, reading, readingAll

__all__ = ["ask", "askNow", "configuring", "moving", "restoring"]

moduleProvides(IConfiguration)

#: The error numbers with which a kernel answers a request about an object that does not exist.
_GONE = {errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.ENXIO, errno.EADDRNOTAVAIL}

#: The error numbers of a change that only root may make.
_NOT_PERMITTED = {errno.EPERM, errno.EACCES}


def moving(name: str, to: object) -> Pieces[None]:
    """
    Make the conversation for L{moveInterface<txtuntap.device.configure.moveInterface>}, which fails, because these
    platforms have no network namespaces.
    """
    yield None
    refuseNamespaces()


def configuring(
    name: str, settings: InterfaceSettings, device: Any = None, namespace: object = None
) -> Pieces[tuple[str, int, tuple[Change, ...]]]:
    """
    Make the conversation for L{configureNow<txtuntap.device.configure.configureNow>}.
    """
    if device is not None and device.fileno() >= 0:
        name = device.name
    state = yield from reading(name)
    kernel = Kernel()
    checkPlatform(kernel, state, settings)
    yield from checking(state, settings)
    done: list[Change] = []
    try:
        # The routes come last, because they need a link that is up and has its addresses.
        for change in chain(
            linkChanges(kernel, state, settings),
            addressChanges(kernel, state, settings),
            upOrDown(kernel, state, settings),
            routeChanges(kernel, state, settings),
        ):
            _make(change)
            done.append(change)
            yield None
        # This is the last point at which a cancellation undoes the changes.
        yield None
    except (Exception, KeyboardInterrupt):
        with suppress(OSError):
            yield from restoring(state.index, done)
        raise
    if device is not None:
        # The device has read these values when it was opened.
        device.mtu = settings.mtu or device.mtu
        device.linkAddress = settings.linkAddress or device.linkAddress
    return name, state.index, tuple(done)


def _make(change: Change) -> None:
    try:
        called(change.make, change.what)
    except OSError as e:
        if e.errno in _NOT_PERMITTED:
            raise OSError(e.errno, f"{e.strerror}: run as root, or configure the interface before") from e
        raise


def restoring(index: int, changes: Sequence[Change]) -> Pieces[None]:
    """
    Make the conversation for L{Configured.restore<txtuntap.device.configure.Configured.restore>}.
    """
    if index not in [each.index for each in (yield from readingAll())]:
        # The interface was deleted, and all its settings with it.
        return
    errors: list[OSError] = []
    for change in reversed(changes):
        try:
            called(change.restore, f"undo this: {change.what}")
        except FileExistsError:
            # The kernel or another program has added the object again.
            continue
        except OSError as e:
            if e.errno not in _GONE:
                errors.append(e)
        yield None
    if errors:
        raise OSError(errors[0].errno, "; ".join(str(e.strerror) for e in errors))
