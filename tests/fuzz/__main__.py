"""
The fuzzer: C{python -m tests.fuzz [TARGET] [SECONDS] [LIBFUZZER OPTIONS]}. It runs atheris for some seconds, ten
minutes by default. The target is C{ingress}, the default, or C{wireguard}.

The fuzzer writes an input that causes an error to the file C{crash-...} in the working directory. Move the file to
C{tests/fuzz/seeds} (of C{ingress}) or C{tests/fuzz/seeds-wireguard}, give it a name that describes the error, and fix
the error.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from random import Random

try:
    import atheris
except ImportError:
    sys.exit("atheris is missing: 'make fuzz PYTHON=python3.13' in a new clone installs it (for Python 3.11 to 3.13)")

with atheris.instrument_imports(include=["txtuntap"]):
    from tests.fuzz import ingress, wireguard

from tests.fuzz import corpus
from tests.fuzz.mutation import cross, mutate
from tests.fuzz.test_ingress import SEEDS
from tests.fuzz.test_wireguard import SEEDS as WIREGUARD_SEEDS

#: By target: the function that takes an input, the one that makes the first inputs, and the folder of kept ones.
_TARGETS = {
    "ingress": (ingress.feed, corpus.seeds, SEEDS),
    "wireguard": (wireguard.feed, wireguard.seeds, WIREGUARD_SEEDS),
}

#: The most octets of an input.
_LONGEST = 4096


def _mutate(data: bytes, longest: int, seed: int) -> bytes:
    return mutate(data, longest, Random(seed), atheris.Mutate)


def _cross(data: bytes, other: bytes, longest: int, seed: int) -> bytes:
    return cross(data, other, longest, Random(seed))


def main(arguments: list[str]) -> None:
    """
    Run the fuzzer with command-line arguments.
    """
    feed, seeds, folder = _TARGETS[arguments.pop(0) if arguments and arguments[0] in _TARGETS else "ingress"]
    seconds = arguments.pop(0) if arguments and arguments[0].isdigit() else "600"
    with tempfile.TemporaryDirectory() as inputs:
        kept = [path.read_bytes() for path in sorted(folder.glob("*"))]
        for number, data in enumerate([*seeds(), *kept]):
            (Path(inputs) / f"{number}").write_bytes(data)
        options = [f"-max_len={_LONGEST}", "-timeout=60", f"-max_total_time={seconds}", *arguments]
        atheris.Setup([sys.argv[0], inputs, *options], feed, custom_mutator=_mutate, custom_crossover=_cross)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
