"""
The part of a watch that the platforms with a descriptor share: its life on the reactor.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure

from txtuntap.device.events import InterfaceTable


class DescriptorWatch(FileDescriptor):
    """
    A watch that reads a socket, on which the kernel reports the changes of interfaces. Platforms have subclasses, which
    provide L{IWatch<txtuntap.device.interfaces.IWatch>}.
    """

    _log = Logger()
    reactor: Any

    def __init__(self, reactor: Any, table: InterfaceTable) -> None:
        """
        @param reactor: the reactor.
        @param table: the table to write, which is still empty.
        """
        super().__init__(reactor)
        self._table = table
        self._socket: Any = None

    @property
    def isOpen(self) -> bool:
        """
        Whether the socket is open.
        """
        return self._socket is not None

    def watch(self) -> None:
        """
        Begin to read the socket, which is open.
        """
        self.connected = 1
        self.startReading()  # type: ignore[no-untyped-call]

    def stop(self) -> None:
        """
        Empty the table, and close the socket: see L{IWatch.stop<txtuntap.device.interfaces.IWatch.stop>}.
        """
        if self.connected:
            self.connected = 0
            self.stopReading()  # type: ignore[no-untyped-call]
            self._table.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def fileno(self) -> int:
        """
        The descriptor of the socket; -1 if it is closed.
        """
        return -1 if self._socket is None else int(self._socket.fileno())

    def connectionLost(self, reason: Failure) -> None:
        """
        Stop, because the reactor reads the socket no longer.
        """
        self.stop()

    def logPrefix(self) -> str:
        """
        The prefix of log lines about this reader.
        """
        return "interfaces"
