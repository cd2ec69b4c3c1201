"""
Tests for the carrier over UDP: L{txtuntap.tunnel.datagram}.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis.strategies import text
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.udp import Port as UDPPort
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.ports import RecordingPort
from txtuntap.device import TAP, TUN
from txtuntap.packet import Packet
from txtuntap.tunnel.bare import Bare
from txtuntap.tunnel.datagram import PEER_TIMEOUT, DatagramAddresses, DatagramCarrier
from txtuntap.tunnel.framing import ICarrier, IDatagramFraming
from txtuntap.tunnel.tunnel import Tunnel
from txtuntap.tunnel.vxlan import VXLAN
from txtuntap.wire import ipv4
from txtuntap.wire.vxlan import packHeader

PEER = "192.0.2.1", 4000
STRANGER = "192.0.2.9", 4000
PACKET = ipv4.packHeader(b"\x0a\0\0\x01", b"\x0a\0\0\x02", 17, 5) + b"hello"
FRAME = bytes(12) + b"\x08\0" + PACKET


class Socket:
    """
    A fake UDP port that is its own socket.

    @ivar sent: the datagrams that were sent, each with its destination.
    @ivar options: the socket options that were set, each with its value.
    @ivar error: the error that C{sendmsg} raises; L{None}: none.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, tuple[str, int]]] = []
        self.options: list[tuple[int, int]] = []
        self.error: OSError | None = None

    def getHandle(self) -> Socket:
        """
        Return the socket of the port.
        """
        return self

    def getHost(self) -> IPv4Address:
        """
        Return the address at which the port listens.
        """
        return IPv4Address("UDP", "0.0.0.0", 4789)

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """
        Record a socket option that is set.
        """
        self.options.append((option, value))

    def sendmsg(self, buffers: Sequence[bytes], ancillary: object, flags: int, peer: tuple[str, int]) -> int:
        """
        Record a datagram that is sent, or raise C{error}.
        """
        if self.error is not None:
            raise self.error
        self.sent.append((b"".join(buffers), peer))
        return len(self.sent[-1][0])


class DatagramCarrierTests(SynchronousTestCase):
    """
    Tests for the class L{DatagramCarrier}.
    """

    def carrier(
        self,
        peer: tuple[str, int] | None = PEER,
        framing: IDatagramFraming | None = None,
        mode: int = TUN,
        on: RecordingPort | None = None,
    ) -> DatagramCarrier:
        self.clock = Clock()
        self.tunnel = Tunnel(mode)
        self.interface = on or RecordingPort()
        self.tunnel.makeConnection(self.interface)
        self.socket = Socket()
        carrier = DatagramCarrier(self.tunnel, framing or Bare(mode), peer, self.clock)
        carrier.makeConnection(cast(Any, self.socket))
        return carrier

    def sendFromInterface(self, packet: bytes = PACKET) -> list[tuple[bytes, tuple[str, int]]]:
        """
        Receive a packet from the interface.

        @return: the datagrams that were sent for it, each with its destination.
        """
        before = len(self.socket.sent)
        self.tunnel.packetReceived(Packet(packet))
        return self.socket.sent[before:]

    def test_theCarrierProvidesItsInterface(self) -> None:
        self.assertTrue(verifyObject(ICarrier, self.carrier()))

    def test_aPortWithTheDefaultPacketSizeReadsWholeDatagrams(self) -> None:
        carrier = DatagramCarrier(Tunnel(TUN), Bare(TUN), PEER, Clock())
        port = UDPPort(0, carrier, "127.0.0.1")
        self.assertEqual(8192, port.maxPacketSize)
        received: list[bytes] = []
        carrier.datagramReceived = lambda datagram, addr: received.append(datagram)  # type: ignore[method-assign]
        port._bindSocket()
        self.addCleanup(port.socket.close)
        carrier.makeConnection(port)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(bytes(20000), ("127.0.0.1", port.getHost().port))
        port.doRead()
        self.assertEqual([20000], [len(datagram) for datagram in received])

    def test_packetsAreSentToThePeer(self) -> None:
        self.carrier()
        self.assertEqual(self.sendFromInterface(), [(PACKET, PEER)])
        self.assertEqual(self.tunnel.counters["outPackets"], 1)

    def test_packetsOfThePeerAreWritten(self) -> None:
        self.carrier().datagramReceived(PACKET, PEER)
        self.assertEqual(self.interface.sent, [PACKET])

    def test_datagramsFromOtherSendersAreCounted(self) -> None:
        carrier = self.carrier()
        for addr in STRANGER, (PEER[0], 4001):
            carrier.datagramReceived(PACKET, addr)
        self.assertEqual(self.interface.sent, [])
        self.assertEqual(self.tunnel.counters["inOtherPeers"], 2)
        self.assertEqual(self.sendFromInterface(), [(PACKET, PEER)])

    def test_aGivenPeerIsNotReplacedHoweverLongItIsSilent(self) -> None:
        carrier = self.carrier()
        self.clock.advance(10 * PEER_TIMEOUT)
        carrier.datagramReceived(PACKET, STRANGER)
        self.assertEqual(carrier.peer, PEER)

    def test_theFirstSenderOfAPacketBecomesThePeer(self) -> None:
        carrier = self.carrier(None)
        self.assertEqual(self.sendFromInterface(), [])
        self.assertEqual(self.tunnel.counters["outNotConnected"], 1)
        carrier.datagramReceived(PACKET, PEER)
        carrier.datagramReceived(PACKET, STRANGER)
        self.assertEqual(self.sendFromInterface(), [(PACKET, PEER)])
        self.assertEqual(self.interface.sent, [PACKET])
        self.assertEqual(self.tunnel.counters["inOtherPeers"], 1)

    def test_aSenderOfGarbageDoesNotBecomeThePeer(self) -> None:
        carrier = self.carrier(None)
        for garbage in b"", b"garbage", PACKET[:-1], PACKET + b"x", b"\x65" + bytes(40):
            carrier.datagramReceived(garbage, STRANGER)
        self.assertIsNone(carrier.peer)
        self.assertEqual(self.tunnel.counters["inErrors"], 5)

    def test_aSilentPeerIsReplaced(self) -> None:
        carrier = self.carrier(None)
        carrier.datagramReceived(PACKET, PEER)
        self.clock.advance(PEER_TIMEOUT / 2)
        carrier.datagramReceived(PACKET, PEER)
        self.clock.advance(PEER_TIMEOUT - 1)
        carrier.datagramReceived(PACKET, STRANGER)
        self.assertEqual(carrier.peer, PEER)
        self.clock.advance(1)
        carrier.datagramReceived(PACKET, STRANGER)
        self.assertEqual(self.sendFromInterface(), [(PACKET, STRANGER)])
        carrier.datagramReceived(PACKET, PEER)
        self.assertEqual(self.tunnel.counters["inOtherPeers"], 2)

    def test_aSilentPeerIsReplacedAlthoughTheClockWasSetBack(self) -> None:
        carrier = self.carrier(None)
        self.clock.advance(3600)
        carrier.datagramReceived(PACKET, PEER)
        self.clock.rightNow -= 3600
        carrier.datagramReceived(PACKET, STRANGER)
        self.assertEqual(carrier.peer, PEER)
        self.clock.advance(PEER_TIMEOUT)
        carrier.datagramReceived(PACKET, STRANGER)
        self.assertEqual(carrier.peer, STRANGER)

    def test_vxlanIsReceivedFromAnyPortAndSentToTheLocalPortNumber(self) -> None:
        datagram = packHeader(42) + FRAME
        for peer in (PEER[0], 4789), None:
            carrier = self.carrier(peer, VXLAN(TAP, 42), TAP)
            for port in 49152, 65535:
                carrier.datagramReceived(datagram, (PEER[0], port))
            self.assertEqual(self.interface.sent, [FRAME, FRAME])
            self.assertEqual(self.sendFromInterface(FRAME), [(datagram, (PEER[0], 4789))])
            carrier.datagramReceived(datagram, STRANGER)
            self.assertEqual(self.tunnel.counters["inOtherPeers"], 1)

    def test_framesOfOtherNetworksAreCounted(self) -> None:
        carrier = self.carrier(None, VXLAN(TAP, 42), TAP)
        carrier.datagramReceived(packHeader(43) + FRAME, PEER)
        carrier.datagramReceived(FRAME, PEER)
        self.assertEqual((self.tunnel.counters["inOtherNetworks"], self.tunnel.counters["inFramingErrors"]), (1, 1))
        self.assertIsNone(carrier.peer)

    def test_packetsLongerThanTheMTUAreCounted(self) -> None:
        carrier = self.carrier()
        carrier.datagramReceived(ipv4.packHeader(bytes(4), bytes(4), 17, 1481) + bytes(1481), PEER)
        self.assertEqual(self.interface.sent, [])
        self.assertEqual(self.tunnel.counters["inTooLong"], 1)

    def test_datagramsThatTheKernelRefusesAreCounted(self) -> None:
        self.carrier()
        for number in errno.EAGAIN, errno.ENETUNREACH, errno.EMSGSIZE, errno.EPERM, errno.ECONNREFUSED, errno.ENOBUFS:
            self.socket.error = OSError(number, "no")
            self.sendFromInterface()
        self.assertEqual((self.tunnel.counters["outDiscards"], self.tunnel.counters["outPackets"]), (6, 0))

    def test_theReceiveBufferIsEnlargedForBursts(self) -> None:
        self.carrier()
        ((option, octets),) = self.socket.options
        self.assertEqual(option, socket.SO_RCVBUF)
        self.assertGreater(octets, 500_000)

    @pytest.mark.linux
    def test_datagramsWithoutChecksumsAreReceivedIfTheFramingPermitsThem(self) -> None:
        real = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.addCleanup(real.close)
        for framing, isReceived in (Bare(TAP), False), (VXLAN(TAP, 42), True):
            self.carrier(framing=framing, mode=TAP)
            for option, value in self.socket.options:
                if option != socket.SO_RCVBUF:
                    real.setsockopt(socket.IPPROTO_UDP, option, value)
            # UDP_NO_CHECK6_RX, UDP_NO_CHECK6_TX.
            received, sent = (real.getsockopt(socket.IPPROTO_UDP, option) for option in (102, 101))
            self.assertEqual((isReceived, False), (bool(received), bool(sent)))

    def test_aClosedSocketLeavesTheTunnelWithoutACarrier(self) -> None:
        for peer in PEER, None:
            carrier = self.carrier(peer)
            carrier.datagramReceived(PACKET, PEER)
            self.assertIs(self.tunnel.carrier, carrier)
            carrier.doStop()  # type: ignore[no-untyped-call]
            self.assertIsNone(self.tunnel.carrier)
            self.assertEqual(self.sendFromInterface(), [])

    def test_aDiscoveredPeerIsForgottenWithTheSocket(self) -> None:
        carrier = self.carrier(None)
        carrier.datagramReceived(PACKET, PEER)
        carrier.doStop()  # type: ignore[no-untyped-call]
        carrier.makeConnection(cast(Any, self.socket))
        carrier.datagramReceived(PACKET, STRANGER)
        self.assertEqual(carrier.peer, STRANGER)


class DatagramAddressesTests(SynchronousTestCase):
    """
    Tests for the parser of endpoint texts, L{DatagramAddresses}.
    """

    def test_connectingTextsAreParsed(self) -> None:
        for string, expected in {
            "udp:192.0.2.1:4000": (("192.0.2.1", 4000), "0.0.0.0", 0),
            "udp:192.0.2.1:4000:bindPort=1:bindAddress=192.0.2.2": (("192.0.2.1", 4000), "192.0.2.2", 1),
            "udp:[fd00::1]:4000": (("fd00::1", 4000), "::", 0),
            r"udp:fd00\:\:1:4000:bindAddress=[::1]": (("fd00::1", 4000), "::1", 0),
            "udp:[FD00:0::1]:4000": (("fd00::1", 4000), "::", 0),
            "udp:[::ffff:192.0.2.1]:4000": (("::ffff:192.0.2.1", 4000), "::", 0),
            "udp:[fe80::1%eth0]:4000": (("fe80::1%eth0", 4000), "::", 0),
        }.items():
            self.assertEqual(DatagramAddresses.connecting(string), DatagramAddresses(*expected))

    def test_thePeersPortIsTheDefaultWithSamePort(self) -> None:
        self.assertEqual(DatagramAddresses.connecting("udp:192.0.2.1:4789", samePort=True).port, 4789)
        self.assertEqual(DatagramAddresses.connecting("udp:192.0.2.1:4789:bindPort=1", samePort=True).port, 1)

    def test_listeningTextsAreParsed(self) -> None:
        for string, expected in {
            "udp:4000": (None, "0.0.0.0", 4000),
            "udp:0:interface=127.0.0.1": (None, "127.0.0.1", 0),
            r"udp:4000:interface=\:\:": (None, "::", 4000),
        }.items():
            self.assertEqual(DatagramAddresses.listening(string), DatagramAddresses(*expected))

    def test_onlyLoopbackAddressesAreLoopback(self) -> None:
        for string, isLoopback in {
            "udp:127.0.0.1:4000": True,
            "udp:127.8.0.1:4000": True,
            "udp:[::1]:4000": True,
            "udp:192.0.2.1:4000": False,
            "udp:[fe80::1%lo]:4000": False,
        }.items():
            self.assertEqual(DatagramAddresses.connecting(string).isLoopback, isLoopback, string)
        for string, isLoopback in {
            "udp:1": False,
            "udp:1:interface=127.0.0.1": True,
            "udp:1:interface=[::]": False,
        }.items():
            self.assertEqual(DatagramAddresses.listening(string).isLoopback, isLoopback, string)

    def test_errorsSayWhatToDo(self) -> None:
        for string, advice in {
            "tcp:192.0.2.1:4000": "udp:ADDRESS:PORT",
            "udp:": "udp:ADDRESS:PORT",
            "udp:192.0.2.1": "udp:ADDRESS:PORT",
            "udp:192.0.2.1::4000": "udp:ADDRESS:PORT",
            "udp:fd00::1:4000": "[fd00::1]",
            "udp:192.0.2.1:4000:5": "bindPort",
            "udp:192.0.2.1:4000:timeout=5": "bindPort",
            "udp:example.com:4000": "not a host name",
            "udp:192.0.2.1:0": "from 1 to 65535",
            "udp:192.0.2.1:65536": "from 1 to 65535",
            "udp:192.0.2.1:http": "from 1 to 65535",
            "udp:192.0.2.1:4000:bindPort=x": "from 0 to 65535",
            "udp:192.0.2.1:4000:bindAddress=[::1]": "different IP versions",
        }.items():
            self.assertIn(advice, str(self.assertRaises(ValueError, DatagramAddresses.connecting, string)), string)
        for string in "udp:192.0.2.1:4000", "udp:x", "udp:1:bindPort=1", "udp", "":
            self.assertIn(
                "udp:PORT" if "x" not in string else "from 0",
                str(self.assertRaises(ValueError, DatagramAddresses.listening, string)),
            )

    @given(text(alphabet="udp:[]=\\1.bindPortAd4"))
    def test_anyTextIsParsedOrAValueError(self, string: str) -> None:
        for read in DatagramAddresses.connecting, DatagramAddresses.listening:
            try:
                read(string)
            except ValueError:
                continue
