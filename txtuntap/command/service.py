"""
A running service, asked by its control socket: see L{txtuntap.service.observe.control}.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Mapping
from typing import Any

from txtuntap.device.helper.permission import Peer
from txtuntap.service.observe.control import directories, fileName

#: Seconds for which a service may say nothing: when it is asked, and while it answers.
PATIENCE = 5.0

#: The most octets that are read from a service at once, and the most of one line.
READ_SIZE = 1 << 16


class Elsewhere(Exception):
    """
    The service has the socket of an interface of this name, but its interface has another name now, or was moved.
    """


def connected(name: str, namespace: int) -> socket.socket | None:
    """
    A connection to the service that holds an interface; L{None}, if none of ours does.

    @param namespace: the number of the network namespace that the interface is in.
    """
    file = fileName(namespace, name)
    for directory in directories():
        connection = socket.socket(socket.AF_UNIX)
        # A service whose queue is full would be waited for.
        connection.settimeout(PATIENCE)
        try:
            connection.connect(os.path.join(directory, file))
            # The kernel tells who listens there, whoever the directory belongs to.
            if Peer.of(connection).user in (0, os.geteuid()):
                return connection
        except OSError:
            pass
        connection.close()
    return None


def ask(connection: socket.socket, name: str, namespace: int, request: Mapping[str, Any]) -> bytes:
    """
    Ask a service for something.

    @param connection: a connection to its control socket.
    @param namespace: the number of the network namespace that the interface is to be in.

    @return: what has come behind its first line, by which it agrees.

    @raise OSError: the service does not answer, or refuses.
    @raise Elsewhere: the service holds another interface.
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
        raise OSError(errno.EPROTO, f"the service that holds {name} does not answer: it may have enough clients")
    said = json.loads(line)
    if not isinstance(said, dict) or "interface" not in said:
        reason = said.get("error") if isinstance(said, dict) else None
        text = reason if isinstance(reason, str) else line.decode(errors="replace")
        raise OSError(errno.EPROTO, f"the service that holds {name} refuses: {text}")
    if (said["interface"], said.get("namespace")) != (name, namespace):
        raise Elsewhere
    return rest
