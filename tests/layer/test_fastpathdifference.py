"""
Tests that compare hosts with and without a fast path.
"""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz.corpus import seeds
from tests.fuzz.ingress import Ingress, split
from tests.fuzz.mutation import change, mutate
from tests.layer.fastpaths import THEM, US, FastPathTestCase, countReceived
from tests.stack.link import OWN, PEER
from txtuntap import Host
from txtuntap.layer.fastpath import FastPath
from txtuntap.tcp import Limits, TCPProtocol
from txtuntap.testing import TAP, TUN, MemoryDevice, ethernetFrame, ipPacket
from txtuntap.wire import tcp
from txtuntap.wire.address import packAddress
from txtuntap.wire.tcp import ACK, FIN, RST, SYN


class RefuserTests(FastPathTestCase):
    """
    Tests for SYNs that are refused during a flood. The host is on a tun or on a tap.
    """

    def flood(self, mode: int, version: int, learns: bool) -> tuple[Any, ...]:
        """
        Send odd and ordinary segments to a host that sends three cookies a second.

        @return: the packets that the host has sent in answer to each, its counters, and the number of SYNs that were
            refused or wrong.
        """
        self.patch(FastPath, "never", not learns)
        host = Host(
            [f"{US[4]}/24", f"{US[6]}/64"],
            self.clock,
            linkAddress=OWN,
            random=Random(1),
            secrets=Random(2),
            tcp=TCPProtocol(limits=Limits(cookies=3), secrets=Random(3)),
        )
        self.device = MemoryDevice(mode)
        self.on(host.ethernet if mode == TAP else host.ip)
        host.listenTCP(80, Factory(), backlog=1)
        own, network = packAddress(US[version]), packAddress(THEM[version])[:-1]
        sent = []

        def send(last: int, port: int = 80, flags: int = SYN, source: int = 5000, **change: Any) -> None:
            peer = network + bytes((last,))
            segment = tcp.packHeader(tcp.pseudoSum(peer, own), source, port, 1000 + last, 0, flags, 1000, b"", b"")
            packet = bytearray(ipPacket(peer, own, 6, segment))
            for at, value in change.get("at", {}).items():
                packet[at] ^= value
            del self.device.sent[:]
            link = {"dest": OWN, "etherType": 0x800 if version == 4 else 0x86DD, **change.get("link", {})}
            framed = ethernetFrame(PEER, link["dest"], link["etherType"], bytes(packet))
            self.deliver(framed if mode == TAP else bytes(packet))
            sent.append(list(self.device.sent))

        for _ in range(3):
            for last in range(3, 30):
                send(last)
            for last in 3, 5, 9, 31, 31:
                send(last)
            send(40, at={-1: 1})
            send(41, at={8: 1})
            send(42, port=81)
            for flags in SYN | FIN, SYN | RST, SYN | ACK, ACK, RST, 0:
                send(43, flags=flags)
            send(2)
            send(255)
            if mode == TAP:
                send(44, link={"dest": b"\x02\0\0\0\0\x77"})
                send(45, link={"dest": b"\xff" * 6})
                for etherType in 0x0806, 0x8100, 0x88B5, 0x86DD if version == 4 else 0x0800:
                    send(46, link={"etherType": etherType})
            self.clock.advance(0.4)
        counters = {part: dict(counted) for part, counted in host.counters.items()}
        # The fast path does not verify a SYN that it refuses, so it counts a wrong one as refused, and as a segment.
        names = ("ip", "inAddrErrors"), ("ip", "inCsumErrors"), ("tcp", "inErrs"), ("tcp", "backlogOverflows")
        refused = sum(counters[part].pop(name, 0) for part, name in names)
        del counters["tcp"]["inSegs"]
        return sent, counters, refused

    def test_theHostDoesTheSameAsWithoutAFastPath(self) -> None:
        for mode in TUN, TAP:
            for version in 4, 6:
                before = self.fast
                found = self.flood(mode, version, True)
                self.assertGreater(self.fast, before + 20)
                self.clock = Clock()
                self.assertEqual(found, self.flood(mode, version, False))
                self.clock = Clock()

    def test_aPortThatEndsOrBeginsIsNoticed(self) -> None:
        for version in 4, 6:
            host = Host([f"{US[4]}/24", f"{US[6]}/64"], self.clock, tcp=TCPProtocol(limits=Limits(cookies=0)))
            self.device = MemoryDevice(TUN)
            self.on(host.ip)
            own, peer = packAddress(US[version]), packAddress(THEM[version])
            syn = tcp.packHeader(tcp.pseudoSum(peer, own), 5000, 80, 1000, 0, SYN, 1000, b"", b"")

            def flags(at: int = 33 if version == 4 else 53, packet: bytes = ipPacket(peer, own, 6, syn)) -> list[int]:
                """
                Send a SYN to the host.

                @return: the flags of the answers.
                """
                del self.device.sent[:]
                self.deliver(packet)
                return [each[at] for each in self.device.sent]

            port = host.listenTCP(80, Factory(), backlog=0)
            before = self.fast
            self.assertEqual([flags(), flags(), self.fast - before], [[], [], 1])
            port.stopListening()
            self.assertEqual(flags(), [RST | ACK])
            host.listenTCP(80, Factory(), backlog=1)
            self.assertEqual(flags(), [SYN | ACK])


class DifferenceTests(SynchronousTestCase):
    """
    Tests that compare a host whose fast path learns each flow at once with a host whose fast path learns none.
    """

    def outcome(self, data: bytes, learns: bool) -> tuple[Any, Any]:
        """
        Let a host receive the packets of an input of the fuzzer, each of them twice.

        @return: the packets that the host has sent, and its counters.
        """
        self.patch(FastPath, "atOnce", learns)
        self.patch(FastPath, "never", not learns)
        ingress = Ingress(bool(data[0] & 1))
        sent = []
        for record in split(data):
            if isinstance(record, bytes):
                for _ in range(2):
                    ingress.receive(record)
                    sent.append(list(ingress.device.sent))
            else:
                ingress.advance(record)
        return sent, {part: dict(counters) for part, counters in ingress.host.counters.items()}

    def test_bothDoTheSame(self) -> None:
        received = countReceived(self)
        random = Random(3)
        for seed in seeds():
            for data in seed, mutate(seed, 4096, random, lambda packet, _: change(packet, random)):
                self.assertEqual(self.outcome(data, True), self.outcome(data, False))
        self.assertGreater(received(), 100)
