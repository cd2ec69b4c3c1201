"""
The handshake: the parameters of our side, and the options that both SYNs agree on.

Read RFC 9293 sections 3.5 and 3.7.1 first, then RFC 7323 (window scale, timestamps), 2018 (SACK) and 3168 (ECN).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import attrs
from zope.interface.interface import Method

from txtuntap.mistakes import checkCallable, checkFlag, checkRange, checkSeconds
from txtuntap.tcp.congestion import ICongestionControl
from txtuntap.tcp.cubic import Cubic
from txtuntap.tcp.receiver import MAX_BUFFER
from txtuntap.wire.tcp import ACK, CWR, ECE, MAX_SCALE, SYN, Options, packSynOptions

#: The MSS of a peer whose SYN has no MSS option, by IP version (RFC 9293 section 3.7.1).
DEFAULT_MSS = {4: 536, 6: 1220}
#: The least MSS that is used. A peer with a smaller MSS would cost a packet for every few octets (tcp_min_snd_mss).
MIN_MSS = 48

#: The octets of a timestamps option in a segment, padding included.
TIMESTAMPS_LENGTH = 12


#: The octets of the largest possible window, with the largest scale (RFC 7323 section 2.3).
MAX_WINDOW = 0xFFFF << MAX_SCALE

#: The seconds of silence before the first keepalive probe (RFC 1122 section 4.2.3.6; tcp_keepalive_time).
KEEPALIVE_IDLE = 7200.0
#: The seconds between keepalive probes (tcp_keepalive_intvl).
KEEPALIVE_PAUSE = 75.0
#: The number of unanswered keepalive probes before a connection is given up (tcp_keepalive_probes).
KEEPALIVE_PROBES = 9

#: The names of the methods of a congestion control.
_CALLS = sorted(name for name, each in ICongestionControl.namesAndDescriptions() if isinstance(each, Method))


def timestampAt(now: float, offset: int) -> int:
    """
    Return the value of the timestamp clock, in milliseconds modulo 2**32 (RFC 7323 section 5.4).

    @param now: the time in seconds.
    @param offset: the offset to add, so that timestamps do not reveal our clock.
    """
    return (int(now * 1000) + offset) & 0xFFFFFFFF


def isEchoSince(echo: int, since: float, now: float, offset: int) -> bool:
    """
    Return whether an echoed timestamp is one that we have sent between two times. Ages are compared, because timestamps
    wrap and the span may be long after a machine was suspended.

    @param since: the beginning of the span, in seconds.
    @param now: the end of the span, in seconds.
    """
    return (timestampAt(now, offset) - echo) & 0xFFFFFFFF <= int(now * 1000) - int(since * 1000)


def defaultControl() -> ICongestionControl:
    """
    Make the default congestion control.
    """
    return Cubic()


def _checkCongestion(parameters: Parameters, attribute: attrs.Attribute[Any], value: Any) -> None:
    checkCallable(value, "Parameters.congestion")
    if isinstance(value, type):
        missing = [name for name in _CALLS if not callable(getattr(value, name, None))]
        if missing:
            raise TypeError(f"a congestion control needs the methods of ICongestionControl: {value!r} lacks {missing}")


def _checkOctets(parameters: Parameters, attribute: attrs.Attribute[int], value: Any) -> None:
    checkRange(value, f"Parameters.{attribute.name}", 1, MAX_WINDOW)


def _checkFlag(parameters: Parameters, attribute: attrs.Attribute[bool], value: Any) -> None:
    checkFlag(value, f"Parameters.{attribute.name}")


def _checkSeconds(parameters: Parameters, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None or attribute.default is not None:
        checkSeconds(value, f"Parameters.{attribute.name}")


def _checkCount(parameters: Parameters, attribute: attrs.Attribute[int], value: Any) -> None:
    checkRange(value, f"Parameters.{attribute.name}", 1, sys.maxsize)


@attrs.frozen
class Parameters:
    """
    The parameters of our side for a connection.

    @ivar congestion: the factory of congestion controls: a class, or another callable without arguments.
    @ivar receiveBuffer: the greatest size of the receive buffer, in octets.
    @ivar sack: whether to offer selective acknowledgments.
    @ivar timestamps: whether to offer timestamps.
    @ivar scaling: whether to offer window scaling.
    @ivar ecn: whether our SYN asks for explicit congestion notification. If the peer's SYN asks, we always agree.
    @ivar userTimeout: the seconds that data may stay unacknowledged before the connection is given up (RFC 5482).
        C{None}: as many retransmissions as Linux sends.
    @ivar keepAliveIdle: the seconds of silence before the first keepalive probe. C{setTcpKeepAlive} turns probes on.
    @ivar keepAlivePause: the seconds from one keepalive probe to the next.
    @ivar keepAliveProbes: the number of unanswered keepalive probes before the connection is given up.
    @ivar scale: the least window scale with which the whole receive buffer can be advertised. It cannot be given.
    @ivar synWindow: the window that a SYN+ACK advertises, in octets. It is never scaled (RFC 7323 section 2.2), and
        cannot be given.

    @raise ValueError: a value is not a number, a number is out of its range, or a flag is not a bool.
    @raise TypeError: C{congestion} cannot be called, or is a class without the methods of a control.
    """

    congestion: Callable[[], ICongestionControl] = attrs.field(default=defaultControl, validator=_checkCongestion)
    receiveBuffer: int = attrs.field(default=MAX_BUFFER, validator=_checkOctets)
    sack: bool = attrs.field(default=True, validator=_checkFlag)
    timestamps: bool = attrs.field(default=True, validator=_checkFlag)
    scaling: bool = attrs.field(default=True, validator=_checkFlag)
    ecn: bool = attrs.field(default=False, validator=_checkFlag)
    userTimeout: float | None = attrs.field(default=None, validator=_checkSeconds)
    keepAliveIdle: float = attrs.field(default=KEEPALIVE_IDLE, validator=_checkSeconds)
    keepAlivePause: float = attrs.field(default=KEEPALIVE_PAUSE, validator=_checkSeconds)
    keepAliveProbes: int = attrs.field(default=KEEPALIVE_PROBES, validator=_checkCount)

    scale: int = attrs.field(init=False, repr=False, eq=False)
    synWindow: int = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        # Each SYN needs these values several times. As properties, they took a tenth of the time of a SYN cookie.
        object.__setattr__(self, "scale", max(0, min((self.receiveBuffer - 1).bit_length() - 16, MAX_SCALE)))
        object.__setattr__(self, "synWindow", min(self.receiveBuffer, 0xFFFF))


@attrs.frozen
class Agreement:
    """
    The outcome of a handshake: the options that both sides agree on.

    @ivar mss: the MSS of the peer: the most octets of TCP options and data in one segment.
    @ivar scale: the scale of the peer's windows. 0: there is no scaling.
    @ivar ownScale: the scale of our windows. 0: there is no scaling.
    @ivar sack: whether both sides use selective acknowledgments.
    @ivar timestamps: whether both sides use timestamps.
    @ivar ecn: whether both sides use explicit congestion notification.
    """

    mss: int
    scale: int = 0
    ownScale: int = 0
    sack: bool = False
    timestamps: bool = False
    ecn: bool = False


#: A cached constructor, so that connections with the same agreement share one object.
_agreement = lru_cache(256)(Agreement)


def agree(parameters: Parameters, options: Options, flags: int, version: int) -> Agreement:
    """
    Compute the agreement between our parameters and the options of the peer's SYN.

    @param options: the options of the peer's SYN or SYN+ACK.
    @param flags: the flags of the peer's SYN or SYN+ACK.
    @param version: the IP version, 4 or 6.
    """
    scaling = parameters.scaling and options.scale is not None
    asked = flags & (ECE | CWR)
    ecn = parameters.ecn and asked == ECE if flags & ACK else asked == ECE | CWR
    return _agreement(
        max(options.mss or DEFAULT_MSS[version], MIN_MSS),
        (options.scale or 0) if scaling else 0,
        parameters.scale if scaling else 0,
        parameters.sack and options.sackPermitted,
        parameters.timestamps and options.timestamp is not None,
        ecn,
    )


def synOptions(parameters: Parameters, mss: int, timestamp: int) -> bytes:
    """
    Pack the options of our SYN.

    @param mss: our MSS, in octets.
    @param timestamp: the value of our timestamp clock.
    """
    scale = parameters.scale if parameters.scaling else None
    return packSynOptions(mss, scale, parameters.sack, (timestamp, 0) if parameters.timestamps else None)


def answerOptions(agreement: Agreement, options: Options, mss: int, timestamp: int, scale: int) -> bytes:
    """
    Pack the options of our SYN+ACK. They include only options that the peer's SYN has.

    @param options: the options of the peer's SYN.
    @param mss: our MSS, in octets.
    @param timestamp: the value of our timestamp clock.
    @param scale: the scale of our windows, if scaling was agreed on.
    """
    times = (timestamp, options.timestamp or 0) if agreement.timestamps else None
    scaled = options.scale is not None and agreement.ownScale == scale
    return packSynOptions(mss, agreement.ownScale if scaled else None, agreement.sack, times)


def synFlags(parameters: Parameters) -> int:
    """
    Return the flags of our SYN.
    """
    return SYN | ECE | CWR if parameters.ecn else SYN
