"""
Counters: how often each thing happened, by name.

Adding to a name takes less than half of the time that it takes in a C{collections.Counter}. Adding to one that is an
attribute, as those are that count each packet, takes a sixth.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from typing import Any, ClassVar


class Counters(dict[str, int]):
    """
    Counters by name. A name that was never counted reads as 0, and is not listed.
    """

    __slots__ = ()

    def __missing__(self, name: str) -> int:
        return 0


class _AttributeCounters(Counters):
    """
    Counters of which some, the subclass's C{__slots__}, are attributes.

    Those are added to as attributes only: C{counters.inPackets += 1}. They are read by name like all others. Make a
    C{dict} of them for C{json}, whose encoder looks past the methods of a subclass.
    """

    __slots__ = ()

    _attributes: ClassVar[tuple[str, ...]] = ()

    # An attribute is no item of the dict, so what lists the items looks at both. Items are read and set as in any dict,
    # because a method for that would double the time that adding to one takes.

    def __init_subclass__(cls) -> None:
        cls._attributes = tuple(cls.__slots__)

    def __init__(self) -> None:
        super().__init__()
        self.clear()

    def __missing__(self, name: str) -> int:
        return int(getattr(self, name)) if name in self._attributes else 0

    def __iter__(self) -> Iterator[str]:
        # The items' names at once: another thread may be reading them.
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
        List the names that were counted.
        """
        return KeysView(self)

    def items(self) -> ItemsView[str, int]:  # type: ignore[override]
        """
        List the names that were counted, each with its number.
        """
        return ItemsView(self)

    def values(self) -> ValuesView[int]:  # type: ignore[override]
        """
        List the numbers of the names that were counted.
        """
        return ValuesView(self)

    def __or__(self, other: Any) -> Any:
        return dict(self) | other

    def __ror__(self, other: Any) -> Any:
        return other | dict(self)

    def get(self, name: str, default: Any = None) -> Any:
        """
        Read the number of a name.

        @return: C{default} if the name was not counted.
        """
        return dict(self).get(name, default)

    def copy(self) -> dict[str, int]:
        """
        Copy all numbers into a plain C{dict}.
        """
        return dict(self)

    def clear(self) -> None:
        """
        Begin at 0 again.
        """
        super().clear()
        for name in self._attributes:
            setattr(self, name, 0)


class PacketCounters(_AttributeCounters):
    """
    The counters of something that packets go through: a port, a tunnel.
    """

    __slots__ = ("inOctets", "inPackets", "outOctets", "outPackets")

    inPackets: int
    inOctets: int
    outPackets: int
    outOctets: int


class SegmentCounters(_AttributeCounters):
    """
    The counters of a TCP layer, by the names of RFC 4022. Segments of a superpacket that leaves count one by one.

    @ivar currEstab: the connections now that are in ESTABLISHED or CLOSE-WAIT.
    """

    __slots__ = ("currEstab", "inSegs", "outSegs", "retransSegs")

    currEstab: int
    inSegs: int
    outSegs: int
    retransSegs: int


class FrameCounters(_AttributeCounters):
    """
    The counters of a port of a switch, which count a superpacket as one frame.
    """

    __slots__ = ("inFrames", "outFrames")

    inFrames: int
    outFrames: int
