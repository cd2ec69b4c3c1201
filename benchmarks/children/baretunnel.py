"""
One end of a tunnel with the least code that carries the same packets: it validates nothing, and has no back pressure.

    python -m benchmarks.children.baretunnel ADDRESS (listen | connect HOST) [CERTIFICATE PEER]

ADDRESS, with its prefix length, is that of the interface C{tt0}. CERTIFICATE is the PEM file of this end, and PEER the
SHA-256 digest of the peer's certificate. With these, the connection has TLS, through memory as in Twisted.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from txtuntap.device import TUN
from txtuntap.device.linux.device import LinuxDevice

_LENGTH = struct.Struct("<I")
_PORT = 4000

#: The most packets of one turn, and the most octets of one read of the connection.
_PACKETS = 16
_OCTETS = 256 * 1024


class Plain:
    """
    A connection that is not encrypted.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def send(self, pieces: Sequence[bytes]) -> None:
        """
        Send octets that are given in pieces.
        """
        sent = self._connection.sendmsg(pieces)
        if sent < sum(map(len, pieces)):
            self._connection.sendall(b"".join(pieces)[sent:])

    def receive(self) -> bytes:
        """
        Receive octets; none if the connection has ended.
        """
        return self._connection.recv(_OCTETS)


class Secured(Plain):
    """
    A connection with TLS.
    """

    def __init__(self, connection: socket.socket, isServer: bool, certificate: str, peer: str) -> None:
        from OpenSSL import SSL

        from txtuntap.tunnel.security import Identity

        super().__init__(connection)
        identity: Any = Identity(certificate, pins=[peer])
        self._wantsMore = SSL.WantReadError
        self._tls = identity.serverConnectionForTLS(self) if isServer else identity.clientConnectionForTLS(self)
        (self._tls.set_accept_state if isServer else self._tls.set_connect_state)()
        while True:
            try:
                self._tls.do_handshake()
                self._flush()
                return
            except self._wantsMore:
                self._flush()
                self._tls.bio_write(super().receive())

    def _flush(self) -> None:
        try:
            super().send([self._tls.bio_read(_OCTETS)])
        except self._wantsMore:
            # Nothing is to be sent.
            return

    def send(self, pieces: Sequence[bytes]) -> None:
        """
        Encrypt octets that are given in pieces, and send them.
        """
        data = memoryview(b"".join(pieces))
        while data:
            data = data[self._tls.send(data[: _OCTETS // 4]) :]
            self._flush()

    def receive(self) -> bytes:
        """
        Receive and decrypt octets.
        """
        self._tls.bio_write(super().receive())
        try:
            return self._tls.recv(_OCTETS)  # type: ignore[no-any-return]
        except self._wantsMore:
            return b""


def carry(device: int, connection: Plain, handle: int, most: int) -> None:
    """
    Carry packets, with their offload headers, until the process is ended.

    @param device: the descriptor of the interface.
    @param handle: the descriptor of the connection.
    @param most: the most octets of a packet.
    """
    waiting = select.epoll()
    waiting.register(device, select.EPOLLIN)
    waiting.register(handle, select.EPOLLIN)
    rest = b""
    while True:
        for descriptor, _ in waiting.poll():
            if descriptor == device:
                pieces = []
                try:
                    for _ in range(_PACKETS):
                        packet = os.read(device, most)
                        pieces += [_LENGTH.pack(len(packet)), packet]
                except BlockingIOError:
                    pass
                if pieces:
                    connection.send(pieces)
                continue
            data = rest + connection.receive()
            view, at, end = memoryview(data), 0, len(data)
            while end - at >= 4:
                start = at + 4
                stop = start + _LENGTH.unpack_from(data, at)[0]
                if stop > end:
                    break
                os.write(device, view[start:stop])
                at = stop
            rest = data[at:]


def _connected(host: str) -> socket.socket:
    """
    Connect to the other end, which may not listen yet.
    """
    while True:
        try:
            return socket.create_connection((host, _PORT))
        except OSError:
            time.sleep(0.1)


def main(arguments: Sequence[str]) -> None:
    """
    Open the interface, connect to the other end, and carry packets.
    """
    address, role, *others = arguments
    device = LinuxDevice("tt0", TUN)
    device.open(True)
    for command in f"address add {address} dev tt0", "link set tt0 up":
        subprocess.run(["ip", *command.split()], check=True)
    if role == "listen":
        with socket.create_server(("", _PORT)) as server:
            connection, _ = server.accept()
    else:
        connection = _connected(others.pop(0))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    carrier = Secured(connection, role == "listen", *others) if others else Plain(connection)
    carry(device.fileno(), carrier, connection.fileno(), 65550 + 60)


if __name__ == "__main__":
    main(sys.argv[1:])
