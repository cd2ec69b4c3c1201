"""
The examples in docstrings and documentation run, in a network namespace.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.examples import commands, examples, makeFiles, snippets, wordsOf
from tests.paths import CHECKOUT
from tests.real.lab.asking import pingUntilAnswered
from tests.real.lab.examples import running
from tests.real.lab.link import untilHas
from tests.real.lab.namespace import PATIENCE, Namespace, ip, run
from tests.real.lab.warm import Program

#: The options of a service that needs another process: the helper, or workers.
_OTHERS = {"--helper", "--queues"}

#: The command lines of services, by the name of their snippet and their number.
_SERVICES = {
    f"{name}, line {number}": line
    for number, (name, line) in enumerate(commands(), 1)
    if " tuntap " in line and not _OTHERS & set(line.split())
}


def ends(directory: Path, program: str, *arguments: str) -> None:
    """
    Run a program of L{tests.real.lab.documented}, and check that it ends without an error in its log.
    """
    with open(directory / "output", "w") as output:
        process = Program(
            f"tests.real.lab.documented:{program}",
            ["documented", *arguments],
            cwd=directory,
            stdout=output,
            environment={"PYTHONPATH": str(CHECKOUT)},
        )
    try:
        status = process.wait(PATIENCE)
    finally:
        process.kill()
    assert status == 0, (directory / "output").read_text()


@pytest.mark.parametrize("name", sorted(examples()))
def test_anExampleRuns(namespace: Namespace, tmp_path: Path, name: str) -> None:
    (tmp_path / "example.py").write_text(examples()[name])
    ends(tmp_path, "main", name)


@pytest.mark.parametrize("name", sorted(_SERVICES))
def test_aDocumentedServiceStartsAndStops(namespace: Namespace, tmp_path: Path, name: str) -> None:
    words = wordsOf(_SERVICES[name], makeFiles(tmp_path))
    ends(tmp_path, "service", *words[words.index("tuntap") + 1 :])


def test_moreThanTenServicesAreDocumented() -> None:
    assert len(_SERVICES) > 10


def test_theFirstProgramOfThePacketsPageSendsPacketsBack(namespace: Namespace, tmp_path: Path) -> None:
    (program := tmp_path / "mirror.py").write_text(examples()["packets.md 1"])
    with running(tmp_path, str(program)) as mirror:
        pingUntilAnswered("10.0.0.2")
        (printed,) = (each.text for each in snippets() if each.name == "packets.md 3")
        for line in printed.splitlines():
            mirror.untilPrinted("^" + re.escape(line).replace(r"id\ 7", r"id\ \d+") + "$")


def test_theProgramForFramesAnswersForEverybody(namespace: Namespace, tmp_path: Path) -> None:
    (text,) = (text for name, text in examples().items() if name.startswith("packets.md ") and "Everybody" in text)
    (program := tmp_path / "everybody.py").write_text(text)
    with running(tmp_path, str(program)) as everybody:
        untilHas("tap0", "10.0.0.1")
        run("ping", "-c1", "-W1", "10.0.0.7", status=1)
        everybody.untilPrinted(r"^ARP, Request who-has 10\.0\.0\.7 tell 10\.0\.0\.1, length 28$")
        everybody.untilPrinted(r"^IP 10\.0\.0\.1 > 10\.0\.0\.7: ICMP echo request, ")
        (neighbour,) = json.loads(ip("-j", "neighbour", "show", "10.0.0.7"))
        assert neighbour["lladdr"] == "02:00:00:00:00:02"
