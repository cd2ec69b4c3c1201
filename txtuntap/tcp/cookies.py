"""
SYN cookies: the sequence number of a SYN+ACK encodes the state of a half-open connection. So no state is stored for
peers that may never answer. Read RFC 4987 section 3.6 first::

    +-------+-----+------------------------+
    | epoch | MSS |  authentication code   |   sequence number
    +-------+-----+------------------------+
       5 bits  3              24

The other options of the peer's SYN are encoded in the lowest bits of our timestamp, which the peer echoes.
"""

from __future__ import annotations

from bisect import bisect
from hashlib import blake2b

from txtuntap.tcp.handshake import Agreement

#: The values of the peer's MSS that a cookie can encode. Any other value is rounded down to one of these.
SIZES = (48, 536, 1220, 1300, 1380, 1440, 1460, 8940)

#: The seconds of an epoch. A cookie is valid in its own epoch and in the next one.
_EPOCH = 64

#: The number of epochs that a cookie can distinguish.
_EPOCHS = 32

_MASK = 0xFFFFFFFF

#: The number of bits of our timestamp that encode options. From the lowest bit: the peer's window scale in four bits
#: (15: none), whether SACK is used, and whether ECN is used.
OPTION_BITS = 6
_NO_SCALE = 15
_SACK, _ECN = 0x10, 0x20


class Cookies:
    """
    The maker and checker of cookies with one secret key.
    """

    def __init__(self, key: bytes) -> None:
        """
        @param key: 16 octets that nobody can guess.
        """
        self._key = key

    def make(self, flow: bytes, peerInitial: int, mss: int, now: float) -> int:
        """
        Make a cookie, which is the sequence number for a SYN+ACK.

        @param flow: both addresses and both ports, packed.
        @param peerInitial: the sequence number of the peer's SYN.
        @param mss: the MSS of the peer, in octets.
        @param now: the time in seconds.
        """
        index = max(bisect(SIZES, mss) - 1, 0)
        return self._cookie(flow, peerInitial, int(now // _EPOCH), index)

    def check(self, flow: bytes, peerInitial: int, initial: int, now: float) -> int | None:
        """
        Return the MSS that a cookie encodes. C{None}: the cookie is forged or too old.

        @param initial: the cookie, which is the acknowledged sequence number of our SYN+ACK.
        """
        current = int(now // _EPOCH)
        index = initial >> 24 & 0x07
        for epoch in current, current - 1:
            if self._cookie(flow, peerInitial, epoch, index) == initial:
                return SIZES[index]
        return None

    def _cookie(self, flow: bytes, peerInitial: int, epoch: int, index: int) -> int:
        text = flow + b"%d %d %d" % (peerInitial, epoch, index)
        code = int.from_bytes(blake2b(text, digest_size=3, key=self._key).digest(), "big")
        return (epoch % _EPOCHS) << 27 | index << 24 | code


def encodeOptions(timestamp: int, agreement: Agreement, hasScale: bool) -> int:
    """
    Encode the agreed options in the lowest bits of a timestamp. The result is never later than C{timestamp}, because
    the peer would drop later segments as old otherwise (PAWS, RFC 7323 section 5).

    @param hasScale: whether the peer's SYN has a window scale.
    """
    bits = agreement.scale if hasScale else _NO_SCALE
    bits |= _SACK * agreement.sack | _ECN * agreement.ecn
    told = timestamp >> OPTION_BITS << OPTION_BITS | bits
    return told if told <= timestamp else (told - (1 << OPTION_BITS)) & _MASK


def decodeAgreement(mss: int, echo: int | None, ownScale: int) -> Agreement:
    """
    Decode the agreement of a handshake from a cookie and an echoed timestamp.

    @param mss: the MSS that the cookie encodes.
    @param echo: our timestamp, echoed by the peer. C{None}: the connection has no timestamps.
    @param ownScale: the scale of our windows, if the connection uses scaling.
    """
    if echo is None:
        return Agreement(mss)
    bits = echo & ((1 << OPTION_BITS) - 1)
    scale = bits & 0x0F
    hasScale = scale != _NO_SCALE
    return Agreement(
        mss, scale if hasScale else 0, ownScale if hasScale else 0, bool(bits & _SACK), True, bool(bits & _ECN)
    )
