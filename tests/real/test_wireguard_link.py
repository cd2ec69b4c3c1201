"""
WireGuard over links that change, or that have a small MTU: roaming, source addresses, fragments, segmentation.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.real.lab.namespace import until
from tests.real.lab.tcpdump import captured, tshark
from tests.real.lab.wireguard import LINK, PORT, Pair
from tests.real.test_tunnel import Transfer
from tests.real.test_wireguard import ENDS, FILE, chosen

#: Other addresses of both ends on the link.
MOVED = "192.0.2.11", "192.0.2.12"

MARK = 0x55


@ENDS
def test_aPeerIsFollowedToAnotherPort(wireguards: Pair, isOurs: bool) -> None:
    wireguards.begin()
    moving, other = chosen(wireguards, isOurs)
    moving.wg("set", "listen-port", str(PORT + 1))
    moving.pings(other)
    assert other.shown("endpoints") == f"{moving.outer[0]}:{PORT + 1}"
    other.pings(moving)
    assert moving.wg("show", "listen-port").strip() == str(PORT + 1)


@ENDS
def test_aPeerIsFollowedToAnotherAddress(wireguards: Pair, isOurs: bool) -> None:
    wireguards.begin()
    moving, other = chosen(wireguards, isOurs)
    number = wireguards.both.index(moving)
    moving.place.run("ip", "address", "add", f"{MOVED[number]}/24", "dev", LINK[number])
    # The rest of the addresses stays without the first one.
    moving.place.run("sysctl", "-q", f"net.ipv4.conf.{LINK[number]}.promote_secondaries=1")
    moving.place.run("ip", "address", "delete", f"{moving.outer[0]}/24", "dev", LINK[number])
    if not isOurs:
        # wireguard-go sends from the address that is gone for some time yet, unless its socket is another one.
        moving.wg("set", "listen-port", str(PORT))
    moving.pings(other)
    assert other.shown("endpoints") == f"{MOVED[number]}:{PORT}"
    other.pings(moving)


def test_theSourceThatThePeerWroteToIsKeptAndForgottenWhenItIsGone(wireguards: Pair) -> None:
    ours, theirs = wireguards.both
    ours.place.run("ip", "address", "add", f"{MOVED[0]}/24", "dev", LINK[0])
    wireguards.start(theirs)
    theirs.set("endpoint", f"{MOVED[0]}:{PORT}")
    theirs.untilReaches(ours)
    ours.pings(theirs)
    # The kernel would have chosen the first address.
    assert theirs.shown("endpoints") == f"{MOVED[0]}:{PORT}"
    before = ours.lastHandshake
    ours.place.run("ip", "address", "delete", f"{MOVED[0]}/24", "dev", LINK[0])
    ours.pings(theirs)
    assert theirs.shown("endpoints") == ours.endpoint()
    assert ours.lastHandshake == before
    assert ours.counter("outErrors") == 0


@pytest.mark.parametrize("version", [4, 6])
def test_longMessagesAreFragmentedOutside(wireguards: Pair, tmp_path: Path, version: int) -> None:
    ours, theirs = wireguards.both
    for place, name in zip(wireguards.places, LINK, strict=True):
        place.run("ip", "link", "set", name, "mtu", "1280")
    wireguards.begin(version=version)
    capture = tmp_path / "fragments.pcap"
    with captured(capture, LINK[0]):
        # Packets of 1420 octets inside are the longest.
        for end in wireguards.both:
            end.place.pings(wireguards.other(end).inner[0], 3, "-M", "do", "-s", "1392")
        wanted = "ip.flags.mf == 1" if version == 4 else "ipv6.fraghdr.more == 1"
        until(lambda: capture.exists() and len(tshark(capture, wanted, isUnderWay=True)) >= 12, "fragments")
    here, there = wireguards.places
    for way in (here, there), (there, here):
        Transfer(way, tmp_path, FILE).finish()
    assert ours.counter("outErrors") == 0
    assert theirs.delivered > 0


def test_aDeviceWithoutChecksumsGetsWholeMessages(wireguards: Pair, tmp_path: Path) -> None:
    here, there = wireguards.places
    wireguards.begin()
    here.run("ethtool", "-K", LINK[0], "tx", "off")
    Transfer((there, here), tmp_path, FILE).finish()
    assert wireguards.ours.counter("outErrors") == 0


def test_messagesHaveTheMarkOfTheFile(wireguards: Pair) -> None:
    ours, theirs = wireguards.both
    ours.device["FwMark"] = hex(MARK)
    rule = f"udp sport {PORT} meta mark"
    ours.place.run(
        "nft",
        "table inet marks { chain out { type filter hook output priority 0;"
        f" {rule} {MARK} counter; {rule} 7 counter; {rule} 0 counter; }}; }}",
    )

    def counts() -> list[int]:
        found = json.loads(ours.place.run("nft", "-j", "list", "table", "inet", "marks"))["nftables"]
        rules = [each["rule"]["expr"] for each in found if "rule" in each]
        return [expression["counter"]["packets"] for rule in rules for expression in rule if "counter" in expression]

    wireguards.begin()
    marked, other, none = counts()
    assert marked > 0 and other == none == 0
    # Another mark, while the session goes on.
    ours.wg("set", "fwmark", "7")
    ours.pings(theirs)
    assert ours.wg("show", "fwmark").strip() == "0x7"
    assert counts()[0] == marked and counts()[1] > 0
    ours.wg("set", "fwmark", "off")
    theirs.pings(ours)
    assert counts()[2] > 0
