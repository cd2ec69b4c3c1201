"""
Compare the TCP of a host with that of Linux, for the same conversations. C{docs/input.md} lists every difference.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.real.lab.answers import LINUX, OURS
from tests.real.lab.link import PacketSocket
from tests.real.lab.linux import Linux
from tests.real.lab.machine import INTERFACE, Machine
from tests.real.lab.namespace import Namespace, need, until
from tests.real.lab.segments import Conversation, closed, closing, errors, established, opening, options, sending
from tests.real.lab.segments.actors import Actors
from tests.real.lab.segments.talking import Talk, talks
from tests.real.test_differences import PAGE
from tests.real.test_input import STATIONS
from txtuntap.device import TAP

CONVERSATIONS: list[Conversation] = [
    conversation
    for theme in (errors, closed, options, opening, established, closing, sending)
    for conversation in theme.CONVERSATIONS
]

#: All conversations, each with its IP versions.
EACH = [(each, version) for each in CONVERSATIONS for version in each.versions]

Heard = dict[str, Talk]


def _name(conversation: Conversation, version: int) -> str:
    return f"IPv{version}-{conversation.name.replace(' ', '-')}"


NAMES = [_name(*each) for each in EACH]
EACH_ONE = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heard]:
    """
    Run all conversations with a host.
    """
    need()
    directory = tmp_path_factory.mktemp("machine")
    with Namespace(), Machine(directory, "tap", actors=True, neighbours=STATIONS) as machine:
        until(lambda: len(machine.state()["claimed"]) == 3, "the addresses to be claimed")
        with PacketSocket(INTERFACE, TAP) as network:
            yield dict(zip(NAMES, talks(EACH, "H", network, OURS), strict=True))


@pytest.fixture(scope="module")
def linux(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heard]:
    """
    Run all conversations with Linux.
    """
    need()
    directory = tmp_path_factory.mktemp("linux")
    with (
        Namespace(),
        Linux(STATIONS, serving=lambda: Actors(directory)),
        PacketSocket(INTERFACE, TAP) as network,
    ):
        yield dict(zip(NAMES, talks(EACH, "L", network, LINUX), strict=True))


@EACH_ONE
def test_theHostDoesAsTheTableSays(ours: Heard, name: str) -> None:
    talk = ours[name]
    assert (talk.heard, talk.events) == talk.expected


@EACH_ONE
def test_LinuxDoesAsTheTableSays(linux: Heard, name: str) -> None:
    talk = linux[name]
    assert (talk.heard, talk.events) == talk.expected


def test_eachConversationWithADifferenceHasItsName() -> None:
    for each in CONVERSATIONS:
        assert bool(each.difference) == each.differs, each.name


def test_thePageHasExactlyTheDifferences() -> None:
    known = {each.difference for each in CONVERSATIONS if each.difference}
    section = PAGE.read_text().partition("\n## TCP\n")[2].partition("\n## ")[0]
    told = [line.split(" | ")[0].removeprefix("| ") for line in section.splitlines() if line.startswith("| ")]
    assert sorted(each for each in told if each != "packet") == sorted(known)
