"""
Tests in two lengths: one for each run, and a longer one of the same kind for C{make test-long}.
"""

from __future__ import annotations

import pytest


def lengths(name: str, short: object, long: object, part: str) -> pytest.MarkDecorator:
    """
    Have a test run with C{short} each time, and with C{long} where C{--long} asks for it.

    @param name: the test's argument.
    @param part: what C{--part} calls it.
    """
    return pytest.mark.parametrize(name, [short, pytest.param(long, marks=pytest.mark.long(part))])
