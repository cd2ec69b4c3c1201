"""
Tests that run the initial inputs of the fuzzer and the inputs that caused errors before, and tests of the fuzzer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from random import Random

from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz.corpus import seeds
from tests.fuzz.ingress import CALLING, ECHO, OURS, THEIRS, Broken, Ingress, feed, join, split
from tests.fuzz.mutation import change, cross, mutate
from tests.stack.link import arpFrame, echo, frame, icmpPacket
from txtuntap import IPProtocol
from txtuntap.packet import Packet
from txtuntap.stack.ping import Pinger
from txtuntap.testing import udpPacket
from txtuntap.wire.arp import REPLY

#: The folder of inputs that have caused errors before, one in each file.
SEEDS = Path(__file__).parent / "seeds"


class SeedTests(SynchronousTestCase):
    def test_everyInitialInputPasses(self) -> None:
        for data in seeds():
            feed(data)

    def test_everySeedPasses(self) -> None:
        for path in SEEDS.glob("*"):
            feed(path.read_bytes())

    def test_theInitialInputsReachTheCounters(self) -> None:
        total: Counter[tuple[str, str]] = Counter()
        for data in seeds():
            for part, counters in feed(data).host.counters.items():
                for name, number in counters.items():
                    total[part, name] += number
        for part, names in (
            ("ethernet", "inErrors inOtherHosts inLengthFrames inVlans inUnknownProtos"),
            ("arp", "outReplies outAnyReplies"),
            ("ndp", "outAdvertisements outAnyAdvertisements inRouterAdvertisements inConflicts"),
            ("neighbours", "outSolicits unresolved outDiscards"),
            ("ip", "reasmOKs reasmDuplicates reasmOverlaps reasmFails reasmTimeouts outFragCreates inOptErrors"),
            ("icmp", "outEchoReps inDestUnreachs inPktTooBigs inTimeExcds inParmProblems inDisbelieved outErrors"),
            ("groups", "inQueries outReports"),
            ("udp", "noPorts"),
            ("tcp", "activeOpens passiveOpens attemptFails estabResets retransSegs inErrs outRsts connectionsRefused"),
            ("tcp", "cookiesSent cookiesReceived outLimited unclaimedSilences unclaimedTimeouts unclaimedOverflows"),
        ):
            for name in names.split():
                self.assertGreater(total[part, name], 0, f"{part}: {name}")

    def test_someMutationsPass(self) -> None:
        random = Random(1)
        every = list(seeds())

        for _ in range(100):
            data = cross(random.choice(every), random.choice(every), 4096, random)
            feed(mutate(data, 4096, random, lambda packet, _: change(packet, random)))


class MutationTests(SynchronousTestCase):
    """
    Tests for the mutations of inputs.
    """

    RECORDS: tuple[bytes | float, ...] = (b"one", 1.0, b"two", b"three")

    def test_mutatedRecordsKeepTheirBounds(self) -> None:
        random = Random(1)
        data = join(True, self.RECORDS)
        found = [list(split(mutate(data, 100, random, lambda packet, _: packet[:1] + b"!"))) for _ in range(100)]
        self.assertIn([b"one", b"o!", *self.RECORDS[1:]], [[*records[:2], *self.RECORDS[1:]] for records in found])
        self.assertIn(list(self.RECORDS), [records[:4] for records in found if len(records) > 4])
        self.assertIn([*self.RECORDS[:2], b"three"], found)

    def test_changedPacketsKeepTheirLength(self) -> None:
        random = Random(1)
        changed = [change(b"four", random) for _ in range(50)]
        self.assertEqual({len(packet) for packet in changed}, {4})
        self.assertGreater(len(set(changed)), 30)
        self.assertEqual(change(b"", random), b"")

    def test_mutatedAndCrossedInputsAreBounded(self) -> None:
        random = Random(1)
        data = join(False, self.RECORDS)
        for longest in range(len(data), 2 * len(data)):
            mutated = mutate(data, longest, random, lambda packet, most: bytes(most))
            self.assertLessEqual(max(len(mutated), len(cross(data, data, longest, random))), longest)

    def test_aCrossedInputContainsTheRecordsOfTheFirst(self) -> None:
        random = Random(1)
        others = [b"1", b"2", b"3"]
        for _ in range(20):
            records = list(split(cross(join(True, self.RECORDS), join(True, others), 100, random)))
            self.assertEqual([record for record in records if record not in others], list(self.RECORDS))

    def test_emptyInputsCanBeMutatedAndCrossed(self) -> None:
        self.assertEqual(mutate(b"", 10, Random(1), lambda data, _: data + b"new"), b"new")
        self.assertEqual(cross(b"", b"", 10, Random(1)), b"\0")


class HarnessTests(SynchronousTestCase):
    """
    Tests that the harness finds broken invariants.
    """

    def test_splitReturnsTheRecordsOfJoin(self) -> None:
        records: list[bytes | float] = [b"packet", 1.5, b"", b"x" * 300]
        self.assertEqual(list(split(join(True, records))), records)
        self.assertEqual(list(split(join(True, records)[:-1])), [*records[:-1], b"x" * 299])

    def test_aLayerThatRaisesIsFound(self) -> None:
        def fail(self: IPProtocol, packet: Packet) -> None:
            raise ZeroDivisionError

        self.patch(IPProtocol, "packetReceived", fail)
        self.assertRaises(ZeroDivisionError, feed, join(False, [echo("10.0.0.1", "10.0.0.2")]))
        self.flushLoggedErrors(ZeroDivisionError)

    def test_anAnswerThatIsTooLongIsFound(self) -> None:
        ingress = Ingress(False)

        class Amplifier(DatagramProtocol):
            def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
                assert self.transport is not None
                self.transport.write(bytes(1000), addr)

        ingress.host.listenUDP(9, Amplifier())
        self.assertRaises(Broken, ingress.receive, udpPacket("10.0.0.1", "10.0.0.2", 1, 9, b""))

    def test_aTableOverItsBoundIsFound(self) -> None:
        ingress = Ingress(False)
        ingress.check()
        ingress.host.udp.written.update((number.to_bytes(4, "big"), 0.0) for number in range(5000))
        self.assertRaises(Broken, ingress.check)

    def test_aWrongTotalIsFound(self) -> None:
        for part, total in ("neighbours", "_waitingOctets"), ("ip._reassembler", "memory"):
            ingress = Ingress(True)
            setattr(attrgetter(part)(ingress.host), total, 1)
            error = self.assertRaises(Broken, ingress.check)
            self.assertIn("1 counted", str(error))

    def test_timersThatAreNotStoppedAreFound(self) -> None:
        ingress = Ingress(True)
        for _ in range(40):
            ingress.clock.callLater(1e6, lambda: None)
        error = self.assertRaises(Broken, ingress.check)
        self.assertIn("timers", str(error))

    def test_twoSolicitationsForOnePacketAreFound(self) -> None:
        ingress = Ingress(True)
        hold = ingress.host.neighbours.hold

        def twice(address: bytes, send: Callable[[bytes | None], None], octets: int) -> None:
            hold(address, send, octets)
            hold(address[:-1] + b"\xc8", send, octets)

        self.patch(ingress.host.neighbours, "hold", twice)
        request = frame(udpPacket(THEIRS, OURS, 53, CALLING, b"\x50" + bytes(999)))
        error = self.assertRaises(Broken, ingress.receive, request)
        self.assertIn("2 neighbour solicitations", str(error))

    def test_delayedAnswersAreNotCountedForTheLaterPacket(self) -> None:
        # The packets are sent when the ARP reply arrives, but they do not answer it.
        ingress = Ingress(True)
        ingress.host.neighbours.remove(THEIRS)
        (transport,) = ingress.host.udp.bound(ECHO)
        for size in 1000, 0, 0:
            transport.write(bytes(size), (THEIRS, 9))
        ingress.receive(arpFrame(REPLY, THEIRS, OURS))
        self.assertEqual([len(data) - 14 - 20 - 8 for data in ingress.device.sent], [1000, 0, 0])

    def test_timePassesWithoutDelayedCalls(self) -> None:
        ingress = Ingress(False)
        for call in ingress.clock.getDelayedCalls():
            call.cancel()
        ingress.advance(1)
        self.assertEqual(ingress.clock.seconds(), 11)

    def test_endlessWorkIsFound(self) -> None:
        ingress = Ingress(False)

        def again() -> None:
            ingress.clock.callLater(1e-6, again)

        again()
        self.assertRaises(Broken, ingress.advance, 1)

    def test_aHostThatStopsAnsweringIsFound(self) -> None:
        ingress = Ingress(False)
        ingress.host.ip.removeProto(1, ingress.host.icmp)
        self.assertRaises(Broken, ingress.check)

    def test_aLogLinePerPacketIsFound(self) -> None:
        def log(self: Pinger, *ignored: object) -> bool:
            Logger().warn("an answer")
            return True

        self.patch(Pinger, "answered", log)
        reply = icmpPacket(THEIRS, OURS, 0, 0, 7, b"")
        feed(join(False, [reply]))
        self.assertRaises(Broken, feed, join(False, [reply] * 10))
