"""
Counters of events, by name.

Incrementing an item of these dictionaries takes less than half as long as incrementing an item of a
C{collections.Counter}. The counters that change with every packet are attributes. Incrementing an attribute takes about
a fifth as long as incrementing an item of a C{collections.Counter}.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from typing import Any, ClassVar


class Counters(dict[str, int]):
    """
    A dictionary of counters by name. A counter that was never incremented reads as 0, and is not listed.
    """

    __slots__ = ()

    def __missing__(self, name: str) -> int:
        return 0


class _AttributeCounters(Counters):
    """
    Counters of which some are attributes: those that the subclass names in its C{__slots__}.

    Code increments these as attributes only: C{counters.inPackets += 1}. It reads them by name like all others. Convert
    the counters with C{dict(counters)} before C{json} encodes them. If only attributes were incremented, its encoder
    takes the counters for an empty C{dict}.
    """

    __slots__ = ()

    _attributes: ClassVar[tuple[str, ...]] = ()

    # The attributes are not items of the dict. The methods below add the attributes. Other methods of dict, such as
    # reversed() and pop(), ignore the attributes. __getitem__ and __setitem__ are not overridden, because that would
    # double the time of an increment.

    def __init_subclass__(cls) -> None:
        cls._attributes = tuple(cls.__slots__)

    def __init__(self) -> None:
        super().__init__()
        self.clear()

    def __missing__(self, name: str) -> int:
        return int(getattr(self, name)) if name in self._attributes else 0

    def __iter__(self) -> Iterator[str]:
        # The names are copied at once, because another thread may increment a counter during the iteration.
        names = list(super().__iter__())
        return iter([name for name in self._attributes if getattr(self, name)] + names)

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in list(iter(self))

    def __eq__(self, other: object) -> bool:
        return dict(self) == other

    def __ne__(self, other: object) -> bool:
        return dict(self) != other

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        """
        List the names of the counters that were incremented.
        """
        return KeysView(self)

    def items(self) -> ItemsView[str, int]:  # type: ignore[override]
        """
        List the name and the value of each counter that was incremented.
        """
        return ItemsView(self)

    def values(self) -> ValuesView[int]:  # type: ignore[override]
        """
        List the values of the counters that were incremented.
        """
        return ValuesView(self)

    def __or__(self, other: Any) -> Any:
        return dict(self) | other

    def __ror__(self, other: Any) -> Any:
        return other | dict(self)

    def get(self, name: str, default: Any = None) -> Any:
        """
        Return the value of a counter.

        @param default: returned if the counter was never incremented.
        """
        return dict(self).get(name, default)

    def copy(self) -> dict[str, int]:
        """
        Copy all counters into a plain C{dict}.
        """
        return dict(self)

    def clear(self) -> None:
        """
        Set all counters to 0.
        """
        super().clear()
        for name in self._attributes:
            setattr(self, name, 0)


class PacketCounters(_AttributeCounters):
    """
    The counters of an object that sends and receives packets, such as a port or a tunnel.
    """

    __slots__ = ("inOctets", "inPackets", "outOctets", "outPackets")

    inPackets: int
    inOctets: int
    outPackets: int
    outOctets: int


class SegmentCounters(_AttributeCounters):
    """
    The counters of a TCP layer, with the names of RFC 4022. C{outSegs} and
    C{retransSegs} count each segment of a superpacket. C{inSegs} counts a received superpacket as one.

    @ivar currEstab: the number of connections that are now in the state ESTABLISHED or CLOSE-WAIT.
    """

    __slots__ = ("currEstab", "inSegs", "outSegs", "retransSegs")

    currEstab: int
    inSegs: int
    outSegs: int
    retransSegs: int


class FrameCounters(_AttributeCounters):
    """
    The counters of a switch port. A superpacket counts as one frame.
    """

    __slots__ = ("inFrames", "outFrames")

    inFrames: int
    outFrames: int
