"""
Tests for L{txtuntap.stack.icmp}: the packets that a host answers, and those that it must not answer.
"""

from __future__ import annotations

from typing import Any

from tests.recorders import DatagramRecorder
from txtuntap import Packet
from txtuntap.ip import IPHeader
from txtuntap.testing import TUN, ethernetFrame, ipPacket, udpPacket
from txtuntap.wire import icmp
from txtuntap.wire.address import LINK_BROADCAST, packAddress

from .link import NOBODY, OTHER, OWN, PEER, LinkTestCase, Message, echo, frame, icmpPacket, messages

THEIRS, OURS = "10.0.0.1", "10.0.0.2"
THEIRS6, OURS6 = "fd00::1", "fd00::2"
PAIRS = ((THEIRS, OURS), (THEIRS6, OURS6))
GROUP = b"\x01\0\x5e\0\0\x01"
FRAGMENTED = {"fragment": 0x2000, "identification": 7}


def fragment6(protocol: int, payload: bytes, source: str = THEIRS6, dest: str = OURS6, offset: int = 0) -> bytes:
    """
    Make a fragment of an IPv6 datagram that is not the last one.

    @param offset: the offset of its payload in octets.
    """
    header = bytes((protocol, 0)) + (offset | 1).to_bytes(2, "big") + b"\0\0\0\x07"
    return ipPacket(source, dest, 44, header + payload)


def udp(source: str, dest: str, payload: bytes = b"payload", **fields: Any) -> bytes:
    """
    Make a packet with a datagram to a closed port.
    """
    return udpPacket(source, dest, 1234, 9, payload, **fields)


class ICMPTestCase(LinkTestCase):
    def setUp(self) -> None:
        self.make()

    def ask(self, packet: bytes, dest: bytes = OWN, source: bytes = PEER) -> list[Message]:
        sent = self.receive(frame(packet, dest, source))
        found = messages(sent)
        self.assertEqual(len(found), len(sent), "something else than ICMP was sent")
        return found


class EchoTests(ICMPTestCase):
    def test_anIPv4EchoRequestIsAnswered(self) -> None:
        self.assertEqual(self.ask(echo(THEIRS, OURS)), [Message(PEER, OURS, THEIRS, 64, 0, 0, 0x12345678, b"payload")])

    def test_anIPv6EchoRequestIsAnswered(self) -> None:
        expected = Message(PEER, OURS6, THEIRS6, 64, 129, 0, 0x12345678, b"payload")
        self.assertEqual(self.ask(echo(THEIRS6, OURS6)), [expected])

    def test_anEchoRequestOfAnySizeIsAnswered(self) -> None:
        for source, dest in PAIRS:
            for size in (0, 1, 56, 57, 1400):
                (sent,) = self.ask(echo(source, dest, b"x" * size))
                self.assertEqual(sent.body, b"x" * size)

    def test_thePaddingOfAFrameIsNotEchoed(self) -> None:
        (sent,) = self.ask(echo(THEIRS, OURS, b"") + bytes(18))
        self.assertEqual(sent.body, b"")

    def test_anEchoRequestWithALowHopLimitIsAnswered(self) -> None:
        for source, dest in PAIRS:
            for hopLimit in (0, 1):
                self.assertEqual(len(self.ask(echo(source, dest, hopLimit=hopLimit))), 1)

    def test_anEchoRequestWithOptionsIsAnswered(self) -> None:
        for options in (b"\x01\x01\x01\0", b"\x07\x07\x04\0\0\0\0\0", b"\x9e\x04ab"):
            self.assertEqual(len(self.ask(echo(THEIRS, OURS, options=options))), 1)

    def test_anEchoRequestWithAPriorityTagIsAnswered(self) -> None:
        sent = messages(self.receive(ethernetFrame(PEER, OWN, 0x0800, echo(THEIRS, OURS), vlan=0)))
        self.assertEqual(len(sent), 1)

    def test_anEchoRequestInABroadcastFrameIsAnswered(self) -> None:
        (sent,) = self.receive(frame(echo(THEIRS, OURS), LINK_BROADCAST))
        self.assertEqual((sent[:6], sent[6:12]), (PEER, OWN))

    def test_anEchoRequestFromAnotherNetworkIsAnswered(self) -> None:
        self.assertEqual(len(self.ask(echo("8.8.8.8", OURS))), 1)

    def test_anAnswerIsSentOnATun(self) -> None:
        self.make(mode=TUN)
        for source, dest in PAIRS:
            (sent,) = messages(self.receive(echo(source, dest)), tap=False)
            self.assertEqual((sent.source, sent.dest, sent.body), (dest, source, b"payload"))

    def test_messagesAreCounted(self) -> None:
        self.ask(echo(THEIRS, OURS))
        self.assertEqual(self.host.icmp.counters, {"inMsgs": 1, "inEchos": 1, "outEchoReps": 1})


class TrafficClassTests(ICMPTestCase):
    """
    The traffic class (over IPv4, the type of service) of answers, and whether routers may fragment them.
    """

    def answer(self, question: bytes) -> Packet:
        (sent,) = self.receive(frame(question))
        return Packet(sent[14:])

    def test_anEchoReplyHasTheTrafficClassOfTheRequest(self) -> None:
        for source, dest in PAIRS:
            for tos in (0, 0x02, 0x5A, 0xFF):
                self.assertEqual(self.answer(echo(source, dest, tos=tos)).trafficClass, tos)

    def test_anIPv4ErrorHasTheServiceOfInternetworkControl(self) -> None:
        for tos, expected in (0, 0xC0), (0xFF, 0xDE), (0xE0, 0xC0), (0x5A, 0xDA):
            self.assertEqual(self.answer(udp(THEIRS, OURS, tos=tos)).trafficClass, expected)

    def test_anIPv6ErrorHasTrafficClassZero(self) -> None:
        self.assertEqual(self.answer(udp(THEIRS6, OURS6, tos=0xFF)).trafficClass, 0)

    def test_routersMayFragmentAnswers(self) -> None:
        for question in echo(THEIRS, OURS), udp(THEIRS, OURS):
            header = IPHeader(bytes(self.answer(question)))
            self.assertEqual((header.dont_fragment, header.fragment_offset, header.more_fragments), (False, 0, False))


class SilenceTests(ICMPTestCase):
    def assertSilent(self, packet: bytes, dest: bytes = OWN, source: bytes = PEER) -> None:
        self.assertEqual(self.receive(frame(packet, dest, source)), [])

    def test_aWrongChecksumIsNotAnswered(self) -> None:
        for source, dest in PAIRS:
            self.assertSilent(echo(source, dest)[:-1] + b"\xff")
            self.assertEqual(self.host.icmp.counters.pop("inErrors"), 1)

    def test_aWrongChecksumIsAcceptedWithoutVerification(self) -> None:
        self.make(verifyChecksum=False)
        for source, dest in PAIRS:
            (answer,) = self.ask(echo(source, dest)[:-1] + b"!")
            self.assertEqual(answer.body, b"payloa!")

    def test_aWrongChecksumOfTheIPHeaderIsDropped(self) -> None:
        packet = echo(THEIRS, OURS)
        self.assertSilent(packet[:8] + b"\x3f" + packet[9:])

    def test_aWrongVersionOrHeaderLengthIsDropped(self) -> None:
        packet = echo(THEIRS, OURS)
        for first in (0x55, 0x44, 0x4F):
            self.assertSilent(bytes((first,)) + packet[1:])

    def test_aTruncatedMessageIsDropped(self) -> None:
        for source, dest in PAIRS:
            for length in range(8):
                self.assertSilent(ipPacket(source, dest, icmp.PROTOCOL[6 if ":" in source else 4], bytes(length)))

    def test_aSourceThatIsNoHostIsDropped(self) -> None:
        for source in ("127.0.0.1", "255.255.255.255", "224.0.0.1", "10.0.0.255", NOBODY, OURS):
            self.assertSilent(echo(source, OURS))

    def test_aSourceThatIsNoHostIsDropped6(self) -> None:
        for source in ("::", "::1", "ff02::1", "::ffff:10.0.0.1", OURS6):
            self.assertSilent(echo(source, OURS6))

    def test_anEchoRequestToAGroupOrBroadcastIsNotAnswered(self) -> None:
        for dest in ("10.0.0.255", "255.255.255.255", "224.0.0.1"):
            self.assertSilent(echo(THEIRS, dest), LINK_BROADCAST)
        for dest in ("ff02::1", "ff02::1:ff00:2", "ff01::1"):
            self.assertSilent(echo(THEIRS6, dest), b"\x33\x33\0\0\0\x01")

    def test_anEchoRequestToAGroupInAUnicastFrameIsNotAnswered(self) -> None:
        self.assertSilent(echo(THEIRS, "224.0.0.1"))
        self.assertSilent(echo(THEIRS6, "ff02::1"))

    def test_anEchoRequestToAnotherAddressIsDropped(self) -> None:
        self.assertSilent(echo(THEIRS, "10.0.0.3"))
        self.assertSilent(echo(THEIRS6, "fd00::3"))

    def test_anEchoRequestToAnotherStationIsDropped(self) -> None:
        self.assertSilent(echo(THEIRS, OURS), OTHER)

    def test_anEchoRequestInAnotherVLANIsDropped(self) -> None:
        self.assertEqual(self.receive(ethernetFrame(PEER, OWN, 0x0800, echo(THEIRS, OURS), vlan=7)), [])

    def test_aFrameFromAGroupIsDropped(self) -> None:
        for source, dest in PAIRS:
            self.assertSilent(echo(source, dest), source=GROUP)
            self.assertSilent(udp(source, dest), source=GROUP)

    def test_aFrameFromTheHostItselfOrTheNullAddressIsDropped(self) -> None:
        for station in (bytes(6), OWN):
            for source, dest in PAIRS:
                self.assertSilent(echo(source, dest), source=station)
                self.assertSilent(udp(source, dest), source=station)

    def test_aSourceRoutedPacketIsDropped(self) -> None:
        self.assertSilent(echo(THEIRS, OURS, options=b"\x83\x07\x04\x0a\0\0\x09\0"))

    def test_aMessageOfAnUnknownTypeIsNotAnswered(self) -> None:
        for kind in (0, 1, 3, 4, 5, 7, 10, 11, 12, 15, 17, 30, 40, 255):
            self.assertSilent(icmpPacket(THEIRS, OURS, kind, 0, 0, bytes(28)))
        for kind in (1, 2, 3, 4, 5, 100, 127, 129, 130, 133, 134, 137, 200, 255):
            self.assertSilent(icmpPacket(THEIRS6, OURS6, kind, 0, 0, bytes(48), hopLimit=255))

    def test_anEchoReplyIsNotAnswered(self) -> None:
        self.assertSilent(icmpPacket(THEIRS, OURS, icmp.ECHO_REPLY, 0, 0, b"payload"))
        self.assertSilent(icmpPacket(THEIRS6, OURS6, icmp.ECHO_REPLY6, 0, 0, b"payload"))

    def test_aFrameWithAnUnknownEtherTypeOrALengthIsDropped(self) -> None:
        for etherType in (0x88B5, 38, 0x05DC):
            self.assertEqual(self.receive(ethernetFrame(PEER, OWN, etherType, echo(THEIRS, OURS))), [])


class TimestampTests(ICMPTestCase):
    def askTimestamp(self, body: bytes, dest: str = OURS, code: int = 0) -> list[Message]:
        return self.ask(icmpPacket(THEIRS, dest, icmp.TIMESTAMP_REQUEST, code, 0x12345678, body))

    def test_aTimestampRequestIsAnswered(self) -> None:
        self.clock.rightNow = 24 * 60 * 60 + 1.5
        (sent,) = self.askTimestamp(b"\0\0\0\x07" + bytes(8))
        now = (1500).to_bytes(4, "big")
        self.assertEqual((sent.kind, sent.code, sent.rest), (icmp.TIMESTAMP_REPLY, 0, 0x12345678))
        self.assertEqual(sent.body, b"\0\0\0\x07" + now + now)

    def test_aTruncatedMessageIsDropped(self) -> None:
        for length in range(12):
            self.assertEqual(self.askTimestamp(bytes(length)), [])

    def test_aTimestampReplyHasThreeTimestamps(self) -> None:
        (sent,) = self.askTimestamp(bytes(100))
        self.assertEqual(len(sent.body), 12)

    def test_aTimestampRequestToABroadcastIsNotAnswered(self) -> None:
        self.assertEqual(self.askTimestamp(bytes(12), "10.0.0.255"), [])

    def test_ICMPv6HasNoTimestamps(self) -> None:
        self.assertEqual(self.ask(icmpPacket(THEIRS6, OURS6, 13, 0, 0, bytes(12))), [])


class ErrorTests(ICMPTestCase):
    def test_aClosedPortIsReportedOverIPv4(self) -> None:
        packet = udp(THEIRS, OURS)
        self.assertEqual(self.ask(packet), [Message(PEER, OURS, THEIRS, 64, 3, 3, 0, packet)])

    def test_aClosedPortIsReportedOverIPv6(self) -> None:
        packet = udp(THEIRS6, OURS6)
        self.assertEqual(self.ask(packet), [Message(PEER, OURS6, THEIRS6, 64, 1, 4, 0, packet)])

    def test_anUnknownProtocolIsReported(self) -> None:
        packet = ipPacket(THEIRS, OURS, 253, b"payload")
        self.assertEqual(self.ask(packet), [Message(PEER, OURS, THEIRS, 64, 3, 2, 0, packet)])

    def test_anUnknownNextHeaderIsReported(self) -> None:
        packet = ipPacket(THEIRS6, OURS6, 253, b"payload")
        self.assertEqual(self.ask(packet), [Message(PEER, OURS6, THEIRS6, 64, 4, 1, 6, packet)])

    def test_anUnknownNextHeaderBehindOptionsIsReported(self) -> None:
        packet = ipPacket(THEIRS6, OURS6, 60, bytes((253, 0, 1, 4, 0, 0, 0, 0)) + b"payload")
        (sent,) = self.ask(packet)
        self.assertEqual((sent.kind, sent.code, sent.rest), (4, 1, 40))

    def test_ICMPv6OverIPv4IsAnUnknownProtocol(self) -> None:
        packet = ipPacket(THEIRS, OURS, 58, icmp.pack(icmp.ECHO_REQUEST, 0, 1, b"payload"))
        self.assertEqual(self.ask(packet), [Message(PEER, OURS, THEIRS, 64, 3, 2, 0, packet)])
        self.assertEqual(self.host.ip.counters["inUnknownProtos"], 1)

    def test_ICMPAndIGMPOverIPv6AreUnknownNextHeaders(self) -> None:
        for protocol in (1, 2):
            packet = ipPacket(THEIRS6, OURS6, protocol, b"\x11\0\xee\xff\0\0\0\0")
            self.assertEqual(self.ask(packet), [Message(PEER, OURS6, THEIRS6, 64, 4, 1, 6, packet)])

    def test_ICMPOverIPv6BehindOptionsIsAnUnknownNextHeader(self) -> None:
        message = icmp.pack(icmp.ECHO_REQUEST6, 0, 1, b"payload", packAddress(THEIRS6), packAddress(OURS6))
        packet = ipPacket(THEIRS6, OURS6, 60, bytes((1, 0, 1, 4, 0, 0, 0, 0)) + message)
        self.assertEqual([(sent.kind, sent.code, sent.rest) for sent in self.ask(packet)], [(4, 1, 40)])

    def test_noNextHeaderIsNoError(self) -> None:
        self.assertEqual(self.ask(ipPacket(THEIRS6, OURS6, 59, b"")), [])
        self.assertEqual(self.ask(ipPacket(THEIRS6, OURS6, 60, bytes((59, 0, 1, 4, 0, 0, 0, 0)))), [])

    def test_aReassemblyTimeoutIsReportedOverIPv4(self) -> None:
        packet = ipPacket(THEIRS, OURS, 253, b"12345678", **FRAGMENTED)
        self.assertEqual(self.ask(packet), [])
        self.assertEqual(messages(self.wait(29.5)), [])
        self.assertEqual(messages(self.wait(1)), [Message(PEER, OURS, THEIRS, 64, 11, 1, 0, packet)])

    def test_aReassemblyTimeoutIsReportedOverIPv6(self) -> None:
        packet = fragment6(253, b"12345678")
        self.assertEqual(self.ask(packet), [])
        self.assertEqual(messages(self.wait(59.5)), [])
        self.assertEqual(messages(self.wait(1)), [Message(PEER, OURS6, THEIRS6, 64, 3, 1, 0, packet)])

    def test_aReassemblyTimeoutWithoutTheFirstFragmentIsNotReported(self) -> None:
        self.receive(frame(ipPacket(THEIRS, OURS, 253, b"12345678", fragment=0x2001, identification=7)))
        self.receive(frame(fragment6(253, b"12345678", offset=8)))
        self.assertEqual(self.wait(70), [])

    def test_aFragmentWhoseLengthIsNoMultipleOfEightIsReported6(self) -> None:
        for packet in (fragment6(253, b"1234567"), fragment6(253, b"1234567", offset=8)):
            self.assertEqual(self.ask(packet), [Message(PEER, OURS6, THEIRS6, 64, 4, 0, 4, packet)])

    def test_aFragmentPastTheLongestDatagramIsReported6(self) -> None:
        packet = fragment6(253, b"12345678", offset=65528)
        self.assertEqual(self.ask(packet), [Message(PEER, OURS6, THEIRS6, 64, 4, 0, 42, packet)])

    def test_aFragmentBehindOptionsPastTheLongestDatagramIsReported6(self) -> None:
        options = bytes((44, 0, 1, 4, 0, 0, 0, 0))
        packet = ipPacket(THEIRS6, OURS6, 60, options + fragment6(253, b"12345678", offset=65528)[40:])
        (sent,) = self.ask(packet)
        self.assertEqual((sent.kind, sent.code, sent.rest), (4, 0, 50))

    def test_aFirstFragmentWithoutAllHeadersIsReported6(self) -> None:
        for packet in (
            fragment6(6, bytes(16)),
            fragment6(60, bytes((17, 1)) + bytes(6)),
            fragment6(60, bytes((6, 0, 1, 4, 0, 0, 0, 0)) + bytes(8)),
        ):
            self.assertEqual(self.ask(packet), [Message(PEER, OURS6, THEIRS6, 64, 4, 3, 0, packet)])

    def test_aWrongFragmentIsNotReportedOverIPv4(self) -> None:
        for word, protocol, size in ((0x2000, 253, 7), (0x1FFF, 253, 16), (0x2000, 6, 16)):
            packet = ipPacket(THEIRS, OURS, protocol, bytes(size), fragment=word, identification=7)
            self.assertEqual(self.ask(packet), [])

    def test_anErrorIsSentToTheStationOfThePacket(self) -> None:
        (sent,) = self.ask(udp("8.8.8.8", OURS), source=OTHER)
        self.assertEqual((sent.station, sent.dest), (OTHER, "8.8.8.8"))

    def test_anAnswerIsSentOnATun(self) -> None:
        self.make(mode=TUN)
        for source, dest in PAIRS:
            (sent,) = messages(self.receive(udp(source, dest)), tap=False)
            self.assertEqual(sent.body, udp(source, dest))

    def test_messagesAreCounted(self) -> None:
        self.ask(udp(THEIRS, OURS))
        self.assertEqual(self.host.icmp.counters, {"outErrors": 1})


class NoErrorTests(ICMPTestCase):
    """
    Packets about which no error may be sent (RFC 1122 section 3.2.2, RFC 4443 section 2.4e).
    """

    def assertSilent(self, packet: bytes, dest: bytes = OWN) -> None:
        self.assertEqual(self.receive(frame(packet, dest)), [])

    def test_noErrorIsSentAboutAPacketToAGroupOrBroadcast(self) -> None:
        for dest in ("10.0.0.255", "255.255.255.255", "224.0.0.1"):
            self.assertSilent(udp(THEIRS, dest), LINK_BROADCAST)
            self.assertSilent(ipPacket(THEIRS, dest, 253, b""), LINK_BROADCAST)
        for dest in ("ff02::1", "ff02::1:ff00:2"):
            self.assertSilent(udp(THEIRS6, dest), b"\x33\x33\0\0\0\x01")
            self.assertSilent(ipPacket(THEIRS6, dest, 253, b""), b"\x33\x33\0\0\0\x01")

    def test_noErrorIsSentAboutAPacketInAGroupFrame(self) -> None:
        for source, dest in PAIRS:
            for station in (LINK_BROADCAST, GROUP):
                self.assertSilent(udp(source, dest), station)
                self.assertSilent(ipPacket(source, dest, 253, b""), station)

    def test_noErrorIsSentToTheUnspecifiedAddress(self) -> None:
        self.assertSilent(udp(NOBODY, "255.255.255.255"), LINK_BROADCAST)
        self.assertSilent(udp("::", OURS6))
        self.assertSilent(ipPacket("::", OURS6, 253, b""))

    def test_noErrorIsSentToAnAddressOfNoHost(self) -> None:
        for source in ("127.0.0.1", "224.0.0.1", "10.0.0.255", OURS):
            self.assertSilent(udp(source, OURS))
        for source in ("::1", "ff02::1", OURS6):
            self.assertSilent(udp(source, OURS6))

    def test_aWrongChecksumIsNotAnswered(self) -> None:
        for source, dest in PAIRS:
            self.assertSilent(udp(source, dest)[:-1] + b"\xff")

    def test_noErrorIsSentAboutAWrongUDPLength(self) -> None:
        for length in (0, 7, 16):
            header = b"\x04\xd2\0\x09" + length.to_bytes(2, "big") + b"\0\0"
            self.assertSilent(ipPacket(THEIRS, OURS, 17, header + b"payload"))

    def test_noErrorIsSentAboutATruncatedUDPHeader(self) -> None:
        for source, dest in PAIRS:
            for length in range(8):
                self.assertSilent(ipPacket(source, dest, 17, bytes(length)))

    def test_noErrorIsSentAboutALaterFragmentWithWrongOptions(self) -> None:
        self.assertSilent(ipPacket(THEIRS, OURS, 253, b"12345678", options=b"\x07\0\0\0", fragment=0x2001))
        self.assertEqual(self.host.ip.counters["inOptErrors"], 1)

    def test_anErrorIsSentAboutAFirstFragmentWithWrongOptions(self) -> None:
        packet = ipPacket(THEIRS, OURS, 253, b"12345678", options=b"\x07\0\0\0", **FRAGMENTED)
        self.assertEqual(len(self.receive(frame(packet))), 1)

    def test_noErrorIsSentAboutAnErrorThatWasNotReassembled(self) -> None:
        for kind in icmp.ERRORS:
            self.assertSilent(ipPacket(THEIRS, OURS, 1, bytes((kind, 0)) + bytes(30), **FRAGMENTED))
            self.assertEqual(self.wait(31), [])

    def test_noErrorIsSentAboutAnErrorThatWasNotReassembled6(self) -> None:
        for kind in (1, 2, 3, 4, 127):
            self.assertSilent(fragment6(58, bytes((kind, 0)) + bytes(30)))
            self.assertEqual(self.wait(61), [])

    def test_noErrorIsSentAboutAnErrorBehindOptionsThatWasNotReassembled6(self) -> None:
        self.assertSilent(fragment6(60, bytes((58, 0, 1, 4, 0, 0, 0, 0)) + bytes((1, 0)) + bytes(30)))
        self.assertEqual(self.wait(61), [])

    def test_noErrorIsSentAboutALaterFragmentThatMayBeAnError6(self) -> None:
        for protocol in (58, 60):
            self.assertSilent(fragment6(protocol, b"1234567", offset=8))

    def test_noErrorIsSentAboutAWrongFirstFragmentOfAnError6(self) -> None:
        self.assertSilent(fragment6(58, bytes((1, 0)) + bytes(29)))
        self.assertSilent(fragment6(60, bytes((58, 0, 1, 4, 0, 0, 0, 0)) + bytes((1, 0)) + bytes(29)))

    def test_anErrorIsSentAboutAnEchoThatWasNotReassembled(self) -> None:
        self.receive(frame(ipPacket(THEIRS, OURS, 1, bytes((8, 0)) + bytes(30), **FRAGMENTED)))
        self.receive(frame(fragment6(58, bytes((128, 0)) + bytes(30))))
        self.assertEqual([sent.kind for sent in messages(self.wait(61))], [11, 3])

    def test_noErrorIsSentAboutADatagramToAnOpenPort(self) -> None:
        self.host.listenUDP(9, DatagramRecorder())
        for source, dest in PAIRS:
            self.assertSilent(udp(source, dest))

    def test_aDatagramWithoutAChecksumIsDelivered(self) -> None:
        proto = DatagramRecorder()
        self.host.listenUDP(9, proto)
        packet = udp(THEIRS, OURS)
        self.assertSilent(packet[:26] + b"\0\0" + packet[28:])
        self.assertEqual(proto.received, [(b"payload", (THEIRS, 1234))])


class SizeTests(ICMPTestCase):
    def test_aShortPacketIsQuotedWhole(self) -> None:
        for size in (0, 1, 500):
            packet = udp(THEIRS, OURS, bytes(size))
            self.assertEqual(self.ask(packet)[0].body, packet)

    def test_theQuoteHasNoPadding(self) -> None:
        packet = udp(THEIRS, OURS, b"")
        self.assertEqual(self.ask(packet + bytes(18))[0].body, packet)

    def test_anIPv4ErrorHasAtMost576Octets(self) -> None:
        packet = udp(THEIRS, OURS, bytes(1400))
        self.assertEqual(self.ask(packet)[0].body, packet[:548])

    def test_anIPv6ErrorHasAtMost1280Octets(self) -> None:
        packet = udp(THEIRS6, OURS6, bytes(1400))
        self.assertEqual(self.ask(packet)[0].body, packet[:1232])

    def test_anAnswerExceedsThePacketByItsHeadersAtMost(self) -> None:
        self.wait(100)
        for (source, dest), more in zip(PAIRS, (28, 48), strict=True):
            for packet in (
                udp(source, dest, b""),
                udp(source, dest),
                ipPacket(source, dest, 253, b""),
                echo(source, dest, b""),
                echo(source, dest),
            ):
                (sent,) = self.receive(frame(packet))
                self.assertLessEqual(len(sent) - 14, len(packet) + more)


class LimitTests(ICMPTestCase):
    def count(self, times: int, *packets: bytes) -> int:
        return sum(len(self.ask(packet)) for packet in packets * times)

    def test_aBurstOfErrorsIsSix(self) -> None:
        for source, dest in PAIRS:
            self.assertEqual(self.count(20, udp(source, dest)), 6)
        self.assertEqual(self.host.icmp.counters["outLimited"], 28)

    def test_oneErrorASecondIsSent(self) -> None:
        self.count(20, udp(THEIRS, OURS))
        for _ in range(5):
            self.wait(1)
            self.assertEqual(self.count(20, udp(THEIRS, OURS)), 1)

    def test_allErrorsShareTheLimit(self) -> None:
        self.assertEqual(self.count(10, udp(THEIRS, OURS), ipPacket(THEIRS, OURS, 253, b"")), 6)

    def test_errorsAboutFragmentsAreLimited(self) -> None:
        self.assertEqual(sum(len(self.ask(fragment6(253, b"1234567"))) for _ in range(20)), 6)

    def test_anotherDestinationHasALimitOfItsOwn(self) -> None:
        self.count(20, udp(THEIRS, OURS))
        self.assertEqual(self.count(1, udp("10.0.0.9", OURS)), 1)

    def test_aBurstOfErrorsToAllDestinationsIsFifty(self) -> None:
        told = self.count(1, *(udp(f"10.0.1.{number}", OURS) for number in range(1, 200)))
        self.assertTrue(48 <= told <= 50, told)

    def test_echoesAreNotLimited(self) -> None:
        self.assertEqual(self.count(1000, echo(THEIRS, OURS)), 1000)

    def test_aPacketWithoutAnErrorDoesNotCount(self) -> None:
        self.receive(*[frame(udp(THEIRS, "10.0.0.255"), LINK_BROADCAST)] * 20)
        self.assertEqual(self.count(20, udp(THEIRS, OURS)), 6)


class LayerTests(ICMPTestCase):
    def test_ICMPTakesNoLayerAboveIt(self) -> None:
        self.assertFalse(hasattr(self.host.icmp, "addProto"))

    def test_theInterfaceOfTwistedPairIsRefused(self) -> None:
        self.assertRaises(TypeError, self.host.icmp.datagramReceived, b"", THEIRS, OURS)
