"""
The addresses that a tunnel's peer is allowed: what comes from others it has made up.
"""

from __future__ import annotations

from collections.abc import Iterable

from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.layer.prefixes import prefixSet
from txtuntap.mistakes import checkText, listed
from txtuntap.wire import arp, ethernet, ipv6, ndp
from txtuntap.wire.address import packLinkAddress
from txtuntap.wire.routerguard import configures, frameConfigures, isDisguised, isHidden

#: Addresses that were looked up.
MAX_KNOWN = 1024

_ICMP6 = 58
#: Options of neighbour discovery begin here, in messages of each type; and there is a target in two of them.
_OPTIONS = {
    ndp.ROUTER_SOLICITATION: 8,
    ndp.ROUTER_ADVERTISEMENT: 16,
    ndp.SOLICITATION: 24,
    ndp.ADVERTISEMENT: 24,
    ndp.REDIRECT: 40,
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

    A frame is dropped if its receiver may read further than this does, or otherwise: one with more tags than are looked
    behind, or with headers of SNAP that carry an EtherType, or with a packet of another version of IP than its
    EtherType says; a packet with more extension headers; neighbour discovery in fragments.

    Unless the peer may be a router, it sends no router advertisements and no redirects, and nothing to the ports of
    DHCP clients (see L{txtuntap.wire.routerguard}).
    """

    def __init__(
        self, networks: Iterable[str] = (), linkAddresses: Iterable[str | bytes] = (), router: bool = False
    ) -> None:
        """
        @param networks: such as C{"10.0.0.0/24"}, C{"fd00::2"}; none: any.
        @param linkAddresses: such as C{"02:00:00:00:00:01"}; none: any.
        @param router: whether the peer may be a router and a DHCP server.

        @raise ValueError: one of them is none; a network has bits of a host.
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
        See L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [self._known.state]

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

        @param network: where what comes after its Ethernet header and tags begins; see
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
        Whether a packet that is from where it may be is not one by which only a router, or a DHCP server, configures
        others; or the peer may be one.

        @param network: where its IP header begins; of a frame, what comes after its Ethernet header and tags.
        """
        if self._isRouter:
            return True
        return not (frameConfigures(packet, network) if isFrame else configures(packet, network))

    def _permitsARP(self, data: bytes) -> bool:
        if self._any and not self._linkAddresses:
            return True
        told = arp.parse(data)
        if told is None:
            return False
        if self._linkAddresses and told.senderLink not in self._linkAddresses:
            return False
        # A probe (RFC 5227) has no sender yet, and takes its target away from another station that probes for it.
        return self._any or self._isInOrUnspecified(told.sender if any(told.sender) else told.target)

    def _permitsDiscovery(self, frame: bytes | memoryview, network: int) -> bool:
        """
        Whether an IPv6 packet is no message of neighbour discovery, or one that tells of nothing but what is allowed.
        """
        if frame[network + 6] not in ipv6.EXTENSIONS and frame[network + 6] != _ICMP6:
            return True
        upper = ipv6.upperLayer(frame, network)
        if upper.protocol is None:
            # A receiver that reads more headers knows what comes after. A later fragment has its address, and all
            # headers (RFC 8200 section 4.5), from the first.
            return upper.isLater
        if upper.protocol != _ICMP6:
            return True
        message = bytes(frame[upper.start : upper.end])
        if not message:
            return not upper.isFragment
        if message[0] not in _OPTIONS:
            return True
        if upper.isFragment:
            # No receiver may believe it (RFC 6980), and what it tells may be in another fragment.
            return False
        if not self._any and message[0] in (ndp.SOLICITATION, ndp.ADVERTISEMENT):
            # A station that solicits from the unspecified address is about to take the target (RFC 4862 section 5.4.3).
            isClaim = message[0] == ndp.ADVERTISEMENT or not any(frame[network + 8 : network + 24])
            # A message that is cut short has a part of an address only.
            if isClaim and not (len(message) >= 24 and self._isIn(message[8:24])):
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
            known = self._networks.match(address) is not None
            self._known.put(address, known)
        return known
