"""
Where fuzzing begins, and what it has found, on every run.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz.corpus import seeds
from tests.fuzz.ingress import Broken, Ingress, feed, join, split
from tests.stack.link import echo
from txtuntap import IPProtocol
from txtuntap.packet import Packet
from txtuntap.testing import udpPacket

#: What fuzzing has found, one input a file.
SEEDS = Path(__file__).parent / "seeds"


class SeedTests(SynchronousTestCase):
    def test_whereItBegins(self) -> None:
        for data in seeds():
            feed(data)

    def test_whatWasFound(self) -> None:
        for path in SEEDS.glob("*"):
            feed(path.read_bytes())

    def test_itGetsIn(self) -> None:
        *_, last = seeds()
        counters = feed(last).host.counters
        for part, name in (
            ("icmp", "outEchoReps"),
            ("icmp", "inDestUnreachs"),
            ("icmp", "outErrors"),
            ("groups", "inQueries"),
            ("arp", "outReplies"),
            ("arp", "outAnyReplies"),
            ("ndp", "outAdvertisements"),
            ("ndp", "outAnyAdvertisements"),
            ("ndp", "inRouterAdvertisements"),
            ("ip", "reasmOKs"),
            ("ip", "inOptErrors"),
            ("udp", "noPorts"),
        ):
            self.assertGreater(counters[part].get(name, 0), 0, f"{part}: {name}")

    def test_someMutations(self) -> None:
        random = Random(1)
        every = list(seeds())
        for _ in range(200):
            data = bytearray(random.choice(every))
            for _ in range(random.randrange(1, 8)):
                data[random.randrange(len(data))] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
            feed(bytes(data))


class HarnessTests(SynchronousTestCase):
    """
    What is wrong is found.
    """

    def test_inputsTakenApart(self) -> None:
        records: list[bytes | float] = [b"packet", 1.5, b"", b"x" * 300]
        self.assertEqual(list(split(join(True, records))), records)
        self.assertEqual(list(split(join(True, records)[:-1])), [*records[:-1], b"x" * 299])

    def test_layerThatRaises(self) -> None:
        def fail(self: IPProtocol, packet: Packet) -> None:
            raise ZeroDivisionError

        self.patch(IPProtocol, "packetReceived", fail)
        self.assertRaises(ZeroDivisionError, feed, join(False, [echo("10.0.0.1", "10.0.0.2")]))
        self.flushLoggedErrors(ZeroDivisionError)

    def test_answersThatAreTooLong(self) -> None:
        ingress = Ingress(False)

        class Amplifier(DatagramProtocol):
            def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
                assert self.transport is not None
                self.transport.write(bytes(1000), addr)

        ingress.host.listenUDP(9, Amplifier())
        self.assertRaises(Broken, ingress.receive, udpPacket("10.0.0.1", "10.0.0.2", 1, 9, b""))

    def test_tablesOverTheirBounds(self) -> None:
        ingress = Ingress(False)
        ingress.check()
        ingress.host.udp._written.update((number.to_bytes(4, "big"), 0.0) for number in range(5000))
        self.assertRaises(Broken, ingress.check)
