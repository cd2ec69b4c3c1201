"""
Tests for the figures, tables and picture of the benchmarks.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

import pytest
from twisted.trial.unittest import SynchronousTestCase

from benchmarks import pythons
from benchmarks.measure import Row, Section, Stopwatch, cpuSeconds, elapsedRow, rateRow, timeRow
from benchmarks.plot import comparisons, drawn
from benchmarks.stacks import floorStack, frame
from benchmarks.table import BEGIN, END, markdown, replaceIn

#: Two rounds of three measurements: the units, the CPU seconds and the elapsed seconds.
ROUNDS = [
    {"ours": (100, 1.0, 2.0), "theirs": (100, 2.0, 2.0), "limit": (100, 0.5, 1.0)},
    {"ours": (100, 1.0, 4.0), "theirs": (100, 4.0, 2.0), "limit": (100, 0.5, 1.0)},
]

SECTION = Section(
    "receive",
    "About it.",
    ("ours", "theirs"),
    [
        rateRow("with a limit", ROUNDS, "ours", "theirs", 5, "limit"),
        timeRow("of time", ROUNDS, "ours", "theirs", 0.5),
        Row("no goal", [1.0, 1.0], [2.0, 2.0]),
        Row("of memory", [1500, 1500], [1000, 1000], 1, octets=True),
    ],
)


class FigureTests(SynchronousTestCase):
    """
    Tests for the figures of L{benchmarks.measure}.
    """

    def test_aRateIsThatPerCPUSecondAndElapsedTimeStandsBeside(self) -> None:
        row = rateRow("", ROUNDS, "ours", "theirs", 2, "limit")
        self.assertEqual(row.ratios, [2, 4])
        self.assertEqual(row.elapsed, [1, 0.5])
        self.assertEqual(row.limits, [4, 8])
        self.assertTrue(row.met)

    def test_aTimeIsTheInverseOfARate(self) -> None:
        row = timeRow("", ROUNDS, "ours", "theirs", 0.3)
        self.assertEqual((row.ours, row.theirs), ([0.01, 0.01], [0.02, 0.04]))
        self.assertEqual(row.elapsed, [1, 2])
        self.assertFalse(row.met)

    def test_aPeerWithoutAProcessIsComparedByElapsedTime(self) -> None:
        row = elapsedRow("", ROUNDS, "ours", "theirs")
        self.assertEqual(row.ratios, [1, 0.5])
        self.assertFalse(row.elapsed)

    @pytest.mark.unix("the clock of a process")
    def test_theCPUTimeOfAnotherProcessGrowsWithItsWork(self) -> None:
        program = "import sys\nfor _ in range(10**6): pass\nprint(flush=True)\nsys.stdin.read()"
        with subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            before = cpuSeconds(process.pid)
            assert process.stdout is not None
            process.stdout.readline()
            self.assertGreater(cpuSeconds(process.pid), before)
            process.communicate()

    @pytest.mark.unix("the clock of a process")
    def test_theCPUTimeOfThisProcessIsThatOfItsIdentifier(self) -> None:
        watch = Stopwatch()
        before = cpuSeconds(os.getpid())
        after = cpuSeconds()
        self.assertLessEqual(before, after)
        self.assertLessEqual(after - before, watch.turn(1)[1])

    def test_theFloorDeliversEachDatagramOfBothIPVersions(self) -> None:
        for version in (4, 6):
            stack = floorStack(version=version)
            (application,) = stack.applications
            payloads: list[bytes] = []
            application.datagramReceived = lambda datagram, addr, kept=payloads: kept.append(datagram)  # type: ignore[method-assign, misc]
            stack.deliver([frame(22, version)] * 2)
            self.assertEqual(payloads, [bytes(range(22))] * 2)


class TableTests(SynchronousTestCase):
    """
    Tests for L{benchmarks.table} and L{benchmarks.pythons}.
    """

    def test_aTableHasTheColumnsThatItsRowsNeed(self) -> None:
        text = markdown([("CPython 3.11.7", SECTION)])
        self.assertIn("| min to max   | elapsed | limit | goal        | met |", text)
        self.assertIn("**3.00** | 2.00 to 4.00 | 0.75    | 6.00  | at least 5  | no  |", text)
        self.assertIn("| of memory    | 1,500 octets | 1,000 octets |", text)
        plain = Section("host", "About it.", ("ours", "theirs"), SECTION.rows[2:])
        text = markdown([("CPython 3.11.7", plain)])
        self.assertNotIn("elapsed", text)
        self.assertNotIn("limit", text)

    def test_eachPythonHasATableBelowOneExplanation(self) -> None:
        text = markdown([("CPython 3.11.7", SECTION), ("CPython 3.13.0", SECTION)])
        self.assertEqual(text.count("About it."), 1)
        self.assertEqual(text.count("| with a limit |"), 2)
        self.assertLess(text.index("CPython 3.11.7:"), text.index("CPython 3.13.0:"))

    def test_theResultsOfAnotherProcessAreTheSame(self) -> None:
        label, (section,) = json.loads(pythons.encoded("CPython 3.13.0", [SECTION]))
        self.assertEqual(markdown([(label, pythons.sectionOf(**section))]), markdown([("CPython 3.13.0", SECTION)]))

    def test_aRunOfSomeBenchmarksLeavesTheOtherTables(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        file = Path(directory.name, "tables.md")
        file.write_text(f"before\n{BEGIN}\n\n## host\n\nold\n\n## receive\n\nold\n\n{END}\nafter\n")
        replaceIn(file, markdown([("CPython 3.11.7", SECTION)]), onlySections=True)
        text = file.read_text()
        self.assertIn("## host\n\nold\n", text)
        self.assertEqual(text.count("## receive"), 1)
        self.assertTrue(text.startswith("before") and text.endswith("after\n"))


class PlotTests(SynchronousTestCase):
    """
    Tests for the picture of L{benchmarks.plot}.
    """

    def test_theRowsWithAGoalAreReadFromTheTables(self) -> None:
        text = markdown([("CPython 3.11.7", SECTION), ("CPython 3.13.0", SECTION)])
        found = comparisons(text)
        self.assertEqual([each.case for each in found], ["with a limit", "of time", "of memory"])
        first, second, _ = found
        self.assertEqual(first.ratios, {"CPython 3.11.7": 3, "CPython 3.13.0": 3})
        self.assertEqual((first.heading, first.more, first.goal, first.limit), ("receive", True, 5, 6))
        self.assertEqual((second.more, second.goal, second.limit), (False, 0.5, None))

    def test_thePictureHasAMarkForEachPythonAndALineForTheLimit(self) -> None:
        text = markdown([("CPython 3.11.7", SECTION), ("CPython 3.13.0", SECTION)])
        picture = ElementTree.fromstring(drawn(comparisons(text), "a machine"))
        classes = [each.get("class") for each in picture.iter()]
        # The legend has one more of each.
        self.assertEqual([classes.count(name) for name in ("one", "two", "limit")], [4, 4, 2])
        self.assertIn("a machine", [each.text for each in picture.iter()])

    def test_theTablesOfTheDocumentationCanBeDrawn(self) -> None:
        text = (Path(__file__).parents[1] / "docs" / "benchmarks.md").read_text()
        ElementTree.fromstring(drawn(comparisons(text), ""))
