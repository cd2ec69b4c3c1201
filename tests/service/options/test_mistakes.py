"""
Tests that options which cannot work are refused, with a text that says what to give instead.

Each row of a table is one mistake: the arguments, and words from the text.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from twisted.logger import LogLevel, capturedLogs, eventAsText
from twisted.python.usage import UsageError

from txtuntap.command import main
from txtuntap.service import Options, makeService

_TUN = "host --tun tun0 --address 10.0.0.2/24"
_TAP = "host --tap tap0 --address 10.0.0.2/24"
_TUNNEL = "tunnel --tun tun0 --insecure"

OPTIONS: list[tuple[str, str]] = [
    ("host --tun tun0 --address 10.0.0.2", "--address: '10.0.0.2' has no prefix length: give '10.0.0.2/24'"),
    ("host --tun tun0 --address fd00::2", "give 'fd00::2/64'"),
    ("host --tun tun0 --address 10.0.0.0/24", "give one between, such as 10.0.0.1/24"),
    (f"{_TUN} --any-address 10.1.0.0", "--any-address: '10.1.0.0' has no prefix length"),
    (f"{_TUN} --any-address 224.0.0.0/4", "--any-address: 224.0.0.0/4 has no addresses that a host can have"),
    (f"{_TUN} --gateway 10.0.0.1/24", "--gateway"),
    (f"{_TUN} --gateway 10.0.0.1 --gateway 10.0.0.3", "--gateway: 10.0.0.3 is a second gateway of its IP version"),
    (f"{_TUN} --gateway 224.0.0.1", "--gateway: the gateway '224.0.0.1' is not the address of one host"),
    (f"{_TUN} --gateway 10.0.0.2", "--gateway: the gateway 10.0.0.2 is an address of this host"),
    (f"{_TUN} --gateway 10.0.0.255", "--gateway: the gateway 10.0.0.255 is a broadcast address"),
    ("host --tun tun0 --address 10.0.0.2/24 --address 10.0.0.2/16", "--address: 10.0.0.2 is an address of this host"),
    (f"{_TUN} --kernel-address 10.0.0.1", "--kernel-address: '10.0.0.1' has no prefix length"),
    (f"{_TUN} --kernel-address 10.9.0.1/24", "give it one in the network of 10.0.0.2/24, or a route there"),
    (f"{_TUN} --address fd00::2/64 --kernel-address 10.0.0.1/24 --kernel-address fd09::1/64", "network of fd00::2/64"),
    (f"{_TUN} --kernel-route 10.1.0.0", "--kernel-route: '10.1.0.0' has no prefix length"),
    (f"{_TUN} --kernel-address 10.0.0.2/24", "--kernel-address: 10.0.0.2/24 is the host's --address"),
    (f"{_TUN} --kernel-neighbour 10.0.0.3=02:00:00:00:00:03", "--kernel-neighbour: only on a tap"),
    (f"{_TUN} --mtu \u00b2", "--mtu: '\u00b2' is no number"),
    (f"{_TUN} --txqueuelen -1", "--txqueuelen: '-1' is no number"),
    (f"{_TUN} --mtu 0", "--mtu: mtu is a number from 68 to 65535"),
    (f"{_TUN} --mtu 65536", "mtu is a number from 68 to 65535"),
    (f"{_TUN} --txqueuelen 4294967296", "--txqueuelen: txqueuelen is a number from 0"),
    (f"{_TUN} --user no-one-is-called-so", "--user: there is no user 'no-one-is-called-so'"),
    (f"{_TUN} --group no-one-is-called-so", "--group: there is no group 'no-one-is-called-so'"),
    (f"{_TAP} --lladdr here", "--lladdr: 'here'"),
    (f"{_TAP} --lladdr 01:00:00:00:00:01", "--lladdr: 01:00:00:00:00:01 is not the link address of one station"),
    (f"{_TUN} --descriptor \u00b2", "--descriptor"),
    (f"{_TUN} --undo", "--undo: nothing is set that could be undone"),
    (f"{_TAP} --mac 01:00:00:00:00:01", "--mac: '01:00:00:00:00:01' is the address of a group"),
    (f"{_TAP} --mac 00:00:00:00:00:00", "--mac: '00:00:00:00:00:00' is the address of no station"),
    (f"{_TAP} --mac 02:00:00:00:00:01 --lladdr 02:00:00:00:00:01", "is the --lladdr of the kernel's end"),
    (f"{_TUNNEL} --connect tcp:192.0.2.1:0", "--connect: no peer can listen at port 0"),
    (f"{_TUNNEL} --listen tcp:4000 --kernel-address 10.0.0.1", "has no prefix length"),
    (f"{_TUNNEL} --listen tcp:4000 --allow here", "--allow: 'here'"),
    (f"{_TUNNEL} --listen tcp:4000 --kernel-neighbour 10.0.0.3=02:00:00:00:00:03", "only on a tap"),
    ("switch --tap tap0,address=10.0.0.1", "has no prefix length"),
    ("switch --tap tap0,trunk=20-10", "20-10 ends before it begins: give 10-20"),
    ("switch --tap tap0,trunk=30+20-10", "20-10 ends before it begins"),
    (
        "switch --tap tap0,address=10.0.0.1/24 --tap tap1,address=10.0.0.1/24",
        "--tap tap1: 10.0.0.1/24 is the address of tap0: give each its own",
    ),
    (
        "switch --tap tap0,netns=a,vlan=5,address=10.0.0.1/24 --tap tap0,netns=b,vlan=5,address=10.0.0.1/16",
        "--tap tap0@b: 10.0.0.1/16 is the address of tap0@a",
    ),
    ("switch --tap tap0,stations=00:00:00:00:00:00", "not the link address of a single station"),
    ("switch --tap tap0 --ageing never", "--ageing is a number of seconds"),
]

COMMANDS: list[tuple[str, str]] = [
    ("add tun0 --mode tun --address 10.0.0.1", "tun0: --address: '10.0.0.1' has no prefix length: give one such as"),
    (
        "add tun0 --mode tun --address 10.0.0.1/24 --peer 10.0.0.2/32",
        "has two prefix lengths: give only that of the peer",
    ),
    ("add tun0 --mode tun --route 10.1.0.0", "tun0: --route: '10.1.0.0' has no prefix length"),
    ("add tun0 --mode tun --neighbour 10.0.0.3", "--neighbour takes ADDRESS=LLADDR"),
    ("add tun0 --mode tun --mtu 67", "tun0: --mtu: mtu is a number from 68"),
    ("add tun0 --mode tun --user no-one-is-called-so", "--user: there is no user 'no-one-is-called-so'"),
    ("add tun0 --mode tun --group no-one-is-called-so", "--group: there is no group 'no-one-is-called-so'"),
    ("add tun0 --mode tap --lladdr here", "--lladdr: 'here'"),
    ("add tun0 --mode tun --txqueuelen -1", "--txqueuelen: txqueuelen is a number from 0"),
    ("add sixteen-letters- --mode tun", "15 is the most"),
    ("set lo", "lo: name the settings to change, such as --up or --mtu"),
]


def parsed(line: str) -> Options:
    """
    Parse a line of options of C{twistd tuntap}.
    """
    options = Options()
    options.parseOptions(line.split(" "))  # type: ignore[no-untyped-call]
    return options


def _marked(line: str, words: str) -> Any:
    marks = []
    if line.startswith(("add", "set lo")):
        # Only Linux has persistent devices, and an interface that is named lo.
        marks.append(pytest.mark.linux)
    if "no-one" in line:
        marks.append(pytest.mark.unix("users and groups with numbers"))
    return pytest.param(line, words, marks=marks)


@pytest.mark.parametrize(("line", "words"), [_marked(*each) for each in OPTIONS])
def test_anOptionThatCannotWorkIsRefused(line: str, words: str) -> None:
    with pytest.raises(UsageError) as raised:
        parsed(line)
    text = str(raised.value)
    assert words in text
    assert any(option in text for option in re.findall("--[a-z-]+", line))


@pytest.mark.parametrize(("line", "words"), [_marked(*each) for each in COMMANDS])
def test_aCommandThatCannotWorkIsRefused(line: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split(" ")) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    [
        f"{_TUN} --kernel-address 10.9.0.1/24 --kernel-route 10.0.0.0/24",
        f"{_TUN} --kernel-route 10.0.0.0/24",
        f"{_TUN} --address fd00::2/64 --kernel-address 10.0.0.1/24",
        f"{_TAP} --address fd00::2/64 --kernel-address fe80::1/64 --kernel-address 10.0.0.1/24",
        "switch --tap tap0,vlan=5,address=10.0.0.1/24 --tap tap1,vlan=6,address=10.0.0.1/24",
    ],
)
def test_optionsThatCanWorkAreAccepted(line: str) -> None:
    parsed(line)


def test_aPeerAddressReachesTheHost() -> None:
    words = [*_TUN.split(" "), "--kernel-address", "10.9.0.1 peer 10.0.0.2/32"]
    Options().parseOptions(words)  # type: ignore[no-untyped-call]


def test_aGatewayOffTheLinkIsWarnedAboutInTheLog() -> None:
    options = parsed(f"{_TAP} --gateway 10.9.0.1")
    with capturedLogs() as events:
        makeService(options)
    (event,) = [event for event in events if event["log_level"] is LogLevel.warn]
    assert "the gateway 10.9.0.1 is in none of this host's networks (10.0.0.0/24)" in eventAsText(event)
