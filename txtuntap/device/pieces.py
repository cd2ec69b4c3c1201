"""
Long work in pieces: a conversation with the system handles a few items in each turn of the reactor.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar

_T = TypeVar("_T")
_Item = TypeVar("_Item")

#: The number of messages, routes or addresses that are handled in one turn of the reactor. A message takes up to 0.1
#: ms. (One turn may handle twice as many: the last messages of one read, and the first of the next read.)
ITEMS_PER_TURN = 25

#: A part of a conversation that makes no request. It yields C{None} at the end of each turn of the reactor.
Pieces = Generator[None, Any, _T]


def inPieces(call: Callable[[_Item], _T], items: Iterable[_Item]) -> Pieces[list[_T]]:
    """
    Make a conversation that calls a function for each item, L{ITEMS_PER_TURN} times in a turn of the reactor.

    @return: the conversation. Its result is the list of the function's results.
    """
    results = []
    for item in items:
        results.append(call(item))
        if len(results) % ITEMS_PER_TURN == 0:
            yield None
    return results
