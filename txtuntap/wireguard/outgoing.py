"""
Packets, keepalives and initiations for peers, and when they are sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from random import Random
from typing import Final

from twisted.internet.interfaces import IReactorTime

from txtuntap.layer.drops import Drop
from txtuntap.layer.timer import GRAIN
from txtuntap.wireguard import handshake
from txtuntap.wireguard.endpoint import Endpoint
from txtuntap.wireguard.inner import ecnOf
from txtuntap.wireguard.keys import PrivateKey
from txtuntap.wireguard.peer import MAX_STAGED, Peer
from txtuntap.wireguard.peertable import PeerTable
from txtuntap.wireguard.session import REKEY_AFTER_MESSAGES, REKEY_AFTER_TIME, Session
from txtuntap.wireguard.tai64n import after, timestamp
from txtuntap.wireguard.timers import (
    ERASE_TIMEOUT,
    KEEPALIVE_TIMEOUT,
    MAX_JITTER,
    MAX_RETRIES,
    NEW_HANDSHAKE_TIMEOUT,
    REKEY_TIMEOUT,
)

#: The traffic class of handshake messages: DSCP AF41.
HANDSHAKE_CLASS: Final = 0x88

#: The octets of packets that wait for a session with one peer, at most. The oldest are dropped.
MAX_STAGED_OCTETS: Final = 1 << 18

Send = Callable[[Sequence[bytes | memoryview], Endpoint, int], object]


class Outgoing(PeerTable):
    """
    The side of the protocol that sends.

    @ivar mtu: the MTU of the interface, which padding does not go beyond.
    @ivar isUp: whether messages may be sent.
    @ivar unanswered: called with a peer that has not answered an initiation in time.
    """

    def __init__(self, clock: IReactorTime, random: Random, secrets: Random, send: Send) -> None:
        super().__init__(clock, secrets)
        self._random = random
        self._send = send
        self.mtu = 1420
        self.isUp = False
        # Peers with packets of the batch that is under way; None: there is none.
        self._pending: list[Peer] | None = None
        self.unanswered: Callable[[Peer], object] = lambda peer: None

    # Life

    def start(self) -> None:
        """
        Messages may be sent: those that wait are, and peers that are kept alive hear of this end.
        """
        self.isUp = True
        self._wake()

    def setPrivate(self, private: PrivateKey | None) -> None:
        """
        Have another private key. All sessions end, and a peer that has its public key is removed.
        """
        super().setPrivate(private)
        if self.isUp and private is not None:
            self._wake()

    def _wake(self) -> None:
        """
        Send what waits, and let peers that are kept alive hear of this end.
        """
        now = self.now()
        for peer in list(self.peers.values()):
            if peer.keepalive:
                self._sendKeepalive(peer, now)
            else:
                self._sendStaged(peer, now)

    def stop(self) -> None:
        """
        End all sessions, and forget what waits.
        """
        self.isUp = False
        self._pending = None
        for peer in list(self.peers.values()):
            self._discardStaged(peer)
            self._endSessions(peer)
            peer.stop()

    def setEndpoint(self, peer: Peer, endpoint: Endpoint | None) -> None:
        """
        Send the messages for a peer to another address.
        """
        before, peer.endpoint = peer.endpoint, endpoint
        if endpoint is None or not self.isUp:
            return
        if before is None and peer.keepalive:
            self._sendKeepalive(peer, self.now())
        else:
            self._sendStaged(peer, self.now())

    def setKeepalive(self, peer: Peer, seconds: int) -> None:
        """
        Set the interval after which a silent peer has a keepalive.
        """
        before, peer.keepalive = peer.keepalive, seconds
        if not seconds:
            peer.timers.persistent = inf
        elif self.isUp and not before:
            self._sendKeepalive(peer, self.now())

    # Packets to peers

    def sendPacket(self, data: bytes) -> Drop | None:
        """
        Take one IP packet for a peer.

        @return: C{None}: it was sent, or waits for a session; or the reason why it was dropped.
        """
        version = data[0] >> 4 if data else 0
        if version == 4 and len(data) >= 20:
            dest = data[16:20]
        elif version == 6 and len(data) >= 40:
            dest = data[24:40]
        else:
            return Drop.MALFORMED
        peer = self._latestPeer if dest == self._latestDest else self._peerTo(dest)
        if peer is None:
            return Drop.NO_PEER
        if peer.endpoint is None and not peer.isSought:
            return Drop.NO_ENDPOINT
        staged = peer.staged
        if len(staged) >= MAX_STAGED:
            staged.popleft()
            self.counters["outDiscards"] += 1
        staged.append(data)
        pending = self._pending
        if pending is None:
            self._sendStaged(peer, self.now())
        elif len(staged) == 1:
            pending.append(peer)
        elif len(staged) >= MAX_STAGED:
            self._sendStaged(peer, self.now())
        return None

    def beginBatch(self) -> None:
        """
        Hold the packets of each peer until L{endBatch}, because others are likely to follow at once.
        """
        self._pending = []

    def endBatch(self) -> None:
        """
        Send the packets that were held.
        """
        pending, self._pending = self._pending, None
        now = self.now()
        for peer in pending or ():
            self._sendStaged(peer, now)

    def _sendStaged(self, peer: Peer, now: float) -> None:
        """
        Send what waits for a session, or begin one.
        """
        if not peer.staged:
            return
        session = peer.sessions.current
        if session is None or not session.maySend(now):
            self._limitStaged(peer)
            self._initiate(peer, now)
            return
        if self._staging:
            self._staging.pop(peer, None)
        staged = list(peer.staged)
        peer.staged.clear()
        self._sendData(peer, session, staged, now)

    def _limitStaged(self, peer: Peer) -> None:
        """
        Have the packets for a peer wait for a session, within the bounds of memory.
        """
        staged = peer.staged
        octets = sum(map(len, staged))
        while octets > MAX_STAGED_OCTETS:
            octets -= len(staged.popleft())
            self.counters["outDiscards"] += 1
        if peer not in self._staging:
            self._staging.put(peer, None)

    def _sendData(self, peer: Peer, session: Session, packets: list[bytes], now: float) -> None:
        """
        Send packets under a session; an empty one is a keepalive.
        """
        endpoint = peer.endpoint
        if endpoint is None or not self.isUp:
            return
        messages = session.seal(packets, self.mtu)
        octets = sum(map(len, messages))
        peer.sent += octets
        counters, timers = self.counters, peer.timers
        if packets[0]:
            counters.outPackets += len(packets)
            counters.outOctets += sum(map(len, packets))
            # Messages that leave together have one traffic class (RFC 6040 section 4.1: the ECN field is copied).
            marks = [ecnOf(packet) for packet in packets]
            start = 0
            for end in range(1, len(marks) + 1) if marks.count(marks[0]) < len(marks) else (len(marks),):
                if end == len(marks) or marks[end] != marks[start]:
                    self._send(messages[start:end], endpoint, marks[start])
                    start = end
        else:
            counters["outKeepalives"] += 1
            self._send(messages, endpoint, 0)
        if packets[0] and timers.newHandshake == inf:
            timers.newHandshake = now + NEW_HANDSHAKE_TIMEOUT + self._jitter()
        self._sentAuthenticated(peer, now)
        if session.counter >= REKEY_AFTER_MESSAGES or (session.isInitiator and now - session.since >= REKEY_AFTER_TIME):
            self._initiate(peer, now)

    def _sentAuthenticated(self, peer: Peer, now: float) -> None:
        """
        The peer has had a message that proves this end's key.
        """
        timers = peer.timers
        timers.keepalive = inf
        timers.needsAnother = False
        if peer.keepalive:
            timers.persistent = now + peer.keepalive
        peer.schedule()

    def _sendKeepalive(self, peer: Peer, now: float) -> None:
        """
        Send what waits, or an empty packet where nothing does.
        """
        session = peer.sessions.current
        if session is None or not session.maySend(now):
            self._initiate(peer, now)
        elif peer.staged:
            self._sendStaged(peer, now)
        else:
            self._sendData(peer, session, [b""], now)

    # Initiations

    def _jitter(self) -> float:
        return self._random.random() * MAX_JITTER

    def _initiate(self, peer: Peer, now: float, isRetry: bool = False) -> None:
        """
        Begin a handshake, unless one was begun or answered less than five seconds ago.
        """
        if not isRetry:
            peer.timers.attempts = 0
        if not self.isUp:
            return
        if now - peer.handshakeSentAt < REKEY_TIMEOUT - GRAIN:
            if isRetry or (peer.staged and peer.timers.retransmit == inf):
                # The peer's own initiation was answered meanwhile, and perhaps the answer is lost.
                self._awaitResponse(peer, peer.handshakeSentAt)
            return
        if peer.endpoint is None or self.private is None or not peer.shared:
            # The packets wait: an address or a key may be given later.
            self._awaitResponse(peer, now)
            return
        peer.handshakeSentAt = now
        self._endHandshake(peer)
        index = self._index()
        sent = timestamp(self.clock.seconds())
        if peer.timestampSent and sent <= peer.timestampSent:
            # The clock was set back. The peer takes none that is not later than the last.
            sent = after(peer.timestampSent)
        peer.timestampSent = sent
        body, peer.handshake = handshake.createInitiation(
            self.private, peer.publicKey, peer.shared, PrivateKey.generate(self._secrets), index, sent
        )
        self._indexes[index] = peer, None
        self.counters["outInitiations"] += 1
        self._sendHandshake(peer, body, now)
        self._awaitResponse(peer, now)

    def _awaitResponse(self, peer: Peer, now: float) -> None:
        peer.timers.retransmit = now + REKEY_TIMEOUT + self._jitter()
        peer.schedule()

    def _sendHandshake(self, peer: Peer, body: bytes, now: float) -> None:
        assert peer.endpoint is not None
        message = peer.cookies.sign(body, now)
        peer.sent += len(message)
        self._send([message], peer.endpoint, HANDSHAKE_CLASS)
        self._sentAuthenticated(peer, now)

    # Timers

    def due(self, peer: Peer) -> None:
        """
        Do what is due with a peer.
        """
        now = self.now() + GRAIN
        timers = peer.timers
        if timers.erase <= now:
            # A handshake that has begun since goes on: after a suspension, this call is late.
            self._endSessions(peer, endsHandshake=timers.retransmit == inf)
        if timers.retransmit <= now:
            timers.retransmit = inf
            self._retry(peer, now)
        if timers.newHandshake <= now:
            timers.newHandshake = inf
            self._forgetRoute(peer)
            self._initiate(peer, now)
        if timers.keepalive <= now:
            timers.keepalive = inf
            needsAnother, timers.needsAnother = timers.needsAnother, False
            session = peer.sessions.current
            if session is not None and session.maySend(now):
                # Without a session there is nothing to answer: after a suspension, this call is late.
                self._sendKeepalive(peer, now)
            if needsAnother:
                timers.keepalive = now + KEEPALIVE_TIMEOUT
        if timers.persistent <= now:
            timers.persistent = inf
            if peer.keepalive:
                self._sendKeepalive(peer, now)
        peer.schedule()

    def _retry(self, peer: Peer, now: float) -> None:
        """
        A peer has not answered an initiation in time.
        """
        timers = peer.timers
        if timers.attempts > MAX_RETRIES:
            self._discardStaged(peer)
            timers.keepalive = inf
            if timers.erase == inf:
                # The keys of the unfinished handshake are erased with the others.
                timers.erase = now + ERASE_TIMEOUT
            return
        timers.attempts += 1
        self._forgetRoute(peer)
        self.unanswered(peer)
        self._initiate(peer, now, isRetry=True)

    def _forgetRoute(self, peer: Peer) -> None:
        """
        Send by the route that the system chooses from now on, since messages are not answered.
        """
        endpoint = peer.endpoint
        if endpoint is not None and endpoint.route is not None:
            peer.endpoint = Endpoint(endpoint.host, endpoint.port)
