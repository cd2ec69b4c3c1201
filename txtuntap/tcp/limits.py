"""
The bounds of a TCP layer, and their default values.
"""

from __future__ import annotations

import sys
from typing import Any

import attrs

from txtuntap.mistakes import checkRange

#: The most connections in all.
MAX_CONNECTIONS = 131072
#: The most connections of one listening port.
MAX_PORT_CONNECTIONS = 131072
#: The most connections that one peer address has opened.
MAX_PEER_CONNECTIONS = 16384

#: The most half-open connections on all ports.
MAX_HALF_OPEN = 2048

#: The most connections in TIME-WAIT.
MAX_TIME_WAIT = 16384

#: The most orphans, which are connections that the application has closed and whose peer has not acknowledged the FIN.
MAX_ORPHANS = 16384

#: The most SYNs that wait for the application's decision, in all.
MAX_UNCLAIMED = 256
#: The most SYNs from one peer address that wait for the application's decision.
MAX_PEER_UNCLAIMED = 64

#: The most octets in all receive buffers.
MAX_BUFFERS = 256 * 1024 * 1024
#: The most octets in all send buffers.
MAX_SEND_BUFFERS = 256 * 1024 * 1024

#: The most SYN cookies a second.
COOKIE_RATE = 10_000
#: The most resets a second for segments that belong to no connection.
RESET_RATE = 1000
#: The most retransmitted SYN+ACKs a second.
REPEAT_RATE = 1000

#: The most resets, and the most retransmitted SYN+ACKs, that may be sent at once.
BURST = 50

#: The least seconds between two challenge ACKs of one connection (RFC 5961 section 7, tcp_invalid_ratelimit).
CHALLENGE_PAUSE = 0.5

_MOST = sys.maxsize


def _checked(limits: Limits, attribute: attrs.Attribute[int], value: Any) -> None:
    checkRange(value, f"Limits.{attribute.name}", 0, _MOST)


def _bound(default: int) -> int:
    return attrs.field(default=default, validator=_checked)


@attrs.frozen
class Limits:
    """
    The bounds of all tables and rates that the network can fill. C{docs/bounds.md} says what happens at each bound.

    @ivar connections: the most connections in all.
    @ivar portConnections: the most connections of one listening port, unless the port is given another bound.
    @ivar peerConnections: the most connections that one peer address has opened.
    @ivar halfOpen: the most half-open connections on all ports.
    @ivar timeWait: the most connections in TIME-WAIT.
    @ivar orphans: the most connections that the application has closed and whose peer has not acknowledged the FIN.
    @ivar unclaimed: the most SYNs that wait for the application's decision.
    @ivar peerUnclaimed: the most SYNs from one peer address that wait for the application's decision.
    @ivar buffers: the most octets in the receive buffers of all connections. Data in order counts only while its
        application does not read it.
    @ivar sendBuffers: the most unacknowledged octets that all connections have taken from applications. A small share
        of each connection is not counted.
    @ivar cookies: the most SYN cookies a second. 0: none are sent, and a SYN beyond the backlog gets no answer.
    @ivar resets: the most resets a second for segments that belong to no connection.
    @ivar repeats: the most retransmitted SYN+ACKs a second.

    @raise ValueError: a bound is not an integer, or is below 0.
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
