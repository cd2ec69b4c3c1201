"""
Tests for bounded tables, L{txtuntap.layer.bounded}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.layer.bounded import Policy, Table, TableState


class TableTests(SynchronousTestCase):
    """
    Tests for the policies of L{Table}.
    """

    def setUp(self) -> None:
        self.gone: list[tuple[int, str]] = []

    def filled(self, policy: Policy, count: int = 3) -> Table[int, str]:
        """
        Make a table of a policy, with entries from 0 on.
        """
        table: Table[int, str] = Table("numbers", 3, policy, lambda *entry: self.gone.append(entry))
        for number in range(count):
            table.put(number, str(number))
        return table

    def test_aTableIsADictionary(self) -> None:
        table = self.filled(Policy.OLDEST)
        self.assertEqual((table.get(1), 1 in table, table.get(7), len(table)), ("1", True, None, 3))
        self.assertEqual(table, {0: "0", 1: "1", 2: "2"})

    def test_oldestEvictsTheFirstEntry(self) -> None:
        table = self.filled(Policy.OLDEST)
        table.use(0)
        self.assertTrue(table.put(0, "again"))
        self.assertEqual(self.gone, [])
        self.assertTrue(table.put(3, "3"))
        self.assertEqual((list(table), self.gone), ([1, 2, 3], [(0, "again")]))

    def test_leastRecentEvictsTheEntryUsedLeastRecently(self) -> None:
        table = self.filled(Policy.LEAST_RECENT)
        self.assertEqual((table.use(0), table.use(9)), ("0", None))
        table.put(1, "again")
        table.get(2)
        table.put(3, "3")
        table.put(4, "4")
        self.assertEqual((list(table), self.gone), ([1, 3, 4], [(2, "2"), (0, "0")]))

    def test_entriesAreEvictedWithoutACallback(self) -> None:
        for policy in Policy.OLDEST, Policy.LEAST_RECENT:
            table: Table[int, None] = Table("numbers", 3, policy)
            for number in range(10):
                table.put(number, None)
            self.assertEqual(list(table), [7, 8, 9])

    def test_refuseKeepsTheEntriesOfAFullTable(self) -> None:
        table = self.filled(Policy.REFUSE, 2)
        self.assertFalse(table.isFull)
        self.assertEqual([table.put(number, "new") for number in (2, 3, 1)], [True, False, True])
        self.assertTrue(table.isFull)
        self.assertEqual((table, self.gone), ({0: "0", 1: "new", 2: "new"}, []))

    def test_forgetAllClearsAFullTable(self) -> None:
        table = self.filled(Policy.FORGET_ALL)
        table.put(2, "again")
        self.assertEqual(len(table), 3)
        self.assertTrue(table.put(3, "3"))
        self.assertEqual(table, {3: "3"})

    def test_crowdedEvictsTheChosenEntry(self) -> None:
        choices: list[int | None] = [1, 4, None]
        table: Table[int, str] = Table(
            "numbers",
            3,
            Policy.CROWDED,
            lambda *entry: self.gone.append(entry),
            lambda new: choices.pop(0),
        )
        self.assertEqual([table.put(number, str(number)) for number in range(6)], [True] * 4 + [False, True])
        self.assertEqual((list(table), self.gone), ([0, 2, 3, 5], [(1, "1"), (4, "4")]))

    def test_loweringTheBoundEvictsAtTheNextEntry(self) -> None:
        table = self.filled(Policy.OLDEST)
        table.bound = 2
        table.put(3, "3")
        self.assertEqual((list(table), len(self.gone)), ([2, 3], 2))

    def test_loweringTheBoundEvictsWithoutACallback(self) -> None:
        table: Table[int, None] = Table("numbers", 3, Policy.OLDEST)
        for number in range(4):
            table.put(number, None)
        table.bound = 2
        table.put(4, None)
        self.assertEqual(list(table), [3, 4])

    def test_stateHasSizeBoundAndPolicy(self) -> None:
        table = self.filled(Policy.REFUSE, 2)
        self.assertEqual(table.state, TableState("numbers", 2, 3, "the new one is refused", "entries"))
