"""
The state machine of a TCP connection, without I/O. Its owner calls it with segments, with the application's requests
and with the time. It sends segments through an L{IWire<txtuntap.tcp.interfaces.IWire>}. Attributes tell what has
happened, and the owner looks at them after each call.

Read RFC 9293 sections 3.3 to 3.10 first, then RFC 5961, 7323, 2018 and 8985.

Listening ports, half-open connections and connections in TIME-WAIT are small records of the layer instead. A connection
object exists from our SYN on, or from the segment that acknowledges our SYN+ACK.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from txtuntap.tcp.closing import Closing
from txtuntap.tcp.handshake import Agreement, agree, isEchoSince
from txtuntap.tcp.recovery import Phase
from txtuntap.tcp.rtt import MAX_RTO, RTO_AFTER_SYN
from txtuntap.tcp.sender import MAX_SUPERPACKET
from txtuntap.tcp.sequence import unwrapped
from txtuntap.tcp.state import RECEIVING, End, State
from txtuntap.wire.tcp import (
    ACK,
    ALIGNED_LENGTH,
    ALIGNED_TIMESTAMPS,
    CWR,
    ECE,
    FIN,
    HEADER_LENGTH,
    RST,
    SYN,
    Options,
    parseOptions,
)

#: The seconds of idleness after which a timestamp does not tell the age of a segment (RFC 7323 section 5.5).
_PAWS_IDLE: Final = 24 * 24 * 3600.0

#: The milliseconds by which a timestamp may be older than the latest one (TCP_PAWS_WINDOW).
PAWS_WINDOW: Final = 1

_MASK: Final = 0xFFFFFFFF
_HALF: Final = 0x80000000

_aligned = struct.Struct("!4sII").unpack_from
#: The bits of data offset and flags that header prediction compares: all but PSH. Expected: 12 octets of options, ACK.
_UNPREDICTED: Final = 0xFFF7
_PREDICTED: Final = (HEADER_LENGTH + ALIGNED_LENGTH) << 10 | ACK

_NOTHING: Final[Sequence[tuple[int, int]]] = ()
_ESTABLISHED, _OPEN = State.ESTABLISHED, Phase.OPEN

#: The most unacknowledged octets for which a turn is deferred: four superpackets, so that the peer can keep sending.
_MOST_WAITING: Final = 4 * 65536


class Connection(Closing):
    """
    The state machine of one TCP connection. After each call of a method, the owner looks at C{receiver.ready} (data to
    deliver), C{receiver.finished} (whether the FIN was received), C{state} and C{ended}. It calls C{flush} then, and
    C{timeout} at the C{deadline}.

    @ivar state: the L{State} of the connection.
    @ivar ended: the L{End} of the connection. C{None}: it has not ended.
    @ivar endedFrom: the state before the end.
    @ivar hasReader: whether the application still reads. If not, new data is answered by a reset.
    @ivar sender: the sending half. C{receiver} is the receiving half.
    @ivar keepAlive: whether keepalive probes are sent to a silent peer. See
        L{Parameters<txtuntap.tcp.handshake.Parameters>} for C{keepAliveIdle}, C{keepAlivePause}, C{keepAliveProbes}.
    @ivar userTimeout: the seconds that data may stay unacknowledged. C{None}: as long as Linux waits.
    @ivar segmentsIn: the number of segments received. C{segmentsOut} is the number of segments sent.
    """

    __slots__ = ()

    def connect(self, now: float) -> None:
        """
        Open the connection from our side: send a SYN.
        """
        self.state = State.SYN_SENT
        self._synAt = now
        self._sendSyn(now)

    def accepted(
        self,
        agreement: Agreement,
        options: Options,
        peerInitial: int,
        recent: int,
        roundTrip: float | None,
        now: float,
    ) -> None:
        """
        Begin in the state ESTABLISHED. The caller hands the acknowledgment of our SYN+ACK to L{segmentReceived} next.

        @param options: the options of the peer's SYN.
        @param peerInitial: the sequence number of the peer's SYN.
        @param recent: the latest timestamp of the peer.
        @param roundTrip: the seconds from our SYN+ACK to its acknowledgment. C{None}: unknown.
        """
        self._agreement, self._options = agreement, options
        self._peerInitial = peerInitial
        self._recent, self._recentAt = recent, now
        self.sender.acknowledged = self.sender.next = 1
        self._establish(roundTrip, now)

    def _establish(self, roundTrip: float | None, now: float) -> None:
        agreement, sender, receiver = self._agreement, self.sender, self.receiver
        self._heardAt = now
        if roundTrip is not None and roundTrip <= MAX_RTO:
            sender.roundTrip.sampled(max(roundTrip, 0.0), now)
        else:
            sender.roundTrip.timeout = RTO_AFTER_SYN
        sender.usesSACK = agreement.sack
        sender.open(self._segmentSize())
        sender.superpacket = MAX_SUPERPACKET
        receiver.open(agreement.ownScale)
        receiver.mostLargest = self._wire.link - HEADER_LENGTH
        self.state = _ESTABLISHED
        self._wire.counters.currEstab += 1

    def isUnacknowledged(self, sequence: int) -> bool:
        """
        Return whether a sequence number is sent and unacknowledged. An ICMP error that quotes any other one is forged
        or late (RFC 5927 section 4).
        """
        sender = self.sender
        position = unwrapped(sequence, self._initial, sender.acknowledged)
        return sender.acknowledged <= position < sender.next

    @property
    def mayDeferTurn(self) -> bool:
        """
        Whether the acknowledgment of the last segment may wait for the segments behind it. One acknowledgment for all
        of them gives the peer the same information.
        """
        receiver = self.receiver
        return (
            self.state is _ESTABLISHED
            and self.sender.phase is _OPEN
            and not receiver.ranges
            and receiver.duplicate is None
            and receiver.next - receiver.acknowledged < _MOST_WAITING
        )

    def segmentReceived(
        self,
        data: bytes,
        start: int,
        end: int,
        sequence: int,
        acknowledgment: int,
        offsetAndFlags: int,
        window: int,
        isMarked: bool,
        now: float,
        othersFollow: bool = False,
    ) -> None:
        """
        Process a segment of this connection. Its checksum and its data offset are correct.

        @param data: the buffer with the segment. The header begins at C{start}, and the payload ends at C{end}.
        @param offsetAndFlags: the 16 bits of the header with the data offset and the flags.
        @param window: the window field of the header, not scaled.
        @param isMarked: whether a router has marked the packet (CE, RFC 3168).
        @param othersFollow: whether more segments are likely in the same read. The caller calls L{processDeferred}
            then.
        """
        self.segmentsIn += 1
        if offsetAndFlags & _UNPREDICTED == _PREDICTED and self._predicted(
            data, start, end, sequence, acknowledgment, window, isMarked, now, othersFollow
        ):
            return
        if self._deferred is not None:
            self.processDeferred()
        payload = start + (offsetAndFlags >> 12 << 2)
        flags = offsetAndFlags & 0xFF
        if self.state is State.SYN_SENT:
            options = parseOptions(data, start + HEADER_LENGTH, payload)
            return self._answerReceived(options, data[payload:end], sequence, acknowledgment, flags, window, now)
        sender, receiver = self.sender, self.receiver
        expected = receiver.next
        position = expected + ((sequence - self._peerInitial - expected + _HALF) & _MASK) - _HALF
        # Options
        timestamp: int | None = None
        sacks = _NOTHING
        echo = 0
        optionsLength = payload - start - HEADER_LENGTH
        if optionsLength:
            prefix, timestamp, echo = _aligned(data, start + HEADER_LENGTH) if optionsLength >= 12 else (b"", None, 0)
            if prefix != ALIGNED_TIMESTAMPS or optionsLength != ALIGNED_LENGTH:
                options = parseOptions(data, start + HEADER_LENGTH, payload)
                timestamp, echo, sacks = options.timestamp, options.echo, options.sacks
        usesTimestamps = self._agreement.timestamps
        length = end - payload
        behind = position + length + (flags & FIN)
        if usesTimestamps and timestamp is not None:
            age = ((self._recent - timestamp + _HALF) & _MASK) - _HALF
            if age > PAWS_WINDOW and not flags & RST and now - self._recentAt < _PAWS_IDLE:
                # PAWS says that this is an old duplicate (RFC 7323 section 5).
                if position == behind == expected and acknowledgment == (self._initial + sender.acknowledged) & _MASK:
                    # A reordered acknowledgment needs no answer.
                    return self._drop()
                return self._unacceptable(position, behind, flags, now)
        else:
            timestamp = None
        # The acceptance test (RFC 9293 section 3.10.7.4)
        if behind < receiver.acknowledged or position > receiver.edge or behind > receiver.edge + (flags & FIN):
            if behind >= receiver.acknowledged and position < receiver.edge and behind > receiver.edge and length:
                # Data beyond the window is cut off, and so is the FIN behind it.
                end -= behind - receiver.edge - (flags & FIN)
                flags &= ~FIN
                behind = receiver.edge
            elif self._isAnswer(position, behind, acknowledgment, flags):
                position = behind = 1
                flags &= ~SYN
                receiver.acknowledgeAt = 0
            elif not flags & RST:
                return self._unacceptable(position, behind, flags, now)
        if flags & (RST | SYN):
            return self._interrupted(position, flags, now)
        if not flags & ACK:
            return self._drop()
        # The acknowledgment
        una = sender.acknowledged
        ack = una + ((acknowledgment - self._initial - una + _HALF) & _MASK) - _HALF
        if self.state is State.SYN_RECEIVED and not self._completes(ack, acknowledgment, window, now):
            return
        if ack > sender.next or ack < una - min(sender.largestWindow, una - 1):
            self._drop()
            return self._challenge(now)
        if timestamp is not None and position <= receiver.acknowledged:
            self._recent, self._recentAt = timestamp, now
        self._heardAt, self._probes = now, 0
        if ack >= una:
            units = window << self._agreement.scale
            if ack > una or position > self._wl1 or (position == self._wl1 and (units > sender.window or not units)):
                self._wl1 = position
            else:
                units = sender.window
            blocks = self._positions(sacks, una) if sacks and sender.usesSACK else _NOTHING
            if flags & ECE and self._agreement.ecn and ack > una:
                self._echoReceived(now)
            echoedAt = None
            if usesTimestamps and timestamp is not None and echo:
                echoedAt = self._echoedAt(echo, now)
                if length and echoedAt is not None:
                    receiver.sample = now - echoedAt
            sender.ackReceived(ack, units, blocks, behind > position, echoedAt, now)
            if sender.isClosing:
                self._finAcknowledged(now)
                if self.ended is not None:
                    return
        # Data, and the FIN
        if behind > position:
            self._dataReceived(position, data[payload:end], flags, isMarked, now)

    def _predicted(
        self,
        data: bytes,
        start: int,
        end: int,
        sequence: int,
        acknowledgment: int,
        window: int,
        isMarked: bool,
        now: float,
        othersFollow: bool,
    ) -> bool:
        """
        Process a segment by header prediction (RFC 7323 appendix A). This is a shorter path with the same outcome, for
        the next segment in order, with ACK and timestamps only. Nearly all segments are of this kind.

        @return: whether the segment was processed.
        """
        receiver = self.receiver
        position = receiver.next
        if (
            self.state is not _ESTABLISHED
            or sequence != (self._peerInitial + position) & _MASK
            or isMarked
            or not self.hasReader
            or not self._agreement.timestamps
        ):
            return False
        prefix, timestamp, echo = _aligned(data, start + HEADER_LENGTH)
        sender = self.sender
        una = sender.acknowledged
        advanced = (acknowledgment - self._initial - una) & _MASK
        payload = start + HEADER_LENGTH + ALIGNED_LENGTH
        length = end - payload
        if (
            prefix != ALIGNED_TIMESTAMPS
            or advanced > sender.next - una
            or (timestamp - self._recent) & _MASK >= _HALF
            or length > receiver.edge - position
        ):
            return False
        mayDefer = othersFollow and advanced and not length
        deferred = self._deferred
        if deferred is not None and not (mayDefer and una + advanced > deferred[0]):
            self.processDeferred()
            return self._predicted(data, start, end, sequence, acknowledgment, window, isMarked, now, othersFollow)
        if position == receiver.acknowledged:
            self._recent, self._recentAt = timestamp, now
        self._heardAt, self._probes = now, 0
        units = window << self._agreement.scale
        if advanced or position > self._wl1 or (position == self._wl1 and (units > sender.window or not units)):
            self._wl1 = position
        else:
            units = sender.window
        # The milliseconds since the segment with the echoed timestamp was sent.
        age = (self._offset + int(now * 1000) - echo) & _MASK
        hasEcho = echo and age < _HALF
        if length and hasEcho:
            receiver.sample = now - (int(now * 1000) - age) / 1000
        if advanced or sender.board.records or units != sender.window or not units or sender.isProbing:
            echoedAt = (int(now * 1000) - age) / 1000 if hasEcho else None
            if mayDefer and sender.isSteady:
                # The last acknowledgment of a read includes all before it, so only that one is processed.
                self._deferred = una + advanced, units, echoedAt, now
                return True
            sender.ackReceived(una + advanced, units, _NOTHING, length > 0, echoedAt, now)
        if length:
            receiver.receive(position, data[payload:end], now, sender.roundTrip.timeout)
            if receiver.end is not None:
                receiver.checkEnd()
                if receiver.finished:
                    self._finReceived()
        return True

    def processDeferred(self) -> None:
        """
        Process the acknowledgment that has waited for later ones in the same read.
        """
        if self._deferred is not None:
            position, window, echoedAt, now = self._deferred
            self._deferred = None
            self.sender.ackReceived(position, window, _NOTHING, False, echoedAt, now)

    def _positions(self, sacks: Sequence[tuple[int, int]], near: int) -> list[tuple[int, int]]:
        initial = self._initial
        return [(unwrapped(start, initial, near), unwrapped(end, initial, near)) for start, end in sacks]

    def _echoedAt(self, echo: int, now: float) -> float | None:
        """
        Return the time, in seconds, of the segment whose timestamp is echoed. C{None}: the timestamp is in the future.
        """
        milliseconds = int(now * 1000)
        age = (self._offset + milliseconds - echo) & _MASK
        return None if age >= _HALF else (milliseconds - age) / 1000

    def _dataReceived(self, position: int, data: bytes, flags: int, isMarked: bool, now: float) -> None:
        receiver = self.receiver
        if self.state not in RECEIVING:
            # The peer has sent its FIN before. A retransmission means that our acknowledgment was lost.
            if position < receiver.next:
                receiver.acknowledgeAt = 0
            return
        if not self.hasReader and data and position + len(data) > receiver.next:
            # A reset tells the peer that the application reads no more (RFC 1122 section 4.2.2.13).
            self._resetSender((self._initial + self.sender.acknowledged) & _MASK)
            self._end(End.RESET)
            return
        if self._agreement.ecn:
            if flags & CWR:
                self._ecnEcho = False
            if isMarked:
                self._ecnEcho = True
        if data:
            receiver.receive(position, data, now, self.sender.roundTrip.timeout)
        if flags & FIN:
            receiver.finish(position + len(data), not data)
        elif receiver.end is not None:
            receiver.checkEnd()
        if receiver.finished:
            self._finReceived()

    def _unacceptable(self, position: int, behind: int, flags: int, now: float) -> None:
        """
        Acknowledge a segment that is outside the window or too old. The rate of answers is limited, except to data and
        FINs. A RST, or a segment without ACK and SYN, gets no answer.
        """
        receiver = self.receiver
        self._drop()
        if flags & SYN:
            return self._challenge(now)
        if flags & RST or not flags & ACK:
            return
        if behind > position:
            if position < receiver.next and self._agreement.sack:
                receiver.duplicate = position, min(behind, receiver.next)
            receiver.acknowledgeAt = 0
        else:
            self._challenge(now)

    def _interrupted(self, position: int, flags: int, now: float) -> None:
        """
        Process a RST or a SYN in the window (RFC 5961).
        """
        receiver = self.receiver
        if flags & RST:
            # A peer may use the end of our highest SACK block as the number of its reset (RFC 5961 section 3.2).
            if position in (receiver.next, receiver.ranges[-1][1] if receiver.ranges else receiver.next):
                return self._end(End.RESET)
            if not receiver.next <= position <= receiver.edge:
                return self._drop()
        self._drop()
        self._challenge(now)

    def _answerReceived(
        self,
        options: Options,
        data: bytes,
        sequence: int,
        acknowledgment: int,
        flags: int,
        window: int,
        now: float,
    ) -> None:
        """
        Process a segment in SYN-SENT (RFC 9293 section 3.10.7.3).
        """
        isOurs = acknowledgment == (self._initial + 1) & _MASK
        if options.timestamp is not None and options.echo and flags & ACK:
            # An echo from before our SYN answers the SYN of an older connection (RFC 7323 section 3.2).
            isOurs = isOurs and isEchoSince(options.echo, self._synAt, now, self._offset)
        if flags & ACK and not isOurs:
            if not flags & RST and self._mayAnswer(now):
                self._resetSender(acknowledgment)
            # The peer has an old connection, which our reset ends. Like Linux, retransmit the SYN at once, so that the
            # peer answers soon. Do so only once, because each forged segment would cause a SYN otherwise.
            if self._syns == 1:
                self._sendSyn(now)
            return
        if flags & RST:
            if flags & ACK:
                self._end(End.REFUSED)
            return
        if not flags & SYN:
            return
        self._peerInitial = sequence
        self._options = options
        self._agreement = agree(self._parameters, options, flags, self._version)
        if options.timestamp is not None:
            self._recent, self._recentAt = options.timestamp, now
        sender = self.sender
        sender.window = sender.largestWindow = window
        if not flags & ACK:
            # A SYN without ACK is a simultaneous open.
            self.state = State.SYN_RECEIVED
            self._syns = 0
            self._sendSyn(now)
            return
        sender.acknowledged = sender.next = 1
        sentAt = self._synAt if self._syns == 1 else None
        if sentAt is None and options.timestamp is not None and options.echo:
            # The echoed timestamp tells which of several SYNs is answered.
            sentAt = self._echoedAt(options.echo, now)
        self._establish(None if sentAt is None else now - sentAt, now)
        self.receiver.acknowledgeAt = 0
        if data or flags & FIN:
            self._dataReceived(1, data, flags, False, now)

    def _isAnswer(self, position: int, behind: int, acknowledgment: int, flags: int) -> bool:
        """
        Return whether a segment is the peer's SYN+ACK of a simultaneous open.
        """
        isFirst = position == behind == 0 and acknowledgment == (self._initial + 1) & _MASK
        return isFirst and self.state is State.SYN_RECEIVED and flags & (SYN | ACK | RST | FIN) == SYN | ACK

    def _completes(self, ack: int, acknowledgment: int, window: int, now: float) -> bool:
        """
        Process the acknowledgment of our SYN in a simultaneous open.

        @param ack: the acknowledged position.

        @return: whether the connection is established now.
        """
        if ack != 1:
            if self._mayAnswer(now):
                self._resetSender(acknowledgment)
            return False
        sender = self.sender
        sender.acknowledged = sender.next = 1
        sender.window = sender.largestWindow = window << self._agreement.scale
        self._establish(None, now)
        return True

    def _echoReceived(self, now: float) -> None:
        """
        Process an ECE flag: reduce the congestion window at most once a round trip, and send CWR then (RFC 3168).
        """
        before = self.sender.phase
        self.sender.echoed(now)
        if self.sender.phase is not before:
            self._ecnReduced = True
