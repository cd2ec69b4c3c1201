"""
Trains: datagrams that are written one after another, and sent as one superpacket in one system call.

While a port reads, or within its C{batch}, a datagram is not sent at once. It waits for more datagrams of the same size
to the same destination: they are a I{train}. A port has one train at a time. The train is sent when it is full, when a
shorter datagram ends it, or before the port writes another packet. It is sent at the end of the turn of the reactor at
the latest. So datagrams are sent in the order in which they were written, and a train is never longer than one IP
datagram.
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
    Datagrams of one size and one flow, which leave by one route. After it was sent, a train may be filled again in the
    same epoch. Each read, batch and change of routes begins a new epoch, in which L{resume} first checks the route.

    @ivar addr: the address that the application passed to C{write}.
    @ivar size: the octets of payload in each datagram; -1 while no datagram waits.
    @ivar most: the most datagrams in the train.
    @ivar datagrams: the payloads of the datagrams that wait.
    @ivar flow: the key of the datagrams in C{IUDPLayer.written} or C{IUDPLayer.answered}.
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
        "_trafficClass",
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
        trafficClass: int,
    ) -> None:
        """
        @param ip: the IP layer that sends the datagrams.
        @param port: the port by which the train leaves.
        @param batches: the C{batches} of C{port}, which hold the train until it leaves.
        @param route: the route of the datagrams.
        @param ports: the UDP source port and destination port.
        @param flow: the key of the datagrams in C{IUDPLayer.written} or C{IUDPLayer.answered}.
        @param addr: the address that the application passed to C{write}.
        @param first: the payload of the first datagram, not empty.
        @param trafficClass: the Traffic Class octet of the datagrams.
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
        self._trafficClass = trafficClass
        self.flow = flow
        self._epoch = batches.epoch
        # None until the train is sent with two datagrams or more: for a single one, prepared headers cost too much.
        self._headers: UDPHeaders | None = None
        self._begin(first)

    def _begin(self, datagram: bytes) -> None:
        """
        Begin the train with its first datagram. If the port holds another train, that one leaves first.
        """
        self._batches.hold(self)
        self.datagrams = [datagram]
        self.size = self._size

    def add(self, data: bytes) -> bool:
        """
        Add a datagram to the train, if it fits. While the train waits, a datagram of its size fits, and so does a
        shorter one, which ends the train. After the train was sent, a datagram of its size begins it anew. This needs
        the same epoch, prepared headers, and a port that collects datagrams now.

        @return: whether the datagram fitted.
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
        Use the train again in a new epoch, for an answer to the same flow. The answer begins the train anew, or is sent
        at once if the port collects no datagrams now.

        @return: whether this was possible. It is impossible while datagrams wait, for a datagram of another size, and
            if no prepared headers exist or they are not right any more.
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
        Send the train, if a datagram waits in it.
        """
        if self.size > 0:
            self._batches.release()

    def leave(self) -> int:
        """
        Send the datagrams that wait: see L{ITrain.leave}.
        """
        self.size = -1
        datagrams, self.datagrams = self.datagrams, []
        count = len(datagrams)
        if count > 1 and self._headers is None and self._ip.port(self._route) is self._port:
            self._headers = UDPHeaders(self._ip, self._port, self._route, self._ports, self._trafficClass)
        headers = self._headers
        if headers is None or not headers.usable:
            for datagram in datagrams:
                header = udp.packOpenHeader(self._route.source, self._route.dest, *self._ports, len(datagram))
                self._ip.output(
                    self._route, udp.PROTOCOL, [header, datagram], offload=OPEN, trafficClass=self._trafficClass
                )
            return count
        length = self._size * (count - 1) + len(datagrams[-1])
        offload = openBehind(headers.before, self._size if count > 1 else 0)
        headers.port.writePacket([headers.pack(length), *datagrams], offload)
        return count
