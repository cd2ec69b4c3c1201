"""
Tests for the version of the package, which has one source: the metadata of the installed distribution.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version as installed

import pytest

import txtuntap
from txtuntap.version import version


@pytest.mark.unix("an installed distribution")
def test_theVersionIsThatOfTheInstalledDistribution() -> None:
    assert txtuntap.__version__ == version() == installed("txtuntap")


def test_aPackageThatIsNotInstalledHasAnUnknownVersion() -> None:
    program = (
        "import importlib.metadata as metadata; metadata.MetadataPathFinder.find_distributions = lambda *_: [];"
        "import txtuntap; print(txtuntap.__version__)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "unknown\n"


def test_anotherNameIsStillAnError() -> None:
    with pytest.raises(AttributeError, match="'txtuntap' has no attribute 'Bogus'"):
        txtuntap.Bogus  # type: ignore[attr-defined] # noqa: B018


def test_importingThePackageDoesNotReadItsMetadata() -> None:
    program = "import sys, txtuntap; print('importlib.metadata' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("txtuntap.command", "txtuntap"),
        ("txtuntap.command.wireguarddaemon", "txtuntap-wireguard"),
        pytest.param(
            "txtuntap.device.helper.server",
            "python -I -m txtuntap.device.helper",
            marks=pytest.mark.unix("UNIX sockets"),
        ),
    ],
)
def test_everyCommandPrintsItsVersion(module: str, name: str) -> None:
    program = f"import sys; sys.argv[1:] = ['--version']; from {module} import main; main()"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (found.stdout, found.stderr) == (f"{name} {version()}\n", "")
