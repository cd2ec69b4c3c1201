"""
Tests of the contents of the wheel.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
import zipfile

import pytest

from tests.paths import CHECKOUT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """
    Build the wheel, and open it.
    """
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(target), str(CHECKOUT)]
    subprocess.run(command, check=True, capture_output=True)
    (found,) = target.glob("*.whl")
    return zipfile.ZipFile(found)


def test_theWheelHoldsThePluginAndNoTwistedPackage(wheel: zipfile.ZipFile) -> None:
    names = [name for name in wheel.namelist() if name.startswith("twisted/")]
    assert names == ["twisted/plugins/txtuntap_plugin.py"]


def test_theWheelIsTypedAndLicensed(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert "txtuntap/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_theWheelHoldsManualPagesAndCompletions(wheel: zipfile.ZipFile) -> None:
    shared = [name.split(".data/data/share/")[1] for name in wheel.namelist() if ".data/data/" in name]
    assert set(shared) == {
        "bash-completion/completions/txtuntap",
        *(f"man/man1/{name}.1" for name in ("twistd-tuntap", "txtuntap", "txtuntap-wireguard")),
        "zsh/site-functions/_txtuntap",
    }
    assert {"txtuntap/command/completions/bash", "txtuntap/command/completions/zsh"} <= set(wheel.namelist())


def test_theWheelHoldsNoTests(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith((".data", ".dist-info"))} == {"txtuntap", "twisted"}


def test_twistdListsThePlugin() -> None:
    twistd = pathlib.Path(sys.executable).with_name("twistd")
    found = subprocess.run([str(twistd), "--help"], capture_output=True, text=True, check=True)
    assert any(line.split()[:1] == ["tuntap"] for line in found.stdout.splitlines())
