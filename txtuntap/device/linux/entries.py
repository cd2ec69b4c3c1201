"""
Changes that add the missing addresses, routes and neighbours of an interface. When the link is set down, the kernel
removes some of these entries; this module also makes the requests that restore them.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

from txtuntap.device.linux.change import Change
from txtuntap.device.linux.netlink import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    Conversation,
    Message,
    Request,
    delete,
    dump,
    new,
)
from txtuntap.device.linux.state import attributes
from txtuntap.device.pieces import inPieces
from txtuntap.device.settings import MAIN_TABLE, InterfaceAddress, InterfaceRoute, InterfaceSettings, InterfaceState
from txtuntap.wire.address import linkAddressText

#: C{IFA_F_NODAD}. Duplicate address detection is not needed, because only this program is at the other side of the
#: link.
_NO_DUPLICATE_DETECTION = 0x02

#: C{linux/neighbour.h}: NUD_PERMANENT.
_PERMANENT = 0x80

#: C{linux/rtnetlink.h}: RTPROT_STATIC, RTN_UNICAST, RT_SCOPE_UNIVERSE, RT_SCOPE_LINK.
_STATIC, _UNICAST, _UNIVERSE, _ON_LINK = 4, 1, 0, 253

#: Attributes of routes that L{InterfaceRoute} cannot express: several gateways, a gateway of the other IP version, or
#: an encapsulation. pyroute2 calls RTA_NH_ID C{UNKNOWN}.
_UNSUPPORTED_ATTRIBUTES = {"RTA_VIA", "RTA_MULTIPATH", "RTA_NH_ID", "RTA_ENCAP", "UNKNOWN"}

#: C{IFA_F_PERMANENT}: the address was configured, not learnt from a router advertisement.
_PERMANENT_ADDRESS = 0x80

#: C{RTPROT_BOOT} and C{RTPROT_RA}. Routes with a smaller number than C{RTPROT_BOOT} come from the kernel or a redirect.
_BOOT, _ROUTER_ADVERTISEMENT = 3, 9

#: The header fields and the attributes that are copied to add an address, a route or a neighbour again.
_RESTORED = {
    "address": (("family", "prefixlen", "scope", "index"), ("IFA_ADDRESS", "IFA_LOCAL")),
    "route": (
        ("family", "dst_len", "tos", "proto", "type", "scope"),
        ("RTA_DST", "RTA_GATEWAY", "RTA_OIF", "RTA_PRIORITY", "RTA_PREFSRC", "RTA_TABLE"),
    ),
    "neighbour": (("family", "ifindex", "state", "flags"), ("NDA_DST", "NDA_LLADDR")),
}

#: The address family of each IP version.
_FAMILY = {4: 2, 6: 10}

#: The network, gateway, metric, source and table of a route.
_RouteKey = tuple[str, str | None, int | None, str | None, int | None]


def addressChanges(state: InterfaceState, settings: InterfaceSettings) -> Iterator[Change | None]:
    # The broadcast addresses of each address that is present. Other programs often set one, so it is compared only if
    # the settings have one.
    present: dict[tuple[str, str], set[str | None]] = {}
    for each in state.addresses if settings.addresses else ():
        present.setdefault(_addressAndPeer(each), set()).add(each.broadcast)
        yield None
    for address in settings.addresses:
        broadcasts = present.setdefault(_addressAndPeer(address), set())
        if broadcasts and (address.broadcast is None or address.broadcast in broadcasts):
            yield None
            continue
        fields = _addressFields(state.index, address)
        what = f"add the address {address} to {state.name}"
        yield Change(what, new("address", what, **fields), (delete("address", what, **fields),))
        broadcasts.add(address.broadcast)


def _addressAndPeer(address: InterfaceAddress) -> tuple[str, str]:
    """
    Return an address with its prefix length, and the address of its peer. Without a peer, the second value is the
    address itself, as in the kernel's messages.
    """
    return address.address, address.peer or address.address.partition("/")[0]


def _addressFields(index: int, address: InterfaceAddress) -> dict[str, Any]:
    interface = address.interface
    fields: dict[str, Any] = {
        "family": _FAMILY[interface.version],
        "prefixlen": address.prefixLength,
        "flags": _NO_DUPLICATE_DETECTION if interface.version == 6 else 0,
        "index": index,
        "IFA_LOCAL": str(interface.ip),
        "IFA_ADDRESS": address.peer or str(interface.ip),
    }
    if address.broadcast is not None:
        fields["IFA_BROADCAST"] = address.broadcast
    return fields


def routeChanges(
    state: InterfaceState, settings: InterfaceSettings, present: set[_RouteKey]
) -> Iterator[Change | None]:
    """
    Plan the changes that add the missing routes.

    @param present: the result of L{presentRoutes}.

    @return: the changes, and C{None} for each route that is present.
    """
    asked = set()
    for route in settings.routes:
        key = route.network, route.gateway, route.metric, route.source, route.table
        if key in present or key in asked:
            yield None
            continue
        asked.add(key)

        def isThere(key: _RouteKey = key) -> Conversation[bool]:
            # The kernel or another program has just added the route, and may have added others.
            present.update((yield from presentRoutes(state)))
            return key in present

        fields = _routeFields(state.index, route)
        what = f"add the route {route} through {state.name}"
        yield Change(what, new("route", what, **fields), (delete("route", what, **fields),), isThere)


def readRoutes(state: InterfaceState) -> Conversation[list[Message]]:
    routes = []
    for family in _FAMILY.values():
        routes += yield dump("route", f"read the routes of {state.name}", family=family, RTA_OIF=state.index)
    return routes


def presentRoutes(state: InterfaceState) -> Conversation[set[_RouteKey]]:
    """
    Read the present routes of an interface.

    @return: up to four keys for each route: with and without its metric, and with and without its source. Settings may
        leave out the metric, the source or both.
    """
    found: set[_RouteKey] = set()

    def add(message: Message) -> None:
        route = _routeOf(message, state.index)
        if route is not None:
            for metric in None, route.metric:
                for source in None, route.source:
                    found.add((route.network, route.gateway, metric, source, route.table))

    yield from inPieces(add, (yield from readRoutes(state)))
    return found


def _routeOf(message: Message, index: int) -> InterfaceRoute | None:
    """
    Parse a message about a route.

    @return: the route; C{None}: it does not use the interface, or cannot be expressed as an L{InterfaceRoute}.
    """
    fields = attributes(message)
    if fields.get("RTA_OIF") != index or message["type"] != _UNICAST:
        return None
    if fields.keys() & _UNSUPPORTED_ATTRIBUTES or message["tos"] or message["src_len"]:
        return None
    everywhere = "::" if message["family"] == _FAMILY[6] else "0.0.0.0"
    return InterfaceRoute(
        f"{fields.get('RTA_DST', everywhere)}/{message['dst_len']}",
        fields.get("RTA_GATEWAY"),
        fields.get("RTA_PRIORITY"),
        fields.get("RTA_PREFSRC"),
        fields.get("RTA_TABLE"),
    )


def _routeFields(index: int, route: InterfaceRoute) -> dict[str, Any]:
    network = ip_network(route.network)
    fields: dict[str, Any] = {
        "family": _FAMILY[network.version],
        "dst_len": network.prefixlen,
        # The attribute has the table's number, which may be too large for this field.
        "table": 0,
        "proto": _STATIC,
        "type": _UNICAST,
        "scope": _ON_LINK if route.gateway is None and network.version == 4 else _UNIVERSE,
        "RTA_OIF": index,
        "RTA_TABLE": route.table or MAIN_TABLE,
    }
    if network.prefixlen:
        fields["RTA_DST"] = str(network.network_address)
    for name, value in ("RTA_GATEWAY", route.gateway), ("RTA_PRIORITY", route.metric), ("RTA_PREFSRC", route.source):
        if value is not None:
            fields[name] = value
    return fields


def neighbourChanges(
    state: InterfaceState, settings: InterfaceSettings, messages: list[Message]
) -> Iterator[Change | None]:
    present = {}
    for each in messages if settings.neighbours else ():
        if each["ifindex"] == state.index and each["state"] & _PERMANENT:
            fields = attributes(each)
            present[fields.get("NDA_DST")] = fields.get("NDA_LLADDR")
        yield None
    for ip, station in settings.neighbours.items():
        link, before = linkAddressText(station), present.get(ip)
        if before == link:
            yield None
            continue
        fields = {
            "family": _FAMILY[ip_address(ip).version],
            "ifindex": state.index,
            "state": _PERMANENT,
            "NDA_DST": ip,
        }
        what = f"add the neighbour {ip} to {state.name}"
        make, back = (
            new("neighbour", what, NLM_F_CREATE | NLM_F_REPLACE, **fields, NDA_LLADDR=each) for each in (link, before)
        )
        yield Change(what, make, (delete("neighbour", what, **fields) if before is None else back,))


def restoration(message: Message, what: str) -> Request | None:
    """
    Make the request that restores an address, a route or a neighbour which a user or a program had configured.

    @param message: the kernel's message about it.
    @param what: the description for an error text.

    @return: the request; C{None}: the kernel has learnt the object, or adds it by itself.
    """
    fields = attributes(message)
    if message["event"] == "RTM_NEWADDR":
        # IPv4 addresses stay when a link is set down.
        kind, isSet = "address", message["family"] == _FAMILY[6] and message["flags"] & _PERMANENT_ADDRESS
    elif message["event"] == "RTM_NEWROUTE":
        isPlain = message["type"] == _UNICAST and not fields.keys() & _UNSUPPORTED_ATTRIBUTES
        kind, isSet = "route", isPlain and message["proto"] >= _BOOT and message["proto"] != _ROUTER_ADVERTISEMENT
    else:
        kind, isSet = "neighbour", message["state"] & _PERMANENT and "NDA_LLADDR" in fields
    if not isSet:
        return None
    header, names = _RESTORED[kind]
    again = {name: message[name] for name in header}
    again.update((name, fields[name]) for name in names if name in fields)
    if kind == "address":
        again["flags"] = _NO_DUPLICATE_DETECTION
    return new(kind, what, **again)
