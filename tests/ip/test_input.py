"""
Tests for L{txtuntap.ip.input}: the packets that an L{IPProtocol} receives.
"""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_interface
from typing import Any

from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.recorders import PacketRecorder
from txtuntap import EthernetProtocol, IPProtocol, Packet, RawUDPProtocol
from txtuntap.interfaces import IErrorReceiver, IIPTransport, IPacketReceiver
from txtuntap.ip import IPHeader, addresses
from txtuntap.raw import IRawDatagramProtocol, IRawPacketProtocol
from txtuntap.testing import ipPacket
from txtuntap.wire import ipv4, ipv6
from txtuntap.wire.address import packAddress
from txtuntap.wire.checksum import checksum
from txtuntap.wire.icmp import Quote

PROTOCOL = 253
ROUTER_ALERT = b"\x94\x04\0\0"
UNKNOWN_OPTION = b"\x1e\x04abcd"


def four(payload: bytes = b"payload", source: str = "10.0.0.1", dest: str = "10.0.0.2", **fields: Any) -> bytes:
    """
    Make an IPv4 packet from a peer to the layer.
    """
    return ipPacket(source, dest, fields.pop("protocol", PROTOCOL), payload, **fields)


def six(payload: bytes = b"payload", source: str = "fd00::1", dest: str = "fd00::2", **fields: Any) -> bytes:
    """
    Make an IPv6 packet from a peer to the layer.
    """
    return ipPacket(source, dest, fields.pop("protocol", PROTOCOL), payload, **fields)


def patched(data: bytes, at: int, octets: bytes) -> bytes:
    """
    Replace octets in the header of an IPv4 packet, and correct its checksum.
    """
    data = data[:at] + octets + data[at + len(octets) :]
    header = (data[0] & 0x0F) * 4
    data = data[:10] + b"\0\0" + data[12:]
    return data[:10] + checksum(data[:header]).to_bytes(2, "big") + data[12:]


class LayerTestCase(SynchronousTestCase):
    """
    A test case with an IP layer and a protocol above it.

    @ivar ip: the layer under test. L{make} makes another one.
    @ivar proto: the protocol above, which records the packets that it receives.
    """

    def setUp(self) -> None:
        self.make()

    def make(self, *args: Any, **kwargs: Any) -> None:
        self.ip = IPProtocol(*args, **kwargs)
        self.proto = PacketRecorder()
        self.ip.addProto(PROTOCOL, self.proto)

    def receive(self, data: bytes, **attributes: Any) -> list[str]:
        """
        Let the layer receive a packet.

        @return: the payload as text if it was delivered, and the name of each counter, once for each increment.
        """
        self.ip.counters.clear()
        del self.proto.packets[:]
        self.ip.packetReceived(Packet(data, **attributes))
        return [*(data.decode() for data in self.proto.data), *Counter(self.ip.counters).elements()]


class BothVersionsTests(LayerTestCase):
    def test_interfaces(self) -> None:
        for interface in (IRawPacketProtocol, IPacketReceiver, IIPTransport):
            self.assertTrue(verifyObject(interface, self.ip))

    def test_headerClassIsPublic(self) -> None:
        self.assertIs(IPHeader, ipv4.IPHeader)

    def test_bothVersionsAreDelivered(self) -> None:
        for data in (four(), six()):
            self.assertEqual(self.receive(data), ["payload"])

    def test_etherTypeMustAgree(self) -> None:
        for data, right, wrong in ((four(), 0x0800, 0x86DD), (six(), 0x86DD, 0x0800)):
            self.assertEqual(self.receive(data, etherType=right), ["payload"])
            self.assertEqual(self.receive(data, etherType=wrong), ["inHdrErrors"])

    def test_otherVersionsAreHeaderErrors(self) -> None:
        for version in (0, 3, 5, 7, 15):
            self.assertEqual(self.receive(bytes((version << 4 | 5,)) + four()[1:]), ["inHdrErrors"])
            self.assertEqual(self.receive(bytes((version << 4,)) + six()[1:]), ["inHdrErrors"])

    def test_paddingIsCutOff(self) -> None:
        for data in (four(), six()):
            self.assertEqual(self.receive(data + bytes(19)), ["payload"])

    def test_packetShorterThanItsLengthFieldIsDropped(self) -> None:
        for data in (four(), six()):
            self.assertEqual(self.receive(data[:-1]), ["inTruncatedPkts"])

    def test_partialPacketIsDelivered(self) -> None:
        for data in (four(), six()):
            self.assertEqual(self.receive(data[:-1], partial=True), ["payloa"])
            self.assertTrue(self.proto.packets[0].partial)

    def test_packetShorterThanItsHeaderIsDropped(self) -> None:
        for data, header in ((four(), 20), (six(), 40)):
            for length in range(header):
                self.assertEqual(self.receive(data[:length]), ["inTruncatedPkts"])

    def test_emptyPayloadIsDelivered(self) -> None:
        for data in (four(b""), six(b"")):
            self.assertEqual(self.receive(data), [""])

    def test_unknownProtocolIsCounted(self) -> None:
        for data in (four(protocol=PROTOCOL + 1), six(protocol=PROTOCOL + 1)):
            self.assertEqual(self.receive(data), ["inUnknownProtos"])

    def test_hopLimitOfZeroOrOneIsDelivered(self) -> None:
        for hopLimit in (0, 1):
            for data in (four(hopLimit=hopLimit), six(hopLimit=hopLimit)):
                self.assertEqual(self.receive(data), ["payload"])

    def test_packetHasThePositionsOfItsHeaders(self) -> None:
        for data, header in ((four(), 20), (six(), 40)):
            self.receive(b"--" + data + b"padding", start=2)
            (packet,) = self.proto.packets
            self.assertEqual((packet.network, packet.transport, packet.start), (2, 2 + header, 2 + header))
            self.assertEqual((packet.end, packet.ip), (2 + len(data), self.ip))

    def test_callOfTwistedPairIsDelivered(self) -> None:
        for data, etherType in ((four(), 0x0800), (six(), 0x86DD)):
            self.ip.datagramReceived(data, partial=1, dest=b"d", source=b"s", protocol=etherType)
            packet = self.proto.packets.pop()
            self.assertEqual((bytes(packet), packet.partial, packet.etherType), (b"payload", True, etherType))

    def test_callOfTwistedPairOnATunIsDelivered(self) -> None:
        self.ip.datagramReceived(four(), partial=0)
        self.assertEqual(self.proto.data, [b"payload"])


class IPv4Tests(LayerTestCase):
    def test_optionsAreStripped(self) -> None:
        for options in (ROUTER_ALERT, b"\x01" * 40, b"\x07\x07\x04\0\0\0\0\0", b"\x9e\x04ab"):
            self.assertEqual(self.receive(four(options=options)), ["payload"])

    def test_malformedOptionsAreDropped(self) -> None:
        for options in (b"\x94\0\0\0", b"\x94\x05\0\0"):
            self.assertEqual(self.receive(four(options=options)), ["inOptErrors"])

    def test_sourceRoutesAreDropped(self) -> None:
        for kind in (b"\x83", b"\x89"):
            self.assertEqual(self.receive(four(options=kind + b"\x07\x04\x0a\0\0\x09\0")), ["inSourceRoutes"])

    def test_everyWrongBitOfTheHeaderIsFound(self) -> None:
        data = four()
        for bit in range(20 * 8):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 0x80 >> bit % 8
            (counter,) = self.receive(bytes(flipped))
            self.assertIn(counter, ("inCsumErrors", "inHdrErrors", "inTruncatedPkts"))

    def test_badChecksum(self) -> None:
        self.assertEqual(self.receive(four()[:8] + b"\x3f" + four()[9:]), ["inCsumErrors"])

    def test_badChecksumWithOptions(self) -> None:
        data = four(options=ROUTER_ALERT)
        self.assertEqual(self.receive(data[:23] + b"\x01" + data[24:]), ["inCsumErrors"])

    def test_checksumOfZeroIsVerifiedToo(self) -> None:
        self.assertEqual(self.receive(four()[:10] + b"\0\0" + four()[12:]), ["inCsumErrors"])

    def test_verificationCanBeTurnedOff(self) -> None:
        self.make(verifyChecksum=False)
        for data in (four(), four(options=ROUTER_ALERT)):
            self.assertEqual(self.receive(data[:10] + b"\xbe\xef" + data[12:]), ["payload"])

    def test_headerLengthUnderFiveWords(self) -> None:
        self.make(verifyChecksum=False)
        for words in range(5):
            self.assertEqual(self.receive(bytes((0x40 | words,)) + four()[1:]), ["inHdrErrors"])

    def test_headerLengthBeyondThePacket(self) -> None:
        self.make(verifyChecksum=False)
        self.assertEqual(self.receive(b"\x46" + four(b"")[1:]), ["inHdrErrors"])

    def test_totalLengthUnderTheHeader(self) -> None:
        for length in (0, 19):
            self.assertEqual(self.receive(patched(four(), 2, length.to_bytes(2, "big"))), ["inHdrErrors"])
        self.assertEqual(self.receive(patched(four(options=ROUTER_ALERT), 2, b"\0\x17")), ["inHdrErrors"])

    def test_fragmentsAreNeverTakenForDatagrams(self) -> None:
        for word in (0x2000, 0x2001, 0x0001, 0x6000):
            self.assertEqual(self.receive(four(b"12345678", fragment=word, identification=word)), ["reasmReqds"])

    def test_otherFlagsMakeNoFragment(self) -> None:
        for word in (0, 0x4000, 0x8000):
            self.assertEqual(self.receive(four(fragment=word)), ["payload"])


class IPv6Tests(LayerTestCase):
    def extended(self, kind: int, header: bytes) -> list[str]:
        return self.receive(six(bytes((PROTOCOL,)) + header + b"payload", protocol=kind))

    def test_extensionHeadersAreWalked(self) -> None:
        for kind in (0, 60):
            self.assertEqual(self.extended(kind, b"\0" + UNKNOWN_OPTION), ["payload"])
            self.assertEqual(self.proto.packets[0].transport, 48)

    def test_extensionHeaderPastTheEnd(self) -> None:
        self.assertEqual(self.extended(60, b"\x02" + UNKNOWN_OPTION), ["inHdrErrors"])

    def test_extensionHeadersEndWithTheDatagramAndNotWithTheFrame(self) -> None:
        data = six(bytes((PROTOCOL,)) + b"\x02" + UNKNOWN_OPTION, protocol=60)
        self.assertEqual(self.receive(data + bytes(64)), ["inHdrErrors"])

    def test_optionThatMayNotBeSkipped(self) -> None:
        self.assertEqual(self.extended(60, b"\0\x5e\x04abcd"), ["inHdrErrors"])
        self.assertEqual(self.extended(60, b"\0\x9e\x04abcd"), ["inOptErrors"])

    def test_sourceRoute(self) -> None:
        self.assertEqual(self.extended(43, b"\0\0\x01\0\0\0\0"), ["inSourceRoutes"])

    def test_fragment(self) -> None:
        self.assertEqual(self.extended(44, b"\0\0\x01\0\0\0\0"), ["inFragErrors"])
        self.assertEqual(self.extended(44, b"\0\0\x08\0\0\0\0"), ["reasmReqds"])

    def test_atomicFragmentIsADatagram(self) -> None:
        self.assertEqual(self.extended(44, b"\0\0\0\0\0\0\x01"), ["payload"])

    def test_noNextHeader(self) -> None:
        self.assertEqual(self.receive(six(b"", protocol=59)), ["inUnknownProtos"])


class AddressesTests(LayerTestCase):
    def setUp(self) -> None:
        self.make(["10.0.0.2/24", "192.0.2.9/31", "fd00::2/64"])

    def counters(self, source: str, dest: str) -> list[str]:
        make = six if ":" in dest else four
        return self.receive(make(source=source, dest=dest))

    def test_addressesAreListedInOrder(self) -> None:
        expected = [ip_interface(text) for text in ("10.0.0.2/24", "192.0.2.9/31", "fd00::2/64")]
        self.assertEqual(self.ip.addresses, expected)

    def test_packetsToUsAreDelivered(self) -> None:
        for dest in ("10.0.0.2", "192.0.2.9", "10.0.0.255", "255.255.255.255", "224.0.0.1"):
            self.assertEqual(self.counters("10.0.0.1", dest), ["payload"], dest)
        for dest in ("fd00::2", "ff02::1", "ff02::1:ff00:2"):
            self.assertEqual(self.counters("fd00::1", dest), ["payload"], dest)

    def test_packetsToOthersAreDropped(self) -> None:
        for dest in ("10.0.0.3", "10.0.1.255", "192.0.2.8", "224.0.0.2", "239.1.1.1", "127.0.0.1", "0.0.0.0"):
            self.assertEqual(self.counters("10.0.0.1", dest), ["inAddrErrors"], dest)
        for dest in ("fd00::3", "ff02::2", "ff02::1:ff00:3", "ff0e::1", "::1", "::"):
            self.assertEqual(self.counters("fd00::1", dest), ["inAddrErrors"], dest)

    def test_packetsToInterfaceLocalGroupsAreDropped(self) -> None:
        assert self.ip.ownAddresses is not None
        for dest in ("ff01::1", "ff01::99", "ff11::99", "ff00::99"):
            if dest != "ff01::1":
                self.ip.ownAddresses.join(packAddress(dest))
            self.assertEqual(self.counters("fd00::1", dest), ["inAddrErrors"], dest)

    def test_networksOfTwoAddressesHaveNoBroadcast(self) -> None:
        self.make(["192.0.2.8/31"])
        self.assertEqual(self.counters("10.0.0.1", "192.0.2.9"), ["inAddrErrors"])

    def test_packetsFromImpossibleSourcesAreDropped(self) -> None:
        own, loopback, groups = ("10.0.0.2", "192.0.2.9"), ("127.0.0.1", "127.9.9.9"), ("224.0.0.1", "239.1.1.1")
        for source in (*own, *loopback, *groups, "10.0.0.255", "255.255.255.255", "240.0.0.1", "0.0.0.1"):
            self.assertEqual(self.counters(source, "10.0.0.2"), ["inAddrErrors"], source)
        for source in ("fd00::2", "::1", "ff02::1", "ff05::2", "::ffff:10.0.0.1"):
            self.assertEqual(self.counters(source, "fd00::2"), ["inAddrErrors"], source)

    def test_refusedSourceIsRefusedAgain(self) -> None:
        for _ in range(2):
            self.assertEqual(self.counters("127.0.0.1", "10.0.0.2"), ["inAddrErrors"])

    def test_unspecifiedSourceMaySendOnlyToGroupsAndTheLimitedBroadcast(self) -> None:
        for dest in ("255.255.255.255", "224.0.0.1"):
            self.assertEqual(self.counters("0.0.0.0", dest), ["payload"])
        for dest in ("10.0.0.2", "10.0.0.255"):
            self.assertEqual(self.counters("0.0.0.0", dest), ["inAddrErrors"], dest)

    def test_unspecifiedSourceOfDuplicateAddressDetection(self) -> None:
        self.assertEqual(self.counters("::", "ff02::1:ff00:2"), ["payload"])

    def test_packetsFromOtherNetworksAreDelivered(self) -> None:
        self.assertEqual(self.counters("8.8.8.8", "10.0.0.2"), ["payload"])
        self.assertEqual(self.counters("fe80::1", "fd00::2"), ["payload"])

    def test_cacheOfAdmittedPairsIsBounded(self) -> None:
        self.patch(addresses, "MAX_ADMITTED", 8)
        for number in range(20):
            self.assertEqual(self.counters(f"11.0.0.{number + 1}", "10.0.0.2"), ["payload"])
            assert self.ip.ownAddresses is not None
            self.assertLessEqual(len(self.ip.ownAddresses.admitted), 8)
        self.assertEqual(self.counters("11.0.0.1", "10.0.0.2"), ["payload"])
        self.assertEqual(self.counters("10.0.0.2", "10.0.0.2"), ["inAddrErrors"])

    def test_withoutAddressesEverythingIsDelivered(self) -> None:
        self.make()
        for source, dest in (("10.0.0.1", "10.9.9.9"), ("127.0.0.1", "127.0.0.1"), ("fd00::1", "ff05::1234")):
            self.assertEqual(self.counters(source, dest), ["payload"])

    def test_emptyListOfAddressesAcceptsOnlyBroadcastsAndGroups(self) -> None:
        self.make([])
        self.assertEqual(self.counters("10.0.0.1", "10.0.0.2"), ["inAddrErrors"])
        self.assertEqual(self.counters("10.0.0.1", "255.255.255.255"), ["payload"])

    def test_invalidAddressIsAValueError(self) -> None:
        for address in ("here", "10.0.0.256/24", "10.0.0.2/33", ""):
            self.assertRaises(ValueError, IPProtocol, [address])

    def test_textInPlaceOfAListIsAValueError(self) -> None:
        with self.assertRaises(ValueError) as raised:
            IPProtocol("10.0.0.2/24")
        self.assertIn("['10.0.0.2/24']", str(raised.exception))

    def test_addressesThatNoHostHasAreAValueError(self) -> None:
        for address in ("127.0.0.1/8", "224.0.0.1/4", "0.0.0.0/0", "255.255.255.255/32", "::1/128", "ff02::1/16"):
            with self.assertRaises(ValueError) as raised:
                IPProtocol([address])
            self.assertIn(address, str(raised.exception))

    def test_broadcastOfItsNetworkIsAValueError(self) -> None:
        self.assertRaises(ValueError, IPProtocol, ["10.0.0.255/24"])

    def test_everyAddressOfANetworkOfOneOrTwoIsAccepted(self) -> None:
        for address in ("10.0.0.0/31", "10.0.0.1/31", "10.0.0.255/32"):
            self.assertEqual(IPProtocol([address]).addresses, [ip_interface(address)])


class AddProtoTests(LayerTestCase):
    def test_protocolsAreListedByNumber(self) -> None:
        other = PacketRecorder()
        self.ip.addProto(PROTOCOL, other)
        self.assertEqual(self.ip.ipProtos, {PROTOCOL: [self.proto, other]})

    def test_severalUnderOneNumberAllGetThePacket(self) -> None:
        other = PacketRecorder()
        self.ip.addProto(PROTOCOL, other)
        self.assertEqual(self.receive(four()), ["payload"])
        self.assertEqual(other.data, [b"payload"])

    def test_removedProtocolGetsNothing(self) -> None:
        self.ip.removeProto(PROTOCOL, self.proto)
        self.assertEqual(self.receive(four()), ["inUnknownProtos"])

    def test_removingWhatWasNotAddedIsAValueError(self) -> None:
        self.assertRaises(ValueError, self.ip.removeProto, PROTOCOL + 1, self.proto)

    def test_numberMustFitEightBits(self) -> None:
        self.ip.addProto(255, PacketRecorder())
        with self.assertRaises(TypeError) as raised:
            self.ip.addProto(256, PacketRecorder())
        self.assertIn("8 bits", str(raised.exception))

    def test_numberMustNotBeNegative(self) -> None:
        with self.assertRaises(TypeError) as raised:
            self.ip.addProto(-1, PacketRecorder())
        self.assertIn("positive", str(raised.exception))

    def test_protocolMustBeForDatagrams(self) -> None:
        self.assertRaises(TypeError, self.ip.addProto, PROTOCOL, object())
        self.assertRaises(TypeError, self.ip.addProto, 17, IPProtocol())


class RemainingTests(LayerTestCase):
    """
    Tests for a protocol under L{None}, which receives the datagrams of all protocols that no other one was added for.
    """

    def setUp(self) -> None:
        super().setUp()
        self.remaining = PacketRecorder()
        self.ip.addProto(None, self.remaining)

    def received(self, data: bytes) -> list[int | None]:
        """
        Let the layer receive a packet.

        @return: the protocol number of each packet that the protocol under L{None} received.
        """
        del self.remaining.packets[:]
        self.receive(data)
        return [packet.protocol for packet in self.remaining.packets]

    def test_itReceivesEveryOtherNumber(self) -> None:
        for make in four, six:
            for number in set(range(256)) - {PROTOCOL, *ipv6.EXTENSIONS}:
                self.assertEqual(self.received(make(protocol=number)), [number])
        self.assertEqual(self.ip.counters["inUnknownProtos"], 0)

    def test_itReceivesNothingThatHasAProtocol(self) -> None:
        self.assertEqual(self.received(four()), [])
        self.assertEqual(self.proto.data, [b"payload"])

    def test_itReceivesReassembledDatagrams(self) -> None:
        for word, payload in (ipv4.MORE_FRAGMENTS, bytes(8)), (1, b"end"):
            numbers = self.received(four(payload, protocol=99, fragment=word, identification=1))
        self.assertEqual(numbers, [99])
        self.assertEqual(self.remaining.data, [bytes(8) + b"end"])

    def test_severalReceiveACopyEach(self) -> None:
        other = PacketRecorder()
        self.ip.addProto(None, other)
        self.assertEqual(self.received(four(protocol=99)), [99])
        self.assertEqual(other.data, [b"payload"])
        self.assertEqual(self.ip.ipProtos[None], [self.remaining, other])

    def test_aNumberThatIsAddedLaterIsTakenFromIt(self) -> None:
        self.ip.addProto(99, self.proto)
        self.assertEqual(self.received(four(protocol=99)), [])
        self.ip.removeProto(99, self.proto)
        self.assertEqual(self.received(four(protocol=99)), [99])

    def test_onceItIsRemovedTheOthersAreUnknownAgain(self) -> None:
        self.ip.removeProto(None, self.remaining)
        self.assertEqual(self.receive(four(protocol=99)), ["inUnknownProtos"])
        self.assertNotIn(None, self.ip.ipProtos)
        self.assertRaises(ValueError, self.ip.removeProto, None, self.remaining)

    def test_aProtocolOfTwistedPairIsToldTheNumber(self) -> None:
        calls: list[dict[str, Any]] = []

        @implementer(IRawDatagramProtocol)
        class Old:
            def addProto(self, num: int, proto: Any) -> None:
                """
                Do nothing; the interface requires this method.
                """

            def datagramReceived(self, **fields: Any) -> None:  # type: ignore[override]
                calls.append(fields)

        self.ip.addProto(None, Old())
        self.receive(four(protocol=99))
        self.receive(six(protocol=98))
        self.assertEqual([(call["protocol"], call["data"]) for call in calls], [(99, b"payload"), (98, b"payload")])

    def test_itIsAskedAboutICMPErrors(self) -> None:
        asked: list[Quote] = []

        @implementer(IErrorReceiver)
        class Asked(PacketRecorder):
            def errorReceived(self, quote: Quote, refused: bool) -> bool:
                asked.append(quote)
                return True

        self.ip.addProto(None, Asked())
        quotes = [Quote(packAddress("10.0.0.2"), packAddress("10.0.0.1"), number, b"", 28) for number in (99, PROTOCOL)]
        self.assertEqual([self.ip.reported(quote, False) for quote in quotes], [True, False])
        self.assertEqual(asked, quotes[:1])

    def test_noOtherLayerTakesNone(self) -> None:
        self.assertRaises(TypeError, EthernetProtocol().addProto, None, self.remaining)
        self.assertRaises(TypeError, RawUDPProtocol().addProto, None, DatagramProtocol())
