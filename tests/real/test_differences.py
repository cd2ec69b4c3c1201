"""
Compare a host of txtuntap with Linux, for the same odd frames. C{docs/input.md} lists every difference.
"""

from __future__ import annotations

import errno
import itertools
import socket
from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.paths import DOCS
from tests.real.lab.answers import LINUX, OURS, Habits, fragmentOf, unusual, unusualARP
from tests.real.lab.link import PacketSocket
from tests.real.lab.linux import Linux, setting
from tests.real.lab.machine import ECHO, INTERFACE, KNOCK, STATION, Machine
from tests.real.lab.namespace import Namespace, need, until
from tests.real.lab.oddities import Oddity, same
from tests.real.lab.oddities.fragments import FRAGMENTS
from tests.real.lab.oddities.frames import GATEWAYS, OTHER, OTHER_GATEWAYS, unknown
from tests.real.lab.oddities.habits import HABITS, TIMES, Habit, progress
from tests.real.lab.oddities.headers import HEADERS
from tests.real.lab.oddities.links import ARP, FRAMES, NDP
from tests.real.lab.oddities.messages import ADDRESSES, DATAGRAMS, MESSAGES, PROTOCOLS
from tests.real.lab.oddities.trust import TRUST
from tests.real.test_input import ALL, HERE, SENDER, STATIONS, described, framed, icmp4, icmp6
from tests.real.test_linux import DIFFERENCES, NAMES
from txtuntap.device import TAP
from txtuntap.testing import udpPacket
from txtuntap.udp import echo
from txtuntap.wire import arp, igmp, ipv6, ndp
from txtuntap.wire.address import addressText, linkAddressText, packAddress, packLinkAddress

ROWS = [*FRAGMENTS, *HEADERS, *ADDRESSES, *PROTOCOLS, *MESSAGES, *DATAGRAMS, *FRAMES, *ARP, *NDP, *TRUST]

#: The IP addresses of which Linux knows the station: all senders, and the next hops.
_STATIONS = {
    **STATIONS,
    **{gateway: SENDER for gateway in GATEWAYS.values()},
    **{gateway: OTHER for gateway in OTHER_GATEWAYS.values()},
    **{address: SENDER for address in ("10.9.0.0", "fd09::")},
}

#: The payload of a datagram that is sent after a row. Its echo shows that the row was processed.
_MARK = bytes(range(32))
_MARKERS = {4: "10.9.0.20", 6: "fd09::1:1"}
_FIRST_SENDER = 21


#: Addresses to which Linux has a connected socket that has sent nothing.
_KNOCKED = {4: "10.9.0.254", 6: "fd09::1:1ff"}

#: The source addresses of packets that are sent repeatedly.
_AGAIN = {4: "10.9.0.253", 6: "fd09::1:1fe"}

#: The settings that C{docs/input.md} names, below C{/proc/sys/net}, with the kernel's default values.
NUMBERS = {
    "ipv4/ipfrag_high_thresh": 4 << 20,
    "ipv4/ipfrag_time": 30,
    "ipv6/ip6frag_high_thresh": 4 << 20,
    "ipv6/ip6frag_time": 60,
    "ipv4/route/min_pmtu": 552,
    "ipv4/icmp_ratelimit": 1000,
    "ipv4/icmp_msgs_per_sec": 1000,
    "ipv4/icmp_msgs_burst": 50,
    "ipv6/icmp/ratelimit": 100,
    "ipv6/conf/default/accept_ra": 1,
    "ipv6/max_dst_opts_number": 8,
    "ipv6/max_hbh_opts_number": 8,
}

PAGE = DOCS / "input.md"


class Exchange:
    """
    The link to one of the two systems: a host, or Linux.
    """

    def __init__(self, network: PacketSocket, heard: Callable[[], int], habits: Habits) -> None:
        """
        @param heard: returns how many datagrams have reached the open port.
        @param habits: the habits of the system.
        """
        self._network = network
        self._heard = heard
        self._habits = habits

    def does(self, row: Oddity, source: str) -> list[str]:
        """
        Send the frames of a row, one after the other, and describe the reactions: see L{tests.real.lab.oddities}.
        """
        before = self._heard()
        frames = row.make(source)
        done: list[str] = []
        for number, frame in enumerate(frames):
            asked = frames[: number + 1]
            done += filter(None, (_told(each, source, asked, self._habits) for each in self.asks(frame, row.version)))
        heard = self._heard() - before - len(frames)
        answered = any(each.startswith(("udp", "fragment")) and "relayed" not in each for each in done)
        return done if answered else done + ["heard"] * heard

    def repeats(self, habit: Habit, source: str) -> str:
        """
        Send the packet of a habit several times, and describe how a field of the answers changes.
        """
        found = []
        for _ in range(TIMES):
            came = [frame for each in habit.make(source) for frame in self.asks(each, habit.version)]
            answers = [frame for frame in came if _told(frame, source, [], self._habits)]
            found.append(habit.field(answers[0][14:]))
        return progress(found)

    def asks(self, frame: bytes, version: int) -> list[bytes]:
        """
        Send a frame, and return the frames that come back.
        """
        mark = framed(udpPacket(_MARKERS[version], HERE[version], 4000, ECHO, _MARK))
        self._network.send(frame)
        self._network.send(mark)
        return [each for each in self._network.receivedUntil(_isMark) if not _isMark(each)]


def _isMark(frame: bytes) -> bool:
    return frame.endswith(_MARK) and any(packAddress(each) in frame[:54] for each in _MARKERS.values())


def _told(frame: bytes, source: str, asked: Sequence[bytes], habits: Habits) -> str:
    """
    Describe a frame and its unusual fields. The result is empty if the frame is no answer, such as a request for a link
    address or a report of groups.

    @param asked: the frames that it may answer.
    """
    if frame[6:12] != packLinkAddress(STATION):
        return f"a frame of {linkAddressText(frame[6:12])}"
    station = "" if frame[:6] == packLinkAddress(SENDER) else f" at {linkAddressText(frame[:6])}"
    packet = frame[14:]
    if frame[12:14] == b"\x08\x06":
        if frame[21] == arp.REPLY:
            return f"arp reply{station}{unusualARP(frame, asked)}"
        return "defended" if frame[:6] == ALL and frame[28:32] == frame[38:42] else ""
    if packet[0] >> 4 == 4:
        header, leaving, dest = (packet[0] & 0x0F) << 2, packet[12:16], packet[16:20]
        report = packet[9] == igmp.PROTOCOL
        fragment = int.from_bytes(packet[6:8], "big") & 0x3FFF != 0
    else:
        header, leaving, dest = 40, packet[8:24], packet[24:40]
        report = packet[6] == ipv6.HOP_BY_HOP or (packet[6], packet[40]) in ((58, 133), (58, ndp.SOLICITATION))
        fragment = packet[6] == ipv6.FRAGMENT
    if report:
        return ""
    if fragment:
        return f"{fragmentOf(packet)}{station}{unusual(packet, asked, habits)}"
    told, problem = described(packet), packet[header + 4 : header + 8]
    if told in ("icmp 11/1", "icmp6 3/1") and addressText(dest) != source:
        # A reassembly of an earlier row has timed out.
        return ""
    if told.startswith("udp") and len(packet) > 200:
        told = f"udp of {len(packet) - header - 8} octets"
    elif told.startswith("icmp 12/0"):
        told += f" at {problem[0]}"
    elif told.startswith("icmp6 4/"):
        told += f" at {int.from_bytes(problem, 'big')}"
    told += "" if addressText(leaving) in HERE.values() else f" from {addressText(leaving)}"
    told += station + ("" if addressText(dest) in (source, unknown(source)) else f" to {addressText(dest)}")
    return told + unusual(packet, asked, habits)


def _senders() -> Iterator[tuple[Oddity, str]]:
    """
    Give each row a sender of its own, so that the limits and tables of one row do not affect the others.
    """
    numbers = {version: itertools.count(_FIRST_SENDER) for version in HERE}
    for row in ROWS:
        number = next(numbers[row.version])
        yield row, f"10.9.0.{number}" if row.version == 4 else f"fd09::1:{number:x}"


EACH_ROW = pytest.mark.parametrize(
    ("row", "source"), [pytest.param(*each, id=each[0].name.replace(" ", "-")) for each in _senders()]
)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    """
    Make a link to a host of txtuntap.
    """
    need()
    directory = tmp_path_factory.mktemp("machine")
    with Namespace(), Machine(directory, "tap", gateways=tuple(GATEWAYS.values())) as machine:
        until(lambda: len(machine.state()["claimed"]) == 3, "the addresses to be claimed")
        with PacketSocket(INTERFACE, TAP) as network:
            yield Exchange(network, machine.heard, OURS)


@pytest.fixture(scope="module")
def linuxHost() -> Iterator[Linux]:
    """
    Make a network namespace of Linux at the other end of a link.
    """
    need()
    with Namespace(), Linux(_STATIONS, tuple(GATEWAYS.values()), tuple(_KNOCKED.values())) as host:
        yield host


@pytest.fixture(scope="module")
def linux(linuxHost: Linux) -> Iterator[Exchange]:
    """
    Make a link to Linux.
    """
    with PacketSocket(INTERFACE, TAP) as network:
        yield Exchange(network, linuxHost.heard, LINUX)


@EACH_ROW
def test_theHostDoesAsTheTableSays(ours: Exchange, row: Oddity, source: str) -> None:
    assert ours.does(row, source) == list(row.here)


@EACH_ROW
def test_LinuxDoesAsTheTableSays(linux: Exchange, row: Oddity, source: str) -> None:
    assert linux.does(row, source) == list(row.linux)


@pytest.mark.parametrize("habit", HABITS, ids=lambda habit: habit.name.replace(" ", "-"))
def test_theHabitsOfTheHostAreAsTheTableSays(ours: Exchange, habit: Habit) -> None:
    assert ours.repeats(habit, _AGAIN[habit.version]) == habit.here


@pytest.mark.parametrize("habit", HABITS, ids=lambda habit: habit.name.replace(" ", "-"))
def test_theHabitsOfLinuxAreAsTheTableSays(linux: Exchange, habit: Habit) -> None:
    assert linux.repeats(habit, _AGAIN[habit.version]) == habit.linux


@pytest.mark.parametrize("version", [4, 6])
def test_LinuxAcceptsAPortUnreachableWithoutADatagram(linux: Exchange, linuxHost: Linux, version: int) -> None:
    peer = _KNOCKED[version]
    knock = udpPacket(HERE[version], peer, KNOCK, 9, b"")
    refusal = icmp4(peer, 3, 3, knock) if version == 4 else icmp6(peer, 1, 4, knock)
    assert linux.does(same(version, "a refusal", lambda _: [framed(refusal)]), peer) == []
    error = linuxHost.knocking[peer].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    assert error == errno.ECONNREFUSED


def test_thePageHasThePortsThatEchoDoesNotAnswer() -> None:
    assert f"a datagram for `echo` from a port under {echo.FIRST_USER_PORT}," in PAGE.read_text()


def test_theSettingsOfLinuxAreItsDefaults(namespace: Namespace) -> None:
    for name, value in NUMBERS.items():
        assert setting(name) == value, name


def test_eachRowWithADifferenceHasItsName() -> None:
    for row in ROWS:
        assert bool(row.difference) == (row.here != row.linux), row.name
    for habit in HABITS:
        assert bool(habit.difference) == (habit.here != habit.linux), habit.name


def test_thePageHasExactlyTheDifferences() -> None:
    known = {row.difference for row in ROWS if row.difference} | {each.difference for each in HABITS if each.difference}
    known |= {NAMES.get((version, name), f"IPv{version}: {name.replace('-', ' ')}") for version, name in DIFFERENCES}
    compared = PAGE.read_text().partition("\n## What no packet shows")[0]
    told = [line.split(" | ")[0].removeprefix("| ") for line in compared.splitlines() if line.startswith("| ")]
    assert sorted(each for each in told if each != "packet") == sorted(known)
