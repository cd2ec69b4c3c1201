"""
Tests that set the wall clock forward or back by an hour. Every deadline and every age must be the same as without the
step.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from random import Random
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone, TimeoutError
from twisted.internet.testing import StringTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.ports import RecordingPort
from tests.recorders import DatagramRecorder, PacketRecorder
from txtuntap import Host, IPProtocol, Packet, RawUDPProtocol, TuntapPort
from txtuntap.device.helper.limits import LogLimit
from txtuntap.layer.counters import Counters
from txtuntap.layer.life import FailureLog
from txtuntap.layer.tokenbucket import TokenBucket
from txtuntap.middleware import Impairment, Meter, Netem
from txtuntap.network import Link, Replay
from txtuntap.stack.guard import AddressGuard
from txtuntap.stack.reports import Reporter
from txtuntap.switch import Switch
from txtuntap.testing import TAP, TUN, MemoryDevice, SettableClock, ethernetFrame, ipPacket, udpDatagram, udpPacket
from txtuntap.tunnel import Frames, StreamFactory, Tunnel, connecting
from txtuntap.tunnel.bare import Bare
from txtuntap.tunnel.datagram import DatagramCarrier
from txtuntap.tunnel.sparselog import SparseLog
from txtuntap.udp import Echo
from txtuntap.wire import icmp, pcapng
from txtuntap.wire.address import packAddress
from txtuntap.wire.igmp import Query
from txtuntap.wire.ndp import Prefix, RouterAdvertisement

PEER, OWN = "10.0.0.1", "10.0.0.2"

#: The seconds between two turns, the time in seconds at which the clock is set, and the seconds of the step.
TURN = 0.25
STEP_AT = 3.1
HOUR = 3600

#: A function that performs the actions of a scene at a second (-1 between seconds), and returns the present state.
Tick = Callable[[int], object]


def port(clock: SettableClock) -> Any:
    """
    Make a port that keeps the packets written to it.
    """
    return RecordingPort(clock=clock)


class Carrier:
    """
    The stream of a tunnel, in memory.
    """

    def __init__(self, factory: StreamFactory) -> None:
        self.carrier = factory.buildProtocol(None)
        self.transport = StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.1", 4001))
        self.transport.abortConnection = self.abort  # type: ignore[method-assign]
        self.isOpen = True
        self.carrier.makeConnection(self.transport)

    def abort(self) -> None:
        if self.isOpen:
            self.isOpen = False
            self.carrier.connectionLost(Failure(ConnectionDone()))


class ClockStepTests(SynchronousTestCase):
    """
    Tests of one scene each, in which timers are pending when the clock is set.
    """

    def timeline(self, scene: Callable[[SettableClock], Tick], seconds: int, step: float) -> list[object]:
        """
        Run a scene, and set the wall clock by a step during it.

        @return: the state after each turn.
        """
        clock = SettableClock()
        clock.advance(1e6)
        tick = scene(clock)
        told: list[object] = []
        for turn in range(int(seconds / TURN)):
            passed = turn * TURN
            if passed <= STEP_AT < passed + TURN:
                clock.setBy(step)
            told.append(tick(int(passed) if passed == int(passed) else -1))
            clock.advance(TURN)
            clock.advance(0)
        return told

    def check(self, scene: Callable[[SettableClock], Tick], seconds: int, last: object) -> None:
        """
        Check that a scene has the same states at the same times whether the wall clock is set or not.

        @param last: the last state of the scene.
        """
        expected = self.timeline(scene, seconds, 0)
        self.assertEqual(expected[-1], last)
        self.assertGreater(len(set(map(repr, expected))), 1)
        for step in HOUR, -HOUR:
            # The states are compared one by one, because the difference of two long lists takes minutes to print.
            for turn, (told, due) in enumerate(zip(self.timeline(scene, seconds, step), expected, strict=True)):
                self.assertEqual(told, due, f"{turn * TURN} seconds, {step}")

    # Scenes of the IP layer

    def fragments(self, clock: SettableClock) -> Tick:
        recorder = DatagramRecorder()
        udp = RawUDPProtocol()
        udp.addProto(7, recorder)
        ip = IPProtocol([OWN + "/24"], clock=clock)
        ip.addProto(17, udp)
        ip.makeConnection(port(clock))
        whole = udpDatagram(PEER, OWN, 5, 7, b"z" * 120)

        def fragment(ident: int, offset: int) -> None:
            data = whole[offset : offset + 64]
            more = offset + 64 < len(whole)
            word = (0x2000 if more else 0) | offset >> 3
            packet = ipPacket(PEER, OWN, 17, data, identification=ident, fragment=word)
            ip.packetReceived(Packet(packet, time=clock.steadySeconds()))

        def tick(second: int) -> object:
            if second == 0:
                fragment(1, 0)
                fragment(3, 0)
            elif second == 20:
                fragment(3, 64)
            elif second == 33:
                # After the timeout, a fragment with the same identification belongs to another datagram.
                fragment(1, 64)
            return len(recorder.received), ip.counters["reasmTimeouts"]

        return tick

    def test_fragmentsExpireInTime(self) -> None:
        self.check(self.fragments, 70, (1, 2))

    def test_oldFragmentsAreNotReassembledAfterAnUnnoticedStep(self) -> None:
        clock = SettableClock()
        tick = self.fragments(clock)
        tick(0)
        clock.setBy(-HOUR, noticed=False)
        clock.pump([1] * 40)
        self.assertEqual(tick(33), (0, 1))
        self.assertEqual(tick(20), (0, 2))

    def test_aPathMTUExpiresInTime(self) -> None:
        def scene(clock: SettableClock) -> Tick:
            host = Host([OWN + "/24"], reactor=clock)
            dest = packAddress(PEER)
            host.ip.pathNarrowed(dest, 1000, 1400, clock.steadySeconds())
            return lambda second: host.ip.paths.lookup(dest, host.ip.now())

        self.check(scene, 602, None)

    # Scenes of a host

    def host(self, clock: SettableClock, *addresses: str, **options: Any) -> tuple[Host, MemoryDevice]:
        host = Host(addresses or [OWN + "/24"], reactor=clock, random=Random(1), secrets=Random(2), **options)
        device = MemoryDevice(TAP)
        TuntapPort("", host.ethernet, reactor=clock, device=device).startListening()
        return host, device

    def test_neighboursAreResolvedAndProbedInTime(self) -> None:
        def scene(clock: SettableClock) -> Tick:
            host, _ = self.host(clock)
            transport = host.listenUDP(1000, DatagramRecorder())

            def tick(second: int) -> object:
                if second in (2, 7):
                    transport.write(b"", (PEER, 7))
                elif second == 12:
                    host.neighbours.confirmed(packAddress(PEER), bytes(5) + b"\2")
                    host.neighbours.claimed(packAddress("10.0.0.9"), bytes(5) + b"\3", True)
                    host.neighbours.confirm(packAddress("10.0.0.9"))
                states = tuple(entry.state for entry in host.neighbours.entries.values())
                return host.neighbours.counters["outSolicits"], host.neighbours.counters["unresolved"], states

            return tick

        self.check(scene, 30, (9, 3, ()))

    def test_aNeighbourIsReachableForItsTime(self) -> None:
        def scene(clock: SettableClock) -> Tick:
            host, _ = self.host(clock)
            transport = host.listenUDP(1000, DatagramRecorder())

            def tick(second: int) -> object:
                if second == 1:
                    transport.write(b"", (PEER, 7))
                    host.neighbours.confirmed(packAddress(PEER), bytes(5) + b"\2")
                return [entry.state for entry in host.neighbours.entries.values()]

            return tick

        self.check(scene, 60, ["stale"])

    def test_pingsTimeOutAndMeasureInSteadyTime(self) -> None:
        def scene(clock: SettableClock) -> Tick:
            host, device = self.host(clock)
            host.neighbours.add(PEER, "02:00:00:00:00:01")
            told: list[object] = []

            def tick(second: int) -> object:
                if second == 1:
                    host.ping(PEER, timeout=8).addErrback(lambda reason: told.append(reason.type))
                elif second == 2:
                    host.ping(PEER, timeout=8).addCallback(lambda pong: told.append(pong.seconds))
                elif second == 4:
                    request = [each[14:] for each in device.sent if each[12:14] == b"\x08\0" and each[23] == 1][-1]
                    reply = icmp.pack(icmp.ECHO_REPLY, 0, int.from_bytes(request[24:28], "big"), request[28:])
                    frame = ethernetFrame("02:00:00:00:00:01", host.linkAddress, 0x0800, ipPacket(PEER, OWN, 1, reply))
                    device.deliver(frame)
                return tuple(told)

            return tick

        self.check(scene, 12, (2.25, TimeoutError))

    def test_addressesAreDefendedAtTheirRate(self) -> None:
        def scene(clock: SettableClock) -> Tick:
            events = Counters()

            def count(name: str) -> Callable[..., None]:
                def add(*ignored: object) -> None:
                    events[name] += 1

                return add

            guard = AddressGuard(clock, Random(1), *map(count, ("probe", "announce", "lost", "confirmed")))
            own, other = packAddress(OWN), packAddress("10.0.0.3")
            guard.claim(own)

            def tick(second: int) -> object:
                if second == 2:
                    guard.claim(other)
                    guard.conflict(other, bytes(6))
                elif second > 5:
                    guard.conflict(own, bytes(6))
                return dict(events)

            return tick

        self.check(scene, 30, {"probe": 6, "lost": 1, "confirmed": 2, "announce": 7})

    def test_routersAndPrefixesExpireInTime(self) -> None:
        def scene(clock: SettableClock) -> Tick:
            host, _ = self.host(clock, OWN + "/24", autoconfigure=True)
            told = host.autoconfiguration
            assert told is not None
            router = packAddress("fe80::1")
            network = packAddress("fd00::")

            def tick(second: int) -> object:
                if second == 1:
                    prefix = Prefix(network, 64, True, True, 10.0, 5.0)
                    told.advertised(router, RouterAdvertisement(7, None, None, (prefix,)))
                return told.isRouter(router), host.routes.lookup(packAddress("fd00::9")), len(host.addresses)

            return tick

        self.check(scene, 15, (False, None, 2))

    def test_groupReportsAreSentInTime(self) -> None:
        def scene(clock: SettableClock) -> Tick:
            sent: list[tuple[int, int]] = []
            reporter = Reporter(
                clock, Random(3), 3, lambda version: 10, lambda version, records: sent.append((version, len(records)))
            )
            reporter.changed(bytes(4), True)

            def tick(second: int) -> object:
                if second == 1:
                    reporter.queried(Query(3, bytes(4), 10.0))
                elif second == 2:
                    reporter.queried(Query(1, bytes(4), 10.0))
                return reporter.version, tuple(sent)

            return tick

        self.check(scene, 270, (3, ((3, 1), (3, 1), (1, 1))))

    # Scenes of rate limits

    def test_rateLimitsHoldDuringAStep(self) -> None:
        def scene(clock: SettableClock) -> Tick:
            device = MemoryDevice(TUN)
            host = Host([OWN + "/24"], reactor=clock, random=Random(1), secrets=Random(2))
            echo = Echo(rate=1.0, burst=3)
            host.listenUDP(7777, echo)
            TuntapPort("", host.ip, reactor=clock, device=device).startListening()

            def tick(second: int) -> object:
                for _ in range(30):
                    device.deliver(udpPacket(PEER, OWN, 5000, 7777, b"echo"))
                    device.deliver(udpPacket(PEER, OWN, 5000, 9999, b"nobody"))
                return echo.counters["outLimited"], host.icmp.counters["outErrors"]

            return tick

        self.check(scene, 10, (39 * 30 - 3 - 9, 15))

    def test_logLimitsHoldDuringAStep(self) -> None:
        def scene(clock: SettableClock) -> Tick:
            lines: list[str] = []
            log = Logger(observer=lambda event: lines.append(event["log_namespace"]))  # type: ignore[arg-type]
            sparse = SparseLog(log, clock)
            limit = LogLimit(clock)
            limit._log = log
            failures = FailureLog(self, Counters())
            failures._log = log
            allowed = 0

            def tick(second: int) -> object:
                nonlocal allowed
                sparse.say("one", "{reason}")
                allowed += limit.allows(1, "refusals")
                try:
                    raise ValueError
                except ValueError:
                    failures.failed(clock.steadySeconds(), "method")
                return len(lines), allowed

            return tick

        self.check(scene, 70, (141, 210))

    def test_aTokenBucketFillsInSteadyTime(self) -> None:
        def scene(clock: SettableClock) -> Tick:
            bucket = TokenBucket(1.0, 2.0)
            host = Host([], reactor=clock)
            return lambda second: bucket.take(host.steadySeconds())

        self.check(scene, 10, False)

    # Scenes of middleware, switches and replays

    def test_anImpairmentDelaysInSteadyTime(self) -> None:
        def scene(clock: SettableClock) -> Tick:
            proto = PacketRecorder()
            impairment = Impairment(proto, Netem(delay=2, jitter=1, rate=8000), random=Random(1))
            impairment.makeConnection(port(clock))

            def tick(second: int) -> object:
                if 0 <= second < 6:
                    impairment.packetReceived(Packet(bytes(100)))
                    impairment.writePacket([bytes(100)])
                return len(proto.packets), len(impairment.transport.sent)

            return tick

        self.check(scene, 20, (6, 6))

    def test_aMeterMeasuresInSteadyTime(self) -> None:
        def scene(clock: SettableClock) -> Tick:
            meter = Meter(PacketRecorder())
            meter.makeConnection(port(clock))

            def tick(second: int) -> object:
                if 0 <= second < 6:
                    meter.packetReceived(Packet(bytes(100)))
                return meter.rates()["meter"].get("inPackets")

            return tick

        self.check(scene, 20, None)

    def test_aReplayKeepsItsPace(self) -> None:
        frame = ethernetFrame("02:00:00:00:00:01", "02:00:00:00:00:02", 0x88B5, bytes(46))
        blocks = [pcapng.enhancedPacket(frame, second * 10**9) for second in (0, 2, 5, 15)]
        data = pcapng.sectionHeader() + pcapng.interfaceDescription(1) + b"".join(blocks)

        def scene(clock: SettableClock) -> Tick:
            switch = Switch(clock)
            switch.addPort("other")
            replay = Replay(io.BytesIO(data), switch.addPort("port"), clock)
            done: list[int] = []
            replay.start().addCallback(done.append)
            return lambda second: (replay.counters["inPackets"], tuple(done))

        self.check(scene, 20, (4, (4,)))

    def test_stationsOfASwitchAgeInTime(self) -> None:
        def scene(clock: SettableClock) -> Tick:
            switch = Switch(clock, ageingTime=10)
            one, other = switch.addPort("one"), switch.addPort("other")
            Link(Host([OWN + "/24"], reactor=clock).ethernet, one, clock).start()
            other.makeConnection(port(clock))
            frame = ethernetFrame("02:00:00:00:00:09", b"\xff" * 6, 0x88B5, bytes(46))

            def tick(second: int) -> object:
                if second == 1:
                    other.packetReceived(Packet(frame))
                return [each.age for each in switch.stations if each.port is other]

            return tick

        self.check(scene, 20, [])

    # Scenes of tunnels

    def test_silentStreamsAreAbortedInTime(self) -> None:
        def scene(clock: SettableClock) -> Tick:
            tunnel = Tunnel(TUN)
            tunnel.makeConnection(port(clock))
            factory = StreamFactory(tunnel, Frames, clock)
            silent, greeted = Carrier(factory), Carrier(factory)
            greeted.carrier.dataReceived(greeted.carrier._framing.greeting(0, 1500))
            return lambda second: (silent.isOpen, greeted.isOpen, tunnel.carrier is None)

        self.check(scene, 60, (False, False, True))

    def test_reconnectionIsTriedInTime(self) -> None:
        for step in 0, HOUR, -HOUR:
            clock = SettableClock()
            clock.advance(1e6)
            factory = StreamFactory(Tunnel(TUN), Frames, clock)
            factory.log._log = Logger(observer=cast(Any, lambda event: None))
            tries: list[object] = []

            class Endpoint:
                def connect(endpoint, factory: object, tries: list[object] = tries) -> Deferred[object]:
                    tries.append(factory)
                    return fail(ConnectionDone())

            service = connecting(cast(Any, Endpoint()), factory)
            service.startService()
            clock.advance(0.1)
            clock.setBy(step)
            clock.advance(0.1)
            self.assertEqual(len(tries), 1)
            # Twisted waits for a random time of about 2 seconds.
            clock.advance(5)
            self.assertEqual(len(tries), 2)
            self.successResultOf(service.stopService())
            self.assertEqual(clock.getDelayedCalls(), [])

    def test_aDatagramTunnelChangesItsPeerInTime(self) -> None:
        class Transport:
            def getHandle(self) -> Any:
                return self

            def setsockopt(self, *arguments: object) -> None:
                pass

            def getHost(self) -> IPv4Address:
                return IPv4Address("UDP", "0.0.0.0", 4789)

        packet = udpPacket(PEER, OWN, 1, 2, b"")

        def scene(clock: SettableClock) -> Tick:
            tunnel = Tunnel(TUN)
            tunnel.makeConnection(port(clock))
            carrier = DatagramCarrier(tunnel, Bare(TUN), None, clock)
            carrier.makeConnection(cast(Any, Transport()))

            def tick(second: int) -> object:
                if second == 1:
                    carrier.datagramReceived(packet, ("192.0.2.1", 4000))
                elif second > 1:
                    carrier.datagramReceived(packet, ("192.0.2.9", 4000))
                return carrier.peer and carrier.peer[0]

            return tick

        self.check(scene, 70, "192.0.2.9")
