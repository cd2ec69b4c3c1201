"""
A port on the kernel's devices, on each reactor.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure

from tests.device.contract import MARK, sample
from tests.real.lab.link import PacketSocket, delete, setDown, setUp
from tests.real.lab.namespace import PATIENCE, interfaces, ip
from tests.real.lab.reactors import Run, Test, descriptors, onEachReactor, outcome
from tests.recorders import Echo, PacketRecorder, forPort
from txtuntap import EthernetProtocol, InterfaceLost, IPProtocol, Packet, RawUDPProtocol, TuntapPort
from txtuntap.device import TAP, TUN
from txtuntap.device.linux import LinuxDevice


class Recorder(PacketRecorder):
    """
    Records received packets, without those that the kernel sends on its own.
    """

    def packetReceived(self, packet: Packet) -> None:
        if MARK in bytes(packet):
            super().packetReceived(packet)


class Port(TuntapPort):
    """
    A port that counts its losses, and records how much it reads in each turn.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.losses: list[Failure | None] = []
        self.turns: list[tuple[int, int]] = []

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.losses.append(reason)
        super().connectionLost(reason)

    def doRead(self) -> Exception | None:
        packets, octets = self.counters["inPackets"], self.counters["inOctets"]
        try:
            return super().doRead()
        finally:
            self.turns.append((self.counters["inPackets"] - packets, self.counters["inOctets"] - octets))


def made(run: Run, mode: int, *args: Any, **kwargs: Any) -> tuple[Recorder, Port]:
    """
    Make a recorder, and a port with it that does not listen yet.
    """
    recorder = forPort(Recorder(), mode)
    return recorder, Port(f"tt{mode}", recorder, *args, reactor=run.reactor, **kwargs)


def comes(mode: int, *packets: bytes) -> None:
    """
    Send packets from the kernel to the device of a port that L{made} has made.
    """
    with PacketSocket(f"tt{mode}", mode) as network:
        for packet in packets:
            network.send(packet)


def onBothKinds(test: Callable[[Run, int], Coroutine[Deferred[Any], Any, None]]) -> Test:
    """
    Run a test on a tun, and then on a tap.
    """

    @wraps(test)
    async def runOnBothKinds(run: Run) -> None:
        for mode in TUN, TAP:
            await test(run, mode)

    return runOnBothKinds


@onEachReactor
@onBothKinds
async def test_packetsGoBothWays(run: Run, mode: int) -> None:
    recorder, port = made(run, mode)
    port.startListening()
    setUp(f"tt{mode}")
    with PacketSocket(f"tt{mode}", mode) as network:
        packets = [sample(mode, bytes(size)) for size in (0, 1, 1000)]
        for packet in packets:
            network.send(packet)
        await run.until(lambda: len(recorder.packets) == 3, "packets")
        assert recorder.data == packets
        assert port.write(packets[2]) == len(packets[2])
        port.writePacket([packets[1][:20], packets[1][20:]])
        port.writeSequence([packets[0][:3], packets[0][3:]])
        assert network.received() == packets[::-1]
    assert port.counters["outPackets"] == 3
    await port.stopListening()
    assert interfaces() == set()


@onEachReactor
@onBothKinds
async def test_aStoppedPortCanStartAgain(run: Run, mode: int) -> None:
    before = held(run)
    recorder, port = made(run, mode)
    for _ in range(3):
        recorder.packets.clear()
        port.startListening()
        lost = port.whenLost()
        setUp(f"tt{mode}")
        comes(mode, sample(mode))
        await run.until(lambda: recorder.packets, "a packet")
        await port.stopListening()
        assert await outcome(lost) is ConnectionDone
        assert held(run) == before
    assert recorder.events == ["start", "stop"] * 3


@onEachReactor
@onBothKinds
async def test_startTwiceIsRefused(run: Run, mode: int) -> None:
    _, port = made(run, mode)
    port.startListening()
    with pytest.raises(CannotListenError, match="listening already"):
        port.startListening()
    assert port.connected
    await port.stopListening()


@onEachReactor
@onBothKinds
async def test_nothingIsDeliveredAfterStopListening(run: Run, mode: int) -> None:
    recorder, port = made(run, mode)
    port.startListening()
    setUp(f"tt{mode}")
    stopped: list[Deferred[None]] = []
    recorder.then = lambda packet: stopped.append(port.stopListening())
    comes(mode, *[sample(mode)] * 10)
    await run.until(lambda: stopped, "a packet")
    await stopped[0]
    await run.turns()
    assert len(recorder.packets) == 1


@onEachReactor
@onBothKinds
async def test_anExceptionOfAProtocolIsLoggedAndThePortContinues(run: Run, mode: int) -> None:
    recorder, port = made(run, mode)

    def fail(packet: Packet) -> None:
        raise ZeroDivisionError("the application's")

    recorder.then = fail
    port.startListening()
    setUp(f"tt{mode}")
    comes(mode, *[sample(mode)] * 20)
    await run.until(lambda: len(recorder.packets) == 20, "packets")
    (failure,) = run.failures()
    assert failure.type is ZeroDivisionError
    assert "in fail" in failure.getTraceback()
    assert port.connected
    assert port.counters["protocolFailures"] == 20
    await port.stopListening()


@onEachReactor
@onBothKinds
async def test_aDeletedLinkEndsThePortOnce(run: Run, mode: int) -> None:
    before = held(run)
    recorder, port = made(run, mode)
    port.startListening()
    setUp(f"tt{mode}")
    losses = [port.whenLost(), port.whenLost()]
    delete(f"tt{mode}")
    for lost in losses:
        assert await outcome(lost) is InterfaceLost
    await run.turns()
    assert len(port.losses) == 1
    assert recorder.events == ["start", "stop"]
    assert not port.connected
    assert port.fileno() == -1
    assert held(run) == before
    told = [str(event.get("reason")) for event in run.log if event["log_level"].name == "error"]
    assert [f"tt{mode} was deleted" in text for text in told] == [True]
    run.log.clear()
    await port.stopListening()
    # The port can start again after the failure.
    port.startListening()
    setUp(f"tt{mode}")
    comes(mode, sample(mode))
    await run.until(lambda: recorder.packets, "a packet")
    await port.stopListening()


@onEachReactor
@onBothKinds
async def test_aLinkDeletedWhileStoppingIsNoLoss(run: Run, mode: int) -> None:
    recorder, port = made(run, mode)
    port.startListening()
    lost, stopped = port.whenLost(), port.stopListening()
    delete(f"tt{mode}")
    await stopped
    assert await outcome(lost) is ConnectionDone
    assert recorder.events == ["start", "stop"]


@onEachReactor
async def test_aLinkThatIsDownIsCountedAndNotRaised(run: Run) -> None:
    udp = RawUDPProtocol()
    proto = DatagramProtocol()
    udp.addProto(7, proto)
    ip = IPProtocol(["10.9.0.2/24"])
    ip.addProto(17, udp)
    port = TuntapPort("tt0", ip, reactor=run.reactor)
    port.startListening()
    setUp("tt0", "10.9.0.1/24")
    setDown("tt0")
    assert proto.transport is not None
    proto.transport.write(b"nobody hears", ("10.9.0.1", 7))
    assert port.write(sample(TUN)) is None
    assert port.counters["outLinkDown"] == 2
    setUp("tt0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("10.9.0.1", 7))
        server.settimeout(PATIENCE)
        proto.transport.write(b"heard", ("10.9.0.1", 7))
        assert server.recvfrom(100) == (b"heard", ("10.9.0.2", 7))
    await port.stopListening()


@onEachReactor
@onBothKinds
async def test_onlyWriteRaisesForAPacketThatTheDeviceRefuses(run: Run, mode: int) -> None:
    _, port = made(run, mode)
    port.startListening()
    with pytest.raises(OSError, match="Invalid argument"):
        port.write(b"")
    port.writePacket([b""])
    assert port.counters["outErrors"] == 1
    await port.stopListening()


@onEachReactor
@onBothKinds
async def test_oneTurnReadsABoundedNumberOfPackets(run: Run, mode: int) -> None:
    recorder, port = made(run, mode)
    assert port.maxPackets < 10_000
    port.maxPackets = 100
    port.startListening()
    setUp(f"tt{mode}")
    comes(mode, *[sample(mode)] * 480)
    await run.until(lambda: len(recorder.packets) == 480, "packets")
    assert max(packets for packets, _ in port.turns) == 100
    await port.stopListening()


@onEachReactor
@onBothKinds
async def test_oneTurnReadsABoundedNumberOfOctets(run: Run, mode: int) -> None:
    recorder, port = made(run, mode)
    port.maxThroughput = 100_000
    port.startListening()
    setUp(f"tt{mode}")
    comes(mode, *[sample(mode, bytes(1400))] * 480)
    await run.until(lambda: len(recorder.packets) == 480, "packets")
    # The packet that exceeds the bound is the last one of the turn.
    assert 100_000 <= max(octets for _, octets in port.turns) < 100_000 + 1500
    await port.stopListening()


@onEachReactor
@onBothKinds
async def test_aPacketOverMaxPacketSizeIsPartial(run: Run, mode: int) -> None:
    recorder, port = made(run, mode, 200)
    port.startListening()
    setUp(f"tt{mode}")
    packet = sample(mode, bytes(1000))
    whole = sample(mode).ljust(200, b"\0")
    comes(mode, packet, whole)
    await run.until(lambda: len(recorder.packets) == 2, "packets")
    assert [(bytes(got), got.partial) for got in recorder.packets] == [(packet[:200], True), (whole, False)]
    await port.stopListening()


@onEachReactor
@onBothKinds
async def test_aPacketOfAnyMTUIsReadWhole(run: Run, mode: int) -> None:
    # The MTU may be changed at any time, even after the start of the port, without notice to the port.
    longest = 65535 if mode == TUN else 65535 - 14
    for options in {}, {"offload": False}, {"protocolInformation": True}:
        recorder, port = made(run, mode, **options)
        port.startListening()
        setUp(f"tt{mode}")
        # An IPv4 packet has 32 octets of MARK and headers, then as much data as fits.
        for mtu in 9000, longest:
            ip("link", "set", f"tt{mode}", "mtu", str(mtu))
            octets = mtu + (14 if mode == TAP else 0)
            packets = [sample(mode).ljust(octets, b"x")]
            if mode == TAP:
                # A VLAN tag does not count as part of the MTU.
                packets.append(packets[0][:12] + b"\x81\x00\x00\x05" + packets[0][12:])
            got = recorder.packets
            got.clear()
            comes(mode, *packets)
            await run.until(lambda got=got, packets=packets: len(got) == len(packets), "packets")  # type: ignore[misc]
            assert [(bytes(each), each.partial) for each in got] == [(packet, False) for packet in packets]
        await port.stopListening()


@onEachReactor
@onBothKinds
async def test_packetsAreReadWithProtocolInformation(run: Run, mode: int) -> None:
    recorder, port = made(run, mode, 200, protocolInformation=True)
    port.startListening()
    setUp(f"tt{mode}")
    packets = [sample(mode), sample(mode).ljust(200, b"\0"), sample(mode, bytes(1000))]
    comes(mode, *packets)
    await run.until(lambda: len(recorder.packets) == 3, "packets")
    assert recorder.data == [packet[:200] for packet in packets]
    # The last packet was truncated, which the kernel reports (TUN_PKT_STRIP).
    assert [got.partial for got in recorder.packets] == [False, False, True]
    assert {got.readEtherType for got in recorder.packets} == {0x0800 if mode == TUN else 0}
    assert {got.etherType for got in recorder.packets} == {0x0800}
    await port.stopListening()


@onEachReactor
async def test_packetsAreWrittenWithProtocolInformation(run: Run) -> None:
    ip = IPProtocol(["10.9.0.2/24", "fd09::2/64"])
    udp = RawUDPProtocol()
    proto = DatagramProtocol()
    ip.addProto(17, udp)
    udp.addProto(7, proto)
    port = TuntapPort("tt0", ip, reactor=run.reactor, protocolInformation=True)
    port.startListening()
    setUp("tt0", "10.9.0.1/24", "fd09::1/64")
    assert proto.transport is not None
    for family, address in (socket.AF_INET, "10.9.0.1"), (socket.AF_INET6, "fd09::1"):
        with socket.socket(family, socket.SOCK_DGRAM) as server:
            server.bind((address, 0))
            server.settimeout(PATIENCE)
            proto.transport.write(b"hello", (address, server.getsockname()[1]))
            assert server.recv(100) == b"hello"
    await port.stopListening()


@onEachReactor
async def test_aRawUDPProtocolDirectlyOnATunAnswersTheKernel(run: Run) -> None:
    udp = RawUDPProtocol()
    udp.addProto(7, Echo())
    port = TuntapPort(b"tt0", udp, reactor=run.reactor)
    port.startListening()
    setUp("tt0", "10.9.0.1/24", "fd09::1/64")
    for family, address in (socket.AF_INET, "10.9.0.99"), (socket.AF_INET6, "fd09::99"):
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.connect((address, 7))
            client.send(b"hello")
            await run.until(lambda: select.select([client], [], [], 0)[0], f"an answer from {address}")
            assert client.recv(100) == b"hello"
    await port.stopListening()


@onEachReactor
@onBothKinds
async def test_noDescriptorLeaksWhereOpeningFails(run: Run, mode: int) -> None:
    with LinuxDevice(f"tt{mode}", mode):
        before = held(run)
        recorder, port = made(run, mode)
        for _ in range(10):
            with pytest.raises(CannotListenError):
                port.startListening()
        assert recorder.events == []
        assert held(run) == before


@onEachReactor
@onBothKinds
async def test_noDescriptorLeaksWhereStartingFails(run: Run, mode: int) -> None:
    class NeverConnects(Recorder):
        def makeConnection(self, transport: object) -> None:
            raise ZeroDivisionError("makeConnection")

    class NeverStarts(Recorder):
        def startProtocol(self) -> None:
            raise ZeroDivisionError("startProtocol")

    before = held(run)
    for recorder in NeverConnects(), NeverStarts():
        for top in forPort(recorder, mode), above(recorder):
            port = TuntapPort("tt0", top, reactor=run.reactor)
            with pytest.raises(ZeroDivisionError):
                port.startListening()
            assert not port.connected
            assert held(run) == before


@onEachReactor
@onBothKinds
async def test_noDescriptorLeaksWhereStoppingFails(run: Run, mode: int) -> None:
    class NeverStops(Recorder):
        def stopProtocol(self) -> None:
            raise ZeroDivisionError("stopProtocol")

    before = held(run)
    recorder = NeverStops()
    for top in forPort(recorder, mode), above(recorder):
        port = TuntapPort("tt0", top, reactor=run.reactor)
        port.startListening()
        await port.stopListening()
        assert [failure.type for failure in run.failures()] == [ZeroDivisionError]
        assert held(run) == before


@onEachReactor
@onBothKinds
async def test_noDescriptorLeaksInAnyOfTenLives(run: Run, mode: int) -> None:
    before = held(run)
    recorder, port = made(run, mode)
    for _ in range(10):
        port.startListening()
        await port.stopListening()
        # With several runs, no closed descriptor can hide a leak.
        assert held(run) == before
    assert recorder.events == ["start", "stop"] * 10


def held(run: Run) -> tuple[set[str], int, set[str]]:
    """
    Return the resources of which an ended port must hold no more: descriptors, the reactor's readers, interfaces.
    """
    return descriptors(), len(run.reactor.getReaders()), interfaces()


def above(proto: Recorder) -> EthernetProtocol:
    """
    Make an Ethernet layer with C{proto} above it.
    """
    ethernet = EthernetProtocol()
    ethernet.addProto(0x0800, proto)
    return ethernet
