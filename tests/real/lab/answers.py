"""
The fields of an answer besides its type and code: a description of each field that has an unusual value.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from tests.real.lab.machine import STATION
from txtuntap.wire import arp, icmp, ipv4, ipv6, ndp
from txtuntap.wire.address import packLinkAddress

#: The type of service of an ICMP error about a packet with type of service 0 (RFC 1812 section 4.3.2.5).
_INTERNETWORK_CONTROL = 0xC0

#: The largest number of octets of a packet that an ICMP error quotes, by IP version.
_MOST_QUOTED = {4: 548, 6: 1232}

#: The option for timestamps (RFC 791 section 3.1).
_TIMESTAMPS = 0x44

_REPLIES = {4: icmp.ECHO_REPLY, 6: icmp.ECHO_REPLY6}
_TARGET_LINK = bytes((ndp.TARGET_LINK, 1)) + packLinkAddress(STATION)

_number = int.from_bytes


@attrs.frozen
class Habits:
    """
    The fields in which the usual answers of one implementation differ from those of another.

    @ivar flowLabels: whether it sets the IPv6 flow label, except in neighbour discovery.
    @ivar zeroIdentifications: whether IPv4 packets with the flag DF have the identification 0.
    """

    flowLabels: bool
    zeroIdentifications: bool


OURS = Habits(flowLabels=False, zeroIdentifications=True)
LINUX = Habits(flowLabels=True, zeroIdentifications=False)


def unusual(packet: bytes, asked: Sequence[bytes], habits: Habits) -> str:
    """
    Describe the unusual fields of an IP packet: type of service or traffic class, options, the flag DF, identification,
    flow label and hop limit. For an ICMP error, also the packet that it quotes; for an echo reply, its octets; for a
    neighbour advertisement, its flags and options.

    @param packet: the IP packet.
    @param asked: the packets or frames that it may be an answer to.
    @param habits: the habits of the host that has sent it.

    @return: each unusual field after a comma; empty: all fields are usual.
    """
    found = list(_header4(packet, habits) if packet[0] >> 4 == 4 else _header6(packet, habits))
    kind, body = _payload(packet)
    if kind in icmp.PROTOCOL.values() and not _isFragment(packet):
        found += _message(packet, body, asked)
    return "".join(f", {each}" for each in found)


def unusualARP(frame: bytes, asked: Sequence[bytes]) -> str:
    """
    Describe the unusual fields of a frame with an ARP reply, in the form of L{unusual}.
    """
    found = []
    if len(frame) != 14 + arp.LENGTH:
        found.append(f"{len(frame)} octets")
    if not any(frame[32:42] in each for each in asked):
        found.append(f"to {frame[32:42].hex()}")
    return "".join(f", {each}" for each in found)


def _payload(packet: bytes) -> tuple[int, bytes]:
    if packet[0] >> 4 == 4:
        return packet[9], packet[(packet[0] & 0x0F) << 2 :]
    return packet[6], packet[ipv6.HEADER_LENGTH :]


def _isFragment(packet: bytes) -> bool:
    if packet[0] >> 4 == 4:
        return _number(packet[6:8], "big") & 0x3FFF != 0
    return packet[6] == ipv6.FRAGMENT


def fragmentOf(packet: bytes) -> str:
    """
    Describe which octets of a datagram a fragment contains.
    """
    if packet[0] >> 4 == 4:
        start = (_number(packet[6:8], "big") & ipv4.OFFSET_MASK) << 3
        length = _number(packet[2:4], "big") - ((packet[0] & 0x0F) << 2)
    else:
        start = _number(packet[42:44], "big") & 0xFFF8
        length = _number(packet[4:6], "big") - ipv6.FRAGMENT_HEADER.size
    return f"fragment {start} to {start + length}"


def _header4(packet: bytes, habits: Habits) -> list[str]:
    kind, body = _payload(packet)
    isMessage = kind == icmp.PROTOCOL[4]
    isError = isMessage and body[0] in icmp.ERRORS and not _isFragment(packet)
    found = []
    if packet[1] != (_INTERNETWORK_CONTROL if isError else 0):
        found.append(f"tos {packet[1]:#x}")
    if packet[0] != 0x45:
        found.append(f"options {_options(packet[20 : (packet[0] & 0x0F) << 2])}")
    word = _number(packet[6:8], "big")
    if word & 0x8000:
        found.append("the reserved flag")
    isWhole = word & ipv4.DONT_FRAGMENT != 0
    if isWhole == (isMessage or _isFragment(packet)):
        found.append("not to be taken apart" if isWhole else "to be taken apart")
    if isWhole and habits.zeroIdentifications and packet[4:6] != b"\0\0":
        found.append("an identification")
    if packet[8] != 64:
        found.append(f"hop limit {packet[8]}")
    return found


def _options(octets: bytes) -> str:
    """
    Describe the options of an IPv4 header in hexadecimal. Timestamps are left out, because they always differ.
    """
    return f"{octets[:4].hex()} and times" if octets[0] == _TIMESTAMPS and any(octets[4:]) else octets.hex()


def _header6(packet: bytes, habits: Habits) -> list[str]:
    word = _number(packet[:4], "big")
    kind, body = _payload(packet)
    isDiscovery = kind == icmp.PROTOCOL[6] and body[0] in range(ndp.ROUTER_SOLICITATION, ndp.ADVERTISEMENT + 1)
    found = []
    if word >> 20 & 0xFF:
        found.append(f"class {word >> 20 & 0xFF:#x}")
    if bool(word & 0xFFFFF) != (habits.flowLabels and not isDiscovery):
        # A random flow label is 0 by chance once in a million packets.
        found.append(f"flow label {word & 0xFFFFF:#x}")
    if packet[7] != (ndp.HOP_LIMIT if isDiscovery else 64):
        found.append(f"hop limit {packet[7]}")
    return found


def _message(packet: bytes, body: bytes, asked: Sequence[bytes]) -> list[str]:
    version = packet[0] >> 4
    kind = body[0]
    if kind in icmp.ERRORS if version == 4 else kind < icmp.FIRST_INFORMATIONAL6:
        return _quoted(version, body[8:], asked) + _unused(version, kind, body)
    if kind == _REPLIES[version] and not any(body[4:] in each for each in asked):
        return [f"octets {body[4:].hex()}"]
    if version == 4 and kind == icmp.TIMESTAMP_REPLY:
        return _times(body, asked)
    if version == 6 and kind == ndp.ADVERTISEMENT:
        return _advertised(packet, body)
    return []


def _quoted(version: int, quote: bytes, asked: Sequence[bytes]) -> list[str]:
    found = []
    length = _number(quote[2:4], "big") if version == 4 else ipv6.HEADER_LENGTH + _number(quote[4:6], "big")
    if len(quote) != min(length, _MOST_QUOTED[version]):
        found.append(f"quoting {len(quote)} octets")
    if not any(quote in each for each in asked):
        # For example a datagram that was reassembled. Its checksum and its addresses are left out.
        header = quote[:10] + quote[20 : (quote[0] & 0x0F) << 2] if version == 4 else quote[:8]
        found.append(f"quoting {header.hex()}")
    return found


def _unused(version: int, kind: int, body: bytes) -> list[str]:
    unused = body[4:8]
    if version == 4 and kind == icmp.PARAMETER_PROBLEM:
        unused = body[5:8]
    elif version == 6 and kind in (icmp.PACKET_TOO_BIG6, icmp.PARAMETER_PROBLEM6):
        unused = b""
    return [f"unused octets {unused.hex()}"] if any(unused) else []


def _times(body: bytes, asked: Sequence[bytes]) -> list[str]:
    found = []
    # The answer repeats the identifier, the sequence number and the originate timestamp of the request.
    if not any(body[4:12] in each for each in asked):
        found.append(f"repeating {body[4:12].hex()}")
    if body[12:16] != body[16:20] or _number(body[12:16], "big") >= 24 * 60 * 60 * 1000:
        found.append(f"times {body[12:].hex()}")
    return found


def _advertised(packet: bytes, body: bytes) -> list[str]:
    found = []
    toAll = packet[24] == 0xFF
    if _number(body[4:8], "big") != (ndp.OVERRIDE if toAll else ndp.SOLICITED | ndp.OVERRIDE):
        found.append(f"flags {body[4:8].hex()}")
    if body[24:] != _TARGET_LINK:
        found.append(f"options {body[24:].hex()}")
    return found
