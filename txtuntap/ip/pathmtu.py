"""
Path MTUs: the largest packet that reaches a destination without fragmentation, as learned from the ICMP errors of
routers.

Read RFC 1191 and RFC 8201 first.
"""

from __future__ import annotations

from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.wire.address import versionOf

#: The smallest path MTU that is believed, in octets, by IP version. Over IPv4, a smaller value is raised to this one,
#: because a forged error could otherwise split every datagram into tiny fragments (Linux: net.ipv4.route.min_pmtu).
#: Over IPv6, an error with a smaller value is ignored, because no link has such a small MTU (RFC 8201 section 4).
FLOOR = {4: 552, 6: 1280}

#: Seconds after which a path MTU is forgotten, because the path may allow larger packets by then (RFC 1191 section
#: 6.3, RFC 8201 section 5.3).
TIMEOUT = 600.0

#: The most destinations whose path MTU is remembered. Beyond that, the one learned longest ago is evicted.
MAX_PATHS = 1024

#: The usual MTUs of links, in octets. If the error of a router does not contain the MTU of its link, the largest of
#: these below the size of the dropped packet is tried (RFC 1191 section 7).
_PLATEAUS = (32000, 17914, 8166, 4352, 2002, 1492, 1006)


class PathMTUs:
    """
    A table of path MTUs, by packed destination address.

    @ivar known: the path MTU in octets, and the time in seconds at which it was learned, of each destination.
    """

    __slots__ = ("known",)

    def __init__(self) -> None:
        # A lookup by get does not count as a use, so the least recently used entry is the one learned longest ago.
        self.known: Table[bytes, tuple[int, float]] = Table("paths", MAX_PATHS, Policy.LEAST_RECENT)

    def __len__(self) -> int:
        return len(self.known)

    def tables(self) -> list[TableState]:
        """
        Return the states of the tables: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [self.known.state]

    def lookup(self, dest: bytes, now: float) -> int | None:
        """
        Look up the path MTU to a destination.

        @param dest: the packed destination.
        @param now: the time in seconds. A step backwards is allowed: it makes the table forget the entry.

        @return: the path MTU in octets; C{None} if it is not known.
        """
        mtu, learned = self.known.get(dest, (None, now))
        if mtu is not None and not 0 <= now - learned < TIMEOUT:
            del self.known[dest]
            return None
        return mtu

    def learn(self, dest: bytes, mtu: int, length: int, now: float) -> bool:
        """
        Learn a path MTU from the ICMP error of a router that dropped a packet because of its size.

        @param dest: the packed destination of the dropped packet.
        @param mtu: the MTU of the router's link in octets, as the error says; 0 if it says none.
        @param length: the length of the dropped packet in octets.
        @param now: the time in seconds.

        @return: whether the error is plausible. It is implausible in three cases: the packet was no larger than C{mtu},
            the packet was so small that every link carries it, or C{mtu} is below 1280 octets over IPv6.
        """
        version = versionOf(dest)
        if not mtu and version == 4:
            mtu = next((size for size in _PLATEAUS if size < length), FLOOR[4])
        floor = FLOOR[version]
        if mtu >= length or length <= floor or (mtu < floor and version == 6):
            return False
        known = self.lookup(dest, now)
        if known is None or mtu < known:
            self.known.put(dest, (max(mtu, floor), now))
        return True
