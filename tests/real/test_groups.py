"""
Multicast groups with the kernel as the peer: kernel sockets write to groups of a host, and the host to groups of the
kernel. A bridge of the kernel queries the members, and forwards only to them.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.real.lab.host import ask
from tests.real.lab.link import untilHas, untilQueueStarted
from tests.real.lab.machine import ECHO, INTERFACE, KERNEL_ADDRESSES, MEMBER, RELAY, Machine
from tests.real.lab.namespace import PATIENCE, Namespace, ip, run, until
from tests.real.lab.tcpdump import captured, tshark

KINDS = pytest.mark.parametrize("mode", ["tap", "tun"])

BRIDGE = "ttbr"

#: A group of each version that the tests join, and a group that has no members.
GROUPS = {4: "239.1.2.3", 6: "ff15::1:3"}
OTHERS = {4: "239.1.2.4", 6: "ff15::1:4"}
HERE = {4: "10.9.0.2", 6: "fd09::2"}

#: The solicited-node group of the machine: its addresses of the plugin and its link-local address have the same one.
SOLICITED = "ff02::1:ff00:2"


@KINDS
@pytest.mark.parametrize("version", [4, 6])
def test_aDatagramToAGroupIsAnsweredFromTheHost(namespace: Namespace, tmp_path: Path, mode: str, version: int) -> None:
    with Machine(tmp_path, mode), _member(version, INTERFACE) as member:
        group, other = GROUPS[version], OTHERS[version]
        assert _toggle(group) == b"joined"
        for size in 1, 1000, 5000:
            member.sendto(bytes(size), (group, ECHO))
            # The source of the answer is the host's own address, not the group.
            assert _received(member) == (bytes(size), (HERE[version], ECHO))
        member.sendto(b"nobody", (other, ECHO))
        assert _toggle(group) == b"left"
        member.sendto(b"nobody", (group, ECHO))
        member.sendto(b"somebody", (HERE[version], ECHO))
        assert _received(member) == (b"somebody", (HERE[version], ECHO))


@KINDS
@pytest.mark.parametrize("version", [4, 6])
def test_aHostWritesToAGroupOfTheKernel(namespace: Namespace, tmp_path: Path, mode: str, version: int) -> None:
    with Machine(tmp_path, mode), _member(version, INTERFACE, RELAY, GROUPS[version]) as member:
        with _member(version, INTERFACE) as client:
            client.sendto(GROUPS[version].encode(), (HERE[version], RELAY))
            data, source = _received(member)
        # A host without a route to the group uses its own address.
        assert (data, source[1]) == (b"relayed", RELAY)
        assert source[0] == HERE[version]


@pytest.mark.parametrize("versions", [(3, 2), (2, 1)], ids=["new", "old"])
def test_aBridgeLearnsTheMembers(namespace: Namespace, tmp_path: Path, versions: tuple[int, int]) -> None:
    with Machine(tmp_path, "tap", kernelAddresses=()) as machine:
        _bridge(*versions)
        # The first reports were sent before the bridge existed, so it has learned this group by its query.
        until(lambda: SOLICITED in _bridged(), "the group of our addresses")
        until(lambda: _questions(machine) >= 2, "the queries")
        for group in GROUPS.values():
            assert group not in _bridged()
            assert _toggle(group) == b"joined"
            until(lambda: group in _bridged(), f"{group} to be joined")  # noqa: B023
        for version, group in GROUPS.items():
            with _member(version, BRIDGE) as client:
                client.sendto(b"hello", (group, ECHO))
                assert _received(client) == (b"hello", (HERE[version], ECHO))
        for group in GROUPS.values():
            assert _toggle(group) == b"left"
            until(lambda: group not in _bridged(), f"{group} to be left")  # noqa: B023
        assert SOLICITED in _bridged()
        counters = machine.state()["counters"]["groups"]
        assert counters.get("inErrors", 0) == 0
        assert "protocolFailures" not in counters


@pytest.mark.parametrize("versions", [(3, 2), (2, 1)], ids=["new", "old"])
def test_queriesOfABridgeAreAnswered(namespace: Namespace, tmp_path: Path, versions: tuple[int, int]) -> None:
    with Machine(tmp_path, "tap", kernelAddresses=()) as machine:
        _bridge(*versions)
        for group in GROUPS.values():
            assert _toggle(group) == b"joined"
            until(lambda: group in _bridged(), f"{group} to be joined")  # noqa: B023
        # Let the bridge forget all groups, and query them again.
        for _ in range(2):
            asked = _questions(machine)
            ip("link", "set", BRIDGE, "type", "bridge", "mcast_snooping", "0")
            ip("link", "set", INTERFACE, "nomaster")
            assert _bridged() == set()
            ip("link", "set", INTERFACE, "master", BRIDGE)
            ip("link", "set", BRIDGE, "type", "bridge", "mcast_snooping", "1")
            until(lambda: {SOLICITED, *GROUPS.values()} <= _bridged(), "all to be known again")
            assert _questions(machine) > asked


#: A filter for the reports that leave the host.
_REPORTS = "inbound and (host 224.0.0.22 or host ff02::16)"


@KINDS
def test_tsharkFindsNoFaultInReports(namespace: Namespace, tmp_path: Path, mode: str) -> None:
    capture = tmp_path / "capture"
    with Machine(tmp_path, mode), captured(capture, INTERFACE, _REPORTS):
        for kind in 4, 3:
            for group in GROUPS.values():
                _toggle(group)
                until(lambda: tshark(capture, _record(kind, group), isUnderWay=True), f"{group}: {kind}")  # noqa: B023
    to = " && eth.dst == {}" if mode == "tap" else ""
    reports4 = f"igmp.type == 0x22 && ip.dst == 224.0.0.22 && ip.ttl == 1{to.format('01:00:5e:00:00:16')}"
    reports6 = f"icmpv6.type == 143 && ipv6.dst == ff02::16 && ipv6.hlim == 1{to.format('33:33:00:00:00:16')}"
    told4, told6 = tshark(capture, reports4), tshark(capture, reports6)
    assert told4 == tshark(capture, "ip") and len(told4) >= 2
    assert told6 == tshark(capture, "ipv6") and len(told6) >= 2
    for fault in "_ws.malformed", "igmp.checksum.status == 0", "ip.checksum.status == 0", "icmpv6.checksum.status == 0":
        assert tshark(capture, fault) == []
    assert tshark(capture, "_ws.expert.severity >= 6291456") == []


def _record(kind: int, group: str) -> str:
    """
    Make the display filter for reports that have a record of a kind.
    """
    if "." in group:
        return f"igmp.record_type == {kind} && igmp.maddr == {group}"
    return f"icmpv6.mldr.mar.record_type == {kind} && icmpv6.mldr.mar.multicast_address == {group}"


def _toggle(group: str) -> bytes | None:
    """
    Let the machine join or leave a group.
    """
    return ask("10.9.0.2", group.encode(), MEMBER)


def _questions(machine: Machine) -> int:
    """
    Count the queries that the machine has received.
    """
    return int(machine.state()["counters"]["groups"].get("inQueries", 0))


def _bridge(igmp: int, mld: int) -> None:
    """
    Put the interface on a bridge that has the kernel's addresses and sends queries of these versions.
    """
    ip("link", "add", BRIDGE, "type", "bridge", "mcast_snooping", "1")
    # The interval in which answers may be delayed is in hundredths of a second.
    ip(*f"link set {BRIDGE} type bridge mcast_igmp_version {igmp} mcast_mld_version {mld}".split())
    ip(*f"link set {BRIDGE} type bridge mcast_query_response_interval 50 mcast_last_member_interval 50".split())
    for address in KERNEL_ADDRESSES:
        ip("address", "add", address, "dev", BRIDGE, *(["nodad"] if ":" in address else []))
    ip("link", "set", INTERFACE, "master", BRIDGE)
    ip("link", "set", INTERFACE, "up")
    ip("link", "set", BRIDGE, "up")
    # The bridge sends queries from its link-local address, so wait until it has one.
    until(lambda: _linkLocal(BRIDGE), "the bridge's link-local address")
    untilQueueStarted(BRIDGE)
    untilHas(BRIDGE, *KERNEL_ADDRESSES)
    ip(*f"link set {BRIDGE} type bridge mcast_querier 1".split())


def _linkLocal(interface: str) -> bool:
    found = json.loads(ip("-json", "-6", "address", "show", "dev", interface, "scope", "link", "-tentative"))
    return any(link.get("addr_info") for link in found)


def _bridged() -> set[str]:
    """
    Return the groups that have members behind the interface, as the bridge knows them.
    """
    entries = [entry for found in json.loads(run("bridge", "-json", "mdb", "show")) for entry in found["mdb"]]
    return {entry["grp"] for entry in entries if entry["port"] == INTERFACE}


@contextmanager
def _member(version: int, interface: str, port: int = 0, group: str = "") -> Iterator[socket.socket]:
    """
    Open a kernel socket that writes to groups on an interface, and joins a group.
    """
    index = socket.if_nametoindex(interface)
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as made:
        made.settimeout(PATIENCE)
        made.bind(("", port))
        if version == 4:
            nowhere = struct.pack("=4s4si", bytes(4), bytes(4), index)
            made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, nowhere)
            if group:
                request = struct.pack("=4s4si", socket.inet_aton(group), bytes(4), index)
                made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        else:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            if group:
                request = socket.inet_pton(family, group) + struct.pack("=i", index)
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
        yield made


def _received(member: socket.socket) -> tuple[bytes, tuple[str, int]]:
    data, source = member.recvfrom(65535)
    return data, source[:2]
