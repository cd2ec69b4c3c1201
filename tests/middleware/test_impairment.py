"""
Tests for L{txtuntap.middleware.impairment}: starting, stopping, delivery and counters. The random faults are tested in
L{tests.middleware.test_chance}.
"""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.middleware.impaired import ImpairmentTestCase, TimedPort, TimedRecorder
from tests.offload.case import ALL
from tests.recorders import DatagramRecorder, PacketRecorder
from tests.superpackets import udpSuperpacket
from txtuntap import Host, IPProtocol, Packet, TuntapPort
from txtuntap.middleware import GEModel, Impairment, Meter, Netem
from txtuntap.network.link import Link
from txtuntap.testing import TUN, MemoryDevice, SettableClock, SimulationClock
from txtuntap.wire.offload import finish


class SettingTests(ImpairmentTestCase):
    def test_withoutFaultsPacketsPassAtOnce(self) -> None:
        impairment = self.impaired()
        packet = Packet(b"hello")
        impairment.packetReceived(packet)
        impairment.writePacket([b"he", b"llo"])
        self.assertEqual(self.proto.packets, [packet])
        self.assertIs(packet.port, impairment)
        self.assertEqual(self.port.timed, [(0, b"hello")])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(impairment.counters, {})

    def test_observersSeeThePacketsBetweenTheFaultsAndTheProtocol(self) -> None:
        impairment = self.impaired(up=Netem(duplicate=1), down=Netem(loss=1))
        seen: list[tuple[bytes, bool]] = []
        impairment.observers.append(lambda packet, isInbound: seen.append((packet, isInbound)))
        packet = Packet(b"--hello", start=2)
        impairment.packetReceived(packet)
        impairment.writePacket([b"he", b"llo"])
        self.assertEqual(seen, [(b"hello", True), (b"hello", True), (b"hello", False)])
        self.assertEqual(self.port.timed, [])

    def test_faultsOtherThanANetemAreRefused(self) -> None:
        for wrong in "loss 10%", 0.1, GEModel(0.1):
            error = self.assertRaises(TypeError, Impairment, PacketRecorder(), wrong)
            self.assertIn("Netem.of('loss 10%')", str(error))
        impairment = self.impaired()
        with self.assertRaises(TypeError):
            impairment.up = None  # type: ignore[assignment]
        self.assertEqual(impairment.up, Netem())

    def test_eachDirectionHasItsOwnFaults(self) -> None:
        one, other = Netem(loss=1), Netem(delay=1)
        impairment = self.impaired(one)
        self.assertEqual((impairment.up, impairment.down), (one, one))
        impairment = self.impaired(one, down=other)
        self.assertEqual((impairment.up, impairment.down), (one, other))
        self.sendNumbered(impairment, 3)
        self.clock.advance(2)
        self.assertEqual((self.received, self.sent), ([], [0, 1, 2]))
        self.assertEqual(impairment.counters, {"inLost": 3})

    def test_tablesHaveTheNumberOfDelayedPackets(self) -> None:
        impairment = self.impaired(up=Netem(delay=1), down=Netem(delay=2, limit=2))
        self.sendNumbered(impairment, 3)
        self.assertEqual([(state.size, state.bound) for state in impairment.tables()], [(3, 1000), (2, 2)])
        self.clock.advance(1)
        self.assertEqual([state.size for state in impairment.tables()], [0, 2])

    def test_packetsWithoutAPortAreDiscarded(self) -> None:
        impairment = Impairment(PacketRecorder(), Netem(delay=1))
        impairment.packetReceived(Packet(b"1"))
        impairment.writePacket([b"1"])
        self.assertEqual(impairment.counters, {"inDiscards": 1, "outDiscards": 1})


class RunningTests(ImpairmentTestCase):
    def test_packetsInTransitKeepTheirDeliveryTime(self) -> None:
        impairment = self.impaired(Netem(delay=1))
        impairment.writePacket([b"1"])
        impairment.down = Netem(delay=0.1)
        impairment.writePacket([b"2"])
        impairment.down = Netem()
        impairment.writePacket([b"3"])
        self.clock.advance(2)
        self.assertEqual(
            [(round(time, 5), data) for time, data in self.port.timed], [(0, b"3"), (0.1, b"2"), (1, b"1")]
        )

    def test_packetsInTransitAreDiscardedAtTheStop(self) -> None:
        impairment = self.impaired(Netem(delay=1))
        self.sendNumbered(impairment, 3)
        impairment.doStop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(2)
        self.assertEqual((self.received, self.sent), ([], []))
        self.assertEqual(impairment.counters, {"inDiscards": 3, "outDiscards": 3})
        impairment.makeConnection(self.port)
        self.sendNumbered(impairment, 1)
        self.clock.advance(2)
        self.assertEqual((self.received, self.sent), ([0], [0]))

    def test_theQueueIsEmptyAfterARestart(self) -> None:
        impairment = self.impaired(Netem(rate=32))
        self.sendNumbered(impairment, 100)
        impairment.doStop()
        impairment.makeConnection(self.port)
        self.sendNumbered(impairment, 1)
        self.clock.advance(1.1)
        self.assertEqual((self.received, self.sent), ([0], [0]))

    def test_aPortWithoutAClockIsRefused(self) -> None:
        port = TimedPort(self.clock)
        port.clock = None  # type: ignore[assignment]
        error = self.assertRaises(TypeError, Impairment(PacketRecorder()).makeConnection, port)
        self.assertIn("has no clock", str(error))

    def test_aProtocolMayStopItWhilePacketsArrive(self) -> None:
        impairment = self.impaired(Netem(delay=1))
        self.proto.then = lambda packet: impairment.doStop()
        self.sendNumbered(impairment, 3)
        self.clock.advance(2)
        self.assertEqual(self.received, [0])
        self.assertEqual(impairment.counters["inDiscards"], 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_aDuplicateIsDiscardedIfTheOriginalStopsIt(self) -> None:
        for netem in Netem(duplicate=1), Netem(duplicate=1, delay=1):
            impairment = self.impaired(netem)
            self.proto.then = lambda packet, it=impairment: it.doStop()
            impairment.packetReceived(Packet(b"1"))
            self.clock.advance(2)
            self.assertEqual(len(self.proto.packets), 1)
            self.assertEqual(impairment.counters, {"inDuplicated": 1, "inDiscards": 1})

    def test_packetsOfAProtocolThatFailsToStartAreDiscarded(self) -> None:
        impairment = self.impaired(Netem(delay=1))
        impairment.doStop()

        def failing() -> None:
            impairment.writePacket([b"hello"])
            raise ZeroDivisionError

        self.proto.startProtocol = failing  # type: ignore[method-assign]
        self.assertRaises(ZeroDivisionError, impairment.makeConnection, self.port)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_aSecondStartRaisesAndChangesNothing(self) -> None:
        impairment = self.impaired(Netem(delay=1))
        self.sendNumbered(impairment, 1)
        self.assertRaises(RuntimeError, impairment.doStart)
        self.clock.advance(2)
        self.assertEqual((self.received, self.sent), ([0], [0]))

    def test_anAnswerByThePortOfAPacketIsImpaired(self) -> None:
        impairment = self.impaired(Netem(delay=1))
        self.proto.then = lambda packet: packet.port.writePacket([bytes(packet)])
        impairment.packetReceived(Packet(b"\1"))
        self.clock.advance(3)
        self.assertEqual([(round(time, 5), data) for time, data in self.port.timed], [(2, b"\1")])

    def test_endlessAnswersTakeOneTurnEach(self) -> None:
        # A loop of links does this. It must neither recurse nor block the reactor.
        impairment = self.impaired(up=Netem(delay=1))
        self.proto.then = lambda packet: impairment.packetReceived(Packet(bytes(packet)))
        impairment.packetReceived(Packet(b"\1"))
        self.clock.advance(10.5)
        self.assertEqual(len(self.received), 10)

    def test_aJumpingClockKeepsTheOrder(self) -> None:
        self.clock = Clock()
        impairment = self.impaired(Netem(delay=1, jitter=0.5))
        self.sendNumbered(impairment, 100)
        self.clock.advance(100)
        late = self.received
        self.clock = SimulationClock()
        self.sendNumbered(self.impaired(Netem(delay=1, jitter=0.5)), 100)
        self.clock.advance(100)
        self.assertEqual(late, self.received)

    def test_anUndelayedPacketWaitsForOverdueOnes(self) -> None:
        # The reactor was busy, so that two packets are overdue.
        self.clock = Clock()
        impairment = self.impaired(Netem(delay=1))
        impairment.writePacket([b"1"])
        impairment.writePacket([b"2"])
        impairment.down = Netem()
        self.clock.rightNow += 2
        impairment.writePacket([b"3"])
        self.assertEqual(self.port.timed, [])
        self.clock.advance(0)
        self.assertEqual(self.port.sent, [b"1", b"2", b"3"])

    def test_settingTheWallClockChangesNoDelay(self) -> None:
        for step in -3600, 3600:
            self.clock = SettableClock()
            self.clock.advance(1e6)
            impairment = self.impaired(Netem(delay=1, rate=8000))
            self.sendNumbered(impairment, 1)
            self.clock.advance(0.5)
            self.clock.setBy(step)
            self.sendNumbered(impairment, 2)
            self.clock.advance(0.49)
            self.assertEqual((self.received, self.sent), ([], []))
            self.clock.advance(0.1)
            self.assertEqual((self.received, self.sent), ([0], [0]))
            self.clock.advance(0.31)
            self.assertEqual((self.received, self.sent), ([0], [0]))
            self.clock.advance(0.12)
            self.assertEqual((self.received, self.sent), ([0, 0, 1], [0, 0, 1]))

    def test_roundedTimesDelayNoPacketForEver(self) -> None:
        # Today's date in seconds is so great that sums are rounded to a tenth of a microsecond.
        self.clock.advance(1.8e9 + 1 / 3)
        self.sendNumbered(self.impaired(Netem(delay=1 / 7, jitter=1 / 11, rate=123457)), 200, every=1 / 13)
        self.clock.advance(1)
        self.assertEqual((len(self.received), len(self.sent)), (200, 200))

    def test_anExceptionIsLoggedAndLaterPacketsArrive(self) -> None:
        ip = IPProtocol(["10.9.0.2/24"])
        ip.onDropped = lambda packet, drop: 1 // 0  # type: ignore[assignment]
        impairment = Impairment(ip, Netem(delay=1))
        impairment.makeConnection(TimedPort(self.clock))
        for _ in range(3):
            impairment.packetReceived(Packet(b"no datagram"))
        self.clock.advance(2)
        self.assertEqual(ip.counters["inTruncatedPkts"], 3)
        self.assertEqual(impairment.counters, {"protocolFailures": 3})
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_superpacketsAreCutBeforeTheyAreImpaired(self) -> None:
        device = MemoryDevice(TUN, features=ALL)
        proto = PacketRecorder()
        impairment = Impairment(proto, Netem(corrupt=1))
        port = TuntapPort("", Meter(impairment), reactor=self.clock, device=device)
        port.startListening()
        packet, offload = udpSuperpacket(4, b"first", b"other", b"last")
        device.deliver(packet, offload)
        self.clock.advance(0)
        for before, came in zip(finish(packet, offload), proto.packets, strict=True):
            changed = int.from_bytes(before, "big") ^ int.from_bytes(bytes(came), "big")
            self.assertEqual(changed.bit_count(), 1)
        self.assertEqual(impairment.offloads, 0)


class LinkTests(ImpairmentTestCase):
    def ping(self, netem: Netem) -> float:
        """
        Measure the seconds that a ping takes over a link with these faults.
        """
        hosts = [Host([f"10.9.0.{number}/24"], self.clock) for number in (1, 2)]
        Link(hosts[0].ip, Impairment(hosts[1].ip, netem, random=Random(1)), self.clock).start()
        self.clock.advance(5)
        began = self.clock.seconds()
        took: list[float] = []
        pong = hosts[0].ping("10.9.0.2", timeout=10)
        pong.addBoth(lambda _: took.append(self.clock.seconds() - began))
        self.clock.advance(20)
        return took[0]

    def test_aPingTakesTheDelayTwice(self) -> None:
        self.assertAlmostEqual(self.ping(Netem(delay=0.3)), 0.6, 5)

    def test_aPingAtARateTakesTheTimeOfTwoPackets(self) -> None:
        # A packet has 84 octets: 20 of IP, 8 of ICMP and 56 of payload.
        self.assertAlmostEqual(self.ping(Netem(rate=8 * 84)), 2, 5)

    def test_reorderedFragmentsAreReassembled(self) -> None:
        hosts = [Host([f"10.9.0.{number}/24"], self.clock) for number in (1, 2)]
        netem = Netem(delay=0.1, jitter=0.09, duplicate=0.2)
        Link(hosts[0].ip, Impairment(hosts[1].ip, netem, random=Random(1)), self.clock).start()
        self.clock.advance(5)
        proto = DatagramRecorder()
        hosts[1].listenUDP(7, proto)
        payload = Random(3).randbytes(30_000)
        client = DatagramRecorder()
        hosts[0].listenUDP(0, client)
        client.transport.write(payload, ("10.9.0.2", 7))
        self.clock.advance(1)
        self.assertEqual(proto.data, [payload])


PROBABILITY = st.sampled_from([0, 0.001, 0.3, 0.9, 1]) | st.floats(0, 1)


@st.composite
def netems(draw: st.DrawFn) -> Netem:
    """
    Draw any valid settings.
    """
    gemodel = draw(st.none() | st.builds(GEModel, PROBABILITY, PROBABILITY, PROBABILITY, PROBABILITY))
    delay = draw(st.sampled_from([0, 1e-9, 0.01, 5]))
    reorder = draw(PROBABILITY) if delay else 0
    return Netem(
        delay=delay,
        jitter=draw(st.sampled_from([0, 1e-9, 0.01, 5])),
        distribution=draw(st.sampled_from(["uniform", "normal"])),
        loss=0 if gemodel else draw(PROBABILITY),
        gemodel=gemodel,
        duplicate=draw(PROBABILITY),
        corrupt=draw(PROBABILITY),
        reorder=reorder,
        gap=draw(st.integers(1, 4)),
        rate=draw(st.none() | st.sampled_from([1, 8000, 1e12])),
        limit=draw(st.sampled_from([1, 3, 1000])),
        ordered=not reorder and draw(st.booleans()),
        mtu=draw(st.none() | st.sampled_from([1, 20])),
    )


STEPS = st.lists(
    st.tuples(st.sampled_from(["up", "down", "time", "back", "change"]), st.binary(max_size=40), st.floats(0, 3)),
    max_size=30,
)


class AnyFaultTests(SynchronousTestCase):
    @given(netems(), netems(), STEPS, st.integers(0, 5), st.booleans())
    def test_everyPacketArrivesOrIsCountedOnce(
        self, one: Netem, other: Netem, steps: list[tuple[str, bytes, float]], seed: int, stops: bool
    ) -> None:
        clock = SettableClock()
        proto, port = TimedRecorder(clock), TimedPort(clock)
        impairment = Impairment(proto, one, random=Random(seed))
        impairment.makeConnection(port)
        entered = {"in": 0, "out": 0}
        for step, data, seconds in steps:
            if step == "up":
                impairment.packetReceived(Packet(data, len(data) // 2))
                entered["in"] += 1
            elif step == "down":
                impairment.writePacket([data])
                entered["out"] += 1
            elif step == "time":
                clock.advance(seconds)
            elif step == "back":
                clock.setBy(-seconds)
            else:
                impairment.up, impairment.down = other, one
        if stops:
            impairment.doStop()
        else:
            clock.pump([1e6] * 3)
        self.assertEqual(clock.getDelayedCalls(), [])
        counters = impairment.counters
        for direction, arrived in ("in", len(proto.packets)), ("out", len(port.timed)):
            dropped = sum(counters[direction + name] for name in ("Lost", "OverLimit", "TooBig", "Discards"))
            self.assertEqual(arrived + dropped, entered[direction] + counters[direction + "Duplicated"])
