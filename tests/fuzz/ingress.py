"""
The harness of the fuzzer: a host in memory that receives packets of arbitrary octets, and the invariants that must hold
for any packets.

An input consists of one octet and records. The lowest bit of the octet chooses a tap (1) or a tun (0). If its next bit
is set, the input begins while the host still probes its addresses. Each record begins with a number of two octets. A
number below 0x8000 is the length in octets of a packet that follows. With a greater number, time passes: one hundredth
of a second for each unit above 0x8000.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from zope.interface import implementer

from tests.fuzz import tcp
from tests.recorders import Echo
from tests.stack.link import echo, frame, messages
from txtuntap import Host, TuntapPort
from txtuntap.ip import fragments
from txtuntap.stack import neighbours
from txtuntap.stack.resolution import LINES_BURST, LINES_RATE
from txtuntap.testing import TAP, TUN, MemoryDevice
from txtuntap.wire import icmp, ipv6
from txtuntap.wire.address import packAddress
from txtuntap.wire.ethernet import HEADER_LENGTH

OURS, OURS6 = "10.0.0.2", "fd00::2"
THEIRS, THEIRS6 = "10.0.0.1", "fd00::1"
STATION = b"\x02\0\0\0\0\x01"
ECHO, ASKING, LISTENING, CALLING = 7, 1000, 1001, 1002
GROUP, GROUP6 = "239.1.2.3", "ff05::1:3"

_TIME = 0x8000

_REPLIES = (icmp.ECHO_REPLY, icmp.ECHO_REPLY6)

#: The number of octets by which an answer may be longer than the packet it answers: the headers of IP and ICMP. A
#: fragmented answer may be longer by that for each fragment.
_HEADERS = 40 + 8

#: The least length of a fragment in octets, except for the last one.
_LEAST_FRAGMENT = 500

#: The length of a frame with a neighbour solicitation in octets, and the most solicitations that one packet may cause.
_SOLICITATION = 86
_SOLICITATIONS = 1

#: The most timers that do not belong to entries of tables: for group reports, fragments, pings, router solicitations
#: and pending work.
_TIMERS = 16

#: The number of timers of each entry, for tables whose entries have any, by the table's name.
_TIMED = {
    **{"routers": 1, "prefixes on the link": 1, "prefixes of addresses": 2},
    # A connection has one timer of the TCP layer, and one of the application.
    "connections": 2,
}

#: By a table's name, the size by which it may exceed its bound: the length of the segment that reached the bound.
_OVER = {"buffers": 0xFFFF}

#: The most turns of the reactor in one span of time. Each timer takes one turn.
_TURNS = 10_000


def join(tap: bool, records: Iterable[bytes | float], early: bool = False) -> bytes:
    """
    Make an input from packets and times.

    @param tap: whether the host is on a tap.
    @param records: packets, and numbers of seconds.
    @param early: whether the input begins while the host still probes its addresses.
    """
    data = bytes((tap | early << 1,))
    for record in records:
        if isinstance(record, bytes):
            data += len(record).to_bytes(2, "big") + record
        else:
            data += (_TIME + int(record * 100)).to_bytes(2, "big")
    return data


def split(data: bytes) -> Iterator[bytes | float]:
    """
    Parse the records of an input, behind its first octet.
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


class Caller(DatagramProtocol):
    """
    A protocol that writes to another neighbour, whose number is the first octet of the datagram. This makes the host
    resolve neighbours, which answers to the sender do not.
    """

    noisy = False

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        assert self.transport is not None
        network = "fd00::" if ":" in addr[0] else "10.0.0."
        self.transport.write(datagram, (f"{network}{1 + datagram[0] % 99 if datagram else 9}", 9))


class Broken(Exception):
    """
    An invariant does not hold.
    """


class Ingress:
    """
    A host that uses all features and has servers of all kinds.
    """

    def __init__(self, tap: bool, early: bool = False) -> None:
        self.clock = Clock()
        self.device = MemoryDevice(TAP if tap else TUN)
        #: The length of the link header in octets.
        self._header = HEADER_LENGTH if tap else 0
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
            secrets=Random(2),
            tcp=tcp.layer(),
        )
        host.neighbours.add(THEIRS, b"\x02\0\0\0\0\x02")
        host.neighbours.add(THEIRS6, b"\x02\0\0\0\0\x02")
        top = host.ethernet if tap else host.ip
        self.port = TuntapPort("", top, reactor=self.clock, device=self.device)
        self.port.startListening()
        host.listenUDP(ECHO, Echo())
        host.listenUDP(CALLING, Caller())
        host.listenUDP(ASKING, DatagramProtocol()).write(b"question", (THEIRS, 53))
        connected = host.listenUDP(LISTENING, DatagramProtocol())
        connected.connect(THEIRS6, 53)
        connected.write(bytes(1400))
        for group in GROUP, GROUP6:
            connected.joinGroup(group)
        self._answers: dict[tcp.Flow, tuple[int, int]] = {}
        self._proved = tcp.watch(host)
        #: The identifications of datagrams of such connections that were sent in fragments.
        self._provedFragments: set[bytes] = set()
        tcp.serve(host, (THEIRS, THEIRS6))
        for address in THEIRS, THEIRS6:
            host.ping(address, size=0, timeout=1e6).addErrback(lambda _: None)
        self._fragments = 0
        self.advance(0 if early else 10)

    def advance(self, seconds: float) -> None:
        """
        Advance the clock, and make each delayed call at its own time.

        @raise Broken: the calls do not end.
        """
        end = self.clock.seconds() + seconds
        for _ in range(_TURNS):
            due = min((call.getTime() for call in self.clock.getDelayedCalls()), default=None)
            if due is None or due > end:
                break
            self.clock.advance(max(0.0, due - self.clock.seconds()))
        else:
            raise Broken(f"the delayed calls do not end: {self.clock.getDelayedCalls()[:3]}")
        self.clock.advance(max(0.0, end - self.clock.seconds()))

    def receive(self, packet: bytes) -> None:
        """
        Receive a packet, and check that the answers to it are not longer than allowed.

        @raise Broken: the answers are too long, or too many neighbour solicitations were sent.
        """
        host: Any = self.host
        del self.device.sent[:]
        waiting, reports = self._waiting(), host.groups.counters["outReports"]
        solicitations = host.neighbours.counters["outSolicits"]
        reassembled, fragments = host.ip.counters["reasmOKs"], host.ip.counters["reasmReqds"]
        link = packet[: self._header]
        packet = link + tcp.withAbsoluteNumbers(host, packet[self._header :], self._answers)
        self.device.deliver(packet)
        self.clock.advance(0)
        for each in self.device.sent:
            tcp.note(each[self._header :], self._answers)
        asked = len(packet)
        if host.ip.counters["reasmReqds"] > fragments:
            self._fragments += asked
        if host.ip.counters["reasmOKs"] > reassembled:
            # The answer to a reassembled datagram answers all of its fragments.
            asked = self._fragments
        # Packets that waited for their neighbour answer earlier packets.
        asked += max(0, waiting - self._waiting())
        # Group reports are not answers, so their octets are allowed in addition.
        asked += self.port.mtu * (host.groups.counters["outReports"] - reports)
        # Neighbour solicitations are not answers either, but their number is bounded.
        solicitations = host.neighbours.counters["outSolicits"] - solicitations
        if solicitations > _SOLICITATIONS:
            raise Broken(f"{solicitations} neighbour solicitations were sent for one packet")
        asked += _SOLICITATION * solicitations
        sent = sum(len(each) for each in self.device.sent if not self._isProved(each))
        if sent > asked + _HEADERS * (1 + asked // _LEAST_FRAGMENT):
            raise Broken(f"{sent} octets were sent for {asked}")

    def _isProved(self, packet: bytes) -> bool:
        """
        Whether a packet that was sent belongs to a TCP connection whose peer has proved its address. Segments over IPv6
        are fragmented if the path has become narrower since the connection was opened.
        """
        packet = packet[self._header :]
        number = b""
        if len(packet) > 48 and packet[0] >> 4 == 6 and packet[6] == ipv6.FRAGMENT:
            number = packet[44:48]
            if number in self._provedFragments:
                return True
            packet = packet[:6] + packet[40:41] + packet[7:40] + packet[48:]
        found = tcp.flowOf(packet)
        if found is None or tcp.reversedFlow(found[0]) not in self._proved:
            return False
        if number:
            # Later fragments have no ports.
            self._provedFragments.add(number)
        return True

    def _waiting(self) -> int:
        """
        Return the number of octets of packets that wait for a neighbour, including headers.
        """
        waiting = [octets for entry in self.host.neighbours.incomplete.values() for _, octets in entry.waiting]
        return sum(waiting) + len(waiting) * (HEADER_LENGTH + _HEADERS)

    def answers(self, address: str, asker: str) -> bool:
        """
        Whether the host answers a ping.

        @param address: the pinged address of the host.
        @param asker: the source address of the ping.
        """
        self.advance(1)
        request = echo(asker, address)
        del self.device.sent[:]
        self.device.deliver(frame(request) if self.device.mode == TAP else request)
        self.clock.advance(0)
        return any(message.kind in _REPLIES for message in messages(self.device.sent, self.device.mode == TAP))

    def check(self) -> None:
        """
        Check that every table is within its bound, no protocol has raised, and the host still answers.

        @raise Broken: one of these does not hold.
        """
        host: Any = self.host
        for address, asker in (OURS, THEIRS), (OURS6, THEIRS6):
            # An address is not used while another station claims it, if the claim came during the probe.
            if host.ip.ownAddresses.isOwn(packAddress(address)) and not self.answers(address, asker):
                raise Broken(f"{address} answers no more")
        datagrams = host.ip._reassembler._datagrams.values()
        waiting = [entry.waiting for entry in host.neighbours.incomplete.values()]
        tables = self.host.tables()
        for table in [*tables, *self.device.tables()]:
            if table.size > table.bound + _OVER.get(table.name, 0):
                raise Broken(f"{table.size} {table.unit} of {table.name}: {table.bound} is the most")
        # Each address of the host has one timer, too.
        timers = len(self.clock.getDelayedCalls())
        most = sum(_TIMED.get(table.name, 0) * table.size for table in tables) + len(host._guard._claims) + _TIMERS
        if timers > most:
            raise Broken(f"{timers} timers: {most} is the most")
        # A running total must equal the sum of its parts. Otherwise the bound drifts, until every entry is refused.
        for name, counted, there, most in (
            (
                "memory of fragments",
                host.ip._reassembler.memory,
                sum(each.memory for each in datagrams),
                fragments.MAX_MEMORY,
            ),
            (
                "octets that wait for stations",
                host.neighbours._waitingOctets,
                sum(octets for each in waiting for _, octets in each),
                neighbours.MAX_WAITING_OCTETS,
            ),
        ):
            if counted != there or there > most:
                raise Broken(f"{name}: {counted} counted, {there} there, {most} is the most")
        for problem in tcp.problems(self.host):
            raise Broken(problem)
        for part, counters in {"port": self.port.counters, **host.counters}.items():
            if counters.get("protocolFailures"):
                raise Broken(f"{part} has failed")


@contextmanager
def observed() -> Iterator[list[LogEvent]]:
    """
    Collect the lines that are logged.

    @raise Broken: an error was logged.
    @raise Exception: an exception was logged.
    """
    lines: list[LogEvent] = []
    problems: list[LogEvent] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        lines.append(event)
        if event.get("log_level", LogLevel.info) >= LogLevel.error or "log_failure" in event:
            problems.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        yield lines
    finally:
        globalLogPublisher.removeObserver(observe)
    for event in problems:
        if "log_failure" in event:
            event["log_failure"].raiseException()
        raise Broken(str(event))


def feed(data: bytes) -> Ingress:
    """
    Let a host receive all records of an input, and check the invariants.

    @raise Broken: an invariant does not hold.
    @raise Exception: the host has raised or logged an exception.
    """
    first = data[0] if data else 0
    with observed() as lines:
        ingress = Ingress(bool(first & 1), bool(first & 2))
        del lines[:]
        for record in split(data):
            if isinstance(record, bytes):
                ingress.receive(record)
            else:
                ingress.advance(record)
    # A line for each address conflict is allowed, within the rate limit of these lines.
    if len(lines) > LINES_BURST + ingress.clock.seconds() * LINES_RATE:
        raise Broken(f"{len(lines)} lines were logged")
    ingress.check()
    return ingress
