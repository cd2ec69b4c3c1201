"""
Tests of the contents of the wheel, and of its metadata.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest

import release
from tests.paths import CHECKOUT


def built(checkout: Path, target: Path) -> zipfile.ZipFile:
    """
    Build a wheel, and open it.
    """
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(target), str(checkout)]
    subprocess.run(command, check=True, capture_output=True)
    (found,) = target.glob("*.whl")
    return zipfile.ZipFile(found)


def metadataOf(wheel: zipfile.ZipFile) -> Message:
    """
    Read the metadata of a wheel. The description is the payload of the message.
    """
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return message_from_string(wheel.read(name).decode())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """
    Build the wheel of this package, and open it.
    """
    return built(CHECKOUT, tmp_path_factory.mktemp("wheel"))


#: A text with all kinds of links, its description without an address, and with one.
LINKS = """[the page](docs/a.md), [`code`](docs/b.md#part) ([below](#below)), [PyPI](https://pypi.org/project/txtuntap/)
![a plot](docs/plot.svg) [![a badge](docs/badge.svg)](docs/c.md) `table[0](x)`

    table[1](x)

```python
table[2](x)
```
"""
WITHOUT = """the page, `code` (below), [PyPI](https://pypi.org/project/txtuntap/)
a plot a badge `table[0](x)`

    table[1](x)

```python
table[2](x)
```
"""
WITH = """[the page](https://forge.example/o/n/blob/26.11.0/docs/a.md), [`code`](https://forge.example/o/n/blob/26.11.0/docs/b.md#part) (below), [PyPI](https://pypi.org/project/txtuntap/)
![a plot](https://forge.example/o/n/raw/26.11.0/docs/plot.svg) [![a badge](https://forge.example/o/n/raw/26.11.0/docs/badge.svg)](https://forge.example/o/n/blob/26.11.0/docs/c.md) `table[0](x)`

    table[1](x)

```python
table[2](x)
```
"""  # noqa: E501


def elsewhere(at: Path, address: str) -> Message:
    """
    Build a small package with the project file of this one, but with another address of the repository.

    @return: the metadata.
    """
    project = release.withVersion((CHECKOUT / "pyproject.toml").read_text(), "26.11.0")
    setting = re.compile('^repository = ".*"$', re.MULTILINE)
    assert setting.search(project)
    (at / "pyproject.toml").write_text(setting.sub(f'repository = "{address}"', project))
    (at / "README.md").write_text(LINKS)
    for name in "hatch_build.py", "LICENSE", "twisted/plugins/txtuntap_plugin.py", "txtuntap/__init__.py":
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, at / name)
    return metadataOf(built(at, at / "dist"))


@pytest.mark.unix("pip")
@pytest.mark.parametrize(("address", "description"), [("", WITHOUT), ("https://forge.example/o/n/", WITH)])
def test_theAddressOfTheRepositoryMakesTheLinks(tmp_path: Path, address: str, description: str) -> None:
    metadata = elsewhere(tmp_path, address)
    links = dict(entry.split(", ") for entry in metadata.get_all("Project-URL", []))
    assert set(links) == ({"Source", "Documentation", "Changelog", "Issues", "Security"} if address else set())
    assert all(re.fullmatch(r"https://forge\.example/o/n(/[\w.]+)+", link) for link in links.values())
    assert metadata.get_payload() == description


@pytest.mark.unix("pip")
def test_theDescriptionHasNoRelativeLink(wheel: zipfile.ZipFile) -> None:
    description = str(metadataOf(wheel).get_payload())
    prose = re.sub(r"^```[\s\S]*?^```|^ {4}.*$|`[^`]+`", "code", description, flags=re.MULTILINE)
    assert "# txtuntap" in prose
    targets = re.findall(r"\]\(([^)]*)\)|^\[[^\]]+\]: *(\S+)|(?:href|src)=[\"']([^\"']*)", prose, re.MULTILINE)
    assert [target for found in targets for target in found if target and not target.startswith("https://")] == []


@pytest.mark.unix("pip")
def test_theMetadataAreThoseOfARelease(wheel: zipfile.ZipFile) -> None:
    metadata = metadataOf(wheel)
    assert re.fullmatch(r"\d\d\.\d+\.\d+", metadata["Version"])
    assert metadata["Author"]
    assert "twisted" in metadata["Keywords"].split(",")
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata["Requires-Python"] == ">=3.10"


@pytest.mark.unix("pip")
def test_theWheelHoldsThePluginAndNoTwistedPackage(wheel: zipfile.ZipFile) -> None:
    names = [name for name in wheel.namelist() if name.startswith("twisted/")]
    assert names == ["twisted/plugins/txtuntap_plugin.py"]


@pytest.mark.unix("pip")
def test_theWheelIsTypedAndLicensed(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert "txtuntap/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.unix("pip")
def test_theWheelHoldsManualPagesAndCompletions(wheel: zipfile.ZipFile) -> None:
    shared = [name.split(".data/data/share/")[1] for name in wheel.namelist() if ".data/data/" in name]
    assert set(shared) == {
        "bash-completion/completions/txtuntap",
        *(f"man/man1/{name}.1" for name in ("twistd-tuntap", "txtuntap", "txtuntap-wireguard")),
        "zsh/site-functions/_txtuntap",
    }
    assert {"txtuntap/command/completions/bash", "txtuntap/command/completions/zsh"} <= set(wheel.namelist())


@pytest.mark.unix("pip")
def test_theWheelHoldsNoTests(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith((".data", ".dist-info"))} == {"txtuntap", "twisted"}


@pytest.mark.unix("the program twistd beside Python")
def test_twistdListsThePlugin() -> None:
    twistd = Path(sys.executable).with_name("twistd")
    found = subprocess.run([str(twistd), "--help"], capture_output=True, text=True, check=True)
    assert any(line.split()[:1] == ["tuntap"] for line in found.stdout.splitlines())
