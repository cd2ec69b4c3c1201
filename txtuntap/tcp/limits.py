"""
The bounds of a TCP layer, with the figures that it has by default.
"""

from __future__ import annotations

import sys
from typing import Any

import attrs

from txtuntap.mistakes import checkRange

#: Connections: of all, of one port, and those that one address has opened.
MAX_CONNECTIONS = 131072
MAX_PORT_CONNECTIONS = 131072
MAX_PEER_CONNECTIONS = 16384

#: Connections that are half open, on all ports.
MAX_HALF_OPEN = 2048

#: Connections in TIME-WAIT.
MAX_TIME_WAIT = 16384

#: Connections that the application has closed, and that are not done.
MAX_ORPHANS = 16384

#: SYNs that wait for the application's answer: of all, and from one address.
MAX_UNCLAIMED = 256
MAX_PEER_UNCLAIMED = 64

#: Octets that wait for applications, or are out of order; and those that were taken from applications, and are not
#: acknowledged.
MAX_BUFFERS = 256 * 1024 * 1024
MAX_SEND_BUFFERS = 256 * 1024 * 1024

#: SYN cookies a second; resets a second of what belongs to no connection; repeated SYN+ACKs a second.
COOKIE_RATE = 10_000
RESET_RATE = 1000
REPEAT_RATE = 1000

#: Resets and repeated SYN+ACKs that may be sent at once.
BURST = 50

#: Seconds between answers to segments that a connection cannot have (RFC 5961 section 7; tcp_invalid_ratelimit).
CHALLENGE_PAUSE = 0.5

_MOST = sys.maxsize


def _checked(limits: Limits, attribute: attrs.Attribute[int], value: Any) -> None:
    checkRange(value, f"Limits.{attribute.name}", 0, _MOST)


def _bound(default: int) -> int:
    return attrs.field(default=default, validator=_checked)


@attrs.frozen
class Limits:
    """
    How much there may be of what the network can fill. C{docs/bounds.md} says what happens at each bound.

    @ivar connections: connections of all; C{portConnections} of one port that names no other bound; and
        C{peerConnections} that one address has opened.
    @ivar halfOpen: connections that are half open, on all ports.
    @ivar timeWait: connections in TIME-WAIT.
    @ivar orphans: connections that the application has closed, and that are not done.
    @ivar unclaimed: SYNs that wait for the application's answer, and C{peerUnclaimed} from one address.
    @ivar buffers: octets that all connections keep for applications that do not read, or out of order.
    @ivar sendBuffers: octets that all connections have taken from applications, beyond some of each, and that are not
        acknowledged.
    @ivar cookies: SYN cookies a second; 0: none are sent, and a SYN beyond the backlog has no answer.
    @ivar resets: resets a second of segments that belong to no connection.
    @ivar repeats: repeated SYN+ACKs a second.

    @raise ValueError: one of them is no number, or below 0.
    """

    connections: int = _bound(MAX_CONNECTIONS)
    portConnections: int = _bound(MAX_PORT_CONNECTIONS)
    peerConnections: int = _bound(MAX_PEER_CONNECTIONS)
    halfOpen: int = _bound(MAX_HALF_OPEN)
    timeWait: int = _bound(MAX_TIME_WAIT)
    orphans: int = _bound(MAX_ORPHANS)
    unclaimed: int = _bound(MAX_UNCLAIMED)
    peerUnclaimed: int = _bound(MAX_PEER_UNCLAIMED)
    buffers: int = _bound(MAX_BUFFERS)
    sendBuffers: int = _bound(MAX_SEND_BUFFERS)
    cookies: int = _bound(COOKIE_RATE)
    resets: int = _bound(RESET_RATE)
    repeats: int = _bound(REPEAT_RATE)
