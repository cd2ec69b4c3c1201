"""
Drops: why a packet goes no further, the counter of that, and the ICMP error that answers it.
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
    A reason why a packet goes no further. Its value is the counter's name.

    @ivar counter: the name of the counter, as C{docs/bounds.md} explains it.
    @ivar error4: type and code of the ICMP error by which a host answers it over IPv4; L{None}: it does not.
    @ivar error6: type and code of the ICMPv6 error by which a host answers it over IPv6; L{None}: it does not.
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

    # Any layer
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

    # Ethernet
    OTHER_HOST = "inOtherHosts"
    VLAN = "inVlans"
    LENGTH_FRAME = "inLengthFrames"

    # IP
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

    # UDP
    NO_PORT = (
        "noPorts",
        (icmp.UNREACHABLE, icmp.PORT_UNREACHABLE),
        (icmp.UNREACHABLE6, icmp.PORT_UNREACHABLE6),
    )

    # TCP
    SEGMENT = "inErrs"

    # ICMP, ARP, neighbour discovery, groups
    UNKNOWN_MESSAGE = "inUnknown"
    DISBELIEVED_ERROR = "inDisbelieved"
    FRAGMENTED_MESSAGE = "inFragments"
    OTHER_ADDRESS = "inOthers"
    OTHER_REPORT = "inReports"

    # A switch
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

    # A tunnel
    NO_CARRIER = "outNotConnected"
    LEAVING_TRUNCATED = "outTruncated"
    LEAVING_OFFLOAD = "outOffloadErrors"
    FORBIDDEN_ADDRESS = "inForbidden"
    TOO_LONG = "inTooLong"
    FRAMING = "inFramingErrors"
    OTHER_PEER = "inOtherPeers"
    OTHER_NETWORK = "inOtherNetworks"


#: How a packet is dropped that a parser finds a fault in.
FAULT_DROPS = {
    Fault.HEADER: Drop.HEADER,
    Fault.OPTION: Drop.OPTION,
    Fault.SOURCE_ROUTE: Drop.SOURCE_ROUTE,
    Fault.OFFLOAD: Drop.OFFLOAD,
    Fault.UNKNOWN_OFFLOAD: Drop.UNKNOWN_OFFLOAD,
}


class Dropping:
    """
    The one method by which packets are dropped as they climb.

    @ivar counters: how often each thing happened, by name.
    @ivar onDropped: called with each packet that was dropped, and why: a host may have an answer to it.
    """

    counters: Counters
    onDropped: Callable[[Packet, Drop], None] | None = None

    def dropped(self, packet: Packet, drop: Drop) -> None:
        """
        Count a packet that goes no further.
        """
        self.counters[drop.counter] += 1
        if self.onDropped is not None:
            self.onDropped(packet, drop)
