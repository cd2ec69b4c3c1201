"""
The small record of a half-open connection (SYN-RECEIVED): its SYN was answered, and the SYN+ACK is not acknowledged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from txtuntap.tcp.connection import PAWS_WINDOW
from txtuntap.tcp.handshake import Agreement, isEchoSince, timestampAt
from txtuntap.tcp.sequence import difference
from txtuntap.wire.tcp import HEADER_LENGTH, parseOptions

if TYPE_CHECKING:
    from txtuntap.packet import Packet
    from txtuntap.tcp.path import Path
    from txtuntap.tcp.ports import TCPPort
    from txtuntap.wire.tcp import Options

#: The seconds until the first retransmission of a SYN+ACK. Each further pause is twice as long.
SYNACK_PAUSE = 1.0
#: The most retransmissions of a SYN+ACK (tcp_synack_retries).
SYNACK_RETRIES = 5


class HalfOpen:
    """
    A half-open connection, whose SYN was answered by a SYN+ACK.

    @ivar port: the listening port.
    @ivar path: the path to the peer.
    @ivar peerInitial: the sequence number of the peer's SYN.
    @ivar initial: the sequence number of our SYN+ACK.
    @ivar offset: the offset of the clock in our timestamps.
    @ivar options: the options of the peer's SYN.
    @ivar agreement: the options that both sides agree on.
    @ivar recent: the latest timestamp of the peer.
    @ivar since: when the SYN was received, in seconds.
    @ivar sentAt: when the SYN+ACK was sent, in seconds. C{None}: it was sent several times, or was a cookie.
    @ivar dueAt: when to retransmit the SYN+ACK, in seconds.
    @ivar retries: the number of retransmissions of the SYN+ACK.
    @ivar challengedAt: when an unacceptable segment was answered last, in seconds.
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
        Note a retransmission of the peer's SYN. The next SYN+ACK echoes the timestamp of this SYN (RFC 7323 section
        4.3), so that the peer learns which SYN was answered.

        @param options: the options of the retransmitted SYN.
        """
        newest = options.timestamp
        if newest is not None and self.options.timestamp is not None and difference(newest, self.recent) > 0:
            self.recent = newest
            self.options = attrs.evolve(self.options, timestamp=newest)

    def roundTrip(self, packet: Packet, word: int, now: float) -> float | None:
        """
        Measure the time from the SYN+ACK to its acknowledgment. If the SYN+ACK was sent several times, the echoed
        timestamp tells which one is acknowledged.

        @param packet: the acknowledgment.
        @param word: the 16 bits of its header with the data offset and the flags.

        @return: the time in seconds. C{None}: unknown.
        """
        if self.sentAt is not None:
            return now - self.sentAt
        if not self.agreement.timestamps:
            return None
        start = packet.start
        echo = parseOptions(packet.data, start + HEADER_LENGTH, start + (word >> 12 << 2)).echo
        return ((timestampAt(now, self.offset) - echo) & 0xFFFFFFFF) / 1000 if echo else None

    def isOld(self, packet: Packet, word: int, now: float) -> bool:
        """
        Return whether timestamps show that a segment belongs to an older connection (PAWS, RFC 7323 section 5). Its own
        timestamp is then older than that of the SYN, or it echoes a timestamp from before our SYN+ACK.

        @param word: the 16 bits of its header with the data offset and the flags.
        """
        if not self.agreement.timestamps:
            return False
        start = packet.start
        options = parseOptions(packet.data, start + HEADER_LENGTH, start + (word >> 12 << 2))
        if options.timestamp is None:
            return False
        if difference(options.timestamp, self.recent) < -PAWS_WINDOW:
            return True
        return options.echo != 0 and not isEchoSince(options.echo, self.since, now, self.offset)
