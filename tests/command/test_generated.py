"""
Tests that the manual pages, the page of options and the completions are made from the parsers of today.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from typing import Any

import pytest

from tests.paths import CHECKOUT, DOCS
from txtuntap.command import main
from txtuntap.command.parser import commandParser, eachParser
from txtuntap.service.options import Options

#: The completions in the package.
COMPLETIONS = CHECKOUT / "txtuntap" / "command" / "completions"

AGAIN = "run 'python docs/commands.py'"


@pytest.fixture(scope="module")
def commands() -> Any:
    """
    Import the module that makes the files.
    """
    spec = importlib.util.spec_from_file_location("commands", DOCS / "commands.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_theManualPagesAreCurrent(commands: Any) -> None:
    made = commands.manualPages()
    assert {path.name for path in made} == {path.name for path in (DOCS / "man").iterdir()}
    for path, text in made.items():
        assert path.read_text() == text, AGAIN


def test_theCompletionsAreCurrent(commands: Any) -> None:
    pytest.importorskip("shtab")
    made = commands.completions()
    for path, text in made.items():
        assert path.read_text() == text, AGAIN


# The page has the defaults of Linux.
@pytest.mark.linux
def test_theOptionsPageIsCurrent(commands: Any) -> None:
    assert (DOCS / "options.md").read_text() == commands.optionsPage(), AGAIN


def test_theOptionsPageHasEachOptionOfAManualPage(commands: Any) -> None:
    shown = re.findall(r"^```\{option\} (.+)$", commands.optionsPage(), re.MULTILINE)
    manual = "".join(commands.manualPages().values()).replace("\\-", "-")
    assert len(shown) > 200
    assert set(shown) >= set(re.findall(r"^\.B (.+)$", manual, re.MULTILINE))


def test_theManualPagesHaveEachOption(commands: Any) -> None:
    made = {path.name: text.replace("\\-", "-") for path, text in commands.manualPages().items()}
    for parser in eachParser(commandParser()):
        section = made["txtuntap.1"].split(f".SH {parser.prog.upper()}\n")[1].split(".SH ")[0]
        shown = {line.split()[1].rstrip(",") for line in section.splitlines() if line.startswith(".B -")}
        assert shown == {
            action.option_strings[0]
            for action in parser._actions
            if action.option_strings and action.help != "==SUPPRESS==" and action.dest != "help"
        }
    for kind, _, options, _ in Options.subCommands:
        section = made["twistd-tuntap.1"].split(f".SH TUNTAP {kind.upper()}\n")[1].split(".SH ")[0]
        shown = set(re.findall(r"^\.B .*?--([a-z-]+)", section, re.MULTILINE))
        assert shown == {name.rstrip("=") for name in options().longOpt}


def test_aPageHasNoLineThatIsARequestByMistake(commands: Any) -> None:
    requests = {".TH", ".SH", ".SS", ".TP", ".B", ".PP"}
    for text in commands.manualPages().values():
        assert {line.split()[0] for line in text.splitlines() if line[:1] in (".", "'")} <= requests


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_theCompletionIsPrinted(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert capsys.readouterr().out == (COMPLETIONS / shell).read_text()


def test_repeatableOptionsAreCompletedAgain() -> None:
    for kind, _, options, _ in Options.subCommands:
        made = options()
        repeatable = {name for name, text in made.docs.items() if "May be repeated" in " ".join((text or "").split())}
        multi = {name for each in options.__mro__ if "compData" in vars(each) for name in each.compData.multiUse}
        assert multi == repeatable, kind


def test_completingImportsNoExtra() -> None:
    program = (
        "import sys; from txtuntap.command import main; main(['completion', 'bash']); print('shtab' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.endswith("False\n")
