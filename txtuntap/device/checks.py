"""
The check that settings suit an interface, which is the same on all platforms.
"""

from __future__ import annotations

from itertools import compress

from txtuntap.device.pieces import Pieces, inPieces
from txtuntap.device.settings import MIN_MTU_6, InterfaceAddress, InterfaceSettings, InterfaceState


def checking(state: InterfaceState, settings: InterfaceSettings) -> Pieces[None]:
    """
    Make a conversation that checks settings against the state of an interface.

    @raise ValueError: the settings do not suit the interface.
    """
    mtu = state.mtu if settings.mtu is None else settings.mtu
    if mtu < MIN_MTU_6:
        wanted = yield from inPieces(str, (*settings.addresses, *settings.routes))
        six = next((each for each in wanted if ":" in each), None)
        if six is not None:
            raise ValueError(f"{state.name}: an MTU under {MIN_MTU_6} disables IPv6: with {mtu}, it cannot have {six}")
    if mtu < MIN_MTU_6 and settings.mtu is not None:
        lost = yield from inPieces(_isLost, state.addresses)
        present = next(compress(state.addresses, lost), None)
        if present is not None:
            raise ValueError(
                f"{state.name}: an MTU under {MIN_MTU_6} disables IPv6: with {mtu}, it would lose {present}"
            )
    if settings.linkAddress is not None and state.linkAddress is None:
        raise ValueError(f"{state.name} is a {state.kind or 'link'} without link addresses: leave out linkAddress")
    if settings.neighbours and state.kind == "tun":
        raise ValueError(f"{state.name} is a tun, and a tun has no neighbours: leave out neighbours")
    device = [name for name in ("owner", "group", "persistent", "carrier") if getattr(settings, name) is not None]
    if device and state.kind not in ("tun", "tap"):
        raise ValueError(f"{state.name} is not a TUN/TAP device: leave out {device[0]}")


def _isLost(address: InterfaceAddress) -> bool:
    """
    Whether the kernel removes an address for good when the interface's MTU becomes too small for IPv6. It adds
    link-local addresses again by itself.
    """
    return address.interface.version == 6 and not address.interface.is_link_local
