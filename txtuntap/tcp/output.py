"""
The output of a connection: it builds SYNs, data segments, acknowledgments, probes and resets.
"""

from __future__ import annotations

from math import inf
from typing import Final

from txtuntap.tcp.handshake import (
    MIN_MSS,
    TIMESTAMPS_LENGTH,
    Agreement,
    Parameters,
    answerOptions,
    synFlags,
    synOptions,
    timestampAt,
)
from txtuntap.tcp.interfaces import IWire
from txtuntap.tcp.limits import CHALLENGE_PAUSE
from txtuntap.tcp.receiver import Receiver
from txtuntap.tcp.sender import Sender
from txtuntap.tcp.state import ESTABLISHED, OPENING, SENDING, End, State
from txtuntap.wire.tcp import (
    ACK,
    CWR,
    ECE,
    FIN,
    HEADER_LENGTH,
    MAX_SACKS,
    MAX_SACKS_BESIDE_TIMESTAMPS,
    PSH,
    RST,
    SYN,
    Options,
    packSacks,
    packTimestamps,
)

#: The seconds after each unanswered SYN until the next one (tcp_syn_linear_timeouts, tcp_syn_retries).
SYN_PAUSES: Final = (1, 1, 1, 1, 1, 2, 4, 8, 16, 32, 64)

#: The most writes in one turn. The rest follows in the next turns, because an acknowledgment that opens a large
#: window would block the reactor otherwise.
MAX_WRITES: Final = 64

_MASK: Final = 0xFFFFFFFF


class Output:
    """
    The part of a L{Connection<txtuntap.tcp.connection.Connection>} that builds segments. This base class has all
    attributes.
    """

    __slots__ = (
        "_agreement",
        "_challengedAt",
        "_deferred",
        "_ecnEcho",
        "_ecnReduced",
        "_finWaitAt",
        "_heardAt",
        "_initial",
        "_offset",
        "_options",
        "_parameters",
        "_peerInitial",
        "_probedAt",
        "_probes",
        "_recent",
        "_recentAt",
        "_synAt",
        "_syns",
        "_version",
        "_wire",
        "_wl1",
        "ended",
        "endedFrom",
        "hasReader",
        "keepAlive",
        "keepAliveIdle",
        "keepAlivePause",
        "keepAliveProbes",
        "receiver",
        "segmentsIn",
        "segmentsOut",
        "sender",
        "state",
        "userTimeout",
    )

    def __init__(self, wire: IWire, version: int, parameters: Parameters, initial: int, offset: int) -> None:
        """
        @param wire: the path to the peer.
        @param version: the IP version, 4 or 6.
        @param parameters: the parameters of our side.
        @param initial: the sequence number of our SYN.
        @param offset: the offset of the clock in our timestamps, so that they do not reveal our clock.
        """
        self._wire = wire
        self._version = version
        self._parameters = parameters
        self._initial = initial
        self._offset = offset
        self._agreement = Agreement(536)
        #: A received acknowledgment that is not processed yet, because a later one of the same read may replace it:
        #: position, window, time of the echoed segment, and time received.
        self._deferred: tuple[int, int, float | None, float] | None = None
        self._peerInitial = 0
        #: The options of the peer's SYN.
        self._options: Options | None = None
        self.sender = Sender(parameters.congestion(), version)
        self.receiver = Receiver(parameters.receiveBuffer)
        self.state = State.CLOSED
        self.ended: End | None = None
        self.endedFrom = State.CLOSED
        self.hasReader = True
        self.userTimeout = parameters.userTimeout
        self.keepAlive = False
        self.keepAliveIdle = parameters.keepAliveIdle
        self.keepAlivePause = parameters.keepAlivePause
        self.keepAliveProbes = parameters.keepAliveProbes
        self.segmentsIn = 0
        self.segmentsOut = 0
        # The latest timestamp of the peer (TS.Recent), and when it was received (RFC 7323 section 4.3).
        self._recent = 0
        self._recentAt = 0.0
        # The position of the segment that the peer's window was last read from (SND.WL1).
        self._wl1 = 0
        self._challengedAt = -inf
        self._heardAt = 0.0
        self._probes = 0
        self._probedAt = inf
        self._finWaitAt = inf
        # How often our SYN was sent, and when the first one was sent.
        self._syns = 0
        self._synAt = 0.0
        # Whether to echo a mark of ECN by ECE, and whether the next data carries CWR because our window was reduced.
        self._ecnEcho = False
        self._ecnReduced = False

    @property
    def isOpening(self) -> bool:
        """
        Whether the handshake is not complete yet.
        """
        return self.state in OPENING

    @property
    def synsAgain(self) -> int:
        """
        The number of retransmissions of our SYN or SYN+ACK.
        """
        return max(0, self._syns - 1)

    @property
    def agreement(self) -> Agreement:
        """
        The options that both SYNs agree on. Before the peer's SYN was received, this is an agreement on no options.
        """
        return self._agreement

    @property
    def peerOptions(self) -> Options | None:
        """
        The options of the peer's SYN. C{None} before it was received.
        """
        return self._options

    def _segmentSize(self) -> int:
        """
        Compute the octets of data in one full segment: the smaller one of the peer's MSS and the path's MSS, minus the
        timestamps option if it is used.
        """
        size = min(self._agreement.mss, self._wire.room - HEADER_LENGTH)
        if self._agreement.timestamps:
            size -= TIMESTAMPS_LENGTH
        return max(size, MIN_MSS - TIMESTAMPS_LENGTH)

    def pathChanged(self) -> None:
        """
        Give the sender and the receiver the sizes that the path has now.
        """
        if self.state not in OPENING:
            if not self.sender.pathChanged(self._segmentSize()):
                self._wire.counters["resendsLimited"] += 1
            self.receiver.mostLargest = self._wire.link - HEADER_LENGTH

    def _drop(self) -> None:
        """
        Count a segment that is dropped as unacceptable.
        """
        self._wire.counters["inUnacceptable"] += 1

    def _sendSyn(self, now: float) -> None:
        """
        Send our SYN, or our SYN+ACK in a simultaneous open, and arm the timer for the next one.
        """
        mss = self._wire.link - HEADER_LENGTH
        timestamp = timestampAt(now, self._offset)
        window = min(self.receiver.buffer, 0xFFFF)
        if self.state is State.SYN_SENT:
            flags, acknowledgment = synFlags(self._parameters), 0
            options = synOptions(self._parameters, mss, timestamp)
        else:
            agreement = self._agreement
            flags = SYN | ACK | (ECE if agreement.ecn else 0)
            acknowledgment = (self._peerInitial + self.receiver.next) & _MASK
            options = answerOptions(agreement, self._options or Options(), mss, timestamp, agreement.ownScale)
        pause = SYN_PAUSES[min(self._syns, len(SYN_PAUSES) - 1)]
        self.sender.retransmitAt = now + pause
        self.sender.next = 1
        if self._syns:
            self._wire.counters.retransSegs += 1
        self._syns += 1
        self.segmentsOut += 1
        self._wire.transmit(self._initial, acknowledgment, flags, window, options, (), 0, 0, False)

    def flush(self, now: float) -> None:
        """
        Send the data that the windows allow, in at most L{MAX_WRITES} writes, and an acknowledgment if one is due.
        """
        sender, receiver = self.sender, self.receiver
        if receiver.acknowledgeAt <= now and (receiver.ranges or receiver.duplicate is not None):
            self._sendAcknowledgment(now)
        board, end = sender.board, sender.buffer.end + sender.isClosing
        if (sender.next < end or board.lost) and self.state in SENDING:
            wasIdle = sender.acknowledged >= sender.next
            writes = 0
            while sender.next < end or board.lost:
                found = sender.nextRange(now)
                if found is None:
                    break
                self._sendRange(*found, now)
                writes += 1
                if writes == MAX_WRITES:
                    sender.resumeAt = now
                    break
            if writes:
                sender.arm(now, wasIdle)
            elif sender.isBlockedByWindow:
                sender.startProbing(now)
        if receiver.acknowledgeAt <= now:
            self._sendAcknowledgment(now)

    def _sendRange(self, start: int, end: int, isRetransmission: bool, now: float) -> None:
        """
        Send one range of data, as one segment or one superpacket, and the FIN if the range includes it.

        @param start: the first position.
        @param end: the position behind the last.
        @param isRetransmission: whether this is a retransmission.
        """
        sender, receiver = self.sender, self.receiver
        dataEnd = sender.buffer.end
        flags = ACK
        if end > dataEnd:
            end = dataEnd
            flags |= FIN
        if start < end == dataEnd:
            flags |= PSH
        length = end - start
        size = sender.segmentSize
        isMarkable = False
        if self._agreement.ecn:
            if self._ecnEcho:
                flags |= ECE
            isMarkable = not isRetransmission and length > 0
            if isMarkable and self._ecnReduced:
                self._ecnReduced = False
                flags |= CWR
        if receiver.acknowledgeAt < inf:
            receiver.applicationAnswered()
        options = b""
        if self._agreement.timestamps:
            # Data segments have no room for SACK blocks, which were sent in an acknowledgment of their own.
            options = packTimestamps((int(now * 1000) + self._offset) & _MASK, self._recent)
        count = 1
        if length > size and (isRetransmission or start != sender.search.position):
            count = -(-length // size)
        self.segmentsOut += count
        if isRetransmission:
            self._wire.counters.retransSegs += count
        self._wire.transmit(
            (self._initial + start) & _MASK,
            (self._peerInitial + receiver.next) & _MASK,
            flags,
            receiver.advertised(),
            options,
            sender.buffer.slices(start, end),
            length,
            size if count > 1 else 0,
            isMarkable,
        )

    def _sendAcknowledgment(self, now: float) -> None:
        """
        Send an acknowledgment without data.
        """
        receiver = self.receiver
        self.segmentsOut += 1
        options = self._segmentOptions(now)
        self._wire.transmit(
            (self._initial + self.sender.next) & _MASK,
            (self._peerInitial + receiver.next) & _MASK,
            ACK | ECE if self._ecnEcho else ACK,
            receiver.advertised(),
            options,
            (),
            0,
            0,
            False,
        )

    def _sendProbe(self, now: float) -> None:
        """
        Send a segment with an old sequence number, which the peer has to acknowledge. This probes a closed window, and
        serves as keepalive.
        """
        receiver = self.receiver
        self.segmentsOut += 1
        self._wire.transmit(
            (self._initial + self.sender.acknowledged - 1) & _MASK,
            (self._peerInitial + receiver.next) & _MASK,
            ACK,
            receiver.window(),
            self._segmentOptions(now),
            (),
            0,
            0,
            False,
        )

    def _reset(self, end: End, now: float) -> None:
        sender, receiver = self.sender, self.receiver
        self.segmentsOut += 1
        self._wire.counters["outRsts"] += 1
        self._wire.transmit(
            (self._initial + sender.next) & _MASK,
            (self._peerInitial + receiver.next) & _MASK,
            RST | ACK,
            receiver.window(),
            self._segmentOptions(now),
            (),
            0,
            0,
            False,
        )
        self._end(end)

    def _resetSender(self, sequence: int) -> None:
        """
        Send a reset in answer to a segment. This method does not end the connection.

        @param sequence: the sequence number with which the segment's sender accepts a reset.
        """
        self.segmentsOut += 1
        self._wire.counters["outRsts"] += 1
        self._wire.transmit(sequence, 0, RST, 0, b"", (), 0, 0, False)

    def _end(self, end: End) -> None:
        if self.ended is None:
            self.endedFrom = self.state
            if self.state in ESTABLISHED:
                self._wire.counters.currEstab -= 1
        self.ended = end
        self.state = State.CLOSED
        self.sender.retransmitAt = self.sender.reorderAt = self._finWaitAt = inf
        self.receiver.acknowledgeAt = inf

    def _challenge(self, now: float) -> None:
        """
        Send a challenge ACK in answer to an unacceptable segment (RFC 5961), unless the rate limit forbids it.
        """
        if self._mayAnswer(now):
            self._sendAcknowledgment(now)
        else:
            self._wire.counters["outLimited"] += 1

    def _mayAnswer(self, now: float) -> bool:
        """
        Return whether an unacceptable segment may be answered now, and note the answer. Anyone can forge such segments,
        so there are at most two answers a second (RFC 5961 section 7).
        """
        may = not 0 <= now - self._challengedAt < CHALLENGE_PAUSE
        if may:
            self._challengedAt = now
        return may

    def _segmentOptions(self, now: float) -> bytes:
        """
        Build the options of a segment without data: timestamps, and SACK blocks if data is out of order or duplicate.
        """
        agreement, receiver = self._agreement, self.receiver
        if not agreement.timestamps:
            if not agreement.sack or (receiver.duplicate is None and not receiver.ranges):
                return b""
            return self._sacks(MAX_SACKS)
        options = packTimestamps(timestampAt(now, self._offset), self._recent)
        if agreement.sack and (receiver.duplicate is not None or receiver.ranges):
            options += self._sacks(MAX_SACKS_BESIDE_TIMESTAMPS)
        return options

    def _sacks(self, most: int) -> bytes:
        initial = self._peerInitial
        return packSacks(
            [((initial + start) & _MASK, (initial + end) & _MASK) for start, end in self.receiver.blocks(most)]
        )
