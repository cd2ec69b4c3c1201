"""
A packet in one line of text, like a line of C{tcpdump -n -S}, and the functions that find the headers for it.

All functions accept any octets and never raise, because the sender of a packet chooses them. Nothing is verified. The
text consists of numbers, addresses and fixed words only, so a packet cannot put control characters into it.
"""

from __future__ import annotations

from typing import NamedTuple

from txtuntap.wire import arp, ethernet, icmp, igmp, ipv4, ipv6, mld, ndp, tcp, udp
from txtuntap.wire.address import addressText, linkAddressText
from txtuntap.wire.offload import networkStart

_NAMES = {
    igmp.PROTOCOL: "igmp",
    tcp.PROTOCOL: "TCP",
    udp.PROTOCOL: "UDP",
    47: "GREv0",
    50: "ESP",
    51: "AH",
    89: "OSPF",
    132: "sctp",
    icmp.PROTOCOL[4]: "ICMP",
    icmp.PROTOCOL[6]: "ICMP6",
}

#: The letters of the flags of a segment, in the order in which tcpdump prints them.
_FLAGS = (
    (tcp.FIN, "F"),
    (tcp.SYN, "S"),
    (tcp.RST, "R"),
    (tcp.PSH, "P"),
    (tcp.ACK, "."),
    (tcp.URG, "U"),
    (tcp.ECE, "E"),
    (tcp.CWR, "W"),
)

_MESSAGES = {
    icmp.UNREACHABLE: "unreachable",
    icmp.REDIRECT: "redirect",
    icmp.ROUTER_ADVERTISEMENT: "router advertisement",
    10: "router solicitation",
    icmp.TIME_EXCEEDED: "time exceeded",
    icmp.PARAMETER_PROBLEM: "parameter problem",
    icmp.TIMESTAMP_REQUEST: "time stamp query",
    icmp.TIMESTAMP_REPLY: "time stamp reply",
}
_MESSAGES6 = {
    icmp.UNREACHABLE6: "destination unreachable",
    icmp.PACKET_TOO_BIG6: "packet too big",
    icmp.TIME_EXCEEDED6: "time exceeded",
    icmp.PARAMETER_PROBLEM6: "parameter problem",
    mld.QUERY: "multicast listener query",
    mld.REPORT: "multicast listener report v2",
    ndp.ROUTER_SOLICITATION: "router solicitation",
    ndp.ROUTER_ADVERTISEMENT: "router advertisement",
    ndp.SOLICITATION: "neighbor solicitation",
    ndp.ADVERTISEMENT: "neighbor advertisement",
    ndp.REDIRECT: "redirect",
}
_ECHOES = {
    (4, icmp.ECHO_REQUEST): "echo request",
    (4, icmp.ECHO_REPLY): "echo reply",
    (6, icmp.ECHO_REQUEST6): "echo request",
    (6, icmp.ECHO_REPLY6): "echo reply",
}
#: The words before the target address of messages of Neighbour Discovery.
_TARGETS = {ndp.SOLICITATION: "who has", ndp.ADVERTISEMENT: "tgt is"}

#: The length of a message of Neighbour Discovery up to the end of its target address.
_TARGET_END = 24


class Payload(NamedTuple):
    """
    The payload of an IP packet, behind all IP headers.

    @ivar protocol: its protocol number; C{None} if the headers could not be read to the end.
    @ivar start: the position of its first octet.
    @ivar end: the position behind its last octet. Padding may follow.
    @ivar offset: the position in the datagram of a fragment's first octet; 0 for a whole datagram.
    @ivar isFragment: whether the packet is a fragment, and not a whole datagram.
    """

    protocol: int | None
    start: int
    end: int
    offset: int = 0
    isFragment: bool = False


def isFrame(data: bytes, start: int = 0) -> bool:
    """
    Guess whether octets are an Ethernet frame, and not an IP packet. A frame contains IP or ARP, and does not have the
    version and the length of an IP packet.

    @param start: the position of the packet.
    """
    version = versionAt(data, start)
    if version:
        length = data[start + 2 : start + 4] if version == 4 else data[start + 4 : start + 6]
        if int.from_bytes(length, "big") == len(data) - start - (0 if version == 4 else ipv6.HEADER_LENGTH):
            return False
    if networkOf(data, start) is not None:
        return True
    return etherTypeOf(data, start) == ethernet.ARP and arp.parse(data[networkStart(data, start) :]) is not None


def etherTypeOf(data: bytes, start: int = 0) -> int:
    """
    Return the EtherType of a frame, behind its VLAN tags; 0 if the frame is cut short, or has a length in its place.

    @param start: the position of the frame.
    """
    at = networkStart(data, start)
    etherType = int.from_bytes(data[at - 2 : at], "big") if at <= len(data) else 0
    return etherType if etherType >= ethernet.FIRST_TYPE else 0


def networkOf(data: bytes, start: int = 0) -> int | None:
    """
    Find the IP header of a frame.

    @param start: the position of the frame.

    @return: the position of the header; C{None} if there is none, or if it contradicts the EtherType.
    """
    at = networkStart(data, start)
    version = versionAt(data, at)
    return at if version and etherTypeOf(data, start) == (ethernet.IPV4 if version == 4 else ethernet.IPV6) else None


def versionAt(data: bytes, start: int) -> int:
    """
    Return the version of an IP header, 4 or 6; 0 if there is no complete header.

    @param start: the position of the header.
    """
    available = len(data) - start
    if available >= ipv4.HEADER_LENGTH and data[start] >> 4 == 4:
        length = (data[start] & 0x0F) << 2
        return 4 if ipv4.HEADER_LENGTH <= length <= available else 0
    return 6 if available >= ipv6.HEADER_LENGTH and data[start] >> 4 == 6 else 0


def payloadOf(data: bytes, network: int) -> Payload:
    """
    Find the payload of an IP packet.

    @param network: the position of the header, which is complete.
    """
    if data[network] >> 4 == 4:
        length, word, protocol = ipv4.ESSENTIALS.unpack_from(data, network)
        start = network + ((data[network] & 0x0F) << 2)
        end = min(len(data), max(start, network + length))
        offset = (word & ipv4.OFFSET_MASK) << 3
        return Payload(protocol, start, end, offset, bool(offset or word & ipv4.MORE_FRAGMENTS))
    upper = ipv6.upperLayer(data, network)
    if not upper.isLater:
        return Payload(upper.protocol, upper.start, max(upper.start, upper.end), 0, upper.isFragment)
    protocol, word, _ = ipv6.FRAGMENT_HEADER.unpack_from(data, upper.start)
    start = upper.start + ipv6.FRAGMENT_HEADER.size
    return Payload(protocol, start, upper.end, word & 0xFFF8, True)


def describe(data: bytes, start: int, frame: bool) -> str:
    """
    Describe a packet in one line.

    @param start: the position of the packet.
    @param frame: whether the packet is an Ethernet frame, and not an IP packet.
    """
    if not frame:
        return _describeIP(data, start)
    at = networkStart(data, start)
    if at > len(data):
        return f"frame, truncated, length {len(data) - start}"
    tags = range(start + ethernet.HEADER_LENGTH, at, ethernet.TAG.size)
    vlans = "".join(f"vlan {ethernet.TAG.unpack_from(data, each)[0] & 0x0FFF}, " for each in tags)
    etherType = etherTypeOf(data, start)
    if etherType in (ethernet.IPV4, ethernet.IPV6):
        return vlans + _describeIP(data, at)
    length = len(data) - at
    if etherType == ethernet.ARP:
        return f"{vlans}ARP, {_describeARP(data[at:])}, length {length}"
    dest, source, _ = ethernet.HEADER.unpack_from(data, start)
    kind = f"ethertype {etherType:#06x}" if etherType else "802.3"
    return f"{vlans}{linkAddressText(source)} > {linkAddressText(dest)}, {kind}, length {length}"


def _describeARP(message: bytes) -> str:
    """
    Describe an ARP packet, without its length.
    """
    parsed = arp.parse(message)
    if parsed is None:
        return "truncated" if len(message) < arp.LENGTH else "unknown"
    sender, target = addressText(parsed.sender), addressText(parsed.target)
    if parsed.opcode == arp.REQUEST:
        return f"Request who-has {target} tell {sender}"
    return f"Reply {sender} is-at {linkAddressText(parsed.senderLink)}"


def _describeIP(data: bytes, network: int) -> str:
    """
    Describe an IP packet.

    @param network: the position of its header.
    """
    version = versionAt(data, network)
    if not version:
        length = len(data) - network
        first = data[network] >> 4 if length > 0 else 0
        known = {4: "IP, truncated", 6: "IP6, truncated"}
        return f"{known.get(first, 'unknown')}, length {max(length, 0)}"
    at, size = (network + 12, 4) if version == 4 else (network + 8, 16)
    source, dest = addressText(data[at : at + size]), addressText(data[at + size : at + 2 * size])
    payload = payloadOf(data, network)
    length = payload.end - payload.start
    protocol = payload.protocol
    ports, text = "", ""
    if protocol is not None and not payload.offset:
        ports, text = _describePayload(data[payload.start : payload.end], version, protocol)
    if not text:
        name = "unknown headers" if protocol is None else _NAMES.get(protocol, f"ip-proto-{protocol}")
        text = f"{name}, length {length}"
    if payload.isFragment:
        text += f", fragment at {payload.offset}"
    if ports:
        sourcePort, _, destPort = ports.partition(" ")
        source, dest = f"{source}.{sourcePort}", f"{dest}.{destPort}"
    return f"{'IP' if version == 4 else 'IP6'} {source} > {dest}: {text}"


def _describePayload(payload: bytes, version: int, protocol: int) -> tuple[str, str]:
    """
    Describe the payload of a whole datagram or of a first fragment.

    @return: the two ports with a blank in between, or an empty string; and the text, which is empty for a protocol that
        is known by name or number only.
    """
    length = len(payload)
    if protocol not in (udp.PROTOCOL, tcp.PROTOCOL, icmp.PROTOCOL[version]):
        return "", ""
    if length < (tcp.HEADER_LENGTH if protocol == tcp.PROTOCOL else udp.HEADER_LENGTH):
        return "", f"{_NAMES[protocol]}, truncated, length {length}"
    if protocol == udp.PROTOCOL:
        sourcePort, destPort, stated, _ = udp.HEADER.unpack_from(payload)
        return f"{sourcePort} {destPort}", f"UDP, length {max(stated - udp.HEADER_LENGTH, 0)}"
    if protocol == tcp.PROTOCOL:
        sourcePort, destPort = udp.HEADER.unpack_from(payload)[:2]
        return f"{sourcePort} {destPort}", _describeSegment(payload)
    return "", f"{_NAMES[protocol]}{' ' if version == 4 else ', '}{_describeMessage(payload, version)}, length {length}"


def _describeSegment(segment: bytes) -> str:
    """
    Describe a TCP segment, which has a complete header but for its options.
    """
    _, _, sequence, acknowledgment, word, window, _, urgent = tcp.HEADER.unpack_from(segment)
    length = max(len(segment) - (word >> 12 << 2), 0)
    letters = "".join(letter for flag, letter in _FLAGS if word & flag) or "none"
    parts = [f"Flags [{letters}]"]
    if length:
        parts.append(f"seq {sequence}:{(sequence + length) & 0xFFFFFFFF}")
    elif word & (tcp.SYN | tcp.FIN | tcp.RST):
        parts.append(f"seq {sequence}")
    if word & tcp.ACK:
        parts.append(f"ack {acknowledgment}")
    parts.append(f"win {window}")
    if word & tcp.URG:
        parts.append(f"urg {urgent}")
    return ", ".join([*parts, f"length {length}"])


def _describeMessage(message: bytes, version: int) -> str:
    """
    Describe a message of ICMP or ICMPv6, which has a complete header, without its length.
    """
    kind, code, _, rest = icmp.HEADER.unpack_from(message)
    echo = _ECHOES.get((version, kind))
    if echo is not None:
        return f"{echo}, id {rest >> 16}, seq {rest & 0xFFFF}"
    if version == 6 and kind in _TARGETS and len(message) >= _TARGET_END:
        return f"{_MESSAGES6[kind]}, {_TARGETS[kind]} {addressText(message[8:_TARGET_END])}"
    text = (_MESSAGES if version == 4 else _MESSAGES6).get(kind, f"type {kind}")
    isError = kind in icmp.ERRORS if version == 4 else kind < icmp.FIRST_INFORMATIONAL6
    return f"{text}, code {code}" if isError else text
