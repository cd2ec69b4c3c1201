"""
Tables of the protocols on a layer, by number, and of the receivers that deliver packets to them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from txtuntap.packet import Packet

Receiver = Callable[[Packet], None]


class EachReceiver:
    """
    The receiver for several protocols under one number. Each protocol receives a copy of the packet.

    @ivar targets: the receiver of each protocol.
    """

    __slots__ = ("targets",)

    def __init__(self, targets: list[Receiver]) -> None:
        self.targets = targets

    def __call__(self, packet: Packet) -> None:
        for receive in tuple(self.targets):
            # A receiver that was called before may have removed this receiver from the table.
            if receive in self.targets:
                receive(packet.copy())


class ProtocolTable:
    """
    A table of protocols by number.

    @ivar protocols: for each number, the list of the protocols. Protocols for the remaining numbers are under C{None}.
    """

    __slots__ = ("_bits", "protocols")

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self.protocols: dict[Any, list[Any]] = {}

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

    def add(self, num: int | None, proto: Any, target: Any) -> None:
        """
        Add a protocol and its target under a number.

        @param target: the receiver or the transport that serves the protocol.
        """
        _append(self.protocols, num, proto)

    def remove(self, num: int | None, proto: Any) -> Any:
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
        if not protocols:
            del self.protocols[num]
        return self._removeTarget(num, index)

    def _removeTarget(self, num: int | None, index: int) -> Any:
        """
        Remove the target at one position under a number, and return it.
        """
        raise NotImplementedError


class TransportTable(ProtocolTable):
    """
    A table whose targets are transports.

    @ivar transports: for each number, the list of the transports, in the order of C{protocols}.
    """

    __slots__ = ("transports",)

    def __init__(self, bits: int) -> None:
        super().__init__(bits)
        self.transports: dict[Any, list[Any]] = {}

    def add(self, num: int | None, proto: Any, target: Any) -> None:
        super().add(num, proto, target)
        _append(self.transports, num, target)

    def _removeTarget(self, num: int | None, index: int) -> Any:
        transports = self.transports[num]
        target = transports.pop(index)
        if not transports:
            del self.transports[num]
        return target


class ReceiverTable(ProtocolTable):
    """
    A table whose targets are receivers.

    @ivar receivers: for each number, the function to call with a packet. The hot path uses only this dictionary.
    """

    __slots__ = ("_first", "receivers")

    def __init__(self, bits: int, first: int = 0) -> None:
        """
        @param first: the least number under which packets are delivered. Lower numbers get no receiver.
        """
        super().__init__(bits)
        self._first = first
        self.receivers: dict[int | None, Receiver] = {}

    def add(self, num: int | None, proto: Any, target: Receiver) -> None:
        super().add(num, proto, target)
        if num is not None and num < self._first:
            return
        present = self.receivers.get(num)
        if present is None:
            self.receivers[num] = target
        elif isinstance(present, EachReceiver):
            present.targets.append(target)
        else:
            self.receivers[num] = EachReceiver([present, target])

    def _removeTarget(self, num: int | None, index: int) -> Any:
        present = self.receivers.get(num)
        if not isinstance(present, EachReceiver):
            return self.receivers.pop(num, None)
        # The last target of several stays in the list, because a delivery that is under way looks there.
        target = present.targets.pop(index)
        if not present.targets:
            del self.receivers[num]
        return target


def _append(lists: dict[int | None, list[Any]], num: int | None, value: Any) -> None:
    present = lists.get(num)
    if present is None:
        # A list that is made with its value takes less memory than one that grows.
        lists[num] = [value]
    else:
        present.append(value)
