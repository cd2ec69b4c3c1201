"""
A host's own addresses: what is for it, who may be answered, and where an answer leaves from.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Set
from ipaddress import IPv4Network, IPv6Network, ip_interface, ip_network
from typing import cast

from txtuntap.ip.sources import FEW, LINK, Interface, SourceIndex, choose, scopeOf
from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.layer.prefixes import Network, PrefixTable, prefixSet
from txtuntap.mistakes import checkText
from txtuntap.wire.address import (
    LIMITED_BROADCAST,
    addressText,
    isGroup,
    isHost,
    isLinkLocal,
    isMulticast,
    packAddress,
    solicitedNode,
)

#: Groups that every host is in (RFC 1112 section 4, RFC 4291 section 2.8).
ALL_HOSTS = ("224.0.0.1", "ff01::1", "ff02::1")

#: The first octets of all solicited-node groups (RFC 4291 section 2.7.1).
_SOLICITED_NODE = packAddress("ff02::1:ff00:0")[:13]

#: Networks without an address of one host: L{isHost} says no to each of them.
#: 127.0.0.1 and ::1, by which a host reaches itself.
LOOPBACKS = (b"\x7f\0\0\1", bytes(15) + b"\1")

_NOT_HOSTS = prefixSet(("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "ff00::/8", "::/127", "::ffff:0:0/96"))

#: Destinations whose source address is remembered; when there are as many, all are forgotten.
MAX_SOURCES = 4096

#: Groups that a host is in at once, beside those that it is in by itself.
MAX_GROUPS = 1024

#: Pairs of addresses that are remembered as good; when there are as many, all are forgotten.
MAX_ADMITTED = 4096


class ReferenceCounts(dict[bytes, int]):
    """
    Addresses, each with how many reasons there are to have it.
    """

    def add(self, address: bytes) -> bool:
        """
        Have an address for one more reason.

        @return: whether it is the first.
        """
        self[address] = count = self.get(address, 0) + 1
        return count == 1

    def remove(self, address: bytes) -> bool:
        """
        Have an address for one reason less.

        @return: whether it was the last.

        @raise KeyError: there was none.
        """
        self[address] -= 1
        if self[address]:
            return False
        del self[address]
        return True


class Addresses:
    """
    The addresses of a host. Adding one, or removing it, does not look at the others: there may be very many.

    @ivar local: packed addresses that packets are delivered for: our own, broadcasts and groups.
    @ivar broadcasts: packed addresses of everybody on a network of ours.
    @ivar networks: those that our addresses are in, suspended ones too; and how many are.
    @ivar anyNetworks: those whose every address we take for ours.
    @ivar admitted: pairs of addresses, source and destination, that L{admits} has found nothing against: all that a
        packet is looked at for.
    @ivar suspended: packed addresses of ours that somebody else has, for the time being. They are not in C{interfaces}.
    @ivar hearsSolicitations: whether packets to every solicited-node group are delivered, as if we were in all of them.
    """

    # No attribute of the instance while there are a few addresses, as there are in most hosts.
    _index: SourceIndex | None = None

    def __init__(self) -> None:
        # By packed address, in the order they were added. With the suspended ones, so that one that is ours again has
        # its place among the others.
        self._given: dict[bytes, Interface] = {}
        self.suspended: set[bytes] = set()
        self._unicast: set[bytes] = set()
        # Our unicast addresses and the loopback addresses: packets to these are for ourselves.
        self._self: set[bytes] = set(LOOPBACKS)
        self.networks: PrefixTable[int] = PrefixTable()
        self.anyNetworks: PrefixTable[None] = PrefixTable()
        self._solicited = ReferenceCounts()
        self._joined = ReferenceCounts()
        #: Called with a packed group when we are in it, or no longer.
        self.onGroup: Callable[[bytes], None] | None = None
        self._broadcasts = ReferenceCounts({LIMITED_BROADCAST: 1})
        self.broadcasts: Set[bytes] = self._broadcasts.keys()
        self._local = ReferenceCounts(dict.fromkeys((LIMITED_BROADCAST, *map(packAddress, ALL_HOSTS)), 1))
        self.local: Set[bytes] = self._local.keys()
        # No Table, because each packet is looked up here: in a set, that takes 16 ns of some 1,700 less.
        self.admitted: set[bytes] = set()
        self.hearsSolicitations = False
        self._deprecated: set[bytes] = set()
        self._sources: Table[bytes, bytes | None] = Table("sources", MAX_SOURCES, Policy.FORGET_ALL)

    def add(self, address: str) -> Interface:
        """
        Have one more address.

        @param address: in CIDR notation.

        @raise ValueError: it is no address that a host can have, has no prefix length, or is ours already.
        """
        interface = _interface(address)
        network = interface.network
        ends = (network.network_address, network.broadcast_address) if _hasBroadcast(interface) else ()
        if interface.ip in ends:
            raise ValueError(
                f"{interface} is not an address that a host can have: it is that of the network itself, or of all in"
                f" it; give one between, such as {network.network_address + 1}/{network.prefixlen}"
            )
        if not isHost(interface.packed):
            raise ValueError(f"{interface} is not an address that a host can have")
        packed = interface.packed
        if self.isAssigned(packed):
            raise ValueError(f"{interface.ip} is an address of this host already")
        self._given[packed] = interface
        if self._index is not None:
            self._index.add(interface)
        elif len(self._given) > FEW:
            self._index = SourceIndex(self._given.values(), self._deprecated, self.suspended)
        self._unicast.add(packed)
        self._self.add(packed)
        self._local.add(packed)
        self.networks[network] = self.networks.get(network, 0) + 1
        if _hasBroadcast(interface):
            self._broadcasts.add(network.broadcast_address.packed)
            self._local.add(network.broadcast_address.packed)
        self._forget()
        if interface.version == 6:
            self._enterGroup(self._solicited, solicitedNode(packed))
        return interface

    def remove(self, address: str | bytes) -> Interface:
        """
        Have one address less.

        @param address: without its prefix length.

        @raise ValueError: it is not ours.
        """
        packed = packAddress(address)
        interface = self._given.pop(packed, None)
        if interface is None:
            raise ValueError(f"{address!r} is no address of this host")
        network = interface.network
        if packed in self.suspended:
            self.suspended.remove(packed)
        else:
            self._unicast.remove(packed)
            self._self.remove(packed)
            self._local.remove(packed)
        self._deprecated.discard(packed)
        if self._index is not None:
            self._index.remove(packed)
        self.networks[network] -= 1
        if not self.networks[network]:
            del self.networks[network]
        if _hasBroadcast(interface):
            self._broadcasts.remove(network.broadcast_address.packed)
            self._local.remove(network.broadcast_address.packed)
        self._forget()
        if interface.version == 6:
            self._leaveGroup(self._solicited, solicitedNode(packed))
        return interface

    def suspend(self, address: bytes, suspended: bool = True) -> None:
        """
        Use a packed address of ours no more, for as long as somebody else has it; or use it again. Solicitations of it,
        and packets to all of its network, are still delivered.
        """
        if address not in self._given or suspended == (address in self.suspended):
            return
        if suspended:
            self.suspended.add(address)
            self._unicast.remove(address)
            self._self.remove(address)
            self._local.remove(address)
        else:
            self.suspended.remove(address)
            self._unicast.add(address)
            self._self.add(address)
            self._local.add(address)
        if self._index is not None:
            self._index.update(address)
        self._forget()

    def isAssigned(self, address: bytes) -> bool:
        """
        Whether a packed address is ours by itself, be it that somebody else has it for the time being.
        """
        return address in self._given

    @property
    def interfaces(self) -> list[Interface]:
        """
        Each address with its network, in the order they were added.
        """
        if not self.suspended:
            return self.given
        return [interface for packed, interface in self._given.items() if packed not in self.suspended]

    @property
    def given(self) -> list[Interface]:
        """
        All of C{interfaces}, and those that are suspended.
        """
        return list(self._given.values())

    def deprecate(self, address: bytes, deprecated: bool = True) -> None:
        """
        Have a packed address of ours be a source only where there is no other (RFC 4862 section 5.5.4), or end that.
        """
        (self._deprecated.add if deprecated else self._deprecated.discard)(address)
        if self._index is not None:
            self._index.update(address)
        self._sources.clear()

    def join(self, group: bytes) -> None:
        """
        Be in a group once more.

        @param group: a packed address.

        @raise ValueError: it is not a group's.
        @raise OSError: we are in L{MAX_GROUPS} others (C{ENOBUFS}).
        """
        if not isMulticast(group):
            raise ValueError(f"{addressText(group)} is not the address of a group")
        if group not in self._joined and len(self._joined) >= MAX_GROUPS:
            raise OSError(errno.ENOBUFS, f"this host is in {MAX_GROUPS} groups already: leave one of them first")
        self._enterGroup(self._joined, group)

    def leave(self, group: bytes) -> None:
        """
        Undo one L{join}.

        @raise ValueError: we are not in it.
        """
        if group not in self._joined:
            raise ValueError(f"this host has not joined {addressText(group)}")
        self._leaveGroup(self._joined, group)

    def groups(self, solicited: bool) -> set[bytes]:
        """
        The packed groups that we are in.

        @param solicited: whether with those that neighbours are asked for in (RFC 4291 section 2.7.1), which mean
            nothing where there are none.
        """
        return self._joined.keys() | (self._solicited.keys() if solicited else set())

    def isIn(self, group: bytes, solicited: bool) -> bool:
        """
        Whether we are in a packed group: see L{groups}.
        """
        return group in self._joined or (solicited and group in self._solicited)

    def tables(self) -> list[TableState]:
        """
        See L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        admitted = TableState("admitted", len(self.admitted), MAX_ADMITTED, Policy.FORGET_ALL.value)
        groups = TableState("groups", len(self._joined), MAX_GROUPS, Policy.REFUSE.value)
        return [admitted, self._sources.state, groups]

    def addNetwork(self, network: str, hasPrefix: bool = True) -> None:
        """
        Take packets to every address of a network for ours ("AnyIP").

        @param network: in CIDR notation.
        @param hasPrefix: whether it has to have a prefix length, or may be one address.

        @raise ValueError: it is none.
        """
        self.anyNetworks[hostNetwork(network, hasPrefix)] = None

    def accepts(self, address: bytes) -> bool:
        """
        Whether a packed address is one of ours, or in a network that we take for ours.
        """
        if address in self._unicast:
            return True
        if self.anyNetworks.match(address) is None:
            return False
        return isHost(address) and address not in self.broadcasts and address not in self.suspended

    def hears(self, dest: bytes) -> bool:
        """
        Whether packets to a packed address that is neither ours nor in C{local} are delivered all the same.
        """
        return self.hearsSolicitations and dest[:13] == _SOLICITED_NODE

    def isOwn(self, address: bytes) -> bool:
        """
        Whether a packed address is one of ours by itself.
        """
        return address in self._unicast

    def isSelf(self, address: bytes) -> bool:
        """
        Whether a packet of ours to a packed address is for ourselves: one of our own, or the loopback's. (What comes to
        a loopback address from a link is dropped.)
        """
        return address in self._self

    def isNeighbour(self, address: bytes) -> bool:
        """
        Whether a packed address can be that of one other host.
        """
        return isHost(address) and address not in self.broadcasts and address not in self._unicast

    def maySend(self, source: bytes, dest: bytes) -> bool:
        """
        Whether a packet to us may come from an address (RFC 1122 section 3.2.1.3): not from a group's, nor the
        loopback, nor one of our own ("LAND"), nor that of a whole network.
        """
        if source in self._unicast or source in self.broadcasts:
            return False
        if not isHost(source):
            # Only a host without an address may send from the unspecified one: for DHCP's discovery, and to detect
            # duplicates. Switches send from it, too, to ask who listens to which group (RFC 4541 section 2.1.1).
            return not any(source) and isGroup(dest)
        return True

    def admits(self, addressPair: bytes) -> bool:
        """
        Whether a packet is to be delivered, by its addresses: sent to us, by who may.

        @param addressPair: source and destination as they stand in a header, one after the other. Good ones are put
            into C{admitted}.
        """
        half = len(addressPair) // 2
        source, dest = addressPair[:half], addressPair[half:]
        ours = dest in self.local or self.accepts(dest) or self.hears(dest)
        # A packet to a group within one host comes from no other host (RFC 4291 section 2.7).
        if not ours or not self.maySend(source, dest) or scopeOf(dest) < LINK:
            return False
        if len(self.admitted) >= MAX_ADMITTED:
            self.admitted.clear()
        self.admitted.add(addressPair)
        return True

    def sourceFor(self, dest: bytes, hop: bytes | None = None) -> bytes | None:
        """
        Which of our addresses a datagram leaves from: the rules of RFC 6724 section 5 that apply where there is one
        link, and both versions go by them. Where they leave a choice, it is the address added first.

        @param dest: a packed address.
        @param hop: the packed address of the next hop, if it is not C{dest} itself.

        @return: L{None} if there is none of its version.
        """
        if dest in self._self:
            # Rule 1.
            return dest
        key = dest if hop is None else dest + hop
        if key not in self._sources:
            if self._index is None:
                source = choose(self.interfaces, dest, hop or dest, self._deprecated)
            else:
                source = self._index.choose(dest, hop or dest)
            self._sources.put(key, source)
        return self._sources[key]

    def inOrder6(self, linkLocal: bool = False) -> Iterator[bytes]:
        """
        The packed addresses of IPv6 that are not suspended, in the order they were added. One that is not asked for is
        not looked at, where there are many.

        @param linkLocal: whether only those that are link-local.
        """
        if self._index is not None:
            return (each.packed for each in self._index.inOrder(16, LINK if linkLocal else None))
        ours = (each.packed for each in self.interfaces if each.version == 6)
        return filter(isLinkLocal, ours) if linkLocal else ours

    def _enterGroup(self, groups: ReferenceCounts, group: bytes) -> None:
        """
        Be in a group for one more reason.

        @param groups: those that we are in for reasons of this kind.
        """
        self._local.add(group)
        if groups.add(group):
            self._forget()
            if self.onGroup is not None:
                self.onGroup(group)

    def _leaveGroup(self, groups: ReferenceCounts, group: bytes) -> None:
        """
        Undo one L{_enterGroup}.
        """
        self._local.remove(group)
        if groups.remove(group):
            self._forget()
            if self.onGroup is not None:
                self.onGroup(group)

    def _forget(self) -> None:
        """
        Forget what was found out: it may not hold any more.
        """
        self.admitted.clear()
        self._sources.clear()


def hostNetwork(network: object, hasPrefix: bool = True) -> Network:
    """
    A network that a caller gives, with addresses that hosts can have.

    @param hasPrefix: see L{parseNetwork}.

    @raise ValueError: it is none, or has no such addresses.
    """
    net = parseNetwork(network, hasPrefix)
    if _NOT_HOSTS.covers(net):
        raise ValueError(f"{net} has no addresses that a host can have")
    return net


def parseNetwork(network: object, hasPrefix: bool = True) -> Network:
    """
    A network that a caller gives.

    @param hasPrefix: whether it has to have a prefix length. Without, it would be one address and no more.

    @raise ValueError: it is none.
    """
    if isinstance(network, (IPv4Network, IPv6Network)):
        return network
    checkText(network, "a network", "10.0.0.0/24")
    net = ip_network(cast(str, network))
    if hasPrefix and "/" not in cast(str, network):
        wider = net.supernet(new_prefix=24 if net.version == 4 else 64)
        raise ValueError(f"{network!r} has no prefix length: give '{net}' for this address alone, or such as '{wider}'")
    return net


def _interface(address: object) -> Interface:
    """
    An address that a caller gives, with its network.

    @raise ValueError: it is none, or has no prefix length.
    """
    checkText(address, "an address", "10.0.0.2/24")
    interface = ip_interface(cast(str, address))
    if "/" not in cast(str, address):
        usual = 24 if interface.version == 4 else 64
        raise ValueError(
            f"{address!r} has no prefix length: give '{interface.ip}/{usual}', with that of its network, or"
            f" '{interface}' for an address that is alone in its network"
        )
    return interface


def _hasBroadcast(interface: Interface) -> bool:
    # Networks of one or two addresses have none to spare for themselves and a broadcast (RFC 3021).
    return interface.version == 4 and interface.network.prefixlen < 31
