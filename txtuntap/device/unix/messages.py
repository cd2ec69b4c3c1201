"""
Routing messages (C{route(4)}): parse the states of interfaces out of them, and pack requests about routes. Not run on a
real macOS, FreeBSD, OpenBSD or NetBSD yet.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator, Mapping

import attrs

from txtuntap.device.settings import InterfaceAddress, InterfaceState
from txtuntap.device.unix.layout import (
    AF_INET,
    AF_LINK,
    IFF_POINTOPOINT,
    IFF_RUNNING,
    IFF_UP,
    RTA_BRD,
    RTA_IFA,
    RTA_IFP,
    RTA_NETMASK,
    RTM_GET,
    Header,
    Layout,
)
from txtuntap.wire.address import addressText, isLinkLocal

#: The positions of the length, the version and the type in every routing message.
_LENGTH, _VERSION, _TYPE = struct.Struct("=H"), 2, 3

_SHORT = struct.Struct("=H")
_LONG = struct.Struct("=I")

#: The positions in C{sockaddr_dl} of the lengths of name and link address, and of the name, which they follow.
_NAME_LENGTH, _LINK_LENGTH, _NAME = 5, 6, 8

#: The largest number of octets in a C{sockaddr_in} and a C{sockaddr_in6}, and the position of the address in each.
_SIZES = {4: 16, 6: 28}
_POSITIONS = {4: 4, 6: 8}

#: The type of interface that has Ethernet addresses: C{IFT_ETHER}. Its position in C{if_data} is 0 on all platforms.
_ETHERNET = 6

#: The kind of an interface by the name of its driver, which is its name without the number.
_KINDS = {"tun": "tun", "utun": "tun", "tap": "tap", "feth": "tap"}


class MalformedMessage(OSError):
    """
    A routing message of the kernel that cannot be parsed.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EIO, f"the kernel's routing message cannot be parsed: {reason}")


@attrs.frozen
class RouteAnswer:
    """
    A route in a message of the kernel.

    @ivar index: the index of the route's interface.
    @ivar flags: the flags C{RTF_...} of the route.
    @ivar addresses: the socket addresses of the route, by their bits C{RTA_...}.
    """

    index: int
    flags: int
    addresses: Mapping[int, bytes]


def messageType(message: bytes, layout: Layout) -> int:
    """
    Return the type of a routing message, C{RTM_...}; 0 if the message is too short or has another version.
    """
    return message[_TYPE] if len(message) > _TYPE and message[_VERSION] == layout.version else 0


def split(data: bytes) -> Iterator[bytes]:
    """
    Split the result of a C{sysctl} into routing messages.

    @raise MalformedMessage: a message is shorter than its header, or longer than the data.
    """
    at = 0
    while at < len(data):
        length = _LENGTH.unpack_from(data, at)[0] if len(data) - at > _TYPE else 0
        if not _TYPE < length <= len(data) - at:
            raise MalformedMessage(f"a message of {length} octets in {len(data) - at}")
        yield data[at : at + length]
        at += length


def addressesIn(message: bytes, header: Header, layout: Layout) -> dict[int, bytes]:
    """
    Find the socket addresses that follow the fixed part of a routing message.

    @return: the socket addresses by their bits C{RTA_...}.

    @raise MalformedMessage: the message is shorter than its fixed part or than its addresses.
    """
    if len(message) < header.size:
        raise MalformedMessage(f"{len(message)} octets instead of at least {header.size}")
    # A later OpenBSD may have a longer fixed part. The fields that are read here stay where they are.
    at = max(header.size, _SHORT.unpack_from(message, 4)[0]) if layout.hasHeaderLength else header.size
    (present,) = _LONG.unpack_from(message, header.addressesAt)
    found = {}
    for bit in (1 << number for number in range(layout.families)):
        if present & bit:
            length = message[at] if at < len(message) else len(message)
            if at + length > len(message):
                raise MalformedMessage(f"an address of {length} octets at octet {at} of {len(message)}")
            found[bit] = message[at : at + length]
            # An address without octets takes as much room as one word, because its length is written there.
            at += -(-max(length, 1) // layout.alignment) * layout.alignment
    return found


def statesIn(data: bytes, layout: Layout) -> list[InterfaceState]:
    """
    Parse the states of all interfaces.

    @param data: the result of the C{sysctl} C{NET_RT_IFLIST}.

    @raise MalformedMessage: a message cannot be parsed.
    """
    states: dict[int, InterfaceState] = {}
    addresses: dict[int, list[InterfaceAddress]] = {}
    for message in split(data):
        kind = messageType(message, layout)
        if kind == layout.interface:
            state = _stateIn(message, layout)
            if state is not None:
                states[state.index] = state
        elif kind == layout.newAddress:
            index, address = _addressIn(message, layout, states)
            if address is not None:
                addresses.setdefault(index, []).append(address)
    return [attrs.evolve(state, addresses=tuple(addresses.get(state.index, ()))) for state in states.values()]


def _stateIn(message: bytes, layout: Layout) -> InterfaceState | None:
    """
    Parse the state of an interface, without its addresses.

    @return: the state; C{None}: the message does not have the interface's name.
    """
    header = layout.interfaceHeader
    link = addressesIn(message, header, layout).get(RTA_IFP, b"")
    name, linkAddress = _namesIn(link)
    if not name:
        return None
    data, counters = layout.data, layout.statistics
    (flags,) = _LONG.unpack_from(message, header.flagsAt)
    return InterfaceState(
        name=name,
        index=_SHORT.unpack_from(message, header.indexAt)[0],
        kind=kindOf(name),
        flags=flags,
        up=bool(flags & IFF_UP),
        carrier=bool(flags & IFF_RUNNING),
        mtu=struct.unpack_from(layout.mtuFormat, message, data + layout.mtu)[0],
        linkAddress=linkAddress if message[data] == _ETHERNET and len(linkAddress) == 6 else None,
        txqueuelen=0,
        statistics={
            counter: struct.unpack_from(counters.format, message, data + position)[0]
            for counter, position in counters.positions.items()
        },
    )


def kindOf(name: str) -> str:
    """
    Return the kind of an interface by its name: C{"tun"}, C{"tap"}, or the name of another driver.
    """
    driver = name.rstrip("0123456789")
    return _KINDS.get(driver, driver)


def _namesIn(link: bytes) -> tuple[str, bytes]:
    """
    Parse the name and the link address in a C{sockaddr_dl}.

    @raise MalformedMessage: the lengths of both exceed the socket address.
    """
    if len(link) < _NAME or link[1] != AF_LINK:
        return "", b""
    end = _NAME + link[_NAME_LENGTH]
    last = end + link[_LINK_LENGTH]
    if last > len(link):
        raise MalformedMessage(f"a name and a link address of {last - _NAME} octets in {len(link) - _NAME}")
    return os.fsdecode(link[_NAME:end]), link[end:last]


def _addressIn(
    message: bytes, layout: Layout, states: Mapping[int, InterfaceState]
) -> tuple[int, InterfaceAddress | None]:
    """
    Parse a message about an address of an interface.

    @param states: the interfaces that are known. The meaning of the other address depends on them.

    @return: the index of the interface, and the address; C{None}: the address is not an IP address, or its interface is
        unknown, or its netmask has gaps.
    """
    header = layout.addressHeader
    addresses = addressesIn(message, header, layout)
    (index,) = _SHORT.unpack_from(message, header.indexAt)
    own, state = ipIn(addresses.get(RTA_IFA, b""), layout), states.get(index)
    if own is None or state is None:
        return index, None
    length = prefixLengthIn(addresses.get(RTA_NETMASK), 4 if len(own) == 4 else 6)
    if length is None:
        return index, None
    other = ipIn(addresses.get(RTA_BRD, b""), layout)
    peer = broadcast = None
    if other is not None and len(other) == len(own) and any(other):
        if not state.flags & IFF_POINTOPOINT:
            broadcast = addressText(other) if len(own) == 4 else None
        elif other != own:
            peer = addressText(other)
    return index, InterfaceAddress.read(f"{addressText(own)}/{length}", peer, broadcast)


def ipIn(sockaddr: bytes, layout: Layout) -> bytes | None:
    """
    Return the IP address in a socket address; C{None} if it is of another family.
    """
    family = sockaddr[1] if len(sockaddr) > 1 else 0
    if family == AF_INET:
        return sockaddr[4:8].ljust(4, b"\0")
    if family != layout.inet6:
        return None
    address = sockaddr[8:24].ljust(16, b"\0")
    # The kernel keeps the scope of a link-local address in octets 2 and 3, which are 0 on the wire.
    return address[:2] + bytes(2) + address[4:] if isLinkLocal(address) else address


def prefixLengthIn(mask: bytes | None, version: int) -> int | None:
    """
    Return the prefix length of a netmask. The kernel leaves out zero octets at the end of a netmask, and may leave its
    family 0.

    @param mask: the socket address of the netmask; C{None}: the route or the address is that of one host.
    @param version: the IP version, 4 or 6.

    @return: the length in bits; C{None}: the netmask has gaps.
    """
    bits = 32 if version == 4 else 128
    if mask is None:
        return bits
    at = _POSITIONS[version]
    number = int.from_bytes(mask[at : at + bits // 8].ljust(bits // 8, b"\0"), "big")
    zeros = ~number & (1 << bits) - 1
    return None if zeros & zeros + 1 else bits - zeros.bit_length()


def ipAddress(address: bytes, layout: Layout, scope: int = 0) -> bytes:
    """
    Pack an IP address into a C{sockaddr_in} or a C{sockaddr_in6}.

    @param address: the 4 or 16 octets of the address.
    @param scope: the index of the interface to which a link-local address belongs; 0: the kernel knows the interface.
    """
    version = 4 if len(address) == 4 else 6
    size = _SIZES[version]
    family, scopeId = (AF_INET, b"") if version == 4 else (layout.inet6, bytes(4))
    if scope and version == 6 and isLinkLocal(address):
        if layout.embedsScope:
            address = address[:2] + scope.to_bytes(2, "big") + address[4:]
        else:
            scopeId = _LONG.pack(scope)
    return bytes((size, family)) + (bytes(_POSITIONS[version] - 2) + address + scopeId).ljust(size - 2, b"\0")


def linkAddress(layout: Layout, index: int = 0) -> bytes:
    """
    Pack the C{sockaddr_dl} that names an interface by its index. Without an index, it asks the kernel for the
    interface.
    """
    return (bytes((layout.linkSize, AF_LINK)) + _SHORT.pack(index)).ljust(layout.linkSize, b"\0")


def packRoute(layout: Layout, kind: int, flags: int, addresses: Mapping[int, bytes], pid: int, sequence: int) -> bytes:
    """
    Pack a request about a route.

    @param kind: C{RTM_ADD}, C{RTM_DELETE} or C{RTM_GET}.
    @param flags: the flags C{RTF_...} of the route.
    @param addresses: the socket addresses of the route, by their bits C{RTA_...}.
    @param pid: the number of this process, which the kernel copies into the answer.
    @param sequence: a number of this request, which the kernel copies into the answer.
    """
    header = layout.route
    message = bytearray(header.size)
    message[_VERSION], message[_TYPE] = layout.version, kind
    if layout.hasHeaderLength:
        _SHORT.pack_into(message, 4, header.size)
    _LONG.pack_into(message, header.flagsAt, flags)
    _LONG.pack_into(message, header.addressesAt, sum(addresses))
    struct.pack_into("=II", message, layout.pid, pid, sequence)
    for bit in sorted(addresses):
        message += addresses[bit]
        message += bytes(-len(message[header.size :]) % layout.alignment)
    _LENGTH.pack_into(message, 0, len(message))
    return bytes(message)


def answerIn(message: bytes, layout: Layout, kind: int, pid: int, sequence: int) -> RouteAnswer | None:
    """
    Parse the answer to a request of L{packRoute}.

    @return: the answer; C{None}: the message is no answer to this request.

    @raise MalformedMessage: the message is the answer, but cannot be parsed.
    """
    if messageType(message, layout) != kind or len(message) < layout.pid + 8:
        return None
    if struct.unpack_from("=II", message, layout.pid) != (pid, sequence):
        return None
    return _routeIn(message, layout)


def routesIn(data: bytes, layout: Layout) -> list[RouteAnswer]:
    """
    Parse the routes in the result of the C{sysctl} C{NET_RT_DUMP}.

    @raise MalformedMessage: a message cannot be parsed.
    """
    return [_routeIn(each, layout) for each in split(data) if messageType(each, layout) == RTM_GET]


def _routeIn(message: bytes, layout: Layout) -> RouteAnswer:
    header = layout.route
    addresses = addressesIn(message, header, layout)
    index, flags = _SHORT.unpack_from(message, header.indexAt)[0], _LONG.unpack_from(message, header.flagsAt)[0]
    return RouteAnswer(index, flags, addresses)
