"""
The report of a WireGuard service that it is ready: a line in the log, and a message to systemd (C{sd_notify(3)}).
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress

from twisted.logger import Logger

from txtuntap.wireguard.keys import keyText
from txtuntap.wireguard.protocol import WireGuard


def tellReady() -> None:
    """
    Tell the program that has started this one, if it has asked for that by C{NOTIFY_SOCKET}: C{Type=notify} of systemd.
    """
    path = os.environ.get("NOTIFY_SOCKET")
    if not path or sys.platform == "win32":
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(b"READY=1", address)


def sayReady(log: Logger, what: str, name: str, wireguard: WireGuard) -> None:
    """
    Log what a service has become, and tell the service manager.

    @param what: the kind of service, such as C{"a WireGuard peer"}.
    @param name: the name of the interface.
    """
    log.info(
        "{name} is {what} on UDP port {port}: public key {key}, peers: {count}",
        name=name,
        what=what,
        port=wireguard.listenPort,
        key=keyText(wireguard.publicKey) or "none",
        count=len(wireguard.peers),
    )
    tellReady()
