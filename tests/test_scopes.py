"""
Tests for the scopes by which tests are distributed to processes.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.conftest import scope


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
