"""
Make a release, or check that one could be made.

    python release.py check
    python release.py make

Both work on the last commit, in a work tree of their own. C{check} builds the distributions and tries them out, and
leaves nothing. C{make} does the same, and then adds the commit and the tag of the release to this branch, and puts the
distributions into C{dist/}. The last step, which needs the account on the package index, is left: C{twine upload}.
"""

from __future__ import annotations

import argparse
import datetime
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent

_VERSION = re.compile(r'^version = "(.*)"$', re.MULTILINE)
_DECLARED = re.compile(r'^ *"Programming Language :: Python :: (3\.\d+)",$', re.MULTILINE)


def nextVersion(changes: str, today: datetime.date) -> str:
    """
    Find the number of the next release: the year without its century, the month, and a count of the releases in that
    month, which begins with 0.

    @param changes: the text of CHANGES.md, which has a heading for each release.
    """
    month = f"{today.year - 2000}.{today.month}"
    counts = re.findall(rf"^## {re.escape(month)}\.(\d+) ", changes, re.MULTILINE)
    return f"{month}.{max(map(int, counts), default=-1) + 1}"


def withVersion(project: str, version: str) -> str:
    """
    Set the version in the text of pyproject.toml.
    """
    made, count = _VERSION.subn(f'version = "{version}"', project)
    if count != 1:
        raise ValueError("pyproject.toml must have one line such as 'version = \"26.11.0\"'")
    return made


def say(text: str) -> None:
    """
    Print the step that begins.
    """
    print(f"* {text}", flush=True)


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """
    Run a program to its end, and return its output.

    @param cwd: the directory that it runs in; L{None}: this tree.

    @raise SystemExit: the program has failed. Its output is printed.
    """
    finished = subprocess.run(
        command, cwd=cwd or ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if finished.returncode:
        print(finished.stdout)
        sys.exit(f"failed: {' '.join(map(str, command))}")
    return finished.stdout


@contextmanager
def workTree() -> Iterator[Path]:
    """
    Check out the last commit in a temporary directory within a context manager.
    """
    with tempfile.TemporaryDirectory(prefix="txtuntap-release-") as directory:
        tree = Path(directory) / "tree"
        run("git", "worktree", "add", "--detach", tree, "HEAD")
        try:
            yield tree
        finally:
            run("git", "worktree", "remove", "--force", tree)


def prepare(tree: Path) -> str:
    """
    Set the version in a tree, and move its news fragments to CHANGES.md.

    @return: the version.
    """
    version = nextVersion((tree / "CHANGES.md").read_text(), datetime.date.today())
    say(f"prepare {version}")
    project = tree / "pyproject.toml"
    project.write_text(withVersion(project.read_text(), version))
    run(sys.executable, "-m", "towncrier", "build", "--yes", "--version", version, cwd=tree)
    return version


def build(tree: Path, dist: Path, version: str) -> list[Path]:
    """
    Build the source distribution of a tree, and from that the wheel, and check both.

    @return: the paths of the two.
    """
    say("build the source distribution, and the wheel from it")
    run(sys.executable, "-m", "build", "--outdir", dist, tree)
    source, wheel = dist / f"txtuntap-{version}.tar.gz", dist / f"txtuntap-{version}-py3-none-any.whl"
    with tarfile.open(source) as file:
        # Python 3.10 and 3.11 have this filter from their latest bugfix releases on.
        file.extraction_filter = getattr(tarfile, "data_filter", None)
        file.extractall(dist / "unpacked")
    unpacked = dist / "unpacked" / f"txtuntap-{version}"
    with zipfile.ZipFile(wheel) as archive:
        # The manual pages and completions in .data have other names in the source, from which the wheel was built.
        inWheel = {name for name in archive.namelist() if not re.match(r"[^/]*\.(dist-info|data)/", name)}
    modules = [path for top in ("txtuntap", "twisted") for path in (unpacked / top).rglob("*") if path.is_file()]
    missing = inWheel ^ {path.relative_to(unpacked).as_posix() for path in modules}
    if missing:
        sys.exit(f"in only one of the wheel and the source distribution: {', '.join(sorted(missing))}")
    say("twine check --strict")
    print(run(sys.executable, "-m", "twine", "check", "--strict", source, wheel), end="")
    return [source, wheel]


def freshEnvironment(python: str, at: Path, install: str) -> Path:
    """
    Make a virtual environment with a distribution in it.

    @param install: what pip installs.

    @return: the folder of its programs.
    """
    run(python, "-m", "venv", at)
    programs = at / ("Scripts" if sys.platform == "win32" else "bin")
    run(programs / "python", "-m", "pip", "install", "-q", install, cwd=at)
    run(programs / "python", "-m", "pip", "check", cwd=at)
    return programs


def tryOut(python: str, distribution: Path, version: str) -> None:
    """
    Install a distribution in a fresh environment, run its programs, and remove it again.

    @param python: the interpreter.
    """
    with tempfile.TemporaryDirectory(prefix="txtuntap-install-") as directory:
        at = Path(directory)
        programs = freshEnvironment(python, at, str(distribution))
        about = "import txtuntap; from importlib.metadata import version; print(version('txtuntap'))"
        installed = run(programs / "python", "-c", about, cwd=at).strip()
        if installed != version:
            sys.exit(f"{distribution.name} has installed {installed}")
        for name in "txtuntap", "txtuntap-wireguard":
            run(programs / name, "--help", cwd=at)
        if "\n    tuntap " not in run(programs / "twistd", "--help", cwd=at):
            sys.exit("twistd does not list tuntap")
        run(programs / "python", "-m", "pip", "uninstall", "-q", "-y", "txtuntap", cwd=at)
        left = [str(path) for path in at.rglob("*txtuntap*") if path.suffix != ".pyc"]
        if left:
            sys.exit(f"left behind by pip uninstall: {', '.join(left)}")


def test(source: Path, wheel: Path) -> None:
    """
    Run the tests that need no kernel from the source distribution, with the wheel installed.
    """
    say("the tests that need no kernel, from the source distribution")
    with tempfile.TemporaryDirectory(prefix="txtuntap-tests-") as directory:
        programs = freshEnvironment(sys.executable, Path(directory), f"{wheel}[test]")
        unpacked = source.parent / "unpacked" / source.name.removesuffix(".tar.gz")
        command = [str(programs / "python"), "-m", "pytest", "-q", "-n", "2", "--ignore=tests/real"]
        # The output is shown as it comes, because this takes minutes.
        if subprocess.run(command, cwd=unpacked, check=False).returncode:
            sys.exit("failed: the tests")


def check(tree: Path, version: str) -> list[Path]:
    """
    Build the distributions of a prepared tree, and try them out on every Python that is declared.

    @return: the paths of the distributions.
    """
    # Imported here, because the tests of this module run without nox.
    from noxfile import interpreters

    distributions = build(tree, tree.parent / "dist", version)
    found = {**interpreters(), f"{sys.version_info.major}.{sys.version_info.minor}": sys.executable}
    undeclared = set(_DECLARED.findall((tree / "pyproject.toml").read_text())) ^ found.keys()
    if undeclared:
        sys.exit(f"declared in pyproject.toml or found here, but not both: Python {', '.join(sorted(undeclared))}")
    for number, python in sorted(found.items(), key=lambda each: int(each[0].partition(".")[2])):
        for distribution in distributions:
            say(f"install {distribution.name} on Python {number}, run its programs, remove it")
            tryOut(python, distribution, version)
    test(*distributions)
    return distributions


def make(tree: Path, version: str) -> None:
    """
    Add a release that was checked to the branch of this tree.
    """
    commit = run("git", "rev-parse", "HEAD", cwd=tree).strip()
    run("git", "merge", "--ff-only", commit)
    run("git", "tag", "--annotate", "--message", f"txtuntap {version}", version)
    say(f"made: the commit and the tag {version} on this branch, and the distributions in dist/. To publish them:")
    print(f"git push --follow-tags && twine upload dist/txtuntap-{version}*")


def main() -> None:
    """
    Run the command of the command line.
    """
    parser = argparse.ArgumentParser(description="Make a release of the last commit, or check that one could be made.")
    parser.add_argument("command", choices=["check", "make"])
    command = parser.parse_args().command
    changed = run("git", "status", "--porcelain")
    if changed and command == "make":
        sys.exit(f"commit these changes first, or remove them:\n{changed}")
    if changed:
        say("the check is of the last commit, without these changes:")
        print(changed, end="")
    with workTree() as tree:
        version = prepare(tree)
        if command == "make":
            run("git", "commit", "--all", "--message", f"Release {version}", cwd=tree)
        distributions = check(tree, version)
        if command == "make":
            (ROOT / "dist").mkdir(exist_ok=True)
            for path in distributions:
                shutil.copy(path, ROOT / "dist")
            make(tree, version)
        else:
            say(f"{version} could be released")


if __name__ == "__main__":
    main()
