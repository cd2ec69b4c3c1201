"""
The plan of a configuration: the changes of an interface's device and its link that are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import attrs

from txtuntap.device import TAP, TUN
from txtuntap.device.linux.change import Change
from txtuntap.device.linux.entries import restoration
from txtuntap.device.linux.hardening import trustSettings
from txtuntap.device.linux.namespace import Namespace
from txtuntap.device.linux.netlink import Message, Request, new
from txtuntap.device.linux.state import IFF_UP
from txtuntap.device.settings import InterfaceSettings, InterfaceState
from txtuntap.wire.address import linkAddressText

if TYPE_CHECKING:
    from txtuntap.device.linux.device import LinuxDevice


def deviceChanges(
    state: InterfaceState,
    settings: InterfaceSettings,
    device: LinuxDevice | None,
    namespace: Namespace | None,
    names: list[str],
) -> Iterator[Change]:
    for name in names:
        wanted, before = getattr(settings, name), getattr(state, name)
        if wanted is not None and wanted != before:
            what = f"set the {name} setting of {state.name} to {wanted}"
            if name == "carrier" and (device is None or device.fileno() < 0):
                # Without an open descriptor, rtnetlink sets the carrier. A descriptor opened only for this would end
                # the carrier when it is closed.
                carrier = _linkChange(state, what, {"IFLA_CARRIER": wanted}, {"IFLA_CARRIER": before})
                yield attrs.evolve(carrier, advice=": this needs privilege, and a program that has the device open")
                continue
            method = f"set{name.capitalize()}"
            # The kernel can change an owner but not remove it. If there was none before, the new one stays.
            make, restore = (
                _onDevice(state, device, namespace, method, value)
                for value in (wanted, wanted if before is None else before)
            )
            yield Change(what, make, (restore,))


def _onDevice(
    state: InterfaceState, device: LinuxDevice | None, namespace: Namespace | None, method: str, value: Any
) -> Callable[[], None]:
    """
    Make a function that calls a method of the device. If C{device} is not open, the function opens the device for this
    call.
    """

    def call() -> None:
        from txtuntap.device.linux.device import LinuxDevice

        if device is not None and device.fileno() >= 0:
            getattr(device, method)(value)
            return
        opened = LinuxDevice(state.name, TAP if state.kind == "tap" else TUN, namespace=namespace)
        opened.openAsItIs(state)
        with opened:
            getattr(opened, method)(value)

    return call


def linkChanges(state: InterfaceState, settings: InterfaceSettings) -> Iterator[Change]:
    link = None if settings.linkAddress is None else linkAddressText(settings.linkAddress)
    before = None if state.linkAddress is None else linkAddressText(state.linkAddress)
    for attribute, word, old, wanted in (
        ("IFLA_MTU", "MTU", state.mtu, settings.mtu),
        ("IFLA_ADDRESS", "link address", before, link),
        ("IFLA_TXQLEN", "txqueuelen", state.txqueuelen, settings.txqueuelen),
    ):
        if wanted is not None and wanted != old:
            yield _linkChange(
                state, f"set the {word} of {state.name} to {wanted}", {attribute: wanted}, {attribute: old}
            )


def hardeningChanges(
    state: InterfaceState, settings: InterfaceSettings, namespace: Namespace | None
) -> Iterator[Change]:
    for each in trustSettings(state.index, namespace) if settings.hardened else ():
        yield Change(f"set {each} from {each.value} to 0", each.clear, (each.restore,), hardens=True)


def upOrDown(state: InterfaceState, settings: InterfaceSettings, messages: list[Message]) -> Iterator[Change | None]:
    if settings.up is not None and settings.up != state.up:
        to, back = ({"flags": IFF_UP * up, "change": IFF_UP} for up in (settings.up, state.up))
        what = f"set {state.name} {'up' if settings.up else 'down'}"
        # The kernel removes these addresses, routes and neighbours when the link is set down: by this change, or when
        # the change is undone.
        lost = []
        for each in messages:
            again = restoration(each, what)
            if again is not None:
                lost.append(again)
            yield None
        make, restore = (new("link", what, 0, index=state.index, **fields) for fields in (to, back))
        yield Change(what, make, (restore, *lost))


def _linkChange(state: InterfaceState, what: str, to: dict[str, Any], back: dict[str, Any]) -> Change:
    def change(fields: dict[str, Any]) -> Request:
        return new("link", what, 0, index=state.index, **fields)

    return Change(what, change(to), (change(back),))
