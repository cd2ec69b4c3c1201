"""
The writer of a UDP transport: it sends each datagram alone, in a train, or behind prepared headers.
"""

from __future__ import annotations

from typing import Any

from txtuntap.interfaces import IIPTransport, Route
from txtuntap.udp.flow import Flow
from txtuntap.udp.headers import OPEN, UDPHeaders
from txtuntap.udp.train import Train
from txtuntap.wire import udp
from txtuntap.wire.offload import CSUM


class UDPWriter:
    """
    Sends the datagrams of one transport after their route was found. It keeps a train and prepared headers for the next
    datagrams. L{UDPTransport.write<txtuntap.udp.transport.UDPTransport.write>} tries these two first, and calls L{send}
    if neither is right for the datagram.

    @ivar train: the last train. Its datagrams wait, or were sent. A sent train may be filled again. C{None}: there is
        none.
    @ivar answered: the flow that was answered last.
    @ivar headers: the prepared headers of answers to C{answered}; C{None} until two answers in a row were for this
        flow.
    @ivar flow: the key of the datagrams with these headers in C{IUDPLayer.answered}.
    @ivar trafficClass: the Traffic Class octet of the datagrams. After a change of it, L{forget} has to be called.
    """

    __slots__ = ("answered", "flow", "headers", "trafficClass", "train")

    def __init__(self) -> None:
        self.trafficClass = 0
        self.forget()

    def forget(self) -> None:
        """
        Discard the train and the prepared headers, because the next datagram may have another route or traffic class.
        """
        self.train: Train | None = None
        self.answered: Flow | None = None
        self.headers: UDPHeaders | None = None
        self.flow = b""

    def send(
        self,
        ip: IIPTransport,
        route: Route,
        source: int,
        dest: int,
        flow: bytes,
        payload: bytes,
        addr: Any,
        answeredFlow: Flow | None,
    ) -> None:
        """
        Send one datagram to one host. This method never raises.

        @param ip: the IP layer.
        @param route: the route of the datagram.
        @param source: the UDP source port.
        @param dest: the UDP destination port.
        @param flow: the key of the datagram in C{IUDPLayer.written} or C{IUDPLayer.answered}.
        @param payload: the payload of the datagram.
        @param addr: the address that the application passed to C{write}.
        @param answeredFlow: the flow that this datagram answers, if it is written during the delivery of a datagram;
            C{None} otherwise.
        """
        below = ip.port(route)
        if below is None or not below.offloads & CSUM:
            header = udp.packHeader(route.source, route.dest, source, dest, payload)
            return ip.output(route, udp.PROTOCOL, [header, payload], trafficClass=self.trafficClass)
        length = len(payload)
        if (
            # Two datagrams have to fit into one superpacket, and each datagram into one packet.
            0 < length <= udp.MAX_PAYLOAD[4] // 2
            and (batches := below.batches) is not None
            and batches.collects(flow)
            and length + udp.HEADER_LENGTH <= ip.room(route)
        ):
            self.train = Train(ip, below, batches, route, (source, dest), flow, addr, payload, self.trafficClass)
            return
        header = udp.packOpenHeader(route.source, route.dest, source, dest, length)
        ip.output(route, udp.PROTOCOL, [header, payload], offload=OPEN, trafficClass=self.trafficClass)
        if answeredFlow is not None:
            # Prepared headers pay off only if the same peer is answered repeatedly.
            isRepeated, self.answered = self.answered is answeredFlow, answeredFlow
            self.flow = flow
            ports = source, dest
            self.headers = UDPHeaders(ip, below, route, ports, self.trafficClass) if isRepeated else None
