"""
The protocol of WireGuard without I/O. Packets and messages are given to it; it calls one function with messages to
send, and one with packets to deliver.

Read the whitepaper, sections 5 and 6, first; what it leaves open is as in Linux.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from math import inf
from random import Random
from typing import Final

from twisted.internet.interfaces import IReactorTime

from txtuntap.layer.bounded import TableState
from txtuntap.wire.wireguard import (
    COOKIE_REPLY,
    COOKIE_REPLY_BODY,
    DATA,
    DATA_HEADER,
    DATA_LENGTH,
    INITIATION,
    RESPONSE_BODY,
    messageType,
)
from txtuntap.wireguard import handshake
from txtuntap.wireguard.cookies import CookieChecker
from txtuntap.wireguard.endpoint import Endpoint
from txtuntap.wireguard.inner import CE, congested, ipPacket
from txtuntap.wireguard.keys import PrivateKey
from txtuntap.wireguard.load import Load
from txtuntap.wireguard.outgoing import Outgoing, Send
from txtuntap.wireguard.peer import Peer
from txtuntap.wireguard.session import Session
from txtuntap.wireguard.timers import (
    ERASE_TIMEOUT,
    KEEPALIVE_TIMEOUT,
)

#: Seconds that two initiations of one peer are apart at least, or the later one is dropped.
INITIATION_PAUSE: Final = 1 / 50

#: The age of a session in seconds. From then on, data that comes makes the end that began the session begin another
#: one, because the time is too short to wait for a keepalive.
LAST_MINUTE: Final = 165.0

_dataHeader = DATA_HEADER.unpack_from
_handshakeHeader = struct.Struct("<II").unpack_from

Deliver = Callable[[list[bytes]], object]


class Core(Outgoing):
    """
    One end of WireGuard: all peers of one private key.

    @ivar sessionBegun: called with a peer when a session with it has begun; C{endpointChanged}: when its messages come
        from another address.
    """

    def __init__(self, clock: IReactorTime, random: Random, secrets: Random, send: Send, deliver: Deliver) -> None:
        """
        @param clock: tells the time: ages by its steady seconds, timestamps by C{seconds()}; and makes the calls that
            timers are due by.
        @param random: the source of jitter; C{secrets}: of keys and indexes.
        @param send: called with messages for an endpoint and the traffic class of all of them.
        @param deliver: called with packets of peers, in the order in which they have come.
        """
        super().__init__(clock, random, secrets, send)
        self._deliver = deliver
        self.sessionBegun: Callable[[Peer], object] = lambda peer: None
        self.endpointChanged: Callable[[Peer], object] = lambda peer: None
        self._load = Load()
        self._checker: CookieChecker | None = None
        # Calls of the application that the message at hand has caused.
        self._calls: list[tuple[Callable[[Peer], object], Peer]] = []

    def tables(self) -> list[TableState]:
        """
        How full the tables are.
        """
        return [*super().tables(), *self._load.tables()]

    def setPrivate(self, private: PrivateKey | None) -> None:
        """
        Have another private key. All sessions end, and a peer that has its public key is removed.
        """
        self._checker = None if private is None else CookieChecker(private.public, self._secrets)
        super().setPrivate(private)

    def messagesReceived(self, messages: Iterable[bytes], source: Endpoint, mark: int = 0) -> None:
        """
        Take messages that have come at once.

        @param source: where they have come from.
        @param mark: the ECN field of their IP headers (RFC 3168): 0 to 3.
        """
        if not self.isUp:
            return
        now = self.now()
        packets: list[bytes] = []
        # Data messages under one index that follow one another are opened together.
        run: list[tuple[int, bytes]] = []
        latest = 0
        for message in messages:
            isData = False
            if len(message) >= DATA_LENGTH:
                kind, index, counter = _dataHeader(message)
                isData = kind == DATA
            if run and (not isData or index != latest):
                packets += self._dataReceived(latest, run, source, mark, now)
                run = []
            if isData:
                latest = index
                run.append((counter, message))
            else:
                self._handshakeReceived(message, source, now)
        if run:
            packets += self._dataReceived(latest, run, source, mark, now)
        if packets and self.isUp:
            self._deliver(packets)

    def _handshakeReceived(self, message: bytes, source: Endpoint, now: float) -> None:
        """
        Take one message that is no data message.
        """
        kind = messageType(message)
        if not self.isUp:
            # The message before it has made the application stop this end.
            return
        if kind is None:
            self.counters["inErrors"] += 1
        elif kind == COOKIE_REPLY:
            self._cookieReceived(message, now)
        elif self._checker is None or not self._checker.isForUs(message):
            self.counters["inMacErrors"] += 1
        elif self._mayCost(message, source, now, self._checker):
            if kind == INITIATION:
                self._initiationReceived(message, source, now)
            else:
                self._responseReceived(message, source, now)
            self._callApplication()

    def _mayCost(self, message: bytes, source: Endpoint, now: float, checker: CookieChecker) -> bool:
        """
        Whether a handshake message is worth an exchange of keys. Under load, its sender has to prove its address.
        """
        if not self._load.isHeavy(now):
            return True
        octets = source.octets
        if checker.provesAddress(message, octets, now):
            if self._load.mayServe(source.network, now):
                return True
            self.counters["inLimited"] += 1
        elif self._load.mayReply(now):
            self.counters["outCookieReplies"] += 1
            _, sender = _handshakeHeader(message)
            self._send([checker.reply(message, sender, octets, now)], source, 0)
        else:
            self.counters["outLimited"] += 1
        return False

    def _initiationReceived(self, message: bytes, source: Endpoint, now: float) -> None:
        """
        Answer an initiation, if it is authentic and new.
        """
        counters = self.counters
        assert self.private is not None
        introduction = handshake.readIntroduction(self.private, message)
        if introduction is None:
            counters["inHandshakeErrors"] += 1
            return
        peer = self.peers.get(introduction.static)
        if peer is None:
            counters["inUnknownPeers"] += 1
            return
        read = handshake.readInitiation(introduction, peer.shared) if peer.shared else None
        if read is None:
            counters["inHandshakeErrors"] += 1
            return
        stamp, state = read
        if stamp <= peer.latestTimestamp:
            counters["inOldTimestamps"] += 1
            return
        if now - peer.initiatedAt < INITIATION_PAUSE:
            counters["inLimited"] += 1
            return
        index = self._index()
        try:
            body, keys = handshake.createResponse(
                state, peer.publicKey, peer.presharedKey, PrivateKey.generate(self._secrets), index
            )
        except ValueError:
            counters["inHandshakeErrors"] += 1
            return
        peer.latestTimestamp, peer.initiatedAt = stamp, now
        counters["inInitiations"] += 1
        self._authentic(peer, len(message), source, now)
        self._endHandshake(peer)
        self._beginSession(peer, Session(keys, index, state.remoteIndex, False, now))
        counters["outResponses"] += 1
        peer.handshakeSentAt = now
        self._sendHandshake(peer, body, now)

    def _responseReceived(self, message: bytes, source: Endpoint, now: float) -> None:
        """
        Begin the session that a response to our initiation brings.
        """
        _, _, local, _, _ = RESPONSE_BODY.unpack_from(message)
        peer, session = self._indexes.get(local, (None, None))
        if peer is None or session is not None or peer.handshake is None:
            self.counters["inUnknownIndexes"] += 1
            return
        assert self.private is not None
        read = handshake.readResponse(peer.handshake, self.private, peer.presharedKey, message)
        if read is None:
            self.counters["inHandshakeErrors"] += 1
            return
        remote, keys = read
        self.counters["inResponses"] += 1
        self._authentic(peer, len(message), source, now)
        self._endHandshake(peer)
        self._beginSession(peer, Session(keys, local, remote, True, now))
        self._handshakeComplete(peer)
        # The peer may not send before it has a message under the new keys.
        self._sendKeepalive(peer, now)

    def _cookieReceived(self, message: bytes, now: float) -> None:
        """
        Keep a cookie for the next handshake message, which waits for its time.
        """
        _, local, _, _ = COOKIE_REPLY_BODY.unpack(message)
        peer, _ = self._indexes.get(local, (None, None))
        if peer is None:
            self.counters["inUnknownIndexes"] += 1
        elif not self._load.mayTry(now):
            self.counters["inLimited"] += 1
        elif peer.cookies.replied(message, now):
            self.counters["inCookieReplies"] += 1
        else:
            self.counters["inCookieErrors"] += 1

    def _authentic(self, peer: Peer, octets: int, source: Endpoint, now: float) -> None:
        """
        Messages of a peer are authentic: the peer is where they have come from.

        @param octets: the octets of the messages.
        """
        peer.received += octets
        endpoint = peer.endpoint
        if endpoint is not source:
            if endpoint == source:
                # The same address, and perhaps another one of ours that the peer has written to.
                peer.endpoint = source
            elif peer.roams or endpoint is None:
                peer.endpoint = source
                self._calls.append((self.endpointChanged, peer))
        timers = peer.timers
        timers.newHandshake = inf
        if peer.keepalive:
            timers.persistent = now + peer.keepalive
            peer.schedule()

    def _dataReceived(
        self, local: int, run: list[tuple[int, bytes]], source: Endpoint, mark: int, now: float
    ) -> list[bytes]:
        """
        Open data messages of one session.

        @param local: the index in their headers.
        @param run: the counter of each, and its octets.

        @return: the packets in them that are to be delivered.
        """
        peer, session = self._indexes.get(local, (None, None))
        if peer is None or session is None:
            self.counters["inUnknownIndexes"] += len(run)
            return []
        if now >= session.until:
            self.counters["inExpired"] += len(run)
            return []
        packets = session.unseal(run, self.counters)
        if not packets:
            return []
        sessions = peer.sessions
        isConfirmed = session is sessions.next
        if isConfirmed:
            for gone in sessions.confirm():
                del self._indexes[gone.localIndex]
        self._authentic(peer, sum(map(len, packets)) + len(packets) * DATA_LENGTH, source, now)
        if isConfirmed:
            self._handshakeComplete(peer)
            self._sendStaged(peer, now)
        if (
            session.isInitiator
            and now - session.since >= LAST_MINUTE
            and session is sessions.current
            and not peer.sentLastMinute
        ):
            peer.sentLastMinute = True
            self._initiate(peer, now)
        keepalives = packets.count(b"")
        if keepalives:
            self.counters["inKeepalives"] += keepalives
        if len(packets) > keepalives:
            timers = peer.timers
            timers.needsAnother |= timers.keepalive < inf or len(packets) > keepalives + 1
            if timers.keepalive == inf:
                timers.keepalive = now + KEEPALIVE_TIMEOUT
                peer.schedule()
        if self._calls:
            self._callApplication()
        return self._allowedPackets(peer, packets, mark)

    def _allowedPackets(self, peer: Peer, packets: list[bytes], mark: int) -> list[bytes]:
        """
        Take the padding from packets of a peer, and leave out those that it may not send.
        """
        counters = self.counters
        match = self._allowed.match
        found: list[bytes] = []
        known = b""
        for data in packets:
            if not data:
                continue
            parsed = ipPacket(data)
            if parsed is None:
                counters["inDataErrors"] += 1
                continue
            length, inner = parsed
            if inner != known:
                owner = match(inner)
                if owner is None or owner[1] is not peer:
                    counters["inForbidden"] += 1
                    continue
                known = inner
            if length < len(data):
                data = data[:length]
            if mark == CE:
                marked = congested(data)
                if marked is None:
                    counters["inDiscards"] += 1
                    continue
                data = marked
            found.append(data)
        counters.inPackets += len(found)
        counters.inOctets += sum(map(len, found))
        return found

    def _beginSession(self, peer: Peer, session: Session) -> None:
        self._indexes[session.localIndex] = peer, session
        for gone in peer.sessions.begin(session):
            del self._indexes[gone.localIndex]
        peer.timers.erase = session.since + ERASE_TIMEOUT
        peer.schedule()

    def _handshakeComplete(self, peer: Peer) -> None:
        """
        Both ends have the keys of the current session.
        """
        peer.timers.handshakeComplete()
        peer.sentLastMinute = False
        peer.lastHandshake = self.clock.seconds()
        self._calls.insert(0, (self.sessionBegun, peer))

    def _callApplication(self) -> None:
        """
        Tell the application what a message has changed. This comes after all else, because the application may remove
        the peer, change the private key, or stop this end.
        """
        calls, self._calls = self._calls, []
        for call, peer in calls:
            if self.isUp and self.peers.get(peer.publicKey) is peer:
                call(peer)
