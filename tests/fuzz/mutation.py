"""
Inputs made out of others, record by record: a mutation of octets alone hardly ever leaves the lengths between packets
right, so that all that comes after it is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.fuzz.ingress import join, split


def mutate(data: bytes, longest: int, random: Random, octets: Callable[[bytes, int], bytes]) -> bytes:
    """
    An input that differs from C{data} in one record; now and then in its octets.

    @param longest: octets that it may have.
    @param octets: mutates a packet, given the octets that it may have.
    """
    records = list(split(data))
    if not records or not random.randrange(8):
        return octets(data, longest)
    at = random.randrange(len(records))
    record = records[at]
    kind = random.randrange(6)
    if kind == 0:
        records.insert(random.randrange(len(records) + 1), record)
    elif kind == 1:
        records.insert(random.randrange(len(records) + 1), random.choice((0.01, 0.5, 1.0, 5.0, 31.0, 61.0, 300.0)))
    elif kind == 2:
        del records[at]
    elif kind == 3:
        random.shuffle(records)
    elif isinstance(record, bytes):
        records[at] = octets(record, max(1, min(0x7FFF, longest - len(data) + len(record))))
    else:
        records[at] = random.randrange(0x8000) / 100
    return (data[:1] + join(False, records)[1:])[:longest]


def cross(data: bytes, other: bytes, longest: int, random: Random) -> bytes:
    """
    The records of an input, and some of another among them.
    """
    records, others = list(split(data)), list(split(other))
    for record in others:
        if random.randrange(2):
            records.insert(random.randrange(len(records) + 1), record)
    return ((data[:1] or b"\0") + join(False, records)[1:])[:longest]
