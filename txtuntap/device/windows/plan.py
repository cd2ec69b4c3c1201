"""
The plan of a configuration on Windows: the changes of an interface that are needed. Run under Wine with fake drivers,
not on a real Windows yet.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import attrs

from txtuntap.device.changes import Change, called
from txtuntap.device.settings import MIN_MTU_6, InterfaceAddress, InterfaceRoute, InterfaceSettings, InterfaceState
from txtuntap.device.windows.iphlpapi import AF_INET, AF_INET6
from txtuntap.device.windows.network import Network, Route

#: The means to use instead of each setting that Windows lacks.
_INSTEAD = {
    "linkAddress": "leave it out, and set it in the properties of the adapter",
    "txqueuelen": "leave it out",
    "owner": "leave it out",
    "group": "leave it out",
    "persistent": "leave it out: a Wintun adapter ends with its program, and a tap adapter stays",
    "carrier": "leave it out: the link has a carrier while the device is open",
    "hardened": "leave it out, and set routerdiscovery=disabled with 'netsh interface ipv6 set interface'",
}


def checkPlatform(state: InterfaceState, settings: InterfaceSettings) -> None:
    """
    Check that Windows has each of the settings.

    @raise OSError: Windows lacks a setting (C{ENOTSUP}). The text says what to do instead.
    """

    def refuse(what: str, instead: str) -> None:
        raise OSError(errno.ENOTSUP, f"{state.name}: Windows has no setting for {what}: {instead}")

    for name, instead in _INSTEAD.items():
        if getattr(settings, name) not in (None, getattr(state, name, None)):
            refuse(name, instead)
    if settings.up is False and state.up:
        refuse("up=False here", "leave it out, and close the device")
    if settings.up and not state.up:
        refuse("up here", f"leave it out, and use 'netsh interface set interface \"{state.name}\" admin=enabled'")
    if settings.neighbours:
        refuse("neighbours here", "leave them out, and use 'netsh interface ipv4 add neighbors'")
    for route in settings.routes:
        if route.source is not None:
            refuse("the source of a route", "leave it out")
        if route.table is not None:
            refuse("the table of a route", "leave it out")
    for address in settings.addresses:
        if address.broadcast not in (None, str(address.interface.network.broadcast_address)):
            refuse("a broadcast address", f"leave it out of {address}")


def mtuChanges(network: Network, state: InterfaceState, settings: InterfaceSettings) -> Iterator[Change]:
    """
    Plan the changes of the MTU, which Windows has for IPv4 and for IPv6. The MTU of IPv6 is never set to less than 1280
    octets, which Windows refuses.
    """
    mtu, index = settings.mtu, state.index
    present = {} if mtu is None else called(lambda: network.mtus(index), f"read the MTU of {state.name}")
    for family, version in (AF_INET, 4), (AF_INET6, 6):
        before = present.get(family)
        if mtu is None or before in (None, mtu) or (version == 6 and mtu < MIN_MTU_6):
            continue

        def change(value: int = mtu, family: int = family) -> None:
            network.setMTU(index, family, value)

        def restore(value: int = before or 0, family: int = family) -> None:
            network.setMTU(index, family, value)

        yield Change(f"set the IPv{version} MTU of {state.name} to {mtu}", change, restore)


def addressChanges(network: Network, state: InterfaceState, settings: InterfaceSettings) -> Iterator[Change]:
    """
    Plan the changes that add the missing addresses. Windows has an address once on an interface. So an address that is
    present with another prefix length is removed first.
    """
    present = {each.interface.ip: each for each in state.addresses}
    for asked in settings.addresses:
        own = asked.interface.ip
        address = InterfaceAddress(asked.address if asked.peer is None else f"{own}/{own.max_prefixlen}")
        former = present.get(own)
        if former == address:
            continue
        if former is not None:
            yield _withAddress(network, state, former, False)
        yield _withAddress(network, state, address, True)
        present[own] = address


def _withAddress(network: Network, state: InterfaceState, address: InterfaceAddress, added: bool) -> Change:
    index = state.index

    def add() -> None:
        try:
            network.addAddress(index, address)
        except FileExistsError as e:
            other = _owner(network, address)
            raise OSError(e.errno, f"{e.strerror}: {other} has this address: remove it there first") from e

    def remove() -> None:
        network.deleteAddress(index, address)

    if added:
        return Change(f"add the address {address} to {state.name}", add, remove)
    return Change(f"remove the address {address} from {state.name}", remove, add)


def _owner(network: Network, address: InterfaceAddress) -> str:
    own = address.interface.ip
    owners = [each.name for each in network.states() if own in [one.interface.ip for one in each.addresses]]
    return owners[0] if owners else "an interface that is disconnected"


def routeChanges(network: Network, state: InterfaceState, settings: InterfaceSettings) -> Iterator[Change]:
    """
    Plan the changes that add the missing routes. Windows adds a route to the network of each address by itself. The
    routes to the networks of peers are added by these changes.
    """
    peers = [InterfaceRoute(str(each.destinations)) for each in settings.addresses if each.peer is not None]
    wanted = dict.fromkeys([*peers, *settings.routes])
    if not wanted:
        return
    # The routes are read now, because Windows has added some for the new addresses.
    found = called(network.routes, f"read the routes of {state.name}")
    present = {(each.network, each.gateway): each for each in found if each.index == state.index}
    for asked in wanted:
        destination = ip_network(asked.network)
        gateway = None if asked.gateway is None else ip_address(asked.gateway)
        former = present.get((destination, gateway))
        if former is not None and asked.metric in (None, former.metric):
            continue
        route = Route(state.index, destination, gateway, asked.metric or 0)
        if former is not None:
            # Windows has a route to a network by a gateway once, with one metric.
            metric = attrs.evolve(asked, metric=former.metric)
            yield _withRoute(network, former, f"remove the route {metric} through {state.name}", False)
        yield _withRoute(network, route, f"add the route {asked} through {state.name}", True)
        present[destination, gateway] = route


def _withRoute(network: Network, route: Route, what: str, added: bool) -> Change:
    def add() -> None:
        network.addRoute(route)

    def remove() -> None:
        network.deleteRoute(route)

    return Change(what, add, remove) if added else Change(what, remove, add)
