"""
The listening UNIX socket of a service, whose file other programs may take away.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure


def isListening(path: str) -> bool:
    """
    Whether a program listens on a UNIX socket.
    """
    with socket.socket(unix.Port.addressFamily, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


class UNIXPort(unix.Port):
    """
    A listening UNIX port that deletes its file at once when it is stopped. A file of that name that another program has
    made stays.

    A process that has dropped its privileges cannot delete the file. The next service in that directory deletes it.
    """

    _file: tuple[int, int] | None = None

    def __init__(self, path: bytes, *arguments: Any, **options: Any) -> None:
        """
        @param path: the path of the socket.
        @param arguments: further arguments of C{twisted.internet.unix.Port}.
        """
        super().__init__(path, *arguments, **options)
        self._path = path

    def startListening(self) -> None:
        """
        Listen, as C{IListeningPort.startListening} says.
        """
        super().startListening()  # type: ignore[no-untyped-call]
        self._file = self._present()

    def _present(self) -> tuple[int, int] | None:
        with suppress(OSError):
            status = os.stat(self._path)
            return status.st_dev, status.st_ino
        return None

    @property
    def isThere(self) -> bool:
        """
        Whether the file is still the one that was made.
        """
        return self._file is not None and self._present() == self._file

    def loseConnection(self, connDone: Any = connectionDone) -> Any:
        """
        Stop as C{IListeningPort.stopListening} says.
        """
        self._unlink()
        return super().loseConnection(connDone)  # type: ignore[no-untyped-call]

    # tcp.Port names its own method so.
    stopListening = loseConnection

    def connectionLost(self, reason: Failure) -> None:
        """
        Delete the file if that was not done yet, and close the socket.
        """
        self._unlink()
        tcp.Port.connectionLost(self, reason)

    def _unlink(self) -> None:
        if self.isThere:
            with suppress(OSError):
                os.unlink(self._path)
        # Another file may have the same number afterwards.
        self._file = None
