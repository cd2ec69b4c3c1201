"""
The small record of a connection that is half open (SYN-RECEIVED): its SYN has come, and was answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from txtuntap.tcp.handshake import Agreement, timestampAt
from txtuntap.tcp.sequence import difference
from txtuntap.wire.tcp import HEADER_LENGTH, parseOptions

if TYPE_CHECKING:
    from txtuntap.packet import Packet
    from txtuntap.tcp.path import Path
    from txtuntap.tcp.ports import TCPPort
    from txtuntap.wire.tcp import Options

#: Seconds until a SYN+ACK is sent again, each time twice as long; and how often (tcp_synack_retries).
SYNACK_PAUSE = 1.0
SYNACK_RETRIES = 5


class HalfOpen:
    """
    A connection whose SYN has come, and was answered.

    @ivar port: the port that listens.
    @ivar path: the path to the peer.
    @ivar peerInitial: the sequence number of its SYN; C{initial}: that of our SYN+ACK.
    @ivar options: those of its SYN.
    @ivar agreement: what holds for the connection.
    @ivar recent: the peer's latest timestamp.
    @ivar since: when its SYN has come, in seconds.
    @ivar sentAt: when the SYN+ACK was sent, in seconds; L{None}: it was sent several times.
    @ivar dueAt: when to send the SYN+ACK again.
    @ivar retries: how often it was sent again.
    @ivar challengedAt: when a segment that cannot be was answered last.
    """

    __slots__ = (
        "agreement",
        "challengedAt",
        "dueAt",
        "initial",
        "offset",
        "options",
        "path",
        "peerInitial",
        "port",
        "recent",
        "retries",
        "sentAt",
        "since",
    )

    def __init__(
        self,
        port: TCPPort,
        path: Path,
        peerInitial: int,
        initial: int,
        offset: int,
        options: Options,
        agreement: Agreement,
        now: float,
    ) -> None:
        self.port = port
        self.path = path
        self.peerInitial = peerInitial
        self.initial = initial
        self.offset = offset
        self.options = options
        self.agreement = agreement
        self.recent = options.timestamp or 0
        self.since = now
        self.sentAt: float | None = now
        self.dueAt = now + SYNACK_PAUSE
        self.retries = 0
        self.challengedAt = float("-inf")

    def synRepeated(self, options: Options) -> None:
        """
        The peer has sent its SYN again: the next SYN+ACK echoes the newest timestamp (RFC 7323 section 4.3), so the
        peer learns which SYN was answered.

        @param options: those of the SYN.
        """
        newest = options.timestamp
        if newest is not None and self.options.timestamp is not None and difference(newest, self.recent) > 0:
            self.recent = newest
            self.options = attrs.evolve(self.options, timestamp=newest)

    def roundTrip(self, packet: Packet, word: int, now: float) -> float | None:
        """
        Measure the time from the SYN+ACK to its answer. If it was sent several times, the timestamp tells which one is
        answered.

        @param packet: has the answer; C{word}: the 16 bits of its data offset and flags.

        @return: in seconds; L{None}: unknown.
        """
        if self.sentAt is not None:
            return now - self.sentAt
        if not self.agreement.timestamps:
            return None
        start = packet.start
        echo = parseOptions(packet.data, start + HEADER_LENGTH, start + (word >> 12 << 2)).echo
        return ((timestampAt(now, self.offset) - echo) & 0xFFFFFFFF) / 1000 if echo else None
