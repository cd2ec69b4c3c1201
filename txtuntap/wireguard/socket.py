"""
The contract between WireGuard and the UDP socket outside, and the implementation by any C{IReactorUDP}.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorUDP
from twisted.internet.protocol import DatagramProtocol
from zope.interface import Attribute, Interface, implementer

from txtuntap.wireguard.endpoint import Endpoint

#: Octets of a datagram that are received: all that UDP can have.
MAX_DATAGRAM = 65535

#: A message that is sent.
Message = bytes | memoryview

#: Called with messages that have come from one endpoint, and the ECN field that all of them have.
Received = Callable[[list[bytes], Endpoint, int], object]


class ISocket(Interface):
    """
    A UDP socket for both versions of IP.
    """

    port: int = Attribute("The UDP port that it listens on; 0 while it is closed.")

    def open(port: int, mark: int, received: Received) -> None:
        """
        Listen for messages of peers.

        @param port: 0 takes a free one.
        @param mark: the mark of packets that leave (C{SO_MARK}); 0: none.

        @raise CannotListenError: the port is taken.
        """

    def close() -> Deferred[None]:
        """
        Stop listening for messages. Closing twice is harmless.
        """

    def send(messages: Sequence[Message], endpoint: Endpoint, trafficClass: int) -> int:
        """
        Send messages to one endpoint, in their order.

        @param trafficClass: the octet of that name (over IPv4, the type of service) of their packets.

        @return: how many of them could not be sent.
        """


@implementer(ISocket)
class DatagramSocket(DatagramProtocol):
    """
    A socket on whatever has C{listenUDP}: a L{Host<txtuntap.Host>}, so that whole networks run simulated; or a reactor.

    C{IReactorUDP} knows no mark and no traffic class. Only the transports of a L{Host<txtuntap.Host>} take the latter.
    """

    noisy = False
    transport: Any

    def __init__(self, udp: IReactorUDP) -> None:
        self._udp = udp
        self._listening: Any = None
        self._received: Received | None = None
        self._takesClass = False

    @property
    def port(self) -> int:
        """
        The UDP port, as L{ISocket} says.
        """
        return 0 if self._listening is None else int(self._listening.getHost().port)

    def open(self, port: int, mark: int, received: Received) -> None:
        """
        Listen, as L{ISocket.open} says.
        """
        if mark:
            raise CannotListenError("", port, OSError(f"{self._udp!r} cannot mark packets: fwmark is 0 there"))
        self._received = received
        self._listening = self._udp.listenUDP(port, self, "", MAX_DATAGRAM)
        self._takesClass = hasattr(self.transport, "trafficClass")

    def close(self) -> Deferred[None]:
        """
        Stop listening, as L{ISocket.close} says.
        """
        listening, self._listening = self._listening, None
        self._received = None
        return maybeDeferred(lambda: None) if listening is None else maybeDeferred(listening.stopListening)

    def send(self, messages: Sequence[Message], endpoint: Endpoint, trafficClass: int) -> int:
        """
        Send messages, as L{ISocket.send} says.
        """
        address = endpoint.route or (endpoint.host, endpoint.port)
        if self._takesClass:
            self.transport.trafficClass = trafficClass
        failed = 0
        for message in messages:
            try:
                self.transport.write(bytes(message), address)
            except OSError:
                failed += 1
        return failed

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """
        One message has come.
        """
        if self._received is not None:
            packet = getattr(self.transport, "packet", None)
            mark = 0 if packet is None else packet.trafficClass & 3
            # A host's address knows the route back.
            self._received([datagram], Endpoint(addr[0], addr[1], addr), mark)
