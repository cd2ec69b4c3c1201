"""
Tests that the programs accept the command lines in docstrings and documentation. Examples in Python are run in
L{tests.real.test_documentation}, except for examples of tests, which are run here.
"""

from __future__ import annotations

import html
import re
import shlex
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from twisted.internet.endpoints import serverFromString

from tests.certificates import certificate
from tests.examples import WIREGUARD, commands, examples
from tests.paths import DOCS
from txtuntap.command.parser import commandParser
from txtuntap.device.helper.permission import Rule
from txtuntap.service import Options
from txtuntap.wireguard.configuration import Configuration, ConfigurationError


@pytest.fixture
def digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """
    Change to a directory with the certificates and the WireGuard configuration that the command lines name.

    @return: the pin of one of them.
    """
    monkeypatch.chdir(tmp_path)
    for name in "one", "other", "me", "peer":
        made = certificate(tmp_path, name)
        (tmp_path / f"{name}.pem").write_text(Path(made.file).read_text())
        (tmp_path / f"{name}.crt").write_text(Path(made.public).read_text())
    (tmp_path / "wg0.conf").write_text(WIREGUARD)
    (tmp_path / "wg0.conf").chmod(0o600)
    return made.pin


@pytest.mark.parametrize(("name", "line"), commands())
@pytest.mark.linux
def test_aDocumentedCommandIsAccepted(digest: str, name: str, line: str) -> None:
    pinned = re.sub(r"<SHA-256 of \w+'s>|\$O\w+", digest, line).partition(" | ")[0]
    # The names are replaced by a user and a group that exist.
    words = shlex.split(re.sub(r" [<>] \S+", "", pinned.replace("alice:", "root:").replace("@dns:", "@0:")))
    if "twistd" in words and "tuntap" not in words:
        # The command is another twistd plugin, on an endpoint of this package.
        endpoints = [serverFromString(None, word) for word in words if word.startswith("tuntap:")]
        assert endpoints
    elif "twistd" in words:
        options = Options()  # type: ignore[no-untyped-call]
        options.parseOptions(words[words.index("tuntap") + 1 :])  # type: ignore[no-untyped-call]
    elif "txtuntap" in words:
        commandParser().parse_args(words[words.index("txtuntap") + 1 :])
    else:
        rules = [value for word, value in pairwise(words) if word == "--allow"]
        assert [Rule.of(rule) for rule in rules]


def test_moreThanTwentyCommandsAreDocumented() -> None:
    assert len(commands()) > 20


def test_theDrawnPicturesAreThoseOfTheScript(tmp_path: Path) -> None:
    shutil.copy(DOCS / "pictures.py", tmp_path)
    subprocess.run([sys.executable, tmp_path / "pictures.py"], check=True)
    drawn = sorted(tmp_path.glob("*.svg"))
    assert drawn
    for path in drawn:
        assert (DOCS / path.name).read_text() == path.read_text(), "run python docs/pictures.py"
        about = re.search("<desc[^>]*>(.*?)</desc>", path.read_text())
        assert about is not None
        page = path.with_suffix(".md").name
        assert f"![{html.unescape(about[1])}]({path.name})" in (DOCS / page).read_text()


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
    runners: dict[tuple[str, ...], str] = {("pytest", "-q"): "1 passed"}
    if "TestCase" in text:
        runners["twisted.trial",] = "PASSED (successes=1)"
    for runner, summary in runners.items():
        command = [sys.executable, "-m", *runner, str(file)]
        said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False).stdout
        assert summary in said, said


def test_fourTestsAreDocumented() -> None:
    assert len(_TESTS) == 4
