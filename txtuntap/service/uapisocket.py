"""
The UNIX socket by which C{wg} shows and sets a WireGuard interface: see L{txtuntap.wireguard.uapi}.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from twisted.internet.error import CannotListenError

from txtuntap.device.platform import requireUNIX
from txtuntap.layer.bounded import TableState
from txtuntap.wireguard.protocol import WireGuard
from txtuntap.wireguard.uapi import UAPIFactory

if TYPE_CHECKING:
    from txtuntap.service.unixport import UNIXPort

#: The directory where C{wg} looks for the sockets of interfaces that are programs.
DIRECTORY = "/var/run/wireguard"


class UAPISocket:
    """
    The UNIX socket by which C{wg} shows and sets an interface.

    @ivar path: the path of its file.
    """

    def __init__(self, name: str, wireguard: WireGuard, reactor: Any, directory: str = DIRECTORY) -> None:
        """
        @param name: the name of the interface.
        """
        self.path = os.path.join(directory, f"{name}.sock")
        self._factory = UAPIFactory(wireguard, reactor)
        self._reactor = reactor
        self._port: UNIXPort | None = None

    def open(self) -> None:
        """
        Listen at the path. The file of a program that has ended is deleted first.

        @raise OSError: another program listens there, or this one may not.
        """
        requireUNIX("the socket of wg(8)", "use --config, and --prometheus for the counters")
        # Python on Windows cannot import this module.
        from txtuntap.service.unixport import UNIXPort, isListening

        os.makedirs(os.path.dirname(self.path), 0o755, exist_ok=True)
        if os.path.lexists(self.path) and not isListening(self.path):
            os.unlink(self.path)
        try:
            port = UNIXPort(os.fsencode(self.path), self._factory, mode=0o600, reactor=self._reactor)
            port.startListening()
        except CannotListenError as e:
            raise OSError(getattr(e.socketError, "errno", None), f"{self.path}: {e.socketError}") from e
        self._port = port

    def tables(self) -> list[TableState]:
        """
        List the tables of the clients: see
        L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return self._factory.tables()

    @property
    def isThere(self) -> bool:
        """
        Whether the file is still the one that was made.
        """
        return self._port is not None and self._port.isThere

    def close(self) -> None:
        """
        Stop listening, and delete the file unless another program has made a new one.
        """
        port, self._port = self._port, None
        if port is not None:
            port.stopListening()
