"""
Tests for L{txtuntap.stack.ports}: the time and the UDP ports of a host.
"""

from __future__ import annotations

from random import Random

from twisted.internet.error import CannotListenError, InvalidAddressError
from twisted.internet.interfaces import IReactorMulticast, IReactorTCP, IReactorTime, IReactorUDP
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.recorders import DatagramRecorder
from txtuntap.stack.host import Host
from txtuntap.testing import TUN, udpPacket
from txtuntap.wire.address import packAddress

from .link import LinkTestCase, messages

THEIRS, OURS = "10.0.0.1", "10.0.0.2"
THEIRS6, OURS6 = "fd00::1", "fd00::2"


class ReactorTests(SynchronousTestCase):
    def test_theInterfacesOfAReactorAreProvided(self) -> None:
        host = Host([], Clock())
        for interface in (IReactorTime, IReactorUDP, IReactorMulticast, IReactorTCP):
            self.assertTrue(verifyObject(interface, host))

    def test_theTimeIsThatOfTheReactor(self) -> None:
        clock = Clock()
        host = Host([], clock)
        called: list[int] = []
        call = host.callLater(1, called.append, 7)
        self.assertEqual(list(host.getDelayedCalls()), [call])
        clock.advance(1)
        self.assertEqual((called, host.seconds()), ([7], 1.0))


class ListenTests(LinkTestCase):
    def setUp(self) -> None:
        self.make("10.0.0.2/24", "10.0.0.3/24", "fd00::2/64", mode=TUN)

    def heard(self, interface: str) -> list[str]:
        """
        Listen on an interface, and send a datagram to each address of the host.

        @return: the addresses whose datagram was delivered.
        """
        proto = DatagramRecorder()
        self.host.listenUDP(9, proto, interface)
        dests = ("10.0.0.2", "10.0.0.3", "fd00::2")
        for dest in dests:
            source = THEIRS6 if ":" in dest else THEIRS
            self.receive(udpPacket(source, dest, 1234, 9, dest.encode()))
        return [data.decode() for data in proto.data]

    def test_aPortOnNoInterfaceReceivesOnAllAddresses(self) -> None:
        self.assertEqual(self.heard(""), ["10.0.0.2", "10.0.0.3", "fd00::2"])

    def test_aPortOnTheIPv4WildcardReceivesOnIPv4Addresses(self) -> None:
        self.assertEqual(self.heard("0.0.0.0"), ["10.0.0.2", "10.0.0.3"])

    def test_aPortOnTheIPv6WildcardReceivesOnIPv6Addresses(self) -> None:
        self.assertEqual(self.heard("::"), ["fd00::2"])

    def test_aPortOnAnIPv4AddressReceivesOnThatAddress(self) -> None:
        self.assertEqual(self.heard("10.0.0.3"), ["10.0.0.3"])

    def test_aPortOnAnIPv6AddressReceivesOnThatAddress(self) -> None:
        self.assertEqual(self.heard("fd00::2"), ["fd00::2"])

    def test_theScopeOfAnInterfaceIsIgnored(self) -> None:
        self.assertEqual(self.heard("fd00::2%tap0"), ["fd00::2"])

    def test_aPortIsClosedOnOtherAddresses(self) -> None:
        self.host.listenUDP(9, DatagramRecorder(), "10.0.0.3")
        (sent,) = messages(self.receive(udpPacket(THEIRS, OURS, 1, 9, b"")), tap=False)
        self.assertEqual((sent.kind, sent.code), (3, 3))

    def test_aBroadcastIsDeliveredToAllIPv4Ports(self) -> None:
        protos = [DatagramRecorder() for _ in range(3)]
        for proto, interface in zip(protos, ("10.0.0.2", "10.0.0.3", "::"), strict=True):
            self.host.listenUDP(9, proto, interface)
        self.receive(udpPacket(THEIRS, "10.0.0.255", 1, 9, b"all"))
        self.assertEqual([len(proto.received) for proto in protos], [1, 1, 0])

    def test_aBroadcastToAClosedPortIsNotAnswered(self) -> None:
        for dest in ("10.0.0.255", "255.255.255.255"):
            self.assertEqual(self.receive(udpPacket(THEIRS, dest, 1, 9, b"")), [])

    def test_aSecondPortOnAnOverlappingAddressIsRefused(self) -> None:
        for one, other in (("", ""), ("", "10.0.0.2"), ("0.0.0.0", "10.0.0.2"), ("::", "fd00::2"), ("::", "")):
            for first, second in ((one, other), (other, one)):
                transport = self.host.listenUDP(9, DatagramRecorder(), first)
                with self.assertRaises(CannotListenError):
                    self.host.listenUDP(9, DatagramRecorder(), second)
                transport.stopListening()

    def test_aSecondPortOnAnotherAddressIsAccepted(self) -> None:
        for one, other in (("0.0.0.0", "::"), ("10.0.0.2", "10.0.0.3"), ("10.0.0.2", "fd00::2"), ("::", "10.0.0.2")):
            transports = [self.host.listenUDP(9, DatagramRecorder(), interface) for interface in (one, other)]
            for transport in transports:
                transport.stopListening()

    def test_aRefusedProtocolHasNoTransport(self) -> None:
        self.host.listenUDP(9, DatagramRecorder())
        proto = DatagramRecorder()
        self.assertRaises(CannotListenError, self.host.listenUDP, 9, proto)
        self.assertIsNone(proto.transport)

    def test_aStoppedPortIsFree(self) -> None:
        self.host.listenUDP(9, DatagramRecorder()).stopListening()
        self.assertEqual(self.host.listenUDP(9, DatagramRecorder()).getHost().port, 9)

    def test_listeningOnAnAddressOfAnotherHostIsRefused(self) -> None:
        self.assertRaises(CannotListenError, self.host.listenUDP, 9, DatagramRecorder(), "10.0.0.9")

    def test_listeningOnANameIsRefused(self) -> None:
        self.assertRaises(InvalidAddressError, self.host.listenUDP, 9, DatagramRecorder(), "localhost")

    def test_aPortOutOfRangeIsRefused(self) -> None:
        for port in (-1, 65536, "53", None):
            self.assertRaises(ValueError, self.host.listenUDP, port, DatagramRecorder())

    def test_portZeroTakesAFreePort(self) -> None:
        proto = DatagramRecorder()
        port = self.host.listenUDP(0, proto).getHost().port
        self.assertTrue(49152 <= port < 65536, port)
        self.receive(udpPacket(THEIRS, OURS, 1, port, b"payload"))
        self.assertEqual(len(proto.received), 1)

    def test_freePortsAreChosenAtRandom(self) -> None:
        ports = [self.host.listenUDP(0, DatagramRecorder()).getHost().port for _ in range(20)]
        self.assertEqual(len(set(ports)), 20)
        self.assertGreater(max(ports) - min(ports), 1000)

    def test_freePortsDoNotDependOnTheGivenRandomSource(self) -> None:
        # A test gives C{random} with a known seed. Peers must not be able to predict the port even then.
        ports = set()
        for _ in range(8):
            ports.add(Host(["10.0.0.2/24"], Clock(), random=Random(1)).listenUDP(0, DatagramRecorder()).getHost().port)
        self.assertGreater(len(ports), 1)

    def test_portZeroIsRefusedWhenNoPortIsFree(self) -> None:
        self.patch(self.host.udp, "bound", lambda port: [object()])
        self.assertRaises(CannotListenError, self.host.listenUDP, 0, DatagramRecorder())

    def test_theOnlyFreePortIsFound(self) -> None:
        self.patch(self.host.udp, "bound", lambda port: [] if port == 50000 else [object()])
        self.assertEqual(self.host.listenUDP(0, DatagramRecorder()).getHost().port, 50000)

    def test_aFreePortIsFoundWithoutASearchOfAll(self) -> None:
        looked: list[int] = []

        def bound(port: int) -> list[object]:
            looked.append(port)
            # Every second port is taken.
            return [object()] if port % 2 else []

        self.patch(self.host.udp, "bound", bound)
        for _ in range(50):
            self.assertEqual(self.host.listenUDP(0, DatagramRecorder()).getHost().port % 2, 0)
        # A search of the whole range takes 16,384 lookups. Sixteen random tries all fail once in 65,536 times.
        self.assertLess(len(looked), 3 * 16384)

    def test_getHostReturnsTheInterfaceAndPort(self) -> None:
        hosts = []
        for interface in ("", "0.0.0.0", "::", "10.0.0.2"):
            transport = self.host.listenUDP(9, DatagramRecorder(), interface)
            hosts.append((transport.getHost().host, transport.getHost().port))
            transport.stopListening()
        self.assertEqual(hosts, [("0.0.0.0", 9), ("0.0.0.0", 9), ("::", 9), ("10.0.0.2", 9)])

    def test_datagramsAreSentFromTheInterface(self) -> None:
        self.host.listenUDP(9, proto := DatagramRecorder(), "10.0.0.3")
        proto.transport.write(b"payload", (THEIRS, 1234))
        self.assertEqual(self.device.sent[-1][12:20], packAddress("10.0.0.3") + packAddress(THEIRS))
