"""
Datagrams that are written one after another and leave together: as one superpacket, in one system call.

What is written to one destination while a port reads, or within its C{batch}, waits for more of its kind: a I{train}.
There is one at a time. It leaves when it is full, when a shorter datagram ends it, before anything else is written, and
at the latest at the end of the turn of the reactor. So the order is that of writing, and no more is held than one IP
datagram can carry.
"""

from __future__ import annotations

from typing import Any

from zope.interface import implementer

from txtuntap.interfaces import IBatches, IIPTransport, IPacketTransport, ITrain, Route
from txtuntap.mistakes import checkOctets
from txtuntap.udp.headers import OPEN, UDPHeaders, openBehind
from txtuntap.wire import udp
from txtuntap.wire.offload import MAX_DATAGRAMS


@implementer(ITrain)
class Train:
    """
    Datagrams of one size from one port to another, by one route. In the same epoch, it may be used again once it has
    left: when something about routes changes, another epoch begins.

    @ivar addr: what the application wrote them to.
    @ivar size: octets in each of them; -1 while none waits.
    @ivar most: how many there may be.
    @ivar datagrams: their payloads.
    @ivar flow: as L{IBatches.collects} has it.
    """

    __slots__ = (
        "_batches",
        "_epoch",
        "_headers",
        "_ip",
        "_port",
        "_ports",
        "_route",
        "_size",
        "addr",
        "datagrams",
        "flow",
        "most",
        "size",
    )

    def __init__(
        self,
        ip: IIPTransport,
        port: IPacketTransport,
        batches: IBatches,
        route: Route,
        ports: tuple[int, int],
        flow: bytes,
        addr: Any,
        first: bytes,
    ) -> None:
        """
        @param port: the transport that it leaves by.
        @param batches: that of C{port}, which it waits with.
        @param ports: of UDP: where the datagrams come from and go to.
        @param first: the first of them, not empty.
        """
        self.addr = addr
        self.size = -1
        self.most = min(MAX_DATAGRAMS, udp.MAX_PAYLOAD[4] // len(first))
        self.datagrams: list[bytes] = []
        self._size = len(first)
        self._ip = ip
        self._port = port
        self._batches = batches
        self._ports = ports
        self._route = route
        self.flow = flow
        self._epoch = batches.epoch
        # For one datagram alone they are not worth making.
        self._headers: UDPHeaders | None = None
        self._begin(first)

    def _begin(self, datagram: bytes) -> None:
        """
        Wait, after what waits before has left.
        """
        self._batches.hold(self)
        self.datagrams = [datagram]
        self.size = self._size

    def add(self, data: bytes) -> bool:
        """
        Have one more, if it is of the kind.
        """
        if type(data) is not bytes:
            checkOctets(data, "a datagram")
        datagram = bytes(data)
        length = len(datagram)
        if self.size > 0:
            if not 0 < length <= self.size:
                return False
            self.datagrams.append(datagram)
            if length < self.size or len(self.datagrams) >= self.most:
                self.end()
            return True
        headers = self._headers
        if (
            headers is None
            or length != self._size
            or self._epoch != self._batches.epoch
            or not self._batches.collects(self.flow)
        ):
            return False
        self._begin(datagram)
        return True

    def resume(self, datagram: bytes) -> bool:
        """
        In another epoch, have the first of an answer to the same flow as before, or send it.

        @return: whether it is of the kind, and the headers are what they were.
        """
        headers = self._headers
        if self.size > 0 or headers is None or len(datagram) != self._size or not headers.fit(self._size):
            return False
        self._epoch = self._batches.epoch
        if self._batches.collects(self.flow):
            self._begin(datagram)
        else:
            headers.port.writePacket([headers.pack(self._size), datagram], openBehind(headers.before))
        return True

    def end(self) -> None:
        """
        Have no more, and leave, if any waits.
        """
        if self.size > 0:
            self._batches.release()

    def leave(self) -> int:
        """
        See L{ITrain.leave}.
        """
        self.size = -1
        datagrams, self.datagrams = self.datagrams, []
        count = len(datagrams)
        if count > 1 and self._headers is None and self._ip.port(self._route) is self._port:
            self._headers = UDPHeaders(self._ip, self._port, self._route, self._ports)
        headers = self._headers
        if headers is None or not headers.usable:
            for datagram in datagrams:
                header = udp.packOpenHeader(self._route.source, self._route.dest, *self._ports, len(datagram))
                self._ip.output(self._route, udp.PROTOCOL, [header, datagram], offload=OPEN)
            return count
        length = self._size * (count - 1) + len(datagrams[-1])
        offload = openBehind(headers.before, self._size if count > 1 else 0)
        headers.port.writePacket([headers.pack(length), *datagrams], offload)
        return count
