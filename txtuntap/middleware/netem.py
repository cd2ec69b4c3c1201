"""
Settings of the faults of a bad link, with the names of Linux' network emulator. Read C{tc-netem(8)} first::

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

#: The default of C{limit}, in packets, as in netem.
LIMIT = 1000

#: The units of C{tc(8)}, for times in seconds and for rates in bits per second. There, "bps" is octets per second.
_TIMES = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_RATES = {
    prefix + unit: size * bits
    for unit, bits in (("bit", 1), ("bps", 8))
    for prefix, size in (
        *(("", 1), ("k", 10**3), ("m", 10**6), ("g", 10**9), ("t", 10**12)),
        *(("ki", 2**10), ("mi", 2**20), ("gi", 2**30), ("ti", 2**40)),
    )
}

#: A number, and its unit if it has one.
_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([a-z%]*)", re.ASCII | re.IGNORECASE)


def _within(least: float, most: float, what: str, kinds: tuple[type, ...] = (int, float)) -> Callable[..., None]:
    """
    Return an attrs validator that accepts numbers from C{least} to C{most}.

    @param what: the description of the value for the error message, such as C{"a number of seconds"}.
    @param kinds: the accepted types.
    """

    def check(_: object, field: Any, value: Any) -> None:
        isNumber = isinstance(value, kinds) and not isinstance(value, bool)
        # NaN fails the comparison, because each comparison with NaN is false.
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
    The Gilbert-Elliott model of losses in bursts. The link is in one of two states, good or bad, and begins good. Each
    packet is lost with the probability of the current state, and then the link may change its state.

    In the long run a share of C{p / (p + r)} of the packets finds the link bad. The bad state lasts for C{1 / r}
    packets on average.

    @ivar p: the probability that a good link turns bad, after each packet.
    @ivar r: the probability that a bad link turns good again, after each packet. The default, C{1 - p}, makes losses
        independent of one another.
    @ivar h: the probability that a packet passes a bad link. The argument of C{tc} is C{1-h}.
    @ivar k: the probability that a packet passes a good link. The argument of C{tc} is C{1-k}.
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
    The faults of packets in one direction; by default, none. Names and meanings are netem's, but C{ordered} and C{mtu}
    do not exist there. There are small differences from netem. A duplicate is lost independently of its original. Any
    bit of a packet can be the corrupted one. When another record is assigned to an impairment, packets in transit keep
    their delivery times, and an equal C{gemodel} keeps its state.

    @ivar delay: the delay of each packet, in seconds.
    @ivar jitter: the variation of the delay, in seconds: the greatest deviation if C{distribution} is uniform, the
        standard deviation if it is normal. A delay never becomes negative. A packet with a shorter delay overtakes
        earlier packets, unless C{ordered} or C{rate} is set.
    @ivar distribution: the distribution of the delay, C{"uniform"} or C{"normal"}.
    @ivar loss: the probability that a packet is lost, independently of the others.
    @ivar gemodel: the model of losses in bursts, in place of C{loss}; C{None}: none.
    @ivar duplicate: the probability that a packet is duplicated. The packet and its duplicate are then lost, corrupted
        and delayed independently.
    @ivar corrupt: the probability that one random bit of a packet is inverted.
    @ivar reorder: the probability that a packet is sent without its delay, so that it overtakes others.
    @ivar gap: the least distance from one reordered packet to the next, in packets: with 5, no more than every fifth
        packet is reordered.
    @ivar rate: the bits that are sent per second, link headers included; C{None}: no limit. Packets keep their order,
        except for C{reorder}.
    @ivar limit: the most packets in transit. A further packet is dropped.
    @ivar ordered: whether packets keep their order, so that a packet with a shorter delay waits for earlier packets.
    @ivar mtu: the most octets in an IP packet; a longer packet is dropped without an ICMP error. C{None}: no limit.
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
            raise ValueError("give loss or gemodel, not both (gemodel's 1-k is the loss between bursts)")
        if self.reorder and not self.delay:
            raise ValueError("reorder sends packets without their delay, and there is no delay: give a delay")
        if self.reorder and self.ordered:
            raise ValueError("reorder and ordered contradict each other: give one of them")

    def __str__(self) -> str:
        """
        Return the text from which L{of} makes this record; empty if there are no faults.
        """
        words: list[str] = []
        if self.delay or self.jitter:
            jitter = f" {_secondsText(self.jitter)}" if self.jitter else ""
            words.append(f"delay {_secondsText(self.delay)}{jitter}")
        if self.distribution != UNIFORM:
            words.append(f"distribution {self.distribution}")
        if self.gemodel is not None:
            model = self.gemodel
            words.append(" ".join(["loss gemodel", *map(_percentText, (model.p, model.r, 1 - model.h, 1 - model.k))]))
        for name in "loss", "duplicate", "corrupt", "reorder":
            if getattr(self, name):
                words.append(f"{name} {_percentText(getattr(self, name))}")
        if self.gap != 1:
            words.append(f"gap {self.gap}")
        if self.rate is not None:
            words.append(f"rate {self.rate:.17g}bit")
        if self.limit != LIMIT:
            words.append(f"limit {self.limit}")
        if self.ordered:
            words.append("ordered")
        if self.mtu is not None:
            words.append(f"mtu {self.mtu}")
        return " ".join(words)

    @classmethod
    def of(cls, text: str) -> Netem:
        """
        Parse the options that follow C{tc qdisc add dev DEVICE root netem} on a command line, such as
        C{"delay 100ms 10ms loss 10%"}. The options C{"ordered"} and C{"mtu OCTETS"} are added to those of C{tc}. Each
        time needs a unit, because releases of C{tc} differ in their default unit. C{gap} without C{reorder} implies
        C{"reorder 100%"}.

        @raise ValueError: the text cannot be parsed, or has an option that is not emulated here: correlations, the
            C{state} model, C{ecn}, C{slot}, the overhead and cells of a rate, other distributions.
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
            raise ValueError("distribution needs a jitter: give one, such as 'delay 100ms 10ms'")
        if "gap" in fields:
            fields.setdefault("reorder", 1.0)
        return cls(**fields)


def _secondsText(seconds: float) -> str:
    """
    Write a time in the unit in which it is shortest.
    """
    unit, size = next((each for each in (("s", 1), ("ms", 1e-3), ("us", 1e-6)) if seconds >= each[1]), ("ns", 1e-9))
    return f"{seconds / size:.12g}{unit}"


def _percentText(probability: float) -> str:
    return f"{probability * 100:.12g}%"


# Parsers of the options of C{tc}. Each one takes the words of its option and returns fields of L{Netem}.


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
        raise ValueError("loss state is not emulated: give 'loss gemodel' in its place")
    if model == "random":
        return {"loss": _fraction(name, words)}
    values = [_fraction(model, words)]
    while _isNumber(words) and len(values) < 4:
        values.append(_fraction(model, words))
    # The third and fourth arguments of tc are the loss probabilities 1-h and 1-k.
    return {"gemodel": GEModel(*values[:2], **{key: 1 - each for key, each in zip("hk", values[2:], strict=False)})}


def _rate(name: str, words: deque[str]) -> dict[str, Any]:
    number, unit = _number(name, words, "1mbit")
    if unit not in _RATES and unit:
        text = f"{name} is in bits per second, such as 1mbit, or octets per second, such as 1mbps, not {unit!r}"
        raise ValueError(text)
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
