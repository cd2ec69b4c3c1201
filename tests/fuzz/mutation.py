"""
Mutations of inputs, record by record. A mutation of single octets would mostly damage the lengths between packets, so
that all later packets are lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from tests.fuzz.ingress import join, split

#: The number of variants of a packet that are added to an input at once. Many are efficient, because making a host
#: takes as long as receiving a hundred packets.
_VARIANTS = 24

_ODD = (0, 1, 2, 3, 4, 8, 0x0F, 0x10, 0x3A, 0x40, 0x4F, 0x7F, 0x80, 0xC0, 0xF0, 0xFE, 0xFF)


def mutate(data: bytes, longest: int, random: Random, octets: Callable[[bytes, int], bytes]) -> bytes:
    """
    Mutate an input: repeat, add, remove, move or vary a record. In one of eight cases, mutate its octets.

    @param longest: the most octets of the result.
    @param octets: mutates a packet, given the most octets of the result.
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
        room = longest - len(data)
        records[at + 1 : at + 1] = _variants(record, room, random, octets)
    else:
        records[at] = random.randrange(0x8000) / 100
    return (data[:1] + join(False, records)[1:])[:longest]


def _variants(packet: bytes, room: int, random: Random, octets: Callable[[bytes, int], bytes]) -> Iterator[bytes]:
    for number in range(_VARIANTS):
        most = min(0x7FFF, room - 2)
        if most < len(packet):
            return
        variant = change(packet, random) if number % 3 else octets(packet, most)
        room -= 2 + len(variant)
        yield variant


def change(packet: bytes, random: Random) -> bytes:
    """
    Change some octets of a packet. Its length stays the same.
    """
    changed = bytearray(packet)
    for _ in range(random.choice((1, 1, 2, 4)) if changed else 0):
        value = random.choice((random.choice(_ODD), 1 << random.randrange(8), random.randrange(256)))
        at = random.randrange(len(changed))
        changed[at] = value ^ (changed[at] if random.randrange(2) else 0)
    return bytes(changed)


def cross(data: bytes, other: bytes, longest: int, random: Random) -> bytes:
    """
    Insert some records of another input into an input.
    """
    records, others = list(split(data)), list(split(other))
    for record in others:
        if random.randrange(2):
            records.insert(random.randrange(len(records) + 1), record)
    return ((data[:1] or b"\0") + join(False, records)[1:])[:longest]
