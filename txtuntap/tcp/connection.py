"""
A TCP connection (RFC 9293), without I/O: segments, calls of the application and the time go in. Segments go out by
L{IWire<txtuntap.tcp.interfaces.IWire>}. Attributes say what has happened, and the owner looks at them after each call.

Read RFC 9293 sections 3.3 to 3.10 first, then RFC 5961, 7323, 2018 and 8985.

Listening, a connection that is half open, and TIME-WAIT have small records of their own
(L{txtuntap.tcp.layer}): this object begins with our SYN, or with the segment that answers our SYN+ACK.
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

#: Seconds of idleness after which timestamps say nothing of age (RFC 7323 section 5.5).
_PAWS_IDLE: Final = 24 * 24 * 3600.0

#: The milliseconds by which a timestamp may be behind the latest one (TCP_PAWS_WINDOW).
PAWS_WINDOW: Final = 1

_MASK: Final = 0xFFFFFFFF
_HALF: Final = 0x80000000

_aligned = struct.Struct("!4sII").unpack_from
#: The offset and the flags of the usual segment: ACK, with PSH or without, behind options of 12 octets.
_UNPREDICTED: Final = 0xFFF7
_PREDICTED: Final = (HEADER_LENGTH + ALIGNED_LENGTH) << 10 | ACK

_NOTHING: Final[Sequence[tuple[int, int]]] = ()
_ESTABLISHED, _OPEN = State.ESTABLISHED, Phase.OPEN

#: The octets that may wait for an acknowledgment: those of four superpackets, so that the peer goes on meanwhile.
_MOST_WAITING: Final = 4 * 65536


class Connection(Closing):
    """
    One TCP connection, from our SYN or the answer to our SYN+ACK on.

    After each call of a method, its owner looks at C{receiver.ready} (data to deliver), C{receiver.finished} (the peer
    sends no more), C{state}, C{ended}, and calls L{flush}, and L{timeout} at the L{deadline}.

    @ivar state: a L{State}.
    @ivar ended: an L{End}, once there is nothing left to do for this connection.
    @ivar endedFrom: the state that it ended in.
    @ivar hasReader: whether the application still reads. Data for one that does not is answered by a reset.
    @ivar sender: the half that sends; C{receiver}: the half that receives.
    @ivar keepAlive: whether to ask a peer that is silent for long whether it is there; C{keepAliveIdle},
        C{keepAlivePause}, C{keepAliveProbes}: see L{Parameters<txtuntap.tcp.handshake.Parameters>}.
    @ivar userTimeout: the seconds for which a peer may acknowledge nothing; L{None}: as long as Linux waits.
    @ivar segmentsIn: segments received; C{segmentsOut}: sent.
    """

    __slots__ = ()

    def connect(self, now: float) -> None:
        """
        Send the SYN of a connection that we begin.
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
        The peer has answered our SYN+ACK. The segment by which it did is given to L{segmentReceived} next.

        @param options: those of its SYN.
        @param peerInitial: the sequence number of its SYN.
        @param recent: its latest timestamp.
        @param roundTrip: the seconds that its answer took, if the SYN+ACK was sent once.
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

    def isUnderWay(self, sequence: int) -> bool:
        """
        Whether the segment with this sequence number is under way: an ICMP error that quotes another one is forged, or
        late (RFC 5927 section 4).
        """
        sender = self.sender
        position = unwrapped(sequence, self._initial, sender.acknowledged)
        return sender.acknowledged <= position < sender.next

    @property
    def mayWait(self) -> bool:
        """
        Whether what the last segment brought may wait for the next ones, which are likely to be here: an answer to all
        of them tells the peer the same.
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
        Take a segment of this connection whose checksum is right.

        @param data: the buffer that it is in: its header stands at C{start}, its payload ends at C{end}.
        @param offsetAndFlags: the 16 bits that have both; the data offset has been checked.
        @param window: as it stands in the header.
        @param isMarked: whether a router has marked it (CE, RFC 3168).
        @param othersFollow: whether others are likely to follow at once. L{settle} is called after the last of them.
        """
        self.segmentsIn += 1
        if offsetAndFlags & _UNPREDICTED == _PREDICTED and self._predicted(
            data, start, end, sequence, acknowledgment, window, isMarked, now, othersFollow
        ):
            return
        if self._awaiting is not None:
            self.settle()
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
                # An old duplicate (PAWS, RFC 7323 section 5).
                if position == behind == expected and acknowledgment == (self._initial + sender.acknowledged) & _MASK:
                    # An acknowledgment that another has overtaken is no reason to answer.
                    return self._drop()
                return self._unacceptable(position, behind, flags, now)
        else:
            timestamp = None
        # Acceptance (section 3.10.7.4)
        if behind < receiver.acknowledged or position > receiver.edge or behind > receiver.edge + (flags & FIN):
            if behind >= receiver.acknowledged and position < receiver.edge and behind > receiver.edge and length:
                # Only data that fits the window is taken, and no FIN behind it.
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
        Take a segment that is the usual one: the next in order, with nothing but an acknowledgment and timestamps. The
        outcome is the same as without this (header prediction, RFC 7323 appendix A), and nearly all segments are such.

        @return: whether it was one.
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
        mayAwait = othersFollow and advanced and not length
        awaiting = self._awaiting
        if awaiting is not None and not (mayAwait and una + advanced > awaiting[0]):
            self.settle()
            return self._predicted(data, start, end, sequence, acknowledgment, window, isMarked, now, othersFollow)
        if position == receiver.acknowledged:
            self._recent, self._recentAt = timestamp, now
        self._heardAt, self._probes = now, 0
        units = window << self._agreement.scale
        if advanced or position > self._wl1 or (position == self._wl1 and (units > sender.window or not units)):
            self._wl1 = position
        else:
            units = sender.window
        # The time since what is echoed was sent, in milliseconds.
        age = (self._offset + int(now * 1000) - echo) & _MASK
        hasEcho = echo and age < _HALF
        if length and hasEcho:
            receiver.sample = now - (int(now * 1000) - age) / 1000
        if advanced or sender.board.records or units != sender.window or not units or sender.isProbing:
            echoedAt = (int(now * 1000) - age) / 1000 if hasEcho else None
            if mayAwait and sender.isSteady:
                # The last one of those that come at once stands for all of them.
                self._awaiting = una + advanced, units, echoedAt, now
                return True
            sender.ackReceived(una + advanced, units, _NOTHING, length > 0, echoedAt, now)
        if length:
            receiver.receive(position, data[payload:end], now, sender.roundTrip.timeout)
            if receiver.end is not None:
                receiver.checkEnd()
                if receiver.finished:
                    self._finReceived()
        return True

    def settle(self) -> None:
        """
        Take the acknowledgment that has waited for later ones.
        """
        if self._awaiting is not None:
            position, window, echoedAt, now = self._awaiting
            self._awaiting = None
            self.sender.ackReceived(position, window, _NOTHING, False, echoedAt, now)

    def _positions(self, sacks: Sequence[tuple[int, int]], near: int) -> list[tuple[int, int]]:
        initial = self._initial
        return [(unwrapped(start, initial, near), unwrapped(end, initial, near)) for start, end in sacks]

    def _echoedAt(self, echo: int, now: float) -> float | None:
        """
        When the segment was sent whose timestamp is echoed, in seconds.
        """
        milliseconds = int(now * 1000)
        age = (self._offset + milliseconds - echo) & _MASK
        return None if age >= _HALF else (milliseconds - age) / 1000

    def _dataReceived(self, position: int, data: bytes, flags: int, isMarked: bool, now: float) -> None:
        receiver = self.receiver
        if self.state not in RECEIVING:
            # The peer has sent its FIN: it may be lost that we have it.
            if position < receiver.next:
                receiver.acknowledgeAt = 0
            return
        if not self.hasReader and data and position + len(data) > receiver.next:
            # The application reads no more: the peer should know (RFC 1122 section 4.2.2.13).
            self._refuse((self._initial + self.sender.acknowledged) & _MASK)
            self._ends(End.RESET)
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
        Answer what is not in the window, or too old: by where we are. Answers to what has no data are limited.
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
        Take a RST or a SYN (RFC 5961).
        """
        receiver = self.receiver
        if flags & RST:
            # A peer may take SACK for an acknowledgment.
            if position in (receiver.next, receiver.ranges[-1][1] if receiver.ranges else receiver.next):
                return self._ends(End.RESET)
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
        Take a segment in SYN-SENT (section 3.10.7.3).
        """
        isOurs = acknowledgment == (self._initial + 1) & _MASK
        if options.timestamp is not None and options.echo and flags & ACK:
            # An answer to a SYN that we did not send now (RFC 7323 section 3.2).
            isOurs = isOurs and isEchoSince(options.echo, self._synAt, now, self._offset)
        if flags & ACK and not isOurs:
            if not flags & RST and self._mayAnswer(now):
                self._refuse(acknowledgment)
            # Linux sends the SYN again at once, so that an old connection's peer, now reset, answers soon. It does so
            # once, or whoever forges such segments would have us send two for each.
            if self._syns == 1:
                self._sendSyn(now)
            return
        if flags & RST:
            if flags & ACK:
                self._ends(End.REFUSED)
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
            # Both have sent a SYN: simultaneous open.
            self.state = State.SYN_RECEIVED
            self._syns = 0
            self._sendSyn(now)
            return
        sender.acknowledged = sender.next = 1
        sentAt = self._synAt if self._syns == 1 else None
        if sentAt is None and options.timestamp is not None and options.echo:
            # The timestamp tells which SYN is answered.
            sentAt = self._echoedAt(options.echo, now)
        self._establish(None if sentAt is None else now - sentAt, now)
        self.receiver.acknowledgeAt = 0
        if data or flags & FIN:
            self._dataReceived(1, data, flags, False, now)

    def _isAnswer(self, position: int, behind: int, acknowledgment: int, flags: int) -> bool:
        """
        Whether a segment is the peer's SYN+ACK, after both have sent a SYN.
        """
        isFirst = position == behind == 0 and acknowledgment == (self._initial + 1) & _MASK
        return isFirst and self.state is State.SYN_RECEIVED and flags & (SYN | ACK | RST | FIN) == SYN | ACK

    def _completes(self, ack: int, acknowledgment: int, window: int, now: float) -> bool:
        """
        In SYN-RECEIVED after a simultaneous open, take the acknowledgment of our SYN.
        """
        if ack != 1:
            if self._mayAnswer(now):
                self._refuse(acknowledgment)
            return False
        sender = self.sender
        sender.acknowledged = sender.next = 1
        sender.window = sender.largestWindow = window << self._agreement.scale
        self._establish(None, now)
        return True

    def _echoReceived(self, now: float) -> None:
        """
        The peer has had a segment that a router has marked: reduce the window once a round trip, and say so.
        """
        before = self.sender.phase
        self.sender.echoed(now)
        if self.sender.phase is not before:
            self._ecnReduced = True
