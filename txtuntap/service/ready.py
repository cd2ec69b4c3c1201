"""
The report of a service that it is ready: a line in the log, and a message to systemd (C{sd_notify(3)}).
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from twisted.logger import Logger

from txtuntap.device import printable

if TYPE_CHECKING:
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


def sayReady(log: Logger, what: str, facts: Mapping[str, object]) -> None:
    """
    Log one line about a service that is ready, and tell the service manager.

    @param what: the service, such as C{"A host on tap0"}.
    @param facts: what a reader of the log wants to know about the service, by name.
    """
    log.info("{what} is ready: {facts}", what=printable(what), facts=factsText(facts))
    tellReady()


def factsText(facts: Mapping[str, object]) -> str:
    """
    Format facts for a log line.
    """
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def addressesText(addresses: Iterable[object]) -> str:
    """
    Format a list of addresses for a log line.
    """
    return " and ".join(map(str, addresses)) or "none"


def linkFacts(mtu: int, offloads: int) -> dict[str, object]:
    """
    Return the facts about a link.

    @param mtu: the most octets of an IP packet.
    @param offloads: the offloads that the link takes, as bits of L{txtuntap.wire.offload}.
    """
    return {"MTU": mtu, "offload": "on" if offloads else "off"}


def wireguardFacts(wireguard: WireGuard) -> dict[str, object]:
    """
    Return the facts about a WireGuard, without those about its link.
    """
    from txtuntap.wireguard.keys import keyText

    return {
        "peers": len(wireguard.peers),
        "UDP port": wireguard.listenPort,
        "public key": keyText(wireguard.publicKey) or "none",
    }
