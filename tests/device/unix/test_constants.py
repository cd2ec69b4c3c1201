"""
Tests for the numbers of macOS and the BSDs in C{constants.md}.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.device.unix.constants import TARGETS, read
from tests.device.unix.headers import ABSENT, install, numbers

#: Calls, and the structure that each takes. The number of a call has the size of the structure (C{sys/ioccom.h}).
CALLS = {
    "SIOCGIFFLAGS": "ifreq",
    "SIOCSIFFLAGS": "ifreq",
    "SIOCGIFMTU": "ifreq",
    "SIOCSIFMTU": "ifreq",
    "SIOCIFDESTROY": "ifreq",
    "SIOCAIFADDR": "ifaliasreq",
    "SIOCAIFADDR_IN6": "in6_aliasreq",
    "CTLIOCGINFO": "ctl_info",
    "SIOCSDRVSPEC": "ifdrv",
    "TUNSIFINFO": "tuninfo",
    "TAPSIFINFO": "tapinfo",
}


def test_eachCallHasTheSizeOfItsStructure() -> None:
    checked = set()
    for target, names in read().items():
        if "linux" in target:
            # The older numbers of Linux have no size.
            continue
        for call, structure in CALLS.items():
            if call in names:
                assert names[call] >> 16 & 0x1FFF == names[f"sizeof({structure})"], f"{call} of {target}"
                checked.add(call)
    assert checked == set(CALLS)


def test_bothProcessorsOfMacOSHaveTheSameNumbers() -> None:
    assert read()["x86_64-macos"] == read()["aarch64-macos"]


@pytest.mark.long("platforms")
def test_theHeadersOfEachPlatformHaveTheNumbers(tmp_path: Path) -> None:
    compiler = install(tmp_path / "compiler")
    table = read()
    # The table has one column for each BSD, whose numbers are those of its arm64, too.
    columns = {target: target for target in table}
    columns |= {target.replace("x86_64", "aarch64"): target for target in TARGETS.values()}
    for target, column in columns.items():
        names = {name: value for name, value in table[column].items() if "macos" not in target or name not in ABSENT}
        assert numbers(compiler, target, names, tmp_path) == names, target
