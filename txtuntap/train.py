"""
Datagrams on their way down that leave together: as one superpacket, in one system call.

What is written to one destination while a port reads, or within its C{batch}, waits for more of its kind: a I{train}.
There is one at a time. It leaves when it is full, when a shorter datagram ends it, before anything else is written, and
at the latest at the end of the turn of the reactor. So the order is that of writing, and no more is held than one IP
datagram can carry.
"""

from __future__ import annotations

from typing import Any

from txtuntap.udpheaders import UDPHeaders, openBehind
from txtuntap.wire import udp
from txtuntap.wire.offload import MAX_DATAGRAMS


class Train:
    """
    Datagrams of one size from one port to another. In the same turn of the reactor, it may be used again once it has
    left.

    @ivar addr: what the application wrote them to.
    @ivar size: octets in each of them; -1 while none waits.
    @ivar most: how many there may be.
    @ivar datagrams: their payloads.
    """

    __slots__ = ("_headers", "_size", "_turn", "addr", "datagrams", "most", "size")

    def __init__(self, headers: UDPHeaders, addr: Any, size: int) -> None:
        """
        @param size: octets in each datagram, more than none.
        """
        self.addr = addr
        self.size = -1
        self.most = min(MAX_DATAGRAMS, udp.MAX_PAYLOAD[4] // size)
        self.datagrams: list[bytes] = []
        self._headers = headers
        self._size = size
        self._turn = headers.port.turn

    def begin(self, datagram: bytes) -> None:
        """
        Wait, with a first datagram of C{size}. What waits before leaves.
        """
        self._headers.port.hold(self)
        self.datagrams = [datagram]
        self.size = self._size
        if self.most == 1:
            self.end()

    def add(self, datagram: bytes) -> bool:
        """
        Have one more, if it is of the kind.
        """
        length = len(datagram)
        if self.size > 0:
            if not 0 < length <= self.size:
                return False
            self.datagrams.append(bytes(datagram))
            if length < self.size or len(self.datagrams) == self.most:
                self.end()
            return True
        port = self._headers.port
        if length != self._size or self._turn != port.turn or not port.collects(self._headers.way):
            return False
        self.begin(bytes(datagram))
        return True

    def end(self) -> None:
        """
        Have no more, and leave, if any waits.
        """
        if self.size > 0:
            self._headers.port.release()

    def leave(self) -> None:
        """
        Be sent: called by the port alone.
        """
        self.size = -1
        datagrams, self.datagrams = self.datagrams, []
        headers = self._headers
        count = len(datagrams)
        length = self._size * (count - 1) + len(datagrams[-1])
        offload = openBehind(headers.before, self._size if count > 1 else 0)
        headers.port.writePacket([headers.pack(length), *datagrams], offload)
