"""
The examples in docstrings and documentation run, in a network namespace. L{tests.real.test_reactorend} runs the two
examples of README that have no end.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.examples import examples
from tests.paths import CHECKOUT
from tests.real.lab.namespace import PATIENCE, Namespace
from tests.real.lab.warm import Program

_ENDLESS = {"README.md 1", "README.md 2"}


@pytest.mark.parametrize("name", sorted(examples().keys() - _ENDLESS))
def test_anExampleRuns(namespace: Namespace, tmp_path: Path, name: str) -> None:
    (tmp_path / "example.py").write_text(examples()[name])
    with open(tmp_path / "output", "w") as output:
        program = Program(
            "tests.real.lab.documented:main",
            ["documented", name],
            cwd=tmp_path,
            stdout=output,
            environment={"PYTHONPATH": str(CHECKOUT)},
        )
    try:
        status = program.wait(PATIENCE)
    finally:
        program.kill()
    assert status == 0, (tmp_path / "output").read_text()


def test_theExamplesWithoutAnEndAreThere() -> None:
    assert examples().keys() >= _ENDLESS
    assert all("reactor.run()" in examples()[name] for name in _ENDLESS)
