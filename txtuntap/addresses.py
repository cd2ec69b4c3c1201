"""
A host's own addresses: what is for it, who may be answered, and where an answer leaves from.
"""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface, ip_interface, ip_network

from txtuntap.wire.address import LIMITED_BROADCAST, isHost, packAddress, solicitedNode

Interface = IPv4Interface | IPv6Interface

#: Groups that every host is in (RFC 1112 section 4, RFC 4291 section 2.8).
ALL_HOSTS = ("224.0.0.1", "ff01::1", "ff02::1")

#: How many senders are remembered as having an address that may be answered.
MAX_VETTED = 4096


class Addresses:
    """
    The addresses of a host.

    @ivar interfaces: each with its network, in the order they were added.
    @ivar local: packed addresses that packets are delivered for: our own, broadcasts and groups.
    @ivar broadcasts: packed addresses of everybody on a network of ours.
    @ivar vetted: packed addresses of senders that L{maySend} has found nothing against.
    """

    def __init__(self) -> None:
        self.interfaces: list[Interface] = []
        self._own: set[bytes] = set()
        self._networks: list[tuple[int, int, int]] = []
        self._groups: set[bytes] = set(map(packAddress, ALL_HOSTS))
        self.local: set[bytes] = set()
        self.broadcasts: set[bytes] = set()
        self.vetted: set[bytes] = set()
        self._collect()

    def add(self, address: str) -> Interface:
        """
        Have one more address.

        @param address: in CIDR notation; without a prefix length, it is alone in its network.

        @raise ValueError: it is no address that a host can have, or is ours already.
        """
        interface = ip_interface(address)
        network = interface.network
        ends = (network.network_address, network.broadcast_address) if _hasBroadcast(interface) else ()
        if not isHost(interface.packed) or interface.ip in ends:
            raise ValueError(f"{interface} is not an address that a host can have")
        if interface.packed in self._own:
            raise ValueError(f"{interface.ip} is an address of this host already")
        self.interfaces.append(interface)
        self._collect()
        return interface

    def remove(self, address: str | bytes) -> Interface:
        """
        Have one address less.

        @param address: without its prefix length.

        @raise ValueError: it is not ours.
        """
        packed = packAddress(address)
        for interface in self.interfaces:
            if interface.packed == packed:
                self.interfaces.remove(interface)
                self._collect()
                return interface
        raise ValueError(f"{address!r} is no address of this host")

    def addNetwork(self, network: str) -> None:
        """
        Take packets to every address of a network for ours ("AnyIP").

        @param network: in CIDR notation.

        @raise ValueError: it is none.
        """
        net = ip_network(network)
        self._networks.append((net.max_prefixlen // 8, int(net.netmask), int(net.network_address)))

    def owns(self, address: bytes) -> bool:
        """
        Whether a packed address is one of ours, or in a network that we take for ours.
        """
        if address in self._own:
            return True
        if not self._networks or not isHost(address) or address in self.broadcasts:
            return False
        number = int.from_bytes(address, "big")
        return any(number & mask == network for size, mask, network in self._networks if size == len(address))

    def isOwn(self, address: bytes) -> bool:
        """
        Whether a packed address is one of ours by itself.
        """
        return address in self._own

    def isNeighbour(self, address: bytes) -> bool:
        """
        Whether a packed address can be that of one other host.
        """
        return isHost(address) and address not in self.broadcasts and address not in self._own

    def maySend(self, source: bytes, dest: bytes) -> bool:
        """
        Whether a packet to us may come from an address (RFC 1122 section 3.2.1.3): not from a group's, nor the
        loopback, nor one of our own ("LAND"), nor that of a whole network.
        """
        if source in self._own or source in self.broadcasts:
            return False
        if not isHost(source):
            # Who has no address yet has nothing better to give: DHCP's discovery, duplicate address detection.
            return not any(source) and (dest[0] == 0xFF if len(source) == 16 else dest == LIMITED_BROADCAST)
        if len(self.vetted) >= MAX_VETTED:
            self.vetted.clear()
        self.vetted.add(source)
        return True

    def sourceFor(self, dest: bytes) -> bytes | None:
        """
        Which of our addresses a datagram to C{dest} leaves from: one whose network holds it, of those one whose network
        is smallest; or else one of its scope, and of those, over IPv6, the one that begins most like it, so that a
        unique local address is not what the Internet is written to from (RFC 6724 section 5, rules 2, 6 and 8); or else
        the first.

        @return: L{None} if there is none of its version.
        """
        if dest in self._own:
            return dest
        number = int.from_bytes(dest, "big")
        linkLocal = _isLinkLocal(dest)

        def fit(own: Interface) -> tuple[bool, int, int]:
            holds = int(own.network.netmask) & number == int(own.network.network_address)
            alike = 0 if own.version == 4 else min(128 - (int(own.ip) ^ number).bit_length(), own.network.prefixlen)
            return own.ip.is_link_local == linkLocal, own.network.prefixlen if holds else -1, alike

        candidates = [own for own in self.interfaces if len(own.packed) == len(dest)]
        return max(candidates, key=fit).packed if candidates else None

    def _collect(self) -> None:
        self._own = {interface.packed for interface in self.interfaces}
        self.broadcasts = {LIMITED_BROADCAST}
        self.broadcasts |= {own.network.broadcast_address.packed for own in self.interfaces if _hasBroadcast(own)}
        solicited = {solicitedNode(own.packed) for own in self.interfaces if own.version == 6}
        self.local = self._own | self.broadcasts | self._groups | solicited
        self.vetted.clear()


def _hasBroadcast(interface: Interface) -> bool:
    # Networks of one or two addresses have none to spare for themselves and a broadcast (RFC 3021).
    return interface.version == 4 and interface.network.prefixlen < 31


def _isLinkLocal(address: bytes) -> bool:
    """
    Whether a packed address means something on one link only: link-local, or a group of that scope.
    """
    if len(address) == 4:
        return address[:2] == b"\xa9\xfe"
    return (address[0] == 0xFE and address[1] & 0xC0 == 0x80) or (address[0] == 0xFF and address[1] & 0x0F == 2)
