"""
Flows of echo requests: the requests from one host to one address of ours, which the fast path answers.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from txtuntap.layer.fastpath import Known
from txtuntap.layer.flowheaders import recordHeaders
from txtuntap.wire import icmp, ipv4, ipv6
from txtuntap.wire.checksum import onesSum

if TYPE_CHECKING:
    from txtuntap.ip import IPProtocol
    from txtuntap.layer.counters import Counters
    from txtuntap.packet import Packet
    from txtuntap.transports import IPacketTransport, Route
    from txtuntap.wire.offload import Offload

_checksum = struct.Struct("!H").unpack_from

#: The type and the code of a reply, and the difference between the first word of a request and that of its reply.
_REPLIES = {4: (icmp.ECHO_REPLY << 8, (icmp.ECHO_REQUEST - icmp.ECHO_REPLY) << 8)}
_REPLIES[6] = icmp.ECHO_REPLY6 << 8, (icmp.ECHO_REQUEST6 - icmp.ECHO_REPLY6) << 8


class EchoFlow(Known):
    """
    The echo requests of one host to one of our addresses. The headers of two replies differ in their lengths, their
    checksums, the Traffic Class and the identification of IPv4.
    """

    __slots__ = (
        "_before",
        "_counters",
        "_ip",
        "_pack",
        "_pieces",
        "_pseudo",
        "_room",
        "_sender",
        "_sum",
        "protocol",
    )

    def __init__(
        self, ip: IPProtocol, sender: IPacketTransport, route: Route, packet: Packet, counters: Counters
    ) -> None:
        """
        @param ip: the IP layer.
        @param sender: the port by which replies leave.
        @param route: the route of the replies.
        @param packet: a request of this flow, which the layers have received.
        @param counters: the counters of ICMP.
        """
        version = packet.version
        self.protocol = icmp.PROTOCOL[version]
        self._ip = ip
        self._sender = sender
        self._counters = counters
        self._room = ip.room(route)
        headers = recordHeaders(ip, route, self.protocol, [b""])
        if version == 4:
            at = len(headers) - ipv4.HEADER_LENGTH
            # Routers may fragment a reply, so no flag is set.
            middle = bytes(2) + headers[at + 8 : at + 10]
            # The sum of the words of the header that are the same in all replies.
            self._sum = onesSum(middle + headers[at + 12 :])
            self._pseudo = 0
            self._pieces = headers[:at], middle, headers[at + 12 :]
            self._pack = struct.Struct(f"!{at}sHHH4sH8sHH").pack
            self._before = ipv4.HEADER_LENGTH
        else:
            at = len(headers) - ipv6.HEADER_LENGTH
            self._sum = 0
            self._pseudo = onesSum(route.source + route.dest) + self.protocol
            self._pieces = headers[:at], headers[at + 6 :], b""
            self._pack = struct.Struct(f"!{at}sIH34sHH").pack
            self._before = ipv6.HEADER_LENGTH

    def received(
        self, data: bytes, start: int, end: int, third: int, fourth: int, offload: Offload | None, now: float
    ) -> bool:
        """
        Receive an ordinary packet of this flow: see L{Known.received<txtuntap.layer.fastpath.Known.received>}.
        """
        length = end - start
        if not icmp.HEADER_LENGTH <= length <= self._room or (offload is not None and offload.isUnfinished):
            return False
        isVersion4 = self._before == 20
        pseudo = 0 if isVersion4 else self._pseudo + length
        if (onesSum(data[start:end]) + pseudo) % 0xFFFF:
            return False
        counters = self._counters
        counters["inMsgs"] += 1
        counters["inEchos"] += 1
        counters["outEchoReps"] += 1
        kind, difference = _REPLIES[4 if isVersion4 else 6]
        # The type is the only difference to the request that the checksum covers (RFC 1624).
        check = (_checksum(data, start + 2)[0] + difference) % 0xFFFF
        first, middle, last = self._pieces
        if isVersion4:
            identification = self._ip.identification()
            total = length + 20
            # The version, the length of the header, and the Type of Service of the request.
            word = 0x4500 | data[start - 19]
            sums = -(self._sum + word + total + identification) % 0xFFFF
            header = self._pack(first, word, total, identification, middle, sums, last, kind, check)
        else:
            # The version and the Traffic Class of the request.
            word = data[start - 40] << 24 | (data[start - 39] & 0xF0) << 16
            header = self._pack(first, word, length, middle, kind, check)
        self._sender.writePacket([header, data[start + 4 : end]])
        return True
