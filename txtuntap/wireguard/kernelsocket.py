"""
The UDP socket of the kernel: one port for both versions of IP, and many messages in one system call.

Read ip(7), ipv6(7) and udp(7) first: C{IP_PKTINFO}, C{UDP_SEGMENT} and C{UDP_GRO}.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from txtuntap.device.platform import platformName
from txtuntap.wireguard.endpoint import Endpoint
from txtuntap.wireguard.socket import MAX_DATAGRAM, ISocket, Message, Received

#: Constants of Linux that Python's socket module lacks, at least on other systems, where this module is imported, too
#: (C{asm-generic/socket.h}, C{linux/udp.h}, C{linux/in.h}, C{linux/in6.h}).
SO_MARK: Final[int] = getattr(socket, "SO_MARK", 36)
UDP_SEGMENT: Final = 103
UDP_GRO: Final = 104
IP_PKTINFO: Final = 8
IP_MTU_DISCOVER: Final = 10
IP_RECVTOS: Final = 13
IPV6_MTU_DISCOVER: Final = 23
IPV6_RECVPKTINFO: Final = 49
IPV6_PKTINFO: Final = 50
IPV6_RECVTCLASS: Final = 66
PMTUDISC_DONT: Final = 0

#: Segments that the kernel cuts one write into, at most, and their octets.
MAX_SEGMENTS: Final = 64
MAX_WRITE: Final = 65507 - 8

#: Octets that wait in the kernel, in each direction; the kernel may grant less (C{net.core.rmem_max}).
BUFFER: Final = 7 << 20

#: Reads in one turn of the reactor, which then serves others.
MAX_READS: Final = 64

#: Octets for the control messages of one read.
_CONTROL: Final = 256

#: Addresses whose L{Endpoint}s are kept from one read to the next, for each version of IP, at most.
MAX_ENDPOINTS: Final = 1024

#: Tries to find a port that is free for both versions of IP.
_TRIES: Final = 100

#: Errors of a source address or interface that is gone, and of a route that led by it.
_SOURCE_GONE: Final = {errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENODEV, errno.EINVAL}

_uint16 = struct.Struct("@H").pack
_int = struct.Struct("@i")

_Control = tuple[int, int, bytes]

#: The calls of a socket by the names that they have on UNIX.
_Receiving = Callable[[int, int], tuple[bytes, Sequence[_Control], int, Any]]
_Sending = Callable[[Sequence[Message], Sequence[_Control], int, tuple[str, int]], int]


if sys.platform == "win32":
    # Python has no such calls on Windows. There, no control message is asked for, and each message is sent alone.

    def _receiving(made: socket.socket) -> _Receiving:
        def recvmsg(size: int, controlSize: int) -> tuple[bytes, Sequence[_Control], int, Any]:
            data, address = made.recvfrom(size)
            return data, (), 0, address

        return recvmsg

    def _sending(made: socket.socket) -> _Sending:
        def sendmsg(run: Sequence[Message], control: Sequence[_Control], flags: int, address: tuple[str, int]) -> int:
            return made.sendto(run[0], flags, address)

        return sendmsg
else:

    def _receiving(made: socket.socket) -> _Receiving:
        """
        Return the call that receives a datagram with its control messages.
        """
        return made.recvmsg

    def _sending(made: socket.socket) -> _Sending:
        """
        Return the call that sends buffers with control messages.
        """
        return made.sendmsg


@implementer(ISocket)
class KernelSocket:
    """
    The socket of this machine, on a reactor.
    """

    def __init__(self, reactor: Any) -> None:
        """
        @raise TypeError: C{reactor} waits for no descriptors.
        """
        if not IReactorFDSet.providedBy(reactor):
            raise TypeError(
                f"{reactor!r} waits for no descriptors (IReactorFDSet): give outside=, such as a Host, or the reactor"
            )
        self._reactor = reactor
        self._ends: dict[int, _End] = {}
        self.port = 0

    def open(self, port: int, mark: int, received: Received) -> None:
        """
        Listen, as L{ISocket.open} says.
        """
        for _ in range(_TRIES):
            try:
                self._ends = self._bound(port, mark, received)
                break
            except OSError as e:
                if port or e.errno != errno.EADDRINUSE:
                    raise CannotListenError("", port, e) from e
        else:
            raise CannotListenError("", port, OSError(errno.EADDRINUSE, "no port is free for both versions of IP"))
        for end in self._ends.values():
            self._reactor.addReader(end)

    def _bound(self, port: int, mark: int, received: Received) -> dict[int, _End]:
        """
        Bind a socket of each version of IP to one port.
        """
        ends: dict[int, _End] = {}
        try:
            for end in _End4, _End6:
                try:
                    made = socket.socket(end.family, socket.SOCK_DGRAM)
                except OSError:
                    # A kernel without IPv6.
                    continue
                made.setblocking(False)
                ends[end.version] = end(made, received)
                ends[end.version].prepare(mark)
                made.bind(("", port))
                port = made.getsockname()[1]
        except OSError:
            for each in ends.values():
                each.socket.close()
            raise
        self.port = port
        return ends

    def close(self) -> Deferred[None]:
        """
        Stop listening, as L{ISocket.close} says.
        """
        ends, self._ends = self._ends, {}
        self.port = 0
        for end in ends.values():
            self._reactor.removeReader(end)
            end.socket.close()
        return succeed(None)

    def send(self, messages: Sequence[Message], endpoint: Endpoint, trafficClass: int) -> int:
        """
        Send messages, as L{ISocket.send} says.
        """
        end = self._ends.get(6 if ":" in endpoint.host else 4)
        return len(messages) if end is None else end.send(messages, endpoint, trafficClass)


@implementer(IReadDescriptor)
class _End:
    """
    The socket of one version of IP.
    """

    version: int
    family: int
    #: The protocol level of its options; those that tell and set the traffic class, and the local address and interface
    #: of a datagram; and the options that are set at the beginning, with their values.
    level: int
    classOption: int
    infoOption: int
    options: tuple[tuple[int, int], ...]

    def __init__(self, made: socket.socket, received: Received) -> None:
        self.socket = made
        self._received = received
        self._endpoints: dict[tuple[Any, ...], Endpoint] = {}
        # The other options and control messages of this module are those of Linux.
        self._isLinux = self._segments = platformName() == "linux"

    def prepare(self, mark: int) -> None:
        """
        Set the options of the socket.

        @raise OSError: C{mark} is not 0, and this platform has no marks (C{ENOTSUP}).
        """
        made = self.socket
        if not self._isLinux:
            if mark:
                raise OSError(errno.ENOTSUP, f"{platformName()} cannot mark packets: leave fwmark 0")
            if self.family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            return
        for option, forced in (socket.SO_RCVBUF, 33), (socket.SO_SNDBUF, 32):
            try:
                # SO_RCVBUFFORCE and SO_SNDBUFFORCE, which root may use.
                made.setsockopt(socket.SOL_SOCKET, forced, BUFFER)
            except OSError:
                made.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        if mark:
            made.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
        with suppress(OSError):
            made.setsockopt(socket.SOL_UDP, UDP_GRO, 1)
        for option, value in self.options:
            made.setsockopt(self.level, option, value)

    # IReadDescriptor

    def fileno(self) -> int:
        """
        The descriptor that the reactor waits for.
        """
        return self.socket.fileno()

    def logPrefix(self) -> str:
        """
        The name in log lines.
        """
        return "WireGuard"

    def connectionLost(self, reason: Failure) -> None:
        """
        Close the socket, because the reactor stops.
        """
        self.socket.close()

    def doRead(self) -> None:
        """
        Read what has come.
        """
        read = _receiving(self.socket)
        for _ in range(MAX_READS):
            try:
                data, control, _, address = read(MAX_DATAGRAM, _CONTROL)
            except BlockingIOError:
                return
            except OSError:
                # An ICMP error for what was sent: others are not to suffer from it.
                continue
            self._taken(data, control, address)
            if self.socket.fileno() < 0:
                return

    def _taken(self, data: bytes, control: Sequence[_Control], address: Any) -> None:
        size = mark = 0
        route = None
        for level, kind, value in control:
            if level == socket.SOL_UDP and kind == UDP_GRO:
                (size,) = _int.unpack_from(value)
            elif level == self.level and kind == self.classOption:
                mark = value[0] & 3
            elif level == self.level and kind == self.infoOption:
                # With this message, an answer leaves from where the peer wrote to, by the same interface.
                route = level, kind, value
        endpoint = self._endpoints.get(address)
        if endpoint is None or endpoint.route != route:
            if len(self._endpoints) >= MAX_ENDPOINTS:
                self._endpoints.clear()
            endpoint = self._endpoints[address] = Endpoint(*_addressOf(address), route)
        size = size or len(data) or 1
        self._received([data[start : start + size] for start in range(0, len(data), size)], endpoint, mark)

    # Sending

    def send(self, messages: Sequence[Message], endpoint: Endpoint, trafficClass: int) -> int:
        """
        Send messages, as L{ISocket.send} says.
        """
        control: list[_Control] = []
        if trafficClass and self._isLinux:
            control = [(self.level, self.classOption, _int.pack(trafficClass))]
        failed = 0
        for run in runs(messages) if len(messages) > 1 and self._segments else [[each] for each in messages]:
            failed += self._sendRun(run, control, endpoint)
        return failed

    def _sendRun(self, run: Sequence[Message], control: list[_Control], endpoint: Endpoint) -> int:
        """
        Send messages of one length (but for the last) by one system call.

        @return: how many could not be sent.
        """
        many = len(run) > 1
        route = endpoint.route
        asked = control if route is None else [route, *control]
        if many:
            asked = [*asked, (socket.SOL_UDP, UDP_SEGMENT, _uint16(len(run[0])))]
        try:
            _sending(self.socket)(run, asked, 0, (endpoint.host, endpoint.port))
            return 0
        except OSError as e:
            if many and e.errno in (errno.EIO, errno.EINVAL, errno.EMSGSIZE):
                failed = sum(self._sendRun([each], control, endpoint) for each in run)
                if not failed and endpoint.route is route and e.errno != errno.EMSGSIZE:
                    # The device does not cut: EIO if it makes no checksums, EINVAL if a segment exceeds the MTU. A
                    # source address that is gone is EINVAL, too, but then the route was forgotten just now.
                    self._segments = False
                return failed
            if route is None or e.errno not in _SOURCE_GONE:
                return len(run)
        # The address that the peer wrote to is gone: the kernel chooses another one, now and from now on.
        endpoint.route = None
        return self._sendRun(run, control, endpoint)


class _End4(_End):
    """
    The socket of IPv4.
    """

    version = 4
    family = socket.AF_INET
    level = socket.IPPROTO_IP
    classOption = socket.IP_TOS
    infoOption = IP_PKTINFO
    options = (IP_PKTINFO, 1), (IP_RECVTOS, 1), (IP_MTU_DISCOVER, PMTUDISC_DONT)


class _End6(_End):
    """
    The socket of IPv6.
    """

    version = 6
    family = socket.AF_INET6
    level = socket.IPPROTO_IPV6
    classOption = socket.IPV6_TCLASS
    infoOption = IPV6_PKTINFO
    options = (
        (socket.IPV6_V6ONLY, 1),
        (IPV6_RECVPKTINFO, 1),
        (IPV6_RECVTCLASS, 1),
        (IPV6_MTU_DISCOVER, PMTUDISC_DONT),
    )


def _addressOf(address: tuple[Any, ...]) -> tuple[str, int]:
    """
    Return the host and the port of a socket's address. A link-local host has its interface.
    """
    host, port = address[:2]
    scope = address[3] if len(address) > 3 else 0
    return (f"{host}%{scope}" if scope and "%" not in host else host), port


def runs(messages: Sequence[Message]) -> list[Sequence[Message]]:
    """
    Divide messages into those that one system call can send: all of one length, but for the last, which may be shorter.
    """
    found = []
    lengths = list(map(len, messages))
    start, count = 0, len(messages)
    while start < count:
        size = lengths[start]
        end, most = start + 1, min(count, start + min(MAX_SEGMENTS, MAX_WRITE // (size or 1)))
        while end < most and lengths[end] == size:
            end += 1
        if end < most and lengths[end] < size:
            end += 1
        found.append(messages[start:end])
        start = end
    return found
