"""
Packets out of arbitrary octets, given to a host in memory; and what must hold whatever they are.

An input is one octet, whose lowest bit chooses between a tun and a tap, and then records. Each begins with two octets,
a number: below 0x8000, a packet of so many octets follows; from there on, time passes: a hundredth of a second for each
over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from zope.interface import implementer

from txtuntap import Host, TuntapPort, fragments, ipoutput, pathmtu, rawudp, udptransport
from txtuntap import addresses as addressTable
from txtuntap.stack import autoconf, neighbours
from txtuntap.stack.limits import ErrorLimit
from txtuntap.testing import TAP, TUN, MemoryDevice

OURS, OURS6 = "10.0.0.2", "fd00::2"
THEIRS, THEIRS6 = "10.0.0.1", "fd00::1"
STATION = b"\x02\0\0\0\0\x01"
ECHO, ASKING, LISTENING = 7, 1000, 1001
GROUP, GROUP6 = "239.1.2.3", "ff05::1:3"

_TIME = 0x8000

#: What an answer may have more than what it answers: the headers of IP and ICMP.
_HEADERS = 40 + 8

#: Octets of a header for each fragment, where an answer to a whole datagram is taken apart.
_MOST = 65535 + 128 * 62


def join(tap: bool, records: Iterable[bytes | float]) -> bytes:
    """
    The input that has these packets and seconds for its records.
    """
    data = bytes((tap,))
    for record in records:
        if isinstance(record, bytes):
            data += len(record).to_bytes(2, "big") + record
        else:
            data += (_TIME + int(record * 100)).to_bytes(2, "big")
    return data


def split(data: bytes) -> Iterator[bytes | float]:
    """
    The records of an input, after its first octet.
    """
    at = 1
    while at + 2 <= len(data):
        number = int.from_bytes(data[at : at + 2], "big")
        at += 2
        if number >= _TIME:
            yield (number - _TIME) / 100
        else:
            yield data[at : at + number]
            at += number


class Echo(DatagramProtocol):
    """
    Sends back what comes.
    """

    noisy = False

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        assert self.transport is not None
        self.transport.write(datagram, addr)


class Broken(Exception):
    """
    Something that must hold did not.
    """


class Ingress:
    """
    A host that everything is open on.
    """

    def __init__(self, tap: bool) -> None:
        self.clock = Clock()
        self.device = MemoryDevice(TAP if tap else TUN)
        self.host = host = Host(
            [f"{OURS}/24", f"{OURS6}/64"],
            self.clock,
            linkAddress=STATION,
            gateways=[THEIRS, THEIRS6],
            anyAddresses=["10.77.0.0/16", "fd77::/48"],
            answerFor=["10.77.0.0/17", "fd77::/49"],
            answerExcept=["10.77.0.7"],
            autoconfigure=True,
            verifyChecksum=False,
            random=Random(1),
        )
        host.neighbours.add(THEIRS, b"\x02\0\0\0\0\x02")
        host.neighbours.add(THEIRS6, b"\x02\0\0\0\0\x02")
        top = host.ethernet if tap else host.ip
        self.port = TuntapPort("", top, reactor=self.clock, device=self.device)
        self.port.startListening()
        host.listenUDP(ECHO, Echo())
        host.listenUDP(ASKING, DatagramProtocol()).write(b"question", (THEIRS, 53))
        connected = host.listenUDP(LISTENING, DatagramProtocol())
        connected.connect(THEIRS6, 53)
        connected.write(bytes(1400))
        for group in GROUP, GROUP6:
            connected.joinGroup(group)
        host.ping(THEIRS, timeout=1e6).addErrback(lambda _: None)
        self.pass_(10)

    def pass_(self, seconds: float) -> None:
        """
        Let time pass: turn by turn for what is due in each.
        """
        end = self.clock.seconds() + seconds
        for _ in range(1000):
            due = min((call.getTime() for call in self.clock.getDelayedCalls()), default=end)
            if due > end:
                break
            self.clock.advance(max(0.0, due - self.clock.seconds()))
        self.clock.advance(max(0.0, end - self.clock.seconds()))

    def receive(self, packet: bytes) -> None:
        """
        Receive a packet, and see that what is sent for it is no more than it may be.
        """
        before = sum(map(len, self.device.sent))
        whole = self.host.ip.counters["reasmOKs"]
        self.device.deliver(packet)
        self.clock.advance(0)
        sent = sum(map(len, self.device.sent)) - before
        del self.device.sent[:]
        if sent > (_MOST if self.host.ip.counters["reasmOKs"] > whole else len(packet) + _HEADERS):
            raise Broken(f"{sent} octets were sent for {len(packet)}")

    def check(self) -> None:
        """
        Whether every table is within its bound, and nothing of ours has failed.
        """
        host: Any = self.host
        flows = [transport._flows for transports in host.udp._transports.values() for transport in transports]
        for name, table, bound in (
            ("neighbours", host.neighbours.entries, neighbours.MAX_ENTRIES),
            ("incomplete neighbours", host.neighbours.incomplete, neighbours.MAX_INCOMPLETE),
            ("routers", host.routes.routers, autoconf.MAX_ROUTERS),
            ("prefixes on the link", host.autoconfiguration._onLink, autoconf.MAX_PREFIXES),
            ("addresses formed", host.autoconfiguration._formed, autoconf.MAX_PREFIXES),
            ("flows", host.udp._flows, rawudp.MAX_FLOWS),
            ("written", host.udp._written, rawudp.MAX_WRITTEN),
            ("peers", max(flows, key=len), udptransport.MAX_PEERS),
            ("askers", host.ip._askers, ipoutput.MAX_ASKERS),
            ("admitted", host.ip.own.admitted, addressTable.MAX_ADMITTED),
            ("paths", host.ip.paths, pathmtu.MAX_PATHS),
            ("limits", host.icmp._limit._each, ErrorLimit.MAX_DESTINATIONS),
        ):
            if len(table) > bound:
                raise Broken(f"{len(table)} {name}: {bound} is the most")
        if host.ip._reassembler.memory > fragments.MAX_MEMORY:
            raise Broken("fragments take too much memory")
        for part, counters in {"port": self.port.counters, **host.counters}.items():
            if counters.get("protocolFailures"):
                raise Broken(f"{part} has failed")


def feed(data: bytes) -> Ingress:
    """
    Give a host an input.

    @raise Exception: something is wrong.
    """
    problems: list[LogEvent] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_level", LogLevel.info) >= LogLevel.error or "log_failure" in event:
            problems.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        ingress = Ingress(bool(data[:1] and data[0] & 1))
        for record in split(data):
            if isinstance(record, bytes):
                ingress.receive(record)
            else:
                ingress.pass_(record)
    finally:
        globalLogPublisher.removeObserver(observe)
    for event in problems:
        if "log_failure" in event:
            event["log_failure"].raiseException()
        raise Broken(str(event))
    ingress.check()
    return ingress
