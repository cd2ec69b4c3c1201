"""
The reasons why packets are dropped. Each reason has a counter, and may have an ICMP error that answers the packet.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, unique

from txtuntap.layer.counters import Counters
from txtuntap.packet import Packet
from txtuntap.wire import icmp
from txtuntap.wire.fault import Fault


@unique
class Drop(Enum):
    """
    A reason why a packet is dropped. Its value is the name of its counter.

    @ivar counter: the name of the counter, as C{docs/bounds.md} explains it.
    @ivar error4: the type and the code of the ICMP error that a host sends for an IPv4 packet; C{None}: it sends none.
    @ivar error6: the type and the code of the ICMPv6 error that a host sends for an IPv6 packet; C{None}: it sends
        none.
    """

    counter: str
    error4: tuple[int, int] | None
    error6: tuple[int, int] | None

    def __new__(
        cls, counter: str, error4: tuple[int, int] | None = None, error6: tuple[int, int] | None = None
    ) -> Drop:
        drop = object.__new__(cls)
        drop._value_ = drop.counter = counter
        drop.error4 = error4
        drop.error6 = error6
        return drop

    # Drops of every layer
    MALFORMED = "inErrors"
    CHECKSUM = "inCsumErrors"
    OFFLOAD = "inOffloadErrors"
    UNKNOWN_OFFLOAD = "inUnknownOffloads"
    UNKNOWN_PROTOCOL = (
        "inUnknownProtos",
        (icmp.UNREACHABLE, icmp.PROTOCOL_UNREACHABLE),
        (icmp.PARAMETER_PROBLEM6, icmp.UNRECOGNIZED_NEXT_HEADER6),
    )
    LEAVING_DISCARDED = "outDiscards"
    DISCARDED = "inDiscards"

    # Drops of Ethernet
    OTHER_HOST = "inOtherHosts"
    VLAN = "inVlans"
    LENGTH_FRAME = "inLengthFrames"

    # Drops of IP
    HEADER = "inHdrErrors"
    TRUNCATED = "inTruncatedPkts"
    ADDRESS = "inAddrErrors"
    OPTION = (
        "inOptErrors",
        (icmp.PARAMETER_PROBLEM, 0),
        (icmp.PARAMETER_PROBLEM6, icmp.UNRECOGNIZED_OPTION6),
    )
    SOURCE_ROUTE = "inSourceRoutes", None, (icmp.PARAMETER_PROBLEM6, 0)
    FRAGMENT = "inFragErrors", None, (icmp.PARAMETER_PROBLEM6, 0)
    FRAGMENT_HEADERS = "inFragHdrErrors", None, (icmp.PARAMETER_PROBLEM6, icmp.INCOMPLETE_HEADER_CHAIN6)
    DUPLICATE_FRAGMENT = "reasmDuplicates"
    OVERLAPPING_FRAGMENT = "reasmOverlaps"
    REASSEMBLY_TIMEOUT = (
        "reasmTimeouts",
        (icmp.TIME_EXCEEDED, icmp.REASSEMBLY_TIME_EXCEEDED),
        (icmp.TIME_EXCEEDED6, icmp.REASSEMBLY_TIME_EXCEEDED),
    )
    REASSEMBLY = "reasmFails"

    # Drops of UDP
    NO_PORT = (
        "noPorts",
        (icmp.UNREACHABLE, icmp.PORT_UNREACHABLE),
        (icmp.UNREACHABLE6, icmp.PORT_UNREACHABLE6),
    )

    # Drops of TCP
    SEGMENT = "inErrs"

    # Drops of ICMP, ARP, Neighbour Discovery and groups
    UNKNOWN_MESSAGE = "inUnknown"
    DISBELIEVED_ERROR = "inDisbelieved"
    FRAGMENTED_MESSAGE = "inFragments"
    OTHER_ADDRESS = "inOthers"
    OTHER_REPORT = "inReports"

    # Drops of a switch
    RESERVED_GROUP = "inReserved"
    SOURCE = "inSourceErrors"
    FORBIDDEN_SOURCE = "inForbiddenSources"
    FORBIDDEN_ROLE = "inForbiddenRoles"
    SAME_PORT = "inLocal"
    ISOLATED_PORT = "inIsolated"
    BROADCAST_STORM = "stormBroadcasts"
    MULTICAST_STORM = "stormMulticasts"
    UNKNOWN_STORM = "stormUnknowns"
    LEAVING_VLAN = "outVlans"
    LEAVING_TOO_LONG = "mtuExceededDiscards"

    # Drops of a tunnel
    NO_CARRIER = "outNotConnected"
    LEAVING_TRUNCATED = "outTruncated"
    LEAVING_OFFLOAD = "outOffloadErrors"
    FORBIDDEN_ADDRESS = "inForbidden"
    TOO_LONG = "inTooLong"
    FRAMING = "inFramingErrors"
    OTHER_PEER = "inOtherPeers"
    OTHER_NETWORK = "inOtherNetworks"

    # WireGuard
    NO_PEER = (
        "outNoPeers",
        (icmp.UNREACHABLE, icmp.HOST_UNREACHABLE),
        (icmp.UNREACHABLE6, icmp.ADDRESS_UNREACHABLE6),
    )
    NO_ENDPOINT = (
        "outNoEndpoints",
        (icmp.UNREACHABLE, icmp.HOST_UNREACHABLE),
        (icmp.UNREACHABLE6, icmp.ADDRESS_UNREACHABLE6),
    )


#: The reason for the drop of a packet in which a parser has found a fault.
FAULT_DROPS = {
    Fault.HEADER: Drop.HEADER,
    Fault.OPTION: Drop.OPTION,
    Fault.SOURCE_ROUTE: Drop.SOURCE_ROUTE,
    Fault.OFFLOAD: Drop.OFFLOAD,
    Fault.UNKNOWN_OFFLOAD: Drop.UNKNOWN_OFFLOAD,
}


class Dropping:
    """
    The base class of objects that drop received packets. All drops are made by L{dropped}.

    @ivar counters: the number of events of each kind, by name.
    @ivar onDropped: called with each dropped packet and the reason, so that a host can answer with an ICMP error.
        C{None}: nothing is called.
    """

    counters: Counters
    onDropped: Callable[[Packet, Drop], None] | None = None

    def dropped(self, packet: Packet, drop: Drop) -> None:
        """
        Count a packet that is dropped, and report it to C{onDropped}.
        """
        self.counters[drop.counter] += 1
        if self.onDropped is not None:
            self.onDropped(packet, drop)
