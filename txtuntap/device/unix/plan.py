"""
The plan of a configuration on macOS and the BSDs: the changes of an interface that are needed. Not run on a real macOS,
FreeBSD, OpenBSD or NetBSD yet.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from txtuntap.device.changes import Change, called
from txtuntap.device.settings import InterfaceAddress, InterfaceRoute, InterfaceSettings, InterfaceState
from txtuntap.device.unix.kernel import Kernel
from txtuntap.device.unix.layout import (
    IFF_POINTOPOINT,
    RTA_DST,
    RTA_GATEWAY,
    RTA_IFA,
    RTA_IFP,
    RTA_NETMASK,
    RTF_GATEWAY,
    RTF_HOST,
    RTF_LLINFO,
    RTF_STATIC,
    RTF_UP,
    RTM_ADD,
    RTM_DELETE,
)
from txtuntap.device.unix.messages import RouteAnswer, ipAddress, ipIn, linkAddress, prefixLengthIn
from txtuntap.wire.address import linkAddressText, packAddress

#: The means to use instead of each setting that these platforms lack.
_INSTEAD = {
    "txqueuelen": "leave it out",
    "owner": "leave it out, and give that user the device node (chown), or a descriptor",
    "group": "leave it out, and give that group the device node (chgrp), or a descriptor",
    "persistent": "leave it out: the platform decides whether an interface remains when its device is closed",
    "carrier": "leave it out: the link has a carrier while the device is open",
    "hardened": "leave it out, and have the whole machine ignore redirects and router advertisements (sysctl)",
}


def checkPlatform(kernel: Kernel, state: InterfaceState, settings: InterfaceSettings) -> None:
    """
    Check that the platform has each of the settings.

    @raise OSError: the platform lacks a setting (C{ENOTSUP}). The text says what to do instead.
    @raise ValueError: an address does not suit the interface.
    """
    title = kernel.layout.title

    def refuse(what: str, instead: str) -> None:
        raise OSError(errno.ENOTSUP, f"{state.name}: {title} has no setting for {what}: {instead}")

    for name, instead in _INSTEAD.items():
        if getattr(settings, name) not in (None, getattr(state, name, None)):
            refuse(name, instead)
    if settings.neighbours:
        refuse("neighbours here", "leave them out, and use arp(8) and ndp(8)")
    if settings.linkAddress not in (None, state.linkAddress) and kernel.layout.setLinkAddress is None:
        refuse("linkAddress", f"leave it out, and use 'sysctl -w net.link.tap.{state.name}=ADDRESS'")
    for route in settings.routes:
        if route.metric is not None:
            refuse("the metric of a route", "leave it out")
        if route.table is not None:
            refuse("the table of a route here", "leave it out, and use setfib(1) or 'route -T'")
    for address in settings.addresses:
        _checkPeer(state, address)


def _checkPeer(state: InterfaceState, address: InterfaceAddress) -> None:
    if state.flags & IFF_POINTOPOINT:
        if address.broadcast is not None:
            raise ValueError(f"{state.name} is a point-to-point link: leave out the broadcast of {address}")
        if address.peer is not None and address.interface.version == 6 and address.prefixLength != 128:
            raise ValueError(
                f"{address}: an IPv6 peer has the prefix length 128 on this platform: add a route for its network"
            )
    elif address.peer is not None:
        raise ValueError(f"{state.name} is no point-to-point link: leave out the peer of {address}")


def linkChanges(kernel: Kernel, state: InterfaceState, settings: InterfaceSettings) -> Iterator[Change]:
    """
    Plan the changes of the MTU and of the link address.
    """
    name = state.name
    if settings.mtu not in (None, state.mtu):
        mtu, before = settings.mtu or 0, state.mtu
        yield Change(
            f"set the MTU of {name} to {mtu}", lambda: kernel.setMTU(name, mtu), lambda: kernel.setMTU(name, before)
        )
    if settings.linkAddress not in (None, state.linkAddress):
        link, old = settings.linkAddress or b"", state.linkAddress or b""
        yield Change(
            f"set the link address of {name} to {linkAddressText(link)}",
            lambda: kernel.setLinkAddress(name, link),
            lambda: kernel.setLinkAddress(name, old),
        )


def addressChanges(kernel: Kernel, state: InterfaceState, settings: InterfaceSettings) -> Iterator[Change]:
    """
    Plan the changes that add the missing addresses. The kernel has an address once on an interface. So an address that
    is present with another prefix length, peer or broadcast address is removed first.
    """
    name = state.name
    present = {each.interface.ip: each for each in state.addresses}
    if any(each.interface.version == 6 for each in settings.addresses) and kernel.isIPv6Disabled(name):
        yield Change(f"enable IPv6 on {name}", lambda: kernel.setIPv6(name, True), lambda: kernel.setIPv6(name, False))
    for address in settings.addresses:
        former = present.get(address.interface.ip)
        if former is not None:
            if _isSame(former, address):
                continue
            yield _withAddress(kernel, state, former, f"remove the address {former} from {state.name}", False)
        yield _withAddress(kernel, state, address, f"add the address {address} to {state.name}", True)
        present[address.interface.ip] = address


def _isSame(former: InterfaceAddress, address: InterfaceAddress) -> bool:
    own = str(address.interface.ip)
    if former.address != address.address or (former.peer or own) != (address.peer or own):
        return False
    # Other programs often set a broadcast address, so it is compared only if the settings have one.
    return address.broadcast in (None, former.broadcast)


def _withAddress(kernel: Kernel, state: InterfaceState, address: InterfaceAddress, what: str, added: bool) -> Change:
    def add() -> None:
        kernel.addAddress(state, address)

    def remove() -> None:
        kernel.deleteAddress(state.name, address)

    return Change(what, add, remove) if added else Change(what, remove, add)


def upOrDown(kernel: Kernel, state: InterfaceState, settings: InterfaceSettings) -> Iterator[Change]:
    """
    Plan the change that sets the link up or down. Some kernels remove the routes of a link that is set down, so undoing
    that adds the routes again which a user or a program had added.
    """
    up, name = settings.up, state.name
    if up is not None and up != state.up:
        what = f"set {name} {'up' if up else 'down'}"
        lost = [] if up else called(kernel.routes, f"read the routes of {name}")

        def restore() -> None:
            kernel.setUp(name, not up)
            for each in lost:
                again = _again(kernel, state, each)
                if again is not None:
                    with suppress(FileExistsError):
                        kernel.changeRoute(RTM_ADD, *again)

        yield Change(what, lambda: kernel.setUp(name, bool(up)), restore)


def _again(kernel: Kernel, state: InterfaceState, route: RouteAnswer) -> tuple[int, dict[int, bytes]] | None:
    """
    Make the flags and the socket addresses that add a route again.

    @return: both; C{None}: the route is that of another interface, or the kernel has added it by itself.
    """
    layout, index = kernel.layout, state.index
    if route.index != index or not route.flags & RTF_STATIC or route.flags & RTF_LLINFO:
        return None
    destination = ipIn(route.addresses.get(RTA_DST, b""), layout)
    if destination is None:
        return None
    addresses = {RTA_DST: ipAddress(destination, layout, index), RTA_IFP: linkAddress(layout, index)}
    if not route.flags & RTF_HOST:
        length = prefixLengthIn(route.addresses.get(RTA_NETMASK), 4 if len(destination) == 4 else 6)
        if length is None:
            return None
        network = ip_network((destination, length))
        addresses[RTA_NETMASK] = ipAddress(network.netmask.packed, layout)
    gateway = ipIn(route.addresses.get(RTA_GATEWAY, b""), layout)
    addresses[RTA_GATEWAY] = linkAddress(layout, index) if gateway is None else ipAddress(gateway, layout, index)
    return route.flags & (RTF_UP | RTF_GATEWAY | RTF_HOST | RTF_STATIC), addresses


def routeChanges(kernel: Kernel, state: InterfaceState, settings: InterfaceSettings) -> Iterator[Change]:
    """
    Plan the changes that add the missing routes. On Linux, the kernel adds a route to the network of each address. Here
    it does so only where the link is not point-to-point, so the other routes are added by these changes, too.
    """
    routes = list(settings.routes)
    isUp = state.up if settings.up is None else settings.up
    if state.flags & IFF_POINTOPOINT and isUp:
        networks = [each.destinations for each in settings.addresses]
        routes[:0] = [InterfaceRoute(str(each)) for each in networks if not _isKnown(each)]
    for route in dict.fromkeys(routes):
        addresses, flags = _route(kernel, state, settings, route)
        if _isPresent(kernel, state, addresses, flags):
            continue

        def add(addresses: dict[int, bytes] = addresses, flags: int = flags) -> None:
            try:
                kernel.changeRoute(RTM_ADD, flags, addresses)
            except FileExistsError as e:
                text = "there is another route to this network: delete that first"
                raise OSError(e.errno, f"{e.strerror}: {text}") from e

        def remove(addresses: dict[int, bytes] = addresses, flags: int = flags) -> None:
            kernel.changeRoute(RTM_DELETE, flags, addresses)

        yield Change(f"add the route {route} through {state.name}", add, remove)


def _isKnown(network: IPv4Network | IPv6Network) -> bool:
    """
    Whether the kernel has a route by itself to the network of an address: it is one host, or all neighbours.
    """
    return network.prefixlen == network.max_prefixlen or (network.version == 6 and network.is_link_local)


def _route(
    kernel: Kernel, state: InterfaceState, settings: InterfaceSettings, route: InterfaceRoute
) -> tuple[dict[int, bytes], int]:
    """
    Make the socket addresses and the flags of a route.

    @raise ValueError: the interface has no address by which the route could name the interface.
    """
    layout, index = kernel.layout, state.index
    network = ip_network(route.network)
    addresses = {RTA_DST: ipAddress(packAddress(str(network.network_address)), layout, index)}
    flags = RTF_UP | RTF_STATIC
    if network.prefixlen == network.max_prefixlen:
        flags |= RTF_HOST
    else:
        addresses[RTA_NETMASK] = ipAddress(packAddress(str(network.netmask)), layout)
    if route.gateway is not None:
        flags |= RTF_GATEWAY
        addresses[RTA_GATEWAY] = ipAddress(packAddress(route.gateway), layout, index)
    elif layout.routesByLink:
        addresses[RTA_GATEWAY] = linkAddress(layout, index)
    else:
        own = [each.interface.ip for each in (*settings.addresses, *state.addresses)]
        one = next((each for each in own if each.version == network.version), None)
        if one is None:
            raise ValueError(
                f"{state.name} needs an IPv{network.version} address on {layout.title} for the route {route}"
            )
        addresses[RTA_GATEWAY] = ipAddress(packAddress(str(one)), layout, index)
    addresses[RTA_IFP] = linkAddress(layout, index)
    if route.source is not None:
        addresses[RTA_IFA] = ipAddress(packAddress(str(ip_address(route.source))), layout, index)
    return addresses, flags


def _isPresent(kernel: Kernel, state: InterfaceState, addresses: dict[int, bytes], flags: int) -> bool:
    """
    Whether the kernel has a route already, through this interface and by the same gateway.
    """
    layout = kernel.layout
    asked = {bit: addresses[bit] for bit in (RTA_DST, RTA_NETMASK) if bit in addresses}
    wanted = {**asked, RTA_IFP: linkAddress(layout)}
    found = called(lambda: kernel.findRoute(wanted), f"read the routes of {state.name}")
    # The answer may be a neighbour, or a route to a larger network.
    kind = RTF_HOST | RTF_GATEWAY
    if found is None or found.index != state.index or found.flags & RTF_LLINFO or (found.flags ^ flags) & kind:
        return False
    version = 4 if len(addresses[RTA_DST]) == 16 else 6
    lengths = [prefixLengthIn(each.get(RTA_NETMASK), version) for each in (addresses, found.addresses)]
    if not flags & RTF_HOST and lengths[0] != lengths[1]:
        return False
    compared = (RTA_DST, RTA_GATEWAY) if flags & RTF_GATEWAY else (RTA_DST,)
    return all(ipIn(addresses[bit], layout) == ipIn(found.addresses.get(bit, b""), layout) for bit in compared)
