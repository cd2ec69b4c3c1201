"""
Parts of objects that are made when they are first needed. A simulation has a hundred thousand hosts, most of which
never use most parts.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")

#: The set that objects share while they have nothing in it. An empty set of their own would take 216 octets.
NONE: frozenset[Any] = frozenset()


class Lazy(Generic[T]):
    """
    An attribute whose value is made when it is first read. Another attribute keeps the value. It is C{None} before
    that, so code can test whether the value was made. For an attribute C{paths} that C{_paths} keeps, the class has
    C{paths = Lazy("_paths", lambda self: PathTable(self.clock))}, and its C{__init__} sets C{_paths} to C{None}.

    C{functools.cached_property} would give the object a dictionary of its own, which takes more memory than most parts.
    """

    __slots__ = ("_keeper", "_make")

    def __init__(self, keeper: str, make: Callable[[Any], T]) -> None:
        """
        @param keeper: the name of the attribute that keeps the value. C{__init__} sets it to C{None}.
        @param make: called with the object, to make the value.
        """
        self._keeper = keeper
        self._make = make

    @overload
    def __get__(self, instance: None, owner: type) -> Lazy[T]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> Lazy[T] | T:
        if instance is None:
            return self
        value: T | None = getattr(instance, self._keeper)
        if value is None:
            value = self._make(instance)
            setattr(instance, self._keeper, value)
        return value


def added(members: Set[T], member: T) -> set[T]:
    """
    Add a member to a set, which may be L{NONE}.

    @return: the set with the member: a new one in place of L{NONE}.
    """
    kept = members if isinstance(members, set) else set(members)
    kept.add(member)
    return kept


def discard(members: Set[T], member: T) -> None:
    """
    Remove a member from a set, if it is in the set. The set may be L{NONE}.
    """
    if isinstance(members, set):
        members.discard(member)
