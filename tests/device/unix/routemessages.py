"""
Routing messages of the kernels of macOS and the BSDs, with the numbers of C{constants.py}.
"""

from __future__ import annotations

import struct

from tests.device.unix.constants import CONSTANTS
from tests.device.unix.routesockets import Link

#: The number of octets to a multiple of which each kernel pads the addresses in a routing message.
ALIGNMENTS = {"darwin": 4, "freebsd": 8, "netbsd": 8, "openbsd": 8}


def packedMessage(
    platform: str, kind: str, header: str, size: str, fields: dict[str, int], addresses: dict[str, bytes]
) -> bytes:
    """
    Pack a routing message of a kernel.

    @param kind: the name of the type of the message.
    @param header: the beginning of the names of the fields, such as C{"if_msghdr."}.
    @param size: the name of the size of the fixed part.
    @param fields: the values of fields, by the rest of their names.
    @param addresses: the socket addresses, by the names of their bits.
    """
    numbers = CONSTANTS[platform]
    message = bytearray(numbers[size])
    message[2:4] = bytes((numbers["RTM_VERSION"], numbers[kind]))
    for name, value in fields.items():
        form = "=H" if name.endswith("index") else "=I"
        struct.pack_into(form, message, numbers[f"{header}{name}"], value)
    if platform == "openbsd":
        struct.pack_into("=H", message, 4, len(message))
    for name in sorted(addresses, key=numbers.__getitem__):
        message += addresses[name]
        message += bytes(-len(message[numbers[size] :]) % ALIGNMENTS[platform])
    struct.pack_into("=H", message, 0, len(message))
    return bytes(message)


def stateMessage(platform: str, link: Link) -> bytes:
    """
    Pack the message with the state of an interface (C{RTM_IFINFO}).
    """
    numbers = CONSTANTS[platform]
    name = link.name.encode()
    kind = numbers["IFT_ETHER" if link.hardware else "IFT_LOOP"]
    sockaddr = struct.pack("=BBHBBBB", 0, numbers["AF_LINK"], link.index, kind, len(name), len(link.hardware), 0)
    sockaddr = (sockaddr + name + link.hardware).ljust(numbers["sizeof(sockaddr_dl)"], b"\0")
    addresses = {"RTA_IFP": bytes((len(sockaddr),)) + sockaddr[1:]}
    fields = {"ifm_index": link.index, "ifm_flags": link.flags, "ifm_addrs": numbers["RTA_IFP"]}
    message = bytearray(packedMessage(platform, "RTM_IFINFO", "if_msghdr.", "sizeof(if_msghdr)", fields, addresses))
    data = numbers["if_msghdr.ifm_data"]
    message[data + numbers["if_data.ifi_type"]] = kind
    struct.pack_into("=I", message, data + numbers["if_data.ifi_mtu"], link.mtu)
    form = "=I" if numbers["if_data.ifi_ierrors"] - numbers["if_data.ifi_ipackets"] == 4 else "=Q"
    for number, counter in enumerate(("ipackets", "ierrors", "opackets", "oerrors", "ibytes", "obytes"), 1001):
        struct.pack_into(form, message, data + numbers[f"if_data.ifi_{counter}"], number)
    return bytes(message)
