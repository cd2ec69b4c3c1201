"""
The configuration of interfaces on Windows: make the changes of a plan one after the other, and undo them. Run under
Wine with fake drivers, not on a real Windows yet.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from itertools import chain
from typing import Any

from zope.interface import moduleProvides

from txtuntap.device.changes import Change, called, making, undoing
from txtuntap.device.checks import checking
from txtuntap.device.conversation import Conversation, ask, askNow, refuseNamespaces
from txtuntap.device.interfaces import IConfiguration
from txtuntap.device.pieces import Pieces
from txtuntap.device.settings import InterfaceSettings
from txtuntap.device.windows.network import FAMILIES, Network
from txtuntap.device.windows.plan import addressChanges, checkPlatform, mtuChanges, routeChanges
from txtuntap.device.windows.state import isName, missing, readingAll

__all__ = ["ask", "askNow", "configuring", "moving", "restoring"]

moduleProvides(IConfiguration)

#: The number of seconds to wait until IPv4 and IPv6 use a new adapter, and those between two looks at it.
_PATIENCE, _PAUSE = 5.0, 0.1

#: The advice that is appended to the error of a change without privilege.
_ADVICE = "run the program as administrator, or have an administrator configure the interface before"


def moving(name: str, to: object) -> Pieces[None]:
    """
    Make the conversation for L{moveInterface<txtuntap.device.configure.moveInterface>}, which fails, because Windows
    has no network namespaces.
    """
    yield None
    refuseNamespaces()


def configuring(
    name: str, settings: InterfaceSettings, device: Any = None, namespace: object = None
) -> Conversation[tuple[str, int, tuple[Change, ...]]]:
    """
    Make the conversation for L{configureNow<txtuntap.device.configure.configureNow>}.

    @param device: the open device, whose attribute C{index} is the index of its interface; 0: the interface is found by
        the name of the device.
    """
    if device is not None:
        name = device.name
    network = called(Network, f"configure {name}")
    index = yield from _used(network, name, getattr(device, "index", 0), settings)
    state = next((each for each in (yield from readingAll()) if each.index == index), None)
    if state is None:
        raise missing(name)
    checkPlatform(state, settings)
    yield from checking(state, settings)
    # The routes come last, because they need addresses.
    changes = chain(
        mtuChanges(network, state, settings),
        addressChanges(network, state, settings),
        routeChanges(network, state, settings),
    )
    done = yield from making(changes, _ADVICE)
    if device is not None:
        # The device has read this value when it was opened.
        device.mtu = settings.mtu or device.mtu
    return state.name, index, done


def _used(network: Network, name: str, index: int, settings: InterfaceSettings) -> Conversation[int]:
    """
    Make a conversation that finds an interface, and waits until the IP versions of the settings use it. Windows has a
    new adapter a moment before these do.

    @param index: the index of the interface; 0: find it by its name.

    @return: the conversation. Its result is the index.
    """
    names = called(network.names, f"find {name}")
    found = index if index in names else next((each for each, other in names.items() if isName(name, other)), None)
    if found is None or (index and found != index):
        raise missing(name)
    wanted = [each.interface.version for each in settings.addresses]
    wanted += [6 if ":" in each.network else 4 for each in settings.routes]
    for _ in range(round(_PATIENCE / _PAUSE)):
        used = called(lambda: network.mtus(found), f"find {name}")
        lacking = [each for each in wanted if FAMILIES[each] not in used]
        if used and not lacking:
            return found
        yield _PAUSE
    version = f"IPv{lacking[0]}" if lacking else "IP"
    raise OSError(errno.EAFNOSUPPORT, f"{name} does not use {version}: enable it in the properties of the adapter")


def restoring(index: int, changes: Sequence[Change]) -> Pieces[None]:
    """
    Make the conversation for L{Configured.restore<txtuntap.device.configure.Configured.restore>}.
    """
    if index not in called(lambda: Network().names(), "find the interface"):
        # The interface was deleted, and all its settings with it.
        return
    yield from undoing(changes)
