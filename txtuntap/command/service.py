"""
The client's side of the control socket of a running service: see L{txtuntap.service.observe.control}.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from txtuntap.device.controlname import WITHOUT, directories, fileName
from txtuntap.device.helper.credentials import thisUser
from txtuntap.device.helper.permission import Peer
from txtuntap.device.platform import requireUNIX

#: The seconds to wait until a service accepts the connection, and again until each part of its answer arrives.
PATIENCE = 5.0

#: The most octets that are read from a service at once, and the most octets in one line of its answer.
READ_SIZE = 1 << 16


class OtherInterfaceError(Exception):
    """
    The error of a control socket whose service now has an interface of another name or namespace. The interface was
    renamed or moved after the service had made the socket.
    """


class RefusedError(OSError):
    """
    The error of a request that a service refuses.
    """


def connectTo(name: str, namespace: int) -> socket.socket | None:
    """
    Connect to the service that has an interface open.

    @param name: the name of the interface.
    @param namespace: the number of the network namespace that the interface is in.

    @return: the connection; C{None} if no service of this user or of root has the interface open.

    @raise OSError: this platform has no UNIX sockets (C{ENOTSUP}).
    """
    requireUNIX(*WITHOUT)
    file = fileName(namespace, name)
    for directory in directories():
        connection = socket.socket(socket.AF_UNIX)
        # The timeout ends the wait for a service whose queue of connections is full.
        connection.settimeout(PATIENCE)
        try:
            connection.connect(os.path.join(directory, file))
            # Check the user of the listening process, because another user may own the directory and its sockets.
            if Peer.of(connection).user in (0, thisUser()):
                return connection
        except OSError:
            pass
        connection.close()
    return None


def names(namespace: int) -> list[str]:
    """
    List the interfaces for which a service of this user, or of root, has made a control socket. Some of the services
    may have ended.

    @param namespace: the number of the network namespace that the interfaces are in.
    """
    found = set()
    start, end = fileName(namespace, "|").split("|")
    for directory in directories():
        with suppress(OSError):
            for file in os.listdir(directory):
                if file.startswith(start) and file.endswith(end):
                    found.add(file[len(start) : -len(end)])
    return sorted(found)


def ask(connection: socket.socket, name: str, namespace: int, request: Mapping[str, Any]) -> bytes:
    """
    Send a request to a service, and check the first line of its answer.

    @param connection: a connection to the control socket of the service.
    @param name: the expected name of the service's interface.
    @param namespace: the expected number of the network namespace of that interface.
    @param request: the request, as a value for JSON.

    @return: the octets that were read behind the first line.

    @raise OSError: the service does not answer, or refuses the request (L{RefusedError}).
    @raise OtherInterfaceError: the service's interface has another name or namespace.
    """
    connection.settimeout(PATIENCE)
    answer = b""
    try:
        connection.sendall(json.dumps(request).encode() + b"\n")
        while b"\n" not in answer and len(answer) <= READ_SIZE and (data := connection.recv(READ_SIZE)):
            answer += data
    except OSError as e:
        raise OSError(e.errno or errno.ETIMEDOUT, f"the service that holds {name} does not answer") from e
    line, end, rest = answer.partition(b"\n")
    if not end:
        text = f"the service that holds {name} does not answer: it may have too many clients, so try again later"
        raise OSError(errno.EPROTO, text)
    reply = json.loads(line)
    if not isinstance(reply, dict) or "interface" not in reply:
        reason = reply.get("error") if isinstance(reply, dict) else None
        text = reason if isinstance(reason, str) else line.decode(errors="replace")
        raise RefusedError(errno.EPROTO, f"the service that holds {name} refuses: {text}")
    if (reply["interface"], reply.get("namespace")) != (name, namespace):
        raise OtherInterfaceError
    return rest


def records(connection: socket.socket, rest: bytes, name: str) -> Iterator[dict[str, Any]]:
    """
    Yield the records of a list that a service sends.

    @param rest: the octets that were read already.

    @raise OSError: the service pauses for too long, ends, or sends too long a line.
    """
    for line in _lines(connection, rest, name):
        record = json.loads(line)
        if "end" in record:
            return
        yield record


def _lines(connection: socket.socket, rest: bytes, name: str) -> Iterator[bytes]:
    """
    Yield the lines that a service sends. The caller stops at the line that it knows to be the last.

    @param rest: the octets that were read already.

    @raise OSError: the service pauses for too long, ends, or sends too long a line.
    """
    connection.settimeout(PATIENCE)
    while True:
        *lines, rest = rest.split(b"\n")
        yield from lines
        try:
            data = connection.recv(READ_SIZE)
        except OSError as e:
            text = f"the service that holds {name} has stopped answering: try again"
            raise OSError(e.errno or errno.ETIMEDOUT, text) from e
        if not data or len(rest) > READ_SIZE:
            raise OSError(errno.EPROTO, f"the service that holds {name} has ended before the end of its answer")
        rest += data
