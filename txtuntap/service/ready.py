"""
Telling systemd that a service is ready (C{sd_notify(3)}).
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def tellReady() -> None:
    """
    Tell the program that has started this one, if it has asked for that by C{NOTIFY_SOCKET}: C{Type=notify} of systemd.
    """
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(b"READY=1", address)
