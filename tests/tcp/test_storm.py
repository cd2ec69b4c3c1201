"""
Tests for a host whose peer sends random segments that are nearly valid, while its application writes, pauses and
closes.
"""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from tests.long import lengths
from tests.tcp.bench import LETTERS, PEERS
from tests.tcp.served import HERE, MASK, PORT, THERE, LayerTestCase
from txtuntap.testing import ipPacket
from txtuntap.wire.address import packAddress
from txtuntap.wire.offload import CSUM, TSO4, TSO6
from txtuntap.wire.tcp import PROTOCOL, packHeader, packSacks, packSynOptions, packTimestamps, pseudoSum

_ENDS = packAddress(THERE[4]), packAddress(HERE[4])


class _Stage(LayerTestCase):
    """
    A host whose device computes checksums and segments superpackets.
    """

    __test__ = False
    features = CSUM | TSO4 | TSO6

    def runTest(self) -> None:
        """
        Do nothing, because this class only sets up the host.
        """


@lengths("examples", 60, 10_000, "adversary")
def test_randomSegmentsNeverRaise(examples: int) -> None:
    """
    No segment causes an exception, and nothing is left of a connection that has ended.
    """
    failures: list[LogEvent] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if "log_failure" in event:
            failures.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        for seed in range(examples):
            _storm(Random(seed))
            assert not failures, (seed, failures)
    finally:
        globalLogPublisher.removeObserver(observe)


def _storm(random: Random) -> None:
    stage: Any = _Stage()
    stage.setUp()
    stamp = (1, 0) if random.random() < 0.7 else None
    scale = random.choice((None, 0, 7, 14))
    stage.open(packSynOptions(random.choice((48, 536, 1460, 8940)), scale, random.random() < 0.7, stamp))
    transport = stage.factory.made[0].transport
    for _ in range(300):
        connection = transport.connection
        if connection is None:
            break
        choice = random.random()
        if choice < 0.15:
            transport.write(bytes(random.choice((1, 100, 5000, 70_000, 300_000))))
        elif choice < 0.2:
            random.choice((transport.pauseProducing, transport.resumeProducing))()
        elif choice < 0.3:
            stage.clock.advance(random.choice((0, 0.001, 0.05, 0.3, 2, 30)))
        elif choice < 0.32:
            position = connection.sender.acknowledged + random.choice((0, 0, 1, 1000))
            stage.receiveError(3, 4, position, random.choice((0, 68, 300, 576, 1000, 1400)))
        elif choice < 0.33:
            transport.loseWriteConnection()
        elif choice < 0.335:
            transport.loseConnection()
        else:
            for _ in range(random.choice((1, 1, 2, 5))):
                stage.device.deliver(_segment(random, stage, connection))
            stage.clock.advance(0)
        stage.device.sent.clear()
        stage.device.superpackets.clear()
    # A SYN among the segments may have opened another connection.
    for protocol in stage.factory.made:
        protocol.transport.abortConnection()
    for _ in range(70):
        stage.clock.advance(10)
    assert not stage.tcp.transports
    assert (stage.tcp.buffers.used, stage.tcp.sendBuffers.used, stage.tcp.counters.currEstab) == (0, 0, 0)


def _segment(random: Random, stage: Any, connection: Any) -> bytes:
    """
    Make a packet of the peer. Most are valid, and some have a field that is wrong by a little or by much.
    """
    sender, receiver = connection.sender, connection.receiver
    letters = random.choice(("A", "A", "A", "A", "PA", "PA", "FA", "AE", "AC", "AU", "P", "SA", "S"))
    if random.random() < 0.005:
        letters = "RA"
    room = max(0, min(receiver.edge - receiver.next, 60_000))
    sequence = receiver.next + random.choice((0, 0, 0, 0, 1, -1, 1000, -1000, room, 70_000, 1 << 31))
    flight = sender.next - sender.acknowledged
    una = sender.acknowledged
    acknowledged = una + random.choice((0, 0, flight, flight, flight // 2, 1, -1, flight + 1, -70_000, 1448))
    data = bytes(random.choice((0, 0, 1, 255, 256, 1448, 9000, room)))
    first = stage.initial + una + random.choice((0, 100, 1448, 3000))
    block = first & MASK, (first + random.choice((100, 1448, 5000, flight))) & MASK
    options = random.choice(
        (
            b"",
            b"",
            packTimestamps(random.getrandbits(32), random.getrandbits(32)),
            packTimestamps(int(stage.clock.seconds() * 1000) & MASK, stage.options.timestamp or 0),
            packSacks([block]),
            random.randbytes(random.choice((4, 8, 12, 20))),
        )
    )
    flags = sum(1 << LETTERS.index(letter) for letter in letters)
    numbers = (PEERS + sequence) & MASK, (stage.initial + acknowledged) & MASK if "A" in letters else 0
    window = random.choice((0, 1, 3, 100, 65535))
    header = packHeader(pseudoSum(*_ENDS), 4000, PORT, *numbers, flags, window, options, data)
    return ipPacket(THERE[4], HERE[4], PROTOCOL, header + data)
