"""
The answers of a host to packets that its layers drop: some get an ICMP error.
"""

from __future__ import annotations

from collections.abc import Callable

from txtuntap.layer.drops import Drop
from txtuntap.packet import Packet
from txtuntap.stack.icmp import ICMPProtocol
from txtuntap.wire import icmp, ipv6

#: A payload of nothing: nobody has to know it (RFC 8200 section 4.7).
_NO_NEXT_HEADER = 59

#: The types of errors that point to an octet of the packet, in ICMP and in ICMPv6.
_POINTING = frozenset((icmp.PARAMETER_PROBLEM, icmp.PARAMETER_PROBLEM6))


class DropAnswers:
    """
    Sends the ICMP errors that L{Drop} has for packets that IP and UDP drop.
    """

    __slots__ = ("_icmp", "_isOwn")

    def __init__(self, icmp: ICMPProtocol, isOwn: Callable[[bytes], bool]) -> None:
        """
        @param icmp: sends the errors, as far as they may be sent.
        @param isOwn: tells whether a packed address is ours by itself.
        """
        self._icmp = icmp
        self._isOwn = isOwn

    def dropped(self, packet: Packet, drop: Drop) -> None:
        """
        Answer a packet that was dropped, if there is an answer.

        @param packet: C{start} is at what is wrong, where one octet is.
        """
        if not packet.data:
            # Nothing is known of it but that it has not come whole.
            return
        four = packet.version == 4
        if drop is Drop.ADDRESS and not four and self._isOwn(packet.sourceAddress):
            return self._icmp.claimed(packet)
        error = drop.error4 if four else drop.error6
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
        # In ICMP, it is the first of the four octets; in ICMPv6, it is all of them.
        self._icmp.error(packet, *error, pointer << 24 if four else pointer)
