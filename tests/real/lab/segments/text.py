"""
The conversion of segments to text and back, in the notation of L{tests.real.lab.segments}.
"""

from __future__ import annotations

import struct

import attrs

from tests.real.lab.answers import Habits, unusual
from tests.real.lab.segments.actors import folded, unfolded
from tests.real.test_input import HERE
from txtuntap.testing import ipPacket
from txtuntap.wire import icmp, ipv6, tcp
from txtuntap.wire.address import packAddress

_MASK = 0xFFFFFFFF

#: The largest number of octets in a segment whose PSH flag is shown. Linux sets PSH on the last segment that it sends
#: at once, and the number of these depends on the pacing rate.
_LONG = 100

#: The largest number of segments in a superpacket in these tests.
_MOST_SEGMENTS = 64

#: The letters of the flags by bit, and in the order in which the text shows them.
_LETTERS, _TOLD = "FSRPAUEC", "SFRPAUEC"

#: The initial sequence number of the peer, shortly before sequence numbers wrap.
PEER_INITIAL = 0xFFFFFFF0

#: The acknowledgment number that stands for 0 before the host has sent its initial sequence number.
NO_INITIAL = 0x12345600

#: The peer's timestamp clock, to which the timestamps in the text are relative.
PEER_CLOCK = 7_000_000

#: The segment size that fits the link's MTU, by IP version.
LINK_MSS = {4: 1460, 6: 1440}

#: The ICMP errors of the notation: the type and code of each, by IP version.
_ERRORS = {
    "net": {4: (3, 0), 6: (1, 0)},
    "host": {4: (3, 1), 6: (1, 3)},
    "protocol": {4: (3, 2), 6: (4, 1)},
    "port": {4: (3, 3), 6: (1, 4)},
    "admin": {4: (3, 13), 6: (1, 1)},
    "expired": {4: (11, 0), 6: (3, 0)},
    "quench": {4: (4, 0), 6: (1, 2)},
    "big": {4: (3, 4), 6: (2, 0)},
}


@attrs.define
class Numbers:
    """
    The addresses, ports and initial numbers of a conversation.

    @ivar version: the IP version.
    @ivar address: the peer's address.
    @ivar peerPort: the peer's port.
    @ivar port: the host's port.
    @ivar host: the host's initial sequence number; L{None}: the host has sent none yet.
    @ivar clock: the host's latest timestamp.
    """

    version: int
    address: str
    peerPort: int
    port: int
    host: int | None = None
    clock: int = 0

    @property
    def base(self) -> int:
        """
        The sequence number to which the host's numbers are relative.
        """
        return NO_INITIAL if self.host is None else self.host


def packed(text: str, numbers: Numbers) -> bytes:
    """
    Make the IP packet of a segment that the peer sends from its text.
    """
    head, _, payload = text.partition(" : ")
    head, _, said = head.partition("<")
    words = head.split()
    flags = sum(1 << _LETTERS.index(letter) for letter in words[0] if letter != ".")
    counts = [int(word) for word in words[1:] if word.lstrip("-").isdigit()]
    marks = [word for word in words[1:] if not word.lstrip("-").isdigit()]
    window, urgent, offset, tos, isWrong = 65535, 0, None, 0, False
    for mark in marks:
        if mark == "wrong":
            isWrong = True
        elif mark.startswith("off="):
            offset = int(mark[4:])
        elif mark.startswith("tos="):
            tos = int(mark[4:])
        elif mark.startswith("w"):
            window = int(mark[1:])
        else:
            urgent = int(mark[1:])
    options = _packedOptions(said.rstrip("> ").split(), numbers)
    data = unfolded(payload)
    length = 20 + len(options)
    word = (length >> 2 if offset is None else offset) << 12 | flags
    sequence = (PEER_INITIAL + counts[0]) & _MASK
    acknowledgment = (numbers.base + counts[1]) & _MASK if len(counts) > 1 else 0
    ports = numbers.peerPort, numbers.port
    header = tcp.HEADER.pack(*ports, sequence, acknowledgment, word, window, 0, urgent) + options
    source, dest = packAddress(numbers.address), packAddress(HERE[numbers.version])
    check = _sum(source, dest, header + data) ^ isWrong
    segment = header[:16] + check.to_bytes(2, "big") + header[18:] + data
    return ipPacket(source, dest, tcp.PROTOCOL, segment, tos=tos)


def _sum(source: bytes, dest: bytes, segment: bytes) -> int:
    return int(-(tcp.pseudoSum(source, dest) + len(segment) + _words(segment)) % 0xFFFF)


def _words(octets: bytes) -> int:
    octets += bytes(len(octets) & 1)
    return int(sum(struct.unpack(f"!{len(octets) // 2}H", octets))) % 0xFFFF


def _packedOptions(words: list[str], numbers: Numbers) -> bytes:
    found = b""
    for word in words:
        name, _, value = word.partition("=")
        if name == "nop":
            found += b"\x01"
        elif name == "end":
            found += b"\x00"
        elif name == "mss":
            found += struct.pack("!BBH", 2, 4, int(value) if value else LINK_MSS[numbers.version])
        elif name == "sok":
            found += b"\4\2"
        elif name == "ws":
            found += bytes((3, 3, int(value)))
        elif name == "ts":
            mine, _, echo = value.partition("/")
            clock = int(echo) if echo else numbers.clock
            found += struct.pack("!BBII", 8, 10, (PEER_CLOCK + int(mine)) & _MASK, clock)
        elif name == "sack":
            edges = [(numbers.base + int(edge)) & _MASK for each in value.split(",") for edge in each.split("-")]
            found += bytes((5, 2 + 4 * len(edges))) + struct.pack(f"!{len(edges)}I", *edges)
        else:
            found += bytes.fromhex(value)
    return found + bytes(-len(found) % 4)


def error(text: str, numbers: Numbers) -> bytes:
    """
    Make the packet of an ICMP error from its text.

    @param text: the name of one of L{_ERRORS}, or a type and code such as C{3/5}; for C{big}, the MTU; and the quoted
        sequence number.
    """
    name, *counts = text.split()
    version = numbers.version
    kind, code = map(int, name.split("/")) if "/" in name else _ERRORS[name][version]
    about = int(counts[0]) if name == "big" else 0
    here = packAddress(HERE[version])
    sequence = (numbers.base + int(counts[-1])) & _MASK
    segment = struct.pack("!HHIIHHHH", numbers.port, numbers.peerPort, sequence, 0, 5 << 12 | tcp.ACK, 0, 0, 0)
    quoted = ipPacket(here, numbers.address, tcp.PROTOCOL, segment + bytes(1400))[: 28 if version == 4 else 1200]
    rest = struct.pack("!HH", 0, about) if version == 4 else about.to_bytes(4, "big")
    source = packAddress(numbers.address)
    ends = (source, here) if version == 6 else ()
    message = icmp.pack(kind, code, int.from_bytes(rest, "big"), quoted, *ends)
    return ipPacket(source, here, icmp.PROTOCOL[version], message)


def told(packet: bytes, numbers: Numbers, habits: Habits) -> str:
    """
    Convert a segment of the host to text, and learn its initial sequence number, port and timestamp.
    """
    version = packet[0] >> 4
    header = (packet[0] & 15) << 2 if version == 4 else ipv6.HEADER_LENGTH
    end = int.from_bytes(packet[2:4], "big") if version == 4 else header + int.from_bytes(packet[4:6], "big")
    segment = packet[header:end]
    port, _, sequence, acknowledgment, word, window, _, urgent = tcp.HEADER.unpack_from(segment)
    flags, length = word & 0xFF, word >> 12 << 2
    if flags & tcp.SYN and numbers.host is None:
        numbers.host, numbers.port = sequence, port
    if len(segment) - length > _LONG:
        flags &= ~tcp.PSH
    text = "".join(letter for letter in _TOLD if flags >> _LETTERS.index(letter) & 1)
    isZero = flags & tcp.RST and flags & tcp.ACK and not sequence
    text += " zero" if isZero else f" {_relative(sequence, numbers.base)}"
    if flags & tcp.ACK:
        text += f" {_relative(acknowledgment, PEER_INITIAL)}"
    elif acknowledgment:
        text += f" {acknowledgment:#x}"
    if not window:
        text += " w0"
    if urgent:
        text += f" u{urgent}"
    options = _toldOptions(segment[20:length], numbers)
    if options:
        text += f" <{options}>"
    if segment[length:]:
        text += f" : {folded(segment[length:])}"
    addresses = packAddress(HERE[version]), packAddress(numbers.address)
    if (tcp.pseudoSum(*addresses) + len(segment) + _words(segment)) % 0xFFFF:
        text += ", a wrong checksum"
    if version == 4 and habits.zeroIdentifications and packet[4] == 0 and packet[5] < _MOST_SEGMENTS:
        # The identification is the segment's position in its superpacket, so it does not count as unusual.
        packet = packet[:5] + b"\0" + packet[6:]
    return text + unusual(packet, [], habits)


def _relative(number: int, base: int) -> int:
    return ((number - base + 0x80000000) & _MASK) - 0x80000000


def _toldOptions(octets: bytes, numbers: Numbers) -> str:
    found = []
    at = 0
    while at < len(octets):
        kind = octets[at]
        if kind < 2:
            found.append("end" if not kind else "nop")
            at += 1
            continue
        length = octets[at + 1]
        value = octets[at + 2 : at + length]
        if kind == tcp.MSS:
            mss = int.from_bytes(value, "big")
            found.append("mss" if mss == LINK_MSS[numbers.version] else f"mss={mss}")
        elif kind == tcp.SACK_PERMITTED:
            found.append("sok")
        elif kind == tcp.WINDOW_SCALE:
            found.append("ws")
        elif kind == tcp.TIMESTAMPS:
            clock, echo = struct.unpack("!II", value)
            early = numbers.clock and _relative(clock, numbers.clock) < 0
            numbers.clock = clock
            found.append(f"ts={_relative(echo, PEER_CLOCK) if echo else 'none'}{' that goes back' if early else ''}")
        elif kind == tcp.SACK:
            edges = [_relative(edge, PEER_INITIAL) for edge in struct.unpack(f"!{len(value) // 4}I", value)]
            found.append("sack=" + ",".join(f"{a}-{b}" for a, b in zip(edges[::2], edges[1::2], strict=True)))
        else:
            found.append(f"option {kind}")
        at += length
    return " ".join(found)
