"""
Compare the benchmarks of this tree with those of another commit, in turns.

    python -m benchmarks.compare COMMIT [BENCHMARK ...] [--rounds 15]

In each round, every benchmark runs three times: in the tree of C{COMMIT}, in this tree, and in the tree of C{COMMIT}
again. The difference between the two runs of C{COMMIT} is the noise of this machine. Each row of a benchmark has a cost
and a ratio. The cost is the time or the memory that txtuntap takes. The ratio is this cost divided by that of the peer
in the same run. The printed table has the factors by which cost and ratio have changed, and the noise of both. Other
load on the machine changes the ratio less than the cost. If the peer is also code of txtuntap, the ratio hides a change
of both, so read the cost.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

from benchmarks.__main__ import BENCHMARKS, SHORT

ROOT = Path(__file__).parents[1]

#: The cost of txtuntap in seconds or octets, and its ratio to the cost of the peer. The key is the table's heading and
#: the case.
Figures = dict[tuple[str, str], tuple[float, float]]

#: The factors by which cost and ratio have changed in each round. The key is the table's heading and the case.
Changes = dict[tuple[str, str], list[tuple[float, float]]]

_UNITS = {"µs": 1e-6, "ms": 1e-3, "octets": 1}
#: A row of a table: the case, the figure and unit of txtuntap, the figure and unit of the peer.
_ROW = re.compile(r"^\| (.+?) +\| ([\d.,]+)(/s| µs| ms| octets) *\| ([\d.,]+)(/s| µs| ms| octets) *\|")


def main() -> None:
    """
    Run the benchmarks, and print a table with the change and the noise of each row's cost and ratio.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__.split("\n\n")[0].strip())
    parser.add_argument("commit", help="the commit to compare this tree with")
    parser.add_argument(
        "name",
        nargs="*",
        help=f"the benchmarks to compare, of: {', '.join(BENCHMARKS)} (default: all that take minutes)",
    )
    parser.add_argument("--rounds", type=int, default=15, help="the number of rounds; the table has their median (15)")
    options = parser.parse_args()
    names = options.name or SHORT
    changes: Changes = defaultdict(list)
    noises: Changes = defaultdict(list)
    with TemporaryDirectory() as directory:
        other = Path(directory, "other")
        subprocess.run(["git", "worktree", "add", "-q", "--detach", other, options.commit], cwd=ROOT, check=True)
        try:
            for number in range(options.rounds):
                for name in names:
                    before, now, again = (measured(tree, name) for tree in (other, ROOT, other))
                    for row, (cost, ratio) in before.items():
                        if row in now and row in again:
                            changes[row].append((now[row][0] / cost, now[row][1] / ratio))
                            noises[row].append((again[row][0] / cost, again[row][1] / ratio))
                print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
        except BaseException:
            # Show the finished rounds even after an interrupt, because they took a long time.
            show(changes, noises)
            raise
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", other], cwd=ROOT, check=True)
    show(changes, noises)


def show(changes: Changes, noises: Changes) -> None:
    """
    Print the table of all rows.

    @param changes: the changes from C{COMMIT} to this tree.
    @param noises: the changes between the two runs of C{COMMIT}.
    """
    print(f"| {'':70} | cost  | of the same commit  | ratio | of the same commit  |")
    print(f"|{'-' * 72}|-------|---------------------|-------|---------------------|")
    for row, found in changes.items():
        costs, ratios = zip(*found, strict=True)
        sameCosts, sameRatios = zip(*noises[row], strict=True)
        cells = [f"{median(costs):.3f}", _spread(sameCosts), f"{median(ratios):.3f}", _spread(sameRatios)]
        print(f"| {': '.join(row):70} | {' | '.join(cells)} |")


def _spread(noise: Sequence[float]) -> str:
    """
    Format the median and the interquartile range of the changes between two runs of the same commit.
    """
    low, _, high = quantiles(noise, n=4) if len(noise) > 1 else (noise[0],) * 3
    return f"{median(noise):.3f} ({low:.3f}-{high:.3f})"


def measured(tree: Path, name: str) -> Figures:
    """
    Run one benchmark of a tree once.

    @return: the cost and the ratio of each row. Less is better in both, even if the row is a rate.
    """
    command = [sys.executable, "-m", "benchmarks", name, "--rounds", "1"]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    finished = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=True)
    found: Figures = {}
    heading = name
    for line in finished.stdout.splitlines():
        if line.startswith("## "):
            heading = line[3:]
        match = _ROW.match(line)
        if match is not None:
            case, ours, unit, theirs, theirUnit = match.groups()
            cost, theirCost = _cost(ours, unit), _cost(theirs, theirUnit)
            # A rate that is rounded to 0 has no cost, so the row has one round less.
            if cost is not None and theirCost:
                found[heading, case] = cost, cost / theirCost
    return found


def _cost(figure: str, unit: str) -> float | None:
    number = float(figure.replace(",", ""))
    if not number:
        return None
    return 1 / number if unit == "/s" else number * _UNITS[unit.strip()]


if __name__ == "__main__":
    main()
