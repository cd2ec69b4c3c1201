"""
Tests in two lengths: a short one for every run, and a long one for C{make test-long}.
"""

from __future__ import annotations

import pytest


def lengths(name: str, short: object, long: object, part: str) -> pytest.MarkDecorator:
    """
    Run a test with the argument C{short} by default, and with C{long} if pytest is called with C{--long}.

    @param name: the name of the test's argument.
    @param part: the name that selects the long test with C{--part}.
    """
    return pytest.mark.parametrize(name, [short, pytest.param(long, marks=pytest.mark.long(part))])
