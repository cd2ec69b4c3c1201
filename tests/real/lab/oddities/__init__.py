"""
What is sent seldom and answered differently by different hosts: a row each, as the frames of a forged sender, with what
a host of ours does with them and what Linux does.

What is done is told as a list: of each frame that comes back its kind and code (and where a parameter problem is said
to be), its source, destination and station where those are not what one expects; and C{"heard"} where a datagram has
come to the open port and no answer from there.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from tests.real.lab.oddities.frames import Frames


@attrs.frozen
class Oddity:
    """
    A row.

    @ivar make: makes the frames; called with the sender's address.
    @ivar here: what a host of ours does.
    @ivar linux: what Linux does.
    @ivar difference: what C{docs/input.md} calls it, if that is not the same.
    """

    name: str
    version: int
    make: Frames
    here: tuple[str, ...]
    linux: tuple[str, ...]
    difference: str


def same(version: int, name: str, make: Frames, *answers: str) -> Oddity:
    """
    A row where both do the same.
    """
    return Oddity(name, version, make, answers, answers, "")


def differs(
    version: int, difference: str, name: str, make: Frames, here: Sequence[str], linux: Sequence[str]
) -> Oddity:
    """
    A row where they do not.
    """
    return Oddity(name, version, make, tuple(here), tuple(linux), difference)
