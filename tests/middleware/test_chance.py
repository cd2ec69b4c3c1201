"""
Tests for L{txtuntap.middleware.impairment}: the random faults. The random source is seeded. The results for many
packets must be within four standard deviations of the value that the formula gives.
"""

from __future__ import annotations

from itertools import groupby
from random import Random
from statistics import fmean, pstdev

import attrs

from tests.middleware.impaired import ImpairmentTestCase, TimedPort
from txtuntap import Host, Packet
from txtuntap.interfaces import IEthernetProtocol
from txtuntap.middleware import GEModel, Impairment, Netem
from txtuntap.testing import SimulationClock, ethernetFrame

#: The number of packets in a statistical test, large enough for shares to be close to their probabilities.
MANY = 20_000


class LossTests(ImpairmentTestCase):
    def bursts(self) -> list[int]:
        """
        Return the length of each burst of losses, in packets.
        """
        came = set(self.received)
        return [len(list(each)) for lost, each in groupby(range(MANY), lambda number: number not in came) if lost]

    def test_packetsAreLostIndependently(self) -> None:
        for loss in 0.001, 0.1, 0.7:
            impairment = self.impaired(Netem(loss=loss))
            self.sendNumbered(impairment, MANY)
            for came, counter in (self.received, "inLost"), (self.sent, "outLost"):
                self.assertShare(MANY - len(came), MANY, loss)
                self.assertEqual(came, sorted(set(came)))
                self.assertEqual(impairment.counters[counter], MANY - len(came))
        # Bursts are as long as independent losses make them.
        bursts = self.bursts()
        self.assertLess(abs(fmean(bursts) - 1 / 0.3), 4 * (0.7**0.5 / 0.3) / len(bursts) ** 0.5)

    def test_lossZeroLosesNoneAndLossOneLosesAll(self) -> None:
        for loss, left in (0, 100), (1, 0), (0.0, 100), (1.0, 0):
            self.sendNumbered(self.impaired(Netem(loss=loss)), 100)
            self.assertEqual((len(self.received), len(self.sent)), (left, left))

    def test_burstsHaveTheLengthOfTheModel(self) -> None:
        # In Gilbert's simple model each packet on a bad link is lost, and the link is bad for 1 / r packets on average.
        p, r = 0.02, 0.25
        self.sendNumbered(self.impaired(Netem(gemodel=GEModel(p, r))), MANY)
        bursts = self.bursts()
        self.assertLess(abs(fmean(bursts) - 1 / r), 4 * ((1 - r) ** 0.5 / r) / len(bursts) ** 0.5)
        # The share of lost packets is p / (p + r). Its deviation comes from the number and the length of the bursts.
        share = p / (p + r)
        deviation = (share * (1 - share) * (2 / (p + r) - 1) / MANY) ** 0.5
        self.assertLess(abs(sum(bursts) / MANY - share), 4 * deviation)

    def test_hAndKAreTheChancesToPassABadAndAGoodLink(self) -> None:
        p, r, h, k = 0.05, 0.2, 0.6, 0.99
        self.sendNumbered(self.impaired(Netem(gemodel=GEModel(p, r, h, k))), MANY)
        bad = p / (p + r)
        share = bad * (1 - h) + (1 - bad) * (1 - k)
        # The state adds to the variance, because consecutive packets often meet the same state.
        state = 2 * bad * (1 - bad) * (k - h) ** 2 * (1 / (p + r) - 1)
        deviation = ((share * (1 - share) + state) / MANY) ** 0.5
        self.assertLess(abs(1 - len(self.received) / MANY - share), 4 * deviation)

    def test_aModelWithOnlyPHasIndependentLosses(self) -> None:
        self.sendNumbered(self.impaired(Netem(gemodel=GEModel(0.2))), MANY)
        self.assertShare(MANY - len(self.received), MANY, 0.2)
        bursts = self.bursts()
        self.assertLess(abs(fmean(bursts) - 1 / 0.8), 4 * (0.2**0.5 / 0.8) / len(bursts) ** 0.5)

    def test_theLinkBeginsGoodAndChangesAfterAPacket(self) -> None:
        # As in the kernel, a packet meets the state that the packet before it has left.
        impairment = self.impaired(Netem(gemodel=GEModel(1, 1)))
        self.sendNumbered(impairment, 6)
        self.assertEqual(self.received, [0, 2, 4])
        # Another setting keeps the state of the model, and another model begins in the good state.
        impairment.packetReceived(Packet(b"6"))
        impairment.up = attrs.evolve(impairment.up, duplicate=1)
        impairment.packetReceived(Packet(b"7"))
        self.assertEqual(len(self.received), 4)
        impairment.packetReceived(Packet(b"8"))
        impairment.up = Netem(gemodel=GEModel(1, 0.5))
        impairment.packetReceived(Packet(b"9"))
        self.assertEqual(len(self.received), 7)


class DelayTests(ImpairmentTestCase):
    def delays(self) -> list[float]:
        return [time for time, _ in self.port.timed]

    def test_eachPacketHasTheFixedDelay(self) -> None:
        self.sendNumbered(self.impaired(Netem(delay=0.1)), 3, every=0.03)
        self.clock.advance(1)
        self.assertEqual((self.received, self.sent), ([0, 1, 2], [0, 1, 2]))
        for times in self.proto.times, self.delays():
            for time, expected in zip(times, (0.1, 0.13, 0.16), strict=True):
                self.assertAlmostEqual(time, expected)

    def test_theTimeOfAPacketIsItsArrivalTime(self) -> None:
        impairment = self.impaired(Netem(delay=0.1))
        impairment.packetReceived(Packet(b"hello", time=0))
        self.clock.advance(1)
        self.assertAlmostEqual(self.proto.packets[0].time, 0.1)

    def test_uniformJitterIsSpreadEvenlyAroundTheDelay(self) -> None:
        self.sendNumbered(self.impaired(Netem(delay=0.1, jitter=0.02, limit=MANY)), MANY)
        self.clock.advance(1)
        delays = self.delays()
        self.assertEqual(len(delays), MANY)
        deviation = 0.02 / 3**0.5
        self.assertLess(abs(fmean(delays) - 0.1), 4 * deviation / MANY**0.5)
        self.assertLess(abs(pstdev(delays) / deviation - 1), 0.02)
        self.assertGreaterEqual(min(delays), 0.08)
        self.assertLessEqual(max(delays), 0.12)
        for quarter in 1, 2, 3:
            self.assertShare(sum(delay < 0.08 + quarter * 0.01 for delay in delays), MANY, quarter / 4)

    def test_normalJitterHasItsStandardDeviation(self) -> None:
        self.sendNumbered(self.impaired(Netem(delay=0.1, jitter=0.01, distribution="normal", limit=MANY)), MANY)
        self.clock.advance(1)
        delays = self.delays()
        self.assertLess(abs(fmean(delays) - 0.1), 4 * 0.01 / MANY**0.5)
        self.assertLess(abs(pstdev(delays) / 0.01 - 1), 4 / (2 * MANY) ** 0.5)
        for deviations, share in (1, 0.682689), (2, 0.954500), (3, 0.997300):
            self.assertShare(sum(abs(delay - 0.1) < deviations * 0.01 for delay in delays), MANY, share)

    def test_jitterNeverMakesADelayNegative(self) -> None:
        self.sendNumbered(self.impaired(Netem(delay=0.01, jitter=0.1)), 500, every=0.001)
        self.clock.advance(1)
        for time, data in self.port.timed:
            self.assertGreaterEqual(time, int.from_bytes(data, "big") * 0.001 - 1e-6)

    def test_jitterReordersPackets(self) -> None:
        self.sendNumbered(self.impaired(Netem(delay=0.1, jitter=0.05)), 100)
        self.clock.advance(1)
        for came in self.received, self.sent:
            self.assertNotEqual(came, sorted(came))
            self.assertEqual(sorted(came), list(range(100)))

    def test_jitterKeepsTheOrderIfOrderedOrWithARate(self) -> None:
        for netem in Netem(delay=0.1, jitter=0.05, ordered=True), Netem(delay=0.1, jitter=0.05, rate=1e9):
            self.sendNumbered(self.impaired(netem), 100, every=0.001)
            self.clock.advance(1)
            self.assertEqual((self.received, self.sent), (list(range(100)), list(range(100))))

    def test_packetsDueAtOneTimeKeepTheirOrder(self) -> None:
        self.sendNumbered(self.impaired(Netem(delay=0.1)), 1000)
        self.clock.advance(1)
        self.assertEqual((self.received, self.sent), (list(range(1000)), list(range(1000))))

    def test_reorderedPacketsPassWithoutDelay(self) -> None:
        impairment = self.impaired(Netem(delay=0.1, reorder=0.25, limit=MANY))
        self.sendNumbered(impairment, MANY)
        early = len(self.received)
        self.assertShare(early, MANY, 0.25)
        self.assertEqual(impairment.counters["inReordered"], early)
        self.clock.advance(1)
        self.assertEqual(sorted(self.received), list(range(MANY)))

    def test_aGapOfFiveReordersEveryFifthPacket(self) -> None:
        # The manual of tc-netem has this example of a repeatable pattern.
        self.sendNumbered(self.impaired(Netem(delay=0.01, reorder=1, gap=5)), 20)
        self.assertEqual(self.received, [4, 9, 14, 19])


class RateTests(ImpairmentTestCase):
    def test_packetsLeaveAtTheRate(self) -> None:
        # One packet of 100 octets takes 0.1 seconds at 8000 bits per second.
        self.sendNumbered(self.impaired(Netem(rate=8000)), 10, size=100)
        self.clock.advance(2)
        for number, (time, _) in enumerate(self.port.timed, 1):
            self.assertAlmostEqual(time, number * 0.1, 5)
        self.assertEqual(self.sent, list(range(10)))

    def test_theDelayIsAddedOnceToTheRate(self) -> None:
        self.sendNumbered(self.impaired(Netem(rate=8000, delay=3)), 10, size=100)
        self.clock.advance(5)
        for number, (time, _) in enumerate(self.port.timed, 1):
            self.assertAlmostEqual(time, 3 + number * 0.1, 5)

    def test_anIdleLinkSavesUpNoRate(self) -> None:
        impairment = self.impaired(Netem(rate=8000))
        self.sendNumbered(impairment, 1, size=100)
        self.clock.advance(100)
        self.sendNumbered(impairment, 2, size=100)
        self.clock.advance(1)
        self.assertAlmostEqual(self.port.timed[-1][0], 100.2, 5)

    def test_jitterMakesNoPacketFasterThanTheRate(self) -> None:
        impairment = self.impaired(Netem(rate=8000, jitter=1))
        for _ in range(20):
            self.sendNumbered(impairment, 1, size=100)
            self.clock.advance(5)
        for number, (time, _) in enumerate(self.port.timed):
            self.assertGreaterEqual(time, 5 * number + 0.1 - 1e-5)

    def test_aHighRateIsKept(self) -> None:
        self.sendNumbered(self.impaired(Netem(rate=1e10, limit=MANY)), 10_000, size=10)
        self.clock.advance(1)
        # The timer may be early by a microsecond.
        self.assertLess(abs(self.port.timed[-1][0] - 10_000 * 80 / 1e10), 2e-6)

    def test_packetsOverTheLimitAreDropped(self) -> None:
        for netem in Netem(rate=8000, limit=5), Netem(delay=1, limit=5):
            impairment = self.impaired(netem)
            self.sendNumbered(impairment, 8)
            self.clock.advance(2)
            self.sendNumbered(impairment, 1)
            self.clock.advance(2)
            self.assertEqual((self.received, self.sent), ([0, 1, 2, 3, 4, 0],) * 2)
            self.assertEqual(impairment.counters, {"inOverLimit": 3, "outOverLimit": 3})


class CorruptionTests(ImpairmentTestCase):
    def test_corruptionInvertsOneBit(self) -> None:
        sizes = Random(5)
        packets = [sizes.randbytes(sizes.randrange(1, 200)) for _ in range(500)]
        impairment = self.impaired(Netem(corrupt=1))
        for data in packets:
            impairment.packetReceived(Packet(b"link" + data, 4))
            impairment.writePacket([data])
        for came in self.proto.data, self.port.sent:
            for before, after in zip(packets, came, strict=True):
                self.assertEqual(len(before), len(after))
                changed = int.from_bytes(before, "big") ^ int.from_bytes(after, "big")
                self.assertEqual(changed.bit_count(), 1)
        self.assertEqual({packet.data[:4] for packet in self.proto.packets}, {b"link"})
        self.assertEqual(impairment.counters, {"inCorrupted": 500, "outCorrupted": 500})

    def test_everyBitIsCorruptedEquallyOften(self) -> None:
        impairment = self.impaired(Netem(corrupt=1))
        for _ in range(MANY):
            impairment.writePacket([bytes(4)])
        for bit in range(32):
            self.assertShare(sum(int.from_bytes(data, "big") == 1 << bit for _, data in self.port.timed), MANY, 1 / 32)

    def test_sharesOfDuplicatesAndCorruptedPackets(self) -> None:
        impairment = self.impaired(Netem(corrupt=0.2, duplicate=0.3))
        self.sendNumbered(impairment, MANY)
        self.assertShare(impairment.counters["outDuplicated"], MANY, 0.3)
        self.assertEqual(len(self.sent), MANY + impairment.counters["outDuplicated"])
        self.assertShare(impairment.counters["outCorrupted"], len(self.sent), 0.2)

    def test_anEmptyPacketIsNotCorrupted(self) -> None:
        impairment = self.impaired(Netem(corrupt=1))
        impairment.packetReceived(Packet(b"link", 4))
        impairment.writePacket([])
        self.assertEqual((bytes(self.proto.packets[0]), self.port.timed), (b"", [(0, b"")]))
        self.assertEqual(impairment.counters, {})

    def test_aDuplicateIsASeparatePacket(self) -> None:
        impairment = self.impaired(Netem(duplicate=1))
        # The receiver of a packet moves its start.
        self.proto.then = lambda packet: setattr(packet, "start", 2)
        impairment.packetReceived(Packet(b"hello"))
        one, other = self.proto.packets
        self.assertIsNot(one, other)
        self.assertEqual((one.data, other.data, one.start, other.start), (b"hello", b"hello", 2, 2))

    def test_aPacketAndItsDuplicateAreLostAndDelayedIndependently(self) -> None:
        impairment = self.impaired(Netem(duplicate=1, loss=0.5, delay=1, jitter=1, limit=MANY))
        self.sendNumbered(impairment, 5000)
        self.clock.advance(3)
        arrivals: dict[bytes, list[float]] = {}
        for time, data in self.port.timed:
            arrivals.setdefault(data, []).append(time)
        self.assertShare(sum(len(times) == 2 for times in arrivals.values()), 5000, 0.25)
        self.assertShare(sum(len(times) == 1 for times in arrivals.values()), 5000, 0.5)
        self.assertTrue(all(len(set(times)) == len(times) for times in arrivals.values()))

    def test_aPacketLongerThanTheMTUIsDropped(self) -> None:
        impairment = self.impaired(Netem(mtu=100))
        for size in 100, 101:
            impairment.packetReceived(Packet(bytes(4 + size), 4))
            impairment.writePacket([bytes(size)])
        self.assertEqual(([len(packet) for packet in self.proto.packets], len(self.port.timed[0][1])), ([100], 100))
        self.assertEqual(impairment.counters, {"inTooBig": 1, "outTooBig": 1})
        # The protocol does not learn of this MTU, because a netem drops silently.
        self.assertEqual(impairment.mtu, 1500)

    def test_theMTUDoesNotCountLinkHeaders(self) -> None:
        host = Host(["10.9.0.2/24"], self.clock)
        impairment = Impairment(host.ethernet, Netem(mtu=100))
        self.assertTrue(IEthernetProtocol.providedBy(impairment))
        impairment.makeConnection(port := TimedPort(self.clock))
        port.timed.clear()
        for vlan in None, 5:
            for size in 100, 101:
                impairment.writePacket([ethernetFrame(bytes(6), bytes(6), 0x0800, bytes(size), vlan)])
        impairment.writePacket([b"short"])
        self.assertEqual([len(data) for _, data in port.timed], [114, 118, 5])


class ReproducibilityTests(ImpairmentTestCase):
    ALL = Netem(delay=0.1, jitter=0.05, loss=0.2, duplicate=0.2, corrupt=0.2, reorder=0.2)

    def arrivals(self, netem: Netem, seed: int = 1) -> tuple[list[tuple[float, bytes]], list[tuple[float, bytes]]]:
        """
        Send packets in both directions.

        @return: the packets that arrived at the protocol and those at the port, each with its time in seconds.
        """
        self.clock = SimulationClock()
        self.sendNumbered(self.impaired(netem, seed), 300, size=20)
        self.clock.advance(1)
        return list(zip(self.proto.times, self.proto.data, strict=True)), self.port.timed

    def test_theSameSeedGivesTheSameArrivals(self) -> None:
        self.assertEqual(self.arrivals(self.ALL), self.arrivals(self.ALL))
        for one, other in zip(self.arrivals(self.ALL), self.arrivals(self.ALL, seed=2), strict=True):
            self.assertNotEqual(one, other)

    def test_eachDirectionHasItsOwnRandomSource(self) -> None:
        up, down = self.arrivals(self.ALL)
        self.assertNotEqual(up, down)
        # Without packets in the other direction, this direction has the same faults.
        impairment = self.impaired(self.ALL)
        start = self.clock.seconds()
        for number in range(300):
            impairment.writePacket([number.to_bytes(20, "big")])
        self.clock.advance(1)
        self.assertEqual(
            [(round(time - start, 6), data) for time, data in self.port.timed],
            [(round(time, 6), data) for time, data in down],
        )

    def test_changingOneFaultKeepsTheOthers(self) -> None:
        # Reordering is left out, because it depends on the packets before.
        netem = attrs.evolve(self.ALL, reorder=0)
        _, before = self.arrivals(netem)
        for fewer in attrs.evolve(netem, loss=0.3), attrs.evolve(netem, duplicate=0.1):
            _, after = self.arrivals(fewer)
            self.assertLess(len(after), len(before))
            self.assertLess(set(after), set(before))
        _, more = self.arrivals(attrs.evolve(netem, loss=0))
        self.assertGreater(set(more), set(before))
        _, whole = self.arrivals(attrs.evolve(netem, corrupt=0))
        self.assertEqual([time for time, _ in whole], [time for time, _ in before])
        _, slower = self.arrivals(attrs.evolve(netem, delay=0.2))
        self.assertEqual([data for _, data in slower], [data for _, data in before])

    def test_aChangeForAWhileKeepsTheLossesAfterwards(self) -> None:
        def lost(middle: Netem) -> list[int]:
            impairment = self.impaired(Netem(loss=0.3))
            for number in range(300):
                impairment.down = middle if 100 <= number < 200 else Netem(loss=0.3)
                impairment.writePacket([number.to_bytes(2, "big")])
            self.clock.advance(1)
            return [number for number in self.sent if not 100 <= number < 200]

        usual = lost(Netem(loss=0.3))
        for middle in Netem(), Netem(loss=1), Netem(mtu=1), Netem(duplicate=1, delay=0.01, rate=1e6):
            self.assertEqual(lost(middle), usual)
