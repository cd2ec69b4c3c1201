"""
WireGuard as a protocol: on a tun port, or at an end of a link::

    wireguard = WireGuard(privateKey, listenPort=51820, reactor=reactor)
    wireguard.addPeer(publicKey, allowed=["10.0.0.0/24"], endpoint="vpn.example:51820", keepalive=25)
    TuntapPort("wg0", wireguard, reactor=reactor).startListening()
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from ipaddress import ip_network
from random import Random, SystemRandom
from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import AbstractDatagramProtocol
from zope.interface import alsoProvides, implementer

from txtuntap.interfaces import IPacketReceiver, IRawPacketProtocol
from txtuntap.layer.bounded import TableState
from txtuntap.layer.counters import PacketCounters
from txtuntap.layer.drops import Drop
from txtuntap.layer.life import FailureLog
from txtuntap.layer.prefixes import Network
from txtuntap.layer.relay import forwardTogether
from txtuntap.layer.tokenbucket import TokenBucket
from txtuntap.mistakes import checkPort, checkRandom, checkRange
from txtuntap.packet import Packet
from txtuntap.wire import icmp
from txtuntap.wireguard.core import Core
from txtuntap.wireguard.endpoint import Endpoint
from txtuntap.wireguard.kernelsocket import KernelSocket
from txtuntap.wireguard.keys import PrivateKey, keyOctets
from txtuntap.wireguard.lookup import lookUp
from txtuntap.wireguard.peer import Peer
from txtuntap.wireguard.peersettings import PeerSettings
from txtuntap.wireguard.socket import DatagramSocket, ISocket, Message

#: ICMP errors about packets that no peer takes: how many a second, and at once (RFC 4443 section 2.4f).
ERROR_RATE, ERROR_BURST = 1000.0, 50.0


@implementer(IPacketReceiver)
class WireGuard(AbstractDatagramProtocol):
    """
    A WireGuard interface: a protocol for a tun port, which makes this machine a peer; or for an end of a
    L{Link<txtuntap.network.link.Link>} whose other end is a L{Host<txtuntap.Host>}, which makes a program a peer.

    The socket is opened when the protocol is started, and closed when it is stopped.

    Counters: C{inPackets}, C{inOctets}, C{outPackets}, C{outOctets} count the packets inside. C{docs/bounds.md}
    explains the others.

    @ivar counters: how often each thing has happened, by name.
    @ivar sessionBegun: a function that is called with a L{Peer<txtuntap.wireguard.peer.Peer>} when a session with it
        has begun; C{sessionEnded}: when its keys were erased; C{endpointChanged}: when it has another endpoint.
    """

    handlesFailures = True
    # Packets are encrypted one by one, and cutting superpackets for that would take longer than reading single packets.
    sendsOffload = True
    noisy = False
    transport: Any

    def __init__(
        self,
        privateKey: Any,
        listenPort: int = 0,
        reactor: Any = None,
        *,
        outside: Any = None,
        fwmark: int = 0,
        random: Random | None = None,
        secrets: Random | None = None,
    ) -> None:
        """
        @param privateKey: 32 octets, their text in base64, or a L{PrivateKey<txtuntap.wireguard.keys.PrivateKey>}.
            C{None}: it is set later, and no session begins before.
        @param listenPort: the UDP port outside; 0 takes a free one.
        @param reactor: tells the time, and waits for the socket; C{None}: the reactor that is installed.
        @param outside: an C{IReactorUDP} that messages are sent by, such as a L{Host<txtuntap.Host>}; an
            L{ISocket<txtuntap.wireguard.socket.ISocket>}; or C{None}: the kernel's sockets.
        @param fwmark: the mark of packets outside (C{SO_MARK}), by which routes can tell them from others; 0: none.
        @param random: the source of jitter; C{secrets}: of keys, by default that of the system.

        @raise ValueError: C{privateKey}, C{listenPort} or C{fwmark} is none.
        """
        checkPort(listenPort, "UDP")
        checkRange(fwmark, "fwmark", 0, 0xFFFFFFFF)
        for source, name in (random, "random"), (secrets, "secrets"):
            if source is not None:
                checkRandom(source, name)
        if reactor is None:
            from twisted.internet import reactor
        # It has packetReceived, and none of the other methods of the interface: see Tunnel.
        alsoProvides(self, IRawPacketProtocol)
        system = SystemRandom()
        self._core = Core(reactor, random or system, secrets or system, self._send, self._deliver)
        self._core.unanswered = self._lookUp
        self._core.endpointChanged = self._moved
        self._port = listenPort
        self._mark = fwmark
        if outside is None:
            outside = KernelSocket(reactor)
        self._socket: ISocket = outside if ISocket.providedBy(outside) else DatagramSocket(outside)
        # Names are found by whoever sends the messages, if that can.
        self._resolves = outside if hasattr(outside, "nameResolver") else reactor
        self._names: dict[bytes, tuple[str, int]] = {}
        # The names that are being looked up.
        self._sought: dict[bytes, tuple[str, int]] = {}
        self.setPrivateKey(privateKey)
        self._failures = FailureLog(self, self.counters)
        self._errors = TokenBucket(ERROR_RATE, ERROR_BURST)
        # Whether packets of one read are held, to leave together.
        self._isBatch = False
        self.sessionBegun: Callable[[Peer], object] | None = None
        self.sessionEnded: Callable[[Peer], object] | None = None
        self.endpointChanged: Callable[[Peer], object] | None = None
        self._core.sessionBegun = partial(self._tell, "sessionBegun")
        self._core.sessionEnded = partial(self._tell, "sessionEnded")

    def __repr__(self) -> str:
        private = self._core.private
        return f"<WireGuard {'without a key' if private is None else private!r}, {len(self.peers)} peers>"

    @property
    def counters(self) -> PacketCounters:
        return self._core.counters

    @property
    def listenPort(self) -> int:
        """
        The UDP port outside; before the start, the one that was asked for.
        """
        return self._socket.port or self._port

    @property
    def publicKey(self) -> bytes:
        """
        Our public key, 32 octets; empty where there is no private key.
        """
        private = self._core.private
        return b"" if private is None else private.public

    @property
    def peers(self) -> list[Peer]:
        """
        All peers, in the order in which they were added.
        """
        return list(self._core.peers.values())

    def tables(self) -> list[TableState]:
        """
        The fill levels of the tables: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return self._core.tables()

    # Peers

    def addPeer(
        self,
        publicKey: Any,
        allowed: Iterable[str | Network] = (),
        endpoint: str | None = None,
        keepalive: int = 0,
        presharedKey: Any = None,
        roams: bool = True,
    ) -> Peer:
        """
        Add a peer, also while packets are under way.

        @param publicKey: 32 octets, or their text in base64.
        @param allowed: the networks that it may send from, and that packets for it are sent to, in CIDR notation. One
            that another peer has is this one's from now on.
        @param endpoint: where it is: an IP address or a name, and a port. A name is looked up now, and again whenever
            the peer does not answer. C{None}: unknown until it sends an authentic message.
        @param keepalive: seconds of silence after which it has an empty message, so that routers in between do not
            forget it: 1 to 65535; 0: never.
        @param presharedKey: 32 octets that both share in advance, or their text in base64; C{None}: there are none.
        @param roams: whether the endpoint follows the peer's messages; if not, C{endpoint} stays.

        @raise ValueError: an argument is none of that kind, or the peer was added already.
        """
        key = keyOctets(publicKey, "a public key")
        if key in self._core.peers:
            raise ValueError("that peer was added already: change it by changePeer, or remove it first")
        if key == self.publicKey:
            raise ValueError("that is the public key of this end itself: give that of the peer")
        checked = PeerSettings(allowed, endpoint, keepalive, presharedKey, roams)
        peer = self._core.addPeer(key)
        self._change(peer, checked)
        return peer

    def changePeer(
        self,
        publicKey: Any,
        allowed: Iterable[str | Network] | None = None,
        endpoint: str | None = None,
        keepalive: int | None = None,
        presharedKey: Any = None,
        roams: bool | None = None,
    ) -> Peer:
        """
        Change what is known of a peer. Its session goes on; another preshared key holds from the next handshake on.

        @param publicKey: its key. The other arguments are those of L{addPeer}; C{None}: as before.

        @raise KeyError: there is no such peer.
        @raise ValueError: an argument is none of that kind.
        """
        peer = self._core.peers[keyOctets(publicKey, "a public key")]
        self._change(peer, PeerSettings(allowed, endpoint, keepalive, presharedKey, roams))
        return peer

    def _change(self, peer: Peer, settings: PeerSettings) -> None:
        core = self._core
        if settings.roams is not None:
            peer.roams = settings.roams
        if settings.presharedKey is not None:
            peer.presharedKey = settings.presharedKey
        if settings.allowed is not None:
            core.setAllowed(peer, settings.allowed)
        if settings.endpoint is not None:
            self._setEndpoint(peer, *settings.endpoint)
        if settings.keepalive is not None:
            core.setKeepalive(peer, settings.keepalive)

    def removePeer(self, publicKey: Any) -> None:
        """
        Remove a peer, and end its session.

        @raise KeyError: there is no such peer.
        """
        peer = self._core.peers[keyOctets(publicKey, "a public key")]
        self._forgetName(peer.publicKey)
        self._core.removePeer(peer)

    def peer(self, publicKey: Any) -> Peer:
        """
        Find a peer by its public key.

        @raise KeyError: there is none.
        """
        return self._core.peers[keyOctets(publicKey, "a public key")]

    def peerOf(self, address: str) -> Peer | None:
        """
        Find the peer that an address inside belongs to: the one that a datagram or a connection from there has come by,
        since no other peer may send from it.

        @return: C{None}: no peer has it.

        @raise ValueError: C{address} is no IP address.
        """
        return self._core.peerOf(address.partition("%")[0])

    def allow(self, publicKey: Any, network: str | Network) -> None:
        """
        Give a peer one more network, which the peer that had it has no longer.

        @raise KeyError: there is no such peer.
        """
        self._core.allow(self.peer(publicKey), ip_network(network, strict=False))

    def disallow(self, publicKey: Any, network: str | Network) -> None:
        """
        Take a network from a peer. If the peer has it not, nothing happens.

        @raise KeyError: there is no such peer.
        """
        self._core.disallow(self.peer(publicKey), ip_network(network, strict=False))

    @property
    def privateKey(self) -> PrivateKey | None:
        """
        Our private key; C{None}: there is none, so no session can begin.
        """
        return self._core.private

    def setPrivateKey(self, privateKey: Any) -> None:
        """
        Have another private key, or none (C{None}). All sessions end; packets begin new ones. A peer that has its
        public key is removed.
        """
        self._core.setPrivate(None if privateKey is None else PrivateKey(privateKey))
        self._forgetName(self.publicKey)

    @property
    def fwmark(self) -> int:
        """
        The mark of packets outside; 0: none.
        """
        return self._mark

    def setMark(self, fwmark: int) -> None:
        """
        Give packets outside another mark.

        @raise CannotListenError: that needs a privilege (C{CAP_NET_ADMIN}), or the socket cannot mark packets. They
            have the mark that they had.
        """
        checkRange(fwmark, "fwmark", 0, 0xFFFFFFFF)
        if self._core.isUp and fwmark != self._mark:
            self._reopen(self.listenPort, fwmark)
        self._mark = fwmark

    def setListenPort(self, port: int) -> None:
        """
        Listen on another UDP port; 0 takes a free one. Sessions go on: peers learn the port by the next message.

        @raise CannotListenError: the port is taken. This end listens on the port that it had.
        """
        checkPort(port, "UDP")
        if self._core.isUp and port != self.listenPort:
            self._reopen(port, self._mark)
        self._port = port

    def _reopen(self, port: int, mark: int) -> None:
        """
        Listen anew, or as before if that is refused.
        """
        before = self.listenPort
        self._socket.close()
        try:
            self._socket.open(port, mark, self._messagesReceived)
        except CannotListenError:
            self._socket.open(before, self._mark, self._messagesReceived)
            raise
        for peer in self.peers:
            # The address of ours that a peer has written to may not be that of the new socket.
            if peer.endpoint is not None:
                peer.endpoint = Endpoint(peer.endpoint.host, peer.endpoint.port)

    def _setEndpoint(self, peer: Peer, host: str, port: int) -> None:
        plain = host.partition("%")[0]
        if isIPAddress(plain) or isIPv6Address(plain):
            self._forgetName(peer.publicKey)
            peer.isSought = False
            self._core.setEndpoint(peer, Endpoint(host, port))
            return
        if not hasattr(self._resolves, "nameResolver"):
            raise ValueError(f"nothing here looks names up: give the IP address of {host}")
        self._names[peer.publicKey] = host, port
        peer.isSought = True
        if self._core.isUp:
            self._lookUp(peer)

    def _lookUp(self, peer: Peer) -> None:
        """
        Look up the name of a peer's endpoint.
        """
        key = peer.publicKey
        name = self._names.get(key)
        if name is None or self._sought.get(key) is name:
            return
        self._sought[key] = name
        before = peer.endpoint

        def found(addresses: list[str]) -> None:
            if self._sought.get(key) is not name:
                return
            del self._sought[key]
            # An authentic message since then tells better where the peer is.
            isNews = before == peer.endpoint and (before is None or before.host not in addresses)
            if self._core.isUp and (isNews or peer.isSought):
                peer.isSought = False
                self._core.setEndpoint(peer, Endpoint(addresses[0], name[1]))

        def failed(failure: Any) -> None:
            self.counters["lookupErrors"] += 1
            if self._sought.get(key) is name:
                del self._sought[key]

        lookUp(self._resolves.nameResolver, name[0]).addCallbacks(found, failed)

    def _forgetName(self, publicKey: bytes) -> None:
        self._names.pop(publicKey, None)
        self._sought.pop(publicKey, None)

    def _moved(self, peer: Peer) -> None:
        peer.isSought = False
        self._tell("endpointChanged", peer)

    def _tell(self, name: str, peer: Peer) -> None:
        function = getattr(self, name)
        if function is not None:
            try:
                function(peer)
            except Exception:
                self._failures.failed(self._core.now(), name)

    # Life

    def startProtocol(self) -> None:
        """
        Open the socket, and begin.

        @raise CannotListenError: the port is taken.
        """
        self._core.mtu = self.transport.mtu
        self._socket.open(self._port, self._mark, self._messagesReceived)
        self._core.start()
        for peer in self.peers:
            self._lookUp(peer)

    def stopProtocol(self) -> None:
        """
        End all sessions, and close the socket.
        """
        self._core.stop()
        self._isBatch = False
        self._socket.close()

    def mtuChanged(self) -> None:
        """
        The interface has another MTU.
        """
        self._core.mtu = self.transport.mtu

    # Packets inside

    def packetReceived(self, packet: Packet) -> None:
        """
        Send a packet to the peer that its destination belongs to.
        """
        if packet.partial:
            self.counters[Drop.LEAVING_TRUNCATED.counter] += 1
            return
        if not self._isBatch:
            ends = getattr(packet.port, "readEnd", None)
            if ends is not None:
                self._isBatch = True
                self._core.beginBatch()
                ends.append(self._readEnded)
        data = packet.data[packet.start : packet.end]
        drop = self._core.sendPacket(data)
        if drop is not None:
            self._dropped(data, drop)

    def _dropped(self, data: bytes, drop: Drop) -> None:
        """
        Count a packet that no peer takes, and tell its sender, as a router does.
        """
        self.counters[drop.counter] += 1
        answer = icmp.unreachable(data) if drop.error4 is not None else None
        if answer is None:
            return
        if self._errors.take(self._core.now()):
            self.transport.writePacket([answer])
        else:
            self.counters["outLimited"] += 1

    def _readEnded(self) -> None:
        self._isBatch = False
        self._core.endBatch()

    def _send(self, messages: Sequence[Message], endpoint: Endpoint, trafficClass: int) -> None:
        failed = self._socket.send(messages, endpoint, trafficClass)
        if failed:
            self.counters["outErrors"] += failed

    # Messages outside

    def _messagesReceived(self, messages: list[bytes], endpoint: Endpoint, mark: int) -> None:
        self._core.messagesReceived(messages, endpoint, mark)

    def _deliver(self, packets: list[bytes]) -> None:
        forwardTogether(self.transport, packets, False)
