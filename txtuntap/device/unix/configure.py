"""
The configuration of interfaces on macOS and the BSDs: make the changes of a plan one after the other, and undo them.
Not run on a real macOS, FreeBSD, OpenBSD or NetBSD yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from zope.interface import moduleProvides

from txtuntap.device.changes import Change, making, undoing
from txtuntap.device.checks import checking
from txtuntap.device.conversation import ask, askNow, refuseNamespaces
from txtuntap.device.interfaces import IConfiguration
from txtuntap.device.pieces import Pieces
from txtuntap.device.settings import InterfaceSettings
from txtuntap.device.unix.kernel import Kernel
from txtuntap.device.unix.plan import addressChanges, checkPlatform, linkChanges, routeChanges, upOrDown
from txtuntap.device.unix.state import reading, readingAll

__all__ = ["ask", "askNow", "configuring", "moving", "restoring"]

moduleProvides(IConfiguration)


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
    # The routes come last, because they need a link that is up and has its addresses.
    changes = chain(
        linkChanges(kernel, state, settings),
        addressChanges(kernel, state, settings),
        upOrDown(kernel, state, settings),
        routeChanges(kernel, state, settings),
    )
    done = yield from making(changes, "run as root, or configure the interface before")
    if device is not None:
        # The device has read these values when it was opened.
        device.mtu = settings.mtu or device.mtu
        device.linkAddress = settings.linkAddress or device.linkAddress
    return name, state.index, done


def restoring(index: int, changes: Sequence[Change]) -> Pieces[None]:
    """
    Make the conversation for L{Configured.restore<txtuntap.device.configure.Configured.restore>}.
    """
    if index not in [each.index for each in (yield from readingAll())]:
        # The interface was deleted, and all its settings with it.
        return
    yield from undoing(changes)
