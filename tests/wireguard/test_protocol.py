"""
WireGuard as a protocol: on links, with hosts at both ends, and by the sockets of hosts.
"""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import TimeoutError
from twisted.internet.interfaces import IHostnameResolver
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from txtuntap import Host
from txtuntap.middleware import Netem
from txtuntap.network import Link, Network
from txtuntap.wireguard import Peer, PrivateKey, WireGuard, keyText

KEYS = [PrivateKey.generate(Random(number)) for number in range(4)]


class Reading(Protocol):
    """
    Keeps what it gets, and who sends it.
    """

    def __init__(self, peers: list[Any]) -> None:
        self._peers = peers
        self.data = b""

    def connectionMade(self) -> None:
        self._peers.append(self)

    def dataReceived(self, data: bytes) -> None:
        self.data += data


class Datagrams(DatagramProtocol):
    """
    Keeps the datagrams that come.
    """

    transport: Any

    def __init__(self) -> None:
        self.received: list[tuple[bytes, Any]] = []

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.received.append((datagram, addr))


class NetworkTestCase(SynchronousTestCase):
    """
    Hosts outside, each with a WireGuard and a host inside.

    @ivar wireguards: the interfaces; C{inside}: the hosts behind them, 10.0.0.1 and so on; C{outside}: those outside.
    """

    number = 2

    def setUp(self) -> None:
        self.network = Network(1)
        switch = self.network.switch()
        self.outside = [self.network.host(self.addresses(end), switch) for end in range(self.number)]
        self.wireguards: list[WireGuard] = []
        self.inside: list[Host] = []
        self.links: list[Link] = []
        for end in range(self.number):
            self.wireguards.append(self.made(end))
            addresses = [f"10.0.0.{end + 1}/24", f"fd00::{end + 1}/64"]
            self.inside.append(Host(addresses, self.network.clock, random=Random(end), secrets=Random(end)))
            self.links.append(Link(self.wireguards[end], self.inside[end].ip, self.network.clock, mtu=1420))

    def addresses(self, end: int) -> list[str]:
        """
        The addresses of a host outside.
        """
        return [f"192.0.2.{end + 1}/24", f"2001:db8::{end + 1}/64"]

    def made(self, end: int) -> WireGuard:
        """
        The interface of one end.
        """
        random, secrets = Random(end), Random(end + 50)
        outside = self.outside[end]
        return WireGuard(KEYS[end], 51820, self.network.clock, outside=outside, random=random, secrets=secrets)

    def knows(self, one: int, other: int, endpoint: str | None = None, **options: Any) -> Peer:
        """
        Have an end know another one.
        """
        allowed = [f"10.0.0.{other + 1}", f"fd00::{other + 1}"]
        return self.wireguards[one].addPeer(KEYS[other].public, allowed, endpoint, **options)

    def begin(self) -> None:
        """
        Start the network and the links.
        """
        self.network.start()
        for link in self.links:
            link.start()
        self.addCleanup(self.end)

    def end(self) -> None:
        """
        Stop the links and the network.
        """
        for link in self.links:
            link.stop()
        self.network.stop()

    def ping(self, one: int, address: str) -> bool:
        """
        Whether a host inside answers.
        """
        try:
            self.network.result(self.inside[one].ping(address, timeout=2))
        except TimeoutError:
            return False
        return True


class HostTests(NetworkTestCase):
    """
    Two hosts behind WireGuard.
    """

    def test_bothVersionsInsideAndOutside(self) -> None:
        for endpoint in "192.0.2.2:51820", "[2001:db8::2]:51820":
            self.setUp()
            self.knows(0, 1, endpoint)
            self.knows(1, 0)
            self.begin()
            self.assertTrue(self.ping(0, "10.0.0.2"))
            self.assertTrue(self.ping(0, "fd00::2"))
            self.assertTrue(self.ping(1, "10.0.0.1"))
            self.assertEqual(str(self.wireguards[0].peers[0].endpoint), endpoint)

    def test_aConnectionTellsItsPeer(self) -> None:
        self.knows(0, 1, "192.0.2.2:51820")
        self.knows(1, 0)
        self.begin()
        served: list[Any] = []
        self.inside[1].listenTCP(80, Factory.forProtocol(lambda: Reading(served)))
        client = self.network.result(connectProtocol(TCP4ClientEndpoint(self.inside[0], "10.0.0.2", 80), Reading([])))
        client.transport.write(bytes(100_000))
        self.network.clock.advance(5)
        self.assertEqual(len(served[0].data), 100_000)
        peer = self.wireguards[1].peerOf(served[0].transport.getPeer().host)
        assert peer is not None
        self.assertEqual(peer.publicKey, KEYS[0].public)
        self.assertEqual(peer.name, keyText(KEYS[0].public))

    def test_aDatagramTellsItsPeer(self) -> None:
        self.knows(0, 1, "192.0.2.2:51820")
        self.knows(1, 0)
        self.begin()
        protocol = Datagrams()
        self.inside[1].listenUDP(7, protocol)
        sender = Datagrams()
        self.inside[0].listenUDP(9, sender)
        sender.transport.write(b"hello", ("fd00::2", 7))
        self.network.clock.advance(1)
        ((datagram, addr),) = protocol.received
        self.assertEqual(datagram, b"hello")
        self.assertIs(self.wireguards[1].peerOf(addr[0]), self.wireguards[1].peers[0])
        self.assertIsNone(self.wireguards[1].peerOf("10.0.0.77"))

    def test_sessionsAreTold(self) -> None:
        told: list[tuple[str, str]] = []
        for end, wireguard in enumerate(self.wireguards):
            wireguard.sessionBegun = lambda peer, end=end: told.append((f"begun {end}", str(peer.endpoint)))
            wireguard.sessionEnded = lambda peer, end=end: told.append((f"ended {end}", ""))
            wireguard.endpointChanged = lambda peer, end=end: told.append((f"changed {end}", str(peer.endpoint)))
        self.knows(0, 1, "192.0.2.2:51820")
        self.knows(1, 0)
        self.begin()
        self.ping(0, "10.0.0.2")
        self.network.clock.advance(600)
        self.assertCountEqual(
            told,
            [
                ("changed 1", "192.0.2.1:51820"),
                ("begun 0", "192.0.2.2:51820"),
                ("begun 1", "192.0.2.1:51820"),
                ("ended 1", ""),
                ("ended 0", ""),
            ],
        )

    def test_aFunctionThatRaisesIsLogged(self) -> None:
        def fails(peer: Peer) -> None:
            raise RuntimeError("of the application")

        self.wireguards[0].sessionBegun = fails
        self.knows(0, 1, "192.0.2.2:51820")
        self.knows(1, 0)
        self.begin()
        self.assertTrue(self.ping(0, "10.0.0.2"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_aPacketForNobodyIsAnswered(self) -> None:
        self.knows(0, 1)
        self.begin()
        self.ping(0, "10.0.0.2")
        self.ping(0, "10.0.0.9")
        counters = self.wireguards[0].counters
        self.assertEqual((counters["outNoEndpoints"], counters["outNoPeers"]), (1, 1))
        self.assertEqual(self.inside[0].counters["icmp"]["inDestUnreachs"], 2)

    def test_names(self) -> None:
        self.network = Network(1)
        switch = self.network.switch()
        hosts = {"vpn.example": "192.0.2.2"}
        self.outside = [self.network.host(self.addresses(end), switch, hosts=hosts) for end in range(2)]
        self.wireguards = [self.made(end) for end in range(2)]
        self.inside = [Host([f"10.0.0.{end + 1}/24"], self.network.clock) for end in range(2)]
        self.links = [
            Link(wireguard, host.ip, self.network.clock, mtu=1420)
            for wireguard, host in zip(self.wireguards, self.inside, strict=True)
        ]
        peer = self.knows(0, 1, "vpn.example:51820")
        self.knows(1, 0)
        self.begin()
        self.assertTrue(self.ping(0, "10.0.0.2"))
        self.assertEqual(str(peer.endpoint), "192.0.2.2:51820")

    def test_aNameIsLookedUpAgain(self) -> None:
        resolver = Resolver(["192.0.2.77"])
        self.outside[0].installNameResolver(resolver)
        peer = self.knows(0, 1, "vpn.example:51820")
        self.knows(1, 0)
        self.begin()
        self.assertFalse(self.ping(0, "10.0.0.2"))
        resolver.addresses = ["192.0.2.2"]
        self.network.clock.advance(12)
        self.assertTrue(self.ping(0, "10.0.0.2"))
        self.assertEqual(str(peer.endpoint), "192.0.2.2:51820")
        self.assertLessEqual(resolver.asked, 4)

    def test_anotherPortOfTheSameNameIsUsed(self) -> None:
        self.outside[0].installNameResolver(Resolver(["192.0.2.2"]))
        peer = self.knows(0, 1, "vpn.example:4500")
        self.knows(1, 0)
        self.begin()
        self.assertFalse(self.ping(0, "10.0.0.2"))
        self.wireguards[0].changePeer(peer.publicKey, endpoint="vpn.example:51820")
        self.assertEqual(str(peer.endpoint), "192.0.2.2:51820")
        self.network.clock.advance(6)
        self.assertTrue(self.ping(0, "10.0.0.2"))

    def test_packetsWaitForAName(self) -> None:
        resolver = Resolver([])
        self.outside[0].installNameResolver(resolver)
        self.knows(0, 1, "vpn.example:51820")
        self.knows(1, 0)
        self.begin()
        self.assertFalse(self.ping(0, "10.0.0.2"))
        self.assertGreater(self.wireguards[0].counters["lookupErrors"], 0)
        waiting = self.inside[0].ping("10.0.0.2", timeout=30)
        resolver.addresses = ["192.0.2.2"]
        self.network.result(waiting)

    def test_anotherPort(self) -> None:
        self.knows(0, 1, "192.0.2.2:51820")
        self.knows(1, 0)
        self.begin()
        self.assertTrue(self.ping(0, "10.0.0.2"))
        self.wireguards[1].setListenPort(4500)
        self.assertEqual(self.wireguards[1].listenPort, 4500)
        # The session goes on: the other end learns the port by the next message.
        self.assertTrue(self.ping(1, "10.0.0.1"))
        self.assertEqual(str(self.wireguards[0].peers[0].endpoint), "192.0.2.2:4500")
        self.assertTrue(self.ping(0, "10.0.0.2"))

    def test_lossAndReordering(self) -> None:
        self.network = Network(3)
        switch = self.network.switch()
        bad = Netem(loss=0.3, delay=0.03, jitter=0.03)
        self.outside = [
            self.network.host(self.addresses(end), switch, up=Netem(), down=bad if end else Netem()) for end in range(2)
        ]
        self.wireguards = [self.made(end) for end in range(2)]
        self.links = []
        self.inside = []
        for end in range(2):
            self.inside.append(Host([f"10.0.0.{end + 1}/24"], self.network.clock, random=Random(1), secrets=Random(1)))
            self.links.append(Link(self.wireguards[end], self.inside[end].ip, self.network.clock, mtu=1420))
        self.knows(0, 1, "192.0.2.2:51820")
        self.knows(1, 0)
        self.begin()
        served: list[Any] = []
        self.inside[1].listenTCP(80, Factory.forProtocol(lambda: Reading(served)))
        client = self.network.result(
            connectProtocol(TCP4ClientEndpoint(self.inside[0], "10.0.0.2", 80, timeout=120), Reading([]))
        )
        data = Random(1).randbytes(50_000)
        client.transport.write(data)
        self.network.clock.advance(400)
        self.assertEqual(served[0].data, data)

    def test_stoppingTwiceIsHarmless(self) -> None:
        self.knows(0, 1, "192.0.2.2:51820")
        self.begin()
        for _ in range(2):
            self.links[0].stop()
        self.links[0].start()
        self.assertEqual(self.wireguards[0].listenPort, 51820)


class MeshTests(NetworkTestCase):
    """
    Three peers, each of which knows both others.
    """

    number = 3

    def test_aMesh(self) -> None:
        for one in range(3):
            for other in range(3):
                if one != other:
                    self.knows(one, other, f"192.0.2.{other + 1}:51820")
        self.begin()
        for one in range(3):
            for other in range(3):
                if one != other:
                    self.assertTrue(self.ping(one, f"10.0.0.{other + 1}"), (one, other))


class ArgumentTests(SynchronousTestCase):
    """
    Wrong arguments of the caller.
    """

    def setUp(self) -> None:
        network = Network(1)
        self.host = network.host("192.0.2.1/24", network.switch())
        self.clock = network.clock
        self.wireguard = WireGuard(KEYS[0], 51820, self.clock, outside=self.host)

    def test_keys(self) -> None:
        for key in ("", "secret", 5, bytes(31)):
            self.assertRaises(ValueError, WireGuard, key, 51820, self.clock, outside=self.host)
            self.assertRaises(ValueError, self.wireguard.addPeer, key)
        self.assertRaises(ValueError, self.wireguard.addPeer, KEYS[0].public)
        self.wireguard.addPeer(keyText(KEYS[1].public))
        self.assertRaises(ValueError, self.wireguard.addPeer, KEYS[1].public)
        self.assertRaises(KeyError, self.wireguard.changePeer, KEYS[2].public)
        self.assertRaises(KeyError, self.wireguard.removePeer, KEYS[2].public)

    def test_otherArguments(self) -> None:
        self.assertRaises(ValueError, WireGuard, KEYS[0], 70000, self.clock, outside=self.host)
        self.assertRaises(ValueError, WireGuard, KEYS[0], 1, self.clock, outside=self.host, fwmark=-1)
        self.assertRaises(TypeError, WireGuard, KEYS[0], 1, self.clock, outside=self.host, random=5)
        self.assertRaises(TypeError, WireGuard, KEYS[0], 1, self.clock)
        for options in (
            {"allowed": "10.0.0.0/8"},
            {"allowed": ["10.0.0.300"]},
            {"endpoint": "here"},
            {"keepalive": 70000},
            {"keepalive": True},
            {"presharedKey": "x"},
            {"roams": "yes"},
        ):
            with self.assertRaises(ValueError, msg=options):
                self.wireguard.addPeer(KEYS[1].public, **options)

    def test_nothingIsKeptOfAPeerThatIsRefused(self) -> None:
        self.assertRaises(ValueError, self.wireguard.addPeer, KEYS[1].public, ["10.0.0.0/8"], "here")
        self.assertEqual(self.wireguard.peers, [])

    def test_noSecretIsShown(self) -> None:
        secret = keyText(KEYS[0].secret())
        peer = self.wireguard.addPeer(KEYS[1].public, presharedKey=bytes(range(32)))
        for each in (self.wireguard, peer, vars(peer), self.wireguard.privateKey):
            self.assertNotIn(secret, repr(each))
            self.assertNotIn(repr(KEYS[0].secret()), repr(each))


@implementer(IHostnameResolver)
class Resolver:
    """
    Finds addresses that are given.
    """

    def __init__(self, addresses: list[str]) -> None:
        self.addresses = addresses
        self.asked = 0

    def resolveHostName(self, receiver: Any, name: str, *ignored: Any) -> Any:
        """
        Find what there is at once.
        """
        self.asked += 1
        receiver.resolutionBegan(None)
        for each in self.addresses:
            receiver.addressResolved(type("Address", (), {"host": each})())
        receiver.resolutionComplete()
        return Deferred()
