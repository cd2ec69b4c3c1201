"""
The configuration of interfaces on Linux: make the changes of a plan one after the other, and undo them. A change is a
request through rtnetlink, an ioctl on the device's descriptor, or a write to C{/proc/sys}.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING

import attrs
from zope.interface import moduleProvides

from txtuntap.device.checks import checking
from txtuntap.device.interfaces import IConfiguration
from txtuntap.device.linux.change import Change
from txtuntap.device.linux.entries import addressChanges, neighbourChanges, presentRoutes, readRoutes, routeChanges
from txtuntap.device.linux.link import nameOf
from txtuntap.device.linux.namespace import Namespace, openNamespace
from txtuntap.device.linux.netlink import Conversation, Request, ask, askNow, dump, get, new
from txtuntap.device.linux.plan import deviceChanges, hardeningChanges, linkChanges, upOrDown
from txtuntap.device.linux.state import buildingState, finding
from txtuntap.device.pieces import ITEMS_PER_TURN
from txtuntap.device.settings import InterfaceSettings

if TYPE_CHECKING:
    from txtuntap.device.linux.device import LinuxDevice

__all__ = ["ask", "askNow", "configuring", "moving", "restoring"]

moduleProvides(IConfiguration)

#: The error numbers with which the kernel answers a request to delete an object that does not exist.
_GONE = {errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL}


def moving(name: str, to: Namespace) -> Conversation[None]:
    """
    Make the conversation for L{moveInterface<txtuntap.device.configure.moveInterface>}.
    """
    link = yield from finding(name)
    descriptor = openNamespace(to)
    try:
        what = f"move {name} to the network namespace {to}"
        yield new("link", what, 0, index=link["index"], IFLA_NET_NS_FD=descriptor)
    finally:
        os.close(descriptor)


def configuring(
    name: str, settings: InterfaceSettings, device: LinuxDevice | None = None, namespace: Namespace | None = None
) -> Conversation[tuple[str, int, tuple[Change, ...]]]:
    """
    Make the conversation for L{configureNow<txtuntap.device.configure.configureNow>}.
    """
    if device is not None and device.fileno() >= 0:
        name = _currentName(device)
    link = yield from finding(name)
    index = link["index"]
    addresses = yield dump("address", f"read the addresses of {name}", index=index)
    state = yield from buildingState(link, addresses)
    goesDown = settings.up is False and state.up
    routes = (yield from readRoutes(state)) if goesDown else []
    neighbours = []
    if settings.neighbours or goesDown:
        neighbours = yield dump("neighbour", f"read the neighbours of {name}", NDA_IFINDEX=index)
    yield from checking(state, settings)
    # Persistence is cleared last, because closing the descriptor may then delete the device.
    first, last = (["persistent"], []) if settings.persistent else ([], ["persistent"])
    done: list[Change] = []
    try:
        changes = chain(
            deviceChanges(state, settings, device, namespace, [*first, "owner", "group", "carrier"]),
            linkChanges(state, settings),
            # Hardening comes after a larger MTU, which may enable IPv6 with its default settings. It comes before the
            # link is set up, which is when packets begin to arrive.
            hardeningChanges(state, settings, namespace),
            addressChanges(state, settings),
            # The remaining changes need a link that is up.
            upOrDown(state, settings, [*addresses, *routes, *neighbours]),
        )
        yield from _making(changes, done)
        # The routes are read now, because the kernel has added routes by itself for the new addresses.
        present = (yield from presentRoutes(state)) if settings.routes else set()
        changes = chain(
            routeChanges(state, settings, present),
            neighbourChanges(state, settings, neighbours),
            deviceChanges(state, settings, device, namespace, last),
        )
        yield from _making(changes, done)
        # This is the last point at which a cancellation undoes the changes.
        yield None
    except (Exception, KeyboardInterrupt):
        with suppress(OSError):
            yield from restoring(index, done)
        raise
    if device is not None:
        # The device has read these values when it was opened.
        device.mtu = settings.mtu or device.mtu
        device.linkAddress = settings.linkAddress or device.linkAddress
    return name, index, tuple(done)


def _making(changes: Iterable[Change | None], done: list[Change]) -> Conversation[None]:
    """
    Make changes one after the other.

    @param changes: the changes, and C{None} for each object that was examined and needs no change. After many of these,
        the conversation pauses.
    @param done: a list to which each change is appended once it is made.
    """
    unchanged = 0
    for change in changes:
        if change is None:
            unchanged += 1
            if unchanged % ITEMS_PER_TURN == 0:
                yield None
            continue
        if isinstance(change.make, Request):
            try:
                yield change.make
            except FileExistsError:
                if change.isThere is None or not (yield from change.isThere()):
                    raise
                continue
            except PermissionError as e:
                raise PermissionError(e.errno, f"{e.strerror}{change.advice}") from e
        else:
            _call(change.make, change.what)
        done.append(change)


def restoring(index: int, changes: Sequence[Change]) -> Conversation[None]:
    """
    Make the conversation for L{Configured.restore<txtuntap.device.configure.Configured.restore>}.
    """
    try:
        yield get("link", "find the interface", index=index)
    except OSError:
        # The interface was deleted, and all its settings with it.
        return
    errors: list[OSError] = []
    for change in reversed(changes):
        what = f"undo this: {change.what}"
        for step in change.restore:
            try:
                if isinstance(step, Request):
                    yield attrs.evolve(step, what=what)
                else:
                    _call(step, what)
            except FileExistsError:
                # The kernel or another program has added the object again.
                continue
            except OSError as e:
                if e.errno not in _GONE:
                    errors.append(e)
    if errors:
        raise OSError(errors[0].errno, "; ".join(str(e.strerror) for e in errors))


def _call(call: Callable[[], object], what: str) -> None:
    try:
        call()
    except OSError as e:
        raise OSError(e.errno, f"cannot {what}: {e.strerror}") from e


def _currentName(device: LinuxDevice) -> str:
    """
    Find the present name of an open device's interface. The interface may have been renamed, and another interface may
    have its former name.
    """
    try:
        return nameOf(device.fileno())
    except OSError as e:
        raise OSError(e.errno, f"cannot find {device.name}: its interface was deleted, or it is not attached") from e
