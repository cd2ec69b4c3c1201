"""
The largest packet that gets to a destination in one piece, as far as routers have told (RFC 1191, RFC 8201).
"""

from __future__ import annotations

from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.wire.address import versionOf

#: No path is believed to be narrower, by IP version. A router that says so over IPv4 would have every
#: datagram cut into crumbs (Linux: net.ipv4.route.min_pmtu); over IPv6 it lies (RFC 8201 section 4).
FLOOR = {4: 552, 6: 1280}

#: Seconds after which a path may have become wider (RFC 1191 section 6.3, RFC 8201 section 5.3).
TIMEOUT = 600.0

#: Destinations remembered; the oldest goes.
MAX_PATHS = 1024

#: Where a router does not say how narrow its link is, the next smaller of the sizes that links have is tried
#: (RFC 1191 section 7).
_PLATEAUS = (32000, 17914, 8166, 4352, 2002, 1492, 1006)


class PathMTUs:
    """
    A table of path MTUs, by packed destination address.

    @ivar known: each, with when it was learned.
    """

    def __init__(self) -> None:
        # Each is put anew when it is learned: the one learned longest ago is the first.
        self.known: Table[bytes, tuple[int, float]] = Table("paths", MAX_PATHS, Policy.LEAST_RECENT)

    def __len__(self) -> int:
        return len(self.known)

    def tables(self) -> list[TableState]:
        """
        See L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [self.known.state]

    def lookup(self, dest: bytes, now: float) -> int | None:
        """
        @param now: seconds; may step backwards.

        @return: octets, or L{None} if nothing is known.
        """
        mtu, learned = self.known.get(dest, (None, now))
        if mtu is not None and not 0 <= now - learned < TIMEOUT:
            del self.known[dest]
            return None
        return mtu

    def learn(self, dest: bytes, mtu: int, length: int, now: float) -> bool:
        """
        A router had to drop a packet for its size.

        @param mtu: what would have fitted, in octets; 0 if the router did not say.
        @param length: of the packet, in octets.

        @return: whether that makes sense: what is not smaller than the packet cannot be why, and nor can what every
            link carries.
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
