"""
The sources of the packets of C{txtuntap capture}: the service that has the interface open, or a packet socket.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Protocol

from txtuntap.command.service import PATIENCE, READ_SIZE, OtherInterfaceError, ask, connectTo
from txtuntap.device import TAP
from txtuntap.device.controlname import namespaceNumber
from txtuntap.device.platform import platformModule, requireLinux
from txtuntap.wire import pcapng
from txtuntap.wire.capturefile import CapturedInterface, CapturedPacket, CaptureFileError, CaptureParser

if TYPE_CHECKING:
    from txtuntap.device.linux.namespace import Namespace
    from txtuntap.device.linux.packetsocket import PacketSocket

#: The most packets that are taken from a packet socket at once.
_AT_ONCE = 1000


class SourceEnded(Exception):
    """
    The error of a source that has ended, and has no further packets. Its text is the reason.
    """


class Source(Protocol):
    """
    A source of the packets that pass an interface.
    """

    def fileno(self) -> int:
        """
        Return the descriptor that becomes readable when packets wait.
        """

    def receive(self) -> list[CapturedPacket]:
        """
        Return the packets that wait, without waiting for more.

        @raise SourceEnded: there will be no more packets.
        """

    def lost(self) -> int:
        """
        Count the packets that were lost since the last call. Losses that are recorded in C{dropped} of a received
        packet are not counted again.
        """

    def finish(self) -> list[CapturedPacket]:
        """
        End the capture at the source.

        @return: the packets that passed the interface before the end and were not received yet.
        """

    def close(self) -> None:
        """
        Close the descriptor of the source.
        """


class ServiceSource:
    """
    A source that asks the service which has the interface open, by its control socket: see
    L{txtuntap.service.observe.control}.
    """

    def __init__(self, connection: socket.socket, name: str, namespace: int, snaplen: int, directions: int) -> None:
        """
        Ask the service to begin a capture.

        @param connection: a connection to the control socket.
        @param name: the expected name of the interface.
        @param namespace: the expected number of the network namespace of the interface.
        @param snaplen: the most octets of each packet; 0: whole packets.
        @param directions: L{pcapng.INBOUND}, L{pcapng.OUTBOUND}, or both.

        @raise OSError: the service does not answer, or refuses.
        @raise OtherInterfaceError: the service's interface has another name or namespace.
        """
        self._socket = connection
        self._name = name
        self._parser = CaptureParser()
        # The number of lost packets that were reported to the caller.
        self._knownLost = 0
        request = {"capture": {"snaplen": snaplen, "directions": directions}}
        rest = ask(connection, name, namespace, request)
        # The packets that were read together with the answer. The first receive() returns them.
        self._first = self._parse(rest)
        connection.setblocking(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> list[CapturedPacket]:
        packets, self._first = self._first, []
        try:
            data = self._socket.recv(READ_SIZE)
        except BlockingIOError:
            return packets
        except OSError as e:
            raise SourceEnded(f"the service that holds {self._name} is gone: {e.strerror}") from e
        if not data:
            if packets:
                return packets
            raise SourceEnded(f"the service that held {self._name} has ended")
        return packets + self._parse(data)

    def lost(self) -> int:
        statistics = self._parser.statistics.get(0)
        if statistics is None or statistics.dropped is None:
            return 0
        lost = max(0, statistics.dropped - self._knownLost)
        self._knownLost += lost
        return lost

    def finish(self) -> list[CapturedPacket]:
        packets, self._first = self._first, []
        try:
            self._socket.settimeout(PATIENCE)
            self._socket.shutdown(socket.SHUT_WR)
            while data := self._socket.recv(READ_SIZE):
                packets += self._parse(data)
        except (OSError, SourceEnded):
            # The service has ended, and the packets that it still had are lost.
            pass
        return packets

    def close(self) -> None:
        self._socket.close()

    def _parse(self, data: bytes) -> list[CapturedPacket]:
        try:
            packets = self._parser.feed(data)
        except CaptureFileError as e:
            raise SourceEnded(f"the service that holds {self._name} sends an invalid capture: {e}") from e
        self._knownLost += sum(packet.dropped for packet in packets)
        return packets


class SocketSource:
    """
    A source that reads a packet socket, for an interface whose program has no control socket.
    """

    def __init__(self, name: str, mode: int, namespace: Namespace | None) -> None:
        requireLinux("a packet socket", "start a service on the interface, or capture with tcpdump")
        self._name = name
        self._interface = CapturedInterface(pcapng.ETHERNET if mode == TAP else pcapng.RAW, name=name)
        self._socket: PacketSocket = platformModule("packetsocket").PacketSocket(name, mode, namespace)

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> list[CapturedPacket]:
        packets: list[CapturedPacket] = []
        # One receive() of the packet socket returns no packet, one, or the many of a superpacket.
        for _ in range(_AT_ONCE):
            try:
                seen = self._socket.receive()
            except OSError as e:
                if e.errno != errno.ENETDOWN:
                    raise
                # The kernel reports ENETDOWN once, and then returns the waiting packets. The link may come up again.
                continue
            if seen is None or len(packets) >= _AT_ONCE:
                break
            packets += [
                CapturedPacket(each.data, each.time, len(each.data), self._interface, each.direction) for each in seen
            ]
        if not packets and self._socket.isGone():
            raise SourceEnded(f"{self._name} is gone")
        return packets

    def lost(self) -> int:
        return self._socket.dropped()

    def finish(self) -> list[CapturedPacket]:
        # One receive() is enough for the packets that passed before. Reading until none waits might never end.
        try:
            return self.receive()
        except SourceEnded:
            return []

    def close(self) -> None:
        self._socket.close()


def sourceOf(name: str, mode: int, namespace: Namespace | None, snaplen: int, directions: int) -> Source:
    """
    Open the best source of an interface's packets: its service, or else a packet socket.

    @param name: the name of the interface.
    @param mode: C{TUN} or C{TAP}.
    @param namespace: the network namespace of the interface; C{None}: that of this process.
    @param snaplen: the most octets of each packet that are wanted; 0: whole packets. A source may return more.
    @param directions: the wanted directions, L{pcapng.INBOUND}, L{pcapng.OUTBOUND}, or both. A source may return both.

    @raise OSError: there is no service, and a packet socket cannot be opened.
    """
    number = namespaceNumber(namespace)
    connection = connectTo(name, number)
    if connection is not None:
        try:
            return ServiceSource(connection, name, number, snaplen, directions)
        except OtherInterfaceError:
            connection.close()
        except BaseException:
            connection.close()
            raise
    try:
        return SocketSource(name, mode, namespace)
    except PermissionError as e:
        text = f"no service of this user's holds {name}, and a packet socket takes CAP_NET_RAW: run this as root"
        raise OSError(e.errno, text) from e
