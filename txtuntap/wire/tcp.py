"""
The TCP header and its options (RFC 9293 section 3.1, RFC 2018, RFC 7323).

    +----------------+----------------+
    |  Source Port   |   Dest Port    |
    +----------------+----------------+
    |         Sequence Number         |
    +---------------------------------+
    |      Acknowledgment Number      |
    +------+-----+---+----------------+
    |Offset|     |Fla|     Window     |
    +------+-----+---+----------------+
    |    Checksum    | Urgent Pointer |
    +----------------+----------------+
    |   Options, up to 40 octets ...
    +---------------------------------+
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import attrs

from txtuntap.wire.checksum import onesSum

PROTOCOL = 6
#: Ports, sequence and acknowledgment number, offset and flags, window, checksum, urgent pointer.
HEADER = struct.Struct("!HHIIHHHH")
HEADER_LENGTH = 20

#: The most octets of options that the data offset leaves room for.
MAX_OPTIONS = 40

#: Where in the header the checksum stands.
CHECKSUM_OFFSET = 16

#: The flags.
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))

#: The kinds of options.
END, NOP, MSS, WINDOW_SCALE, SACK_PERMITTED, SACK, TIMESTAMPS, MD5 = 0, 1, 2, 3, 4, 5, 8, 19

#: The length that an option of each kind has; SACK, which has several, is looked at where it is parsed.
_LENGTHS = {MSS: 4, WINDOW_SCALE: 3, SACK_PERMITTED: 2, TIMESTAMPS: 10, MD5: 18}

#: The largest window scale (RFC 7323 section 2.3).
MAX_SCALE = 14

#: The octets before the two timestamps as nearly every sender aligns them (RFC 7323 appendix A), and those of both.
ALIGNED_TIMESTAMPS = bytes((NOP, NOP, TIMESTAMPS, 10))
ALIGNED_LENGTH = 12

#: The most SACK blocks beside nothing else, and beside timestamps.
MAX_SACKS = 4
MAX_SACKS_BESIDE_TIMESTAMPS = 3

_pair = struct.Struct("!II")
_pairs = [struct.Struct(f"!BBBB{2 * count}I") for count in range(MAX_SACKS + 1)]
_timestamps = struct.Struct("!4sII")


@attrs.define
class Options:
    """
    The options of one segment.

    @ivar mss: the most octets of payload in one segment that its sender takes; L{None}: it does not say.
    @ivar scale: the window scale, 14 at most; L{None}: there is none.
    @ivar sackPermitted: whether the sender takes selective acknowledgments.
    @ivar timestamp: the sender's clock; L{None}: there are no timestamps.
    @ivar echo: the timestamp that it echoes.
    @ivar sacks: the blocks of octets that have come out of order: the sequence number of the
        first of each, and that behind the last.
    @ivar signed: whether there is a signature (RFC 2385).
    """

    mss: int | None = None
    scale: int | None = None
    sackPermitted: bool = False
    timestamp: int | None = None
    echo: int = 0
    sacks: Sequence[tuple[int, int]] = ()
    signed: bool = False


#: The options of a segment without any.
NO_OPTIONS = Options()


def parseOptions(data: bytes, start: int, end: int) -> Options:
    """
    Read the options of a segment. One that is malformed ends them, and an option whose length is not that of its kind
    is skipped: neither costs the connection, as with Linux. The last one of two options of a kind counts.

    @param start: where in C{data} they begin; C{end}: where the header ends.
    """
    options = Options()
    at = start
    while at < end:
        kind = data[at]
        if kind == NOP:
            at += 1
            continue
        if kind == END or at + 1 >= end:
            break
        length = data[at + 1]
        if length < 2 or at + length > end:
            break
        if length == _LENGTHS.get(kind):
            if kind == TIMESTAMPS:
                options.timestamp, options.echo = _pair.unpack_from(data, at + 2)
            elif kind == MSS:
                options.mss = data[at + 2] << 8 | data[at + 3]
            elif kind == WINDOW_SCALE:
                options.scale = min(data[at + 2], MAX_SCALE)
            elif kind == SACK_PERMITTED:
                options.sackPermitted = True
            else:
                options.signed = True
        elif kind == SACK and length >= 10 and not (length - 2) % 8:
            options.sacks = list(_pair.iter_unpack(data[at + 2 : at + length]))
        at += length
    return options


def packSynOptions(
    mss: int, scale: int | None = None, sackPermitted: bool = False, timestamps: tuple[int, int] | None = None
) -> bytes:
    """
    The options of a SYN, in the order and with the padding that Linux has.

    @param mss: the most octets of payload that we take in one segment.
    @param timestamps: our clock, and the timestamp that is echoed.
    """
    options = [struct.pack("!BBH", MSS, 4, mss)]
    if timestamps is not None:
        start = bytes((SACK_PERMITTED, 2) if sackPermitted else (NOP, NOP))
        options.append(start + bytes((TIMESTAMPS, 10)) + _pair.pack(*timestamps))
    elif sackPermitted:
        options.append(bytes((NOP, NOP, SACK_PERMITTED, 2)))
    if scale is not None:
        options.append(bytes((NOP, WINDOW_SCALE, 3, scale)))
    return b"".join(options)


def packTimestamps(timestamp: int, echo: int) -> bytes:
    """
    The timestamps option, aligned.
    """
    return _timestamps.pack(ALIGNED_TIMESTAMPS, timestamp, echo)


def packSacks(sacks: Sequence[tuple[int, int]]) -> bytes:
    """
    The SACK option, aligned.

    @param sacks: as in L{Options}; at most L{MAX_SACKS}.
    """
    numbers = [number for block in sacks for number in block]
    return _pairs[len(sacks)].pack(NOP, NOP, SACK, 2 + 8 * len(sacks), *numbers)


def pseudoSum(source: bytes, dest: bytes) -> int:
    """
    The part of a segment's checksum that is the same for all of a connection: the addresses and the protocol.

    @param source: the packed IP address that segments leave from; C{dest} the one they go to.
    """
    return onesSum(source + dest) + PROTOCOL


def packOpenHeader(
    pseudo: int,
    sourcePort: int,
    destPort: int,
    sequence: int,
    acknowledgment: int,
    flags: int,
    window: int,
    options: bytes,
    length: int,
) -> bytes:
    """
    The header of a segment, with the sum of the pseudo-header in place of the checksum, which others are to complete.

    @param pseudo: see L{pseudoSum}.
    @param options: a multiple of four octets.
    @param length: octets of payload.
    """
    size = HEADER_LENGTH + len(options)
    check = (pseudo + size + length) % 0xFFFF
    return HEADER.pack(sourcePort, destPort, sequence, acknowledgment, size << 10 | flags, window, check, 0) + options


def packHeader(
    pseudo: int,
    sourcePort: int,
    destPort: int,
    sequence: int,
    acknowledgment: int,
    flags: int,
    window: int,
    options: bytes,
    payload: bytes,
) -> bytes:
    """
    The header of a segment with this payload, its checksum included: otherwise as L{packOpenHeader}.
    """
    size = HEADER_LENGTH + len(options)
    header = HEADER.pack(sourcePort, destPort, sequence, acknowledgment, size << 10 | flags, window, 0, 0) + options
    check = -(pseudo + size + len(payload) + onesSum(header) + onesSum(payload)) % 0xFFFF
    return header[:CHECKSUM_OFFSET] + check.to_bytes(2, "big") + header[CHECKSUM_OFFSET + 2 :]
