"""
Tests for L{txtuntap.middleware.netem}: the faults of a link, as fields and as the options of C{tc}.
"""

from __future__ import annotations

import contextlib
from math import inf, nan
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.middleware import GEModel, Netem

#: Options of C{tc}, and the settings that they mean.
TEXTS = {
    "": Netem(),
    "delay 100ms": Netem(delay=0.1),
    "latency 2s": Netem(delay=2),
    "delay 1.5sec 20msecs": Netem(delay=1.5, jitter=0.02),
    "delay 250us 1usec": Netem(delay=250e-6, jitter=1e-6),
    "delay 0 5ms": Netem(jitter=0.005),
    "delay 100ms 10ms distribution normal loss 10% rate 1mbit": Netem(
        delay=0.1, jitter=0.01, distribution="normal", loss=0.1, rate=1e6
    ),
    "loss random 0.5%": Netem(loss=0.005),
    "loss 100": Netem(loss=1),
    "drop 10%": Netem(loss=0.1),
    "loss gemodel 1%": Netem(gemodel=GEModel(0.01)),
    "loss gemodel 1% 25%": Netem(gemodel=GEModel(0.01, 0.25)),
    "loss gemodel 1% 25% 75%": Netem(gemodel=GEModel(0.01, 0.25, h=0.25)),
    "loss gemodel 1% 25% 75% 50%": Netem(gemodel=GEModel(0.01, 0.25, h=0.25, k=0.5)),
    "corrupt 1% duplicate 2%": Netem(corrupt=0.01, duplicate=0.02),
    "delay 10ms reorder 25%": Netem(delay=0.01, reorder=0.25),
    "delay 10ms reorder 25% gap 5": Netem(delay=0.01, reorder=0.25, gap=5),
    # A gap without reorder reorders every packet after the gap.
    "gap 5 delay 10ms": Netem(delay=0.01, reorder=1, gap=5),
    "rate 500": Netem(rate=500),
    "rate 1.5Mbit limit 20": Netem(rate=1.5e6, limit=20),
    "rate 1mbps": Netem(rate=8e6),
    "rate 1kibit": Netem(rate=1024),
    "rate 2GiBps": Netem(rate=2 * 2**30 * 8),
    "delay 5ms 5ms ordered mtu 1400": Netem(delay=0.005, jitter=0.005, ordered=True, mtu=1400),
}

#: Options that are refused, and words of the error text.
WRONG_TEXTS = {
    "delay": "takes a number, such as 'delay 100ms', not 'nothing'",
    "delay fast": "not 'fast'",
    "delay 100": "a time with its unit",
    "delay 100m": "a time with its unit",
    "delay -5ms": "not '-5ms'",
    "delay 5ms 5ms 25%": "one value too many, '25%'",
    "delay 5ms distribution normal": "give one, such as 'delay 100ms 10ms'",
    "delay 5ms 5ms distribution pareto": "'uniform' or 'normal', not 'pareto'",
    "delay 5ms 5ms distribution": "uniform or normal",
    "loss": "takes a number",
    "loss 101%": "up to 100%",
    "loss 10ms": "up to 100%",
    "loss 10% 25%": "no correlation",
    "loss 10% ecn": "'ecn' is none of the options",
    "loss state 1%": "give 'loss gemodel'",
    "loss gemodel": "gemodel takes a number",
    "loss gemodel 1% 2% 3% 4% 5%": "one value too many",
    "loss 1% drop 1%": "given twice",
    "loss 1% loss gemodel 1%": "not both",
    "reorder 25%": "give a delay",
    "delay 5ms reorder 5% ordered": "contradict each other",
    "delay 5ms gap 0": "1 or more, not 0",
    "delay 5ms gap 1.5": "whole number",
    "rate 1mbit 20": "one value too many, '20'",
    "rate fast": "rate takes a number",
    "rate 5parsec": "not 'parsec'",
    "rate 0": "1 or more",
    "limit 0": "1 or more",
    "limit 5k": "whole number",
    "slot 800us": "'slot' is none of the options",
    "delay 1e5ms": "not '1e5ms'",
    "delay " + "9" * 400 + "s": "takes a number",
}

#: Fields that are refused, and words of the error text.
WRONG_FIELDS: list[tuple[dict[str, Any], str]] = [
    *(
        ({name: value}, name)
        for name in ("loss", "duplicate", "corrupt", "reorder")
        for value in (-0.1, 1.1, nan, "5%")
    ),
    *(
        ({name: value}, name)
        for name in ("delay", "jitter")
        for value in (-1, 2e9, 10**400, inf, nan, None, True, "1s")
    ),
    *(({"rate": value}, "rate") for value in (0, -1, inf, nan, "1mbit", True)),
    *(({name: value}, name) for name in ("limit", "mtu", "gap") for value in (0, -1, 1.5, "9", True, inf)),
    ({"distribution": "pareto"}, "distribution"),
    ({"ordered": 1}, "ordered"),
    ({"gemodel": GEModel(0.1), "loss": 0.1}, "not both"),
    ({"reorder": 0.1}, "give a delay"),
]

PROBABILITY = st.floats(0, 1)


def rounded(value: Any) -> Any:
    """
    Round every number in a value, because decimal numbers of an option have no exact binary form.
    """
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    return round(value, 12) if isinstance(value, float) else value


class NetemTests(SynchronousTestCase):
    def test_optionsMeanTheSameAsInTc(self) -> None:
        for text, meant in TEXTS.items():
            self.assertEqual(rounded(attrs.asdict(Netem.of(text))), rounded(attrs.asdict(meant)), text)

    def test_aWrongTextIsRefusedWithAReason(self) -> None:
        for text, words in WRONG_TEXTS.items():
            error = self.assertRaises(ValueError, Netem.of, text)
            self.assertIn(words, str(error), text)

    def test_aWrongFieldIsNamedInTheError(self) -> None:
        for fields, words in WRONG_FIELDS:
            error = self.assertRaises((ValueError, TypeError), Netem, **fields)
            self.assertIn(words, str(error), fields)
        for field in "p", "r", "h", "k":
            error = self.assertRaises(ValueError, GEModel, **{"p": 0.5, field: 1.5})
            self.assertIn(f"{field} is a probability (0.1 is 10 %), from 0 to 1, not 1.5", str(error))
        self.assertRaises(ValueError, GEModel, "1%")

    def test_veryGreatNumbersAreAccepted(self) -> None:
        netem = Netem(delay=10**9, jitter=10**9, rate=10**400, limit=10**400, mtu=10**400, gap=10**400)
        self.assertEqual(netem.limit, 10**400)

    def test_evolveChangesOneField(self) -> None:
        self.assertEqual(attrs.evolve(Netem.of("delay 1s loss 5%"), loss=0), Netem(delay=1))

    @given(PROBABILITY, PROBABILITY, PROBABILITY, PROBABILITY, st.integers(0, 10**6), st.integers(1, 10**12))
    def test_numbersAreParsedExactly(
        self, loss: float, corrupt: float, p: float, r: float, delay: int, rate: int
    ) -> None:
        found = Netem.of(f"loss {loss * 100:.9f}% corrupt {corrupt * 100:.9f} delay {delay}us rate {rate}bit")
        for value, meant in (found.loss, loss), (found.corrupt, corrupt), (found.delay, delay / 10**6):
            self.assertAlmostEqual(value, meant, 9)
        self.assertEqual(found.rate, rate)
        model = Netem.of(f"loss gemodel {p * 100:.9f}% {r * 100:.9f}%").gemodel
        assert model is not None
        self.assertAlmostEqual(model.p, p, 9)
        self.assertAlmostEqual(model.r, r, 9)

    @given(st.text(alphabet="delayosrt 0123456789.%ms+-", max_size=40))
    def test_anyTextIsParsedOrRaisesValueError(self, text: str) -> None:
        with contextlib.suppress(ValueError):
            self.assertIsInstance(Netem.of(text), Netem)


_probabilities = st.integers(0, 1000).map(lambda n: n / 1000)


@given(
    delay=st.integers(0, 10**7).map(lambda n: n / 10**6),
    jitter=st.integers(0, 10**7).map(lambda n: n / 10**6),
    distribution=st.sampled_from(["uniform", "normal"]),
    loss=_probabilities,
    duplicate=_probabilities,
    corrupt=_probabilities,
    rate=st.none() | st.integers(1, 10**10).map(float),
    limit=st.integers(1, 10**6),
    ordered=st.booleans(),
    mtu=st.none() | st.integers(1, 65535),
)
def test_theTextOfFaultsMakesThemAgain(**fields: Any) -> None:
    if not fields["jitter"]:
        fields["distribution"] = "uniform"
    faults = Netem(**fields)
    again = Netem.of(str(faults))
    for name, value in fields.items():
        assert getattr(again, name) == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "delay 100ms 10ms",
        "loss gemodel 1% 30% 0% 0.5%",
        "delay 5us reorder 25% gap 5",
        "rate 1000000bit",
        "mtu 1400",
    ],
)
def test_theTextOfFaultsIsShort(text: str) -> None:
    assert str(Netem.of(text)) == text
