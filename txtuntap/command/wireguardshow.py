"""
The subcommand C{wireguard show}, which shows the WireGuard of a running service as C{wg show} does::

    txtuntap wireguard show wg0
"""

from __future__ import annotations

import errno
import json
import time
from contextlib import closing
from itertools import count
from typing import Any, TextIO

from txtuntap.command.service import OtherInterfaceError, RefusedError, ask, connectTo, names, records
from txtuntap.device import printable
from txtuntap.device.controlname import namespaceNumber

#: The units of a duration, each with its seconds.
_UNITS = ("year", 365 * 86400), ("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)


def show(options: Any, out: TextIO) -> None:
    """
    Print the WireGuard of one service, or of all services of this user, as text or as JSON.

    @raise OSError: no service of this user has the interface open, the service has no WireGuard, or it does not answer.
    """
    number = namespaceNumber(options.netns)
    found = []
    for name in names(number) if options.name is None else [options.name]:
        try:
            found.append(_ask(name, number))
        except (RefusedError, FileNotFoundError):
            # Another kind of service, one that has ended, or the former name of an interface.
            if options.name is not None:
                raise
    now = time.time()
    if options.json:
        print(json.dumps(found), file=out)
    else:
        print("\n".join(text(record, now) for record in found), end="", file=out)


def _ask(name: str, namespace: int) -> dict[str, Any]:
    """
    Ask a service for its WireGuard.

    @return: the record of the interface, with those of its peers.

    @raise OSError: there is no such service (C{FileNotFoundError}), or it does not answer.
    """
    connection = connectTo(name, namespace)
    if connection is None:
        reason = f"no service of this user's holds {name}: run 'twistd tuntap wireguard' without --no-control"
        raise FileNotFoundError(errno.ENOENT, reason)
    with closing(connection):
        try:
            rest = ask(connection, name, namespace, {"wireguard": {}})
        except OtherInterfaceError:
            reason = f"{name} was renamed, moved or replaced: send SIGUSR2 to its service, which then logs its peers"
            raise FileNotFoundError(errno.ENODEV, reason) from None
        interface, *peers = records(connection, rest, name)
    return {"interface": name, **interface, "peers": peers}


def text(record: dict[str, Any], now: float) -> str:
    """
    Format the record of an interface in the words and the layout of C{wg show}.

    @param now: the time in seconds since 1970.
    """
    lines = [f"interface: {printable(record['interface'])}"]
    if record["publicKey"]:
        lines += [f"  public key: {record['publicKey']}", "  private key: (hidden)"]
    if record["listenPort"]:
        lines.append(f"  listening port: {record['listenPort']}")
    if record["fwmark"]:
        lines.append(f"  fwmark: {record['fwmark']:#x}")
    # The order of `wg show`: the latest handshake is first.
    for peer in sorted(record["peers"], key=lambda each: -each["latestHandshake"]):
        lines += ["", *_peerLines(peer, int(now))]
    return "".join(f"{line}\n" for line in lines)


def _peerLines(peer: dict[str, Any], now: int) -> list[str]:
    lines = [f"peer: {peer['publicKey']}"]
    if peer["hasPresharedKey"]:
        lines.append("  preshared key: (hidden)")
    if peer["endpoint"]:
        lines.append(f"  endpoint: {peer['endpoint']}")
    lines.append(f"  allowed ips: {', '.join(peer['allowed']) or '(none)'}")
    if peer["latestHandshake"]:
        lines.append(f"  latest handshake: {_ago(int(peer['latestHandshake']), now)}")
    if peer["received"] or peer["sent"]:
        lines.append(f"  transfer: {_octets(peer['received'])} received, {_octets(peer['sent'])} sent")
    if peer["keepalive"]:
        lines.append(f"  persistent keepalive: every {_duration(peer['keepalive'])}")
    return lines


def _ago(then: int, now: int) -> str:
    if then > now:
        return "(System clock wound backward; connection problems may ensue.)"
    return "Now" if then == now else f"{_duration(now - then)} ago"


def _duration(seconds: int) -> str:
    parts = []
    for name, length in _UNITS:
        number, seconds = divmod(seconds, length)
        if number:
            parts.append(f"{number} {name}{'' if number == 1 else 's'}")
    return ", ".join(parts)


def _octets(number: int) -> str:
    if number < 1024:
        return f"{number} B"
    for power in count(1):
        if number < 1024 ** (power + 1) or power == 4:
            break
    return f"{number / 1024**power:.2f} {'KMGT'[power - 1]}iB"
