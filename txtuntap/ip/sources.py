"""
The choice of a source address among those of a host: the rules of RFC 6724, and a tree that finds the few addresses
that can win by them among very many.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Container, Iterable, Iterator
from heapq import heappop, heappush
from ipaddress import IPv4Interface, IPv6Interface

Interface = IPv4Interface | IPv6Interface

#: Scopes: link-local, global.
LINK, _GLOBAL = 2, 14

#: Prefixes of IPv6 addresses that should be written to from their like: 6to4, Teredo, unique local (RFC 6724 section
#: 2.1). In bits, value and label.
_LABELS = ((16, 0x2002, 2), (32, 0x20010000, 5), (7, 0xFC >> 1, 13))

#: Addresses among which a look at each is cheaper than a tree.
FEW = 16

#: A slot of a tree: the prefix length of a network and a path of bits, after a one. L{_BRANCH} in place of the length:
#: the path is the first bits of the address. Else, the bits after these are those of the order, the last first.
_Slot = tuple[int, int]
_BRANCH = -1
_ROOT = _BRANCH, 1

#: The octets of an address, its scope, its label, and whether it is deprecated.
_Kind = tuple[int, int, int, bool]

_number = int.from_bytes


class _Source:
    """
    An address of the host.

    @ivar order: a number that is larger for each address that was added later.
    @ivar path: all bits of the address, after a one.
    @ivar bits: how many these are; C{prefix}: how many of them are its network's.
    @ivar kind: the kind whose tree it is in; L{None}: none, since it is suspended.
    """

    __slots__ = ("bits", "interface", "kind", "order", "path", "prefix")

    def __init__(self, interface: Interface, order: int) -> None:
        self.interface = interface
        self.order = order
        self.bits = interface.max_prefixlen
        self.path = 1 << self.bits | int(interface)
        self.prefix = interface.network.prefixlen
        self.kind: _Kind | None = None


_Tree = dict[_Slot, _Source]


class SourceIndex:
    """
    The addresses of a host, such that the source for a destination is found without a look at all.

    All addresses of a kind are alike for the rules about scopes, deprecated addresses and labels. They are in one
    digital search tree, where a path spells the first bits of an address, and an address stands before all below it
    that were added later. So the first one added of those that begin with certain bits is on the path of these bits.
    An address never stands below the end of its network's prefix: the rules do not look at more bits. If that place is
    taken, it is in a tree of its network, by the order: all addresses of a network are alike for the rules.
    """

    __slots__ = ("_deprecated", "_orders", "_sources", "_suspended", "_trees")

    def __init__(
        self, interfaces: Iterable[Interface], deprecated: Container[bytes], suspended: Container[bytes]
    ) -> None:
        """
        @param interfaces: the addresses, in the order they were added.
        @param deprecated: packed addresses; C{suspended}: more of them. L{update} says that one has been changed.
        """
        self._deprecated = deprecated
        self._suspended = suspended
        self._orders = 0
        self._sources: dict[bytes, _Source] = {}
        self._trees: dict[_Kind, _Tree] = {}
        for interface in interfaces:
            self.add(interface)

    def add(self, interface: Interface) -> None:
        """
        Have one more address.
        """
        self._sources[interface.packed] = _Source(interface, self._orders)
        self._orders += 1
        self.update(interface.packed)

    def remove(self, address: bytes) -> None:
        """
        Have one address less.
        """
        self._take(self._sources.pop(address))

    def update(self, address: bytes) -> None:
        """
        Give an address its place anew: whether it is deprecated or suspended may have changed.
        """
        source = self._sources.get(address)
        if source is None:
            return
        self._take(source)
        if address not in self._suspended:
            source.kind = len(address), scopeOf(address), _label(address), address in self._deprecated
            self._put(source, self._trees.setdefault(source.kind, {}))

    def choose(self, dest: bytes, hop: bytes) -> bytes | None:
        """
        The source of a datagram: what L{choose<txtuntap.ip.sources.choose>} returns for all addresses that are not
        suspended.
        """
        prefer, near = _preference(dest, self._deprecated), _nearness(dest, hop)
        trees = [(prefer(tree[_ROOT].interface), tree) for tree in self._ofVersion(len(dest))]
        if not trees:
            return None
        best = max(preferred for preferred, _ in trees)
        paths = (dest,) if hop == dest else (hop, dest)
        candidates = (
            source for preferred, tree in trees if preferred == best for path in paths for source in _along(tree, path)
        )
        return max(candidates, key=lambda source: (near(source.interface), -source.order)).interface.packed

    def inOrder(self, length: int, scope: int | None) -> Iterator[Interface]:
        """
        The addresses of so many octets, of one scope or of all (L{None}), in the order they were added. One that is not
        asked for is not looked at.
        """
        waiting = [(tree[_ROOT].order, _ROOT, tree) for tree in self._ofVersion(length, scope)]
        waiting.sort()
        while waiting:
            _, slot, tree = heappop(waiting)
            yield tree[slot].interface
            for below in _slotsBelow(slot):
                if below in tree:
                    heappush(waiting, (tree[below].order, below, tree))

    def _ofVersion(self, length: int, scope: int | None = None) -> list[_Tree]:
        return [tree for kind, tree in self._trees.items() if kind[0] == length and scope in (None, kind[1])]

    def _put(self, source: _Source, tree: _Tree) -> None:
        while (later := tree.get(slot := _place(source, tree))) is not None:
            tree[slot], source = source, later
        tree[slot] = source

    def _take(self, source: _Source) -> None:
        if source.kind is None:
            return
        tree = self._trees[source.kind]
        slot = _place(source, tree)
        # The one below that was added first moves up, and so on.
        while below := [(tree[each].order, each) for each in _slotsBelow(slot) if each in tree]:
            _, first = min(below)
            tree[slot] = tree[first]
            slot = first
        del tree[slot]
        if not tree:
            del self._trees[source.kind]
        source.kind = None


def choose(interfaces: Iterable[Interface], dest: bytes, hop: bytes, deprecated: Container[bytes]) -> bytes | None:
    """
    The source of a datagram: the rules of RFC 6724 section 5 that apply where there is one link, but the first. Both
    versions go by them. Where they leave a choice, it is the first address.

    @param interfaces: the addresses to choose from.
    @param dest: the packed destination; C{hop}: that of the next hop, or C{dest} again.
    @param deprecated: packed addresses that are a source only where there is no other.

    @return: a packed address; L{None} if there is none of the version.
    """
    candidates = [own for own in interfaces if own.max_prefixlen == 8 * len(dest)]
    prefer, near = _preference(dest, deprecated), _nearness(dest, hop)
    return max(candidates, key=lambda own: prefer(own) + near(own)).packed if candidates else None


def _preference(dest: bytes, deprecated: Container[bytes]) -> Callable[[Interface], tuple[int | bool, ...]]:
    """
    The rules that all addresses of a kind are alike for: an address of ours is better for C{dest} the larger this is.
    """
    scope, label = scopeOf(dest), _label(dest)

    def prefer(own: Interface) -> tuple[int | bool, ...]:
        packed = own.packed
        ownScope = scopeOf(packed)
        return (
            # Rule 2: a scope that reaches there, and then the narrowest.
            ownScope >= scope,
            -ownScope if ownScope >= scope else ownScope,
            # Rule 3.
            packed not in deprecated,
            # Rule 6.
            _label(packed) == label,
        )

    return prefer


def _nearness(dest: bytes, hop: bytes) -> Callable[[Interface], tuple[int, int]]:
    """
    The rules that come after L{_preference}, which all addresses of a network are alike for: the larger, the better.
    """
    number, hopNumber, bits = _number(dest, "big"), _number(hop, "big"), 8 * len(dest)

    def near(own: Interface) -> tuple[int, int]:
        ours, prefix = int(own), own.network.prefixlen
        return (
            # Rule 5.5, and what IPv4 hosts have always done: an address that the next hop knows its way back to.
            prefix if (hopNumber ^ ours) >> (bits - prefix) == 0 else -1,
            # Rule 8.
            min(bits - (ours ^ number).bit_length(), prefix),
        )

    return near


def scopeOf(address: bytes) -> int:
    """
    How far an address means something, as the scope field of an IPv6 group has it (RFC 6724 section 3.1 and 3.2).
    """
    if len(address) == 4:
        return LINK if address[:2] == b"\xa9\xfe" else _GLOBAL
    if address[0] == 0xFF:
        return address[1] & 0x0F
    return LINK if address[0] == 0xFE and address[1] & 0xC0 == 0x80 else _GLOBAL


def _label(address: bytes) -> int:
    """
    The label of an address (RFC 6724 section 2.1).
    """
    if len(address) == 4:
        return 0
    number = int.from_bytes(address, "big")
    return next((label for bits, prefix, label in _LABELS if number >> (128 - bits) == prefix), 1)


def _along(tree: _Tree, address: bytes) -> Iterator[_Source]:
    """
    The addresses of a tree on the path of an address, and the first ones in the trees of the networks that hold it.
    """
    bits = 8 * len(address)
    whole = 1 << bits | _number(address, "big")
    for depth in range(bits + 1):
        path = whole >> (bits - depth)
        source = tree.get((_BRANCH, path))
        if source is None:
            return
        yield source
        source = tree.get((depth, path))
        if source is not None:
            yield source


def _place(source: _Source, tree: _Tree) -> _Slot:
    """
    The place of a source: the first slot on its path that no earlier one is in. It is empty, has a later one, or has
    the source itself.
    """
    whole, bits, prefix, order = source.path, source.bits, source.prefix, source.order

    def orderAt(depth: int) -> int:
        other = tree.get((_BRANCH, whole >> (bits - depth)))
        return order if other is None else other.order

    # The orders on a path grow; a slot that is empty is as good as one that has the source.
    depth = bisect_left(range(prefix + 1), order, key=orderAt)
    if depth <= prefix:
        return _BRANCH, whole >> (bits - depth)
    path, rest = whole >> (bits - prefix), order
    while (other := tree.get((prefix, path))) is not None and other.order < order:
        path, rest = path << 1 | rest & 1, rest >> 1
    return prefix, path


def _slotsBelow(slot: _Slot) -> list[_Slot]:
    """
    The slots that can come after one on a path.
    """
    network, path = slot
    below = [(network, path << 1), (network, path << 1 | 1)]
    return [*below, (path.bit_length() - 1, path)] if network == _BRANCH else below
