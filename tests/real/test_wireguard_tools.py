"""
C{wg} and C{wg-quick} on interfaces of this package: what they show and set is compared with wireguard-go.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from unittest import SkipTest

import pytest

from tests.real.lab.asking import ping
from tests.real.lab.namespace import interfaces, ip, run, tool, until
from tests.real.lab.wireguard import PORT, End, Pair, newKey
from txtuntap.wireguard.keys import keyText

#: An address of the other end that its interface does not have.
BEYOND = "203.0.113.1"


def keyOf(number: int) -> str:
    """
    A public key that is the same in each call.
    """
    return keyText(bytes([number]) * 32)


def wg(end: End, *arguments: str) -> tuple[int, str, str]:
    """
    Run C{wg} on an interface: the status, and what it writes without the interface's name.
    """
    command = [tool("wg"), arguments[0], end.name, *arguments[1:]]
    done = end.place.call(lambda: subprocess.run(command, capture_output=True, text=True, check=False))
    said, complained = (re.sub(r"\btt\w+", "NAME", each) for each in (done.stdout, done.stderr))
    return done.returncode, said, complained


def sections(text: str) -> list[list[str]]:
    """
    The sections of a configuration: that of the interface, and those of peers in the order of their keys.
    """
    first, *others = re.split(r"\n(?=\[Peer\])", text.strip())
    return [sorted(first.split("\n")), *sorted(sorted(each.strip().split("\n")) for each in others)]


#: Commands one after another: after each of them, both ends show the same.
COMMANDS = [
    ("set", "listen-port", "51999"),
    ("set", "fwmark", "0x1234"),
    ("set", "peer", keyOf(1), "allowed-ips", "10.1.0.0/16,fd01::/64,10.2.3.4"),
    (
        "set",
        "peer",
        keyOf(2),
        "endpoint",
        "[2001:db8::7]:7",
        "persistent-keepalive",
        "25",
        "allowed-ips",
        "10.3.0.77/24",
    ),
    # A network moves from one peer to the other.
    ("set", "peer", keyOf(2), "allowed-ips", "10.1.0.0/16"),
    ("set", "peer", keyOf(1), "endpoint", "192.0.2.99:9", "preshared-key", "PSK"),
    ("set", "peer", keyOf(1), "preshared-key", "/dev/null"),
    ("set", "peer", keyOf(2), "persistent-keepalive", "off"),
    ("set", "peer", keyOf(1), "allowed-ips", ""),
    ("syncconf", "FILE"),
    ("addconf", "MORE"),
    ("set", "peer", keyOf(3), "remove"),
    ("set", "peer", keyOf(9), "remove"),
    ("setconf", "FILE"),
    ("set", "fwmark", "off", "private-key", "KEY"),
    ("set", "private-key", "/dev/null"),
    # Refused.
    ("set", "peer", keyOf(1), "allowed-ips", "10.0.0.0/99"),
    ("setconf", "WRONG"),
]


def test_wgShowsAndSetsAsOnWireGuardGo(wireguards: Pair, tmp_path: Path) -> None:
    ours, theirs = wireguards.both
    # Both have one key, so that all that is shown can be compared.
    theirs.key = ours.key
    for end in wireguards.both:
        end.start()
    peers = f"[Peer]\nPublicKey = {keyOf(3)}\nAllowedIPs = 0.0.0.0/0, ::/0\nPersistentKeepalive = 11\n"
    more = f"[Peer]\nPublicKey = {keyOf(4)}\nEndpoint = 192.0.2.44:44\nAllowedIPs = 10.4.4.4\n"
    texts = {
        "KEY": keyText(newKey().secret()),
        "PSK": keyText(newKey().secret()),
        "FILE": f"[Interface]\nListenPort = 51821\nPrivateKey = {keyText(ours.key.secret())}\n{peers}",
        "MORE": more,
        "WRONG": "[Interface]\nAnswer = 42\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    for command in COMMANDS:
        words = [str(tmp_path / word) if word in texts else word for word in command]
        assert wg(ours, *words) == wg(theirs, *words), command
        shown = [sections(wg(end, "showconf")[1]) for end in wireguards.both]
        assert shown[0] == shown[1], command
        dumps = [sorted(wg(end, "show", "dump")[1].splitlines()) for end in wireguards.both]
        # Octets that were sent and received are compared elsewhere.
        assert [each.split("\t")[:4] for each in dumps[0]] == [each.split("\t")[:4] for each in dumps[1]], command


def test_wgSaysThatAPortIsTakenAndThePortStays(wireguards: Pair) -> None:
    ours, theirs = wireguards.both
    wireguards.begin()
    said = []
    for end in wireguards.both:
        with end.place.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as taken:
            taken.bind(("0.0.0.0", 51900))
            said.append(wg(end, "set", "listen-port", "51900"))
    assert said[0] == said[1] and said[0][0] == 1, said
    # wireguard-go has no port any more.
    assert ours.wg("show", "listen-port").strip() == str(PORT)
    theirs.wg("set", "listen-port", str(PORT))
    ours.pings(theirs)


def test_wgShowsWhatASessionHasCarried(wireguards: Pair) -> None:
    ours, theirs = wireguards.both
    wireguards.begin()
    theirs.place.pings(ours.inner[0], 5, "-s", "1000")

    def agree() -> bool:
        # Each counts messages with their headers, so that both agree.
        (received, sent), (others, back) = (end.shown("transfer").split("\t") for end in wireguards.both)
        return received == back and sent == others

    until(agree, "both ends to count the same octets")
    assert int(ours.shown("transfer").split("\t")[0]) > 5_000
    assert ours.name in run("wg", "show", "interfaces").split()
    said = ours.wg("show")
    assert ours.public in said and keyText(ours.key.secret()) not in said


def test_whatWgShowsConfiguresAnother(wireguards: Pair, tmp_path: Path) -> None:
    ours, theirs = wireguards.both
    wireguards.begin()
    saved = tmp_path / "saved"
    saved.touch(0o600)
    saved.write_text(ours.wg("showconf"))
    ours.wg("set", "peer", theirs.public, "remove")
    assert not ours.reaches(theirs)
    ours.wg("syncconf", str(saved))
    ours.pings(theirs)


def test_theEndOfTheSocketEndsTheInterface(wireguards: Pair) -> None:
    ours, _ = wireguards.both
    wireguards.start()
    ours.socketFile.unlink()
    until(lambda: ours.service.process.poll() is not None, "the end of the service")
    assert ours.name not in interfaces()
    assert "Traceback" not in ours.log()


@pytest.mark.parametrize("isDefault", [False, True], ids=["networks", "default route"])
def test_wgQuickStartsAndEndsAnInterface(wireguards: Pair, isDefault: bool) -> None:
    ours, theirs = wireguards.both
    if (
        subprocess.run(
            ["ip", "link", "add", ours.name, "type", "wireguard"], capture_output=True, check=False
        ).returncode
        == 0
    ):
        ip("link", "delete", ours.name)
        raise SkipTest("the kernel has WireGuard, so that wg-quick starts no program")
    ours.knows(theirs, 4)
    theirs.knows(ours)
    ours.peer["AllowedIPs"] = "0.0.0.0/0" if isDefault else f"{theirs.inner[0]}/32,{BEYOND}/32"
    theirs.start()
    theirs.place.run("ip", "address", "add", f"{BEYOND}/32", "dev", "lo")
    path = ours.file(Address=f"{ours.inner[0]}/32", MTU="1400")
    program = Path(sys.executable).with_name("txtuntap-wireguard")
    environment = {**os.environ, "WG_QUICK_USERSPACE_IMPLEMENTATION": str(program)}

    def quick(command: str) -> None:
        done = subprocess.run(
            [tool("wg-quick"), command, str(path)], capture_output=True, text=True, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr

    quick("up")
    try:
        assert ours.shown("endpoints") == theirs.endpoint()
        assert "mtu 1400" in ip("link", "show", ours.name)
        # The packets outside are no loop: they go by the route of the link.
        for address in theirs.inner[0], BEYOND:
            ours.place.run("ip", "route", "get", address)
            assert ping(address, "-c", "1") == 1
        theirs.pings(ours)
        assert ours.wg("show", "fwmark").strip() == ("0xca6c" if isDefault else "off")
    finally:
        quick("down")
    assert ours.name not in interfaces()
    until(lambda: not ours.socketFile.exists(), "the end of the program")


def test_wgQuickHasTheReasonWhyAnInterfaceIsNotMade(wireguards: Pair) -> None:
    ours, _ = wireguards.both
    ours.start()
    program = Path(sys.executable).with_name("txtuntap-wireguard")
    done = subprocess.run([program, ours.name], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("txtuntap-wireguard: ") and "Traceback" not in done.stderr
    assert ours.wg("show", "public-key").strip() == ours.public
