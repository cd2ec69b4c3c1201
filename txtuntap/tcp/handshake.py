"""
The agreement that two hosts reach by their SYNs: segment sizes, window scales, SACK, timestamps, ECN.
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

#: The segment size of a peer that names none, by IP version, and the least that is believed (RFC 9293 section 3.7.1,
#: Linux's tcp_min_snd_mss: smaller ones would make a packet of each few octets).
DEFAULT_MSS = {4: 536, 6: 1220}
MIN_MSS = 48

#: The octets that one timestamps option takes of a segment.
TIMESTAMPS_LENGTH = 12


#: The octets that the largest window has, with the largest scale (RFC 7323 section 2.3).
MAX_WINDOW = 0xFFFF << MAX_SCALE

#: Keepalive: seconds of silence before the first probe, seconds between probes, and probes (RFC 1122 section 4.2.3.6,
#: tcp_keepalive_time, tcp_keepalive_intvl, tcp_keepalive_probes).
KEEPALIVE_IDLE = 7200.0
KEEPALIVE_PAUSE = 75.0
KEEPALIVE_PROBES = 9

#: The methods of a congestion control.
_CALLS = sorted(name for name, each in ICongestionControl.namesAndDescriptions() if isinstance(each, Method))


def timestampAt(now: float, offset: int) -> int:
    """
    The value of a clock in milliseconds, as timestamps have it (RFC 7323 section 5.4).

    @param now: in seconds.
    @param offset: what is added, so that the clock says nothing of when it began.
    """
    return (int(now * 1000) + offset) & 0xFFFFFFFF


def isEchoSince(echo: int, since: float, now: float, offset: int) -> bool:
    """
    Whether a timestamp that a peer echoes is one of ours from a span of time.

    @param since: the beginning of the span, in seconds; C{now}, its end. It may be as long as a machine was suspended,
        so ages are compared, and not times: those wrap.
    """
    return (timestampAt(now, offset) - echo) & 0xFFFFFFFF <= int(now * 1000) - int(since * 1000)


def defaultControl() -> ICongestionControl:
    """
    The congestion control of a connection for which none is chosen.
    """
    return Cubic()


def _checkCongestion(parameters: Parameters, attribute: attrs.Attribute[Any], value: Any) -> None:
    checkCallable(value, "Parameters.congestion")
    if isinstance(value, type):
        missing = [name for name in _CALLS if not callable(getattr(value, name, None))]
        if missing:
            raise TypeError(f"a congestion control has the methods of ICongestionControl: {value!r} lacks {missing}")


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
    The choices of our side for a connection.

    @ivar congestion: makes its congestion control: the class of one, or a function without arguments.
    @ivar receiveBuffer: the octets that its receive buffer grows to.
    @ivar sack: whether to offer selective acknowledgments; likewise C{timestamps} and C{scaling}.
    @ivar ecn: whether to ask for explicit congestion notification; a peer that asks gets it anyhow.
    @ivar userTimeout: seconds after which a peer that acknowledges nothing is given up; L{None}: as many as Linux
        tries.
    @ivar keepAliveIdle: seconds of silence after which a peer is probed, where C{setTcpKeepAlive} asks for that;
        C{keepAlivePause}: seconds from one probe to the next; C{keepAliveProbes}: how many have no answer before the
        peer is given up.

    @raise ValueError: one of the numbers or flags is none.
    @raise TypeError: C{congestion} makes no control.
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

    @property
    def scale(self) -> int:
        """
        The window scale with which all of the receive buffer can be advertised.
        """
        return max(0, min((self.receiveBuffer - 1).bit_length() - 16, MAX_SCALE))

    @property
    def synWindow(self) -> int:
        """
        The window, in octets, that a SYN+ACK advertises: it is never scaled (RFC 7323 section 2.2).
        """
        return min(self.receiveBuffer, 0xFFFF)


@attrs.frozen
class Agreement:
    """
    The outcome of a handshake: what holds for a connection.

    @ivar mss: the most octets in one segment that the peer takes, options included.
    @ivar scale: the scale of the peer's windows; C{ownScale}, of ours. Both are 0 where there is no scaling.
    @ivar sack: whether both take selective acknowledgments; likewise C{timestamps}, C{ecn}.
    """

    mss: int
    scale: int = 0
    ownScale: int = 0
    sack: bool = False
    timestamps: bool = False
    ecn: bool = False


#: Connections that agree on the same share the record of it.
_agreement = lru_cache(256)(Agreement)


def agree(parameters: Parameters, options: Options, flags: int, version: int) -> Agreement:
    """
    Compare what the peer's SYN says to what we would have.

    @param flags: those of its SYN, or of its SYN+ACK.
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
    The options of our SYN.

    @param mss: the most octets of data in one segment that we take.
    """
    scale = parameters.scale if parameters.scaling else None
    return packSynOptions(mss, scale, parameters.sack, (timestamp, 0) if parameters.timestamps else None)


def answerOptions(agreement: Agreement, options: Options, mss: int, timestamp: int, scale: int) -> bytes:
    """
    The options of our SYN+ACK: only what the peer's SYN has, too.

    @param options: those of its SYN.
    @param scale: of our windows, if scaling was agreed on.
    """
    times = (timestamp, options.timestamp or 0) if agreement.timestamps else None
    scaled = options.scale is not None and agreement.ownScale == scale
    return packSynOptions(mss, agreement.ownScale if scaled else None, agreement.sack, times)


def synFlags(parameters: Parameters) -> int:
    """
    The flags of our SYN.
    """
    return SYN | ECE | CWR if parameters.ecn else SYN
