"""
The TCP header and its options. Read RFC 9293 section 3.1 first, then RFC 2018 section 3 and RFC 7323 sections 2 and 3::

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
#: The fixed header: two ports, sequence and acknowledgment number, data offset and flags, window, checksum, urgent
#: pointer.
HEADER = struct.Struct("!HHIIHHHH")
HEADER_LENGTH = 20

#: The most octets of options in a header, which the data offset limits.
MAX_OPTIONS = 40

#: The position of the checksum in the header.
CHECKSUM_OFFSET = 16

#: The flags of a segment.
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))

#: The kinds of options.
END, NOP, MSS, WINDOW_SCALE, SACK_PERMITTED, SACK, TIMESTAMPS, MD5 = 0, 1, 2, 3, 4, 5, 8, 19

#: The length of an option of each kind in octets. SACK is missing, because its length varies.
_LENGTHS = {MSS: 4, WINDOW_SCALE: 3, SACK_PERMITTED: 2, TIMESTAMPS: 10, MD5: 18}

#: The largest window scale (RFC 7323 section 2.3).
MAX_SCALE = 14

#: The octets before the two timestamps, with the alignment that nearly all senders use (RFC 7323 appendix A); and the
#: length of these octets and the timestamps together.
ALIGNED_TIMESTAMPS = bytes((NOP, NOP, TIMESTAMPS, 10))
ALIGNED_LENGTH = 12

#: The most SACK blocks in a header without other options, and in a header with timestamps.
MAX_SACKS = 4
MAX_SACKS_BESIDE_TIMESTAMPS = 3

_pair = struct.Struct("!II")
_pairs = [struct.Struct(f"!BBBB{2 * count}I") for count in range(MAX_SACKS + 1)]
_timestamps = struct.Struct("!4sII")


@attrs.define
class Options:
    """
    The options of one segment.

    @ivar mss: the maximum segment size that the sender can receive, in octets; C{None}: there is no such option.
    @ivar scale: the window scale, at most 14; C{None}: there is no such option.
    @ivar sackPermitted: whether the sender can process selective acknowledgments.
    @ivar timestamp: the timestamp of the sender's clock (TSval); C{None}: there is no such option.
    @ivar echo: the timestamp that the sender echoes (TSecr).
    @ivar sacks: the SACK blocks. Each is the sequence number of its first octet, and that of the octet behind its last.
    @ivar signed: whether there is an MD5 signature (RFC 2385).
    """

    mss: int | None = None
    scale: int | None = None
    sackPermitted: bool = False
    timestamp: int | None = None
    echo: int = 0
    sacks: Sequence[tuple[int, int]] = ()
    signed: bool = False


#: The record for a segment that has no options.
NO_OPTIONS = Options()


def parseOptions(data: bytes, start: int, end: int) -> Options:
    """
    Parse the options of a segment. Parsing ends at a malformed option, and an option with a wrong length for its kind
    is skipped. The segment stays valid in both cases, as in Linux. The last of several options of one kind counts.

    @param start: the position of the options in C{data}.
    @param end: the position behind the header.
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
    Pack the options of a SYN, in the order and with the padding of Linux.

    @param mss: the maximum segment size that this host can receive, in octets.
    @param timestamps: the timestamp of this host, and the timestamp to echo; C{None}: no timestamps.
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
    Pack the timestamps option, with padding before it that aligns the timestamps.
    """
    return _timestamps.pack(ALIGNED_TIMESTAMPS, timestamp, echo)


def packSacks(sacks: Sequence[tuple[int, int]]) -> bytes:
    """
    Pack the SACK option, with padding before it that aligns the blocks.

    @param sacks: the blocks, as in L{Options}; at most L{MAX_SACKS}.
    """
    numbers = [number for block in sacks for number in block]
    return _pairs[len(sacks)].pack(NOP, NOP, SACK, 2 + 8 * len(sacks), *numbers)


def pseudoSum(source: bytes, dest: bytes) -> int:
    """
    Sum the part of the pseudo-header that is the same for all segments of a connection: the addresses and the protocol
    number.

    @param source: the packed source IP address.
    @param dest: the packed destination IP address.
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
    Pack the header of a segment with an open checksum: the field holds the sum of the pseudo-header, and the device
    completes it.

    @param pseudo: the result of L{pseudoSum}.
    @param options: the options, a multiple of four octets.
    @param length: the length of the payload in octets.
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
    Pack the header of a segment, and compute its checksum. The other parameters are those of L{packOpenHeader}.

    @param payload: the payload of the segment, which the checksum covers.
    """
    size = HEADER_LENGTH + len(options)
    header = HEADER.pack(sourcePort, destPort, sequence, acknowledgment, size << 10 | flags, window, 0, 0) + options
    check = -(pseudo + size + len(payload) + onesSum(header) + onesSum(payload)) % 0xFFFF
    return header[:CHECKSUM_OFFSET] + check.to_bytes(2, "big") + header[CHECKSUM_OFFSET + 2 :]
