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

#: The most packets of one turn, and the most octets of one read of the connection. Larger turns take more time, because
#: their octets do not stay in the processor's caches.
_PACKETS = 2
_OCTETS = 256 * 1024

#: The most octets that are encrypted, and the most that are decrypted, in one call: four records, and one.
_ENCRYPTED = 64 * 1024
_DECRYPTED = 16 * 1024


class Plain:
    """
    A connection that is not encrypted.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def send(self, view: memoryview) -> None:
        """
        Send octets to the other end.
        """
        self._connection.sendall(view)

    def receive(self, view: memoryview) -> int:
        """
        Receive octets into a buffer.

        @return: the number of octets; 0 if there are none.
        """
        return self._connection.recv_into(view[:_OCTETS])


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
        self._cipher = memoryview(bytearray(_OCTETS))
        while True:
            try:
                self._tls.do_handshake()
                self._flush(_OCTETS)
                return
            except self._wantsMore:
                self._flush(_OCTETS)
                self._fill()

    def _flush(self, most: int) -> None:
        try:
            super().send(memoryview(self._tls.bio_read(most)))
        except self._wantsMore:
            # Nothing is to be sent.
            return

    def _fill(self) -> None:
        self._tls.bio_write(self._cipher[: super().receive(self._cipher)])

    def send(self, view: memoryview) -> None:
        """
        Encrypt octets, and send them.
        """
        while view:
            view = view[self._tls.send(view[:_ENCRYPTED]) :]
            self._flush(2 * _ENCRYPTED)

    def receive(self, view: memoryview) -> int:
        """
        Receive and decrypt octets.
        """
        self._fill()
        octets = 0
        try:
            while True:
                octets += self._tls.recv_into(view[octets:], _DECRYPTED)
        except self._wantsMore:
            # Nothing more has arrived.
            pass
        return octets


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
    # Both buffers are used again and again, so that they stay in the processor's caches.
    packets = memoryview(bytearray(_PACKETS * (_LENGTH.size + most)))
    # The second one has room for an incomplete packet, a read, and a record that the read completes.
    octets = memoryview(bytearray(_LENGTH.size + most + 2 * _OCTETS))
    end = 0
    while True:
        for descriptor, _ in waiting.poll():
            at = 0
            if descriptor == device:
                try:
                    for _ in range(_PACKETS):
                        length = os.readv(device, [packets[at + _LENGTH.size :]])
                        _LENGTH.pack_into(packets, at, length)
                        at += _LENGTH.size + length
                except BlockingIOError:
                    pass
                if at:
                    connection.send(packets[:at])
                continue
            end += connection.receive(octets[end:])
            while end - at >= _LENGTH.size:
                start = at + _LENGTH.size
                stop = start + _LENGTH.unpack_from(octets, at)[0]
                if stop > end:
                    break
                os.write(device, octets[start:stop])
                at = stop
            octets[: end - at] = bytes(octets[at:end])
            end -= at


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
