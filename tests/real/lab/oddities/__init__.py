"""
Rare packets that different hosts answer differently. Each row of the tables has frames from a forged sender, and the
reactions of a host of this package and of Linux.

A reaction is a list of texts, one for each frame that is sent back: its type and code (with the pointer of a parameter
problem), and its source, destination and station if those are unexpected. The text C{"heard"} means that a datagram has
arrived on the open port and was not answered.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from tests.real.lab.oddities.frames import Frames


@attrs.frozen
class Oddity:
    """
    One row of a table: rare frames, and the reactions to them.

    @ivar name: the row's name, which becomes part of the test's id.
    @ivar version: the IP version.
    @ivar make: a function that makes the frames from the sender's address.
    @ivar here: the reaction of a host of this package.
    @ivar linux: the reaction of Linux.
    @ivar difference: the name of the difference in C{docs/input.md}; empty: the reactions are equal.
    """

    name: str
    version: int
    make: Frames
    here: tuple[str, ...]
    linux: tuple[str, ...]
    difference: str


def same(version: int, name: str, make: Frames, *answers: str) -> Oddity:
    """
    Make a row with equal reactions of both hosts.
    """
    return Oddity(name, version, make, answers, answers, "")


def differs(
    version: int, difference: str, name: str, make: Frames, here: Sequence[str], linux: Sequence[str]
) -> Oddity:
    """
    Make a row with different reactions of the two hosts.
    """
    return Oddity(name, version, make, tuple(here), tuple(linux), difference)
