"""
Tests for the configuration of all tests: the scopes by which tests are distributed to processes, and the tests that are
skipped on other platforms than Linux.
"""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.conftest import LINUX_FOLDERS, scope
from tests.paths import CHECKOUT


class ScopeTests(SynchronousTestCase):
    def test_scopeIsFileClassAndDevice(self) -> None:
        for test, expected in (
            ("tests/test_a.py::test_b", "tests/test_a.py"),
            ("tests/test_a.py::BTests::test_c", "tests/test_a.py::BTests"),
            ("tests/test_a.py::BTests::test_c[::1]", "tests/test_a.py::BTests"),
            ("tests/test_a.py::test_b[fd09::2]", "tests/test_a.py"),
            ("tests/real/test_a.py::test_b[tun-fd09::2]", "tests/real/test_a.py tun"),
            ("tests/real/test_a.py::test_b[tap]", "tests/real/test_a.py tap"),
            ("tests/real/test_a.py::test_b[tapestry]", "tests/real/test_a.py"),
        ):
            self.assertEqual(scope(test), expected)


#: A program that runs tests as another platform would, and prints the modules of Linux that this imports.
_ELSEWHERE = """
import sys, hypothesis, pytest
sys.platform = "plan9"
pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[1:]])
print([name for name in sys.modules if name.startswith(("tests.real.test", "tests.device.linux"))])
"""


class LinuxTests(SynchronousTestCase):
    def test_testsThatNeedLinuxAreSkippedElsewhere(self) -> None:
        """
        A folder is skipped as one test. A class or a function is skipped with its mark.
        """
        marked = [
            "tests/device/test_choice.py::ChoiceTests::test_aLinuxDeviceIsMadeOnLinux",
            "tests/test_tuntapio.py::OurSystemTests::test_thePortCanBeStartedAgain",
        ]
        command = [sys.executable, "-c", _ELSEWHERE, *LINUX_FOLDERS, *marked]
        lines = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.splitlines()
        self.assertIn("4 skipped: needs Linux", lines)
        self.assertTrue(lines[-2].startswith("4 skipped"), lines)
        self.assertEqual(lines[-1], "[]")
