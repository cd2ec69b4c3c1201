"""
The subcommand C{connections}: the TCP connections of the host that a service has on an interface.

    txtuntap connections tap0
"""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any, TextIO

from txtuntap.command.output import discard
from txtuntap.command.service import PATIENCE, READ_SIZE, Elsewhere, ask, connected
from txtuntap.device import printable
from txtuntap.service.observe.control import namespaceNumber
from txtuntap.tcp.record import details, endText, queues

#: The states that C{ss} has other words for than RFC 9293.
_STATES = {"ESTABLISHED": "ESTAB", "SYN-RECEIVED": "SYN-RECV", "CLOSED": "UNCONN"}

#: The words over the columns. An address and its port, with a colon between them, are a column each.
_HEADER = "State", "Recv-Q", "Send-Q", "Local Address", "Port", "Peer Address", "Port"

#: The separator behind each column. An address stands right before its port.
_AFTER = " ", " ", " ", ":", " ", ":", ""

#: The connections whose columns are aligned at once. Those of later ones only become wider.
_AT_ONCE = 1000


def connections(options: Any, out: TextIO) -> None:
    """
    Show the connections, or the ports that listen.

    @raise OSError: no service of this user's holds the interface, or its service does not tell.
    """
    settings = {"connected": not options.listening, "listening": options.listening or options.all}
    records = _records(options.name, options.netns, settings)
    try:
        if options.json:
            _printJSON(records, out)
        else:
            _print(records, out)
        out.flush()
    except BrokenPipeError:
        discard(out)


def _records(name: str, namespace: str | None, settings: dict[str, bool]) -> Iterator[dict[str, Any]]:
    """
    Ask the service for its records, and read them one by one.

    @raise OSError: it cannot be asked, or does not tell all.
    """
    number = namespaceNumber(namespace)
    connection = connected(name, number)
    if connection is None:
        raise _unserved(name, namespace)
    with closing(connection):
        try:
            rest = ask(connection, name, number, {"connections": settings})
        except Elsewhere:
            text = f"{name} was renamed or moved, or is another one now: SIGUSR2 has its service log the connections"
            raise OSError(errno.ENODEV, text) from None
        for line in _lines(connection, rest, name):
            record = json.loads(line)
            if "end" in record:
                return
            yield record


def _lines(connection: socket.socket, rest: bytes, name: str) -> Iterator[bytes]:
    """
    Read lines, the last of which the caller knows.

    @param rest: what was read before.

    @raise OSError: there are no more.
    """
    connection.settimeout(PATIENCE)
    while True:
        *lines, rest = rest.split(b"\n")
        yield from lines
        try:
            data = connection.recv(READ_SIZE)
        except OSError as e:
            raise OSError(e.errno or errno.ETIMEDOUT, f"the service that holds {name} does not go on: ask again") from e
        if not data or len(rest) > READ_SIZE:
            raise OSError(errno.EPROTO, f"the service that holds {name} has ended, and has not told all")
        rest += data


def _unserved(name: str, namespace: str | None) -> OSError:
    """
    The reason why there is no service to ask.
    """
    # This takes a while to import.
    from txtuntap.device.state import readInterface

    try:
        kind = readInterface(name, namespace).kind
    except OSError as e:
        return e
    if kind not in ("tun", "tap"):
        text = f"{name} is no TUN or TAP device: 'ss -ti' shows the connections of the kernel"
    else:
        text = f"no service of this user's tells of {name}: run 'twistd tuntap host' there, without --no-control"
    return OSError(errno.ENOENT, text)


def _printJSON(records: Iterator[dict[str, Any]], out: TextIO) -> None:
    """
    Print one array, as the records come.
    """
    # Nothing is printed where the service does not tell.
    first = next(records, None)
    out.write("[")
    if first is not None:
        out.write(json.dumps(first))
    for record in records:
        out.write(",\n" + json.dumps(record))
    out.write("]\n")


def _print(records: Iterator[dict[str, Any]], out: TextIO) -> None:
    """
    Print columns, and the details of each below.
    """
    widths = [0] * len(_HEADER)
    rows: list[tuple[tuple[str, ...], str]] = [(_HEADER, "")]
    while rows := [*rows, *((_row(record), details(record)) for record in islice(records, _AT_ONCE))]:
        for cells, _ in rows:
            widths = [max(width, len(cell)) for width, cell in zip(widths, cells, strict=True)]
        for cells, more in rows:
            print(printable(_aligned(cells, widths).rstrip()), file=out)
            if more:
                print(f"\t {printable(more)}", file=out)
        rows = []


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    toRead, toSend = queues(record)
    peer = ("*", "*") if "peer" not in record else endText(record["peer"])
    state = _STATES.get(record["state"], record["state"])
    return state, str(toRead), str(toSend), *endText(record["host"]), *peer


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    columns = zip(cells, widths, _AFTER, strict=True)
    return "".join((cell.rjust if after == ":" else cell.ljust)(width) + after for cell, width, after in columns)
