"""
The addresses that a tunnel's peer is allowed: what comes from others it has made up.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network

from txtuntap.mistakes import checkText, listed
from txtuntap.wire import arp, ethernet, ipv6, ndp
from txtuntap.wire.address import packLinkAddress
from txtuntap.wire.offload import Offload

#: Addresses that were looked up.
MAX_KNOWN = 1024

_ICMP6 = 58
#: Options of neighbour discovery begin here, in messages of each type; and there is a target in two of them.
_OPTIONS = {
    ndp.ROUTER_SOLICITATION: 8,
    ndp.ROUTER_ADVERTISEMENT: 16,
    ndp.SOLICITATION: 24,
    ndp.ADVERTISEMENT: 24,
    137: 40,
}


class Allowed:
    """
    Networks and link addresses.

    With networks, IP packets are let through whose source is in one of them. On a tap so are ARP packets, and messages
    of neighbour discovery, which tell of an address in one; and nothing else, since only of these it is known whom they
    are from. There the unspecified address is let through, too: who has none yet asks from it (DHCP, RFC 5227, RFC
    4862). C{fe80::/10} is a network like any other.

    With link addresses (on a tap), frames are let through whose source is one of them, as long as no ARP packet or
    message of neighbour discovery in them tells of another.
    """

    def __init__(self, networks: Iterable[str] = (), linkAddresses: Iterable[str | bytes] = ()) -> None:
        """
        @param networks: such as C{"10.0.0.0/24"}, C{"fd00::2"}; none: any.
        @param linkAddresses: such as C{"02:00:00:00:00:01"}; none: any.

        @raise ValueError: one of them is none; a network has bits of a host.
        """
        self._networks: dict[int, list[tuple[int, int]]] = {4: [], 16: []}
        self._any = True
        for each in listed(networks, "networks", "10.0.0.0/24"):
            checkText(each, "a network", "10.0.0.0/24")
            network: IPv4Network | IPv6Network = ip_network(each)
            octets = network.max_prefixlen // 8
            self._networks[octets].append((int(network.netmask), int(network.network_address)))
            self._any = False
        self._linkAddresses = frozenset(
            map(packLinkAddress, listed(linkAddresses, "linkAddresses", "02:00:00:00:00:01"))
        )
        self._known: dict[bytes, bool] = {}

    def permitsPacket(self, packet: bytes | memoryview) -> bool:
        """
        Whether an IP packet, with its header whole, is from an address that is allowed.
        """
        if self._any:
            return True
        return self._isIn(bytes(packet[12:16] if packet[0] >> 4 == 4 else packet[8:24]))

    def permitsFrame(self, frame: bytes | memoryview, network: int) -> bool:
        """
        Whether a frame is.

        @param network: where what comes after its Ethernet header and tags begins.
        """
        stations = self._linkAddresses
        if stations and bytes(frame[6:12]) not in stations:
            return False
        etherType = int.from_bytes(frame[network - 2 : network], "big")
        # Only of what is short is more looked at than the source.
        if etherType == ethernet.ARP:
            return self._permitsARP(bytes(frame[network : network + arp.LENGTH]))
        if self._any and not stations:
            return True
        if etherType == ethernet.IPV4:
            source = bytes(frame[network + 12 : network + 16])
            return self._any or (len(source) == 4 and self._isInOrUnspecified(source))
        if etherType == ethernet.IPV6:
            source = bytes(frame[network + 8 : network + 24])
            if len(frame) < network + ipv6.HEADER_LENGTH or not (self._any or self._isInOrUnspecified(source)):
                return False
            return self._permitsDiscovery(frame, network)
        return self._any

    def permitsOpen(self, packet: bytes | memoryview, offload: Offload, network: int) -> bool:
        """
        Whether a checksum that is open is in none of what is looked at here, which finishing the packet would change.
        (A superpacket's is in a header of TCP or UDP.)
        """
        version = packet[network] >> 4 if network < len(packet) else 0
        if version == 4:
            return offload.checksumStart >= network + ((packet[network] & 0x0F) << 2)
        if version == 6 and len(packet) >= network + ipv6.HEADER_LENGTH:
            data = bytes(packet)
            *_, (kind, at) = ipv6.headerChain(data, network, len(data))
            return kind != _ICMP6 and kind not in ipv6.EXTENSIONS and offload.checksumStart >= at
        return False

    def _permitsARP(self, data: bytes) -> bool:
        if self._any and not self._linkAddresses:
            return True
        told = arp.parse(data)
        if told is None:
            return False
        if self._linkAddresses and told.senderLink not in self._linkAddresses:
            return False
        return self._any or self._isInOrUnspecified(told.sender)

    def _permitsDiscovery(self, frame: bytes | memoryview, network: int) -> bool:
        """
        Whether an IPv6 packet is no message of neighbour discovery, or one that tells of nothing but what is allowed.
        """
        if frame[network + 6] not in ipv6.EXTENSIONS and frame[network + 6] != _ICMP6:
            return True
        length = int.from_bytes(frame[network + 4 : network + 6], "big")
        if length or frame[network + 6] != ipv6.HOP_BY_HOP:
            # What comes after is padding. Where a jumbogram's length could be, Linux takes all there is.
            frame = frame[: network + ipv6.HEADER_LENGTH + length]
        data = bytes(frame)
        *_, (kind, at) = ipv6.headerChain(data, network, len(data))
        if kind in ipv6.EXTENSIONS:
            # Nobody knows here what comes after; a receiver that reads more headers does. In a fragment that is not the
            # first, it believes no neighbour discovery (RFC 6980), and has the address from the first.
            return kind == ipv6.FRAGMENT and at + 8 <= len(data)
        if kind != _ICMP6 or at >= len(data) or data[at] not in _OPTIONS:
            return True
        message = data[at:]
        if message[0] == ndp.ADVERTISEMENT and not (self._any or self._isIn(message[8:24])):
            return False
        return not self._linkAddresses or self._toldLinks(message) <= self._linkAddresses

    def _toldLinks(self, message: bytes) -> set[bytes]:
        """
        The link addresses that a message of neighbour discovery tells of.
        """
        told = set()
        at = _OPTIONS[message[0]]
        while at + 8 <= len(message) and message[at + 1]:
            if message[at] in (ndp.SOURCE_LINK, ndp.TARGET_LINK):
                told.add(message[at + 2 : at + 8])
            at += message[at + 1] * 8
        return told

    def _isInOrUnspecified(self, address: bytes) -> bool:
        return not any(address) or self._isIn(address)

    def _isIn(self, address: bytes) -> bool:
        known = self._known.get(address)
        if known is None:
            value = int.from_bytes(address, "big")
            known = any(value & mask == first for mask, first in self._networks.get(len(address), ()))
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[address] = known
        return known
