"""
The faults of a bad link, in the words of Linux' network emulator (C{tc-netem(8)}).

    Netem(delay=0.1, jitter=0.01, distribution="normal", loss=0.1, rate=1_000_000)
    Netem.of("delay 100ms 10ms distribution normal loss 10% rate 1mbit")
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from math import inf, isfinite
from typing import Any

import attrs

from txtuntap.mistakes import checkFlag

#: The distributions of C{delay} with C{jitter}.
UNIFORM, NORMAL = "uniform", "normal"

#: How many packets wait at most, as in netem.
LIMIT = 1000

#: In seconds; and in bits per second (C{tc(8)}: "mbps" is octets).
_TIMES = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_RATES = {
    prefix + unit: size * bits
    for unit, bits in (("bit", 1), ("bps", 8))
    for prefix, size in (
        *(("", 1), ("k", 10**3), ("m", 10**6), ("g", 10**9), ("t", 10**12)),
        *(("ki", 2**10), ("mi", 2**20), ("gi", 2**30), ("ti", 2**40)),
    )
}

_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([a-z%]*)", re.ASCII | re.IGNORECASE)


def _within(least: float, most: float, what: str, kinds: tuple[type, ...] = (int, float)) -> Callable[..., None]:
    """
    Checks a number.
    """

    def check(_: object, field: Any, value: Any) -> None:
        isNumber = isinstance(value, kinds) and not isinstance(value, bool)
        # NaN, which is no number, is within no bounds.
        if not isNumber or not least <= value <= most or value == inf:
            span = f"{least} or more" if most == inf else f"from {least} to {most}"
            raise ValueError(f"{field.name} is {what}, {span}, not {value!r}")

    return check


_PROBABILITY = _within(0, 1, "a probability (0.1 is 10 %)")
_SECONDS = _within(0, 10**9, "a number of seconds")
_PACKETS = _within(1, inf, "a whole number of packets", (int,))


def _isFlag(_: object, field: Any, value: object) -> None:
    checkFlag(value, field.name)


@attrs.frozen
class GEModel:
    """
    Losses that come in bursts: the model of Gilbert and Elliott, a link that is good or bad. It begins good. With each
    packet, it may turn to the other; whether the packet is lost goes by what the link was before.

    In the end, C{p / (p + r)} of the packets find it bad, C{1 / r} of them in a row.

    @ivar p: how likely it is to turn bad.
    @ivar r: how likely it is to turn good again; by default C{1 - p}, which makes losses independent.
    @ivar h: how likely a packet is to get through while it is bad. (C{tc} is told C{1-h}.)
    @ivar k: how likely one is while it is good. (C{tc} is told C{1-k}.)
    """

    p: float = attrs.field(validator=_PROBABILITY)
    r: float = attrs.field(
        default=attrs.Factory(lambda self: 1 - self.p if isinstance(self.p, (int, float)) else 1.0, takes_self=True),
        validator=_PROBABILITY,
    )
    h: float = attrs.field(default=0.0, validator=_PROBABILITY)
    k: float = attrs.field(default=1.0, validator=_PROBABILITY)


@attrs.frozen(kw_only=True)
class Netem:
    """
    The faults of packets in one direction; by default, none. Names and meanings are netem's, but for the last two.
    There are small differences: a duplicate is lost or not whatever becomes of the packet; any bit of a packet may be
    the one that is changed; and a new record leaves packets in transit, and the state of C{gemodel}, as they are.

    @ivar delay: seconds that each takes.
    @ivar jitter: by how many seconds that differs: at most (uniform), or the standard deviation (normal). Nothing
        arrives before it left. What is delayed less overtakes what was sent before, but with C{ordered} or C{rate}.
    @ivar distribution: C{"uniform"} or C{"normal"}.
    @ivar loss: how many are lost, of all, each by chance of its own.
    @ivar gemodel: or lost in bursts.
    @ivar duplicate: how many come twice. Each of both may be lost, corrupted and delayed for itself.
    @ivar corrupt: how many have one bit changed, any one.
    @ivar reorder: how many are not delayed, and so overtake the others.
    @ivar gap: that many others, less one, come between them at least.
    @ivar rate: bits per second, with link headers; L{None}: as many as come. Packets keep their order, but for
        C{reorder}.
    @ivar limit: how many packets wait at most, for whatever reason. A new one is lost.
    @ivar ordered: whether what is delayed less waits for what was sent before.
    @ivar mtu: the most octets that IP may put into one packet: a longer one is lost without a word. L{None}: any.
    """

    delay: float = attrs.field(default=0.0, validator=_SECONDS)
    jitter: float = attrs.field(default=0.0, validator=_SECONDS)
    distribution: str = attrs.field(default=UNIFORM)
    loss: float = attrs.field(default=0.0, validator=_PROBABILITY)
    gemodel: GEModel | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.instance_of(GEModel))
    )
    duplicate: float = attrs.field(default=0.0, validator=_PROBABILITY)
    corrupt: float = attrs.field(default=0.0, validator=_PROBABILITY)
    reorder: float = attrs.field(default=0.0, validator=_PROBABILITY)
    gap: int = attrs.field(default=1, validator=_PACKETS)
    rate: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(_within(1, inf, "a number of bits per second"))
    )
    limit: int = attrs.field(default=LIMIT, validator=_PACKETS)
    ordered: bool = attrs.field(default=False, validator=_isFlag)
    mtu: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(_within(1, inf, "a whole number of octets", (int,)))
    )

    def __attrs_post_init__(self) -> None:
        if self.distribution not in (UNIFORM, NORMAL):
            raise ValueError(f"distribution is 'uniform' or 'normal', not {self.distribution!r}")
        if self.gemodel is not None and self.loss:
            raise ValueError("packets are lost by loss or by gemodel, not by both (gemodel's 1-k is loss in between)")
        if self.reorder and not self.delay:
            raise ValueError("reorder lets packets go without their delay: give a delay")
        if self.reorder and self.ordered:
            raise ValueError("reorder and ordered: packets overtake others, or do not")

    @classmethod
    def of(cls, text: str) -> Netem:
        """
        Parse the words that C{tc qdisc add dev DEVICE root netem} would have after it, such as
        C{"delay 100ms 10ms loss 10%"}; and C{"ordered"}, C{"mtu OCTETS"}. A time has its unit, since
        C{tc}'s releases differ on what it is without.

        @raise ValueError: it is none such, or has what is not emulated here: correlations, the C{state} model,
            C{ecn}, C{slot}, overheads and cells of a rate, other distributions.
        """
        if not isinstance(text, str):
            raise ValueError(f"give text such as 'delay 100ms 10ms loss 10%', not {text!r}")
        words = deque(text.split())
        fields: dict[str, Any] = {}
        while words:
            name = words.popleft()
            read = _OPTIONS.get(name)
            if read is None:
                raise ValueError(f"{name!r} is none of the options that are emulated here: {', '.join(_OPTIONS)}")
            for field, value in read(name, words).items():
                if field in fields:
                    raise ValueError(f"{field} is given twice")
                fields[field] = value
            if _isNumber(words):
                raise ValueError(
                    f"{name} is given one value too many, {words[0]!r}: no correlation, overhead or cell is emulated"
                )
        if "distribution" in fields and not fields.get("jitter"):
            raise ValueError("distribution is that of a jitter: give one, such as 'delay 100ms 10ms'")
        if "gap" in fields:
            fields.setdefault("reorder", 1.0)
        return cls(**fields)


# The text


def _isNumber(words: deque[str]) -> bool:
    return bool(words) and words[0][0] in "0123456789.+-"


def _number(name: str, words: deque[str], example: str) -> tuple[float, str]:
    found = _NUMBER.fullmatch(words[0]) if words else None
    if found is None or not isfinite(float(found[1])):
        raise ValueError(f"{name} takes a number, such as '{name} {example}', not {words[0] if words else 'nothing'!r}")
    words.popleft()
    return float(found[1]), found[2].lower()


def _seconds(name: str, words: deque[str]) -> float:
    number, unit = _number(name, words, "100ms")
    base = re.sub(r"(?:ec|ecs)$", "", unit)
    if base in _TIMES:
        return number * _TIMES[base]
    if unit or number:
        raise ValueError(f"{name} is a time with its unit, s, ms, us or ns, not '{number:g}{unit}'")
    return 0.0


def _fraction(name: str, words: deque[str]) -> float:
    number, unit = _number(name, words, "10%")
    if unit not in ("", "%") or number > 100:
        raise ValueError(f"{name} is a percentage up to 100%, not '{number:g}{unit}'")
    return number / 100


def _whole(name: str, words: deque[str]) -> dict[str, Any]:
    number, unit = _number(name, words, "5")
    if unit or number != int(number):
        raise ValueError(f"{name} is a whole number, not '{number:g}{unit}'")
    return {name: int(number)}


def _percentage(name: str, words: deque[str]) -> dict[str, Any]:
    return {name: _fraction(name, words)}


def _delay(name: str, words: deque[str]) -> dict[str, Any]:
    fields = {"delay": _seconds(name, words)}
    if _isNumber(words):
        fields["jitter"] = _seconds(name, words)
    return fields


def _distribution(name: str, words: deque[str]) -> dict[str, Any]:
    if not words:
        raise ValueError("distribution is uniform or normal")
    return {name: words.popleft()}


def _loss(name: str, words: deque[str]) -> dict[str, Any]:
    model = words.popleft() if words and words[0] in ("random", "gemodel", "state") else "random"
    if model == "state":
        raise ValueError("loss state is not emulated: gemodel is")
    if model == "random":
        return {"loss": _fraction(name, words)}
    values = [_fraction(model, words)]
    while _isNumber(words) and len(values) < 4:
        values.append(_fraction(model, words))
    # The third and fourth are 1-h and 1-k.
    return {"gemodel": GEModel(*values[:2], **{key: 1 - each for key, each in zip("hk", values[2:], strict=False)})}


def _rate(name: str, words: deque[str]) -> dict[str, Any]:
    number, unit = _number(name, words, "1mbit")
    if unit not in _RATES and unit:
        raise ValueError(f"{name} is in bits per second, such as 1mbit, or octets, such as 1mbps, not {unit!r}")
    return {name: number * _RATES.get(unit, 1)}


_OPTIONS: dict[str, Callable[[str, deque[str]], dict[str, Any]]] = {
    "limit": _whole,
    "delay": _delay,
    "latency": _delay,
    "distribution": _distribution,
    "loss": _loss,
    "drop": _loss,
    "corrupt": _percentage,
    "duplicate": _percentage,
    "reorder": _percentage,
    "gap": _whole,
    "rate": _rate,
    "ordered": lambda name, words: {name: True},
    "mtu": _whole,
}
