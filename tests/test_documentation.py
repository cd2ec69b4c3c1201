"""
Tests that the programs accept the command lines in docstrings and documentation. Examples in Python are run in
L{tests.real.test_documentation}, except for examples of tests, which are run here.
"""

from __future__ import annotations

import builtins
import configparser
import dis
import html
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import metadata
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from types import CodeType

import pytest
from twisted.internet.endpoints import serverFromString

from docs.pictures.__main__ import NAMES, drawn
from tests.examples import Snippet, commands, examples, filledIn, makeFiles, snippets, wordsOf
from tests.paths import CHECKOUT, DOCS
from txtuntap.command.parser import commandParser
from txtuntap.device.helper.permission import Rule
from txtuntap.service import Options
from txtuntap.testing.namespace import lacking
from txtuntap.wireguard.configuration import Configuration, ConfigurationError


@pytest.mark.parametrize(("name", "line"), commands())
@pytest.mark.linux
def test_aDocumentedCommandIsAccepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, line: str) -> None:
    monkeypatch.chdir(tmp_path)
    words = wordsOf(line, makeFiles(tmp_path))
    if "twistd" in words and "tuntap" not in words:
        # The command is another twistd plugin, on an endpoint of this package.
        endpoints = [serverFromString(None, word) for word in words if word.startswith("tuntap:")]
        assert endpoints
    elif "twistd" in words:
        options = Options()
        options.parseOptions(words[words.index("tuntap") + 1 :])  # type: ignore[no-untyped-call]
    elif "txtuntap" in words:
        commandParser().parse_args(words[words.index("txtuntap") + 1 :])
    else:
        rules = [value for word, value in pairwise(words) if word == "--allow"]
        assert [Rule.of(rule) for rule in rules]


def test_moreThanTwentyCommandsAreDocumented() -> None:
    assert len(commands()) > 20


#: The snippets of README and of the documentation, by name.
_SNIPPETS = {snippet.name: snippet for snippet in snippets() if snippet.isDocumentation}

#: The names of the Python programs, and of the lines for a terminal.
_PROGRAMS = sorted(name for name, snippet in _SNIPPETS.items() if snippet.isPython)
_TERMINAL = sorted(
    name
    for name, snippet in _SNIPPETS.items()
    if not snippet.isPython and not snippet.isPicture and not snippet.text.startswith("[")
)

#: The programs on command lines that belong to no test of an option of theirs.
_KNOWN = frozenset(
    (
        "apt-get",
        "cat",
        "cd",
        "curl",
        "cut",
        "echo",
        "eval",
        "git",
        "ip",
        "make",
        "nft",
        "openssl",
        "ping",
        "pip",
        "pytest",
        "python",
        "python3",
        "qemu-system-x86_64",
        "sed",
        "socat",
        "sudo",
        "sysctl",
        "tcpdump",
        "tshark",
        "twistd",
        "txtuntap",
        "umask",
        "unshare",
        "wg",
        "wg-quick",
        "wireshark",
    )
)

#: The programs that need no kernel and no file of a reader, so that a snippet with these alone is run.
_HARMLESS = {"cat", "echo", "openssl", "sed", "txtuntap wireguard", "umask"}


def _globalsIn(code: CodeType) -> Iterator[tuple[bool, str]]:
    """
    Find the global names that a program uses.

    @return: for each use, whether it gives the name a value, and the name.
    """
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("STORE_NAME", "STORE_GLOBAL", "IMPORT_NAME"):
            yield True, str(instruction.argval)
        elif instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield False, str(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globalsIn(constant)


@pytest.mark.parametrize("name", _PROGRAMS)
def test_aDocumentedProgramIsWhole(name: str) -> None:
    found = set(_globalsIn(compile(_SNIPPETS[name].text, name, "exec")))
    given = {each for isGiven, each in found if isGiven}
    used = {each for isGiven, each in found if not isGiven}
    assert used - given - set(dir(builtins)) - {"__name__", "__file__"} == set()


def test_aNameWithoutAValueIsFound() -> None:
    (one,) = {each for isGiven, each in _globalsIn(compile("def f():\n    g = h()", "", "exec")) if not isGiven}
    assert one == "h"


def _programsOf(line: str) -> Iterator[list[str]]:
    """
    Split a command line at pipes and lists, and find the words of each program.
    """
    words: list[str] = []
    isFile = False
    for word in [*shlex.shlex(line, posix=True, punctuation_chars=True), ";"]:
        if isFile:
            isFile = False
        elif word in (">", ">>", "<"):
            isFile = True
        elif word not in ("|", "&&", "||", ";", "<(", ")"):
            words.append(word)
        else:
            # An assignment, or another program's options, may precede the program.
            while words and (re.fullmatch(r"\w+=.*", words[0]) or words[0] in ("sudo", "unshare", "-rn")):
                del words[0]
            if words:
                yield [words[0].removeprefix(".venv/bin/"), *words[1:]]
            words = []


@pytest.mark.unix("a shell")
@pytest.mark.parametrize("name", _TERMINAL)
def test_aDocumentedLineForATerminalCanBeRun(name: str) -> None:
    for line in _SNIPPETS[name].lines:
        whole = filledIn(line, "00" * 32)
        subprocess.run(["bash", "-n", "-c", whole], check=True)
        # The value of a variable is the output of a command.
        for program, *words in _programsOf(re.sub(r"^\w+=\$\((.*)\)$", r"\1", whole)):
            assert program in _KNOWN, line
            if program == "make":
                targets = [word for word in words if "=" not in word]
                rules = (CHECKOUT / "Makefile").read_text()
                assert all(re.search(rf"^{target}:", rules, re.MULTILINE) for target in targets), line
            elif program.endswith("python") and "-m" in words:
                assert find_spec(words[words.index("-m") + 1]), line
            elif program.endswith("python") and words and "/" in words[0]:
                assert (CHECKOUT / words[0]).exists(), line
            extras = re.findall(r"txtuntap\[([\w,]+)\]", line)
            assert {each for names in extras for each in names.split(",")} <= set(
                metadata("txtuntap").get_all("Provides-Extra") or []
            ), line


def _isHarmless(snippet: Snippet) -> bool:
    """
    Whether all programs of a snippet for a terminal can be run anywhere.
    """
    programs = [words for line in snippet.lines for words in _programsOf(filledIn(line, ""))]
    return all(words[0] in _HARMLESS or " ".join(words[:2]) in _HARMLESS for words in programs)


_RUN = [name for name in _TERMINAL if _isHarmless(_SNIPPETS[name])]


@pytest.mark.unix("a shell")
@pytest.mark.parametrize("name", _RUN)
def test_aDocumentedLineThatNeedsNoKernelIsRun(tmp_path: Path, name: str) -> None:
    (tmp_path / "your_program.py").write_text("import twisted.pair\n")
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    script = "\n".join(_SNIPPETS[name].lines)
    subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, env={"PATH": path}, check=True, capture_output=True)


def test_atLeastThreeSnippetsNeedNoKernel() -> None:
    assert len(_RUN) >= 3


_WITH_PORT = [
    name
    for name in _PROGRAMS
    if name.partition(" ")[0].endswith(".md")
    and re.search("^(?:port = )?TuntapPort[(]", _SNIPPETS[name].text, re.MULTILINE)
]


@pytest.mark.parametrize("name", _WITH_PORT)
def test_aProgramWithAPortServesIt(name: str) -> None:
    """
    A reader copies the program, and then uses its interface, which is down at first.
    """
    text = _SNIPPETS[name].text
    assert "MemoryDevice(" in text or ("configureInterface(" in text and "reactor.run()" in text)


def test_thereAreProgramsWithAPort() -> None:
    assert len(_WITH_PORT) >= 10


def test_everySnippetIsOfAKindThatIsTested() -> None:
    others = _SNIPPETS.keys() - set(_PROGRAMS) - set(_TERMINAL)
    for name in others:
        snippet = _SNIPPETS[name]
        assert snippet.language.startswith("{") or snippet.language in ("", "ini", "text", "mermaid", "nginx"), name
        # A picture has no command, and a file has its own test.
        assert not re.search(r"^[$#] ", snippet.text, re.MULTILINE), name
    languages = {snippet.language for snippet in _SNIPPETS.values()}
    assert {each for each in languages if not each.startswith("{")} <= {
        "",
        "console",
        "ini",
        "mermaid",
        "nginx",
        "python",
        "sh",
        "text",
    }


@pytest.mark.unix("users with numbers")
def test_theUnitOfThePrivilegePageStartsTheHelper() -> None:
    (text,) = (_SNIPPETS[name].text for name in _SNIPPETS if _SNIPPETS[name].text.startswith("[Service]"))
    unit = configparser.ConfigParser()
    unit.read_string(text)
    words = unit["Service"]["ExecStart"].split()
    assert find_spec(words[words.index("-m") + 1])
    assert Rule.of(words[words.index("--allow") + 1].replace("alice:", "root:"))


@pytest.mark.parametrize("name", NAMES)
def test_aDrawnPictureIsThatOfItsModule(name: str) -> None:
    svg = drawn()[name]
    assert (DOCS / f"{name}.svg").read_text() == svg, "run python -m docs.pictures"
    about = re.search("<desc[^>]*>(.*?)</desc>", svg)
    assert about is not None
    assert any(f"![{html.unescape(about[1])}]({name}.svg)" in page.read_text() for page in DOCS.glob("*.md"))


def test_eachModuleOfThePicturesIsDrawn() -> None:
    modules = {path.stem for path in (DOCS / "pictures").glob("*.py")}
    assert modules == {*NAMES, "drawing", "__main__"}


def test_theFileOfTheWireGuardPageIsRead() -> None:
    (text,) = re.findall("```ini\n(.*?)```", (DOCS / "wireguard.md").read_text(), re.DOTALL)
    configuration = Configuration.of(text)
    assert [str(each) for each in configuration.addresses] == ["10.9.0.2/24"]
    assert configuration.peers[0].endpoint == "192.0.2.1:51820"


@pytest.mark.parametrize("section", ["Interface", "Peer"])
def test_theWireGuardPageHasEveryKeyOfTheFile(section: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Configuration.of(f"[{section}]\nNoKey = 1")
    keys = set(str(caught.value).rpartition("those are ")[2].split(", "))
    table = (DOCS / "wireguard.md").read_text().partition("| key | what is done |\n")[2].partition("\n\n")[0]
    listed = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.partition(" | ")[0])}
    assert len(keys) > 4
    assert keys <= listed
    assert listed >= {"PreUp", "PostUp", "PreDown", "PostDown"}


def test_theWireGuardPageNamesOnlyCountersThatThereAre() -> None:
    page, bounds = ((DOCS / name).read_text() for name in ("wireguard.md", "bounds.md"))
    counters = set(re.findall(r"`((?:in|out|lookup)[A-Z]\w+)`", page))
    assert len(counters) > 10
    assert {name for name in counters if f"`{name}`" not in bounds.partition("| WireGuard | ")[2]} == set()


#: The names of the examples that are tests of an application.
_TESTS = sorted(name for name, text in examples().items() if re.search(r"^ *(async )?def test_", text, re.MULTILINE))


@pytest.mark.parametrize("name", _TESTS)
def test_aDocumentedTestPasses(tmp_path: Path, name: str) -> None:
    text = examples()[name]
    (file := tmp_path / "test_example.py").write_text(text)
    runners: dict[tuple[str, ...], tuple[str, str]] = {}
    if "(TestCase" not in text:
        # With pytest, the reactor does not run for a coroutine of trial's TestCase.
        runners["pytest", "-q", "-rs"] = "1 passed", "1 skipped"
    if "TestCase" in text:
        runners["twisted.trial",] = "PASSED (successes=1)", "PASSED (skips=1)"
    for runner, (passed, skipped) in runners.items():
        command = [sys.executable, "-m", *runner, str(file)]
        said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
        reason = lacking() if "RealInterface" in text or "realTun" in text else None
        assert (passed if reason is None else skipped) in said, said
        assert reason is None or reason in said


def test_testsAreDocumented() -> None:
    assert {name.partition(" ")[0] for name in _TESTS} >= {"tcp.md", "testing.md"}
    assert len(_TESTS) == 9
