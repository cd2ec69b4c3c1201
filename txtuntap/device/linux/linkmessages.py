"""
A parser for rtnetlink's messages about links and addresses (C{rtnetlink(7)}). Its results have the same form as
pyroute2's messages, but contain only the attributes that this package uses.

pyroute2 is not used for these messages, because the kernel sends them for every interface of the machine. pyroute2
parses all of the hundred attributes in a message, which takes longer than all other work on the message. It also
expects names to be UTF-8, and they need not be.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable, Iterator
from socket import AF_INET, AF_INET6, inet_ntop
from typing import Any

Message = dict[str, Any]

#: C{struct nlmsghdr} and C{struct nlattr} (C{linux/netlink.h}), and the bits of an attribute's type that hold its
#: number.
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF

#: C{struct ifinfomsg} and C{struct ifaddrmsg}. The interface's index is at the same offset in both.
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")

#: C{linux/rtnetlink.h}
_EVENTS = {16: "RTM_NEWLINK", 17: "RTM_DELLINK", 20: "RTM_NEWADDR", 21: "RTM_DELADDR"}

#: The first fields of C{struct rtnl_link_stats64}, which all kernels have.
_STATISTICS = (
    *("rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_errors", "tx_errors", "rx_dropped", "tx_dropped"),
    *("multicast", "collisions", "rx_length_errors", "rx_over_errors", "rx_crc_errors", "rx_frame_errors"),
    *("rx_fifo_errors", "rx_missed_errors", "tx_aborted_errors", "tx_carrier_errors", "tx_fifo_errors"),
    *("tx_heartbeat_errors", "tx_window_errors", "rx_compressed", "tx_compressed"),
)

_Decoder = Callable[[bytes], Any]


def split(data: bytes) -> Iterator[tuple[int, bytes]]:
    """
    Split the octets of one read from a netlink socket into messages.

    @return: the type of each message, and its octets including the header.

    @raise ValueError: a message is cut short.
    """
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, at)
        if not _HEADER.size <= length <= len(data) - at:
            # The buffer was too small for the last message.
            raise ValueError("the netlink message is cut short")
        yield kind, data[at : at + length]
        at += (length + 3) & ~3


def decode(kind: int, message: bytes) -> Message | None:
    """
    Parse a message about a link or an address.

    @param kind: the message's type.
    @param message: the octets of the message including its header.

    @return: the message in pyroute2's form; C{None}: it is about another kind of object.

    @raise ValueError: the message is malformed, for example cut short.
    """
    event = _EVENTS.get(kind)
    if event is None:
        return None
    try:
        return _decode(kind, event, message)
    except struct.error as e:
        raise ValueError(f"the netlink message is cut short: {e}") from e


def _decode(kind: int, event: str, message: bytes) -> Message:
    _, _, flags, sequence, _ = _HEADER.unpack_from(message)
    header = {"type": kind, "flags": flags, "sequence_number": sequence, "error": None}
    if kind < 20:
        family, linkType, index, linkFlags, change = _LINK.unpack_from(message, _HEADER.size)
        fields = {"family": family, "ifi_type": linkType, "index": index, "flags": linkFlags, "change": change}
        found = _attributes(message[_HEADER.size + _LINK.size :], _LINK_ATTRIBUTES)
    else:
        family, prefixLength, addressFlags, scope, index = _ADDRESS.unpack_from(message, _HEADER.size)
        fields = {"family": family, "prefixlen": prefixLength, "flags": addressFlags, "scope": scope, "index": index}
        found = _attributes(message[_HEADER.size + _ADDRESS.size :], _ADDRESS_ATTRIBUTES)
    return {"header": header, "event": event, **fields, "attrs": found}


def _attributes(data: bytes, known: dict[int, tuple[str, _Decoder]]) -> list[tuple[str, Any]]:
    """
    Parse the attributes of a message, or those that are nested in an attribute.

    @param known: the name and the decoder of each attribute to return, by its number. Others are skipped.

    @return: the name and the value of each.
    """
    found = []
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if not _ATTRIBUTE.size <= length <= len(data) - at:
            raise ValueError("the netlink attribute is cut short")
        if (kind & _TYPE_MASK) in known:
            name, decoder = known[kind & _TYPE_MASK]
            found.append((name, decoder(data[at + _ATTRIBUTE.size : at + length])))
        at += (length + 3) & ~3
    return found


def _text(value: bytes) -> str:
    return os.fsdecode(value.partition(b"\0")[0])


def _number(value: bytes) -> int:
    return int.from_bytes(value, sys.byteorder)


def _ip(value: bytes) -> str:
    return inet_ntop(AF_INET if len(value) == 4 else AF_INET6, value)


def _statistics(value: bytes) -> dict[str, int]:
    numbers = struct.unpack_from(f"={len(_STATISTICS)}Q", value)
    return dict(zip(_STATISTICS, numbers, strict=True))


def _tun(value: bytes) -> dict[str, Any]:
    return {"attrs": _attributes(value, _TUN_ATTRIBUTES)}


def _information(value: bytes) -> dict[str, Any]:
    """
    Parse C{IFLA_LINKINFO}: the kind of an interface and, for a TUN or TAP device only, its nested attributes.
    """
    found = dict(_attributes(value, _INFORMATION_ATTRIBUTES))
    if found.get("IFLA_INFO_KIND") == "tun" and "IFLA_INFO_DATA" in found:
        found["IFLA_INFO_DATA"] = _tun(found["IFLA_INFO_DATA"])
    else:
        found.pop("IFLA_INFO_DATA", None)
    return {"attrs": list(found.items())}


#: C{linux/if_link.h}
_TUN_ATTRIBUTES: dict[int, tuple[str, _Decoder]] = {
    1: ("IFLA_TUN_OWNER", _number),
    2: ("IFLA_TUN_GROUP", _number),
    3: ("IFLA_TUN_TYPE", _number),
    4: ("IFLA_TUN_PI", _number),
    5: ("IFLA_TUN_VNET_HDR", _number),
    6: ("IFLA_TUN_PERSIST", _number),
    7: ("IFLA_TUN_MULTI_QUEUE", _number),
    8: ("IFLA_TUN_NUM_QUEUES", _number),
    9: ("IFLA_TUN_NUM_DISABLED_QUEUES", _number),
}
_INFORMATION_ATTRIBUTES: dict[int, tuple[str, _Decoder]] = {1: ("IFLA_INFO_KIND", _text), 2: ("IFLA_INFO_DATA", bytes)}
_LINK_ATTRIBUTES: dict[int, tuple[str, _Decoder]] = {
    1: ("IFLA_ADDRESS", bytes),
    3: ("IFLA_IFNAME", _text),
    4: ("IFLA_MTU", _number),
    13: ("IFLA_TXQLEN", _number),
    18: ("IFLA_LINKINFO", _information),
    23: ("IFLA_STATS64", _statistics),
    33: ("IFLA_CARRIER", _number),
}

#: C{linux/if_addr.h}
_ADDRESS_ATTRIBUTES: dict[int, tuple[str, _Decoder]] = {
    1: ("IFA_ADDRESS", _ip),
    2: ("IFA_LOCAL", _ip),
    4: ("IFA_BROADCAST", _ip),
}
