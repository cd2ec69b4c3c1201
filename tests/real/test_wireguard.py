"""
Sessions between C{twistd tuntap wireguard} and wireguard-go, in two namespaces that are joined by a link.
"""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from tests.long import lengths
from tests.real.lab.asking import ping
from tests.real.lab.namespace import until
from tests.real.lab.wireguard import End, Pair, newKey
from tests.real.test_tunnel import Transfer
from txtuntap.wireguard.keys import keyText

#: Which of both ends does what a test is about.
ENDS = pytest.mark.parametrize("isOurs", [True, False], ids=["ours", "theirs"])

#: The octets of a file.
FILE = 8_000_000


def chosen(pair: Pair, isOurs: bool) -> tuple[End, End]:
    """
    Our end and the other one, or the other one and ours.
    """
    return pair.both if isOurs else (pair.theirs, pair.ours)


def allowedOf(*addresses: str) -> str:
    """
    Addresses as the value of C{AllowedIPs}.
    """
    return ",".join(addresses)


@ENDS
@pytest.mark.parametrize("version", [4, 6])
def test_eitherEndBeginsAndCarriesBothVersions(wireguards: Pair, isOurs: bool, version: int) -> None:
    beginner, other = chosen(wireguards, isOurs)
    wireguards.begin(beginner, version)
    beginner.pings(other, 6)
    other.pings(beginner, 6)
    for end in wireguards.both:
        assert end.shown("endpoints") == wireguards.other(end).endpoint(version)
        assert abs(end.lastHandshake - time.time()) < 60
    assert wireguards.ours.counter("outInitiations") == isOurs


@ENDS
def test_aFileArrivesWhole(wireguards: Pair, tmp_path: Path, isOurs: bool) -> None:
    wireguards.begin()
    here, there = wireguards.places
    # The first of both receives.
    Transfer((there, here) if isOurs else (here, there), tmp_path, FILE).finish()
    assert wireguards.ours.counter("outErrors") == 0


@ENDS
def test_anEndThatWasKilledBeginsAgain(wireguards: Pair, isOurs: bool) -> None:
    wireguards.begin()
    killed, other = chosen(wireguards, isOurs)
    before = killed.delivered
    killed.kill()
    killed.start()
    assert before > killed.delivered
    killed.untilReaches(other)
    other.pings(killed)


@ENDS
def test_anEndThatWasKilledIsReachedAgain(wireguards: Pair, isOurs: bool) -> None:
    wireguards.begin()
    killed, other = chosen(wireguards, isOurs)
    killed.kill()
    killed.start()
    # It knows nothing of the session. The other end begins a new one after 15 s without an answer.
    other.untilReaches(killed)


@ENDS
def test_aPeerWithAnotherKeyIsUnknown(wireguards: Pair, isOurs: bool) -> None:
    ours, theirs = wireguards.both
    wireguards.start()
    known, other = chosen(wireguards, isOurs)
    known.wg("set", "peer", known.peer["PublicKey"], "remove")
    stranger = keyText(newKey().public)
    known.wg("set", "peer", stranger, "allowed-ips", known.peer["AllowedIPs"], "endpoint", other.endpoint())
    assert not ours.reaches(theirs)
    assert not theirs.reaches(ours)
    for end in wireguards.both:
        assert end.lastHandshake == 0
    # Ours knows nobody with that key; or its own initiations are for nobody.
    until(lambda: ours.counter("inUnknownPeers" if isOurs else "outInitiations"), "an initiation")
    assert ours.counter("inHandshakeErrors") == 0


@ENDS
@pytest.mark.parametrize("shared", ["another", "none here", "none there"])
def test_withoutTheSamePresharedKeyThereIsNoSession(
    wireguards: Pair, tmp_path: Path, isOurs: bool, shared: str
) -> None:
    ours, theirs = wireguards.both
    beginner, other = chosen(wireguards, isOurs)
    wireguards.start(beginner)
    files = [tmp_path / name for name in ("first", "second")]
    for path in files:
        path.write_text(keyText(newKey().secret()))
    if shared != "none here":
        ours.set("preshared-key", str(files[0]))
    if shared != "none there":
        theirs.set("preshared-key", str(files[1]))
    assert not beginner.reaches(other)
    if isOurs:
        until(lambda: ours.counter("inHandshakeErrors"), "the refusal of a response")
    else:
        until(lambda: ours.counter("outResponses"), "a response")
        until(lambda: "invalid response" in theirs.log(), "the refusal in wireguard-go's log")
    assert ours.lastHandshake == theirs.lastHandshake == 0


def test_thePresharedKeyThatBothHaveCounts(wireguards: Pair) -> None:
    wireguards.begin(PresharedKey=keyText(newKey().secret()))
    for end in wireguards.both:
        assert end.shown("preshared-keys") != "(none)"


def test_aPeerSendsFromAllowedAddressesAlone(wireguards: Pair) -> None:
    ours, theirs = wireguards.both
    wireguards.begin()
    for end, address in (ours, "10.9.0.66"), (theirs, "10.9.0.77"):
        end.place.run("ip", "address", "add", f"{address}/24", "dev", end.name)
    # From an address that the peer may not use.
    before = ours.delivered
    theirs.place.run("ping", "-c", "3", "-i", "0.05", "-W", "1", "-I", "10.9.0.77", ours.inner[0], status=1)
    until(lambda: ours.counter("inForbidden") == 3, "forbidden packets")
    assert ours.delivered == before
    ours.place.run("ping", "-c", "3", "-i", "0.05", "-W", "1", "-I", "10.9.0.66", theirs.inner[0], status=1)
    until(lambda: "disallowed source" in theirs.log(), "wireguard-go to refuse packets")
    # To an address that no peer has: the sender is told.
    said = ours.place.run("ping", "-c", "1", "-W", "5", "10.9.0.77", status=1)
    assert "Host Unreachable" in said
    # Both again, allowed.
    theirs.set("allowed-ips", allowedOf(ours.inner[0], "10.9.0.66"))
    ours.set("allowed-ips", allowedOf(theirs.inner[0], "10.9.0.77"))
    assert ours.place.call(lambda: ping("10.9.0.77", "-c", "1", "-I", "10.9.0.66")) == 1
    assert theirs.place.call(lambda: ping("10.9.0.66", "-c", "1", "-I", "10.9.0.77")) == 1


def test_persistentKeepalivesPassInSilence(wireguards: Pair) -> None:
    ours, theirs = wireguards.both
    # No packet is sent, and yet both get to know each other.
    wireguards.start(PersistentKeepalive="1")
    until(lambda: ours.counter("outKeepalives") >= 3, "keepalives from this end")
    ours.set("persistent-keepalive", "0")
    before = ours.counter("inKeepalives")
    until(lambda: ours.counter("inKeepalives") >= before + 3, "keepalives from the other end")
    assert ours.lastHandshake and theirs.lastHandshake
    assert ours.delivered == theirs.delivered == 0


@lengths("seconds", 1, 135, "wireguard")
@ENDS
def test_pingsAreAnsweredOverARekey(wireguards: Pair, isOurs: bool, seconds: int) -> None:
    beginner, other = chosen(wireguards, isOurs)
    wireguards.begin(beginner)
    began = beginner.lastHandshake
    places = [end.place for end in (beginner, other)]
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        # In one direction each time, so that the sender of a packet is not always the one that begins sessions.
        places[0].pings(other.inner[0], 1)
        places[1].pings(beginner.inner[1], 1)
        time.sleep(0.5)
    assert (beginner.lastHandshake >= began + 115) is (seconds > 120)


@pytest.mark.long("wireguard")
@ENDS
def test_anIdleSessionIsBegunAnew(wireguards: Pair, isOurs: bool) -> None:
    first, other = chosen(wireguards, isOurs)
    wireguards.begin()
    before = first.lastHandshake
    # Longer than the keys may be used.
    time.sleep(190)
    first.place.pings(other.inner[0], 1)
    other.place.pings(first.inner[0], 1)
    assert first.lastHandshake >= before + 185


@pytest.mark.long("wireguard")
@ENDS
def test_dataThatHasNoAnswerIsConfirmedByAKeepalive(wireguards: Pair, isOurs: bool) -> None:
    sender, other = chosen(wireguards, isOurs)
    wireguards.begin()
    handshakes = [end.lastHandshake for end in wireguards.both]
    # Keepalives that answer the pings are over.
    time.sleep(25)
    before = wireguards.ours.counter("inKeepalives" if isOurs else "outKeepalives")
    with sender.place.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sending:
        other.place.run(
            "nft", "table inet quiet { chain out { type filter hook output priority 0; icmp type 3 drop; }; }"
        )
        sending.sendto(b"no answer", (other.inner[0], 9))
    time.sleep(17)
    assert wireguards.ours.counter("inKeepalives" if isOurs else "outKeepalives") == before + 1
    assert [end.lastHandshake for end in wireguards.both] == handshakes
