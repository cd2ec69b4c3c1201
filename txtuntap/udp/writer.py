"""
The writer of a UDP transport: how its datagrams leave, alone, in a train, or behind headers that were kept.
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
    Sends the datagrams of one transport whose route has been found, and keeps what the next ones may leave with.

    L{UDPTransport.write<txtuntap.udp.transport.UDPTransport.write>} looks at what is kept first, and comes here where
    that does not serve.

    @ivar train: the datagrams that wait to leave, if any do; or those that did, since more of their kind may follow.
    @ivar answered: the flow that was answered last.
    @ivar headers: the headers of its answers; L{None} until it has been answered twice, one answer after another.
    """

    __slots__ = ("answered", "headers", "train")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """
        Keep nothing: the next datagram may leave by another route than the one before.
        """
        self.train: Train | None = None
        self.answered: Flow | None = None
        self.headers: UDPHeaders | None = None

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
        Send one datagram to one host. Never raises.

        @param source: the UDP port it comes from; C{dest} is the one it goes to.
        @param flow: the packed addresses of C{route}, and both ports, as in its header.
        @param addr: what the application wrote it to.
        @param answeredFlow: the flow with the datagram just being delivered, if this answers it.
        """
        below = ip.port(route)
        if below is None or not below.offloads & CSUM:
            header = udp.packHeader(route.source, route.dest, source, dest, payload)
            return ip.output(route, udp.PROTOCOL, [header, payload])
        length = len(payload)
        if (
            # Two of them have to fit into one superpacket, and each the link.
            0 < length <= udp.MAX_PAYLOAD[4] // 2
            and (batches := below.batches) is not None
            and batches.collects(flow)
            and length + udp.HEADER_LENGTH <= ip.room(route)
        ):
            self.train = Train(ip, below, batches, route, (source, dest), flow, addr, payload)
            return
        header = udp.packOpenHeader(route.source, route.dest, source, dest, length)
        ip.output(route, udp.PROTOCOL, [header, payload], offload=OPEN)
        if answeredFlow is not None:
            # A peer that was answered the last time, too, is likely to be the next time.
            isRepeated, self.answered = self.answered is answeredFlow, answeredFlow
            self.headers = UDPHeaders(ip, below, route, (source, dest)) if isRepeated else None
