"""
Floods of useless packets at a host. The host continues to serve, logs nothing, and its tables stay within their bounds.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest

from tests.long import lengths
from tests.real.lab.host import ask, connected
from tests.real.lab.link import BURST, PacketSocket, waitUntilRead
from tests.real.lab.machine import INTERFACE, MEMBER, RELAY, STATION, Machine
from tests.real.lab.namespace import PATIENCE, Namespace, tool, until
from txtuntap.device import TAP, TUN
from txtuntap.ip.fragments import MAX_MEMORY
from txtuntap.stack.limits import ErrorLimit
from txtuntap.stack.neighbours import MAX_ENTRIES, MAX_INCOMPLETE, MAX_WAITING_OCTETS
from txtuntap.stack.reports import PAUSE
from txtuntap.testing import ethernetFrame, ipPacket, udpPacket
from txtuntap.udp.layer import MAX_FLOWS
from txtuntap.wire import arp, ethernet, icmp, igmp, ipv4, ipv6, mld, ndp, udp
from txtuntap.wire.address import packAddress, packLinkAddress

pytestmark = pytest.mark.measures

VERSIONS = pytest.mark.parametrize("version", [4, 6])

#: The number of packets in a flood.
COUNTS = lengths("count", 10_000, 60_000, "floods")

#: The greatest growth of the process's memory by a flood, in octets: the bounds of all tables, and the memory that
#: Python's allocator keeps of them.
MAX_GROWTH = 24 << 20

FORGER = "02:00:00:00:00:99"


@COUNTS
@VERSIONS
def test_fragmentsOfDistinctDatagramsAreBounded(machine: Machine, version: int, count: int) -> None:
    with _undisturbed(machine, 8000):
        before = machine.state()
        _send(machine, (_fragment(number, version) for number in range(count)))
        after = machine.state()
        assert after["datagrams"] > 100
        assert after["fragmentMemory"] <= MAX_MEMORY
        assert _counted(before, after, "ip", "reasmFails") > count // 2
        _isBounded(before, after)
        assert ask("10.9.0.2", bytes(60000)) == bytes(60000)
        assert ask("fd09::2", bytes(60000)) == bytes(60000)


@COUNTS
@VERSIONS
def test_stationsThatResolveTheHostAreBounded(namespace: Namespace, tmp_path: Path, version: int, count: int) -> None:
    with Machine(tmp_path, "tap") as machine, _undisturbed(machine):
        before = machine.state()
        _send(machine, (_asks(number, version) for number in range(count)))
        after = machine.state()
        answers = ("arp", "outReplies") if version == 4 else ("ndp", "outAdvertisements")
        assert _counted(before, after, *answers) >= count
        assert after["neighbours"] == MAX_ENTRIES
        assert after["delayedCalls"] < MAX_ENTRIES + MAX_INCOMPLETE + 20
        _isBounded(before, after)


@COUNTS
def test_unreachableNeighboursAreBounded(namespace: Namespace, tmp_path: Path, count: int) -> None:
    addresses = ("10.9.0.2/16", "fd09::2/64")
    with Machine(tmp_path, "tap", addresses) as machine, _undisturbed(machine):
        before = machine.state()
        with connected("10.9.0.2", RELAY) as client:
            for number in range(count):
                nobody = f"fd09::1:{number:x}" if number % 2 else f"10.9.{128 + number // 500}.{1 + number // 2 % 250}"
                client.send(nobody.encode())
                if number % 100 == 0:
                    assert ask("10.9.0.2", b"past it") == b"past it"
        after = machine.state()
        assert 0 < after["incomplete"] <= MAX_INCOMPLETE
        assert after["waiting"] <= MAX_WAITING_OCTETS
        assert _counted(before, after, "neighbours", "outSolicits") >= count
        _isBounded(before, after)


@COUNTS
@VERSIONS
def test_errorsToManySourcesAreLimited(machine: Machine, version: int, count: int) -> None:
    with _undisturbed(machine):
        before, began = machine.state(), time.monotonic()
        _send(machine, (_toClosedPort(_source(number, version), number) for number in range(count)))
        after = machine.state()
        most = ErrorLimit.BURST + ErrorLimit.RATE * (time.monotonic() - began)
        assert ErrorLimit.BURST - 10 < _counted(before, after, "icmp", "outErrors") <= most
        assert _counted(before, after, "udp", "noPorts") >= count
        assert after["limits"] <= ErrorLimit.MAX_DESTINATIONS
        _isBounded(before, after)


@COUNTS
@VERSIONS
def test_errorsToOneSourceAreLimited(machine: Machine, version: int, count: int) -> None:
    source = "203.0.113.1" if version == 4 else "2001:db8:1::1"
    with _undisturbed(machine):
        before, began = machine.state(), time.monotonic()
        _send(machine, (_toClosedPort(source, number) for number in range(count)))
        after = machine.state()
        most = ErrorLimit.BURST_EACH + ErrorLimit.RATE_EACH * (time.monotonic() - began)
        assert ErrorLimit.BURST_EACH <= _counted(before, after, "icmp", "outErrors") <= most
        _isBounded(before, after)


@COUNTS
@VERSIONS
def test_flowsOfManySourcesAreBounded(machine: Machine, version: int, count: int) -> None:
    with _undisturbed(machine):
        before = machine.state()
        _send(machine, (_toPort(7, _source(number, version), number) for number in range(count)))
        _isBounded(before, machine.state())


@COUNTS
@VERSIONS
def test_forgedErrorsAreIgnored(machine: Machine, version: int, count: int) -> None:
    with _undisturbed(machine):
        before = machine.state()
        _send(machine, (_bogusError(number, version) for number in range(count)))
        after = machine.state()
        assert _counted(before, after, "icmp", "inMsgs") >= count
        assert _counted(before, after, "icmp", "outErrors") == 0
        _isBounded(before, after)


@COUNTS
@VERSIONS
def test_datagramsToUnknownGroupsAreDropped(machine: Machine, version: int, count: int) -> None:
    with _undisturbed(machine):
        before = machine.state()
        _send(machine, (_toGroup(number, version) for number in range(count)))
        after = machine.state()
        assert _counted(before, after, "ip", "inAddrErrors") >= count
        assert after["flows"] - before["flows"] < 10
        _isBounded(before, after)


@COUNTS
@VERSIONS
def test_answersToGroupQueriesAreLimited(machine: Machine, version: int, count: int) -> None:
    group = b"239.1.2.3" if version == 4 else b"ff15::1:3"
    assert ask("10.9.0.2", group, MEMBER) == b"joined"
    with _undisturbed(machine):
        before, began = machine.state(), time.monotonic()
        _send(machine, (_asksForMembers(number, version) for number in range(count)))
        after = machine.state()
        most = 3 + (time.monotonic() - began) / PAUSE
        assert _counted(before, after, "groups", "inQueries") >= count
        # The reports of changes, in the other version, are few.
        assert 0 < _counted(before, after, "groups", "outReports") <= most + 4
        assert after["delayedCalls"] - before["delayedCalls"] < 10
        _isBounded(before, after)
    assert ask("10.9.0.2", group, MEMBER) == b"left"


@contextmanager
def _undisturbed(machine: Machine, size: int = 56) -> Iterator[None]:
    """
    Check that pings during the block are all answered, that pings after it are, too, and that nothing is logged.
    """
    # The first datagram lets the host resolve addresses and make its tables.
    for address in "10.9.0.2", "fd09::2":
        assert ask(address, bytes(20000)) == bytes(20000)
    log, before = machine.log(), machine.state()
    with TemporaryFile() as first, TemporaryFile() as second:
        outputs = first, second

        def texts() -> list[str]:
            # Read without moving the file offset, because the ping processes write at the same offset.
            return [os.pread(each.fileno(), 1 << 20, 0).decode() for each in outputs]

        pings = []
        for address, output in zip(("10.9.0.2", "fd09::2"), outputs, strict=True):
            command = [tool("ping"), "-n", "-i", "0.02", "-W", "5", "-s", str(size), address]
            pings.append(subprocess.Popen(command, stdout=output))
        try:
            yield
            # A flood may end before ping has sent many requests.
            until(lambda: all(text.count("icmp_seq=") > 6 for text in texts()), "answers to pings")
        finally:
            for ping in pings:
                ping.send_signal(2)
                ping.wait(PATIENCE)
        said = texts()
    asked = 0
    for text in said:
        answered = [int(number) for number in re.findall(r"icmp_seq=(\d+) ", text)]
        assert len(answered) > 5, text
        # All requests are answered, except for those that were under way at the end.
        assert answered == list(range(1, len(answered) + 1)), text
        asked += int(text.partition("---\n")[2].split()[0])
    until(lambda: _counted(before, machine.state(), "icmp", "outEchoReps") >= asked, "an answer to each ping")
    assert machine.log() == log


def _isBounded(before: dict[str, Any], after: dict[str, Any]) -> None:
    """
    Check that a flood has not left more behind than it may.
    """
    assert after["resident"] - before["resident"] < MAX_GROWTH
    assert after["neighbours"] <= MAX_ENTRIES
    assert after["incomplete"] <= MAX_INCOMPLETE
    assert after["flows"] <= MAX_FLOWS
    assert after["addresses"] == before["addresses"]
    assert after["lost"] == []


def _counted(before: dict[str, Any], after: dict[str, Any], part: str, name: str) -> int:
    """
    Return the growth of a counter.
    """
    return int(after["counters"][part].get(name, 0) - before["counters"][part].get(name, 0))


def _send(machine: Machine, packets: Iterable[bytes]) -> None:
    """
    Send packets, or frames, to the device, no faster than the host reads them. The device has a short queue, and drops
    packets for which it has no room.
    """
    kind = TAP if machine.mode == "tap" else TUN
    with PacketSocket(INTERFACE, kind) as network:
        for sent, packet in enumerate(packets, 1):
            if kind == TAP and packet[0] >> 4 in (4, 6):
                etherType = ethernet.IPV4 if packet[0] >> 4 == 4 else ethernet.IPV6
                packet = ethernetFrame(FORGER, STATION, etherType, packet)
            network.send(packet)
            if sent % BURST == 0:
                waitUntilRead(INTERFACE)
                network.received()
    for address in "10.9.0.2", "fd09::2":
        assert ask(address, b"past it") == b"past it"


def _source(number: int, version: int) -> str:
    return f"192.168.{number // 250}.{1 + number % 250}" if version == 4 else f"2001:db8::{number + 1:x}"


def _own(version: int) -> str:
    return "10.9.0.2" if version == 4 else "fd09::2"


def _fragment(number: int, version: int) -> bytes:
    """
    Make a fragment, the first or a later one, of a datagram that is never completed.
    """
    source, dest = _source(number % 100, version), _own(version)
    offset = number % 2 * 1024
    piece = bytes(8 + number % 3 * 600)
    if version == 4:
        word = ipv4.MORE_FRAGMENTS | offset >> 3
        return ipPacket(source, dest, udp.PROTOCOL, piece, identification=number, fragment=word)
    header = ipv6.FRAGMENT_HEADER.pack(udp.PROTOCOL, offset | 1, number)
    return ipPacket(source, dest, ipv6.FRAGMENT, header + piece)


def _asks(number: int, version: int) -> bytes:
    """
    Make a frame of a station that requests the host's link address.
    """
    link = b"\x02\x99" + number.to_bytes(4, "big")
    if version == 4:
        sender = packAddress(_source(number, 4))
        request = arp.ARP(arp.REQUEST, link, sender, bytes(6), packAddress("10.9.0.2"))
        return ethernetFrame(link, b"\xff" * 6, ethernet.ARP, request.pack())
    source, dest = packAddress(_source(number, 6)), packAddress("fd09::2")
    message = icmp.pack(ndp.SOLICITATION, 0, 0, ndp.packBody(dest, ndp.SOURCE_LINK, link), source, dest)
    packet = ipPacket(source, dest, icmp.PROTOCOL[6], message, ndp.HOP_LIMIT)
    return ethernetFrame(link, packLinkAddress(STATION), ethernet.IPV6, packet)


def _toPort(port: int, source: str, number: int) -> bytes:
    return udpPacket(source, _own(6 if ":" in source else 4), 1024 + number % 50000, port, b"forged")


def _toClosedPort(source: str, number: int) -> bytes:
    return _toPort(2000 + number % 10000, source, number)


def _toGroup(number: int, version: int) -> bytes:
    group = f"239.7.{number // 250}.{number % 250}" if version == 4 else f"ff15::7:{number:x}"
    return udpPacket(_source(number % 100, version), group, 4000, 7, b"anybody?")


def _asksForMembers(number: int, version: int) -> bytes:
    """
    Make a query, about all groups or about one, that wants an immediate answer.
    """
    rest = b"\x02\x7d\0\0"
    if version == 4:
        group = packAddress(("0.0.0.0", "239.1.2.3", f"239.7.{number // 250}.{number % 250}")[number % 3])
        message = icmp.pack(igmp.QUERY, 0, int.from_bytes(group, "big"), rest)
        asker = f"10.9.0.{100 + number % 100}"
        return ipPacket(asker, "224.0.0.1", igmp.PROTOCOL, message, 1, options=igmp.ROUTER_ALERT)
    source, dest = packAddress(f"fe80::{number + 99:x}"), packAddress("ff02::1")
    group = packAddress(("::", "ff15::1:3", f"ff15::7:{number:x}")[number % 3])
    message = icmp.pack(mld.QUERY, 0, 0, group + rest, source, dest)
    return ipPacket(source, dest, ipv6.HOP_BY_HOP, mld.HOP_BY_HOP + message, 1)


def _bogusError(number: int, version: int) -> bytes:
    """
    Make an ICMP error that quotes a datagram which the host has never sent.
    """
    source, dest = _source(number, version), _own(version)
    quote = udpPacket(dest, source, 7, number % 65535 + 1, b"never sent")
    if version == 4:
        kind, code = [(3, 3), (3, 4), (3, 1), (11, 1), (12, 0)][number % 5]
        return ipPacket(source, dest, icmp.PROTOCOL[4], icmp.pack(kind, code, 68, quote))
    kind, code = [(1, 4), (2, 0), (1, 0), (3, 1), (4, 0)][number % 5]
    message = icmp.pack(kind, code, 68, quote, packAddress(source), packAddress(dest))
    return ipPacket(source, dest, icmp.PROTOCOL[6], message)
