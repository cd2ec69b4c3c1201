"""
A filter of the source addresses from which a tunnel's peer may send.

Read RFC 826 (ARP), RFC 4861 section 4 (messages of neighbour discovery) and RFC 6980 (their fragments) first.
"""

from __future__ import annotations

from collections.abc import Iterable

from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.layer.prefixes import prefixSet
from txtuntap.mistakes import checkText, listed
from txtuntap.wire import arp, ethernet, ipv6, ndp
from txtuntap.wire.address import packLinkAddress
from txtuntap.wire.routerguard import configures, frameConfigures, isDisguised, isHidden

#: The greatest number of cached results of address lookups.
MAX_KNOWN = 1024

_ICMP6 = 58
#: The offset in octets at which the options of a message of neighbour discovery begin, by message type.
_OPTIONS = {
    ndp.ROUTER_SOLICITATION: 8,
    ndp.ROUTER_ADVERTISEMENT: 16,
    ndp.SOLICITATION: 24,
    ndp.ADVERTISEMENT: 24,
    ndp.REDIRECT: 40,
}


class Allowed:
    """
    The networks and link addresses that a tunnel's peer may use as sources.

    If networks are given, an IP packet is permitted if its source is in one of them. On a tap, the address that an ARP
    packet or a message of neighbour discovery announces must be in one of them, too. A frame with neither IP nor ARP is
    dropped, because its sender cannot be verified. On a tap, the unspecified address is permitted as a source, too,
    because a host without an address sends from it (DHCP, RFC 5227, RFC 4862). C{fe80::/10} is not permitted unless it
    is given.

    If link addresses are given (on a tap), a frame is permitted if its source is one of them. An ARP packet or a
    message of neighbour discovery within the frame must not announce another link address.

    A frame is dropped if its receiver may find other addresses in it than this filter does:

      - a frame with more VLAN tags than the filter parses, or with SNAP headers that carry an EtherType;
      - a packet whose IP version contradicts the EtherType, or with more extension headers than the filter parses;
      - fragmented neighbour discovery.

    Unless the peer may be a router, its router advertisements, its redirects, and its packets to the ports of DHCP
    clients are dropped (see L{txtuntap.wire.routerguard}).
    """

    def __init__(
        self, networks: Iterable[str] = (), linkAddresses: Iterable[str | bytes] = (), router: bool = False
    ) -> None:
        """
        @param networks: the permitted networks, such as C{"10.0.0.0/24"}, C{"fd00::2"}. If empty, every network is
            permitted.
        @param linkAddresses: the permitted link addresses, such as C{"02:00:00:00:00:01"}. If empty, every link address
            is permitted.
        @param router: whether the peer may be a router and a DHCP server.

        @raise ValueError: a text is not a network or a link address, or a network has host bits set.
        """
        networks = listed(networks, "networks", "10.0.0.0/24")
        for network in networks:
            checkText(network, "a network", "10.0.0.0/24")
        self._networks = prefixSet(networks)
        self._any = not self._networks
        self._linkAddresses = frozenset(
            map(packLinkAddress, listed(linkAddresses, "linkAddresses", "02:00:00:00:00:01"))
        )
        self._isRouter = router
        self._known: Table[bytes, bool] = Table("allowed", MAX_KNOWN, Policy.FORGET_ALL)

    def tables(self) -> list[TableState]:
        """
        Return how full the cache of lookups is: see
        L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [self._known.state]

    def permitsPacket(self, packet: bytes | memoryview) -> bool:
        """
        Whether the source of an IP packet is permitted.

        @param packet: the packet, with at least a complete IP header.
        """
        if self._any:
            return True
        return self._isIn(bytes(packet[12:16] if packet[0] >> 4 == 4 else packet[8:24]))

    def permitsFrame(self, frame: bytes | memoryview, network: int) -> bool:
        """
        Whether the source addresses of an Ethernet frame, and of the packet within it, are permitted.

        @param network: the offset in octets of the payload behind the Ethernet header and its VLAN tags; see
            L{networkStart<txtuntap.wire.offload.networkStart>}.
        """
        stations = self._linkAddresses
        if stations and bytes(frame[6:12]) not in stations:
            return False
        etherType = int.from_bytes(frame[network - 2 : network], "big")
        if etherType == ethernet.ARP:
            return self._permitsARP(bytes(frame[network : network + arp.LENGTH]))
        if etherType == ethernet.IPV4:
            if isDisguised(frame, network, 4):
                return False
            source = bytes(frame[network + 12 : network + 16])
            return self._any or (len(source) == 4 and self._isInOrUnspecified(source))
        if etherType == ethernet.IPV6:
            source = bytes(frame[network + 8 : network + 24])
            if isDisguised(frame, network, 6):
                return False
            if len(frame) < network + ipv6.HEADER_LENGTH or not (self._any or self._isInOrUnspecified(source)):
                return False
            return self._permitsDiscovery(frame, network)
        return self._any and not isHidden(frame, network)

    def permitsRole(self, packet: bytes | memoryview, network: int, isFrame: bool) -> bool:
        """
        Whether the peer may send a packet that only certain roles send. A packet by which a router or a DHCP server
        configures other hosts is permitted only if C{router} was given. Other packets are always permitted.

        @param network: the offset in octets of the IP header; in a frame, of the payload behind the Ethernet header and
            its VLAN tags.
        @param isFrame: whether C{packet} is an Ethernet frame.
        """
        if self._isRouter:
            return True
        return not (frameConfigures(packet, network) if isFrame else configures(packet, network))

    def _permitsARP(self, data: bytes) -> bool:
        if self._any and not self._linkAddresses:
            return True
        announced = arp.parse(data)
        if announced is None:
            return False
        if self._linkAddresses and announced.senderLink not in self._linkAddresses:
            return False
        # A probe (RFC 5227) has no sender address. Its target is checked, because a probe for an address keeps another
        # station from configuring that address.
        return self._any or self._isInOrUnspecified(announced.sender if any(announced.sender) else announced.target)

    def _permitsDiscovery(self, frame: bytes | memoryview, network: int) -> bool:
        """
        Whether an IPv6 packet passes the check of neighbour discovery. A message of neighbour discovery passes if it
        announces only permitted addresses. Every other packet passes.
        """
        if frame[network + 6] not in ipv6.EXTENSIONS and frame[network + 6] != _ICMP6:
            return True
        upper = ipv6.upperLayer(frame, network)
        if upper.protocol is None:
            # The chain of headers is longer than this filter parses, so a receiver may find neighbour discovery behind
            # it. A later fragment is harmless, because the receiver takes its addresses and headers from the first one
            # (RFC 8200 section 4.5).
            return upper.isLater
        if upper.protocol != _ICMP6:
            return True
        message = bytes(frame[upper.start : upper.end])
        if not message:
            return not upper.isFragment
        if message[0] not in _OPTIONS:
            return True
        if upper.isFragment:
            # A receiver must ignore a fragmented message (RFC 6980). Its addresses may be in another fragment.
            return False
        if not self._any and message[0] in (ndp.SOLICITATION, ndp.ADVERTISEMENT):
            # A station that solicits from the unspecified address is about to claim the target address (RFC 4862
            # section 5.4.3).
            isClaim = message[0] == ndp.ADVERTISEMENT or not any(frame[network + 8 : network + 24])
            # A truncated message may lack a part of the target address.
            if isClaim and not (len(message) >= 24 and self._isIn(message[8:24])):
                return False
        return not self._linkAddresses or self._announcedLinks(message) <= self._linkAddresses

    def _announcedLinks(self, message: bytes) -> set[bytes]:
        """
        Return the link addresses that the options of a message of neighbour discovery announce.
        """
        announced = set()
        at = _OPTIONS[message[0]]
        while at + 8 <= len(message) and message[at + 1]:
            if message[at] in (ndp.SOURCE_LINK, ndp.TARGET_LINK):
                announced.add(message[at + 2 : at + 8])
            at += message[at + 1] * 8
        return announced

    def _isInOrUnspecified(self, address: bytes) -> bool:
        return not any(address) or self._isIn(address)

    def _isIn(self, address: bytes) -> bool:
        known = self._known.get(address)
        if known is None:
            known = self._networks.match(address) is not None
            self._known.put(address, known)
        return known
