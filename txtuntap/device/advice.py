"""
Texts for errors of the system that say what to do, because the error numbers say little. Each platform has a table of
them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


def explained(error: OSError, what: str, advice: Mapping[int, str]) -> OSError:
    """
    Replace the text of an error by one that says what to do.

    @param error: the error of a system call.
    @param what: the thing that cannot be opened or read, or the call that has failed.
    @param advice: the text for each error number. Other errors keep the text of the system.

    @return: an error with the same number.
    """
    number = error.errno or 0
    return OSError(error.errno, f"{what}: {advice.get(number) or error.strerror or os.strerror(number)}")


@contextmanager
def advising(what: str, advice: Mapping[int, str]) -> Iterator[None]:
    """
    Replace the text of each C{OSError} within the context: see L{explained}.
    """
    try:
        yield
    except OSError as e:
        raise explained(e, what, advice) from e
