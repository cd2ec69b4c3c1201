"""
The rest of C{twistd tuntap wireguard} and of C{txtuntap wireguard} beside wireguard-go and C{wg}: a default route, the
file that is saved, segments that are clamped, congestion marks, keys, and the list of peers.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.real.lab.namespace import PATIENCE, interfaces, ip, run, until
from tests.real.lab.wireguard import LINK, PORT, Pair, Wire, isData
from tests.real.test_policyrules import rules
from tests.real.test_wireguard_tools import BEYOND
from txtuntap.wireguard.configuration import Configuration

TXTUNTAP = str(Path(sys.executable).with_name("txtuntap"))

#: The ECN field of an IP header: a packet that routers may mark (ECT(0)), and a marked one (CE).
ECT, CE = 2, 3


def txtuntap(*arguments: str, given: str = "") -> str:
    """
    Run C{txtuntap wireguard}, and return its output.
    """
    done = subprocess.run(
        [TXTUNTAP, "wireguard", *arguments], input=given, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_aDefaultRouteTakesAllButTheMessagesOutside(wireguards: Pair) -> None:
    ours, theirs = wireguards.both
    before = rules()
    ours.knows(theirs, 4, AllowedIPs="0.0.0.0/0,::/0")
    theirs.knows(ours)
    for end in wireguards.both:
        end.start()
    theirs.place.run("ip", "address", "add", f"{BEYOND}/32", "dev", "lo")
    ours.untilReaches(theirs)
    ours.place.pings(BEYOND, 1)
    assert ours.name in ip("route", "get", BEYOND)
    assert ours.name in ip("route", "get", "2001:db8:9::1")
    # The network of the link has a route of its own, and the messages have the mark.
    assert f"dev {LINK[0]} " in ip("route", "get", theirs.outer[0])
    assert f"dev {LINK[0]} " in ip("route", "get", theirs.outer[0], "mark", "51820")
    assert ours.wg("show", "fwmark").strip() == "0xca6c"
    ours.stop()
    assert rules() == before
    assert ours.name not in interfaces()


def test_theFileIsSavedAtTheEnd(wireguards: Pair) -> None:
    ours, theirs = wireguards.both
    ours.device["SaveConfig"] = "true"
    # The endpoint is learned.
    wireguards.begin(theirs)
    ours.set("persistent-keepalive", "25", "allowed-ips", f"{theirs.inner[0]}/32,{BEYOND}/32")
    path = ours.directory / f"{ours.name}.conf"
    before = Configuration.of(path.read_text())
    ours.stop()
    saved = Configuration.of(path.read_text())
    assert (saved.addresses, saved.saveConfig) == (before.addresses, True)
    assert path.stat().st_mode & 0o777 == 0o600
    (peer,) = saved.peers
    assert (peer.endpoint, peer.keepalive) == (theirs.endpoint(), 25)
    assert {str(network) for network in peer.allowed} == {f"{theirs.inner[0]}/32", f"{BEYOND}/32"}


@pytest.mark.parametrize("isClamped", [True, False], ids=["clamped", "not clamped"])
def test_theMostSegmentOfRoutedTCPIsClampedIfAsked(wireguards: Pair, isClamped: bool) -> None:
    ours, theirs = wireguards.both
    if isClamped:
        ours.options = ("--clamp-mss",)
    ours.device["MTU"] = "1380"
    wireguards.begin()
    # Both ends announce longer segments than their interfaces carry, as ends behind routers do.
    for end in wireguards.both:
        dest = wireguards.other(end).inner[0]
        end.place.run("ip", "route", "replace", dest, "dev", end.name, "advmss", "1400")
    with closing(ours.place.call(lambda: socket.create_server((ours.inner[0], 7)))) as listening:
        with closing(theirs.place.call(lambda: socket.create_connection((ours.inner[0], 7), PATIENCE))) as connected:
            size = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
        listening.accept()[0].close()
    # Less the headers, and the timestamps that each segment has.
    assert size == (1380 if isClamped else 1420) - 40 - 12
    if isClamped:
        assert ours.service.counters("clamp") == {"clamped": 2}


def test_congestionMarksPassInBothDirections(wireguards: Pair) -> None:
    ours, theirs = wireguards.both
    wireguards.begin()
    with Wire(wireguards.places) as wire:
        ours.place.pings(theirs.inner[0], 1, "-Q", str(ECT))
        (outer,) = {frame[15] for frame in wire.heard(1) if isData(frame)}
    assert outer == ECT
    # A router on the path of the other end marks each message. wireguard-go leaves the packet inside as it is.
    theirs.place.run(
        "nft",
        f"table inet ce {{ chain out {{ type filter hook output priority 0; udp sport {PORT} ip ecn set ce; }}; }}",
    )
    with (
        closing(ours.place.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))) as receiving,
        closing(theirs.place.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))) as sending,
    ):
        receiving.bind((ours.inner[0], 0))
        receiving.settimeout(PATIENCE)
        receiving.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        sending.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, ECT)
        sending.sendto(b"marked", receiving.getsockname())
        data, control, _, _ = receiving.recvmsg(99, 99)
    assert (data, [value[0] for _, kind, value in control if kind == socket.IP_TOS]) == (b"marked", [CE])


def test_keysAreThoseOfWG() -> None:
    private = txtuntap("genkey")
    assert txtuntap("pubkey", given=private) == run("sh", "-c", f"echo {private.strip()} | wg pubkey")
    other = run("wg", "genkey")
    assert txtuntap("pubkey", given=other) == run("sh", "-c", f"echo {other.strip()} | wg pubkey")
    assert re.fullmatch(r"[A-Za-z0-9+/]{43}=\n", txtuntap("genpsk"))


def test_theListOfPeersIsThatOfWG(wireguards: Pair) -> None:
    ours, theirs = wireguards.both
    wireguards.begin(PersistentKeepalive="25")
    ours.wg("set", "fwmark", "0x77")

    def same() -> bool:
        # A second may pass between both.
        found = [re.sub(r"\d+ seconds? ago|Now", "T", each) for each in (ours.wg("show"), txtuntap("show", ours.name))]
        return found[0] == found[1]

    until(same, "the same text")
    assert theirs.public in txtuntap("show")
