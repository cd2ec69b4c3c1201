"""
Tests of the steps of a release that can be tested without making one, and of the lower bounds of dependencies.
"""

from __future__ import annotations

import datetime
import re
import shutil
import sys
from pathlib import Path

import pytest

import release
from tests.paths import CHECKOUT

NOVEMBER = datetime.date(2026, 11, 30)

PROJECT = (CHECKOUT / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("changes", "version"),
    [
        ("# Changes\n", "26.11.0"),
        ("# Changes\n\n## 26.11.0 (2026-11-01)\n", "26.11.1"),
        ("# Changes\n\n## 26.11.10 (2026-11-29)\n\n## 26.11.9 (2026-11-01)\n", "26.11.11"),
        ("# Changes\n\n## 26.1.3 (2026-01-29)\n\n## 25.11.2 (2025-11-01)\n\ntext about ## 26.11.5\n", "26.11.0"),
    ],
)
def test_theVersionCountsTheReleasesOfTheMonth(changes: str, version: str) -> None:
    assert release.nextVersion(changes, NOVEMBER) == version


def test_onlyTheVersionOfTheProjectIsSet() -> None:
    made = release.withVersion(PROJECT, "31.2.7").splitlines()
    changed = [line for line in made if line not in PROJECT.splitlines()]
    assert changed == ['version = "31.2.7"']
    assert len(made) == len(PROJECT.splitlines())


def test_aProjectWithoutAVersionIsAnError() -> None:
    with pytest.raises(ValueError, match=r"pyproject\.toml"):
        release.withVersion("[project]\n", "26.11.0")


def test_aFailedStepEndsTheRelease(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"failed: .* -m no_such_module"):
        release.run(sys.executable, "-m", "no_such_module")
    assert "No module named no_such_module" in capsys.readouterr().out


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """
    Make a repository with one news fragment. Its releases are prepared, committed and tagged, but nothing is built.
    """
    pytest.importorskip("towncrier", reason="towncrier is missing: pip install -e '.[dev]'")
    at = tmp_path / "repository"
    (at / "newsfragments").mkdir(parents=True)
    (at / "newsfragments/+tcp.feature").write_text("There is TCP.\n")
    (at / ".gitignore").write_text("/dist/\n")
    for name in "pyproject.toml", "CHANGES.md":
        shutil.copy(CHECKOUT / name, at)
    monkeypatch.setattr(release, "ROOT", at)
    monkeypatch.setattr(release, "check", _unchecked)
    for key, value in ("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_AUTHOR_NAME", "a"), ("GIT_COMMITTER_NAME", "a"):
        monkeypatch.setenv(key, value)
    for key in "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL":
        monkeypatch.setenv(key, "a@example.org")
    for command in ["init", "-q"], ["add", "."], ["commit", "-q", "-m", "Begin"]:
        release.run("git", *command, cwd=at)
    return at


def _unchecked(tree: Path, version: str) -> list[Path]:
    (made := tree.parent / f"txtuntap-{version}.tar.gz").write_text(release.run("git", "status", cwd=tree))
    return [made]


def _release(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setattr(sys, "argv", ["release.py", command])
    release.main()


def _state(at: Path) -> list[str]:
    commands = ["log", "--oneline"], ["status", "--porcelain", "--ignored"], ["tag"], ["worktree", "list"]
    return [release.run("git", *command, cwd=at) for command in commands]


def test_aCheckLeavesTheRepositoryAsItIs(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _state(repository)
    _release(monkeypatch, "check")
    assert _state(repository) == before


def test_aReleaseHasACommitATagAndDistributions(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _release(monkeypatch, "make")
    (version,) = release.run("git", "tag", "--points-at", "HEAD").split()
    assert f'version = "{version}"' in (repository / "pyproject.toml").read_text()
    changes = (repository / "CHANGES.md").read_text()
    assert f"## {version} (" in changes
    assert "- There is TCP." in changes
    assert not list(repository.glob("newsfragments/*"))
    (distribution,) = (repository / "dist").iterdir()
    assert distribution.name == f"txtuntap-{version}.tar.gz"
    # The distribution was built from the commit.
    assert "nothing to commit, working tree clean" in distribution.read_text()
    assert release.run("git", "status", "--porcelain") == ""


def test_aReleaseOfUncommittedChangesIsRefused(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "CHANGES.md").write_text("")
    before = _state(repository)
    with pytest.raises(SystemExit, match="commit these changes first"):
        _release(monkeypatch, "make")
    assert _state(repository) == before


def test_aFailedCheckMakesNoRelease(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _state(repository)
    monkeypatch.setattr(release, "check", lambda tree, version: sys.exit("failed: twine"))
    with pytest.raises(SystemExit, match="twine"):
        _release(monkeypatch, "make")
    assert _state(repository) == before


def _bounds(text: str, relation: str) -> set[tuple[str, tuple[int, ...]]]:
    """
    Find the dependencies and their versions in a text. Trailing zeros of a version do not matter.
    """
    found = re.findall(rf"""^ *"?([a-z][\w.-]+){relation}([\d.]+)(?:[";].*|)$""", text, re.MULTILINE)
    return {
        (name.replace(".", "-"), tuple(int(part) for part in re.sub(r"(\.0)+$", "", version).split(".")))
        for name, version in found
    }


def test_theOldestDependenciesAreTheLowerBounds() -> None:
    dependencies = PROJECT.partition("\nbench = [")[0].partition("\ndependencies = [")[2]
    declared = _bounds(dependencies, ">=")
    assert len(declared) > 10
    assert _bounds((CHECKOUT / "tests/oldest.txt").read_text(), "==") == declared


def test_thePolicyNamesTheVersionsThatAreDeclared() -> None:
    policy = (CHECKOUT / "docs/versions.md").read_text()
    pythons = re.findall(r'Python :: (3\.\d+)"', PROJECT)
    assert f"| Python | {pythons[0]} to {pythons[-1]}, CPython |" in policy
    (twisted,) = re.findall(r'"twisted>=([\d.]+)"', PROJECT)
    assert f"| Twisted | {twisted} and later |" in policy
    assert f'requires-python = ">={pythons[0]}"' in PROJECT
