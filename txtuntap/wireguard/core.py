"""
The protocol of WireGuard without I/O. Packets and messages are given to it; it calls one function with messages to send,
and one with packets to deliver.

Read the whitepaper, sections 5 and 6, first; what it leaves open is as in Linux.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import ip_address
from math import inf
from random import Random
from typing import Final

from twisted.internet.interfaces import IReactorTime

from txtuntap.layer.bounded import Policy, TableState
from txtuntap.layer.counters import PacketCounters
from txtuntap.layer.drops import Drop
from txtuntap.layer.prefixes import Network, PrefixTable
from txtuntap.layer.timer import GRAIN, steadySeconds
from txtuntap.wire.wireguard import (
    COOKIE_REPLY,
    COOKIE_REPLY_BODY,
    DATA,
    DATA_HEADER,
    INITIATION,
    RESPONSE_BODY,
    messageType,
    padded,
)
from txtuntap.wireguard import handshake
from txtuntap.wireguard.cookies import CookieChecker
from txtuntap.wireguard.endpoint import Endpoint
from txtuntap.wireguard.inner import congested, ecnOf, ipPacket
from txtuntap.wireguard.keys import PrivateKey
from txtuntap.wireguard.load import Load
from txtuntap.wireguard.peer import MAX_STAGED, Peer
from txtuntap.wireguard.session import REJECT_AFTER_MESSAGES, REKEY_AFTER_MESSAGES, REKEY_AFTER_TIME, Session
from txtuntap.wireguard.tai64n import after, timestamp
from txtuntap.wireguard.timers import (
    ERASE_TIMEOUT,
    KEEPALIVE_TIMEOUT,
    MAX_JITTER,
    MAX_RETRIES,
    NEW_HANDSHAKE_TIMEOUT,
    REKEY_TIMEOUT,
)

#: Seconds that two initiations of one peer are apart at least, or the later one is dropped.
INITIATION_PAUSE: Final = 1 / 50

#: The age of a session in seconds. From then on, data that comes makes the end that began the session begin another
#: one, because the time is too short to wait for a keepalive.
LAST_MINUTE: Final = 165.0

#: The traffic class of handshake messages: DSCP AF41.
HANDSHAKE_CLASS: Final = 0x88

#: The peers of one interface, at most.
MAX_PEERS: Final = 1 << 16

_dataHeader = DATA_HEADER.unpack_from
_handshakeHeader = struct.Struct("<II").unpack_from

Send = Callable[[list[bytes], Endpoint, int], object]
Deliver = Callable[[bytes, Peer], object]


def _nothing(peer: Peer) -> None:
    """
    The call of an application that has given none.
    """


class Core:
    """
    All peers of one private key.

    @ivar private: our private key; L{None}: nothing is sent and nothing taken.
    @ivar peers: the peers by public key.
    @ivar mtu: the MTU of the interface, which padding does not go beyond.
    @ivar counters: how often each thing has happened, by name.
    @ivar isUp: whether messages may be sent.
    @ivar sessionBegun: called with a peer when a session with it has begun; C{sessionEnded}: when its keys were erased;
        C{endpointChanged}: when its messages come from another address; C{unanswered}: when it has not answered an
        initiation.
    """

    def __init__(self, clock: IReactorTime, random: Random, secrets: Random, send: Send, deliver: Deliver) -> None:
        """
        @param clock: tells the time: ages by its steady seconds, timestamps by C{seconds()}; and makes the calls that
            timers are due by.
        @param random: the source of jitter; C{secrets}: of keys and indexes.
        @param send: called with messages for an endpoint and the traffic class of all of them.
        @param deliver: called with a packet and the peer that has sent it.
        """
        self.clock = clock
        self._steady = steadySeconds(clock)
        self._random = random
        self._secrets = secrets
        self._send = send
        self._deliver = deliver
        self.private: PrivateKey | None = None
        self.peers: dict[bytes, Peer] = {}
        self.mtu = 1420
        self.counters = PacketCounters()
        self.isUp = False
        self.sessionBegun: Callable[[Peer], object] = _nothing
        self.sessionEnded: Callable[[Peer], object] = _nothing
        self.endpointChanged: Callable[[Peer], object] = _nothing
        self.unanswered: Callable[[Peer], object] = _nothing
        self._allowed: PrefixTable[Peer] = PrefixTable()
        # The peer of each index that we have chosen, and its session; None: the handshake is under way.
        self._indexes: dict[int, tuple[Peer, Session | None]] = {}
        self._load = Load()
        self._checker: CookieChecker | None = None

    def now(self) -> float:
        """
        The time in steady seconds.
        """
        return self._steady()

    def tables(self) -> list[TableState]:
        """
        How full the tables are.
        """
        refuse = Policy.REFUSE.value
        staged = sum(len(peer.staged) for peer in self.peers.values())
        return [
            TableState("peers", len(self.peers), MAX_PEERS, refuse),
            TableState("staged", staged, MAX_STAGED * len(self.peers), Policy.OLDEST.value),
            *self._load.tables(),
        ]

    # Peers and keys

    def setPrivate(self, private: PrivateKey | None) -> None:
        """
        Have another private key. All sessions end, and a peer that has its public key is removed.
        """
        self.private = private
        self._checker = None if private is None else CookieChecker(private.public, self._secrets)
        if private is not None and private.public in self.peers:
            self.removePeer(self.peers[private.public])
        for peer in self.peers.values():
            self._endSessions(peer)
            self._share(peer)

    def addPeer(self, publicKey: bytes) -> Peer:
        """
        Add a peer.

        @raise ValueError: there are too many.
        """
        if len(self.peers) >= MAX_PEERS:
            raise ValueError(f"an interface has no more than {MAX_PEERS} peers: use another one for more")
        peer = Peer(publicKey, self.clock, self._due)
        self._share(peer)
        self.peers[publicKey] = peer
        return peer

    def _share(self, peer: Peer) -> None:
        try:
            peer.shared = b"" if self.private is None else self.private.exchange(peer.publicKey)
        except ValueError:
            # A key of low order. Linux takes such a peer, too, and no handshake with it succeeds.
            peer.shared = b""

    def removePeer(self, peer: Peer) -> None:
        """
        Forget a peer, its sessions, and what waits for it.
        """
        self.peers.pop(peer.publicKey, None)
        self.setAllowed(peer, ())
        peer.staged.clear()
        self._endSessions(peer)
        peer.stop()

    def setAllowed(self, peer: Peer, networks: tuple[Network, ...]) -> None:
        """
        Give a peer other networks than it had.
        """
        for network in peer.allowed:
            del self._allowed[network]
        peer.allowed.clear()
        for network in networks:
            self.allow(peer, network)

    def allow(self, peer: Peer, network: Network) -> None:
        """
        Give a peer one more network, which the peer that had it has no longer.
        """
        before = self._allowed.get(network)
        if before is not None:
            del before.allowed[network]
        self._allowed[network] = peer
        peer.allowed[network] = None

    def disallow(self, peer: Peer, network: Network) -> None:
        """
        Take a network from a peer, if it has it.
        """
        if network in peer.allowed:
            del peer.allowed[network], self._allowed[network]

    def peerOf(self, address: str) -> Peer | None:
        """
        The peer that packets with an address come from, and are sent to.

        @raise ValueError: C{address} is no IP address.
        """
        found = self._allowed.match(ip_address(address).packed)
        return None if found is None else found[1]

    def setEndpoint(self, peer: Peer, endpoint: Endpoint | None) -> None:
        """
        Send the messages for a peer to another address.
        """
        peer.endpoint = endpoint
        if endpoint is not None and self.isUp:
            self._sendStaged(peer, self._steady())

    def setKeepalive(self, peer: Peer, seconds: int) -> None:
        """
        Set the interval after which a silent peer has a keepalive.
        """
        before, peer.keepalive = peer.keepalive, seconds
        if not seconds:
            peer.timers.persistent = inf
        elif self.isUp and not before:
            self._sendKeepalive(peer, self._steady())

    # Life

    def start(self) -> None:
        """
        Messages may be sent: those that wait are, and peers that are kept alive hear of this end.
        """
        self.isUp = True
        now = self._steady()
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
        for peer in self.peers.values():
            peer.staged.clear()
            self._endSessions(peer)
            peer.stop()

    def _endSessions(self, peer: Peer) -> None:
        had = peer.hasSession
        for session in peer.sessions.clear():
            del self._indexes[session.localIndex]
        self._endHandshake(peer)
        peer.timers.erase = inf
        # The floor between two initiations does not hold for another key.
        peer.handshakeSentAt = -inf
        if had:
            self.sessionEnded(peer)

    def _endHandshake(self, peer: Peer) -> None:
        if peer.handshake is not None:
            self._indexes.pop(peer.handshake.localIndex, None)
            peer.handshake = None

    # Packets to peers

    def packetReceived(self, data: bytes) -> Drop | None:
        """
        Take one IP packet for a peer.

        @return: L{None}: it was sent, or waits for a session; or the reason why it was dropped.
        """
        version = data[0] >> 4 if data else 0
        if version == 4 and len(data) >= 20:
            dest = data[16:20]
        elif version == 6 and len(data) >= 40:
            dest = data[24:40]
        else:
            return Drop.MALFORMED
        found = self._allowed.match(dest)
        if found is None:
            return Drop.NO_PEER
        peer = found[1]
        if peer.endpoint is None and not peer.isSought:
            return Drop.NO_ENDPOINT
        now = self._steady()
        session = peer.sessions.current
        if session is None or peer.staged or not session.maySend(now):
            if len(peer.staged) >= MAX_STAGED:
                peer.staged.popleft()
                self.counters["outDiscards"] += 1
            peer.staged.append(data)
            self._sendStaged(peer, now)
        else:
            self._sendData(peer, session, [data], now)
        return None

    def _sendStaged(self, peer: Peer, now: float) -> None:
        """
        Send what waits for a session, or begin one.
        """
        if not peer.staged:
            return
        session = peer.sessions.current
        if session is None or not session.maySend(now):
            self._initiate(peer, now)
            return
        staged = list(peer.staged)
        peer.staged.clear()
        self._sendData(peer, session, staged, now)

    def _sendData(self, peer: Peer, session: Session, packets: list[bytes], now: float) -> None:
        """
        Send packets under a session; an empty one is a keepalive.
        """
        endpoint = peer.endpoint
        if endpoint is None or not self.isUp:
            return
        mtu, counters, timers = self.mtu, self.counters, peer.timers
        messages: list[bytes] = []
        marks = 0
        octets = 0
        for packet in packets:
            length = len(packet)
            message = session.seal(packet.ljust(padded(length, mtu), b"\0") if length & 15 else packet)
            octets += len(message)
            if packet:
                counters.outPackets += 1
                counters.outOctets += length
                mark = ecnOf(packet)
                if mark != marks and messages:
                    self._send(messages, endpoint, marks)
                    messages = []
                marks = mark
            else:
                counters["outKeepalives"] += 1
            messages.append(message)
        peer.sent += octets
        self._send(messages, endpoint, marks)
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

    # Handshakes

    def _index(self) -> int:
        """
        Choose an index that is not in use.
        """
        while True:
            index = self._secrets.getrandbits(32)
            if index not in self._indexes:
                return index

    def _jitter(self) -> float:
        return self._random.random() * MAX_JITTER

    def _initiate(self, peer: Peer, now: float, isRetry: bool = False) -> None:
        """
        Begin a handshake, unless one was begun or answered less than five seconds ago.
        """
        if not isRetry:
            peer.timers.attempts = 0
        if now - peer.handshakeSentAt < REKEY_TIMEOUT - GRAIN or not self.isUp:
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
        self.sessionBegun(peer)

    # Messages from peers

    def messageReceived(self, message: bytes, source: Endpoint, mark: int = 0) -> None:
        """
        Take one message.

        @param source: where it has come from.
        @param mark: the ECN field of its IP header (RFC 3168): 0 to 3.
        """
        if not self.isUp:
            return
        now = self._steady()
        kind = messageType(message)
        if kind == DATA:
            self._dataReceived(message, source, mark, now)
        elif kind is None:
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
        self._authentic(peer, message, source, now)
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
        self._authentic(peer, message, source, now)
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
        elif peer.cookies.replied(message, now):
            self.counters["inCookieReplies"] += 1
        else:
            self.counters["inCookieErrors"] += 1

    def _authentic(self, peer: Peer, message: bytes, source: Endpoint, now: float) -> None:
        """
        A message of a peer is authentic: the peer is where it has come from.
        """
        peer.received += len(message)
        if peer.endpoint != source:
            if peer.roams or peer.endpoint is None:
                peer.endpoint = source
                self.endpointChanged(peer)
        else:
            # The same address, and perhaps another one of ours.
            peer.endpoint = source
        timers = peer.timers
        timers.newHandshake = inf
        if peer.keepalive:
            timers.persistent = now + peer.keepalive
            peer.schedule()

    def _dataReceived(self, message: bytes, source: Endpoint, mark: int, now: float) -> None:
        """
        Open a data message, and deliver the packet that is in it.
        """
        counters = self.counters
        _, local, counter = _dataHeader(message)
        peer, session = self._indexes.get(local, (None, None))
        if peer is None or session is None:
            counters["inUnknownIndexes"] += 1
            return
        if now >= session.until or counter >= REJECT_AFTER_MESSAGES:
            counters["inExpired"] += 1
            return
        data = session.unseal(message, counter)
        if data is None:
            counters["inUnauthentic"] += 1
            return
        if not session.window.accept(counter):
            counters["inReplays"] += 1
            return
        sessions = peer.sessions
        if session is sessions.next:
            for gone in sessions.confirm():
                del self._indexes[gone.localIndex]
            self._authentic(peer, message, source, now)
            self._handshakeComplete(peer)
            self._sendStaged(peer, now)
        else:
            self._authentic(peer, message, source, now)
        if session.isInitiator and now - session.since >= LAST_MINUTE and not peer.sentLastMinute:
            peer.sentLastMinute = True
            self._initiate(peer, now)
        if not data:
            counters["inKeepalives"] += 1
            return
        timers = peer.timers
        if timers.keepalive == inf:
            timers.keepalive = now + KEEPALIVE_TIMEOUT
            peer.schedule()
        else:
            timers.needsAnother = True
        parsed = ipPacket(data)
        if parsed is None:
            counters["inDataErrors"] += 1
            return
        length, inner = parsed
        found = self._allowed.match(inner)
        if found is None or found[1] is not peer:
            counters["inForbidden"] += 1
            return
        packet = data if length == len(data) else data[:length]
        if mark == 3:
            marked = congested(packet)
            if marked is None:
                counters["inDiscards"] += 1
                return
            packet = marked
        counters.inPackets += 1
        counters.inOctets += length
        self._deliver(packet, peer)

    # Timers

    def _due(self, peer: Peer) -> None:
        """
        Do what is due with a peer.
        """
        now = self._steady() + GRAIN
        timers = peer.timers
        if timers.erase <= now:
            timers.erase = inf
            self._endSessions(peer)
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
            self.counters["outDiscards"] += len(peer.staged)
            peer.staged.clear()
            timers.keepalive = inf
            if timers.erase == inf:
                # What is left of the handshake goes, too.
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
