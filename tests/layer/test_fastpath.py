"""
Tests for the fast path, L{txtuntap.layer.fastpath}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

from twisted.internet.protocol import DatagramProtocol

from tests.layer.fastpaths import THEM, US, FastPathTestCase, Keeper, datagram
from tests.recorders import Oops
from tests.stack.link import PEER, echo, frame
from tests.superpackets import superpacket
from txtuntap import EthernetProtocol, Host, IPProtocol, Packet, RawUDPProtocol
from txtuntap.layer import fastpath
from txtuntap.layer.fastpath import FastPath
from txtuntap.middleware import Meter
from txtuntap.testing import TAP, TUN, MemoryDevice, ipPacket, udpPacket
from txtuntap.wire.checksum import checksum
from txtuntap.wire.offload import DATA_VALID, UDP, Offload


class ReceiveTests(FastPathTestCase):
    def test_itReceivesFromTheSecondDatagramOn(self) -> None:
        for mode in TUN, TAP:
            for version in 4, 6:
                keeper = self.hosted(mode)
                self.assertEqual(self.take(*[datagram(b"%d" % number, version) for number in range(3)]), 2)
                self.assertEqual([data for data, _ in keeper.received], [b"0", b"1", b"2"])
                self.assertEqual({addr for _, addr in keeper.received}, {(THEM[version], 4000)})

    def test_byDefaultAFlowIsLearnedFromItsSecondDatagram(self) -> None:
        self.patch(FastPath, "atOnce", False)
        self.hosted()
        self.assertEqual(self.take(*[datagram()] * 4), 2)

    def test_thePacketOfADatagramIsTheSameAsThatOfTheLayers(self) -> None:
        for mode in TUN, TAP:
            for version in 4, 6:
                keeper = self.hosted(mode)
                self.take(*[datagram(version=version)] * 2)
                first, second = keeper.packets
                self.assertEqual(first, second)

    def test_paddingIsCutOff(self) -> None:
        keeper = self.hosted(TAP)
        self.deliver(*[frame(datagram(b"12")) + bytes(16)] * 2)
        self.assertEqual((self.fast, keeper.received[1][0]), (1, b"12"))

    def test_aSuperpacketIsReceived(self) -> None:
        payload = bytes(range(250))
        for version in 4, 6:
            data, offload, _ = superpacket(version, UDP, payload, 100)
            self.device = MemoryDevice(TUN, features=0xFF)
            host = Host([f"{US[4]}/24", f"{US[6]}/64"], self.clock)
            self.on(host.ip)
            keeper = Keeper()
            host.listenUDP(7, keeper)
            before = self.fast
            self.deliver((data, offload), (data, offload))
            self.assertEqual(self.fast - before, 1)
            self.assertEqual(
                [data for data, _ in keeper.received], [payload[:100], payload[100:200], payload[200:]] * 2
            )
            self.assertEqual(self.port.counters["inPackets"], 6)

    def test_aTransportThatConnectsDuringASuperpacketGetsTheRest(self) -> None:
        data, offload, _ = superpacket(4, UDP, bytes(250), 100)
        self.device = MemoryDevice(TUN, features=0xFF)
        host = Host([f"{US[4]}/24"], self.clock)
        self.on(host.ip)

        class Connecting(Keeper):
            def datagramReceived(self, datagram: bytes, addr: Any) -> None:
                super().datagramReceived(datagram, addr)
                if len(self.received) == 4:
                    self.transport.connect(THEM[4], 9)  # type: ignore[union-attr]

        keeper = Connecting()
        host.listenUDP(7, keeper)
        self.deliver((data, offload), (data, offload))
        self.assertEqual((self.fast, len(keeper.received)), (1, 4))
        self.assertEqual(host.udp.counters["noPorts"], 2)

    def test_anEchoRequestIsAnswered(self) -> None:
        for mode in TUN, TAP:
            for version in 4, 6:
                self.hosted(mode)
                earlier = b""
                for number in range(3):
                    del self.device.sent[:]
                    self.take(echo(THEM[version], US[version], b"%d" % number))
                    at = 14 * (mode == TAP)
                    (reply,) = [each for each in self.device.sent if not at or each[:6] == PEER]
                    self.assertEqual(reply[-1:], b"%d" % number)
                    self.assertEqual([len(reply), reply[:at]], [len(earlier or reply), (earlier or reply)[:at]])
                    earlier = reply
                    kind = reply[at + (20 if version == 4 else 40)]
                    self.assertEqual(kind, 0 if version == 4 else 129)
                self.assertEqual(self.host.icmp.counters["outEchoReps"], 3)
        # Each second request is the first one of a fast path in all four cases.
        self.assertEqual(self.fast, 8)

    def test_anExceptionIsLoggedAndCounted(self) -> None:
        keeper = self.hosted()
        self.take(datagram())
        with mock.patch.object(keeper, "datagramReceived", side_effect=Oops):
            self.assertEqual(self.take(datagram(), datagram()), 2)
        self.assertEqual(self.host.udp.counters["protocolFailures"], 2)
        self.flushLoggedErrors(Oops)

    def test_aMethodThatIsReplacedIsCalled(self) -> None:
        keeper = self.hosted()
        self.take(datagram())
        found: list[bytes] = []
        keeper.datagramReceived = lambda data, addr: found.append(data)  # type: ignore[method-assign, assignment]
        self.assertEqual(self.take(datagram(b"other")), 1)
        self.assertEqual(found, [b"other"])

    def test_aNestedDeliveryKeepsThePacketOfTheOuterOne(self) -> None:
        keeper = self.hosted()
        seen: list[tuple[bytes, bytes]] = []

        class Nesting(DatagramProtocol):
            def datagramReceived(nested, datagram_: bytes, addr: Any) -> None:
                if len(keeper.received) < 4:
                    self.port.device.deliver(datagram(b"inner"))  # type: ignore[attr-defined]
                    self.port.doRead()
                packet: Any = nested.transport.packet  # type: ignore[union-attr]
                seen.append((datagram_, bytes(packet)))

        self.host.listenUDP(8, Nesting())
        for _ in range(3):
            self.take(datagram(), datagram(b"outer", dest=8))
        self.assertTrue(all(data == octets for data, octets in seen))
        self.assertEqual(len(seen), 3)


class RefusalTests(FastPathTestCase):
    """
    Tests for packets of a known flow that are left to the layers.
    """

    def setUp(self) -> None:
        super().setUp()
        self.keeper = self.hosted(TAP)
        self.take(datagram(), datagram(version=6))
        del self.keeper.received[:]

    def assertDropped(self, packet: bytes, layer: Any, counter: str) -> None:
        self.assertEqual(self.take(packet), 0)
        self.assertEqual((self.keeper.received, layer.counters[counter]), ([], 1))

    def test_aWrongHeaderChecksum(self) -> None:
        wrong = bytearray(datagram())
        wrong[8] ^= 1
        self.assertDropped(bytes(wrong), self.host.ip, "inCsumErrors")

    def test_aWrongChecksum(self) -> None:
        for version in 4, 6:
            for payload in b"short", bytes(1000):
                wrong = datagram(payload, version)
                self.assertEqual(self.take(wrong[:-1] + bytes((wrong[-1] ^ 1,))), 0)
        self.assertEqual((self.keeper.received, self.host.udp.counters["inCsumErrors"]), ([], 4))

    def test_aLengthThatIsTooLong(self) -> None:
        self.assertDropped(datagram()[:-1], self.host.ip, "inTruncatedPkts")

    def test_anImpossibleLengthOfUDP(self) -> None:
        wrong = bytearray(datagram(version=6))
        wrong[44:46] = b"\0\7"
        self.assertDropped(bytes(wrong), self.host.udp, "inErrors")

    def test_aFrameToAnotherStation(self) -> None:
        before = self.fast
        self.deliver(frame(datagram(), dest=b"\x02\0\0\0\0\x77"))
        self.assertEqual((self.fast, self.keeper.received), (before, []))
        self.assertEqual(self.host.ethernet.counters["inOtherHosts"], 1)

    def test_aFrameFromAnotherStationBecomesThePathOfAnswers(self) -> None:
        other = b"\x02\0\0\0\0\x55"
        before = self.fast
        self.deliver(frame(datagram(), source=other))
        self.assertEqual(self.fast, before)
        peer = self.keeper.received[-1][1]
        del self.device.sent[:]
        self.listening.write(b"answer", peer)
        self.deliver(frame(datagram(), source=other))
        self.assertEqual(self.fast, before + 1)

    def test_aFragment(self) -> None:
        packet = bytearray(datagram(bytes(8)))
        packet[6] |= 0x20
        packet[10:12] = bytes(2)
        packet[10:12] = checksum(bytes(packet[:20])).to_bytes(2, "big")
        self.assertEqual(self.take(bytes(packet)), 0)
        self.assertEqual(self.host.ip.counters["reasmReqds"], 1)

    def test_anotherProtocolWithTheSameOctetsInPlaceOfPorts(self) -> None:
        self.assertEqual(self.take(ipPacket(THEM[4], US[4], 6, datagram()[20:] + bytes(20))), 0)

    def test_anOpenChecksumOfAnotherField(self) -> None:
        data = datagram(version=4)
        ip = self.host.ip.fastPath
        for offload in Offload(1, 0, 0, 0, 20, 4), Offload(1, 0, 0, 0, 21, 6), Offload(0, UDP, 28, 3, 20, 6):
            self.assertFalse(ip.receive(data, 0, offload, self.port, 0.0))
        self.assertEqual(self.keeper.received, [])

    def test_aShortPacket(self) -> None:
        for length in range(14 + 28):
            self.deliver(frame(datagram())[:length])
        self.assertEqual(self.keeper.received, [])


class ForgetTests(FastPathTestCase):
    """
    Tests for the changes that forget the known flows.
    """

    def assertForgotten(self, change: Callable[[], object], mode: int = TUN) -> None:
        """
        Check that a change forgets the flow of L{datagram}, which is known before.
        """
        self.assertEqual(self.take(datagram()), 1, "the flow is known")
        change()
        self.assertEqual(self.take(datagram()), 0, "the flow is forgotten")

    def known(self, mode: int = TUN) -> Keeper:
        keeper = self.hosted(mode)
        self.take(datagram())
        return keeper

    def test_anAddressIsAdded(self) -> None:
        self.known()
        self.assertForgotten(lambda: self.host.ip.addAddress("10.8.0.1/24"))

    def test_anAddressIsRemoved(self) -> None:
        keeper = self.known()
        self.assertForgotten(lambda: self.host.ip.removeAddress(US[4]))
        self.assertEqual(len(keeper.received), 2)
        self.assertEqual(self.host.ip.counters["inAddrErrors"], 1)

    def test_anAddressIsSuspended(self) -> None:
        self.known()
        own: Any = self.host.ip.ownAddresses
        self.assertForgotten(lambda: own.suspend(bytes((10, 9, 0, 2))))

    def test_aGroupIsLeft(self) -> None:
        self.known()
        self.listening.joinGroup("239.1.2.3")
        self.take(datagram())
        self.assertForgotten(lambda: self.listening.leaveGroup("239.1.2.3"))

    def test_aProtocolIsAddedToThePort(self) -> None:
        keeper, other = self.known(), Keeper()
        self.take(datagram())
        self.host.udp.addProto(7, other)
        self.assertEqual(self.take(datagram(), datagram()), 0)
        self.assertEqual((len(keeper.received), len(other.received)), (4, 2))

    def test_aProtocolIsRemovedFromThePort(self) -> None:
        keeper = self.known()
        self.assertForgotten(self.listening.stopListening)
        self.assertEqual((len(keeper.received), self.host.udp.counters["noPorts"]), (2, 1))

    def test_aProtocolIsAddedUnderTheNumber(self) -> None:
        self.known()
        other = RawUDPProtocol()
        self.host.ip.addProto(17, other)
        self.assertEqual(self.take(datagram(), datagram()), 0)
        self.assertEqual(other.counters["noPorts"], 2)

    def test_aProtocolIsAddedUnderTheEtherType(self) -> None:
        self.known(TAP)
        other = IPProtocol()
        self.host.ethernet.addProto(0x800, other)
        self.assertEqual(self.take(datagram(), datagram()), 0)
        self.assertEqual(other.counters["inUnknownProtos"], 2)
        self.host.ethernet.removeProto(0x800, other)
        self.take(datagram())
        self.assertEqual(self.take(datagram()), 1)

    def test_thePortStops(self) -> None:
        keeper = self.known()
        self.port.stopListening()
        self.clock.advance(0)
        self.assertEqual([table.size for table in self.host.ip.fastPath.tables()], [0])
        self.port.startListening()
        self.assertEqual(self.take(datagram(), datagram()), 1)
        self.assertEqual(len(keeper.received), 3)

    def test_theMTUChanges(self) -> None:
        self.known()
        self.assertForgotten(self.host.ip.mtuChanged)

    def test_theTransportConnectsToAnotherPeer(self) -> None:
        keeper = self.known()
        self.listening.connect(THEM[4], 9)
        self.assertEqual(self.take(datagram()), 0)
        self.assertEqual((len(keeper.received), self.host.udp.counters["noPorts"]), (1, 1))

    def test_theFlowIsEvicted(self) -> None:
        self.patch(self.host_udp(), "bound", 1)
        self.take(datagram(source=4001))
        self.assertEqual(self.take(datagram()), 0)
        self.assertEqual(self.take(datagram()), 1)

    def host_udp(self) -> Any:
        self.known()
        return self.host.udp._flows

    def test_tooManyFlowsAreKnown(self) -> None:
        self.patch(fastpath, "MAX_KNOWN", 2)
        self.known()
        for source in 4001, 4002, 4003:
            self.take(datagram(source=source))
            self.assertLessEqual(self.host.ip.fastPath.tables()[0].size, 2)
        self.assertEqual(self.take(datagram()), 0)


class ConditionTests(FastPathTestCase):
    """
    Tests for the conditions under which no flow is learned.
    """

    def test_middlewareSeesEachPacket(self) -> None:
        for mode in TUN, TAP:
            meters: list[Meter] = []

            def around(proto: Any, meters: list[Meter] = meters) -> Meter:
                meters.append(Meter(proto))
                return meters[0]

            self.hosted(mode, around)
            self.take(*[datagram()] * 5)
            self.assertEqual(meters[0].counters["inPackets"], 5)

    def test_aSubclassSeesEachPacket(self) -> None:
        for base in EthernetProtocol, IPProtocol, RawUDPProtocol:
            seen: list[Packet] = []

            class Seeing(base):  # type: ignore[misc, valid-type]
                handlesFailures = True
                takesOffload = True

                def packetReceived(self, packet: Packet, seen: list[Packet] = seen) -> None:
                    seen.append(packet)
                    super().packetReceived(packet)

            kinds = [Seeing if kind is base else kind for kind in (EthernetProtocol, IPProtocol, RawUDPProtocol)]
            ethernet, ip, udp = (kind() for kind in kinds)
            ethernet.addProto(0x800, ip)
            ip.addProto(17, udp)
            keeper = Keeper()
            udp.addProto(7, keeper)
            self.device = MemoryDevice(TAP)
            self.on(ethernet)
            self.take(*[datagram()] * 5)
            self.assertEqual((len(seen), len(keeper.received)), (5, 5), base.__name__)

    def test_aHostThatTalksToItselfTeachesNothing(self) -> None:
        self.hosted()
        for _ in range(3):
            self.listening.write(b"self", (US[4], 7))
            self.clock.advance(1)
        self.assertEqual(self.host.ip.fastPath.tables()[0].size, 0)
        forged = udpPacket(US[4], US[4], 7, 7, b"forged")
        self.assertEqual(self.take(forged, forged), 0)
        self.assertEqual(self.host.ip.counters["inAddrErrors"], 2)

    def test_vouchedChecksumsAreNotVerified(self) -> None:
        keeper = self.hosted()
        wrong = datagram()[:-1] + b"!"
        self.take(datagram())
        self.deliver((wrong, Offload(DATA_VALID)))
        self.assertEqual((self.fast, keeper.received[-1][0][-1:]), (1, b"!"))
