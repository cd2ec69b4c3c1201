"""
Tests for L{txtuntap.layer.lazy}: parts and sets that are made when they are first needed.
"""

from __future__ import annotations

from collections.abc import Set

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.layer.lazy import NONE, Lazy, added, discard


class Owner:
    """
    An object with a part that is made when it is needed.
    """

    __slots__ = ("_partMade", "made")

    part = Lazy("_partMade", lambda owner: owner.make())

    def __init__(self) -> None:
        self._partMade: list[str] | None = None
        self.made = 0

    def make(self) -> list[str]:
        self.made += 1
        return []


class LazyTests(SynchronousTestCase):
    def test_aPartIsMadeWhenItIsFirstRead(self) -> None:
        owner = Owner()
        self.assertEqual((owner.made, owner._partMade), (0, None))
        owner.part.append("kept")
        self.assertIs(owner.part, owner._partMade)
        self.assertEqual((owner.part, owner.made), (["kept"], 1))

    def test_anEmptyPartIsMadeOnce(self) -> None:
        owner = Owner()
        self.assertIs(owner.part, owner.part)
        self.assertEqual(owner.made, 1)

    def test_eachObjectHasItsOwnPart(self) -> None:
        self.assertIsNot(Owner().part, Owner().part)

    def test_theClassHasTheDescriptor(self) -> None:
        self.assertIsInstance(Owner.part, Lazy)


class SharedSetTests(SynchronousTestCase):
    def test_theFirstMemberMakesASet(self) -> None:
        members: Set[int] = NONE
        first = added(members, 1)
        self.assertEqual((first, NONE), ({1}, frozenset()))
        self.assertIs(added(first, 2), first)
        self.assertEqual(first, {1, 2})

    def test_aMemberIsRemovedInPlace(self) -> None:
        members = added(NONE, 1)
        discard(members, 1)
        discard(members, 2)
        self.assertEqual(members, set())

    def test_nothingIsRemovedFromTheSharedSet(self) -> None:
        discard(NONE, 1)
        self.assertEqual(NONE, frozenset())
