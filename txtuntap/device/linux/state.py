"""
The state of interfaces, read from rtnetlink's messages about links and addresses.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from zope.interface import moduleProvides

from txtuntap.device import interfaceName
from txtuntap.device.interfaces import IReading
from txtuntap.device.linux.netlink import Conversation, Message, ask, askNow, dump, get
from txtuntap.device.pieces import inPieces
from txtuntap.device.settings import InterfaceAddress, InterfaceState

__all__ = ["FLAGS", "ask", "askNow", "reading", "readingAll"]

moduleProvides(IReading)

#: C{netdevice(7)}
IFF_UP = 0x1
IFF_LOWER_UP = 0x10000

#: The flags of an interface in the words of C{ip link}, and their order (C{include/uapi/linux/if.h}).
FLAGS = {
    0x8: "LOOPBACK",
    0x2: "BROADCAST",
    0x10: "POINTOPOINT",
    0x1000: "MULTICAST",
    0x80: "NOARP",
    0x200: "ALLMULTI",
    0x100: "PROMISC",
    0x400: "MASTER",
    0x800: "SLAVE",
    0x4: "DEBUG",
    0x8000: "DYNAMIC",
    0x4000: "AUTOMEDIA",
    0x2000: "PORTSEL",
    0x20: "NOTRAILERS",
    0x1: "UP",
    0x40: "RUNNING",
    0x10000: "LOWER_UP",
    0x20000: "DORMANT",
    0x40000: "ECHO",
}

_ETHERNET = 1
_TUN, _TAP = 1, 2


def finding(name: str) -> Conversation[Message]:
    """
    Make a conversation that reads the link message of an interface.

    @raise ValueError: C{name} is not a valid interface name.
    """
    interfaceName(name)
    # The name is passed as octets. pyroute2 would encode text as UTF-8, and a name need not be UTF-8.
    (link,) = yield get("link", f"find {name}", IFLA_IFNAME=os.fsencode(name))
    return link


def reading(name: str) -> Conversation[InterfaceState]:
    """
    Make the conversation for L{readInterface<txtuntap.device.state.readInterface>}.
    """
    link = yield from finding(name)
    addresses = yield dump("address", f"read the addresses of {name}", index=link["index"])
    return (yield from buildingState(link, addresses))


def buildingState(link: Message, addresses: Iterable[Message]) -> Conversation[InterfaceState]:
    """
    Make a conversation that calls L{interfaceState}, and parses
    L{ITEMS_PER_TURN<txtuntap.device.pieces.ITEMS_PER_TURN>} addresses in one turn of the reactor.

    @param link: the link message of the interface.
    @param addresses: messages about addresses. Those of other interfaces are ignored.
    """

    def own(message: Message) -> InterfaceAddress | None:
        return interfaceAddress(message) if message["index"] == link["index"] else None

    found = yield from inPieces(own, addresses)
    return interfaceState(link, (each for each in found if each is not None))


def readingAll() -> Conversation[list[InterfaceState]]:
    """
    Make the conversation for L{readInterfaces<txtuntap.device.state.readInterfaces>}.
    """
    links = yield dump("link", "read the interfaces")
    addresses: dict[int, list[Message]] = {}

    def sort(message: Message) -> None:
        addresses.setdefault(message["index"], []).append(message)

    yield from inPieces(sort, (yield dump("address", "read the addresses")))
    states = []
    for link in links:
        states.append((yield from buildingState(link, addresses.get(link["index"], ()))))
        yield None
    return states


def attributes(message: Message) -> dict[str, Any]:
    """
    The attributes of a message by name.
    """
    return {each[0]: each[1] for each in message["attrs"]}


def deviceAttributes(link: dict[str, Any]) -> dict[str, Any]:
    """
    The attributes C{IFLA_TUN_...} of a TUN or TAP device; empty for other interfaces.

    @param link: the attributes of the interface's link message.
    """
    information = dict(tuple(each)[:2] for each in link.get("IFLA_LINKINFO", {}).get("attrs", ()))
    if information.get("IFLA_INFO_KIND") != "tun" or "IFLA_INFO_DATA" not in information:
        return {}
    return {each[0]: each[1] for each in information["IFLA_INFO_DATA"]["attrs"]}


def interfaceAddress(message: Message) -> InterfaceAddress:
    """
    Make the record of an address from the kernel's message about it.
    """
    fields = attributes(message)
    # The kernel leaves out the attribute if the peer is 0.0.0.0.
    address = fields.get("IFA_ADDRESS", "0.0.0.0")
    local = fields.get("IFA_LOCAL", address)
    peer = address if local != address else None
    return InterfaceAddress.read(f"{local}/{message['prefixlen']}", peer, fields.get("IFA_BROADCAST"))


def interfaceState(link: Message, addresses: Iterable[InterfaceAddress] = ()) -> InterfaceState:
    """
    Make the record of an interface.

    @param link: the link message of the interface.
    @param addresses: the interface's addresses.
    """
    fields = attributes(link)
    device = deviceAttributes(fields)
    information = dict(tuple(each)[:2] for each in fields.get("IFLA_LINKINFO", {}).get("attrs", ()))
    kind = information.get("IFLA_INFO_KIND", "")
    if device:
        kind = {_TUN: "tun", _TAP: "tap"}[device["IFLA_TUN_TYPE"]]
    flags = link["flags"]
    return InterfaceState(
        name=fields["IFLA_IFNAME"],
        index=link["index"],
        kind=kind,
        flags=flags,
        up=bool(flags & IFF_UP),
        carrier=bool(fields.get("IFLA_CARRIER", flags & IFF_LOWER_UP)),
        mtu=fields["IFLA_MTU"],
        linkAddress=fields.get("IFLA_ADDRESS") if link["ifi_type"] == _ETHERNET else None,
        txqueuelen=fields.get("IFLA_TXQLEN", 0),
        addresses=tuple(addresses),
        owner=device.get("IFLA_TUN_OWNER"),
        group=device.get("IFLA_TUN_GROUP"),
        persistent=bool(device.get("IFLA_TUN_PERSIST")),
        multiQueue=bool(device.get("IFLA_TUN_MULTI_QUEUE")),
        queues=device.get("IFLA_TUN_NUM_QUEUES", 0) + device.get("IFLA_TUN_NUM_DISABLED_QUEUES", 0),
        vnetHeader=bool(device.get("IFLA_TUN_VNET_HDR")),
        information=bool(device.get("IFLA_TUN_PI")),
        statistics=dict(fields.get("IFLA_STATS64") or {}),
    )
