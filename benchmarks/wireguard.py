"""
Measure WireGuard: TCP through it beside wireguard-go, handshakes beside X25519, and packets beside their cipher.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from ipaddress import ip_network
from random import Random

from benchmarks.measure import TURNS, Missing, Row, Section, Task, compare
from benchmarks.receive import ROOT, privateNetwork
from tests.wireguard.pair import OUTSIDE, Pair
from txtuntap.layer.counters import Counters
from txtuntap.testing import ipPacket
from txtuntap.wire.joining import joined
from txtuntap.wire.offload import TSO4
from txtuntap.wire.tcp import packHeader, pseudoSum
from txtuntap.wireguard.cookies import CookieHolder
from txtuntap.wireguard.handshake import SessionKeys, createInitiation
from txtuntap.wireguard.keys import PrivateKey
from txtuntap.wireguard.needs import ChaCha20Poly1305
from txtuntap.wireguard.session import Session

ABOUT = (
    "`iperf3` runs between two network namespaces that are joined by a veth pair, through WireGuard. The end there is"
    " txtuntap. The end here is `twistd tuntap wireguard`, or `wireguard-go` of Debian. The figures are octets of TCP"
    " per second of the CPU time of the process here, user and system. More is better. In the last row, handshakes that"
    " one end answers are compared with four exchanges of keys (X25519) alone, per CPU second."
)

PACKET_ABOUT = (
    "What a packet of 1420 octets costs in memory, in batches of 40, beside the encryption or decryption of as many"
    " octets alone (ChaCha20-Poly1305). *Out* is from the packet to the message, and *in* from the message to the"
    " packet, both with allowed IPs, counters and timers. *Joined* is the work that makes superpackets of TCP segments."
    " The last row compares an interface with 1,001 peers, of which 1,000 are idle, with one that has a single peer."
    " The figures are the time per packet. Less is better."
)

#: The goals of TCP through the tunnel, by direction, and that of handshakes.
GOALS = {"out": 1.0, "in": 0.85}
HANDSHAKE_GOAL = 0.4

#: The greatest ratio of the times with and without idle peers.
IDLE_GOAL = 1.1

#: The packets of a batch, and the octets of each.
BATCH = 40
OCTETS = 1420

#: The handshakes of a turn.
HANDSHAKES = 5

IDLE_PEERS = 1000

NOTES = "{} idle peers have {} delayed calls."


def run(rounds: int) -> list[Section]:
    """
    Measure everything, TCP in another process.

    @raise Missing: there is no C{wireguard-go}, no C{wg}, no C{iperf3}, no device, or no permission to make a network
        namespace.
    """
    for program, package in (
        ("wireguard-go", "wireguard-go"),
        ("wg", "wireguard-tools"),
        ("iperf3", "iperf3"),
        ("ip", "iproute2"),
        ("nsenter", "util-linux"),
    ):
        if shutil.which(program) is None:
            raise Missing(f"the program {program!r}: run 'apt-get install {package}'")
    command = [*privateNetwork(), sys.executable, "-m", "benchmarks.children.wireguarder", str(rounds)]
    finished = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found: list[dict[str, float]] = json.loads(finished.stdout)
    rows = []
    for direction, goal in GOALS.items():
        ours, theirs = ([each[f"{name}, {direction}"] for each in found] for name in ("txtuntap", "wireguard-go"))
        rows.append(Row(f"TCP {direction}, octets", ours, theirs, goal, rate=True))
    answered, exchanged = compare([_handshakes(rounds), _exchanges()], rounds)
    rates = [[1 / each for each in times] for times in (answered, exchanged)]
    rows.append(Row("handshakes answered / X25519 alone", rates[0], rates[1], HANDSHAKE_GOAL, rate=True))
    return [Section("wireguard", ABOUT, ("txtuntap", "the other"), rows), _packets(rounds)]


def _packets(rounds: int) -> Section:
    """
    Measure what a packet costs, by part.
    """
    crowded = Pair()
    for number in range(IDLE_PEERS):
        peer = crowded.cores[0].addPeer(PrivateKey.generate(Random(number + 100)).public)
        crowded.cores[0].allow(peer, ip_network(f"10.1.{number >> 8}.{number & 255}"))
    notes = NOTES.format(f"{IDLE_PEERS:,}", len(crowded.clock.getDelayedCalls()))
    cipher = ChaCha20Poly1305(bytes(32))
    plain, nonce = bytes(OCTETS), bytes(12)
    sealed = cipher.encrypt(nonce, plain, None)
    segments = _segments()
    names = ("encrypted", "decrypted", "sealed", "out", "out, with idle peers", "unsealed", "in", "joined")
    tasks = [
        Task(partial(_each, lambda: cipher.encrypt(nonce, plain, None)), BATCH),
        Task(partial(_each, lambda: cipher.decrypt(nonce, sealed, None)), BATCH),
        Task(partial(_session().seal, [plain] * BATCH, OCTETS), BATCH),
        _outTask(Pair()),
        _outTask(crowded),
        _unsealTask(),
        _inTask(),
        Task(lambda: joined(segments, TSO4), BATCH),
    ]
    times = dict(zip(names, compare(tasks, rounds), strict=True))
    rows = [
        Row(f"{ours} / {theirs}", times[ours], times[theirs], goal)
        for ours, theirs, goal in (
            ("sealed", "encrypted", None),
            ("out", "encrypted", None),
            ("unsealed", "decrypted", None),
            ("in", "decrypted", None),
            ("joined", "decrypted", None),
            ("out, with idle peers", "out", IDLE_GOAL),
        )
    ]
    return Section("wireguard: a packet", PACKET_ABOUT, ("first", "second"), rows, notes)


def _each(work: Callable[[], object]) -> None:
    for _ in range(BATCH):
        work()


def _session() -> Session:
    return Session(SessionKeys(bytes(32), bytes(32)), 1, 2, True, 0.0)


def _outTask(pair: Pair) -> Task:
    """
    Make a task in which an end seals packets, and nothing is sent.
    """
    pair.open()
    core = pair.cores[0]
    packet = pair.packet(0, bytes(OCTETS - 20))
    core._send = lambda *ignored: None

    def work() -> None:
        core.beginBatch()
        for _ in range(BATCH):
            core.sendPacket(packet)
        core.endBatch()

    return Task(work, BATCH)


def _unsealTask() -> Task:
    sender, receiver, counters = _session(), _session(), Counters()

    messages = list(map(bytes, sender.seal([bytes(OCTETS)] * BATCH, OCTETS)))
    run = list(enumerate(messages))

    def work() -> None:
        # The same messages are taken again and again, so the window forgets them.
        receiver.window.__init__()  # type: ignore[misc]
        receiver.unseal(run, counters)

    return Task(work, BATCH)


def _inTask() -> Task:
    """
    Make a task in which an end opens messages and gives the packets in them to nothing.
    """
    pair = Pair()
    pair.open()
    sender, receiver = pair.cores
    made: list[bytes] = []
    sender._send = lambda messages, *ignored: made.extend(map(bytes, messages))
    packet = pair.packet(0, bytes(OCTETS - 20))
    sender.beginBatch()
    for _ in range(BATCH):
        sender.sendPacket(packet)
    sender.endBatch()
    receiver._deliver = lambda packets: None
    session = pair.peers[1].sessions.current
    assert session is not None
    window = session.window

    def work() -> None:
        window.__init__()  # type: ignore[misc]
        receiver.messagesReceived(made, OUTSIDE[0])

    return Task(work, BATCH)


def _segments() -> list[bytes]:
    """
    Make segments of one connection that follow one another.
    """
    source, dest = "10.0.0.1", "10.0.0.2"
    payload = bytes(OCTETS - 40)
    pseudo = pseudoSum(bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2)))
    return [
        ipPacket(
            source, dest, 6, packHeader(pseudo, 80, 4000, number * len(payload), 1, 16, 500, b"", payload) + payload
        )
        for number in range(BATCH)
    ]


def _handshakes(rounds: int) -> Task:
    """
    Make a task in which an end answers initiations. Each initiation is answered once, so there are as many as turns.
    """
    pair = Pair()
    responder = pair.cores[1]
    responder._send = lambda *ignored: None
    seconds = iter(range(1, 1 << 40))
    responder.now = lambda: float(next(seconds))
    shared = pair.keys[0].exchange(pair.keys[1].public)
    holder = CookieHolder(pair.keys[1].public)
    numbers = iter(range(1, 1 << 30))

    def initiation() -> bytes:
        number = next(numbers)
        ephemeral = PrivateKey.generate(Random(number))
        body, _ = createInitiation(
            pair.keys[0], pair.keys[1].public, shared, ephemeral, number, number.to_bytes(12, "big")
        )
        return holder.sign(body, 0.0)

    waiting = iter([[initiation() for _ in range(HANDSHAKES)] for _ in range(rounds * TURNS)])

    def work() -> None:
        for message in next(waiting):
            responder.messagesReceived([message], OUTSIDE[0])

    return Task(work, HANDSHAKES)


def _exchanges() -> Task:
    one, other = PrivateKey.generate(Random(1)), PrivateKey.generate(Random(2)).public
    return Task(lambda: [one.exchange(other) for _ in range(4 * HANDSHAKES)], HANDSHAKES)
