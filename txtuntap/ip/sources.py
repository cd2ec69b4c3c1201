"""
The choice of a source address: the rules of RFC 6724, and an index for hosts with thousands of addresses. The index
finds the few addresses that can win by these rules.

Read RFC 6724 section 5 first, and sections 2.1 and 3 for labels and scopes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Container, Iterable, Iterator
from heapq import heappop, heappush

#: An address of the host: the packed address, and the prefix length of its network.
Own = tuple[bytes, int]

#: Two scopes: link-local and global (RFC 4291 section 2.7).
LINK, _GLOBAL = 2, 14

#: The prefixes of 6to4, Teredo and unique local addresses: their length in bits, their value and their label (RFC 6724
#: section 2.1). For a destination with such a prefix, a source with the same label is preferred.
_LABELS = ((16, 0x2002, 2), (32, 0x20010000, 5), (7, 0xFC >> 1, 13))

#: The number of addresses up to which a scan of all of them is cheaper than the index.
FEW = 16

#: A slot of a tree (see L{SourceIndex}), as two numbers. The second number is the path from the root to the slot: a
#: one, and then the bits of the path. If the first number is L{_BRANCH}, the bits of the path are the leading bits of
#: an address. Otherwise the slot is in the second tree of a network, and the first number is the prefix length of this
#: network. The path is then the bits of the prefix, followed by bits of C{_Source.order}, the lowest first.
_Slot = tuple[int, int]
_BRANCH = -1
_ROOT = _BRANCH, 1

#: The kind of an address: its length in octets, its scope, its label, and whether it is deprecated.
_Kind = tuple[int, int, int, bool]

_number = int.from_bytes


class _Source:
    """
    An address of the host, as the index holds it.

    @ivar own: the packed address, and the prefix length of its network.
    @ivar order: a number that grows with each address added.
    @ivar path: the bits of the address, after a leading one.
    @ivar bits: the number of these bits, 32 or 128.
    @ivar kind: its kind, which tells the tree that it is in; C{None} while it is suspended and so in no tree.
    """

    __slots__ = ("bits", "kind", "order", "own", "path")

    def __init__(self, own: Own, order: int) -> None:
        self.own = own
        self.order = order
        self.bits = 8 * len(own[0])
        self.path = 1 << self.bits | _number(own[0], "big")
        self.kind: _Kind | None = None


_Tree = dict[_Slot, _Source]


class SourceIndex:
    """
    An index of the addresses of a host. It finds the source for a destination without a look at every address.

    Rules 2, 3 and 6 (scopes, deprecated addresses and labels) rank all addresses of a L{_Kind} equal. So the index has
    one tree for each kind, and these rules choose among the trees.

    Rules 5.5 and 8 compare the leading bits of an address with those of the next hop and of the destination. So each
    tree is a digital search tree: a path from the root spells leading bits, and the slot at its end holds an address
    that begins with these bits. Each address was added before all addresses in the slots below its own. So, among the
    addresses that begin with certain bits, the one added first is on the path that spells these bits. Therefore, the
    best source is on the path of the next hop or on the path of the destination.

    These rules ignore the bits of an address behind its prefix. So no address is in a slot deeper than its prefix
    length. If addresses added earlier are in all slots down to that depth, the address is in a second tree of its
    network. A path in the second tree spells the bits of C{order}, because the rules rank all addresses of one network
    equal.
    """

    __slots__ = ("_deprecated", "_orders", "_sources", "_suspended", "_trees")

    def __init__(self, addresses: Iterable[Own], deprecated: Container[bytes], suspended: Container[bytes]) -> None:
        """
        @param addresses: the addresses, in the order of addition.
        @param deprecated: the packed addresses that are deprecated. The caller calls L{update} after each change.
        @param suspended: the packed addresses that are suspended. The caller calls L{update} after each change.
        """
        self._deprecated = deprecated
        self._suspended = suspended
        self._orders = 0
        self._sources: dict[bytes, _Source] = {}
        self._trees: dict[_Kind, _Tree] = {}
        for own in addresses:
            self.add(own)

    def add(self, own: Own) -> None:
        """
        Add an address to the index.
        """
        self._sources[own[0]] = _Source(own, self._orders)
        self._orders += 1
        self.update(own[0])

    def remove(self, address: bytes) -> None:
        """
        Remove a packed address from the index.
        """
        self._take(self._sources.pop(address))

    def update(self, address: bytes) -> None:
        """
        Move a packed address to the tree of its kind, because it is deprecated or suspended now, or no longer.
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
        Choose the source of a datagram. The result is the same as that of L{choose<txtuntap.ip.sources.choose>} for all
        addresses that are not suspended.
        """
        prefer, near = _preference(dest, self._deprecated), _nearness(dest, hop)
        trees = [(prefer(tree[_ROOT].own), tree) for tree in self._ofVersion(len(dest))]
        if not trees:
            return None
        best = max(preferred for preferred, _ in trees)
        paths = (dest,) if hop == dest else (hop, dest)
        candidates = (
            source for preferred, tree in trees if preferred == best for path in paths for source in _along(tree, path)
        )
        return max(candidates, key=lambda source: (near(source.own), -source.order)).own[0]

    def inOrder(self, length: int, scope: int | None) -> Iterator[bytes]:
        """
        Iterate over the packed addresses that are not suspended, in the order of addition. The iterator is lazy: it
        looks only at the addresses that it returns and at the ones next to them in the trees.

        @param length: the length of the addresses in octets, 4 or 16.
        @param scope: the scope of the addresses; C{None} for every scope.
        """
        waiting = [(tree[_ROOT].order, _ROOT, tree) for tree in self._ofVersion(length, scope)]
        waiting.sort()
        while waiting:
            _, slot, tree = heappop(waiting)
            yield tree[slot].own[0]
            for below in _slotsBelow(slot):
                if below in tree:
                    heappush(waiting, (tree[below].order, below, tree))

    def _ofVersion(self, length: int, scope: int | None = None) -> list[_Tree]:
        return [tree for kind, tree in self._trees.items() if kind[0] == length and scope in (None, kind[1])]

    def _put(self, source: _Source, tree: _Tree) -> None:
        # The source takes its slot from an address added later, which in turn takes its next slot, and so on.
        while (later := tree.get(slot := _place(source, tree))) is not None:
            tree[slot], source = source, later
        tree[slot] = source

    def _take(self, source: _Source) -> None:
        if source.kind is None:
            return
        tree = self._trees[source.kind]
        slot = _place(source, tree)
        # Fill the free slot with the address below it that was added first, then fill the slot of that one, and so on.
        while below := [(tree[each].order, each) for each in _slotsBelow(slot) if each in tree]:
            _, first = min(below)
            tree[slot] = tree[first]
            slot = first
        del tree[slot]
        if not tree:
            del self._trees[source.kind]
        source.kind = None


def choose(addresses: Iterable[Own], dest: bytes, hop: bytes, deprecated: Container[bytes]) -> bytes | None:
    """
    Choose the source of a datagram by a scan of all addresses. The rules for both IP versions are those of RFC 6724
    section 5 that apply to a host with one link, without rule 1. Among addresses that they rank equal, the first wins.

    @param addresses: the addresses to choose from.
    @param dest: the packed destination.
    @param hop: the packed address of the next hop, which may be C{dest} itself.
    @param deprecated: the packed addresses that are deprecated.

    @return: the packed source; C{None} if no address has the version of C{dest}.
    """
    candidates = [own for own in addresses if len(own[0]) == len(dest)]
    prefer, near = _preference(dest, deprecated), _nearness(dest, hop)
    return max(candidates, key=lambda own: prefer(own) + near(own))[0] if candidates else None


def _preference(dest: bytes, deprecated: Container[bytes]) -> Callable[[Own], tuple[int | bool, ...]]:
    """
    Make the function that ranks an address by rules 2, 3 and 6, which rank all addresses of a kind equal. The best
    source for C{dest} has the largest value.
    """
    scope, label = scopeOf(dest), _label(dest)

    def prefer(own: Own) -> tuple[int | bool, ...]:
        packed = own[0]
        ownScope = scopeOf(packed)
        return (
            # Rule 2: prefer a scope as wide as that of the destination or wider, and among these the narrowest. If all
            # scopes are narrower, prefer the widest.
            ownScope >= scope,
            -ownScope if ownScope >= scope else ownScope,
            # Rule 3: avoid deprecated addresses.
            packed not in deprecated,
            # Rule 6: prefer a source with the label of the destination.
            _label(packed) == label,
        )

    return prefer


def _nearness(dest: bytes, hop: bytes) -> Callable[[Own], tuple[int, int]]:
    """
    Make the function that ranks addresses which L{_preference} ranks equal, by rules 5.5 and 8. All addresses of a
    network are equal here. The best source has the largest value.
    """
    number, hopNumber, bits = _number(dest, "big"), _number(hop, "big"), 8 * len(dest)

    def near(own: Own) -> tuple[int, int]:
        ours, prefix = _number(own[0], "big"), own[1]
        return (
            # Rule 5.5: prefer an address in the network of the next hop, because the next hop has a route back to it.
            # IPv4 hosts have always done so, too.
            prefix if (hopNumber ^ ours) >> (bits - prefix) == 0 else -1,
            # Rule 8: prefer the address that shares the most leading bits with the destination.
            min(bits - (ours ^ number).bit_length(), prefix),
        )

    return near


def scopeOf(address: bytes) -> int:
    """
    The scope of a packed address, as a number of the scope field of IPv6 multicast addresses: 2 is link-local, 14 is
    global (RFC 6724 sections 3.1 and 3.2).
    """
    if len(address) == 4:
        return LINK if address[:2] == b"\xa9\xfe" else _GLOBAL
    if address[0] == 0xFF:
        return address[1] & 0x0F
    return LINK if address[0] == 0xFE and address[1] & 0xC0 == 0x80 else _GLOBAL


def _label(address: bytes) -> int:
    """
    The label of a packed address (RFC 6724 section 2.1).
    """
    if len(address) == 4:
        return 0
    number = int.from_bytes(address, "big")
    return next((label for bits, prefix, label in _LABELS if number >> (128 - bits) == prefix), 1)


def _along(tree: _Tree, address: bytes) -> Iterator[_Source]:
    """
    Iterate over the addresses of a tree that can win for a packed address: those on its path, and the first one in the
    second tree of each network on that path.
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
    Find the slot for a source: the first slot on its path that does not hold an address added earlier. The slot is
    empty, holds an address added later, or holds the source itself.
    """
    whole, bits, prefix, order = source.path, source.bits, source.own[1], source.order

    def orderAt(depth: int) -> int:
        other = tree.get((_BRANCH, whole >> (bits - depth)))
        return order if other is None else other.order

    # A binary search is possible because the orders grow along a path. An empty slot counts like one with the source.
    depth = bisect_left(range(prefix + 1), order, key=orderAt)
    if depth <= prefix:
        return _BRANCH, whole >> (bits - depth)
    path, rest = whole >> (bits - prefix), order
    while (other := tree.get((prefix, path))) is not None and other.order < order:
        path, rest = path << 1 | rest & 1, rest >> 1
    return prefix, path


def _slotsBelow(slot: _Slot) -> list[_Slot]:
    """
    Return the slots directly below a slot, whether they are empty or not.
    """
    network, path = slot
    below = [(network, path << 1), (network, path << 1 | 1)]
    return [*below, (path.bit_length() - 1, path)] if network == _BRANCH else below
