"""
C{python -m tests.fuzz [SECONDS] [LIBFUZZER OPTIONS]}: fuzz with atheris for that long, ten minutes by default.

What breaks something is left as C{crash-...} in the working directory: put it into C{tests/fuzz/seeds}, with a name
that says what it is about, and mend what it broke.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["txtuntap"]):
    from tests.fuzz.ingress import feed

from tests.fuzz.corpus import seeds
from tests.fuzz.test_ingress import SEEDS


def main(arguments: list[str]) -> None:
    """
    Fuzz.
    """
    seconds = arguments.pop(0) if arguments and arguments[0].isdigit() else "600"
    with tempfile.TemporaryDirectory() as corpus:
        kept = [path.read_bytes() for path in sorted(SEEDS.glob("*"))]
        for number, data in enumerate([*seeds(), *kept]):
            (Path(corpus) / f"{number}").write_bytes(data)
        options = ["-max_len=16384", "-timeout=60", f"-max_total_time={seconds}", *arguments]
        atheris.Setup([sys.argv[0], corpus, *options], feed)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
