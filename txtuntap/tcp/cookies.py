"""
SYN cookies: the sequence number of a SYN+ACK that says all there is to know of a connection, so that nothing has to be
remembered of who asks for one.

    +-------+-----+------------------------+
    | epoch | MSS |  authentication code   |   sequence number
    +-------+-----+------------------------+
       5 bits  3              24

The options that the peer's SYN has beside are in the lowest bits of our timestamp, which the peer echoes.
"""

from __future__ import annotations

from bisect import bisect
from hashlib import blake2b

from txtuntap.tcp.handshake import Agreement

#: The segment sizes that a cookie can tell; the next smaller one is taken.
SIZES = (48, 536, 1220, 1300, 1380, 1440, 1460, 8940)

#: Seconds of an epoch. A cookie holds for this one, and the next.
_EPOCH = 64

_EPOCHS = 32

_MASK = 0xFFFFFFFF

#: In our timestamp: the peer's window scale, 15 for none; whether it takes SACK; whether it asks for ECN.
OPTION_BITS = 6
_NO_SCALE = 15
_SACK, _ECN = 0x10, 0x20


class Cookies:
    """
    Makes and checks cookies.
    """

    def __init__(self, key: bytes) -> None:
        """
        @param key: 16 octets that nobody can guess.
        """
        self._key = key

    def make(self, flow: bytes, peerInitial: int, mss: int, now: float) -> int:
        """
        The sequence number for a SYN+ACK.

        @param flow: both addresses and both ports.
        @param peerInitial: the sequence number of the peer's SYN.
        @param mss: what the peer takes in one segment.
        """
        index = max(bisect(SIZES, mss) - 1, 0)
        return self._cookie(flow, peerInitial, int(now // _EPOCH), index)

    def check(self, flow: bytes, peerInitial: int, initial: int, now: float) -> int | None:
        """
        The segment size that a cookie tells; L{None} if it is none of ours, or too old.

        @param initial: the sequence number that the peer acknowledges as that of our SYN+ACK.
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


def withOptions(timestamp: int, agreement: Agreement, hasScale: bool) -> int:
    """
    A timestamp that tells what was agreed on. None is later than C{timestamp}, or the peer would drop what follows as
    old (PAWS, RFC 7323 section 5).
    """
    bits = agreement.scale if hasScale else _NO_SCALE
    bits |= _SACK * agreement.sack | _ECN * agreement.ecn
    told = timestamp >> OPTION_BITS << OPTION_BITS | bits
    return told if told <= timestamp else (told - (1 << OPTION_BITS)) & _MASK


def agreedBefore(mss: int, echo: int | None, ownScale: int) -> Agreement:
    """
    Find what a SYN and a SYN+ACK that are forgotten agreed on.

    @param mss: what the cookie tells.
    @param echo: our timestamp as the peer echoes it; L{None}: there are no timestamps.
    @param ownScale: the scale of our windows, where there is scaling.
    """
    if echo is None:
        return Agreement(mss)
    bits = echo & ((1 << OPTION_BITS) - 1)
    scale = bits & 0x0F
    hasScale = scale != _NO_SCALE
    return Agreement(
        mss, scale if hasScale else 0, ownScale if hasScale else 0, bool(bits & _SACK), True, bool(bits & _ECN)
    )
