"""
The ICMP errors that a host sends because its layers have dropped a packet.

Read RFC 1122 section 3.2.2 and RFC 4443 section 2.4 first.
"""

from __future__ import annotations

from collections.abc import Callable

from txtuntap.layer.drops import Drop
from txtuntap.packet import Packet
from txtuntap.stack.icmp import ICMPProtocol
from txtuntap.wire import icmp, ipv6

#: The next header value of a packet without a payload. No protocol has to be known for it (RFC 8200 section 4.7).
_NO_NEXT_HEADER = 59

#: The types of the ICMP and ICMPv6 errors that have a pointer to an octet of the dropped packet.
_POINTING = frozenset((icmp.PARAMETER_PROBLEM, icmp.PARAMETER_PROBLEM6))


class DropAnswers:
    """
    Sends the ICMP errors about packets that IP and UDP have dropped. L{Drop} has the error of each reason.
    """

    __slots__ = ("_icmp", "_isOwn")

    def __init__(self, icmp: ICMPProtocol, isOwn: Callable[[bytes], bool]) -> None:
        """
        @param icmp: sends the errors that RFC 1122 and RFC 4443 permit.
        @param isOwn: returns whether a packed address is one of the host's own, and not just in an AnyIP network.
        """
        self._icmp = icmp
        self._isOwn = isOwn

    def dropped(self, packet: Packet, drop: Drop) -> None:
        """
        Send the ICMP error about a dropped packet, if the reason of the drop has one.

        @param packet: the dropped packet. If one octet is wrong, C{start} is the offset of that octet.
        @param drop: the reason.
        """
        if not packet.data:
            # The first fragment is missing, so there is nothing that an error could quote.
            return
        isIPv4 = packet.version == 4
        if drop is Drop.ADDRESS and not isIPv4 and self._isOwn(packet.sourceAddress):
            return self._icmp.ownSourceReceived(packet)
        error = drop.error4 if isIPv4 else drop.error6
        if error is None:
            return
        pointer = 0
        if error[0] in _POINTING:
            field = packet.start
            if drop is Drop.UNKNOWN_PROTOCOL:
                field = ipv6.nextHeaderField(packet.data, packet.network, packet.transport)
                if packet.data[field] == _NO_NEXT_HEADER:
                    return
            pointer = field - packet.network
        # The pointer is the first octet of the header's second word in ICMP, and the whole word in ICMPv6.
        self._icmp.error(packet, *error, pointer << 24 if isIPv4 else pointer)
