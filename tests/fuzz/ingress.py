"""
Packets out of arbitrary octets, given to a host in memory; and what must hold whatever they are.

An input is one octet, whose lowest bit chooses between a tun and a tap, and whose next has the input begin while the
addresses are still being asked for, and then records. Each begins with two octets,
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

from tests.fuzz import tcp
from tests.recorders import Echo
from tests.stack.link import echo, frame, messages
from txtuntap import Host, TuntapPort
from txtuntap.ip import fragments
from txtuntap.stack import neighbours
from txtuntap.stack.resolution import LINES_BURST, LINES_RATE
from txtuntap.testing import TAP, TUN, MemoryDevice
from txtuntap.wire import icmp
from txtuntap.wire.address import packAddress
from txtuntap.wire.ethernet import HEADER_LENGTH

OURS, OURS6 = "10.0.0.2", "fd00::2"
THEIRS, THEIRS6 = "10.0.0.1", "fd00::1"
STATION = b"\x02\0\0\0\0\x01"
ECHO, ASKING, LISTENING, CALLING = 7, 1000, 1001, 1002
GROUP, GROUP6 = "239.1.2.3", "ff05::1:3"

_TIME = 0x8000

_REPLIES = (icmp.ECHO_REPLY, icmp.ECHO_REPLY6)

#: What an answer may have more than what it answers: the headers of IP and ICMP; for each fragment, where it is taken
#: apart: there is one for every so many octets at most.
_HEADERS = 40 + 8

#: Octets of a frame with a neighbour solicitation; and how many one packet may cause: who has an address that two
#: claim, or that somebody has us write to.
_QUESTION = 86
_QUESTIONS = 1
_LEAST_FRAGMENT = 500

#: Timers beside those of what is in tables: groups reported, fragments, pings, routers asked for, what waits its turn.
_TIMERS = 16

#: How many timers an entry of a table has, by the table's name: where it has any.
_TIMED = {
    **{"neighbours": 1, "incomplete": 1, "routers": 1, "prefixes on the link": 1, "prefixes of addresses": 2},
    # Each has one of ours, and one of the program.
    "connections": 2,
}

#: What a table may have over its bound, by its name: the segment by which it was reached.
_OVER = {"buffers": 0xFFFF}

#: Turns of the reactor that one span of time may have. Each timer has one of its own.
_TURNS = 10_000


def join(tap: bool, records: Iterable[bytes | float], early: bool = False) -> bytes:
    """
    The input that has these packets and seconds for its records.
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


class Caller(DatagramProtocol):
    """
    Writes to the neighbour that the first octet is the number of: who gets an answer needs no looking for.
    """

    noisy = False

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        assert self.transport is not None
        network = "fd00::" if ":" in addr[0] else "10.0.0."
        self.transport.write(datagram, (f"{network}{1 + datagram[0] % 99 if datagram else 9}", 9))


class Broken(Exception):
    """
    Something that must hold did not.
    """


class Ingress:
    """
    A host that everything is open on.
    """

    def __init__(self, tap: bool, early: bool = False) -> None:
        self.clock = Clock()
        self.device = MemoryDevice(TAP if tap else TUN)
        #: Octets of the link's header before IP's.
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
        tcp.serve(host, (THEIRS, THEIRS6))
        for address in THEIRS, THEIRS6:
            host.ping(address, size=0, timeout=1e6).addErrback(lambda _: None)
        self._fragments = 0
        self.pass_(0 if early else 10)

    def pass_(self, seconds: float) -> None:
        """
        Let time pass: turn by turn for what is due in each.
        """
        end = self.clock.seconds() + seconds
        for _ in range(_TURNS):
            due = min((call.getTime() for call in self.clock.getDelayedCalls()), default=None)
            if due is None or due > end:
                break
            self.clock.advance(max(0.0, due - self.clock.seconds()))
        else:
            raise Broken(f"there is something to do without end: {self.clock.getDelayedCalls()[:3]}")
        self.clock.advance(max(0.0, end - self.clock.seconds()))

    def receive(self, packet: bytes) -> None:
        """
        Receive a packet, and see that what is sent for it is no more than it may be.
        """
        host: Any = self.host
        del self.device.sent[:]
        waiting, told = self._waiting(), host.groups.counters["outReports"]
        questions = host.neighbours.counters["outSolicits"]
        whole, came = host.ip.counters["reasmOKs"], host.ip.counters["reasmReqds"]
        link = packet[: self._header]
        packet = link + tcp.fitted(host, packet[self._header :], self._answers)
        self.device.deliver(packet)
        self.clock.advance(0)
        for each in self.device.sent:
            tcp.note(each[self._header :], self._answers)
        asked = len(packet)
        if host.ip.counters["reasmReqds"] > came:
            self._fragments += asked
        if host.ip.counters["reasmOKs"] > whole:
            # Its answer is one to all fragments that it was made of.
            asked = self._fragments
        # Answers that had to wait until their station was found are those to earlier packets.
        asked += max(0, waiting - self._waiting())
        # Reports of groups are answers to nobody.
        asked += self.port.mtu * (host.groups.counters["outReports"] - told)
        # So are questions for stations.
        questions = host.neighbours.counters["outSolicits"] - questions
        if questions > _QUESTIONS:
            raise Broken(f"{questions} questions for stations were sent for one packet")
        asked += _QUESTION * questions
        sent = sum(len(each) for each in self.device.sent if not self._isProved(each))
        if sent > asked + _HEADERS * (1 + asked // _LEAST_FRAGMENT):
            raise Broken(f"{sent} octets were sent for {asked}")

    def _isProved(self, packet: bytes) -> bool:
        """
        Whether a packet that was sent belongs to a connection whose peer has proved its address.
        """
        found = tcp.flowOf(packet[self._header :])
        if found is None:
            return False
        return tcp.turned(found[0]) in self._proved

    def _waiting(self) -> int:
        """
        Octets that wait until a station is found, headers included.
        """
        waiting = [octets for entry in self.host.neighbours.incomplete.values() for _, octets in entry.waiting]
        return sum(waiting) + len(waiting) * (HEADER_LENGTH + _HEADERS)

    def answers(self, address: str, asker: str) -> bool:
        """
        Whether somebody who asks for an echo is answered.
        """
        self.pass_(1)
        request = echo(asker, address)
        del self.device.sent[:]
        self.device.deliver(frame(request) if self.device.mode == TAP else request)
        self.clock.advance(0)
        return any(message.kind in _REPLIES for message in messages(self.device.sent, self.device.mode == TAP))

    def check(self) -> None:
        """
        Whether every table is within its bound, nothing of ours has failed, and the host still answers.

        @raise Broken: it is not so.
        """
        host: Any = self.host
        for address, asker in (OURS, THEIRS), (OURS6, THEIRS6):
            # An address may be another's for the time being, if it was taken while it was being asked for.
            if host.ip.ownAddresses.isOwn(packAddress(address)) and not self.answers(address, asker):
                raise Broken(f"{address} answers no more")
        datagrams = host.ip._reassembler._datagrams.values()
        waiting = [entry.waiting for entry in host.neighbours.incomplete.values()]
        tables = self.host.tables()
        for table in [*tables, *self.device.tables()]:
            if table.size > table.bound + _OVER.get(table.name, 0):
                raise Broken(f"{table.size} {table.unit} of {table.name}: {table.bound} is the most")
        # Each of our own addresses has one timer, too.
        timers = len(self.clock.getDelayedCalls())
        most = sum(_TIMED.get(table.name, 0) * table.size for table in tables) + len(host._guard._claims) + _TIMERS
        if timers > most:
            raise Broken(f"{timers} timers: {most} is the most")
        # What is counted along the way must be what there is: or the bound moves, and in the end nothing gets in.
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


def feed(data: bytes) -> Ingress:
    """
    Give a host an input.

    @raise Exception: something is wrong.
    """
    first = data[0] if data else 0
    problems: list[LogEvent] = []
    lines: list[LogEvent] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        lines.append(event)
        if event.get("log_level", LogLevel.info) >= LogLevel.error or "log_failure" in event:
            problems.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        ingress = Ingress(bool(first & 1), bool(first & 2))
        del lines[:]
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
    # An address that others take or leave is worth a line, as far as these are not too many.
    if len(lines) > LINES_BURST + ingress.clock.seconds() * LINES_RATE:
        raise Broken(f"{len(lines)} lines were logged")
    ingress.check()
    return ingress
