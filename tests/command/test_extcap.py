"""
Tests for the installation of C{txtuntap extcap} into Wireshark's folder, which need no kernel.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from txtuntap.command import main
from txtuntap.version import version

PERSONAL = "Personal configuration:\t{home}/config"


def wireshark(directory: Path, lines: str, name: str = "tshark") -> None:
    """
    Make a program that answers C{-G folders} as Wireshark does.
    """
    program = directory / name
    program.write_text(f'#!/bin/sh\n[ "$*" = "-G folders" ] && cat <<END\n{lines.format(home=directory)}\nEND\n')
    program.chmod(0o755)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """
    A directory that has the only programs that are found.
    """
    monkeypatch.setenv("PATH", f"{tmp_path}")
    os.symlink("/bin/cat", tmp_path / "cat")
    return tmp_path


@pytest.mark.unix("programs of sh")
@pytest.mark.parametrize(
    ("lines", "folder"),
    [
        (PERSONAL, "config/extcap"),
        (f"{PERSONAL}\nExtcap path:\t/usr/lib/wireshark/extcap", "config/extcap"),
        (f"{PERSONAL}\nPersonal Extcap path:\t{{home}}/a folder/extcap", "a folder/extcap"),
    ],
)
def test_theProgramGoesIntoWiresharksPersonalFolder(
    path: Path, lines: str, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    wireshark(path, lines)
    program = path / folder / "txtuntap"
    # A second installation replaces the first one.
    for _ in range(2):
        assert main(["extcap", "install"]) == 0
        assert capsys.readouterr().out == f"{program}\n"
    assert [each.name for each in program.parent.iterdir()] == ["txtuntap"]
    answer = subprocess.run([program, "--help"], capture_output=True, text=True, check=True)
    assert answer.stdout.startswith("usage: txtuntap extcap")
    assert main(["extcap", "uninstall"]) == 0
    assert not program.exists()
    assert main(["extcap", "uninstall"]) == 1
    assert f"there is no {program}" in capsys.readouterr().err


@pytest.mark.unix("programs of sh")
def test_theInstalledProgramAnswersWireshark(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["extcap", "install", "--folder", str(path)]) == 0
    asked = [str(path / "txtuntap"), "--extcap-config", "--extcap-interface", "txtuntap-tap0"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert (answer.stdout.splitlines()[0][:14], answer.stderr) == ("arg {number=0}", "")


@pytest.mark.unix("programs of sh")
def test_withoutTsharkWiresharkIsAsked(path: Path) -> None:
    wireshark(path, PERSONAL, "wireshark")
    assert main(["extcap", "install"]) == 0
    assert (path / "config/extcap/txtuntap").exists()


@pytest.mark.unix("programs of sh")
def test_anUnknownFolderIsAnError(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["extcap", "install"]) == 1
    assert "neither tshark nor wireshark is installed: install one, or give --folder" in capsys.readouterr().err
    wireshark(path, "Temp:\t/tmp")
    assert main(["extcap", "install"]) == 1
    assert f"'{path}/tshark -G folders' names no folder for extcap programs" in capsys.readouterr().err


@pytest.mark.unix("programs of sh")
def test_anotherProgramIsNotReplaced(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path / "txtuntap").write_text("#!/bin/sh\n")
    for what in "install", "uninstall":
        assert main(["extcap", what, "--folder", str(path)]) == 1
        assert str(path / "txtuntap") in capsys.readouterr().err
    assert (path / "txtuntap").read_text() == "#!/bin/sh\n"


def test_theProtocolsOptionsAreNotShown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["extcap", "--help"])
    text = capsys.readouterr().out
    assert "install" in text
    assert "--extcap" not in text
    assert "--fifo" not in text


def test_theVersionIsThatOfThePackage(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("txtuntap.command.extcap._interfaces", lambda: [("tap0", "tap0, a text")])
    assert main(["extcap", "--extcap-interfaces", "--extcap-version=4.0"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"extcap {{version={version()}}}{{display=txtuntap}}",
        "interface {value=txtuntap-tap0}{display=tap0, a text}",
    ]
