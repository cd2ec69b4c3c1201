"""
Protocols by number, and how packets reach each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from txtuntap.packet import Packet

Receiver = Callable[[Packet], None]


class _Each:
    """
    The way to several protocols under one number: each gets the packet as it was.
    """

    def __init__(self, ways: dict[int, list[Receiver]], num: int) -> None:
        self._ways = ways
        self._num = num

    def __call__(self, packet: Packet) -> None:
        for receive in tuple(self._ways[self._num]):
            # One of them may remove another.
            if receive in self._ways.get(self._num, ()):
                receive(packet.copy())


class ProtocolTable:
    """
    Protocols by number, and the way to each.

    @ivar protocols: the protocols, in lists, by number.
    @ivar ways: what leads to each of them, in lists alike.
    """

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self.protocols: dict[int, list[Any]] = {}
        self.ways: dict[int, list[Any]] = {}

    def check(self, num: int) -> None:
        """
        @raise TypeError: C{num} does not fit the field. (C{twisted.pair} raises the same.)
        """
        if not isinstance(num, int):
            raise TypeError(f"a protocol is added under a number, not under {num!r}")
        if num < 0:
            raise TypeError("Added protocol must be positive or zero")
        if num >= 1 << self._bits:
            raise TypeError(f"Added protocol must fit in {self._bits} bits")

    def add(self, num: int, proto: Any, way: Any) -> None:
        self.protocols.setdefault(num, []).append(proto)
        self.ways.setdefault(num, []).append(way)

    def remove(self, num: int, proto: Any) -> Any:
        """
        @return: the way that led to C{proto}.

        @raise ValueError: C{proto} was not added under C{num}.
        """
        protocols = self.protocols.get(num, [])
        index = next((i for i, other in enumerate(protocols) if other is proto), None)
        if index is None:
            raise ValueError(f"{proto!r} was not added under {num}")
        del protocols[index]
        way = self.ways[num].pop(index)
        if not protocols:
            del self.protocols[num], self.ways[num]
        return way


class ReceiverTable(ProtocolTable):
    """
    A table whose ways are receivers.

    @ivar receivers: what to call with a packet for a number: all that the hot path looks at.
    """

    def __init__(self, bits: int, first: int = 0) -> None:
        """
        @param first: the least number that packets come under.
        """
        super().__init__(bits)
        self._first = first
        self.receivers: dict[int, Receiver] = {}

    def add(self, num: int, proto: Any, way: Receiver) -> None:
        super().add(num, proto, way)
        self._choose(num)

    def remove(self, num: int, proto: Any) -> Any:
        way = super().remove(num, proto)
        self._choose(num)
        return way

    def _choose(self, num: int) -> None:
        ways = self.ways.get(num)
        if ways is None:
            self.receivers.pop(num, None)
        elif num >= self._first:
            self.receivers[num] = ways[0] if len(ways) == 1 else _Each(self.ways, num)
