"""
The kernel's side of an interface: its addresses, its neighbours, up. By rtnetlink, through pyroute2.

pyroute2 is imported when an interface is configured, not before: its 300 modules take longer than all else here.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_interface
from typing import Any

from txtuntap.wire.address import linkAddressText, packLinkAddress

#: C{IFA_F_NODAD}: nobody but us is behind the interface, so nobody else can have the address.
_NO_DUPLICATE_DETECTION = 0x02

#: C{NUD_PERMANENT}.
_PERMANENT = 0x80


def configureInterface(
    name: str, addresses: Iterable[str] = (), neighbours: Mapping[str, str | bytes] | None = None
) -> None:
    """
    Give an interface addresses and neighbours, and set it up. What is so already is left alone.

    This waits for the kernel's answers. Call it before the reactor runs (C{privilegedStartService}), or in a thread
    (C{deferToThread}).

    @param name: of the interface.
    @param addresses: the kernel's, in CIDR notation.
    @param neighbours: link addresses, by the IP address that is not to be asked for on the link.

    @raise ValueError: one of them is no address.
    @raise OSError: the kernel refused; the text says what.
    """
    interfaces = [ip_interface(address) for address in addresses]
    stations = {ip_address(ip): packLinkAddress(station) for ip, station in (neighbours or {}).items()}
    from pyroute2 import IPRoute

    with IPRoute() as netlink:
        found = _ask(name, "look up", netlink.link_lookup, ifname=name)
        if not found:
            raise OSError(errno.ENODEV, f"there is no interface {name}")
        (index,) = found
        for interface in interfaces:
            _ask(
                name,
                f"add the address {interface}",
                netlink.addr,
                "replace",
                index=index,
                address=str(interface.ip),
                prefixlen=interface.network.prefixlen,
                flags=_NO_DUPLICATE_DETECTION if interface.version == 6 else 0,
            )
        _ask(name, "set up", netlink.link, "set", index=index, state="up")
        for ip, station in stations.items():
            _ask(
                name,
                f"add the neighbour {ip}",
                netlink.neigh,
                "replace",
                ifindex=index,
                dst=str(ip),
                lladdr=linkAddressText(station),
                state=_PERMANENT,
            )


def _ask(name: str, what: str, call: Any, *args: Any, **kwargs: Any) -> Any:
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        return call(*args, **kwargs)
    except NetlinkError as e:
        raise OSError(e.code, f"{name}: cannot {what}: {e.args[1]}") from e
