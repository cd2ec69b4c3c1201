"""
Where the packets of C{txtuntap capture} come from: the service that holds the interface, or a packet socket.
"""

from __future__ import annotations

import errno
import socket
from typing import Protocol

from txtuntap.command.service import PATIENCE, READ_SIZE, Elsewhere, ask, connected
from txtuntap.device import TAP
from txtuntap.device.linux.namespace import Namespace
from txtuntap.device.linux.packetsocket import PacketSocket
from txtuntap.service.observe.control import namespaceNumber
from txtuntap.wire import pcapng
from txtuntap.wire.capturefile import CapturedInterface, CapturedPacket, CaptureFileError, CaptureParser

#: The most packets that are taken from a packet socket at once.
_AT_ONCE = 1000


class SourceEnded(Exception):
    """
    A source has no more packets, and never will; the text says why.
    """


class Source(Protocol):
    """
    A source of packets.
    """

    def fileno(self) -> int:
        """
        The descriptor that is readable when packets wait.
        """

    def receive(self) -> list[CapturedPacket]:
        """
        Packets that wait; none, if none do.

        @raise SourceEnded: there will be no more.
        """

    def lost(self) -> int:
        """
        How many packets were lost since the last call, beside those that packets tell of (C{dropped}).
        """

    def finish(self) -> list[CapturedPacket]:
        """
        End the capture, and take what is left of it.

        @return: packets that had passed the interface before.
        """

    def close(self) -> None:
        """
        Close the descriptor of the source.
        """


class ServiceSource:
    """
    The service that holds an interface, asked by its control socket: see L{txtuntap.service.observe.control}.
    """

    def __init__(self, connection: socket.socket, name: str, namespace: int, snaplen: int, directions: int) -> None:
        """
        Ask for a capture.

        @param connection: a connection to the control socket.
        @param namespace: the number of the network namespace that the interface is to be in.
        @param snaplen: the most octets of each packet; 0: all.
        @param directions: L{pcapng.INBOUND}, L{pcapng.OUTBOUND}, or both.

        @raise OSError: the service does not answer, or refuses.
        @raise Elsewhere: the service holds another interface.
        """
        self._socket = connection
        self._name = name
        self._parser = CaptureParser()
        # How many lost packets the caller knows of.
        self._knownLost = 0
        request = {"capture": {"snaplen": snaplen, "directions": directions}}
        rest = ask(connection, name, namespace, request)
        # Packets that came with the answer.
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
            # The service has ended: nobody can tell what else there was.
            pass
        return packets

    def close(self) -> None:
        self._socket.close()

    def _parse(self, data: bytes) -> list[CapturedPacket]:
        try:
            packets = self._parser.feed(data)
        except CaptureFileError as e:
            raise SourceEnded(f"the service that holds {self._name} says what makes no sense: {e}") from e
        self._knownLost += sum(packet.dropped for packet in packets)
        return packets


class SocketSource:
    """
    A packet socket, for an interface that is held by a program without a control socket.
    """

    def __init__(self, name: str, mode: int, namespace: Namespace | None) -> None:
        self._name = name
        self._interface = CapturedInterface(pcapng.ETHERNET if mode == TAP else pcapng.RAW, name=name)
        self._socket = PacketSocket(name, mode, namespace)

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> list[CapturedPacket]:
        packets: list[CapturedPacket] = []
        # One receive() may give no packet, one or many.
        for _ in range(_AT_ONCE):
            try:
                seen = self._socket.receive()
            except OSError as e:
                if e.errno != errno.ENETDOWN:
                    raise
                # The kernel says so once, before it gives what waits; and the link may come up again.
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
        # One turn is enough: what waits has passed before, and reading until nothing waits might never end.
        try:
            return self.receive()
        except SourceEnded:
            return []

    def close(self) -> None:
        self._socket.close()


def sourceOf(name: str, mode: int, namespace: Namespace | None, snaplen: int, directions: int) -> Source:
    """
    Open the best source of an interface's packets.

    @param mode: L{TUN<txtuntap.device.TUN>} or L{TAP<txtuntap.device.TAP>}.
    @param snaplen: the most octets of each packet that are wanted; 0: all. A source may give more.
    @param directions: the wanted ones of L{pcapng.INBOUND} and L{pcapng.OUTBOUND}. A source may give both.

    @raise OSError: there is none.
    """
    number = namespaceNumber(namespace)
    connection = connected(name, number)
    if connection is not None:
        try:
            return ServiceSource(connection, name, number, snaplen, directions)
        except Elsewhere:
            connection.close()
        except BaseException:
            connection.close()
            raise
    try:
        return SocketSource(name, mode, namespace)
    except PermissionError as e:
        text = f"no service of this user's holds {name}; any other way to capture there takes CAP_NET_RAW"
        raise OSError(e.errno, text) from e
