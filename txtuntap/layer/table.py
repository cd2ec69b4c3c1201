"""
Tables of the protocols on a layer, by number, and of the receivers that deliver packets to them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from txtuntap.packet import Packet

Receiver = Callable[[Packet], None]


class _EachReceiver:
    """
    The receiver for several protocols under one number. Each protocol receives a copy of the packet.
    """

    def __init__(self, targets: dict[int, list[Receiver]], num: int) -> None:
        self._targets = targets
        self._num = num

    def __call__(self, packet: Packet) -> None:
        for receive in tuple(self._targets[self._num]):
            # A receiver that was called before may have removed this receiver from the table.
            if receive in self._targets.get(self._num, ()):
                receive(packet.copy())


class ProtocolTable:
    """
    A table of protocols by number. Each protocol has a target: the receiver or the transport that serves it.

    @ivar protocols: for each number, the list of the protocols.
    @ivar targets: for each number, the list of their targets, in the same order.
    """

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self.protocols: dict[int, list[Any]] = {}
        self.targets: dict[int, list[Any]] = {}

    def check(self, num: int) -> None:
        """
        Check the number that a protocol is added under.

        @raise TypeError: C{num} does not fit the field. C{twisted.pair} raises the same exception.
        """
        if not isinstance(num, int):
            raise TypeError(f"a protocol is added under a number, not under {num!r}")
        if num < 0:
            raise TypeError("Added protocol must be positive or zero")
        if num >= 1 << self._bits:
            raise TypeError(f"Added protocol must fit in {self._bits} bits")

    def add(self, num: int, proto: Any, target: Any) -> None:
        """
        Add a protocol and its target under a number.
        """
        self.protocols.setdefault(num, []).append(proto)
        self.targets.setdefault(num, []).append(target)

    def remove(self, num: int, proto: Any) -> Any:
        """
        Remove a protocol from a number.

        @return: the target of C{proto}.

        @raise ValueError: C{proto} was not added under C{num}.
        """
        protocols = self.protocols.get(num, [])
        index = next((i for i, other in enumerate(protocols) if other is proto), None)
        if index is None:
            raise ValueError(f"{proto!r} was not added under {num}")
        del protocols[index]
        target = self.targets[num].pop(index)
        if not protocols:
            del self.protocols[num], self.targets[num]
        return target


class ReceiverTable(ProtocolTable):
    """
    A table whose targets are receivers.

    @ivar receivers: for each number, the function to call with a packet. The hot path uses only this dictionary.
    """

    def __init__(self, bits: int, first: int = 0) -> None:
        """
        @param first: the least number under which packets are delivered. Lower numbers get no receiver.
        """
        super().__init__(bits)
        self._first = first
        self.receivers: dict[int, Receiver] = {}

    def add(self, num: int, proto: Any, target: Receiver) -> None:
        super().add(num, proto, target)
        self._choose(num)

    def remove(self, num: int, proto: Any) -> Any:
        target = super().remove(num, proto)
        self._choose(num)
        return target

    def _choose(self, num: int) -> None:
        targets = self.targets.get(num)
        if targets is None:
            self.receivers.pop(num, None)
        elif num >= self._first:
            self.receivers[num] = targets[0] if len(targets) == 1 else _EachReceiver(self.targets, num)
