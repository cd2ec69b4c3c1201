"""
The peers of one private key, the networks that belong to each, and the indexes by which messages name them.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from math import inf
from random import Random
from typing import Final

from twisted.internet.interfaces import IReactorTime

from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.layer.counters import PacketCounters
from txtuntap.layer.prefixes import Network, PrefixTable
from txtuntap.layer.timer import steadySeconds
from txtuntap.wireguard.keys import PrivateKey
from txtuntap.wireguard.peer import MAX_STAGED, Peer
from txtuntap.wireguard.session import Session

#: The peers of one interface, at most.
MAX_PEERS: Final = 1 << 16

#: Peers whose packets wait for a session, at most. The packets for the one that has waited longest are dropped.
MAX_STAGING: Final = 256


def _nothing(peer: Peer) -> None:
    """
    The call of an application that has given none.
    """


class PeerTable:
    """
    All peers of one private key.

    @ivar private: our private key; C{None}: nothing is sent and nothing taken.
    @ivar peers: the peers by public key.
    @ivar counters: how often each thing has happened, by name.
    @ivar sessionEnded: called with a peer when the keys of its session were erased.
    """

    def __init__(self, clock: IReactorTime, secrets: Random) -> None:
        self.clock = clock
        self.now: Callable[[], float] = steadySeconds(clock)
        self._secrets = secrets
        self.private: PrivateKey | None = None
        self.peers: dict[bytes, Peer] = {}
        self.counters = PacketCounters()
        self.sessionEnded: Callable[[Peer], object] = _nothing
        self._allowed: PrefixTable[Peer] = PrefixTable()
        # The destination of the latest packet, and its peer: most packets have that of the one before.
        self._latestDest = b""
        self._latestPeer: Peer | None = None
        # The peer of each index that we have chosen, and its session; None: the handshake is under way.
        self._indexes: dict[int, tuple[Peer, Session | None]] = {}
        self._staging: Table[Peer, None] = Table("staging", MAX_STAGING, Policy.OLDEST, self._discardStaged)

    def tables(self) -> list[TableState]:
        """
        How full the tables are.
        """
        staged = max((len(peer.staged) for peer in self.peers.values()), default=0)
        return [
            TableState("wireguard peers", len(self.peers), MAX_PEERS, Policy.REFUSE.value),
            TableState("staged of a peer", staged, MAX_STAGED, Policy.OLDEST.value),
            self._staging.state,
        ]

    def setPrivate(self, private: PrivateKey | None) -> None:
        """
        Have another private key. All sessions end, and a peer that has its public key is removed.
        """
        self.private = private
        if private is not None and private.public in self.peers:
            self.removePeer(self.peers[private.public])
        # The application is called when a session ends: it may use and change all peers.
        peers = list(self.peers.values())
        for peer in peers:
            self._share(peer)
        for peer in peers:
            self._endSessions(peer)

    def addPeer(self, publicKey: bytes) -> Peer:
        """
        Add a peer by its public key.

        @raise ValueError: there are too many.
        """
        if len(self.peers) >= MAX_PEERS:
            raise ValueError(f"an interface has no more than {MAX_PEERS} peers: use another one for more")
        peer = Peer(publicKey, self.clock, self.due)
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
        self._discardStaged(peer)
        self._endSessions(peer)
        peer.stop()

    def setAllowed(self, peer: Peer, networks: tuple[Network, ...]) -> None:
        """
        Give a peer other networks than it had.
        """
        self._latestDest = b""
        for network in peer.allowed:
            del self._allowed[network]
        peer.allowed.clear()
        for network in networks:
            self.allow(peer, network)

    def allow(self, peer: Peer, network: Network) -> None:
        """
        Give a peer one more network, which the peer that had it has no longer.
        """
        self._latestDest = b""
        before = self._allowed.get(network)
        if before is not None:
            del before.allowed[network]
        self._allowed[network] = peer
        peer.allowed[network] = None

    def disallow(self, peer: Peer, network: Network) -> None:
        """
        Take a network from a peer, if it has it.
        """
        self._latestDest = b""
        if network in peer.allowed:
            del peer.allowed[network], self._allowed[network]

    def peerOf(self, address: str) -> Peer | None:
        """
        The peer that packets with an address come from, and are sent to.

        @raise ValueError: C{address} is no IP address.
        """
        found = self._allowed.match(ip_address(address).packed)
        return None if found is None else found[1]

    def _peerTo(self, dest: bytes) -> Peer | None:
        """
        The peer that packets with a packed destination are sent to.
        """
        found = self._allowed.match(dest)
        self._latestDest, self._latestPeer = dest, None if found is None else found[1]
        return self._latestPeer

    def due(self, peer: Peer) -> None:
        """
        Do what is due with a peer: its timer calls this.
        """
        raise NotImplementedError

    def _discardStaged(self, peer: Peer, _: None = None) -> None:
        """
        Drop the packets that wait for a session with a peer.
        """
        self._staging.pop(peer, None)
        self.counters["outDiscards"] += len(peer.staged)
        peer.staged.clear()

    def _endSessions(self, peer: Peer, endsHandshake: bool = True) -> None:
        had = peer.hasSession
        for session in peer.sessions.clear():
            del self._indexes[session.localIndex]
        peer.timers.erase = inf
        if endsHandshake:
            self._endHandshake(peer)
            # The pause between two initiations does not hold for another key.
            peer.handshakeSentAt = -inf
        if had:
            self.sessionEnded(peer)

    def _endHandshake(self, peer: Peer) -> None:
        if peer.handshake is not None:
            self._indexes.pop(peer.handshake.localIndex, None)
            peer.handshake = None

    def _index(self) -> int:
        """
        Choose an index that is not in use.
        """
        while True:
            index = self._secrets.getrandbits(32)
            if index not in self._indexes:
                return index
