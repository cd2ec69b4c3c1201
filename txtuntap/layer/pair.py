"""
Receivers for protocols that have only the C{datagramReceived} of C{twisted.pair}. The arguments of this call are the
fields of the headers.

Each function takes a protocol and returns a receiver, a function that is called with each packet. The receiver looks up
the protocol's method at every call, because applications replace the method on instances.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from txtuntap.layer.layer import Layer
from txtuntap.layer.table import Receiver
from txtuntap.packet import Packet
from txtuntap.wire import ipv4, ipv6


def deviceReceiver(proto: Any) -> Receiver:
    """
    Make the receiver for a protocol right on a port. The receiver calls C{datagramReceived(data, partial=...)}, as
    C{twisted.pair} does.

    A method that also has the parameters C{dest}, C{source} and C{protocol} of C{IRawPacketProtocol} gets these, too.
    C{dest} and C{source} are C{None}, because there are no stations on a tun. C{protocol} is the EtherType.
    """
    names = inspect.signature(proto.datagramReceived).parameters
    if not {"dest", "source", "protocol"} <= set(names):

        def short(packet: Packet) -> None:
            with _within(proto, packet):
                proto.datagramReceived(bytes(packet), partial=packet.partial)

        return short

    def full(packet: Packet) -> None:
        etherType = packet.readEtherType
        if not etherType and len(packet):
            etherType = {4: 0x0800, 6: 0x86DD}.get(packet.data[packet.start] >> 4, 0)
        with _within(proto, packet):
            proto.datagramReceived(bytes(packet), partial=packet.partial, dest=None, source=None, protocol=etherType)

    return full


@contextmanager
def _within(proto: Any, packet: Packet) -> Iterator[None]:
    """
    Keep the packet in the C{outer} of a L{Layer} while its C{datagramReceived} runs, because the call's arguments do
    not include the packet.
    """
    if not isinstance(proto, Layer):
        yield
        return
    before, proto.outer = proto.outer, packet
    try:
        yield
    finally:
        proto.outer = before


def framePayloadReceiver(proto: Any) -> Receiver:
    """
    Make the receiver for an C{IRawPacketProtocol} on Ethernet.
    """

    def receive(packet: Packet) -> None:
        with _within(proto, packet):
            proto.datagramReceived(
                data=bytes(packet),
                partial=packet.partial,
                dest=packet.linkDest,
                source=packet.readLinkSource,
                protocol=packet.readEtherType,
            )

    return receive


def datagramReceiver(proto: Any) -> Receiver:
    """
    Make the receiver for an C{IRawDatagramProtocol} on IP.

    The arguments have the names of IPv4's fields. For an IPv6 packet, C{tos} is the traffic class, C{ihl} the length of
    all headers before the payload in octets, C{tot_len} the length of the datagram in octets, and C{ttl} the hop limit.
    The other arguments describe a datagram that is not a fragment and may not be fragmented.
    """

    def receive(packet: Packet) -> None:
        data = packet.data
        network = packet.network
        fields: dict[str, Any]
        if packet.version == 4:
            header = ipv4.IPHeader(data[network : network + ipv4.HEADER_LENGTH])
            fields = vars(header)
        else:
            first, length, _, hopLimit = ipv6.HEADER.unpack_from(data, network)
            fields = {
                "version": 6,
                "ihl": packet.transport - network,
                "tos": first >> 20 & 0xFF,
                "tot_len": ipv6.HEADER_LENGTH + length,
                "fragment_id": 0,
                "fragment_offset": 0,
                "dont_fragment": True,
                "more_fragments": False,
                "ttl": hopLimit,
            }
        with _within(proto, packet):
            proto.datagramReceived(
                data=bytes(packet),
                partial=packet.partial,
                source=packet.source,
                dest=packet.dest,
                protocol=packet.protocol,
                version=fields["version"],
                ihl=fields["ihl"],
                tos=fields["tos"],
                tot_len=fields["tot_len"],
                fragment_id=fields["fragment_id"],
                fragment_offset=fields["fragment_offset"],
                dont_fragment=fields["dont_fragment"],
                more_fragments=fields["more_fragments"],
                ttl=fields["ttl"],
            )

    return receive
