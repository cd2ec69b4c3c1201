"""
Tests for L{txtuntap.switch} and L{txtuntap.switch.port} without VLANs. L{tests.switch.test_vlans} tests VLANs.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.network.test_link import End, WirePackets
from tests.superpackets import superframe, superpacket
from tests.switch.switching import ALL, GROUP, A, B, C, D, SwitchTestCase, frame, tagged
from txtuntap import EthernetProtocol, Packet
from txtuntap.device import TAP
from txtuntap.interfaces import IEthernetProtocol, IPacketReceiver
from txtuntap.layer.relay import EVERYTHING
from txtuntap.network.clock import SimulationClock
from txtuntap.network.link import Link, LinkEnd
from txtuntap.stack.host import Host
from txtuntap.switch import Switch
from txtuntap.switch.stations import MAX_STATIONS
from txtuntap.switch.switch import AGEING_TIME
from txtuntap.tunnel.framing import ICarrier
from txtuntap.tunnel.tunnel import Tunnel
from txtuntap.wire import ipv4, ipv6
from txtuntap.wire.address import linkAddressText
from txtuntap.wire.offload import MAX_TAGS, NEEDS_CHECKSUM, TCP4, UDP, Offload


class LearningTests(SwitchTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.ports = self.plugged({}, {}, {})

    def test_aPortIsAnEthernetProtocol(self) -> None:
        for interface in IEthernetProtocol, IPacketReceiver:
            verifyObject(interface, self.ports[0])

    def test_aFrameToAnUnknownStationIsFlooded(self) -> None:
        self.sendTo([1, 2], 0, frame(A, B))
        self.assertEqual(self.ports[0].counters, {"inFrames": 1, "flooded": 1})
        self.assertEqual(self.ports[1].counters, {"outFrames": 1})

    def test_aFrameToAKnownStationIsSentToItsPort(self) -> None:
        self.send(1, frame(B, ALL))
        self.sendTo([1], 0, frame(A, B))
        self.sendTo([0], 1, frame(B, A))

    def test_aFrameToAGroupIsFlooded(self) -> None:
        for dest in ALL, GROUP:
            self.sendTo([0, 2], 1, frame(B, dest))
        self.assertEqual(self.ports[1].counters, {"inFrames": 2})

    def test_aFrameIsNotSentBackToItsPort(self) -> None:
        self.send(0, frame(A, ALL))
        self.sendTo([], 0, frame(C, A))
        self.assertEqual(self.ports[0].counters["inLocal"], 1)

    def test_stationsAreListedWithTheirPortAndAge(self) -> None:
        self.send(0, frame(A, ALL))
        self.clock.advance(3)
        self.send(1, frame(B, ALL))
        found = [(each.address, each.vlan, each.port.name, each.age) for each in self.switch.stations]
        self.assertEqual(found, [("02:00:00:00:00:01", 1, "port1", 3), ("02:00:00:00:00:02", 1, "port2", 0)])

    def test_aStationThatIsNotHeardIsForgotten(self) -> None:
        self.send(1, frame(B, ALL))
        self.clock.advance(AGEING_TIME)
        self.sendTo([1], 0, frame(A, B))
        self.clock.advance(1)
        self.sendTo([1, 2], 0, frame(A, B))
        self.assertEqual([each.port.name for each in self.switch.stations], ["port1"])

    def test_aStationThatIsHeardStaysKnown(self) -> None:
        for _ in range(5):
            self.send(1, frame(B, ALL))
            self.clock.advance(AGEING_TIME - 1)
        self.sendTo([1], 0, frame(A, B))

    def test_aStationIsForgottenWhenTheClockIsSetBack(self) -> None:
        self.clock.advance(1000)
        self.send(1, frame(B, ALL))
        self.clock._now = 500.0
        self.sendTo([1, 2], 0, frame(A, B))
        self.assertEqual(len(self.switch.stations), 1)

    def test_aStationThatMovesIsFound(self) -> None:
        self.send(1, frame(B, ALL))
        self.send(2, frame(B, ALL))
        self.sendTo([2], 0, frame(A, B))
        self.assertEqual(self.ports[2].counters["stationMoves"], 1)
        self.assertEqual((len(self.ports[1].entries), len(self.ports[2].entries)), (0, 1))

    def test_stationsOfAPortThatStopsAreForgotten(self) -> None:
        self.send(1, frame(B, ALL))
        self.ends[1].transport.peer.doStop()
        self.assertEqual(self.switch.stations, [])
        self.sendTo([2], 0, frame(A, B))

    def test_aRemovedPortDropsItsFrames(self) -> None:
        self.send(1, frame(B, ALL))
        self.switch.removePort(self.ports[1])
        self.assertEqual((self.switch.stations, list(self.switch.ports)), ([], ["port1", "port3"]))
        self.sendTo([2], 0, frame(A, B))
        self.sendTo([], 1, frame(B, A))
        self.assertEqual(self.ports[1].counters["inDiscards"], 1)
        self.assertRaises(ValueError, self.switch.removePort, self.ports[1])

    def test_portsCanBeRemovedWhileAFrameIsFlooded(self) -> None:
        transport = self.ends[1].transport.peer

        def removeTwo(buffers: Any, offload: Any = None) -> None:
            for port in self.ports[1:3]:
                self.switch.removePort(port)

        fourth = self.plug()
        transport.writePacket = removeTwo
        self.sendTo([3], 0, frame(A, ALL))
        self.assertEqual((self.ports[2].counters, fourth.counters), ({"outDiscards": 1}, {"outFrames": 1}))

    def test_countersAreListedByPort(self) -> None:
        self.send(0, frame(A, ALL))
        self.assertEqual(
            self.switch.counters, {"port1": {"inFrames": 1}, "port2": {"outFrames": 1}, "port3": {"outFrames": 1}}
        )

    def test_aPortHasTheInterfaceOfTwistedPair(self) -> None:
        self.ports[0].datagramReceived(frame(A, ALL))
        self.ports[0].datagramReceived(frame(A, ALL), partial=1)
        self.assertEqual(self.received(), {1: [frame(A, ALL)], 2: [frame(A, ALL)]})
        self.assertEqual(self.ports[0].counters["inErrors"], 1)

    def test_twoHostsReachEachOther(self) -> None:
        hosts = [Host([f"10.0.0.{number}/24", f"fd00::{number}/64"], self.clock) for number in (1, 2)]
        for host in hosts:
            link = Link(host.ethernet, self.switch.addPort(), self.clock)
            link.start()
            self.addCleanup(link.stop)
        for address in "10.0.0.2", "fd00::2":
            pinged = hosts[0].ping(address, size=4000)
            self.clock.advance(0)
            self.assertEqual(self.successResultOf(pinged).source, address)


@implementer(ICarrier)
class Pipe:
    """
    A carrier in memory, which delivers packets to another tunnel.
    """

    offloads = EVERYTHING

    def __init__(self, clock: SimulationClock, peer: Tunnel) -> None:
        self._clock = clock
        self._peer = peer

    def send(self, packet: bytes | memoryview, offload: Offload | None = None) -> bool:
        self._clock.callLater(0.01, self._peer.carried, bytes(packet), offload)
        return True

    def flush(self) -> None:
        """
        Do nothing: no packet is queued.
        """

    def disconnect(self, why: str) -> None:
        """
        Do nothing: the carrier has no connection.
        """


class TunnelTests(SwitchTestCase):
    def test_aTunnelJoinsTwoSwitches(self) -> None:
        tunnels = Tunnel(TAP), Tunnel(TAP)
        switches = self.switch, Switch(self.clock)
        hosts = [Host([f"10.0.0.{number}/24"], self.clock) for number in (1, 2)]
        for host, switch, tunnel, other in zip(hosts, switches, tunnels, reversed(tunnels), strict=True):
            tunnel.carrierUp(Pipe(self.clock, other))
            for proto, port in (host.ethernet, switch.addPort(vlan=10)), (tunnel, switch.addPort("far", trunk=[10])):
                link = Link(proto, port, self.clock)
                link.start()
                self.addCleanup(link.stop)
        pinged = hosts[0].ping("10.0.0.2", size=4000)
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(pinged).source, "10.0.0.2")
        known = {each.address: each.port.name for each in self.switch.stations}
        self.assertEqual(known[hosts[1].linkAddress.hex(":")], "far")
        self.assertGreater(tunnels[0].counters["inPackets"], 3)


class BoundTests(SwitchTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.ports = self.plugged({}, {}, {})

    def flood(self, number: int, count: int, first: int = 1000) -> None:
        """
        Send broadcast frames from C{count} stations, all from the end with a number.

        @param first: the number of the first station.
        """
        for station in range(first, first + count):
            self.ends[number].transport.writePacket([frame(b"\x06\0" + station.to_bytes(4, "big"), ALL)])
            if not station % 500:
                self.clock.advance(0)
        self.received()

    def test_aFloodOfStationsDisplacesNoKnownStation(self) -> None:
        self.send(0, frame(A, ALL))
        self.send(1, frame(B, ALL))
        self.flood(1, MAX_STATIONS + 200)
        self.assertEqual(len(self.ports[1].entries), MAX_STATIONS)
        self.assertEqual(len(self.switch.stations), MAX_STATIONS + 1)
        self.assertEqual(self.ports[1].counters["learnedEntryDiscards"], 201)
        self.sendTo([0], 2, frame(C, A))
        self.sendTo([1], 2, frame(C, B))

    def test_aFrameToAStationThatWasNotLearnedIsFlooded(self) -> None:
        self.flood(1, MAX_STATIONS)
        self.sendTo([0, 2], 1, frame(D, ALL))
        self.sendTo([0, 1], 2, frame(C, D))

    def test_oldStationsAreForgottenToMakeRoom(self) -> None:
        self.flood(1, MAX_STATIONS)
        self.clock.advance(AGEING_TIME + 1)
        self.send(1, frame(B, ALL))
        self.assertEqual(len(self.ports[1].entries), 1)
        self.sendTo([1], 0, frame(A, B))

    def test_aStationHeardOnAFullPortStaysOnItsOldPort(self) -> None:
        self.flood(1, MAX_STATIONS)
        self.send(0, frame(A, ALL))
        self.sendTo([0, 2], 1, frame(A, ALL))
        self.sendTo([0], 2, frame(C, A))
        self.assertEqual(
            [each.address for each in self.switch.stations if each.port.name == "port1"], [linkAddressText(A)]
        )
        self.assertEqual(self.ports[1].counters["stationMoves"], 0)
        self.assertEqual(self.ports[1].counters["learnedEntryDiscards"], 1)

    def test_aFrameOnAnotherPortDoesNotRefreshAStation(self) -> None:
        self.flood(1, MAX_STATIONS)
        self.send(0, frame(A, ALL))
        self.clock.advance(AGEING_TIME)
        self.flood(1, MAX_STATIONS)
        self.send(1, frame(A, ALL))
        self.clock.advance(1)
        self.sendTo([0, 1], 2, frame(C, A))

    def test_aStationMovesToAPortThatHasRoomAgain(self) -> None:
        self.flood(1, MAX_STATIONS)
        self.send(0, frame(A, ALL))
        self.clock.advance(AGEING_TIME)
        self.send(0, frame(A, ALL))
        self.clock.advance(1)
        self.send(1, frame(A, ALL))
        self.sendTo([1], 2, frame(C, A))
        self.assertEqual(self.ports[1].counters["stationMoves"], 1)


class MalformedTests(SwitchTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.ports = self.plugged({}, {"trunk": [10, 20], "vlan": 1})

    def dropped(self, name: str, data: bytes, number: int = 0, offload: Offload | None = None) -> None:
        """
        Check that a frame is dropped and counted, and that no station is learned from it.

        @param name: the name of the counter.
        @param number: the end that sends the frame.
        """
        before = Counter(self.ports[number].counters)
        self.assertEqual(self.send(number, data, offload), {})
        self.assertEqual(Counter(self.ports[number].counters) - before, {name: 1, "inFrames": 1}, data)
        self.assertEqual(self.switch.stations, [])

    def test_aFrameShorterThanItsHeaderIsDropped(self) -> None:
        whole = frame(A, ALL, b"")
        for length in range(14):
            self.dropped("inErrors", whole[:length])
        for length in range(14, 18):
            self.dropped("inErrors", tagged(whole, 10)[:length], 1)

    def test_aFrameWithoutAPayloadIsForwarded(self) -> None:
        self.sendTo([1], 0, frame(A, ALL, b""))

    def test_aFrameFromAGroupOrTheNullAddressIsDropped(self) -> None:
        for source in ALL, GROUP, bytes(6), b"\x01" + bytes(5):
            self.dropped("inSourceErrors", frame(source, B))

    def test_aFrameToAReservedGroupIsDropped(self) -> None:
        for last in range(16):
            self.dropped("inReserved", frame(A, bytes.fromhex("0180c20000") + bytes((last,))))
        self.sendTo([1], 0, frame(A, bytes.fromhex("0180c2000010")))

    def test_aTruncatedFrameIsDropped(self) -> None:
        packet = Packet(frame(A, ALL), partial=True)
        self.ports[0].packetReceived(packet)
        self.assertEqual((self.received(), self.ports[0].counters), ({}, {"inFrames": 1, "inErrors": 1}))

    def test_aFrameWithAWrongOffloadIsDropped(self) -> None:
        data, good = superframe(bytes(300), 100)
        for offload, name in (
            (Offload(NEEDS_CHECKSUM, 99, 42, 100, 34, 6), "inUnknownOffloads"),
            (Offload(NEEDS_CHECKSUM, UDP, 42, 0, 34, 6), "inOffloadErrors"),
            (Offload(NEEDS_CHECKSUM, TCP4, 42, 100, 34, 6), "inOffloadErrors"),
            (Offload(0, UDP, 42, 100, 34, 6), "inOffloadErrors"),
            (Offload(NEEDS_CHECKSUM, 0, 0, 0, 34, 60000), "inOffloadErrors"),
        ):
            self.dropped(name, data, offload=offload)
        self.assertEqual(self.send(0, data, good), {1: [data]})

    def test_aWrongOffloadIsFoundBeforeAFrameIsFinished(self) -> None:
        self.plug(WirePackets())
        self.assertEqual(self.send(0, frame(A, ALL), Offload(NEEDS_CHECKSUM, 0, 0, 0, 14, 5)), {1: [frame(A, ALL)]})
        self.assertEqual(self.switch.counters["port3"], {"inOffloadErrors": 1})

    def test_anOpenChecksumInTheLinkHeaderIsDropped(self) -> None:
        for start in range(14):
            self.dropped("inOffloadErrors", tagged(frame(A, ALL), 10), 1, Offload(NEEDS_CHECKSUM, 0, 0, 0, start, 6))

    def test_aHeaderLengthOutOfRangeIsClamped(self) -> None:
        self.plug(vlan=10)
        self.plug(trunk=[10])
        for length, control in ((0xFFFF, None), (2, 10)):
            data = frame(A, ALL, bytes(50), control)
            offload = Offload(NEEDS_CHECKSUM, 0, length, 0, 30, 6)
            self.ends[3 if control else 2].transport.writePacket([data], offload)
            self.clock.advance(0)
            (packet,) = self.ends[2 if control else 3].packets
            self.assertEqual(
                packet.offload, Offload(NEEDS_CHECKSUM, 0, 0 if control else length, 0, 26 if control else 34, 6)
            )
            self.received()

    @given(
        data=st.binary(max_size=80)
        | st.builds(
            lambda start, tags, rest: start + bytes(6) + b"".join(tags) + rest,
            st.sampled_from([A, ALL, GROUP]),
            st.lists(st.sampled_from([b"\x81\0\0\x0a", b"\x81\0\0\x14", b"\x88\xa8\0\1"]), max_size=3),
            st.binary(max_size=80),
        ).map(lambda made: made[:6] + A + made[12:]),
        number=st.integers(0, 1),
        offload=st.none()
        | st.builds(
            Offload,
            *[st.integers(0, 255)] * 2,
            *[st.integers(0, 100) | st.integers(0xFFF0, 0xFFFF)] * 4,
        ),
    )
    def test_noFrameRaisesAnException(self, data: bytes, number: int, offload: Offload | None) -> None:
        switch = Switch(self.clock)
        ends = End(), WirePackets(), End()
        options: tuple[Any, ...] = {"trunk": [1, 10, 20]}, {}, {"vlan": 1, "trunk": [10, 20]}
        links = [Link(end, switch.addPort(**each), self.clock) for end, each in zip(ends, options, strict=True)]
        for link in links:
            link.start()
        ends[number].transport.writePacket([data], offload)
        self.clock.advance(0)
        self.assertEqual(ends[number].packets, [])
        self.assertEqual(switch.counters[f"port{number + 1}"]["inFrames"], 1)
        for link in links:
            self.assertEqual(link.ends[1].counters["protocolFailures"], 0)
            link.stop()


class MTUTests(SwitchTestCase):
    def test_aFrameAboveTheMTUIsCountedByThePortItWouldLeave(self) -> None:
        _, small = self.plugged({"mtu": 9000}, {"mtu": 1500})
        self.plug(mtu=9000)
        self.sendTo([1, 2], 0, frame(A, ALL, bytes(1500)))
        self.sendTo([2], 0, frame(A, ALL, bytes(1501)))
        self.assertEqual(small.counters, {"outFrames": 1, "mtuExceededDiscards": 1})

    def test_aTagDoesNotCountForTheMTU(self) -> None:
        self.plugged({"mtu": 9000}, {"mtu": 1500, "trunk": [1]})
        data = frame(A, ALL, bytes(1500))
        self.assertEqual(self.send(0, data), {1: [tagged(data, 1)]})
        self.sendTo([], 0, frame(A, ALL, bytes(1501)))

    def test_tagsBeyondTheSearchedOnesCountForTheMTU(self) -> None:
        self.plugged({"mtu": 65000}, {"mtu": 1500})
        tags = (b"\x88\xa8\0\1" * 5000)[: MAX_TAGS * 4]
        self.sendTo([1], 0, ALL + A + tags + b"\x88\xb5" + bytes(1500))
        self.sendTo([], 0, ALL + A + tags + b"\x88\xa8\0\1" * 1000 + b"\x88\xb5" + bytes(1500))

    def test_theSegmentsOfASuperpacketCountForTheMTU(self) -> None:
        _, small = self.plugged({"mtu": 1500}, {"mtu": 500})
        for payload, whole in (500 - 28, True), (500 - 27, False):
            data, offload = superframe(bytes(2000), payload)
            self.assertEqual(self.send(0, data, offload), {1: [data]} if whole else {})
        self.assertEqual(small.counters, {"outFrames": 1, "mtuExceededDiscards": 1})


class IsolationTests(SwitchTestCase):
    def test_noFrameIsForwardedBetweenIsolatedPorts(self) -> None:
        first, *_ = self.plugged({"isolated": True}, {"isolated": True}, {})
        self.sendTo([2], 0, frame(A, ALL))
        self.sendTo([2], 1, frame(B, D))
        self.sendTo([], 0, frame(A, B))
        self.assertEqual(first.counters["inIsolated"], 1)
        self.sendTo([0], 2, frame(C, A))
        self.sendTo([0, 1], 2, frame(C, ALL))

    def test_isolationCanBeChangedWhileThePortRuns(self) -> None:
        first, _ = self.plugged({"isolated": True}, {"isolated": True})
        first.isolated = False
        self.sendTo([1], 0, frame(A, ALL))


class StormTests(SwitchTestCase):
    def test_eachKindOfFloodedFrameHasARateLimit(self) -> None:
        port, _ = self.plugged({"broadcasts": 2, "multicasts": 3, "unknowns": 4}, {})
        for dest, name, count in (
            (ALL, "stormBroadcasts", 2),
            (GROUP, "stormMulticasts", 3),
            (D, "stormUnknowns", 4),
        ):
            forwarded = sum(1 in self.send(0, frame(A, dest)) for _ in range(10))
            self.assertEqual((forwarded, port.counters[name]), (count, 10 - count))
            self.clock.advance(1)
            self.sendTo([1], 0, frame(A, dest))

    def test_framesToAKnownStationHaveNoRateLimit(self) -> None:
        self.plugged({"unknowns": 0, "broadcasts": 0}, {})
        self.send(1, frame(B, ALL))
        for _ in range(10):
            self.sendTo([1], 0, frame(A, B))
        self.sendTo([], 0, frame(A, ALL))

    def test_aSuperpacketCountsByItsSegments(self) -> None:
        self.plugged({"unknowns": 10}, {})
        data, offload = superframe(bytes(3000), 100)
        self.assertEqual(self.send(0, data, offload), {1: [data]})
        self.clock.advance(1)
        self.assertEqual(self.send(0, data, offload), {})
        self.clock.advance(2)
        self.assertEqual(self.send(0, data, offload), {1: [data]})

    def test_aRateBelowOneFrameASecondIsKept(self) -> None:
        self.plugged({"broadcasts": 0.5}, {})
        forwarded = []
        for _ in range(6):
            forwarded.append(len(self.send(0, frame(A, ALL))))
            self.clock.advance(1)
        self.assertEqual(forwarded, [1, 0, 1, 0, 1, 0])


class StaticBindingTests(SwitchTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.ports = self.plugged({"stations": [A, "02:00:00:00:00:02"]}, {}, {})

    def test_onlyBoundStationsMaySendOnTheirPort(self) -> None:
        self.sendTo([1, 2], 0, frame(A, ALL))
        self.sendTo([1, 2], 0, frame(B, ALL))
        self.sendTo([], 0, frame(C, ALL))
        self.assertEqual(self.ports[0].counters["inForbiddenSources"], 1)

    def test_aBoundStationMayNotSendOnAnotherPort(self) -> None:
        self.sendTo([], 1, frame(A, ALL))
        self.send(0, frame(A, ALL))
        self.sendTo([], 1, frame(A, ALL))
        self.assertEqual(self.ports[1].counters["inForbiddenSources"], 2)
        self.sendTo([0], 2, frame(C, A))

    def test_aBoundStationIsKnownBeforeItIsHeard(self) -> None:
        self.sendTo([0], 2, frame(C, B))

    def test_aBoundStationIsKnownOnlyInTheVLANsOfItsPort(self) -> None:
        self.plugged({"vlan": 10}, {"vlan": 10})
        self.sendTo([4], 3, frame(D, A))

    def test_aBindingReplacesWhereAStationWasLearned(self) -> None:
        self.send(1, frame(D, ALL))
        self.plug(stations=[D])
        self.sendTo([3], 2, frame(C, D))

    def test_noStationMaySendOnAPortWithAnEmptyList(self) -> None:
        self.plug(stations=[])
        self.sendTo([], 3, frame(D, ALL))

    def test_theBindingsOfARemovedPortEnd(self) -> None:
        self.switch.removePort(self.ports[0])
        self.sendTo([2], 1, frame(A, ALL))


class RouterTests(SwitchTestCase):
    """
    Ports on which no routers and no DHCP servers may send.
    """

    #: An ICMP redirect and an ICMPv6 router advertisement, each with its EtherType and IP header.
    FORGED = (
        b"\x08\0" + ipv4.packHeader(bytes(4), bytes(4), 1, 8) + b"\5" + bytes(7),
        b"\x86\xdd" + ipv6.packHeader(bytes(16), bytes(16), 58, 16, 255) + b"\x86" + bytes(15),
    )

    def test_routersMayNotSendOnAPortWithBoundStationsByDefault(self) -> None:
        self.plugged({"stations": [A]}, {"stations": [B], "router": True}, {}, {"router": False})
        for number, source, isRouter in (0, A, False), (1, B, True), (2, C, True), (3, D, False):
            others = [each for each in range(4) if each != number]
            for data in self.FORGED:
                for tags in "", "81000000", "8100000088a80005", "88a80005" * MAX_TAGS:
                    received = self.send(number, ALL + source + bytes.fromhex(tags) + data)
                    self.assertEqual(others if isRouter else [], list(received), tags)
            # A packet of another kind is forwarded.
            self.sendTo(others, number, ALL + source + b"\x86\xdd" + ipv6.packHeader(A, A, 58, 16) + bytes(40))
            counted = self.switch.counters[f"port{number + 1}"].get("inForbiddenRoles", 0)
            self.assertEqual(0 if isRouter else 8, counted)

    def test_aFrameWithMoreTagsThanAreSearchedIsDropped(self) -> None:
        self.plugged({"stations": [A]}, {})
        for tag in "81000000", "88a80000":
            self.sendTo([], 0, ALL + A + bytes.fromhex(tag) * (MAX_TAGS + 1) + self.FORGED[0])

    def test_routerPacketsAreFoundInSuperpacketsAndOpenChecksums(self) -> None:
        self.plugged({"stations": [A]}, {})
        link = ALL + A + b"\x08\0"
        for port, isForged in (68, True), (67, False):
            data, offload, _ = superpacket(4, UDP, bytes(3000), 1000, link=link)
            data = data[:36] + port.to_bytes(2, "big") + data[38:]
            self.assertEqual({} if isForged else {1: [data]}, self.send(0, data, offload))
        for offset, isForged in (2, True), (6, False):
            opened = Offload(NEEDS_CHECKSUM, checksumStart=34, checksumOffset=offset)
            self.assertEqual([] if isForged else [1], list(self.send(0, data[:1400], opened)))


class MistakeTests(SwitchTestCase):
    def test_argumentsAreChecked(self) -> None:
        self.switch.addPort("here", stations=[A])
        for options, text in (
            ({"name": "here"}, "'here'"),
            ({"vlan": 0}, "1 to 4094"),
            ({"vlan": 4095}, "1 to 4094"),
            ({"trunk": ["10"]}, "1 to 4094"),
            ({"trunk": [10], "vlan": 10}, "VLAN 10"),
            ({"trunk": []}, "at least one VLAN"),
            ({"stations": [ALL]}, "not the link address of a single station"),
            ({"stations": ["nonsense"]}, "nonsense"),
            ({"stations": [A]}, "bound to here"),
            ({"broadcasts": -1}, "-1"),
        ):
            with self.assertRaises(ValueError) as raised:
                self.switch.addPort(**options)
            self.assertIn(text, str(raised.exception))
        self.assertEqual(list(self.switch.ports), ["here"])

    def test_aPortIsOnOneTransport(self) -> None:
        port = self.plug()
        link = Link(End(), port, self.clock)
        self.assertRaises(RuntimeError, link.start)

    def test_theTransportOfAPortMustTakePackets(self) -> None:
        with self.assertRaises(TypeError) as raised:
            self.switch.addPort().makeConnection(object())
        self.assertIn("TuntapPort", str(raised.exception))

    def test_aPortTakesNoLayerAboveIt(self) -> None:
        self.assertRaises(TypeError, self.switch.addPort().addProto, 0x0800, EthernetProtocol())

    def test_aFrameToAPortWithoutATransportIsDropped(self) -> None:
        self.plugged({}, {})
        port = self.switch.addPort(stations=[D])
        self.sendTo([], 0, frame(A, D))
        self.assertEqual(port.counters, {"outDiscards": 1})
        self.sendTo([1], 0, frame(A, ALL))
        self.assertEqual(port.counters, {"outDiscards": 1})
        self.assertIsInstance(self.ends[0].transport, LinkEnd)

    def test_aDefaultNameIsNoNameInUse(self) -> None:
        for name in None, "port2", None:
            self.switch.addPort(name)
        self.assertEqual(list(self.switch.ports), ["port1", "port2", "port3"])

    def test_anAgeingTimeThatIsNotAboveZeroIsRefused(self) -> None:
        for time in 0, -1, float("nan"):
            self.assertRaises(ValueError, Switch, self.clock, time)
