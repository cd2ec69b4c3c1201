"""
Tests for L{txtuntap.middleware.meter} and L{txtuntap.middleware.prometheus}: counters, rates and metrics.
"""

from __future__ import annotations

import os
import re

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.offload.case import ALL, OWN, PEER
from tests.paths import DOCS
from tests.ports import DeviceTestCase
from tests.recorders import DatagramRecorder, PacketRecorder, SuperpacketRecorder
from tests.superpackets import udpSuperpacket
from txtuntap import Host, Packet
from txtuntap.middleware import Impairment, Meter, Netem
from txtuntap.middleware.meter import DROPS, NO_DROPS, drops
from txtuntap.middleware.prometheus import InterfaceCollector
from txtuntap.testing import TUN, MemoryDevice, SettableClock, udpPacket
from txtuntap.wire.offload import NEEDS_CHECKSUM, Offload, finish

PACKET = udpPacket(PEER[4], OWN[4], 4000, 7, b"hello")

BOUNDS = DOCS / "bounds.md"


#: The names of documented counters that count no dropped packets.
OTHERS = frozenset(
    [
        *("inPackets", "inOctets", "outPackets", "outOctets", "inSuperpackets", "outSuperpackets", "inFrames"),
        *("inInterruptions", "inFalseSignals"),
        *("outFrames", "flooded", "stationMoves", "learnedEntryDiscards", "inRequests", "inReplies", "outReplies"),
        *("outAnyReplies", "inOthers", "inConflicts", "inSolicits", "inAdvertisements", "outAdvertisements"),
        *("outAnyAdvertisements", "inRouterAdvertisements", "outRouterSolicits", "inPrefixErrors", "inMTUErrors"),
        *("prefixDiscards", "routerDiscards", "outSolicits", "unresolved", "evicted", "reasmReqds", "reasmOKs"),
        *("outFragReqds", "outFragCreates", "inMsgs", "inEchos", "outEchoReps", "inDestUnreachs", "inPktTooBigs"),
        *("inTimeExcds", "inParmProblems", "inQueries", "inReports", "outReports", "inDuplicated", "inCorrupted"),
        *("inReordered", "outDuplicated", "outCorrupted", "outReordered", "captured", "captureDrops"),
        *("captureFailures", "inOtherLinks", "inRefused", "carriers", "protocolFailures", "outTooBigs", "inFragmented"),
        "outRefusedOffloads",
        *(
            "activeOpens",
            "passiveOpens",
            "attemptFails",
            "estabResets",
            "currEstab",
            "inSegs",
            "outSegs",
            "retransSegs",
        ),
        *("outRsts", "cookiesSent", "cookiesReceived", "cookiesFailed", "orphansReset", "unclaimedRepetitions"),
        *("resendsLimited", "unclaimedEvictions"),
        *("inKeepalives", "outKeepalives", "inInitiations", "outInitiations", "inResponses", "outResponses"),
        *("inCookieReplies", "outCookieReplies", "lookupErrors", "clamped"),
        *(
            "clientsEvicted",
            "clientsStalled",
            "watchersRefused",
            "downloadsRefused",
            "requestsRefused",
            "requestErrors",
        ),
    ]
)


class MeterTestCase(DeviceTestCase):
    features = ALL


class CountTests(MeterTestCase):
    def test_packetsAndOctetsAreCountedInBothDirections(self) -> None:
        proto = PacketRecorder()
        meter = Meter(proto)
        self.on(meter)
        self.deliver(PACKET, PACKET + bytes(3))
        self.assertEqual(meter.counters, {"inPackets": 2, "inOctets": 2 * len(PACKET) + 3})
        proto.transport.writePacket([PACKET[:20], PACKET[20:]])
        self.assertEqual(meter.totals()["meter"]["outOctets"], len(PACKET))
        self.assertEqual((meter.counters["outPackets"], self.device.sent), (1, [PACKET]))
        self.assertEqual(proto.data, [PACKET, PACKET + bytes(3)])

    def test_strippedHeadersAndPaddingAreNotCounted(self) -> None:
        meter = Meter(PacketRecorder())
        packet = Packet(b"link" + PACKET + b"padding", 4)
        packet.end -= 7
        meter.packetReceived(packet)
        self.assertEqual(meter.counters["inOctets"], len(PACKET))

    def test_aSuperpacketCountsAsItsPackets(self) -> None:
        meter = Meter(SuperpacketRecorder())
        self.on(meter)
        data, offload = udpSuperpacket(4, b"first", b"other", b"last")
        pieces = finish(data, offload)
        self.device.deliver(data, offload)
        self.clock.advance(0)
        meter.writePacket([data[:9], data[9:]], offload)
        for direction in "in", "out":
            counted = [meter.counters[direction + name] for name in ("Packets", "Octets", "Superpackets")]
            self.assertEqual(counted, [3, sum(map(len, pieces)), 1])
        names = "inPackets", "inOctets", "outPackets", "outOctets"
        self.assertEqual([meter.counters[name] for name in names], [self.port.counters[name] for name in names])
        self.assertEqual(len(self.device.superpackets), 1)

    def test_aForgedOffloadCountsAsOnePacket(self) -> None:
        meter = Meter(PacketRecorder())
        for offload in Offload(NEEDS_CHECKSUM, 1), Offload(0, 5, 0, 0), Offload(NEEDS_CHECKSUM, 77, 9, 0, 65535, 65535):
            packet = Packet(PACKET)
            packet.offload = offload
            meter.packetReceived(packet)
            meter.writePacket([PACKET], offload)
        self.assertEqual((meter.counters["inPackets"], meter.counters["outPackets"]), (3, 3))

    def test_sourcesGiveTheCountersOfOtherParts(self) -> None:
        host = Host([f"{OWN[4]}/24"], self.clock)
        impairment = Impairment(host.ip, up=Netem(loss=1))
        meter = Meter(impairment, lambda: {**host.counters, "link": impairment.counters, "port": self.port.counters})
        self.on(meter)
        self.clock.pump([0.5] * 10)
        self.deliver(PACKET)
        impairment.up = Netem()
        self.deliver(PACKET, b"\x45" + bytes(40))
        totals = meter.totals()
        self.assertEqual((totals["link"], totals["port"]["inPackets"]), ({"inLost": 1}, 3))
        found = drops(totals)
        self.assertEqual((found["link"], found["udp"]), ({"inLost": 1}, {"noPorts": 1}))
        self.assertEqual(sum(found["ip"].values()), 1)
        self.assertNotIn("port", found)
        error = self.assertRaises(TypeError, Meter, PacketRecorder(), host.counters)
        self.assertIn("give 'lambda: ", str(error))

    def test_errorMessagesOfICMPAreNoDrops(self) -> None:
        self.assertEqual(drops({"icmp": {"outErrors": 1}, "port": {"outErrors": 2}}), {"port": {"outErrors": 2}})

    def test_suppressedAnswersAreNoDrops(self) -> None:
        """
        An echo on UDP drops the datagrams above its rate limit.
        """
        parts = {part: {"outLimited": 1} for part in ("icmp", "tunnel", "tcp", "echo 7")}
        self.assertEqual(drops(parts), {"echo 7": {"outLimited": 1}})

    def test_everyDocumentedCounterIsInDropsOrOthers(self) -> None:
        _, _, table = BOUNDS.read_text().partition("# Counters")
        rows = [line.split("|") for line in table.splitlines() if line.startswith("|")]
        documented = {name for row in rows for name in re.findall(r"`(\w+)`", row[2])}
        # Add a new counter to one of the two sets.
        self.assertEqual(documented, DROPS | OTHERS)
        self.assertEqual(DROPS & OTHERS, set())
        self.assertEqual({name for _, name in NO_DROPS} - DROPS, set())


class RateTests(MeterTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.others: dict[str, dict[str, int]] = {"other": {"things": 100}}
        self.meter = Meter(PacketRecorder(), lambda: self.others)
        self.on(self.meter)

    def test_aRateIsAveragedOverTenSeconds(self) -> None:
        for _ in range(20):
            self.deliver(PACKET, PACKET)
            self.clock.advance(1)
        self.assertEqual(self.meter.rates()["meter"], {"inPackets": 2, "inOctets": 2 * len(PACKET)})
        # Six of the last ten seconds had traffic.
        self.clock.pump([1] * 4)
        self.assertAlmostEqual(self.meter.rates()["meter"]["inPackets"], 1.2)
        self.clock.pump([1] * 6)
        self.assertEqual(self.meter.rates(), {"meter": {}, "other": {}})

    def test_aGaugeHasNoRate(self) -> None:
        self.others["tcp"] = {"currEstab": 5, "inSegs": 5}
        self.clock.advance(1)
        self.others["tcp"].update(currEstab=3, inSegs=9)
        self.clock.advance(1)
        self.assertEqual(self.meter.rates()["tcp"].keys(), {"inSegs"})

    def test_theFirstRatesAreAveragedSinceTheStart(self) -> None:
        self.assertEqual(self.meter.rates(), {"meter": {}, "other": {}})
        self.deliver(PACKET)
        self.clock.advance(0.5)
        self.assertEqual(self.meter.rates()["meter"]["inPackets"], 2)

    def test_countersOfOtherPartsHaveRates(self) -> None:
        self.clock.advance(1)
        self.others["other"]["things"] += 3
        self.others["later"] = {"drops": 5}
        self.clock.advance(1)
        self.assertEqual(self.meter.rates(), {"meter": {}, "other": {"things": 1.5}, "later": {"drops": 2.5}})

    def test_aCounterThatWasResetHasNoNegativeRate(self) -> None:
        self.clock.advance(1)
        self.others["other"] = {"things": 6}
        self.clock.advance(1)
        self.assertEqual(self.meter.rates(), {"meter": {}, "other": {"things": 3}})

    def test_settingTheWallClockChangesNoRate(self) -> None:
        for step in -3600, 3600:
            self.clock = SettableClock()
            self.device = MemoryDevice(TUN, features=ALL)
            self.on(meter := Meter(PacketRecorder()))
            for _ in range(5):
                self.deliver(PACKET)
                self.clock.advance(1)
            self.clock.setBy(step)
            self.assertEqual(meter.rates()["meter"]["inPackets"], 1)
            self.deliver(PACKET, PACKET, PACKET, PACKET, PACKET, PACKET, PACKET)
            self.clock.advance(1)
            self.assertEqual(meter.rates()["meter"]["inPackets"], 2)
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_aLateSampleIsAveragedOverItsTrueAge(self) -> None:
        self.deliver(PACKET)
        self.clock.advance(100)
        self.assertEqual(self.meter.rates()["meter"]["inPackets"], 0.01)

    def test_aSourceThatRaisesPreventsTheStart(self) -> None:
        self.device.close()
        proto = PacketRecorder()
        broken = Meter(proto, lambda: {"other": self.others["nothing"]})
        self.assertRaises(KeyError, self.on, broken)
        self.assertEqual((proto.transport, broken.numPorts), (None, 0))
        broken.sources = dict
        self.on(broken)
        self.assertIs(proto.transport, broken)

    def test_samplingStopsWithThePort(self) -> None:
        self.port.stopListening()
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(5)
        self.port.startListening()
        self.deliver(PACKET)
        self.clock.advance(1)
        self.assertEqual(self.meter.rates()["meter"]["inPackets"], 1)


#: The values of one metric by the values of its labels.
Samples = dict[tuple[str, ...], float]


def scraped(collector: InterfaceCollector) -> dict[str, Samples]:
    """
    Scrape a collector as Prometheus does.

    @return: the samples by the metric's name. The label values are in the order of the labels' names.
    """
    registry = CollectorRegistry()
    registry.register(collector)
    found: dict[str, Samples] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


class PrometheusTests(MeterTestCase):
    def test_countersOfAMeterBecomeMetrics(self) -> None:
        host = Host([f"{OWN[4]}/24"], self.clock)
        host.listenUDP(7, DatagramRecorder())
        meter = Meter(host.ip, lambda: {**host.counters, "port": self.port.counters})
        self.on(meter)
        self.deliver(PACKET, PACKET, b"\x45" + bytes(40))
        collector = InterfaceCollector()
        collector.add("tun0", meter.totals, packets="meter")
        found = scraped(collector)
        self.assertEqual(found["txtuntap_packets_total"], {("in", "tun0"): 3, ("out", "tun0"): 0})
        self.assertEqual(found["txtuntap_bytes_total"][("in", "tun0")], 2 * len(PACKET) + 41)
        self.assertEqual(sum(found["txtuntap_drops_total"].values()), 1)
        # The packets of the port are reported as events, so that no packet counts twice.
        self.assertEqual(found["txtuntap_events_total"][("inPackets", "tun0", "port")], 3)

    def test_aCurrentNumberIsAGauge(self) -> None:
        collector = InterfaceCollector()
        collector.add("tun0", lambda: {"tcp": {"currEstab": 3, "inSegs": 4}})
        found = scraped(collector)
        self.assertEqual(found["txtuntap_current"], {("tun0", "currEstab", "tcp"): 3})
        self.assertEqual(found["txtuntap_events_total"], {("inSegs", "tun0", "tcp"): 4})

    def test_severalInterfacesHaveTheirCurrentNames(self) -> None:
        names = ["tap0"]
        collector = InterfaceCollector()
        collector.add(lambda: names[0], lambda: {"port": {"inPackets": 1, "outErrors": 5, "outLinkDown": 7}})
        collector.add('a"b\\c', lambda: {"port": {"outPackets": 2}, "icmp": {"outErrors": 6}})
        names[0] = "eth0"
        found = scraped(collector)
        self.assertEqual(
            found["txtuntap_packets_total"],
            {("in", "eth0"): 1, ("out", "eth0"): 0, ("in", 'a"b\\c'): 0, ("out", 'a"b\\c'): 2},
        )
        self.assertEqual(
            found["txtuntap_drops_total"], {("eth0", "port", "outErrors"): 5, ("eth0", "port", "outLinkDown"): 7}
        )
        self.assertEqual(found["txtuntap_events_total"], {("outErrors", 'a"b\\c', "icmp"): 6})

    @pytest.mark.unix("names of octets")
    def test_aNameThatIsNotUTF8IsEscaped(self) -> None:
        # The kernel accepts nearly any octets as a name.
        collector = InterfaceCollector()
        collector.add(os.fsdecode(b"t\xff0"), lambda: {"port": {"inPackets": 1}})
        found = scraped(collector)
        self.assertEqual(found["txtuntap_packets_total"][("in", "t\\xff0")], 1)

    def test_aCollectorWithoutInterfacesIsEmpty(self) -> None:
        self.assertEqual(scraped(InterfaceCollector()), {})
