"""
The addresses of a host. They decide which packets the host receives, whose packets it drops, and which source address
its own datagrams get.

Read RFC 1122 section 3.2.1.3, RFC 4291 section 2 and RFC 6724 section 5 first.

In this package, "we" is the host whose addresses these are. An address is I{ours} if the application has given it to
the host. A I{packed} address is 4 octets (IPv4) or 16 octets (IPv6) in network byte order.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Set
from ipaddress import ip_interface

from txtuntap.ip.cidr import Interface, broadcastOf, hostNetwork, parseInterface
from txtuntap.ip.sources import FEW, LINK, Own, SourceIndex, choose, scopeOf
from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.layer.lazy import NONE, Lazy, added, discard
from txtuntap.layer.prefixes import PrefixTable
from txtuntap.wire.address import (
    LIMITED_BROADCAST,
    addressText,
    isGroup,
    isHost,
    isLinkGroup,
    isLinkLocal,
    isMulticast,
    packAddress,
    solicitedNode,
)

#: The groups that every host is a member of (RFC 1112 section 4, RFC 4291 section 2.8).
ALL_HOSTS = ("224.0.0.1", "ff01::1", "ff02::1")

#: The first 13 octets of every solicited-node group (RFC 4291 section 2.7.1).
_SOLICITED_NODE = packAddress("ff02::1:ff00:0")[:13]

#: The packed loopback addresses 127.0.0.1 and ::1, by which a host reaches itself.
LOOPBACKS = (b"\x7f\0\0\1", bytes(15) + b"\1")

#: The most destinations whose source address is cached. A full cache is emptied.
MAX_SOURCES = 4096

#: The most groups that a host has joined at once. Groups that it is a member of without joining do not count.
MAX_GROUPS = 1024

#: The most pairs of addresses that are cached as admitted. A full cache is emptied.
MAX_ADMITTED = 4096


class ReferenceCounts(dict[bytes, int]):
    """
    The reference count of each packed address. An address with a count of 0 is not in the dictionary.
    """

    __slots__ = ()

    def add(self, address: bytes) -> bool:
        """
        Increment the count of an address.

        @return: whether the address is new.
        """
        self[address] = count = self.get(address, 0) + 1
        return count == 1

    def remove(self, address: bytes) -> bool:
        """
        Decrement the count of an address.

        @return: whether the count is 0 now, so that the address was removed.

        @raise KeyError: the address is not there.
        """
        self[address] -= 1
        if self[address]:
            return False
        del self[address]
        return True


class Addresses:
    """
    The addresses of a host, the broadcast addresses of their networks, and the groups that the host is a member of.
    A host may have thousands of addresses, so the cost to add or remove one does not depend on their number.

    @ivar local: the packed destinations whose packets are delivered: our addresses, broadcast addresses and groups.
    @ivar broadcasts: the packed broadcast addresses: the limited one, and the one of each of our networks.
    @ivar networks: the networks of our addresses, each with the number of our addresses in it, suspended ones included.
    @ivar anyNetworks: the networks that L{addNetwork} has added. Every address in them counts as ours.
    @ivar admitted: the cache of L{admits}: the packed source and destination of each pair in one. The addresses of a
        packet whose pair is in here need no other check.
    @ivar suspended: the packed addresses of ours that we do not use as long as another station on the link has them
        (see L{suspend}). They are not in C{interfaces}.
    @ivar hearsSolicitations: whether packets to every solicited-node group are delivered, as if we were a member of all
        of them.
    """

    __slots__ = (
        "_broadcasts",
        "_deprecated",
        "_given",
        "_index",
        "_joined",
        "_local",
        "_solicited",
        "_sourcesMade",
        "admitted",
        "anyNetworks",
        "broadcasts",
        "hearsSolicitations",
        "local",
        "networks",
        "onChange",
        "onGroup",
        "suspended",
    )

    _sources: Lazy[Table[bytes, bytes | None]] = Lazy(
        "_sourcesMade", lambda own: Table("sources", MAX_SOURCES, Policy.FORGET_ALL)
    )

    def __init__(self) -> None:
        # By packed address, in the order of addition. Suspended addresses stay here, so that they keep their place. An
        # object of ipaddress for each address would take a kilobyte.
        self._given: dict[bytes, Own] = {}
        self.suspended: Set[bytes] = NONE
        self._index: SourceIndex | None = None
        self.networks: PrefixTable[int] = PrefixTable()
        self.anyNetworks: PrefixTable[None] = PrefixTable()
        self._solicited = ReferenceCounts()
        self._joined = ReferenceCounts()
        #: A function that is called with a packed group after we have become a member of it, or have left it.
        self.onGroup: Callable[[bytes], None] | None = None
        #: A function that is called when L{admits} may give other results than before.
        self.onChange: Callable[[], None] | None = None
        self._broadcasts = ReferenceCounts({LIMITED_BROADCAST: 1})
        self.broadcasts: Set[bytes] = self._broadcasts.keys()
        self._local = ReferenceCounts(dict.fromkeys((LIMITED_BROADCAST, *map(packAddress, ALL_HOSTS)), 1))
        self.local: Set[bytes] = self._local.keys()
        # A set instead of a Table, because every packet is looked up here: a set saves 16 ns of some 1,700 a packet.
        self.admitted: Set[bytes] = NONE
        self.hearsSolicitations = False
        self._deprecated: Set[bytes] = NONE
        self._sourcesMade: Table[bytes, bytes | None] | None = None

    def add(self, address: str) -> Interface:
        """
        Add an address of ours.

        @param address: the address and the prefix length of its network, in CIDR notation.

        @raise ValueError: no host can have the address, it has no prefix length, or it is ours already.
        """
        interface = parseInterface(address)
        network = interface.network
        broadcast = broadcastOf(network)
        if broadcast is not None and interface.packed in (network.network_address.packed, broadcast):
            raise ValueError(
                f"{interface} is not an address that a host can have: it is the address of the network itself, or its"
                f" broadcast address; give one between, such as {network.network_address + 1}/{network.prefixlen}"
            )
        if not isHost(interface.packed):
            raise ValueError(f"{interface} is not an address that a host can have")
        packed = interface.packed
        if self.isAssigned(packed):
            raise ValueError(f"{interface.ip} is an address of this host already")
        own = self._given[packed] = packed, network.prefixlen
        if self._index is not None:
            self._index.add(own)
        elif len(self._given) > FEW:
            # The index refers to the sets, so they must not be the shared empty one any more.
            self._deprecated, self.suspended = set(self._deprecated), set(self.suspended)
            self._index = SourceIndex(self._given.values(), self._deprecated, self.suspended)
        self._local.add(packed)
        self.networks[network] = self.networks.get(network, 0) + 1
        if broadcast is not None:
            self._broadcasts.add(broadcast)
            self._local.add(broadcast)
        self._forget()
        if interface.version == 6:
            self._enterGroup(self._solicited, solicitedNode(packed))
        return interface

    def remove(self, address: str | bytes) -> Interface:
        """
        Remove an address of ours.

        @param address: the address without its prefix length, as text or packed.

        @raise ValueError: the address is not ours.
        """
        packed = packAddress(address)
        own = self._given.pop(packed, None)
        if own is None:
            raise ValueError(f"{address!r} is no address of this host")
        interface = ip_interface(own)
        network = interface.network
        broadcast = broadcastOf(network)
        if packed in self.suspended:
            discard(self.suspended, packed)
        else:
            self._local.remove(packed)
        discard(self._deprecated, packed)
        if self._index is not None:
            self._index.remove(packed)
        self.networks[network] -= 1
        if not self.networks[network]:
            del self.networks[network]
        if broadcast is not None:
            self._broadcasts.remove(broadcast)
            self._local.remove(broadcast)
        self._forget()
        if interface.version == 6:
            self._leaveGroup(self._solicited, solicitedNode(packed))
        return interface

    def suspend(self, address: bytes, suspended: bool = True) -> None:
        """
        Suspend or resume a packed address of ours. It is suspended while another station on the link has it, and is
        then neither a source nor a destination. Packets to its solicited-node group and to the broadcast address of its
        network are still delivered.

        @param suspended: whether to suspend the address (true) or to resume it (false).
        """
        if address not in self._given or suspended == (address in self.suspended):
            return
        if suspended:
            self.suspended = added(self.suspended, address)
            self._local.remove(address)
        else:
            discard(self.suspended, address)
            self._local.add(address)
        if self._index is not None:
            self._index.update(address)
        self._forget()

    def isAssigned(self, address: bytes) -> bool:
        """
        Whether L{add} has added a packed address. A suspended address counts, too.
        """
        return address in self._given

    def shared(self, address: bytes) -> bytes:
        """
        Return the object that we keep of a packed address, if it is ours, so that thousands of routes share one object.
        """
        own = self._given.get(address)
        return address if own is None else own[0]

    @property
    def interfaces(self) -> list[Interface]:
        """
        Our addresses without the suspended ones, each with its network, in the order of addition.
        """
        return [ip_interface(own) for own in self._inUse()]

    @property
    def given(self) -> list[bytes]:
        """
        All our packed addresses, suspended ones included, in the order of addition.
        """
        return list(self._given)

    def _inUse(self) -> Iterable[Own]:
        """
        Our addresses without the suspended ones, in the order of addition.
        """
        owns = self._given.values()
        return (own for own in owns if own[0] not in self.suspended) if self.suspended else owns

    def deprecate(self, address: bytes, deprecated: bool = True) -> None:
        """
        Deprecate a packed address, or undo that. A deprecated address of ours is the source of a datagram only if no
        other address fits (RFC 4862 section 5.5.4).

        @param deprecated: whether to deprecate the address (true) or to undo that (false).
        """
        if deprecated:
            self._deprecated = added(self._deprecated, address)
        else:
            discard(self._deprecated, address)
        if self._index is not None:
            self._index.update(address)
        self._forget()

    def join(self, group: bytes) -> None:
        """
        Join a group, or count another join of it. We leave the group when each join has been undone by a L{leave}.

        @param group: the packed address of the group.

        @raise ValueError: C{group} is not the address of a group.
        @raise OSError: we have joined L{MAX_GROUPS} other groups (C{ENOBUFS}).
        """
        if not isMulticast(group):
            raise ValueError(f"{addressText(group)} is not the address of a group")
        if group not in self._joined and len(self._joined) >= MAX_GROUPS:
            raise OSError(errno.ENOBUFS, f"this host is in {MAX_GROUPS} groups already: leave one of them first")
        self._enterGroup(self._joined, group)

    def leave(self, group: bytes) -> None:
        """
        Undo one L{join} of a group.

        @raise ValueError: we have not joined the group.
        """
        if group not in self._joined:
            raise ValueError(f"this host has not joined {addressText(group)}")
        self._leaveGroup(self._joined, group)

    def groups(self, solicited: bool) -> set[bytes]:
        """
        Return the packed groups that we are a member of. The groups of every host are not among them.

        @param solicited: whether to include the solicited-node groups of our addresses (RFC 4291 section 2.7.1). They
            have no meaning on a link without neighbour discovery, such as a tun.
        """
        return self._joined.keys() | (self._solicited.keys() if solicited else set())

    def isIn(self, group: bytes, solicited: bool) -> bool:
        """
        Whether a packed group is among the L{groups}.
        """
        return group in self._joined or (solicited and group in self._solicited)

    def tables(self) -> list[TableState]:
        """
        Return the states of the tables: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        admitted = TableState("admitted", len(self.admitted), MAX_ADMITTED, Policy.FORGET_ALL.value)
        groups = TableState("groups", len(self._joined), MAX_GROUPS, Policy.REFUSE.value)
        return [admitted, self._sources.state, groups]

    def addNetwork(self, network: str, hasPrefix: bool = True) -> None:
        """
        Receive packets to every address of a network, as if they were all ours ("AnyIP").

        @param network: the network in CIDR notation.
        @param hasPrefix: whether C{network} must have a prefix length. If not, an address stands for itself alone.

        @raise ValueError: C{network} is not a network, or no host can have an address in it.
        """
        self.anyNetworks[hostNetwork(network, hasPrefix)] = None

    def accepts(self, address: bytes) -> bool:
        """
        Whether a packed address is a unicast address of ours that is not suspended, or is in a network of
        L{addNetwork}.
        """
        if self.isOwn(address):
            return True
        if self.anyNetworks.match(address) is None:
            return False
        return isHost(address) and address not in self.broadcasts and address not in self.suspended

    def hears(self, dest: bytes) -> bool:
        """
        Whether C{hearsSolicitations} is true and a packed address is that of a solicited-node group.
        """
        return self.hearsSolicitations and dest[:13] == _SOLICITED_NODE

    def isOwn(self, address: bytes) -> bool:
        """
        Whether a packed address was added by L{add} and is not suspended. An address that is only in a network of
        L{addNetwork} does not count.
        """
        return address in self._given and address not in self.suspended

    def isSelf(self, address: bytes) -> bool:
        """
        Whether a packet that we send to a packed address is delivered to ourselves: the address is ours, or a loopback
        address. (A packet to a loopback address that arrives from a link is dropped.)
        """
        return address not in self.suspended if address in self._given else address in LOOPBACKS

    def isNeighbour(self, address: bytes) -> bool:
        """
        Whether a packed address may belong to another host: it is a unicast address and not ours.
        """
        return isHost(address) and address not in self.broadcasts and not self.isOwn(address)

    def maySend(self, source: bytes, dest: bytes) -> bool:
        """
        Whether a packet with this packed source and destination may be received (RFC 1122 section 3.2.1.3). The source
        must not be a group, a loopback or broadcast address, or an address of ours (the "LAND" attack). The unspecified
        address may be the source only of a packet to a group or to the limited broadcast address.
        """
        if self.isOwn(source) or source in self.broadcasts:
            return False
        if not isHost(source):
            # A host without an address sends from the unspecified one: for DHCP's discovery, and to detect duplicate
            # addresses. Switches send queries for group members from it, too (RFC 4541 section 2.1.1).
            return not any(source) and isGroup(dest)
        return True

    def admits(self, addressPair: bytes) -> bool:
        """
        Whether a packet with these addresses is received. Its destination must be in C{local}, or pass L{accepts} or
        L{hears}, and must not be a group of interface-local scope. Its source must pass L{maySend}. A pair that is
        admitted is added to C{admitted}, unless the destination is a group of the link. All stations send a few packets
        to such a group, so the cache would get very many entries of little use.

        @param addressPair: the packed source and destination in one, as they stand in an IP header.
        """
        half = len(addressPair) // 2
        source, dest = addressPair[:half], addressPair[half:]
        ours = dest in self.local or self.accepts(dest) or self.hears(dest)
        # A packet to a group of interface-local scope must not come from another host (RFC 4291 section 2.7).
        if not ours or not self.maySend(source, dest) or scopeOf(dest) < LINK:
            return False
        if not isLinkGroup(dest):
            self.admitted = added(NONE if len(self.admitted) >= MAX_ADMITTED else self.admitted, addressPair)
        return True

    def sourceFor(self, dest: bytes, hop: bytes | None = None) -> bytes | None:
        """
        Choose the source address of a datagram. The rules for both IP versions are those of RFC 6724 section 5 that
        apply to a host with one link. Among addresses that the rules rank equal, the one added first wins.

        @param dest: the packed destination.
        @param hop: the packed address of the next hop; C{None} if that is C{dest} itself.

        @return: the packed source; C{None} if we have no address of the version of C{dest}.
        """
        if self.isSelf(dest):
            # Rule 1: prefer the destination itself.
            return dest
        key = dest if hop is None else dest + hop
        sources = self._sourcesMade or self._sources
        if key not in sources:
            if self._index is None:
                source = choose(self._inUse(), dest, hop or dest, self._deprecated)
            else:
                source = self._index.choose(dest, hop or dest)
            sources.put(key, source)
        return sources[key]

    def inOrder6(self, linkLocal: bool = False) -> Iterator[bytes]:
        """
        Iterate over our packed IPv6 addresses that are not suspended, in the order of addition. Where there are many
        addresses, the iterator is lazy: the first address is found without a look at the others.

        @param linkLocal: whether to return only link-local addresses.
        """
        if self._index is not None:
            return self._index.inOrder(16, LINK if linkLocal else None)
        ours = (packed for packed, _ in self._inUse() if len(packed) == 16)
        return filter(isLinkLocal, ours) if linkLocal else ours

    def _enterGroup(self, groups: ReferenceCounts, group: bytes) -> None:
        """
        Become a member of a group for one more reason.

        @param groups: the counts for this kind of reason: L{join}, or an address with this solicited-node group.
        """
        self._local.add(group)
        if groups.add(group):
            self._forget()
            if self.onGroup is not None:
                self.onGroup(group)

    def _leaveGroup(self, groups: ReferenceCounts, group: bytes) -> None:
        """
        Undo one L{_enterGroup}, with the same C{groups}.
        """
        self._local.remove(group)
        if groups.remove(group):
            self._forget()
            if self.onGroup is not None:
                self.onGroup(group)

    def _forget(self) -> None:
        """
        Empty the caches of L{admits} and L{sourceFor}, because our addresses have changed.
        """
        self.admitted = NONE
        if self._sourcesMade is not None:
            self._sourcesMade.clear()
        if self.onChange is not None:
            self.onChange()
