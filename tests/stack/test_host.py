"""
Tests for L{txtuntap.stack.host}: the addresses, routes and datagrams of a host.
"""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.recorders import DatagramRecorder, Echo
from tests.steps import steps
from txtuntap.stack.host import Host
from txtuntap.testing import TUN, ipPacket, udpPacket
from txtuntap.wire import icmp, ndp, udp
from txtuntap.wire.address import addressText, packAddress
from txtuntap.wire.arp import REPLY, REQUEST

from .link import OTHER, OWN, PEER, LinkTestCase, arpFrame, arps, discovery, echo, frame, messages, pieces

THEIRS, OURS = "10.0.0.1", "10.0.0.2"
THEIRS6, OURS6 = "fd00::1", "fd00::2"
PAIRS = ((THEIRS, OURS), (THEIRS6, OURS6))
LINK_LOCAL = "fe80::ff:fe00:1"


class MakingTests(SynchronousTestCase):
    def test_theLinkAddressCanBeGivenAsText(self) -> None:
        self.assertEqual(Host([], Clock(), "02:00:00:00:00:01").linkAddress, OWN)

    def test_aRandomLinkAddressIsLocallyAdministered(self) -> None:
        links = {Host([], Clock()).linkAddress for _ in range(10)}
        self.assertEqual((len(links), {link[0] & 3 for link in links}), (10, {2}))

    def test_aGroupIsRefusedAsLinkAddress(self) -> None:
        self.assertRaises(ValueError, Host, [], Clock(), b"\x01\0\x5e\0\0\x01")

    def test_textInPlaceOfAListIsRefused(self) -> None:
        for name in ("addresses", "gateways", "anyAddresses", "answerFor", "answerExcept"):
            options: dict[str, Any] = {"reactor": Clock(), name: "10.0.0.2/24"}
            with self.assertRaises(ValueError) as raised:
                Host(**options)
            self.assertIn("is a list", str(raised.exception))

    def test_aTextThatIsNoAddressIsRefused(self) -> None:
        for options in ({"addresses": ["here"]}, {"gateways": ["there"]}, {"anyAddresses": ["10.0.0.1/8"]}):
            self.assertRaises(ValueError, Host, reactor=Clock(), **options)

    def test_answerForMustBeInAnyAddresses(self) -> None:
        for network in ("10.0.0.0/8", "11.0.0.0/16", "fd00::/16", "::/0"):
            with self.assertRaises(ValueError) as raised:
                Host(reactor=Clock(), anyAddresses=["10.0.0.0/16", "fd00::/32"], answerFor=[network])
            self.assertIn("anyAddresses", str(raised.exception))
        Host(reactor=Clock(), anyAddresses=iter(["10.0.0.0/16", "fd00::/32"]), answerFor=["10.0.1.0/24", "fd00::/32"])

    def test_answerExceptMustBeAnAddressOrANetwork(self) -> None:
        for text in ("here", "10.0.0.1/8"):
            self.assertRaises(ValueError, Host, reactor=Clock(), answerExcept=[text])


class AddressTests(LinkTestCase):
    def test_addressesAreListed(self) -> None:
        self.make(mode=TUN)
        self.assertEqual(self.host.addresses, ["10.0.0.2/24", "fd00::2/64"])

    def test_aHostOnATapHasALinkLocalAddress(self) -> None:
        self.make()
        self.assertIn(f"{LINK_LOCAL}/64", self.host.addresses)
        (sent,) = messages(self.receive(frame(echo("fe80::9", LINK_LOCAL))))
        self.assertEqual((sent.source, sent.dest), (LINK_LOCAL, "fe80::9"))

    def test_aGivenLinkLocalAddressIsNotAddedAgain(self) -> None:
        self.make(f"{LINK_LOCAL}/64")
        self.port.stopListening()
        self.clock.advance(0)
        self.port.startListening()
        self.assertEqual(self.host.addresses, [f"{LINK_LOCAL}/64"])

    def test_allIsSentAgainWhenTheLinkComesUp(self) -> None:
        self.make("10.0.0.2/24", "fd00::2/64")
        self.host.ethernet.linkUp()
        sent = self.wait(10)
        probed = [(packet.sender, packet.target) for _, packet in arps(sent)]
        ours, nobody = packAddress("10.0.0.2"), bytes(4)
        self.assertEqual(probed, [(nobody, ours)] * 3 + [(ours, ours)] * 2)
        kinds = [(each.kind, each.source) for each in messages(sent)]
        self.assertEqual(kinds.count((ndp.SOLICITATION, "::")), 2)
        self.assertIn((ndp.ADVERTISEMENT, "fd00::2"), kinds)
        self.assertIn(b"\x3a\0\5\2\0\0\1\0\x8f", b"".join(sent), "no MLD report")

    def test_aHostOnATunHasNoLinkLocalAddress(self) -> None:
        self.make("10.0.0.2/24", mode=TUN)
        self.assertEqual(self.host.addresses, ["10.0.0.2/24"])

    def test_anAddressCanBeAddedWhileRunning(self) -> None:
        self.make(mode=TUN)
        self.assertEqual(self.receive(echo(THEIRS, "10.0.0.3")), [])
        self.host.addAddress("10.0.0.3/24")
        self.assertEqual(len(self.receive(echo(THEIRS, "10.0.0.3"))), 1)

    def test_anAddressCanBeRemovedWhileRunning(self) -> None:
        self.make("10.0.0.2/24", "10.0.0.3/24", mode=TUN)
        self.assertEqual(len(self.receive(echo(THEIRS, "10.0.0.3"))), 1)
        self.host.removeAddress("10.0.0.3")
        self.assertEqual(self.receive(echo(THEIRS, "10.0.0.3")), [])
        self.assertEqual(len(self.receive(echo(THEIRS, "10.0.0.2"))), 1)

    def test_anAddressIsNotAddedTwice(self) -> None:
        self.make()
        self.assertRaises(ValueError, self.host.addAddress, "10.0.0.2/24")

    def test_removingAnAddressOfAnotherHostIsRefused(self) -> None:
        self.make()
        self.assertRaises(ValueError, self.host.removeAddress, "10.0.0.9")

    def test_theCostOfAChangeDoesNotDependOnTheNumberOfAddresses(self) -> None:
        # Making a host with eight thousand addresses once took 15 seconds, because each addition searched all others.
        counted: list[list[int]] = []
        # With 250 addresses, the prefix tables already have every prefix length that they have with 1,000.
        for count in 250, 1000:
            self.make("10.0.0.2/24", "fd00::2/64")
            for number in range(count):
                self.host.ip.addAddress(f"10.{number >> 8}.{number & 255}.7/32")
                self.host.ip.addAddress(f"fd00:0:0:{number:x}::7/64")
            self.wait(10)
            counted.append(
                [
                    steps(self.host.addAddress, "192.0.2.2/24"),
                    steps(self.host.addAddress, "fd01::2/64"),
                    steps(self.host.addRoute, "198.51.100.0/24", "192.0.2.1"),
                    steps(self.host.ip.join, packAddress("239.0.0.1")),
                    steps(self.host.ip.suspendAddress, packAddress("192.0.2.2")),
                    steps(self.host.removeRoute, "198.51.100.0/24"),
                    steps(self.host.removeAddress, "192.0.2.2"),
                    steps(self.host.removeAddress, "fd01::2"),
                ]
            )
        self.assertEqual(*counted)

    def test_theCostOfFindingASourceDoesNotDependOnTheNumberOfAddresses(self) -> None:
        counted: list[list[int]] = []
        for count in 250, 1000:
            self.make(*(f"10.{number >> 8}.{number & 255}.7/32" for number in range(count)), "fd00::2/64")
            self.wait(10)
            self.host.addAddress("fd01::2/64")
            self.host.ip.join(packAddress("ff02::4711"))
            before = len(self.device.sent)
            counted.append(
                [
                    # The address in that network is tentative, so another one must be the source.
                    steps(self.host.ndp.solicit, packAddress("fd01::9"), None),
                    # This sends the report of the group.
                    steps(self.clock.advance, 0.0),
                ]
            )
            sources = [addressText(sent[22:38]) for sent in self.device.sent[before:] if sent[12:14] == b"\x86\xdd"]
            self.assertEqual(sources, ["fd00::2", LINK_LOCAL])
        self.assertEqual(*counted)

    def test_countersAreListedByLayer(self) -> None:
        self.make()
        self.receive(frame(echo(THEIRS, OURS)), arpFrame(REQUEST, THEIRS, OURS))
        counters = self.host.counters
        self.assertEqual(list(counters), ["ethernet", "arp", "ndp", "neighbours", "ip", "icmp", "groups", "udp"])
        self.assertEqual((counters["icmp"]["inEchos"], counters["arp"]["inRequests"]), (1, 1))


class RouteTests(LinkTestCase):
    def asked(self, dest: str) -> tuple[str, str]:
        """
        Send a packet to C{dest}.

        @return: the source and the target of the request for the link address of the next hop.
        """
        before = len(self.device.sent)
        self.host.ip.write(b"payload", dest, 253)
        sent = self.device.sent[before:]
        for _, packet in arps(sent):
            return ".".join(map(str, packet.sender)), ".".join(map(str, packet.target))
        (message,) = messages(sent)
        return message.source, addressText(message.body[:16])

    def test_aStationOnTheLinkIsAskedForItself(self) -> None:
        self.make()
        self.assertEqual(self.asked("10.0.0.77"), ("10.0.0.2", "10.0.0.77"))

    def test_aPacketToAnotherNetworkIsSentToTheGateway(self) -> None:
        self.make(gateways=["10.0.0.1", "fd00::1"])
        self.assertEqual(self.asked("8.8.8.8"), ("10.0.0.2", "10.0.0.1"))
        self.assertEqual(self.asked("2001:db8::1"), ("fd00::2", "fd00::1"))

    def test_theRouteWithTheLongestPrefixWins(self) -> None:
        self.make(gateways=["10.0.0.1"])
        self.host.addRoute("8.0.0.0/8", "10.0.0.3")
        self.host.addRoute("8.8.8.0/24", "10.0.0.4")
        self.host.addRoute("8.8.0.0/16", "10.0.0.5")
        found = [self.asked(dest)[1] for dest in ("8.8.8.8", "8.8.9.9", "8.9.9.9", "9.9.9.9")]
        self.assertEqual(found, ["10.0.0.4", "10.0.0.5", "10.0.0.3", "10.0.0.1"])

    def test_aRemovedRouteIsNotUsed(self) -> None:
        self.make(gateways=["10.0.0.1"])
        self.host.addRoute("8.0.0.0/8", "10.0.0.3")
        self.host.removeRoute("8.0.0.0/8")
        self.assertEqual(self.asked("8.8.8.8")[1], "10.0.0.1")

    def test_removingAnUnknownRouteIsRefused(self) -> None:
        self.make()
        self.assertRaises(ValueError, self.host.removeRoute, "8.0.0.0/8")

    def test_writingWithoutARouteRaises(self) -> None:
        self.make()
        self.assertRaises(OSError, self.host.ip.write, b"payload", "8.8.8.8", 253)

    def test_theNetworkOfAnAddressIsARoute(self) -> None:
        self.make()
        self.host.addAddress("192.168.0.2/24")
        self.assertEqual(self.asked("192.168.0.1"), ("192.168.0.2", "192.168.0.1"))

    def test_theNetworkOfARemovedAddressIsNoRoute(self) -> None:
        self.make("10.0.0.2/24", "192.168.0.2/24")
        self.host.removeAddress("192.168.0.2")
        self.assertRaises(OSError, self.host.ip.write, b"payload", "192.168.0.1", 253)


class AnyAddressTests(LinkTestCase):
    def setUp(self) -> None:
        self.make(anyAddresses=["10.64.0.0/16", "2001:db8::/32", "10.0.0.128/25"])

    def test_echoRequestsToEveryAddressAreAnswered(self) -> None:
        for source, dest in ((THEIRS, "10.64.7.9"), (THEIRS, "10.0.0.200"), (THEIRS6, "2001:db8:1::1")):
            (sent,) = messages(self.receive(frame(echo(source, dest))))
            self.assertEqual((sent.source, sent.dest), (dest, source))

    def test_echoRequestsOutsideTheNetworksAreNotAnswered(self) -> None:
        self.assertEqual(self.receive(frame(echo(THEIRS, "10.65.0.1"))), [])

    def test_errorsAreSentFromTheAddressAsked(self) -> None:
        (sent,) = messages(self.receive(frame(udpPacket(THEIRS, "10.64.7.9", 1, 9, b""))))
        self.assertEqual((sent.source, sent.kind, sent.code), ("10.64.7.9", 3, 3))

    def test_udpIsAnsweredFromTheAddressAsked(self) -> None:
        self.host.listenUDP(7, Echo())
        (sent,) = self.receive(frame(udpPacket(THEIRS, "10.64.7.9", 1234, 7, b"payload")))
        self.assertEqual(sent[26:34], packAddress("10.64.7.9") + packAddress(THEIRS))

    def test_arpIsNotAnswered(self) -> None:
        for target in ("10.64.7.9", "10.0.0.200"):
            self.assertEqual(self.receive(arpFrame(REQUEST, THEIRS, target)), [])

    def test_solicitationsAreNotAnswered(self) -> None:
        packet = discovery(ndp.SOLICITATION, THEIRS6, "2001:db8::9", "2001:db8::9", ndp.SOURCE_LINK)
        self.assertEqual(self.receive(frame(packet)), [])

    def test_addressesOfTheNetworksAreNotDefended(self) -> None:
        self.assertEqual(self.receive(arpFrame(REPLY, "10.0.0.200", "10.0.0.200")), [])
        self.assertEqual(self.host.arp.counters["inConflicts"], 0)

    def test_addressesOfTheNetworksAreNotProbed(self) -> None:
        self.make(settle=False, anyAddresses=["10.64.0.0/16"])
        self.assertEqual({packet.target for _, packet in arps(self.wait(10))}, {packAddress("10.0.0.2")})

    def test_aPortCanBeOnOneAddressOfANetwork(self) -> None:
        proto = DatagramRecorder()
        self.host.listenUDP(9, proto, "10.64.7.9")
        self.receive(frame(udpPacket(THEIRS, "10.64.7.9", 1, 9, b"yes")))
        self.receive(frame(udpPacket(THEIRS, "10.64.7.8", 1, 9, b"no")))
        self.assertEqual(proto.data, [b"yes"])


class DatagramTests(LinkTestCase):
    """
    UDP datagrams over a TAP device.
    """

    def setUp(self) -> None:
        self.make()
        self.proto = DatagramRecorder()
        self.host.listenUDP(9, self.proto)

    def write(self, payload: bytes, dest: str = THEIRS) -> list[bytes]:
        before = len(self.device.sent)
        self.proto.transport.write(payload, (dest, 1234))
        return self.device.sent[before:]

    def answer(self) -> list[bytes]:
        return self.receive(arpFrame(REPLY, THEIRS, OURS, dest=OWN, targetLink=OWN))

    def test_aDatagramWaitsForAReply(self) -> None:
        (asked,) = self.write(b"payload")
        self.assertEqual(len(arps([asked])), 1)
        (sent,) = self.answer()
        self.assertEqual((sent[:6], sent[14:]), (PEER, udpPacket(OURS, THEIRS, 9, 1234, b"payload")))

    def test_aDatagramWaitsForAnAdvertisement(self) -> None:
        self.assertEqual(len(messages(self.write(b"payload", THEIRS6))), 1)
        flags = ndp.SOLICITED | ndp.OVERRIDE
        packet = discovery(ndp.ADVERTISEMENT, THEIRS6, OURS6, THEIRS6, ndp.TARGET_LINK, PEER, flags)
        (sent,) = self.receive(frame(packet))
        self.assertEqual((sent[:6], sent[14:]), (PEER, udpPacket(OURS6, THEIRS6, 9, 1234, b"payload")))

    def test_aKnownStationIsNotAskedAgain(self) -> None:
        self.write(b"one")
        self.answer()
        (sent,) = self.write(b"two")
        self.assertEqual(sent[-3:], b"two")

    def test_aDatagramIsDroppedAfterThreeRequests(self) -> None:
        self.write(b"one")
        self.assertEqual(len(self.wait(20)), 2)
        self.assertEqual(self.host.neighbours.counters["outDiscards"], 1)

    def test_threeDatagramsWaitForAStation(self) -> None:
        for name in (b"one", b"two", b"three", b"four"):
            self.write(name)
        self.assertEqual([sent[42:] for sent in self.answer()], [b"two", b"three", b"four"])

    def test_theFragmentsOfADatagramWaitAsOne(self) -> None:
        for octet in (b"1", b"2", b"3"):
            self.write(octet * 4000)
        self.assertEqual(len(self.answer()), 9)

    def test_neighboursAreForgottenWhenTheLinkGoesDown(self) -> None:
        self.write(b"one")
        self.answer()
        self.port.stopListening()
        self.clock.advance(0)
        self.assertEqual((self.host.neighbours.entries, self.clock.getDelayedCalls()), ({}, []))

    def test_aPacketToAnotherNetworkIsSentToTheGateway(self) -> None:
        self.host.addRoute("0.0.0.0/0", THEIRS)
        self.know(THEIRS, OTHER)
        (sent,) = self.write(b"payload", "8.8.8.8")
        self.assertEqual((sent[:6], sent[30:34]), (OTHER, bytes((8, 8, 8, 8))))

    def test_aDatagramToAClosedPortIsAnsweredWithAnError(self) -> None:
        for source, dest in PAIRS:
            (sent,) = messages(self.receive(frame(udpPacket(source, dest, 1, 10, b""))))
            self.assertEqual((sent.kind, sent.code), (1, 4) if ":" in dest else (3, 3))

    def test_aStoppedPortIsClosed(self) -> None:
        self.proto.transport.stopListening()
        (sent,) = messages(self.receive(frame(udpPacket(THEIRS, OURS, 1, 9, b""))))
        self.assertEqual((sent.kind, sent.code), (3, 3))

    def test_aReceivedDatagramIsDelivered(self) -> None:
        for source, dest in PAIRS:
            self.assertEqual(self.receive(frame(udpPacket(source, dest, 1234, 9, b"payload"))), [])
        self.assertEqual(self.proto.received, [(b"payload", (THEIRS, 1234)), (b"payload", (THEIRS6, 1234))])

    def test_octetsBehindADatagramAreIgnored(self) -> None:
        header = udp.packHeader(packAddress(THEIRS), packAddress(OURS), 1234, 9, b"payload")
        self.receive(frame(ipPacket(THEIRS, OURS, 17, header + b"payloadmore")))
        self.assertEqual(self.proto.received, [(b"payload", (THEIRS, 1234))])


class FragmentTests(LinkTestCase):
    def reply(self, source: str, dest: str, size: int, shuffle: Any) -> None:
        payload = Random(size).randbytes(size)
        fragments = pieces(echo(source, dest, payload), 1432)
        shuffle(fragments)
        sent = self.receive(*map(frame, fragments))
        found: list[tuple[int, bytes]] = []
        for data in sent:
            packet = data[14:]
            if ":" in source:
                found.append((int.from_bytes(packet[42:44], "big") & 0xFFF8, packet[48:]))
            else:
                found.append(((int.from_bytes(packet[6:8], "big") & 0x1FFF) * 8, packet[20:]))
        message = b"".join(piece for _, piece in sorted(found))
        addresses = (packAddress(dest), packAddress(source)) if ":" in source else ()
        self.assertTrue(icmp.valid(message, *addresses))
        self.assertEqual(message[8:], payload)

    def setUp(self) -> None:
        self.make()

    def test_fragmentsInOrderAreReassembled(self) -> None:
        for source, dest in PAIRS:
            self.reply(source, dest, 65507, lambda fragments: None)

    def test_fragmentsInReverseOrderAreReassembled(self) -> None:
        for source, dest in PAIRS:
            self.reply(source, dest, 65507, list.reverse)

    def test_fragmentsInAnyOrderAreReassembled(self) -> None:
        for seed in range(5):
            for source, dest in PAIRS:
                self.reply(source, dest, 65507, Random(seed).shuffle)

    def test_aMissingFragmentPreventsReassembly(self) -> None:
        for source, dest in PAIRS:
            fragments = pieces(echo(source, dest, bytes(8000)), 1432)
            self.assertEqual(self.receive(*map(frame, fragments[:2] + fragments[3:])), [])

    def test_fragmentsToAClosedPortGetOneError(self) -> None:
        for source, dest in PAIRS:
            fragments = pieces(udpPacket(source, dest, 1, 9, bytes(4000)), 1432)
            sent = messages(self.receive(*map(frame, fragments)))
            self.assertEqual([message.kind for message in sent], [1 if ":" in source else 3])

    def test_fragmentsToABroadcastAreNotAnswered(self) -> None:
        fragments = pieces(echo(THEIRS, "10.0.0.255", bytes(4000)), 1432)
        self.assertEqual(self.receive(*(frame(piece, b"\xff" * 6) for piece in fragments)), [])
