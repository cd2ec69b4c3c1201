"""
Tests that C{docs/bounds.md} lists every bounded table, its bound and its policy, and how much memory each takes.
"""

from __future__ import annotations

import gc
import importlib
import os
import re
import tracemalloc
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock

import txtuntap
from tests.paths import DOCS
from tests.ports import RecordingPort
from tests.recorders import Echo as Echoing
from tests.recorders import PacketRecorder
from tests.tcp.rawpeer import RawPeer, Readers
from txtuntap import Host, TuntapPort, wireguard
from txtuntap.device import memory
from txtuntap.device.helper.server import Helper
from txtuntap.ip.addresses import MAX_ADMITTED, MAX_SOURCES, Addresses
from txtuntap.ip.pathmtu import MAX_PATHS, PathMTUs
from txtuntap.layer.bounded import Policy, TableState
from txtuntap.layer.drops import Drop
from txtuntap.layer.fastpath import FastPath
from txtuntap.middleware import Capture, CaptureFile, CaptureSink, Impairment, Netem, capturesink, netem
from txtuntap.network import Link, Replay, link, replay
from txtuntap.packet import Packet
from txtuntap.service.observe import control as controls
from txtuntap.service.observe.control import ClientSink, ControlProtocol, ControlSocket
from txtuntap.service.observe.metrics import MetricsFactory
from txtuntap.service.observe.page.flows import FlowSink
from txtuntap.service.observe.page.live import LivePage
from txtuntap.stack.limits import ErrorLimit
from txtuntap.stack.neighbours import MAX_ENTRIES, NeighbourCache
from txtuntap.switch import Switch
from txtuntap.switch.stations import MAX_STATIONS
from txtuntap.tcp import Answer, TCPProtocol
from txtuntap.tcp.connection import Connection
from txtuntap.tcp.handshake import Parameters
from txtuntap.tcp.limits import MAX_HALF_OPEN, MAX_TIME_WAIT, MAX_UNCLAIMED, Limits
from txtuntap.tcp.path import Path as SegmentPath
from txtuntap.testing import TAP, TUN, MemoryDevice, ethernetFrame, udpPacket
from txtuntap.tunnel import stream
from txtuntap.tunnel.allowed import Allowed
from txtuntap.tunnel.frames import Frames
from txtuntap.tunnel.stream import StreamCarrier, StreamFactory
from txtuntap.tunnel.tunnel import Tunnel
from txtuntap.udp.echo import MAX_PEERS, Echo
from txtuntap.udp.layer import MAX_ANSWERED, MAX_FLOWS, MAX_WRITTEN, RawUDPProtocol
from txtuntap.wire import pcapng
from txtuntap.wire.address import packAddress
from txtuntap.wire.tcp import packSynOptions
from txtuntap.wireguard import WireGuard
from txtuntap.wireguard.load import MAX_SOURCES as MAX_HANDSHAKE_SOURCES
from txtuntap.wireguard.load import Load
from txtuntap.wireguard.uapi import UAPIFactory

pytestmark = pytest.mark.unix("the module of Linux's devices")

PAGE = (DOCS / "bounds.md").read_text()

_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "": 1}
STATION, PEER = "02:00:00:00:00:02", "02:00:00:00:00:01"


def octets(text: str) -> int:
    """
    Convert a size with an optional unit, such as C{"1.5 KiB"}, to a number.
    """
    found = re.match(r"([\d,.]+) ?(KiB|MiB|)", text)
    assert found, text
    return int(float(found[1].replace(",", "")) * _UNITS[found[2]])


def rows() -> dict[str, tuple[int, str, str]]:
    """
    Read the rows of the page that name a table.

    @return: the bound, the policy and the constant of each table, by the table's name.
    """
    found = {}
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        names, colon, places = cells[-1].partition("`: `")
        if len(cells) != 4 or not colon:
            continue
        constants: list[str] = []
        for place in re.findall(r"`([\w.]+)`", f"`{places}"):
            constants.append(place if place[0] != "." else constants[-1].rpartition(".")[0] + place)
        parts = zip(re.findall(r"`?([\w ]+)`?(?:, |$)", names), cells[1].split("; "), strict=False)
        for (name, bound), policy, constant in zip(parts, cells[2].split("; "), constants, strict=False):
            found[name] = octets(bound), policy, constant
    return found


def captureFile() -> CaptureFile:
    """
    Make a sink whose capture has ended, so that no file is open. Packets recorded now stay in its memory.
    """
    sink = CaptureFile(os.devnull)
    sink.begin(pcapng.RAW, "", 0)
    sink.end(0)
    return sink


@cache
def tables() -> dict[str, TableState]:
    """
    Collect the tables of all objects that have any, by name.
    """
    # Windows cannot import this module.
    from txtuntap.device.linux import LinuxDevice

    clock = Clock()
    tcp = TCPProtocol(unclaimed=lambda syn: Answer.REFUSE)
    host = Host(["10.0.0.2/24"], clock, autoconfigure=True, tcp=tcp)
    host.listenUDP(7, DatagramProtocol())
    switch = Switch(clock)
    switch.addPort()
    tunnel = Tunnel(TUN, Allowed(["10.0.0.0/24"]))
    factory = StreamFactory(tunnel, Frames, clock)
    reactor = MemoryReactorClock()
    control = ControlSocket(Capture(None, PacketRecorder()), reactor)
    peers = WireGuard(None, reactor=clock, outside=host)
    parts: list[Any] = [
        *(host, switch, tunnel, factory, StreamCarrier(factory, Frames(TUN)), Echo()),
        Link(PacketRecorder(), PacketRecorder(), clock),
        Impairment(PacketRecorder()),
        Replay(BytesIO(), PacketRecorder(), clock),
        *(MemoryDevice(TUN), MemoryDevice(TAP), LinuxDevice("tt0", TUN)),
        *(captureFile(), ClientSink(ControlProtocol(control)), control),
        MetricsFactory(CollectorRegistry(), reactor),
        *(LivePage("unix:page.socket", reactor), FlowSink()),
        Helper([], reactor),
        *(peers, UAPIFactory(peers, clock)),
    ]
    return {state.name: state for part in parts for state in part.tables()}


def test_thePageHasEveryTable() -> None:
    assert rows().keys() == tables().keys()


@pytest.mark.parametrize("name", sorted(rows()))
def test_aRowHasTheBoundThePolicyAndTheConstantOfItsTable(name: str) -> None:
    bound, policy, constant = rows()[name]
    state = tables()[name]
    assert bound == state.bound
    assert state.policy in policy
    module, attribute = constant, ""
    while not (Path(txtuntap.__file__).parent / f"{module.replace('.', '/')}.py").exists():
        module, _, last = module.rpartition(".")
        attribute = f"{last}.{attribute}".strip(".")
    value: Any = importlib.import_module(f"txtuntap.{module}")
    for part in attribute.split("."):
        value = getattr(value, part)
    assert value == state.bound


def test_everyPolicyIsOnThePage() -> None:
    for policy in Policy:
        assert policy.value in PAGE, policy


def test_thePageHasEveryCounterOfWireGuard() -> None:
    cells = PAGE.partition("| WireGuard | ")[2].partition("| each |")[0].splitlines()
    listed = [name for row in cells for name in re.findall(r"`(\w+)`", row.removeprefix("| | ").partition(" | ")[0])]
    package = Path(wireguard.__file__).parent
    code = "".join(path.read_text() for path in sorted(package.glob("*.py")))
    counted = set(re.findall(r"counters(?:\.|\[\")(\w+)(?:\"\])? \+=", code))
    counted |= {Drop[name].counter for name in re.findall(r"\bDrop\.([A-Z_]+)", code)}
    assert sorted(listed) == sorted(counted)


# Memory of the tables


def held() -> int:
    """
    Return the octets of all objects that were made since tracing began. Sizes are rounded up as the allocator does.
    Objects that wait for the garbage collector are included.
    """
    return sum(-(-trace.size // 16) * 16 for trace in tracemalloc.take_snapshot().traces)


def taken(make: Callable[[], Callable[[int], object]], count: int) -> int:
    """
    Return the octets that a table takes after it was filled to its bound twice.

    @param make: makes the table, and returns a function that adds the entry of a number.
    @param count: the bound of the table.
    """
    enter = make()
    enter(0)
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(1, 2 * count):
            enter(number)
        return held()
    finally:
        tracemalloc.stop()


def _address(number: int) -> bytes:
    return b"\x20\x01\x0d\xb8" + bytes(8) + number.to_bytes(4, "big")


def _text(number: int) -> str:
    return f"2001:db8::{number >> 16:x}:{number & 0xFFFF:x}"


def _flows(mode: int, version: int) -> tuple[Host, Any, Callable[[int], None]]:
    clock, device = Clock(), MemoryDevice(mode)
    host = Host(["10.0.0.2/8", "2001:db8:1::2/64"], clock, linkAddress=STATION, random=Random(1))
    udp = host.listenUDP(7, Echoing())
    TuntapPort("", host.ethernet if mode == TAP else host.ip, reactor=clock, device=device).startListening()
    clock.advance(10)

    def enter(number: int) -> None:
        if version == 4:
            packet = udpPacket(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", "10.0.0.2", 4000, 7, bytes(99))
        else:
            packet = udpPacket(_text(number), "2001:db8:1::2", 4000, 7, bytes(99))
        if mode == TAP:
            packet = ethernetFrame(PEER, STATION, 0x0800 if version == 4 else 0x86DD, packet)
        device.deliver(packet)
        clock.advance(0)
        device.sent.clear()

    return host, udp, enter


def flows(mode: int, version: int, count: int = 2 * MAX_FLOWS) -> int:
    """
    Return the octets that the flows of one UDP port take: the memory that is freed when the port is closed. Before
    that, C{count} peers have sent a datagram and received an answer.
    """
    _, udp, enter = _flows(mode, version)
    enter(1)
    tracemalloc.start()
    try:
        for number in range(2, count):
            enter(number)
        before = held()
        udp.stopListening()
        gc.collect()
        return before - held()
    finally:
        tracemalloc.stop()


def hosts(mode: int, version: int) -> int:
    """
    Return the octets of all tables of a host that one UDP port fills.
    """
    _, _, enter = _flows(mode, version)
    return taken(lambda: enter, MAX_FLOWS)


def _admitted() -> Callable[[int], object]:
    own = Addresses()
    own.add("fd00::2/64")
    return lambda number: own.admits(_address(number) + own.interfaces[0].packed)


def _sources() -> Callable[[int], object]:
    own = Addresses()
    own.add("fd00::2/64")
    return lambda number: own.sourceFor(_address(number))


def _written() -> Callable[[int], object]:
    udp = RawUDPProtocol()
    return lambda number: udp.written.put(_address(number) * 2 + number.to_bytes(4, "big"), float(number))


def _answered() -> Callable[[int], object]:
    udp = RawUDPProtocol()
    return lambda number: udp.answered.put(_address(number) * 2 + number.to_bytes(4, "big"), float(number))


def _paths() -> Callable[[int], object]:
    paths = PathMTUs()
    return lambda number: paths.learn(_address(number), 1300, 1500, float(number))


def _limits() -> Callable[[int], object]:
    limit = ErrorLimit(Random(1))
    return lambda number: limit.permits(_address(number), float(number))


def _neighbours() -> Callable[[int], object]:
    cache = NeighbourCache(Clock(), Random(1), lambda address, station: None)
    return lambda number: cache.claimed(_address(number), b"\x02\0" + number.to_bytes(4, "big"), True)


def _echo() -> Callable[[int], object]:
    echo = Echo()
    transport: Any = type("Nowhere", (), {"write": lambda *_: None, "seconds": lambda _: 1.0})()
    echo.transport = transport
    return lambda number: echo.datagramReceived(b"", (_text(number), 1024 + number))


def _stations() -> Callable[[int], object]:
    clock = Clock()
    port = Switch(clock).addPort()
    return lambda number: port.packetReceived(Packet(b"\xff" * 6 + b"\x02\0" + number.to_bytes(4, "big") + bytes(50)))


def _link() -> Callable[[int], object]:
    cable = Link(PacketRecorder(), PacketRecorder(), Clock())
    cable.start()
    return lambda number: cable.ends[0].writePacket([bytes(FRAME)])


def _impaired() -> Callable[[int], object]:
    impairment = Impairment(PacketRecorder(), Netem(delay=1))
    impairment.makeConnection(RecordingPort())
    return lambda number: impairment.packetReceived(Packet(bytes(FRAME)))


def _sent() -> Callable[[int], object]:
    played = Replay(BytesIO(), PacketRecorder(), Clock())
    return lambda number: played.writePacket([bytes(FRAME)])


def _queued() -> Callable[[int], object]:
    device = MemoryDevice(TAP)
    device.open()
    return lambda number: device.deliver(bytes(FRAME))


def _output() -> Callable[[int], object]:
    carrier = StreamCarrier(StreamFactory(Tunnel(TUN), Frames, Clock()), Frames(TUN))
    return lambda number: carrier.send(bytes(1500))


def _recorded(sink: CaptureSink) -> Callable[[int], object]:
    # Short packets have the most overhead.
    return lambda number: sink.record(bytes(20), 0, pcapng.INBOUND)


def _client() -> ClientSink:
    sink = ClientSink(ControlProtocol(ControlSocket(Capture(None, PacketRecorder()), Clock())))
    sink.pauseProducing()
    return sink


def _segments(tcp: TCPProtocol | None = None) -> tuple[RawPeer, Callable[[int], str]]:
    """
    Make a host with TCP.

    @return: a peer of the host, and a function that returns the address of a numbered peer.
    """
    # Without cookies, there is no filter of refused SYNs, which has its own bound on the page.
    limits = Limits(repeats=0, cookies=0)
    peer = RawPeer(tcp or TCPProtocol(limits=limits), addresses=("10.0.0.2/8",))
    return peer, lambda number: f"10.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def _halfOpen() -> Callable[[int], object]:
    peer, address = _segments()
    peer.host.listenTCP(80, Readers(), backlog=MAX_HALF_OPEN)
    options = packSynOptions(1460, 7, True, (5, 0))
    return lambda number: peer.syn(80, source=address(number), options=options)


def _timeWait() -> Callable[[int], object]:
    peer, address = _segments()
    tcp: Any = peer.host.tcp
    connection = Connection(SegmentPath(tcp.ip, tcp.counters, bytes(4), bytes(4), 80, 80), 4, Parameters(), 0, 0)

    def enter(number: int) -> None:
        # The layer does the same when a connection enters TIME-WAIT.
        source = packAddress(address(number))
        path = SegmentPath(tcp.ip, tcp.counters, packAddress("10.0.0.2"), source, 80, 4000 + number)
        assert path.route() is not None
        tcp._timeWait.put(source + path.source + number.to_bytes(4, "big"), connection.timeWait(path, float(number)))

    return enter


def _unclaimed() -> Callable[[int], object]:
    peer, address = _segments(TCPProtocol(unclaimed=lambda syn: Deferred()))
    options = packSynOptions(1460, 7, True, (5, 0))
    return lambda number: peer.syn(80, source=address(number), options=options)


def _handshakeSources() -> Callable[[int], object]:
    load = Load()
    return lambda number: load.mayServe(number.to_bytes(8, "big"), float(number))


#: The length of the longest Ethernet frame, and of the shortest capture block with a packet, in octets.
FRAME, BLOCK = 1514, 52

MEASURED: dict[str, Callable[[], int]] = {
    "flows, IPv4 on a tun": lambda: flows(TUN, 4),
    "flows, IPv6 on a tap": lambda: flows(TAP, 6),
    "answered": lambda: taken(_answered, MAX_ANSWERED),
    "written": lambda: taken(_written, MAX_WRITTEN),
    "admitted": lambda: taken(_admitted, MAX_ADMITTED),
    "sources": lambda: taken(_sources, MAX_SOURCES),
    "neighbours": lambda: taken(_neighbours, MAX_ENTRIES),
    "paths": lambda: taken(_paths, MAX_PATHS),
    "error limits": lambda: taken(_limits, ErrorLimit.MAX_DESTINATIONS),
    "echo peers": lambda: taken(_echo, MAX_PEERS),
    "stations": lambda: taken(_stations, MAX_STATIONS),
    "link, of frames of 1514 octets": lambda: taken(_link, link.QUEUE_LENGTH),
    "impairment, of such frames": lambda: taken(_impaired, netem.LIMIT),
    "sent, of such frames": lambda: taken(_sent, replay.MAX_SENT),
    "tap queue, of such frames": lambda: taken(_queued, memory.TAP_QUEUE_LENGTH),
    "tunnel output": lambda: taken(_output, stream.MAX_WAITING // 1500),
    "capture octets": lambda: taken(lambda: _recorded(captureFile()), capturesink.MAX_WAITING // BLOCK),
    "capture octets of a client": lambda: taken(lambda: _recorded(_client()), controls.MAX_WAITING // BLOCK),
    "all that one open UDP port fills": lambda: hosts(TAP, 6),
    "handshake sources": lambda: taken(_handshakeSources, MAX_HANDSHAKE_SOURCES),
    "half open": lambda: taken(_halfOpen, MAX_HALF_OPEN),
    "time wait": lambda: taken(_timeWait, MAX_TIME_WAIT),
    "unclaimed": lambda: taken(_unclaimed, MAX_UNCLAIMED),
}


def stated() -> dict[str, int]:
    """
    Read how many octets each table takes at its bound according to the page, by the name on the page.
    """
    after = PAGE.partition("| memory at the bound |\n")[2].partition("\n\n")[0]
    return {name: octets(size) for name, size in re.findall(r"^\| `?([^|`]+?)`? \| ([^|]+) \|$", after, re.MULTILINE)}


def test_thePageListsTheMemoryOfEachMeasuredTable() -> None:
    assert stated().keys() == MEASURED.keys()


@pytest.mark.measures
@pytest.mark.parametrize("name", MEASURED)
def test_aTableTakesAsMuchMemoryAsThePageStates(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each flow has one packet, so the fast path knows none of them unless that is forced.
    monkeypatch.setattr(FastPath, "atOnce", False)
    measured = MEASURED[name]()
    # The page states the greatest size, because the size of Python's objects differs between releases.
    assert stated()[name] * 0.6 < measured <= stated()[name]


@pytest.mark.measures
@pytest.mark.parametrize(("mode", "version"), [(TUN, 4), (TAP, 4), (TAP, 6)])
def test_aFlowTakes800OctetsAtMost(mode: int, version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FastPath, "atOnce", False)
    count = 5000
    assert flows(mode, version, count) <= count * 800
