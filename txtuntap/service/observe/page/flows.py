"""
The flows and the protocols of an interface, counted while somebody looks at the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from struct import Struct
from typing import Any

from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.middleware import CaptureSink
from txtuntap.wire import pcapng
from txtuntap.wire.ipv6 import upperLayer
from txtuntap.wire.offload import networkStart

#: The most flows that are counted; the most of them that are shown.
MAX_FLOWS, MAX_SHOWN = 1024, 50

#: A flow: our address and port, the peer's, and the IP protocol number. A port is 0 where there is none.
Flow = tuple[bytes, int, bytes, int, int]

_TCP, _UDP = 6, 17

#: The name of all packets, whatever their protocol.
ALL = "all"

#: The layers above IP by their protocol number.
_LAYERS = {1: "icmp", 58: "icmp", _TCP: "tcp", _UDP: "udp"}

#: The source and the destination port, which begin the headers of TCP and of UDP.
_PORTS = Struct("!HH")


class Protocols:
    """
    The packets of each protocol. A layer counts those that it drops, and the layers of a host count no others. So the
    picture of the stack has its rates from here.

    @ivar packets: by the name of a layer's counters, the packets with its protocol that go up, and those that go down;
        of L{ALL}, each packet. ICMP, UDP and TCP have no fragments but the first.
    """

    def __init__(self, isEthernet: bool) -> None:
        """
        @param isEthernet: whether packets are Ethernet frames.
        """
        self.packets = {layer: [0, 0] for layer in (ALL, "ip", *_LAYERS.values())}
        self._isEthernet = isEthernet
        self._before = {layer: (0, 0) for layer in self.packets}

    def observe(self, packet: bytes, isInbound: bool) -> None:
        """
        Count a packet in its protocols.
        """
        self.count(_flowOf(packet, self._isEthernet, isInbound), isInbound)

    def count(self, found: tuple[Flow, bool] | None, isInbound: bool) -> None:
        """
        Count a packet whose flow is known.

        @param found: the flow, and whether the packet is no later fragment; C{None}: the packet is not IP.
        """
        way = 0 if isInbound else 1
        packets = self.packets
        packets[ALL][way] += 1
        if found is not None:
            packets["ip"][way] += 1
            flow, isFirst = found
            layer = _LAYERS.get(flow[4])
            if layer is not None and isFirst:
                packets[layer][way] += 1

    def rates(self, seconds: float) -> dict[str, tuple[float, float]]:
        """
        Compute the packets a second up and down of each layer, since the call before.

        @param seconds: the seconds since the call before.
        """
        now = {layer: (up, down) for layer, (up, down) in self.packets.items()}
        before, self._before = self._before, now
        return {
            layer: ((up - before[layer][0]) / seconds, (down - before[layer][1]) / seconds)
            for layer, (up, down) in now.items()
        }


class FlowSink(CaptureSink):
    """
    A sink of a L{Capture<txtuntap.middleware.Capture>} that counts the packets and octets of each flow, and records
    nothing.

    @ivar flows: for each flow, the packets and octets to the protocol, and those from the protocol.
    """

    def __init__(self, protocols: Protocols | None = None) -> None:
        """
        @param protocols: counts each packet, too; C{None}: there is none.
        """
        super().__init__()
        self._protocols = protocols
        self.flows: Table[Flow, list[int]] = Table("flows of a page", MAX_FLOWS, Policy.LEAST_RECENT)
        self._isEthernet = False

    def __str__(self) -> str:
        return "the page"

    def begin(self, linkType: int, name: str, time: int, comments: Sequence[str] = ()) -> None:
        """
        Learn the kind of packets. A sink that is used again forgets its flows.
        """
        self._isEthernet = linkType == pcapng.ETHERNET
        self.flows.clear()

    def record(self, packet: bytes, time: int, direction: int, length: int = 0, comments: Sequence[str] = ()) -> bool:
        """
        Count the packet in its flow. A packet that is not IP is ignored.
        """
        isInbound = direction == pcapng.INBOUND
        found = _flowOf(packet, self._isEthernet, isInbound)
        if self._protocols is not None:
            self._protocols.count(found, isInbound)
        if found is not None:
            flow, _ = found
            counts = self.flows.get(flow)
            if counts is None:
                counts = [0, 0, 0, 0]
                self.flows.put(flow, counts)
            first = 0 if isInbound else 2
            counts[first] += 1
            counts[first + 1] += len(packet)
        return True

    def end(self, time: int) -> None:
        """
        Do nothing: the flows stay until the sink is used again.
        """

    def tables(self) -> list[TableState]:
        """
        Return how full the table of flows is: see
        L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [self.flows.state]

    def busiest(self, before: dict[Flow, list[int]], seconds: float) -> list[dict[str, Any]]:
        """
        List the flows with the most octets since the call before.

        @param before: what the call before has left here: the counts of each flow. It is filled anew.
        @param seconds: the seconds since the call before.
        """
        found = []
        for flow, counts in self.flows.items():
            old = before.get(flow, _NOTHING)
            rates = [perSecond(new, one, seconds) for new, one in zip(counts, old, strict=True)]
            found.append((rates[1] + rates[3], counts[1] + counts[3], flow, rates, list(counts)))
        found.sort(key=lambda each: each[:2], reverse=True)
        before.clear()
        before.update({flow: counts for _, _, flow, _, counts in found})
        return [_plain(flow, rates, counts) for _, _, flow, rates, counts in found[:MAX_SHOWN]]


def perSecond(now: int, before: int, seconds: float) -> float:
    """
    Compute the rate of a counter. If the counter is lower than before, it has begun again at 0.

    @param seconds: the seconds between the two readings of the counter.
    """
    return (now - before if now >= before else now) / seconds


_NOTHING = [0, 0, 0, 0]


def _flowOf(packet: bytes, isEthernet: bool, isInbound: bool) -> tuple[Flow, bool] | None:
    """
    Find the flow of a packet.

    @return: the flow, and whether the packet is no later fragment; C{None}: the packet is not IP, or too short.
    """
    start = networkStart(packet) if isEthernet else 0
    if len(packet) < start + 20:
        return None
    version = packet[start] >> 4
    if version == 4:
        protocol = packet[start + 9]
        source, dest = packet[start + 12 : start + 16], packet[start + 16 : start + 20]
        transport = start + (packet[start] & 15) * 4
        isFirst = not (packet[start + 6] & 0x1F or packet[start + 7])
    elif version == 6 and len(packet) >= start + 40:
        source, dest = packet[start + 8 : start + 24], packet[start + 24 : start + 40]
        upper = upperLayer(packet, start)
        protocol, transport, isFirst = upper.protocol or packet[start + 6], upper.start, not upper.isLater
    else:
        return None
    ports = (0, 0)
    if protocol in (_TCP, _UDP) and isFirst and len(packet) >= transport + 4:
        ports = _PORTS.unpack_from(packet, transport)
    if isInbound:
        return (dest, ports[1], source, ports[0], protocol), isFirst
    return (source, ports[0], dest, ports[1], protocol), isFirst


def _plain(flow: Flow, rates: list[float], counts: list[int]) -> dict[str, Any]:
    host, hostPort, peer, peerPort, protocol = flow
    names = "inPackets", "inOctets", "outPackets", "outOctets"
    return {
        "protocol": protocol,
        "host": {"host": str(ip_address(host)), "port": hostPort},
        "peer": {"host": str(ip_address(peer)), "port": peerPort},
        **dict(zip(names, counts, strict=True)),
        "rates": dict(zip(names, rates, strict=True)),
    }
