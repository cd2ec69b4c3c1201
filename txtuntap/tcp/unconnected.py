"""
Segments without an established connection: SYNs, acknowledgments of a SYN+ACK, SYN cookies, TIME-WAIT and resets.

Read RFC 9293 sections 3.5 and 3.10.7.1 to 3.10.7.4 first, then RFC 5961 and RFC 4987 (SYN floods).
"""

from __future__ import annotations

from random import Random
from typing import Any, cast

from txtuntap.layer.timer import Timer
from txtuntap.packet import Packet
from txtuntap.tcp.connection import Connection
from txtuntap.tcp.cookies import decodeAgreement, encodeOptions
from txtuntap.tcp.endpoints import TCPEndpoints, peerOf
from txtuntap.tcp.halfopen import SYNACK_PAUSE, SYNACK_RETRIES, HalfOpen
from txtuntap.tcp.handshake import Agreement, Parameters, agree, answerOptions, timestampAt
from txtuntap.tcp.interfaces import ITCPLayer
from txtuntap.tcp.limits import CHALLENGE_PAUSE, Limits
from txtuntap.tcp.path import Path
from txtuntap.tcp.ports import BACKLOG, TCPPort, TCPServer
from txtuntap.tcp.sequence import difference
from txtuntap.tcp.unclaimed import Ask, Unclaimed, Waiting
from txtuntap.wire import tcp as wire
from txtuntap.wire.tcp import ACK, ECE, FIN, HEADER_LENGTH, RST, SYN, Options

#: The seconds between two passes over the half-open connections and those in TIME-WAIT.
_TICK = 0.5

#: The age in seconds of a port's last cookie from which on acknowledgments are not checked for cookies any more.
_COOKIE_LIFE = 128.0

_MASK = 0xFFFFFFFF

_number = int.from_bytes


class TCPUnconnected(TCPEndpoints):
    """
    The part of a L{TCPProtocol<txtuntap.tcp.TCPProtocol>} that answers segments without an established connection, and
    opens the connections of servers.
    """

    def __init__(
        self,
        parameters: Parameters | None,
        limits: Limits | None,
        verifyChecksum: bool,
        secrets: Random | None,
        unclaimed: Ask | None,
    ) -> None:
        """
        @param unclaimed: the function that decides about SYNs to ports without a listener.
        """
        super().__init__(parameters, limits, verifyChecksum, secrets)
        self._unclaimed: Unclaimed | None = None
        if unclaimed is not None:
            self._unclaimed = Unclaimed(unclaimed, self, self.limits, self._claimed, self._unclaimedRefused)

    def _unconnectedReceived(
        self, packet: Packet, key: bytes, sequence: int, acknowledgment: int, word: int, window: int, now: float
    ) -> None:
        """
        Process a segment that belongs to no established connection.

        @param word: the 16 bits of the header with the data offset and the flags.
        """
        if packet.ethernet is not None and packet.data[packet.link] & 1:
            return
        flags = word & 0xFF
        waiting = self._timeWait.get(key)
        if waiting is not None:
            until = waiting.until
            if not waiting.received(packet, sequence, word, now):
                if waiting.until != until:
                    # The table is in the order in which TIME-WAIT ends.
                    self._timeWait.move_to_end(key)
                return
            del self._timeWait[key]
        half = self._halfOpen.get(key)
        if half is not None:
            return self._answerReceived(packet, key, half, sequence, acknowledgment, word, flags, window, now)
        size = (len(key) - 4) // 2
        port = self._listener(key[size : 2 * size], _number(key[-2:], "big"))
        if port is None:
            if self._unclaimed is not None:
                if flags & (SYN | FIN | RST | ACK) == SYN:
                    return self._synReceived(packet, key, None, sequence, word, flags, now, False)
                if flags & RST:
                    self._unclaimed.resetReceived(key, sequence)
            self.counters["noPorts"] += 1
            return self._refuse(packet, key, sequence, acknowledgment, word, flags, now)
        if flags & RST:
            return
        if flags & ACK:
            if not flags & SYN and self._cookieReceived(packet, key, port, sequence, acknowledgment, word, window, now):
                return
            return self._refuse(packet, key, sequence, acknowledgment, word, flags, now)
        if flags & (SYN | FIN) != SYN:
            return
        takesCookie = port.halfOpen >= port.backlog or self._halfOpen.isFull
        if takesCookie and not self._cookieBudget.take(key, sequence, now):
            # During a flood, nearly all SYNs end here. So this check comes before all other work on a SYN.
            self.counters["backlogOverflows"] += 1
            return self._synRefused(packet)
        self._synReceived(packet, key, port, sequence, word, flags, now, takesCookie)

    def _refuse(
        self, packet: Packet, key: bytes, sequence: int, acknowledgment: int, word: int, flags: int, now: float
    ) -> None:
        """
        Answer a segment that belongs to no connection by a reset (RFC 9293 section 3.10.7.1).
        """
        if flags & RST:
            return
        path = self._pathBack(packet, key, now)
        if path is None or not self._mayReset(now):
            return
        if flags & ACK:
            path.transmit(acknowledgment, 0, RST, 0, b"", (), 0, 0, False)
        else:
            payload = packet.end - packet.start - (word >> 12 << 2)
            behind = sequence + payload + bool(flags & SYN) + bool(flags & FIN)
            path.transmit(0, behind & _MASK, RST | ACK, 0, b"", (), 0, 0, False)

    def _mayReset(self, now: float) -> bool:
        """
        Return whether the rate limit allows a reset now, and count the result.
        """
        may = self._resets.take(now)
        self.counters["outRsts" if may else "outLimited"] += 1
        return may

    def _pathBack(self, packet: Packet, key: bytes, now: float) -> Path | None:
        """
        Make the path back to the sender of a packet. C{None}: the packet must not be answered.
        """
        size = (len(key) - 4) // 2
        ports = key[-4:]
        ours, theirs = _number(ports[2:], "big"), _number(ports[:2], "big")
        path = Path(self.ip, self.counters, key[size : 2 * size], key[:size], ours, theirs)
        path.now = now
        return path if path.returning(packet) else None

    def _synReceived(
        self,
        packet: Packet,
        key: bytes,
        port: TCPPort | None,
        sequence: int,
        word: int,
        flags: int,
        now: float,
        takesCookie: bool,
    ) -> None:
        """
        Answer a SYN by a SYN+ACK or a cookie. If no port listens, let the application decide.

        @param takesCookie: whether the answer is a cookie, because the backlog is full.
        """
        start = packet.start
        options = wire.parseOptions(packet.data, start + HEADER_LENGTH, start + (word >> 12 << 2))
        if options.signed:
            # The peer requires MD5 signatures (RFC 2385), which are not implemented.
            self.counters["inSigned"] += 1
            return
        if self._isFull(key, port):
            return
        path = self._pathBack(packet, key, now)
        if path is None:
            return
        if port is None:
            if self._unclaimed is not None:
                behind = sequence + 1 + packet.end - start - (word >> 12 << 2)
                self._unclaimed.synReceived(key, path, sequence, behind & _MASK, flags, options, now)
            return
        if takesCookie:
            self._sendCookie(key, path, port, sequence, flags, options, now)
        else:
            self._answerSyn(key, path, port, sequence, flags, options, now)

    def _synRefused(self, packet: Packet) -> None:
        """
        Note that a SYN was refused without an answer, so that the fast path refuses others.
        """
        raise NotImplementedError

    def _isFull(self, key: bytes, port: TCPPort | None) -> bool:
        """
        Return whether a bound forbids one more connection, and count the refusal. The peer gets no answer then.
        """
        limits = self.limits
        if (
            len(self._transports) >= limits.connections
            or self._byPeer.get(peerOf(key), 0) >= limits.peerConnections
            or (port is not None and port.connections >= port.maxConnections)
        ):
            self.counters["connectionsRefused"] += 1
            return True
        if self.buffers.isFull:
            self.counters["buffersRefused"] += 1
            return True
        return False

    def _claimed(self, key: bytes, waiting: Waiting, factory: Any) -> None:
        """
        Answer a SYN to a port without a listener, because the application has returned a factory for it.
        """
        now = self.now()
        path = waiting.path
        path.now = now
        port = TCPPort(
            cast(ITCPLayer, self),
            path.sourcePort,
            factory,
            BACKLOG,
            "",
            path.source,
            self.parameters,
            self.limits.portConnections,
        )
        assert self._unclaimed is not None
        # Each of these SYNs has a TCPPort of its own, so they share one log of failures.
        port.failures = self._unclaimed.failures
        if key in self._transports or key in self._halfOpen or self._isFull(key, port):
            return
        if self._halfOpen.isFull:
            # A cookie cannot store the factory. So evict the oldest half-open connection with such a factory instead.
            oldest = next(iter(self._halfOpenUnclaimed), None)
            if oldest is None:
                self.counters["backlogOverflows"] += 1
                return
            self.counters["unclaimedEvictions"] += 1
            self._forget(oldest, self._halfOpen[oldest])
        self._answerSyn(key, path, port, waiting.sequence, waiting.flags, waiting.syn.options, now)
        self._halfOpenUnclaimed[key] = None

    def _unclaimedRefused(self, key: bytes, waiting: Waiting) -> None:
        """
        Answer a SYN to a port without a listener by a reset, because the application refuses it.
        """
        self.counters["noPorts"] += 1
        now = self.now()
        if key not in self._transports and key not in self._halfOpen and self._mayReset(now):
            waiting.path.now = now
            waiting.path.transmit(0, waiting.behind, RST | ACK, 0, b"", (), 0, 0, False)

    def _answerSyn(
        self, key: bytes, path: Path, port: TCPPort, sequence: int, flags: int, options: Options, now: float
    ) -> None:
        """
        Answer a SYN by a SYN+ACK, and enter the half-open connection in the table.
        """
        version = 4 if len(path.dest) == 4 else 6
        agreement = agree(port.parameters, options, flags, version)
        half = HalfOpen(port, path, sequence, self._initial(key, now), self._offset(key), options, agreement, now)
        self._halfOpen.put(key, half)
        self.counters["passiveOpens"] += 1
        port.halfOpen += 1
        self._sendAnswer(half, now)
        self._tickLater()

    def _sendAnswer(self, half: HalfOpen, now: float) -> None:
        """
        Send the SYN+ACK of a half-open connection.
        """
        agreement, path = half.agreement, half.path
        path.now = now
        timestamp = timestampAt(now, half.offset)
        options = answerOptions(
            agreement, half.options, path.link - HEADER_LENGTH, timestamp, half.port.parameters.scale
        )
        flags = SYN | ACK | (ECE if agreement.ecn else 0)
        window = half.port.parameters.synWindow
        path.transmit(half.initial, (half.peerInitial + 1) & _MASK, flags, window, options, (), 0, 0, False)

    def _sendCookie(
        self, key: bytes, path: Path, port: TCPPort, sequence: int, flags: int, options: Options, now: float
    ) -> None:
        """
        Answer a SYN by a SYN+ACK with a cookie, without storing state.
        """
        version = 4 if len(path.dest) == 4 else 6
        agreement = agree(port.parameters, options, flags, version)
        self.counters["cookiesSent"] += 1
        port.cookieAt = now
        initial = self._cookies.make(key, sequence, agreement.mss, now)
        timestamp = encodeOptions(timestampAt(now, self._offset(key)), agreement, options.scale is not None)
        if not agreement.timestamps:
            # Without timestamps, only the MSS can be encoded.
            agreement = Agreement(agreement.mss)
        said = answerOptions(agreement, options, path.link - HEADER_LENGTH, timestamp, port.parameters.scale)
        if not agreement.timestamps:
            said = wire.packSynOptions(path.link - HEADER_LENGTH)
        flags = SYN | ACK | (ECE if agreement.ecn else 0)
        window = port.parameters.synWindow
        path.transmit(initial, (sequence + 1) & _MASK, flags, window, said, (), 0, 0, False)

    def _cookieReceived(
        self,
        packet: Packet,
        key: bytes,
        port: TCPPort,
        sequence: int,
        acknowledgment: int,
        word: int,
        window: int,
        now: float,
    ) -> bool:
        """
        Process an acknowledgment that may have a cookie.

        @return: whether the cookie is valid. Otherwise the caller resets the peer.
        """
        if now - port.cookieAt > _COOKIE_LIFE:
            return False
        peerInitial, initial = (sequence - 1) & _MASK, (acknowledgment - 1) & _MASK
        mss = self._cookies.check(key, peerInitial, initial, now)
        if mss is None:
            self.counters["cookiesFailed"] += 1
            return False
        if self._isFull(key, port):
            return True
        path = self._pathBack(packet, key, now)
        if path is None:
            return True
        start = packet.start
        options = wire.parseOptions(packet.data, start + HEADER_LENGTH, start + (word >> 12 << 2))
        offset = self._offset(key)
        echo = None if options.timestamp is None else options.echo
        agreement = decodeAgreement(mss, echo, port.parameters.scale)
        self.counters["cookiesReceived"] += 1
        half = HalfOpen(port, path, peerInitial, initial, offset, options, agreement, now)
        half.sentAt = None
        self.counters["passiveOpens"] += 1
        port.halfOpen += 1
        self._open(packet, key, half, sequence, acknowledgment, word, window, now)
        return True

    def _answerReceived(
        self,
        packet: Packet,
        key: bytes,
        half: HalfOpen,
        sequence: int,
        acknowledgment: int,
        word: int,
        flags: int,
        window: int,
        now: float,
    ) -> None:
        """
        Process a segment of a half-open connection (RFC 9293 section 3.10.7.4, with the answers of Linux).
        """
        if flags & SYN and sequence == half.peerInitial and not flags & (ACK | RST):
            start = packet.start
            half.synRepeated(wire.parseOptions(packet.data, start + HEADER_LENGTH, start + (word >> 12 << 2)))
            return self._repeatAnswer(half, now)
        ahead = difference(sequence, (half.peerInitial + 1) & _MASK)
        isInside = 0 <= ahead < half.port.parameters.synWindow
        half.path.now = now
        if flags & RST:
            if ahead == 0:
                self._forget(key, half)
            elif isInside:
                self._challenge(half, now)
            else:
                self.counters["inUnacceptable"] += 1
            return
        if not isInside or half.isOld(packet, word, now):
            return self._challenge(half, now)
        if flags & SYN:
            self._forget(key, half)
            return self._refuse(packet, key, sequence, acknowledgment, word, flags, now)
        if not flags & ACK:
            self.counters["inUnacceptable"] += 1
            return
        if acknowledgment != (half.initial + 1) & _MASK:
            return self._refuse(packet, key, sequence, acknowledgment, word, flags, now)
        if self._isFull(key, half.port):
            # The handshake completes later, after the peer's next segment or our next SYN+ACK.
            return
        self._noLongerHalfOpen(key)
        self._open(packet, key, half, sequence, acknowledgment, word, window, now)

    def _challenge(self, half: HalfOpen, now: float) -> None:
        """
        Send a challenge ACK in answer to an unacceptable segment, at most twice a second (RFC 5961).
        """
        self.counters["inUnacceptable"] += 1
        if 0 <= now - half.challengedAt < CHALLENGE_PAUSE:
            self.counters["outLimited"] += 1
            return
        half.challengedAt = now
        options = b""
        if half.agreement.timestamps:
            options = wire.packTimestamps(timestampAt(now, half.offset), half.recent)
        window = half.port.parameters.synWindow >> half.agreement.ownScale
        half.path.transmit(
            (half.initial + 1) & _MASK, (half.peerInitial + 1) & _MASK, ACK, window, options, (), 0, 0, False
        )

    def _repeatAnswer(self, half: HalfOpen, now: float) -> None:
        """
        Retransmit a SYN+ACK, unless the rate limit forbids it. The limit exists because addresses may be forged.
        """
        half.sentAt = None
        if self._repeats.take(now):
            self.counters.retransSegs += 1
            self._sendAnswer(half, now)
        else:
            self.counters["outLimited"] += 1

    def _open(
        self,
        packet: Packet,
        key: bytes,
        half: HalfOpen,
        sequence: int,
        acknowledgment: int,
        word: int,
        window: int,
        now: float,
    ) -> None:
        """
        Establish a connection, because the peer has acknowledged our SYN+ACK, and process that segment.
        """
        port, path = half.port, half.path
        port.halfOpen -= 1
        transport = TCPServer(cast(ITCPLayer, self), port, port.nextSession())
        transport.path = path
        path.now = now
        version = 4 if len(path.dest) == 4 else 6
        try:
            connection = Connection(path, version, port.parameters, half.initial, half.offset)
            connection.accepted(
                half.agreement,
                half.options,
                half.peerInitial,
                half.recent,
                half.roundTrip(packet, word, now),
                now,
            )
        except Exception:
            # A congestion control of the application has raised an exception.
            port.failures.failed(now, "congestion")
            self.counters["attemptFails"] += 1
            return self._refuse(packet, key, sequence, acknowledgment, word, ACK, now)
        connection.receiver.pool, connection.sender.pool = self.buffers, self.sendBuffers
        transport.connection = connection
        port.connections += 1
        self._byPeer[peerOf(key)] += 1
        self._enter(key, transport)
        if not transport.callBeforeTurn(port.accept, transport):
            connection.abort(now)
            transport.abandon()
            return
        transport.segmentReceived(
            packet.data, packet.start, packet.end, sequence, acknowledgment, word, window, False, now, packet.port
        )

    def _tickLater(self) -> None:
        if self._tick is None:
            self._tick = Timer(self.clock, self._ticked)  # type: ignore[arg-type]
        if not self._tick.armed:
            self._tick.arm(_TICK)

    def _ticked(self) -> None:
        """
        Retransmit the SYN+ACKs that are due, and remove old half-open connections and old ones in TIME-WAIT.
        """
        now = self.now()
        for key, half in list(self._halfOpen.items()):
            if half.dueAt > now:
                continue
            if half.retries >= SYNACK_RETRIES:
                self._forget(key, half)
                continue
            half.retries += 1
            half.dueAt = now + SYNACK_PAUSE * 2**half.retries
            self._repeatAnswer(half, now)
        timeWait = self._timeWait
        while timeWait:
            key, waiting = next(iter(timeWait.items()))
            if waiting.until > now:
                break
            del timeWait[key]
        if timeWait or self._halfOpen:
            self._tickLater()
